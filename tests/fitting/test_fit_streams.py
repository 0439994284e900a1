"""`fg.fit(streams=…)`: trajectories side by side, with parameters that each has for itself."""

import numpy as np
import pytest
from scipy.optimize import least_squares

import fwdgrad as fg
from fwdgrad.errors import DataError, DeclarationError

OWN, GAIN, START = np.array([0.9, 0.8, 0.6]), 2.0, np.array([1.0, 2.0, 3.0])
LENGTHS = (12, 9, 7)


def decay(own):
    """ŷ = gain·h, h' = a·h; a is shared, or each stream's own."""
    start = fg.positive(0.7)
    params = {"a": fg.per_stream(start) if own else start, "gain": fg.positive(1.0)}
    return fg.System(lambda h, x, p: p["a"] * h, lambda h, x, p: p["gain"] * h, np.ones(1), params, name="decay")


def sequences(own=OWN, seed=0):
    rng = np.random.default_rng(seed)
    made = [GAIN * h * a ** np.arange(1, n + 1) for h, a, n in zip(START, own, LENGTHS, strict=True)]
    return [(y + 0.02 * rng.normal(size=len(y)))[:, None] for y in made]


def found(ys, own=True, state=START, **options):
    given = fg.Trajectory(None, ys, None if state is None else state[:, None])
    return fg.fit(decay(own), trajectories=[given], streams=3, observation_noise=0.02, engine="numpy", **options)


def reference(ys):
    """The three rates and the gain by scipy."""

    def residuals(u):
        made = zip(START, np.exp(u[:3]), ys, strict=True)
        return np.concatenate([np.exp(u[3]) * h * a ** np.arange(1, len(y) + 1) - y[:, 0] for h, a, y in made])

    return np.exp(least_squares(residuals, np.log([0.7, 0.7, 0.7, 1.0])).x)


def test_shared_and_own_parameters_of_sequences_of_unequal_length():
    ys = sequences()
    fit = found(ys)
    np.testing.assert_allclose([*fit.params["a"], fit.params["gain"]], reference(ys), rtol=1e-4)
    assert fit.std["a"].shape == (3,)


def test_arrays_with_gaps_are_the_same():
    ys = sequences()
    table = np.full((max(LENGTHS), 3, 1), np.nan)
    for k, y in enumerate(ys):
        table[: len(y), k] = y
    np.testing.assert_allclose(found(table).params["a"], found(ys).params["a"], rtol=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_the_given_states_are_where_streams_begin():
    """Negative control: from the declared state the gain is another one."""
    ys = sequences()
    other = found(ys, state=None)
    assert abs(float(other.params["gain"]) / reference(ys)[3] - 1) > 0.1


def test_what_is_shared_is_found_as_of_trajectories_in_turn():
    ys = sequences(own=np.full(3, 0.8))
    turns = [fg.Trajectory(None, y, h[None]) for y, h in zip(ys, START, strict=True)]
    one = fg.fit(decay(False), trajectories=turns, observation_noise=0.02, engine="numpy")
    fit = found(ys, own=False)
    for k, v in one.params.items():
        np.testing.assert_allclose(fit.params[k], v, rtol=1e-5)
        np.testing.assert_allclose(fit.std[k], one.std[k], rtol=0.05)


def test_what_does_not_go_with_streams_is_refused():
    with pytest.raises(DataError, match="4 sequences for 3 streams"):
        found([*sequences(), np.ones((5, 1))])
    with pytest.raises(DeclarationError, match="a system without a filter"):
        fg.fit(fg.filtered(decay(False), 0.1, 0.1), ys=np.ones((9, 3, 1)), streams=3)
