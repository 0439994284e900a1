"""Every engine, system of the catalogue, estimator, and SGD and Adam: the same parameters after 1000 steps."""

import inspect
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest

import fwdgrad as fg
from fwdgrad import systems
from fwdgrad.errors import DeclarationError, NonFiniteError, TracingError
from fwdgrad.estimators.windows import Sliding
from fwdgrad.testing.problems import problem_for

STEPS = 1000
SIZES = {"units": 6, "symbols": 3, "minus": 4}
OPTIMIZERS = (fg.SGD, fg.Adam)
RATES = (1e-3, 1e-4, 1e-5, 1e-6, 1e-8, 1e-10)
"""The first at which nothing diverges: on the way to 1e50 the last bit of the first step is seen in the end."""
ESTIMATORS = {
    "RTRL": fg.RTRL(),
    "SparseRTRL": fg.SparseRTRL(),
    "SnAp": fg.SnAp(1),
    "Hybrid": fg.Hybrid(3),
    "BPTT": fg.BPTT(),
    "BPTT, checkpoints": fg.BPTT(checkpoints=True),
    "TBPTT": fg.TBPTT(5),
    "TBPTT, sliding": fg.TBPTT(6, 2),
    "ARTBP": fg.ARTBP(0.3),
    "UORO": fg.UORO(),
    "UORO, probe": fg.UORO("probe"),
    "UORO, window": fg.UORO(window=4),
    "UORO, sliding": replace(fg.UORO(), window=Sliding(4, 2)),
    "UORO, rank": fg.UORO(rank=2),
    "NoBackTrack": fg.NoBackTrack(),
    "NoBackTrack, mixed": fg.NoBackTrack("mixed"),
    "KFRTRL": fg.KFRTRL(others="uoro"),
    "TensorNoBackTrack": fg.TensorNoBackTrack(others="uoro"),
    "ForwardGradient": fg.ForwardGradient(),
}


def build(name):
    known = inspect.signature(systems.CATALOGUE[name]).parameters
    return systems.build(name, **{k: v for k, v in SIZES.items() if k in known})


class Outcome(NamedTuple):
    """Parameters after the first step and after all of them, and the number of steps; or why there are none."""

    first: np.ndarray | None = None
    last: np.ndarray | None = None
    steps: int = 0
    refusal: type | None = None


def learned(system, estimator, optimizer, engine, samples):
    """What comes of learning from all samples, or from those before something is not finite."""
    try:
        learner = fg.Learner(system, estimator, optimizer, seed=3, engine=engine)
    except (DeclarationError, TracingError) as refusal:
        return Outcome(refusal=type(refusal))
    first, (xs, ys) = None, samples
    with np.errstate(all="ignore"):
        try:
            learner.step(xs[0], ys[0])
            first = flat(learner.params)
            learner.run(list(zip(xs[1:], ys[1:], strict=True)))
            learner.finish()
        except NonFiniteError:
            pass
        return Outcome(first, flat(learner.params), learner.steps)


def flat(params):
    return np.concatenate([np.ravel(v) for v in params.values()])


def reference(system, estimator, make, samples, steps):
    """An optimizer with which the parameters stay where they can be, and what the NumPy engine makes with it."""
    for rate in RATES:
        optimizer = make(rate)
        made = learned(system, estimator, optimizer, "numpy", samples)
        if made.refusal or (made.steps == steps and far(made.last, flat(system.params)) < 1):
            break
    return optimizer, made


def far(ours, others):
    """The largest relative difference in a parameter's array."""
    return np.max(np.abs(ours - others)) / max(np.max(np.abs(others)), 1e-300)


def disagreements(name, engines, estimators, optimizers=OPTIMIZERS, steps=STEPS, spoil=0.0):
    """Every combination where an engine is not where the NumPy engine is."""
    system = build(name)
    problem = problem_for(system, steps, seed=1)
    samples = problem.user_xs, problem.ys
    spoiled = problem.user_xs, [problem.ys[0], *(y + spoil for y in problem.ys[1:])]
    found, compared = [], 0
    for label, estimator in estimators.items():
        for make in optimizers:
            optimizer, there = reference(system, estimator, make, samples, steps)
            for engine in engines:
                here = learned(system, estimator, optimizer, engine, spoiled)
                where = f"{name}, {label}, {optimizer!r}, {engine}"
                if here.refusal is not there.refusal:
                    found.append(f"{where}: {here.refusal} here, {there.refusal} there")
                if here.refusal or there.refusal:
                    continue
                compared += 1
                if not here.steps == there.steps == steps:
                    found.append(f"{where}: {here.steps} steps here, {there.steps} there")
                if far(here.first, there.first) > 1e-13:
                    found.append(f"{where}: first step off by {far(here.first, there.first):.2g}")
                if far(here.last, there.last) > 1e-9:
                    found.append(f"{where}: off by {far(here.last, there.last):.2g}")
    assert compared, "nothing was compared"
    return found


@pytest.mark.slow
# it is no matter here what is learned, and how well
@pytest.mark.filterwarnings("ignore::fwdgrad.errors.BoundWarning")
@pytest.mark.filterwarnings("ignore:.*integration steps are too long:fwdgrad.errors.CalibrationWarning")
@pytest.mark.parametrize("name", systems.CATALOGUE)
def test_engines_agree(name):
    assert not disagreements(name, ["compiled", "eager"], ESTIMATORS)


@pytest.mark.parametrize("engine", ["compiled", "eager"])
def test_engines_agree_on_a_linear_system(engine):
    assert not disagreements("linear", [engine], {"UORO": fg.UORO()}, steps=200)


def test_other_samples_are_seen():
    found = disagreements("linear", ["eager"], {"UORO": fg.UORO()}, [fg.SGD], steps=200, spoil=1e-6)
    assert found
    assert all("off by" in line for line in found)


@pytest.mark.parametrize(
    "F",
    [
        lambda h, x, p: p["a"] ** 0 * h,
        lambda h, x, p: p["a"] * h + (h + 2.5) // (p["a"] + 1.0),
        lambda h, x, p: p["a"] * h + 7.0 // (h + 2.2),
        lambda h, x, p: p["a"] * h + sum(divmod(h, 0.3)),
    ],
    ids=["a ** 0", "//", "number //", "divmod"],
)
@pytest.mark.filterwarnings("ignore::fwdgrad.errors.DeadParameterWarning")
def test_operators_on_the_eager_engine(F):
    """Floor division of traced arrays, and a parameter that enters without a derivative."""
    made = []
    for engine in ("numpy", "eager"):
        system = fg.System(F, None, np.ones(2), {"a": 0.5})
        learner = fg.Learner(system, fg.RTRL(), fg.SGD(1e-3), engine=engine)
        learner.step(y=np.zeros(2))
        made.append(np.concatenate([learner.influence_matrix().ravel(), learner.state]))
    np.testing.assert_allclose(made[0], made[1], rtol=1e-12)
