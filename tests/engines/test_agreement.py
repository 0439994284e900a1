"""Every engine, system of the catalogue, estimator, and SGD and Adam: the same parameters after 1000 steps."""

import inspect
from dataclasses import replace

import numpy as np
import pytest

import fwdgrad as fg
from fwdgrad import systems
from fwdgrad.errors import DeclarationError, NonFiniteError, TracingError
from fwdgrad.testing.problems import problem_for
from fwdgrad.windows import Sliding

STEPS = 1000
SIZES = {"units": 6, "symbols": 3, "minus": 4}
OPTIMIZERS = (fg.SGD(1e-3), fg.Adam(1e-3))
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


def learned(system, estimator, optimizer, engine, samples):
    """Parameters after the first step and after all of them; the number of steps; or why it cannot be."""
    try:
        learner = fg.Learner(system, estimator, optimizer, seed=3, engine=engine)
    except (DeclarationError, TracingError) as refusal:
        return type(refusal), 0, 0
    first = None
    xs, ys = samples
    try:
        learner.step(xs[0], ys[0])
        first = np.concatenate([np.ravel(v) for v in learner.params.values()])
        learner.run(list(zip(xs[1:], ys[1:], strict=True)))
        learner.finish()
    except NonFiniteError:
        pass
    return first, np.concatenate([np.ravel(v) for v in learner.params.values()]), learner.steps


def far(ours, others):
    """The largest relative difference in a parameter's array."""
    return np.max(np.abs(ours - others)) / max(np.max(np.abs(others)), 1e-300)


def disagreements(name, engine, estimators, optimizers=OPTIMIZERS, steps=STEPS, spoil=0.0):
    """Every combination where an engine is not where the NumPy engine is."""
    system = build(name)
    problem = problem_for(system, steps, seed=1)
    found, compared = [], 0
    for label, estimator in estimators.items():
        for optimizer in optimizers:
            samples = problem.user_xs, problem.ys
            ours = learned(system, estimator, optimizer, engine, samples)
            spoiled = [problem.user_xs[0], *problem.user_xs[1:]], [problem.ys[0], *(y + spoil for y in problem.ys[1:])]
            reference = learned(system, estimator, optimizer, "numpy", samples if not spoil else spoiled)
            where = f"{name}, {label}, {optimizer!r}, {engine}"
            if isinstance(ours[0], type) or isinstance(reference[0], type):
                if ours[0] is not reference[0]:
                    found.append(f"{where}: {ours[0]} here, {reference[0]} there")
                continue
            compared += 1
            if ours[2] != reference[2]:
                found.append(f"{where}: {ours[2]} steps here, {reference[2]} there")
            if ours[0] is not None and far(ours[0], reference[0]) > 1e-13:
                found.append(f"{where}: first step off by {far(ours[0], reference[0]):.2g}")
            if far(ours[1], reference[1]) > 1e-9:
                found.append(f"{where}: off by {far(ours[1], reference[1]):.2g}")
    assert compared, "nothing was compared"
    return found


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["numba", "eager"])
@pytest.mark.parametrize("name", systems.CATALOGUE)
def test_engines_agree(name, engine):
    assert not disagreements(name, engine, ESTIMATORS)


@pytest.mark.parametrize("engine", ["numba", "eager"])
def test_engines_agree_on_a_linear_system(engine):
    assert not disagreements("linear", engine, {"UORO": fg.UORO()}, steps=200)


def test_other_samples_are_seen():
    found = disagreements("linear", "eager", {"UORO": fg.UORO()}, [fg.SGD(1e-3)], steps=200, spoil=1e-6)
    assert found
    assert all("off by" in line for line in found)
