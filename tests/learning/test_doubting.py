"""Filters that were asked for by name: their first samples are kept beside them, and speak against them."""

import warnings

import numpy as np
import pytest

import fwdgrad as fg
from fwdgrad.errors import CalibrationWarning
from fwdgrad.learning.loops.doubting import FIRST, Doubting

NOISE = 0.1


def lag(outflow=lambda h: h):
    """A store with an inflow; the model is the one whose outflow is linear."""
    return fg.System(
        lambda h, x, p: h + 0.1 * (p["g"] * x - p["k"] * outflow(h)),
        None,
        np.zeros(1),
        {"k": fg.positive(0.7), "g": fg.positive(1.1)},
        np.zeros(1),
        loss=fg.losses.SquaredError(scale=NOISE),
    )


FILTERS = {
    "full": fg.InformationFilter("full", fisher="exact"),
    "diagonal": fg.InformationFilter(fisher="exact"),
    "parameter": fg.ParameterFilter(observation_noise=NOISE**2),
}


def samples(steps, outflow=lambda h: h, seed=0):
    rng = np.random.default_rng(seed)
    xs = np.repeat(rng.normal(size=steps // 10 + 1), 10)[:steps, None]
    ys = lag(outflow).simulate(xs, params={"k": 0.8, "g": 1.2}).outputs
    return xs, ys + NOISE * rng.normal(size=ys.shape)


def learned(by, xs, ys, **options):
    learner = fg.Learner(lag(), fg.RTRL(), FILTERS.get(by, by), engine="numpy", **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CalibrationWarning)
        learner.run(xs, ys)
    return learner


def lacks(learner):
    return any("lacks something" in finding for finding in learner.confidence().verdict.findings)


@pytest.mark.parametrize("by", FILTERS)
def test_a_weak_structure_that_was_left_out_is_named_by_every_filter(by):
    """An outflow that grows a little more than linearly; its residuals are as the filter expects them."""
    xs, ys = samples(300, lambda h: h + 0.03 * h**2)
    learner = learned(by, xs, ys)
    assert lacks(learner)
    if by != "diagonal":  # whose deviations are withheld anyway: it is elsewhere than a fit
        assert learner.confidence().factor["k"] > 1.3
    assert "lacks something" in str(learner.report())


@pytest.mark.parametrize("by", FILTERS)
def test_a_right_model_is_not_accused(by):
    """Negative control. What a diagonal filter is sure of is another thing."""
    assert not lacks(learned(by, *samples(300)))


def test_a_filter_that_went_astray_from_the_start_is_held_against_a_fit():
    """A gain in the logarithm, from a wrong start with a wide prior: the first samples are taken as linear there."""
    system = fg.System(
        lambda h, x, p: h + 0.1 * p["g"] * x,
        None,
        np.zeros(1),
        {"g": fg.positive(8.0)},
        np.zeros(1),
        loss=fg.losses.SquaredError(scale=NOISE),
    )
    xs = np.random.default_rng(0).normal(size=(100, 1))
    ys = system.simulate(xs, params={"g": 1.2}).outputs + NOISE * np.random.default_rng(1).normal(size=(100, 1))
    learner = fg.Learner(system, fg.RTRL(), FILTERS["full"], engine="numpy")
    with pytest.warns(CalibrationWarning):
        learner.run(xs, ys)
    with pytest.warns(CalibrationWarning):
        std = learner.parameter_std()["g"]
    assert not abs(learner.params["g"] - 1.2) > 3 * std


def test_what_is_learned_is_what_the_loop_inside_learns():
    """Bit for bit, sample by sample too."""
    xs, ys = samples(80)
    ys[::7] = np.nan
    wrapped, bare, single = (fg.Learner(lag(), fg.RTRL(), FILTERS["full"], engine="numpy") for _ in range(3))
    assert isinstance(bare._loop, Doubting)
    bare._loop = bare._loop.inner
    wrapped.run(xs, ys)
    bare.run(xs, ys)
    for x, y in zip(xs, ys, strict=True):
        single.step(x, y)
    wrapped.confidence()
    for one in (wrapped, single):
        assert one.params == bare.params
        assert one.parameter_std() == bare.parameter_std() or one.confidence().factor


def test_so_many_samples_are_kept_and_what_they_say_outlives_them(tmp_path):
    """In parts or at once, before and after a checkpoint."""
    xs, ys = samples(FIRST + 40, lambda h: h + 0.03 * h**2)
    learner = learned("full", xs[:200], ys[:200])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CalibrationWarning)
        learner.run(xs[200:300], ys[200:300])
        learner.save(tmp_path / "a.npz")
        again = fg.Learner.load(tmp_path / "a.npz", lag())
        for one in (learner, again):
            one.run(xs[300:], ys[300:])
        again.save(tmp_path / "b.npz")
        later = fg.Learner.load(tmp_path / "b.npz", lag())
    known = [one._loop.fitted() for one in (learner, again, later)]
    assert lacks(learner)
    assert lacks(later)
    for one in known:
        np.testing.assert_array_equal(one.bias, known[0].bias)
        assert one.lacks == known[0].lacks
    assert not any("record" in k for k in later._loop.arrays())  # asked once all were there, and dropped


def test_a_filter_that_forgets_is_not_held_to_old_samples():
    """Their parameters may have been others."""
    for optimizer in (
        fg.InformationFilter("full", fisher="exact", decay=0.01),
        fg.InformationFilter("full", fisher="exact", inflation=0.01),
        fg.ParameterFilter(observation_noise=NOISE**2, process_noise=1e-4),
    ):
        assert not isinstance(fg.Learner(lag(), fg.RTRL(), optimizer)._loop, Doubting)
    assert not isinstance(fg.Learner(lag(), fg.RTRL(), fg.Adam(1e-3))._loop, Doubting)


def test_a_record_that_misses_the_beginning_is_not_asked():
    """As of a learner that goes on with what another one has learned."""
    xs, ys = samples(200, lambda h: h + 0.03 * h**2)
    learner = learned("full", xs[:100], ys[:100])
    other = fg.Learner.resumed(
        lag(), FILTERS["full"], learner._loop.carry, learner.steps, learner._loop.feed.row, fg.RTRL()
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CalibrationWarning)
        other.run(xs[100:], ys[100:])
    assert other._loop.fitted() is None
