"""exp, log, tanh and the logistic function of the compiled engine: two units in the last place, for every double."""

import numpy as np
import pytest
from mpmath import mp, mpf
from scipy import special

from fwdgrad.engines.compiled_engine import compile_program, source
from fwdgrad.engines.compiled_engine.translating import translated
from fwdgrad.program import Abstract, trace

RNG = np.random.default_rng(0)
MANY = 1000
EDGES = [0.0, -0.0, np.inf, -np.inf, np.nan, 5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, 1.0, -1.0]
FUNCTIONS = {
    "exp": (np.exp, mp.exp, [RNG.uniform(-745.2, 709.78, MANY), RNG.uniform(-745.2, -708, 200), [709.782712893384]]),
    "log": (
        np.log,
        mp.log,
        [10 ** RNG.uniform(-323.5, 308, MANY), RNG.uniform(0.5, 2, MANY), 1 + 1e-8 * RNG.random(99)],
    ),
    "tanh": (
        np.tanh,
        mp.tanh,
        [RNG.uniform(-22, 22, MANY), RNG.normal(size=MANY) / 2, 10 ** RNG.uniform(-323, 0, 200)],
    ),
    "expit": (special.expit, lambda x: 1 / (1 + mp.exp(-x)), [RNG.uniform(-745, 40, MANY), RNG.normal(size=MANY)]),
}


def compiled(function, x):
    program = trace(lambda v: (function(v),), [Abstract.of(x)])
    assert not set(translated(source(program)).names) & {"exp", "log", "tanh"}, "a call into the C library"
    return compile_program(program)(x)[0]


def units(ours, exact):
    """The largest error in units in the last place of the exact result."""
    worst = 0.0
    for mine, true in zip(ours.tolist(), exact, strict=True):
        if mine != float(true):
            worst = max(worst, float(abs(mpf(mine) - true) / mpf(float(np.spacing(abs(float(true)))))))
    return worst


@pytest.fixture(autouse=True)
def precise():
    with mp.workprec(160):
        yield


@pytest.mark.parametrize("name", FUNCTIONS)
def test_they_are_exact_to_two_units_in_the_last_place(name):
    function, reference, parts = FUNCTIONS[name]
    x = np.concatenate([*parts, *(-np.asarray(p) for p in parts if name == "tanh")])
    exact = [reference(mpf(v)) for v in x.tolist()]
    assert units(compiled(function, x), exact) < 2
    assert units(np.nextafter(compiled(function, x), np.inf, dtype=float), exact) > 1.2, "another number is seen"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_their_edges_are_those_of_numpy(name):
    function, _, _ = FUNCTIONS[name]
    x = np.array(EDGES)
    with np.errstate(all="ignore"):
        expected = function(x)
    np.testing.assert_allclose(compiled(function, x), expected, rtol=4e-16)
    np.testing.assert_array_equal(np.isnan(compiled(function, x)), np.isnan(expected))


def test_single_precision_stays_single():
    x = np.linspace(0.1, 3, 7, dtype=np.float32)
    for function, _, _ in FUNCTIONS.values():
        made = compiled(function, x)
        assert made.dtype == np.float32
        np.testing.assert_allclose(made, function(x), rtol=3e-7)
