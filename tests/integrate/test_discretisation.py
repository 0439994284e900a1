"""Steps δt that are too long are told of, with the size of the error, before and in runs; at fine steps nothing is."""

import warnings

import numpy as np
import pytest

import fwdgrad as fg
from fwdgrad import systems
from fwdgrad.checks.discretisation import SAMPLES
from fwdgrad.errors import CalibrationWarning, NonFiniteError
from fwdgrad.learning.loops import Stretches
from fwdgrad.learning.samples import Chunk

K, C = 4.0, 0.2
STATE, INFLUENCE = f"δt: state after {SAMPLES} samples", f"δt: influence of θ after {SAMPLES} samples"


def rates(h, x, p):
    return np.stack([h[1], -p["k"] * h[0] - p["c"] * h[1]])


def oscillator(dt, **options):
    params = {"k": K, "c": C} | options.pop("params", {})
    return fg.System(rates, lambda h, x, p: h[:1], np.array([1.0, 0.0]), params, dt=dt, **options)


def closed_form(t):
    w = np.sqrt(K - C * C / 4)
    return np.exp(-C / 2 * t) * (np.cos(w * t) + C / (2 * w) * np.sin(w * t))


def verdicts(report):
    return {row.what: row for row in report.rows if row.what.startswith("δt")}


def data(dt, count, noise=0.01):
    ys = closed_form(dt * np.arange(1, count + 1))
    return (ys + noise * np.random.default_rng(0).normal(size=count))[:, None]


def told(learner, act):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        act(learner)
    return [str(w.message) for w in caught if "integration steps are too long" in str(w.message)]


# ---- the default


def test_rates_are_integrated_by_rk4_unless_something_is_said():
    system = oscillator(0.1)
    assert system.method == "rk4"
    assert np.array_equal(system.simulate(steps=9).outputs, oscillator(0.1, method="rk4").simulate(steps=9).outputs)
    assert oscillator(0.1, method="euler").replace(dt=0.2).method == "euler"
    as_map = fg.System(rates, None, np.ones(2), {"k": 1.0, "c": 1.0})
    assert as_map.replace(dt=0.1).method == "rk4"  # what was not said is decided anew
    assert fg.from_text("d x/dt = -k*x\nx(0) = 1\nparam k = 1", dt=0.1).method == "rk4"


# ---- check


@pytest.mark.parametrize(("method", "dt"), [("euler", 0.02), ("heun", 0.2), ("rk4", 0.5), ("sdirk2", 0.2)])
def test_check_tells_the_size_of_the_error(method, dt):
    """Of the position, that of the closed form; the reference by itself would give 0, an Euler map 0 for its own."""
    row = verdicts(fg.check(oscillator(dt, method=method), steps=1))[STATE]
    t = dt * np.arange(1, SAMPLES + 1)
    w = np.sqrt(K - C * C / 4)
    exact = np.stack([closed_form(t), -K / w * np.exp(-C / 2 * t) * np.sin(w * t)], axis=1)
    steps = oscillator(dt, method=method).replace(Y=None).simulate(steps=SAMPLES).states
    expected = np.max(np.abs(steps - exact) / np.maximum(np.abs(exact).max(axis=0), [1.0, 0.0]))  # h(0) is (1, 0)
    assert row.error == pytest.approx(expected, rel=1e-4)
    assert row.verdict == "coarse"
    assert expected > row.tolerance


def test_the_influence_is_held_against_the_variational_equation():
    """h = exp(−k t), so ∂h/∂k = −t h; by Euler −t (1 − k dt)^(n − 1), the largest at another place."""
    system = fg.System(lambda h, x, p: -p["k"] * h, None, np.ones(1), {"k": 1.5}, dt=0.05, method="euler")
    row = verdicts(fg.check(system, steps=1))[INFLUENCE]
    n = np.arange(1, SAMPLES + 1)
    t = 0.05 * n
    exact, steps = t * np.exp(-1.5 * t), t * (1 - 1.5 * 0.05) ** (n - 1)
    assert row.error == pytest.approx(np.abs(exact - steps).max() / exact.max(), rel=1e-4)
    assert row.verdict == "coarse"


def test_what_check_says_mends_it():
    report = fg.check(oscillator(0.5), steps=1)
    assert report.ok
    assert str(report).endswith("Nothing failed, but steps are too long.")
    assert "substeps=" in verdicts(report)[STATE].note
    enough = max(int(row.note.split("substeps=")[1].split()[0]) for row in verdicts(report).values())
    fine = fg.check(oscillator(0.5, substeps=enough), steps=1)
    assert all(row.verdict == "ok" for row in verdicts(fine).values()), str(fine)
    assert str(fine).endswith("Nothing failed.")


def test_check_says_where_steps_explode():
    stiff = fg.System(lambda h, x, p: -p["k"] * h**3, None, np.full(1, 5.0), {"k": 1.0}, dt=0.1, method="heun")
    row = verdicts(fg.check(stiff, steps=1))[STATE]
    assert row.verdict == "coarse"
    assert "stop being finite at sample" in row.note
    assert verdicts(fg.check(stiff.replace(method="sdirk2", dt=1e-3), steps=1))[STATE].verdict == "ok"


@pytest.mark.parametrize("name", ["lotka-volterra", "van-der-pol", "mass-spring-damper"])
def test_nothing_is_said_of_the_catalogue(name):
    assert all(row.verdict == "ok" for row in verdicts(fg.check(systems.build(name), steps=1)).values())


def test_check_goes_through_inputs_that_are_given():
    """A push makes fast what is slow at rest."""
    system = fg.System(lambda h, x, p: x * p["k"] - p["k"] * h**3, None, np.zeros(1), {"k": 1.0}, np.zeros(1), dt=0.2)
    assert verdicts(fg.check(system, steps=1))[STATE].verdict == "ok"
    pushed = fg.check(system, steps=1, xs=np.full((SAMPLES, 1), 20.0))
    assert verdicts(pushed)[STATE].verdict == "coarse"


def test_a_map_has_no_steps_to_judge():
    assert not verdicts(fg.check(fg.System(lambda h, x, p: p["a"] * h, None, np.ones(1), {"a": 0.5}), steps=1))


# ---- runs


@pytest.mark.parametrize(("method", "dt", "count"), [("euler", 0.05, 1), ("rk4", 0.8, 1), ("rk4", 0.05, 0)])
def test_a_run_tells_once(method, dt, count):
    learner = fg.Learner(oscillator(dt, method=method), fg.RTRL(), fg.Adam(1e-4), engine="numpy")
    said = told(learner, lambda one: [one.run(ys=data(dt, 200)) for _ in range(2)])
    assert len(said) == count
    assert all(f"({method})" in text for text in said)
    assert any("integration steps" in line for line in learner.report().remarks) == bool(count)


@pytest.mark.parametrize(("dt", "count"), [(0.8, 1), (0.05, 0)])
def test_single_steps_tell_too(dt, count):
    learner = fg.Learner(oscillator(dt), fg.RTRL(), fg.Adam(1e-4), engine="numpy")
    assert len(told(learner, lambda one: [one.step(None, y) for y in data(dt, 130)])) == count


def test_the_size_of_the_error_is_told():
    """That of the closed form over the stretch, less what steps of a quarter leave."""
    learner = fg.Learner(oscillator(0.05, method="euler"), fg.RTRL(), fg.SGD(1e-12), engine="numpy")
    (said,) = told(learner, lambda one: one.run(ys=data(0.05, 64)))
    change = float(said.split("outputs change by ")[1].split(",")[0])
    runs = [oscillator(0.05, method="euler", substeps=s).simulate(steps=64).outputs for s in (1, 4)]
    assert change == pytest.approx(np.sqrt(np.mean((runs[0] - runs[1]) ** 2)), rel=0.05)


def test_large_errors_hide_small_ones():
    """Steps are judged by how well samples are predicted: by a tenth of their noise."""
    for noise, count in ((0.01, 1), (100.0, 0)):
        learner = fg.Learner(oscillator(0.05, method="euler"), fg.RTRL(), fg.SGD(1e-12), engine="numpy")
        assert len(told(learner, lambda one, noise=noise: one.run(ys=data(0.05, 64, noise)))) == count


def test_a_run_that_ends_in_an_error_tells_before():
    def diverges(learner):
        with pytest.raises(NonFiniteError, match="integration steps that are too long"):
            learner.run(ys=np.zeros((4000, 1)))

    params = {"k": fg.fixed(K), "c": fg.fixed(C), "gain": 1.0}
    system = fg.System(rates, lambda h, x, p: p["gain"] * h[:1], np.array([1.0, 0.0]), params, dt=1.5)
    learner = fg.Learner(system, fg.RTRL(), fg.SGD(1e-12), engine="numpy")
    assert len(told(learner, diverges)) == 1


def test_stretches_are_few():
    """At 0, 64, 128, 256, …: the work grows with the logarithm of the samples."""
    system = oscillator(0.05)
    stretches, seen = Stretches(system), []
    zero = np.zeros((1, 1))
    for step in range(2000):
        if stretches.wants(step, system.initial):
            seen.append(step)
            stretches.extend(Chunk([], [zero], np.array([True])), system.params)
    begun = [s for s in seen if s - 1 not in seen or s in (64, 128)]
    assert begun == [0, 64, 128, 256, 512, 1024]
    assert len(seen) == 6 * 64


def test_nothing_is_said_of_the_first_sample_of_a_trajectory_of_maps_or_of_corrected_states():
    system = oscillator(0.05)
    stretches = Stretches(system)
    stretches.restart()
    assert [stretches.wants(k, system.initial) for k in (0, 1)] == [False, True]
    assert not Stretches(fg.System(rates, None, np.ones(2), {"k": 1.0, "c": 1.0})).open
    assert not Stretches(oscillator(0.05, injection=np.zeros((2, 1)))).open


def test_it_is_a_warning_of_calibration():
    learner = fg.Learner(oscillator(0.8), fg.RTRL(), fg.Adam(1e-4), engine="numpy")
    with pytest.warns(CalibrationWarning, match="integration steps are too long"):
        learner.run(ys=data(0.8, 100))
