"""Everything that ships goes through `fwdgrad.testing`: every influence, estimator, optimizer, system and engine.

Influences and estimators on the built-in systems of the suite, and on a small one of each kind in the catalogue.
"""

from __future__ import annotations

import dataclasses
import functools
import types
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import fwdgrad as fg
from fwdgrad import estimators, influence, optimizers, systems
from fwdgrad.engines.names import ENGINES
from fwdgrad.errors import DeclarationError
from fwdgrad.estimators.windows import Sliding
from fwdgrad.influence import (
    Averaged,
    Debiased,
    Decayed,
    Directional,
    Exact,
    Kronecker,
    KroneckerSum,
    Masked,
    NoInfluence,
    RankOne,
    Split,
    TensorProduct,
)
from fwdgrad.optimizers import InformationFilter, ParameterFilter, schedules
from fwdgrad.testing import check_engine, check_estimator, check_influence, check_optimizer, check_system

# name → influence, and what it claims
INFLUENCES: dict[str, tuple[Any, str]] = {
    "exact": (Exact(), "exact"),
    "masked": (Masked(), "exact"),
    "masked, one step": (Masked(1), "biased"),
    "masked, two steps": (Masked(2), "biased"),
    "none": (NoInfluence(), "biased"),
    "decayed": (Decayed(0.7), "biased"),
    "debiased": (Debiased(Masked(1)), "unbiased"),
    "debiased, watched": (Debiased(Masked(1), watch=True), "unbiased"),
    "debiased, black box": (Debiased(NoInfluence()), "unbiased"),
    "common": (RankOne(), "unbiased"),
    "common, normal": (RankOne(signs="normal"), "unbiased"),
    "unit": (RankOne("unit"), "unbiased"),
    "unit, normal": (RankOne("unit", "normal"), "unbiased"),
    "mixed": (RankOne("mixed"), "unbiased"),
    "probe": (RankOne("probe"), "unbiased"),
    "two copies": (Averaged(RankOne(), 2), "unbiased"),
    "directional": (Directional(), "unbiased"),
    "directional, signs": (Directional("signs"), "unbiased"),
    "kronecker": (Kronecker(), "unbiased"),
    "kronecker sum": (KroneckerSum(1), "unbiased"),
    "split, kronecker sum": (Split(KroneckerSum(2), Exact()), "unbiased"),
    "tensor": (TensorProduct(), "unbiased"),
    "tensor, split": (Split(TensorProduct(), Exact()), "unbiased"),
    "split, exact": (Split(Kronecker(), Exact()), "unbiased"),
    "split, random": (Split(Kronecker(), RankOne("unit")), "unbiased"),
}
DEAR = {
    "mixed",
    "kronecker sum",
    "debiased, black box",
    "debiased, watched",
    "common, normal",
    "directional",
    "probe",
    "two copies",
    "split, random",
    "unit, normal",
}

ESTIMATORS: dict[str, tuple[fg.Estimator, str]] = {
    "RTRL": (fg.RTRL(), "exact"),
    "SparseRTRL": (fg.SparseRTRL(), "exact"),
    "SnAp": (fg.SnAp(1), "biased"),
    "Decayed": (fg.Decayed(0.5), "biased"),
    "Debiased": (fg.Debiased(), "unbiased"),
    "Hybrid": (fg.Hybrid(), "exact"),
    "Hybrid(2)": (fg.Hybrid(2), "exact"),
    "BPTT": (fg.BPTT(), "exact"),
    "BPTT, checkpoints": (fg.BPTT(checkpoints=True), "exact"),
    "TBPTT": (fg.TBPTT(2), "biased"),
    "TBPTT, stride": (fg.TBPTT(2, 1), "biased"),
    "ARTBP": (fg.ARTBP(0.4), "unbiased"),
    "UORO": (fg.UORO(), "unbiased"),
    "UORO, window": (fg.UORO(window=2), "unbiased"),
    "UORO, stride": (replace(fg.UORO(), window=Sliding(2, 1)), "unbiased"),
    "UORO, probe": (fg.UORO("probe"), "unbiased"),
    "UORO, rank": (fg.UORO(rank=2), "unbiased"),
    "NoBackTrack": (fg.NoBackTrack(), "unbiased"),
    "NoBackTrack, mixed": (fg.NoBackTrack("mixed", window=2), "unbiased"),
    "NoBackTrack, rank": (fg.NoBackTrack(rank=2), "unbiased"),
    "KFRTRL": (fg.KFRTRL(others="rtrl"), "unbiased"),
    "OK": (fg.OK(2, "rtrl"), "unbiased"),
    "TensorNoBackTrack": (fg.TensorNoBackTrack(others="rtrl"), "unbiased"),
    "ForwardGradient": (fg.ForwardGradient(window=2), "unbiased"),
}

DEAR_ESTIMATORS = {"TensorNoBackTrack", "UORO, probe", "UORO, rank", "NoBackTrack, rank", "ForwardGradient"}

OPTIMIZERS = {
    "SGD": fg.SGD(0.1),
    "SGD, schedule": fg.SGD(schedules.inverse_sqrt(0.1, 0.03)),
    "SGD, function": fg.SGD(lambda t: 0.5 / (5.0 + t)),
    "Adam": fg.Adam(0.01),
    "Adam, schedule": fg.Adam(schedules.inverse_power(0.1)),
    "AdaGrad": fg.AdaGrad(0.1),
    "Momentum": fg.Momentum(0.02, nesterov=True),
    "RMSprop": fg.RMSprop(0.01),
    "AdamW": fg.AdamW(0.01),
    "Clipped": fg.Clipped(fg.Adam(0.01), 0.5),
    "InformationFilter": InformationFilter(),
    "InformationFilter, full": InformationFilter("full", prior=2.0),
}

# these learn in a learner only, which tells them what the predictions are
BOUND = (ParameterFilter(), InformationFilter("full", "exact"), InformationFilter("quasi-diagonal"))

SYSTEMS: dict[str, dict[str, Any]] = {
    "tanh-rnn": {"units": 3, "symbols": 2},
    "leaky-rnn": {"units": 2, "inputs": 1},
    "gru": {"units": 2, "symbols": 2, "reset": "before"},
    "lstm": {"units": 1, "symbols": 2},
    "diagonal": {"units": 2, "symbols": 2},
    "linear": {"units": 2, "inputs": 1},
    "influence-balancing": {"units": 3, "minus": 2},
}

# Kronecker products are for matrices in products; these systems have other parameters, too, or none of the kind.
REFUSED = {
    (kept, name) for kept in ("kronecker", "kronecker sum", "tensor") for name in SYSTEMS if name != "linear"
} | {
    (name, "influence-balancing") for name in ("split, exact", "split, random", "split, kronecker sum", "tensor, split")
}


@functools.cache
def small(name: str) -> fg.System:
    return systems.build(name, **SYSTEMS[name])


def slow_if(condition: bool, value: str) -> Any:
    return pytest.param(value, marks=pytest.mark.slow) if condition else value


# ---------------------------------------------------------------- nothing is left out


def test_every_influence_estimator_optimizer_and_system_is_here():
    classes = {c for c in map(vars(influence).get, influence.__all__) if dataclasses.is_dataclass(c)}
    kinds = {c for c in classes if hasattr(c, "advance")}
    assert kinds == {type(i) for i, _ in INFLUENCES.values()}
    makers = {n for n in estimators.__all__ if n[0].isupper() and isinstance(vars(estimators)[n], types.FunctionType)}
    assert makers == {label.partition(",")[0].partition("(")[0] for label in ESTIMATORS}
    classes = {c for c in map(vars(optimizers).get, optimizers.__all__) if dataclasses.is_dataclass(c)}
    elsewhere = {optimizers.JointFilter, optimizers.NormalEquations}  # no optimizers of gradients: test_joint_filter.py
    held = {type(o) for o in (*OPTIMIZERS.values(), *BOUND)}
    assert {c for c in classes if hasattr(c, "update")} == held | elsewhere
    equations = {name for name in systems.CATALOGUE if systems.build(name).dt is not None}  # in test_ode_catalogue.py
    assert set(SYSTEMS) == set(systems.CATALOGUE) - equations


# ---------------------------------------------------------------- influences


@pytest.mark.quick(
    *("exact", "masked", "masked, two steps", "none", "decayed", "common", "directional, signs", "kronecker", "tensor")
)
@pytest.mark.parametrize("name", [slow_if(name in DEAR, name) for name in INFLUENCES])
def test_influence(name):
    kept, claim = INFLUENCES[name]
    check_influence(kept, claim=claim)


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize(
    "name",
    [
        slow_if(name in DEAR or name in ("split, exact", "tensor, split", "split, kronecker sum"), name)
        for name in INFLUENCES
    ],
)
@pytest.mark.covering
def test_influence_on_the_catalogue(name, system):
    kept, claim = INFLUENCES[name]
    if (name, system) in REFUSED:
        with pytest.raises(DeclarationError):
            check_influence(kept, small(system), claim=claim)
    else:
        check_influence(kept, small(system), claim=claim)


def test_a_pattern_of_some_steps_is_exact_where_it_is_closed():
    """Diagonal units: one step is all there is."""
    check_influence(Masked(1), small("diagonal"), claim="exact")


# ---------------------------------------------------------------- estimators


@pytest.mark.quick("BPTT")
@pytest.mark.parametrize("name", [slow_if(name not in ("Hybrid(2)", "BPTT", "KFRTRL"), name) for name in ESTIMATORS])
def test_estimator(name):
    estimator, claim = ESTIMATORS[name]
    check_estimator(estimator, claim=claim)


@pytest.mark.quick("RTRL", "TBPTT", "BPTT, checkpoints", "ARTBP", "UORO", "NoBackTrack", "KFRTRL")
@pytest.mark.parametrize("name", [slow_if(name in DEAR_ESTIMATORS, name) for name in ESTIMATORS])
def test_estimator_on_the_catalogue(name):
    """On one system that has no structure to speak of, and one with more of it."""
    estimator, claim = ESTIMATORS[name]
    for system in ("tanh-rnn", "leaky-rnn"):
        check_estimator(estimator, small(system), claim=claim)


# ---------------------------------------------------------------- optimizers and systems


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizer(name):
    check_optimizer(OPTIMIZERS[name])


@pytest.mark.filterwarnings("ignore:QuasiDiagonal. no unit has a bias")
@pytest.mark.parametrize("optimizer", BOUND, ids=lambda o: f"{type(o).__name__}-{getattr(o, 'matrix', '')}")
def test_optimizer_that_has_to_be_told(optimizer):
    check_engine("eager", small("linear"), estimators=[fg.RTRL(), fg.NoBackTrack()], optimizers=[optimizer], steps=8)


@pytest.mark.quick("tanh-rnn", "lstm", "diagonal", "linear", "influence-balancing")
@pytest.mark.parametrize("name", SYSTEMS)
def test_system(name):
    check_system(small(name))
    check_system(systems.build(name, **SYSTEMS[name], dtype=np.float32))


# ---------------------------------------------------------------- engines

OTHERS = [engine for engine in ENGINES if engine not in ("auto", "numpy")]
SOON = (fg.RTRL(), fg.NoBackTrack(rank=2), fg.UORO(window=3), fg.BPTT())


@pytest.mark.slow
@pytest.mark.parametrize("engine", OTHERS)
def test_engine(engine):
    check_engine(engine)


@pytest.mark.quick("linear-*", "influence-balancing-*")
@pytest.mark.parametrize("engine", [slow_if(engine != "eager", engine) for engine in OTHERS])
@pytest.mark.parametrize("system", [slow_if(name in ("gru", "lstm"), name) for name in SYSTEMS])
def test_engine_on_the_catalogue(engine, system):
    fewer = {"estimators": SOON[1:3], "optimizers": [fg.SGD(1e-2)]}  # where a step takes seconds to compile
    check_engine(engine, small(system), **({"estimators": SOON} if engine == "eager" else fewer))


@pytest.mark.parametrize("engine", OTHERS)
def test_engine_on_one_system(engine):
    pytest.importorskip({"compiled": "llvmlite", "jax": "jax"}.get(engine, "numpy"))
    check_engine(engine, small("tanh-rnn"), estimators=[fg.NoBackTrack()], optimizers=[fg.Adam(1e-2)])
