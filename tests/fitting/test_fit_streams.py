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


# ---------------------------------------------------------------- a stream that tells nothing, and noise


def logistic(t, first, rate, size):
    return size / (1 + (size / first - 1) * np.exp(-rate * t))


def growth(count):
    """A map with the solution of w' = rate·w·(1 − w/size) after a unit of time; each stream has a size of its own."""

    def grown(w, x, p):
        return p["size"] / (1 + (p["size"] / w - 1) * np.exp(-p["rate"]))

    params = {"rate": fg.positive(0.1), "size": fg.per_stream(fg.positive(10.0))}
    return fg.System(grown, lambda w, x, p: w, np.ones(1), params, name="growth")


def herd(lengths, noise, seed=0):
    """Weights of animals that begin at 1."""
    rng = np.random.default_rng(seed)
    made = [logistic(np.arange(1, n + 1), 1.0, 0.3, 6.0 + k) for k, n in enumerate(lengths)]
    return [(w + noise * rng.normal(size=len(w)))[:, None] for w in made]


def least(ys):
    """Rate and sizes by scipy, without weights."""

    def residuals(u):
        e = np.exp(u)
        pairs = zip(ys, e[1:], strict=True)
        return np.concatenate([logistic(np.arange(1, len(y) + 1), 1.0, e[0], s) - y[:, 0] for y, s in pairs])

    return np.exp(least_squares(residuals, np.log([0.1, *[10.0] * len(ys)])).x)


def test_a_stream_that_its_own_number_fits_exactly_leaves_the_others_as_they_are():
    """Its size fits its only weight whatever the rate is: had it its own noise, nothing would bound the likelihood."""
    told, nothing = herd([12, 10], 0.2), np.array([[0.6]])
    fit = fg.fit(growth(3), ys=[*told, nothing], streams=3, engine="numpy")
    without = fg.fit(growth(2), ys=told, streams=2, engine="numpy")
    np.testing.assert_allclose([fit.params["rate"], *fit.params["size"][:2]], least(told), rtol=1e-3)
    np.testing.assert_allclose(fit.std["rate"], without.std["rate"], rtol=0.01)
    assert np.ptp(fit.noise) == 0


@pytest.mark.filterwarnings("ignore::fwdgrad.errors.CalibrationWarning")
def test_noise_that_is_given_is_used_where_no_filter_can_lead(monkeypatch):
    """As with so many streams that a filter would be slow. Negative control: learned noise is another one."""
    ys = herd([12, 9], 0.2)
    few = fg.fit(growth(2), ys=ys, streams=2, observation_noise=0.7, engine="numpy")
    monkeypatch.setattr("fwdgrad.learning.defaults.MOST_TOGETHER", 1)
    many = fg.fit(growth(2), ys=ys, streams=2, observation_noise=0.7, engine="numpy")
    learned = fg.fit(growth(2), ys=ys, streams=2, engine="numpy")
    np.testing.assert_allclose(many.noise, 0.7)
    np.testing.assert_allclose(many.std["rate"], few.std["rate"], rtol=1e-6)
    assert np.ptp(learned.noise) == 0
    assert learned.noise[0] < 0.5


def test_noise_is_given_for_all_outputs_for_those_of_a_stream_or_for_all_of_all():
    two = fg.System(lambda h, x, p: p["a"] * h, lambda h, x, p: h, np.ones(2), {"a": fg.positive(0.7)})
    ys = 0.9 ** np.arange(1, 9)[:, None, None] + 0.05 * np.random.default_rng(0).normal(size=(8, 2, 2))
    options = {"ys": ys, "streams": 2, "engine": "numpy"}
    one, each = (fg.fit(two, observation_noise=[0.1, 0.2] * k, **options) for k in (1, 2))
    np.testing.assert_array_equal(one.params["a"], each.params["a"])
    np.testing.assert_allclose(one.noise, [0.1, 0.2] * 2)
    with pytest.raises(DeclarationError, match="one for each of the 2 outputs; got 3"):
        fg.fit(two, ys=ys, streams=2, observation_noise=[0.1] * 3)


def test_noise_is_refused_where_nothing_has_it():
    counts = fg.System(lambda h, x, p: p["a"] * h, lambda h, x, p: h, np.ones(1), {"a": 0.9}, loss=fg.losses.Poisson())
    with pytest.raises(DeclarationError, match="has no noise to give"):
        fg.fit(counts, ys=np.ones((9, 1)), observation_noise=0.1)
    with pytest.raises(DeclarationError, match="declared with it"):
        fg.fit(fg.filtered(decay(False), 0.1, 0.1), ys=np.ones((9, 1)), observation_noise=0.1)
