"""Whole steps, compiled, against the NumPy engine."""

import numpy as np
import pytest
from engine_checks import differences, plausible

import fwdgrad as fg
from fwdgrad import systems
from fwdgrad.learning.execution import Execution

SMALL = {
    "tanh-rnn": {"units": 5, "symbols": 3},
    "leaky-rnn": {"units": 5, "symbols": 3},
    "gru": {"units": 4, "symbols": 3},
    "lstm": {"units": 4, "symbols": 3},
    "diagonal": {"units": 5, "symbols": 3},
    "linear": {},
    "influence-balancing": {},
}
ESTIMATORS = {
    "rtrl": fg.RTRL(),
    "sparse-rtrl": fg.SparseRTRL(),
    "snap": fg.SnAp(1),
    "nobacktrack": fg.NoBackTrack(),
    "mixed": fg.NoBackTrack("mixed"),
    "uoro": fg.UORO(),
    "probe": fg.UORO("probe"),
    "rank 3": fg.UORO(rank=3),
    "window 3": fg.UORO(window=3),
}
OPTIMIZERS = {"sgd": fg.SGD(1e-2), "adam": fg.Adam(1e-2)}
STEP = ("learn", "transit", "predict", "forward")
WINDOW = (("replay", 3), ("backward", 3), "apply", ("advance", 3))


def wrong(system, estimator, optimizer, keys=None):
    execution = Execution(systems.build(system, **SMALL[system]), ESTIMATORS[estimator], OPTIMIZERS[optimizer], "numpy")
    keys = keys or (WINDOW if estimator.startswith("window") else STEP)
    programs = [execution.program(key) for key in keys]
    found = []
    for key, program in zip(keys, programs, strict=True):
        found += differences([str(key)], [program], [plausible(program)], 1e-12)
    return found


@pytest.mark.quick("tanh-rnn-rtrl*", "tanh-rnn-window*", "leaky-rnn-*", "diagonal-*", "linear-*", "influence-*")
@pytest.mark.parametrize(
    ("system", "estimator", "optimizer", "keys"),
    [
        ("tanh-rnn", "uoro", "sgd", STEP),
        ("tanh-rnn", "rtrl", "sgd", ("learn",)),
        ("tanh-rnn", "window 3", "sgd", WINDOW),
        ("leaky-rnn", "nobacktrack", "sgd", ("learn",)),
        ("gru", "mixed", "adam", ("learn",)),
        ("lstm", "probe", "sgd", ("learn",)),
        ("diagonal", "sparse-rtrl", "adam", ("learn",)),
        ("linear", "rank 3", "sgd", ("transit",)),
        ("influence-balancing", "snap", "sgd", ("learn",)),
    ],
)
def test_steps(system, estimator, optimizer, keys):
    assert wrong(system, estimator, optimizer, keys) == []


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("system", SMALL)
def test_all_steps(system, estimator, optimizer):
    assert wrong(system, estimator, optimizer) == []


def test_single_precision_stays_single():
    system = systems.build("tanh-rnn", units=5, symbols=3, dtype=np.float32)
    program = Execution(system, fg.UORO(), fg.Adam(1e-2), "numpy").program("learn")
    assert differences(["learn"], [program], [plausible(program)], 1e-4) == []
