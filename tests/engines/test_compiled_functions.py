"""exp, log, tanh, sin, cos and the logistic function of the compiled engine: to two units in the last place."""

import math

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
QUARTERS = RNG.integers(1, 2**20, 300) * (np.pi / 2)
TURNS = [
    RNG.uniform(-9, 9, MANY),
    RNG.uniform(-(2**20), 2**20, MANY),
    [*QUARTERS, *np.nextafter(QUARTERS, np.inf)],  # hardly anything is left of them
    np.concatenate([np.arange(-8, 8, 2), [1, 3, 5, 7]]) * (np.pi / 4),
    10 ** RNG.uniform(-323, 308, MANY),
    [2.0**20, np.nextafter(2.0**20, 0), 1.7976931348623157e308],
]
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
    "sin": (np.sin, mp.sin, TURNS),
    "cos": (np.cos, mp.cos, TURNS),
    "expit": (special.expit, lambda x: 1 / (1 + mp.exp(-x)), [RNG.uniform(-745, 40, MANY), RNG.normal(size=MANY)]),
}


def compiled(function, x):
    program = trace(lambda v: (function(v),), [Abstract.of(x)])
    assert not set(translated(source(program)).names) & set(FUNCTIONS), "a call into the C library"
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


def test_what_is_far_is_the_c_librarys_and_changes_nothing_beside_it():
    x = RNG.uniform(-9, 9, 16)
    far = x.copy()
    far[[3, 7, 8]] = 6381956970095103 * 2.0**797, 2.0**21, np.inf  # the first is nearest to a multiple of π/2
    with np.errstate(invalid="ignore"):
        for function, exact in ((np.sin, math.sin), (np.cos, math.cos)):
            made, alone = compiled(function, far), compiled(function, x)
            beside = np.delete(made, [3, 7, 8])
            assert made[[3, 7]].tolist() == [exact(far[3]), exact(far[7])]
            assert np.isnan(made[8])
            np.testing.assert_array_equal(beside, np.delete(alone, [3, 7, 8]))


def test_few_numbers_are_the_c_librarys():
    """A loop over them is not worth entering."""
    assert "math.sin" in source(trace(lambda v: (np.sin(v),), [Abstract.of(np.zeros(3))]))
    assert "sines" in source(trace(lambda v: (np.sin(v),), [Abstract.of(np.zeros(4))]))


def test_single_precision_stays_single():
    x = np.linspace(0.1, 3, 7, dtype=np.float32)
    for function, _, _ in FUNCTIONS.values():
        made = compiled(function, x)
        assert made.dtype == np.float32
        np.testing.assert_allclose(made, function(x), rtol=3e-7)
