"""0 · ∞ in a derivative: 0 where nothing depends on what is infinite, refused where something does; on every engine."""

import numpy as np
import pytest

from fwdgrad.engines.numpy_engine import compile_program
from fwdgrad.linear import autodiff
from fwdgrad.program import Abstract, Linearized, derivatives, repeat, trace
from fwdgrad.program.alive import Guards
from fwdgrad.program.operations.pointwise import STEEP

SINC = np.cos(1.0) - np.sin(1.0)

# a function of vectors, entry by entry; where; its derivative
KNOWN = {
    "root of what is positive": (lambda h: np.where(h > 0, np.sqrt(h), 0.0), [0.0, 4.0, -1.0], [0.0, 0.25, 0.0]),
    "sin(x)/x": (lambda x: np.where(x != 0, np.sin(x) / x, 1.0), [0.0, 1.0], [0.0, SINC]),
    "x log x": (lambda x: np.where(x > 0, x * np.log(x), 0.0), [0.0, 1.0], [0.0, 1.0]),
    "softplus": (lambda x: np.where(x > 30.0, x, np.log1p(np.exp(x))), [1000.0, 0.0], [1.0, 0.5]),
    "quotient in a choice of choices": (
        lambda x: np.where(x >= 0, np.where(x > 0, np.exp(-1.0 / x) * x, 0.0), -x),
        [0.0, 1.0, -2.0],
        [0.0, 2 * np.exp(-1.0), -1.0],
    ),
    "np.select": (
        lambda x: np.select([x < 0, x > 0], [np.sqrt(-x), np.log(x)], 0.0),
        [0.0, 2.0, -1.0],
        [0.0, 0.5, -0.5],
    ),
    "power of |x|": (lambda x: np.abs(x) ** 0.3, [0.0, 1.0, -1.0], [0.0, 0.3, -0.3]),
    "HYMOD's store": (lambda s: 3.0 * (1 - np.abs(1 - s / 2.0) ** (1 / 1.5)), [2.0, 1.0], [0.0, 0.5 ** (-1 / 3)]),
    "root of a norm": (lambda x: np.sqrt(np.hypot(x, 0.0 * x)), [0.0, 4.0], [0.0, 0.25]),
    "nothing left of the larger": (lambda x: np.sqrt(np.minimum(x, 0.0) + 1.0 - 1.0 * (x < 9)), [1.0, 4.0], [0.0, 0.0]),
    "x times its root": (lambda x: 2.0 * x * np.sqrt(x), [0.0, 4.0], [0.0, 6.0]),
    "a factor that is 0": (lambda x: np.sqrt(x * np.array([0.0, 1.0])), [2.0, 4.0], [0.0, 0.25]),
}

# a function of vectors of two; where it is refused at the first entry, though its value is finite
REFUSED = {
    "root": (np.sqrt, 0.0),
    "root, taken": (lambda h: np.where(h >= 0, np.sqrt(h), 0.0), 0.0),
    "reciprocal, taken": (lambda x: np.arctan(np.where(x >= 0, 1 / x, 0.0)), 0.0),
    "power": (lambda x: x**0.3, 0.0),
    "power, exponent computed": (lambda x: x ** (0.3 + 0.0 * x), 0.0),
    "arcsin": (np.arcsin, 1.0),
    "arccos": (np.arccos, 1.0),
    "arccosh": (np.arccosh, 1.0),
    "cbrt": (np.cbrt, 0.0),
    # 0 · ∞ that stands for something: 1, 1, 1, ∞ and ∞
    "square of a root": (lambda x: np.sqrt(x) ** 2, 0.0),
    "product of roots": (lambda x: np.sqrt(x) * x**0.5, 0.0),
    "root of a cube": (lambda x: np.cbrt(x**3), 0.0),
    "power of a power": (lambda x: (x**1.5) ** 0.4, 0.0),
    "power of a root": (lambda x: np.sqrt(x) ** 1.5, 0.0),
}


def diagonals(function, point):
    """The derivative on each engine, forward and backward, as matrices."""
    from interpreted import interpreted

    x = np.asarray(point, float)
    program = trace(lambda a: (function(a),), [Abstract.of(x)])
    eye = np.eye(len(x))

    def products(a, t, c):
        linearized = Linearized(program, [a])
        return *linearized.jvp({0: t}), *linearized.vjp([c], [0])

    whole = trace(products, [Abstract.of(x)] * 3)
    made = {}
    for name, run in (("as it is", products), ("numpy", compile_program(whole)), ("compiled", interpreted(whole))):
        both = [run(x, e, e) for e in eye]
        made[f"{name}, forward"] = np.array([b[0] for b in both]).T
        made[f"{name}, backward"] = np.array([b[1] for b in both])
    pull, _ = autodiff.make_vjp(lambda z: function(z[0]), (x,))
    push = autodiff.make_jvp(lambda z: function(z[0]), (x,))
    made["eager, forward"] = np.array([push((e,))[1] for e in eye]).T
    made["eager, backward"] = np.array([pull(e)[0] for e in eye])
    return made


@pytest.fixture(autouse=True)
def quiet():
    pytest.importorskip("llvmlite")
    with np.errstate(all="ignore"):
        yield


@pytest.mark.filterwarnings("ignore:Output seems independent")
@pytest.mark.parametrize("name", KNOWN)
def test_what_nothing_depends_on_contributes_nothing(name):
    function, point, expected = KNOWN[name]
    for label, found in diagonals(function, point).items():
        np.testing.assert_allclose(found, np.diag(expected), rtol=1e-12, atol=1e-15, err_msg=label)


@pytest.mark.parametrize("name", ["sin(x)/x", "softplus", "power of |x|", "HYMOD's store"])
def test_differences(name):
    """Of values to both sides, where the function goes on through the edge, or is the same on both."""
    function, point, expected = KNOWN[name]
    x = np.asarray(point, float)
    found = (function(x + 1e-6) - function(x - 1e-6)) / 2e-6
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("name", REFUSED)
def test_what_something_depends_on_is_refused(name):
    function, edge = REFUSED[name]
    for label, found in diagonals(function, [edge, edge + 0.0]).items():
        assert not np.isfinite(np.diag(found)).any(), label


def test_without_guards_the_known_ones_are_refused(monkeypatch):
    """Negative control."""
    nothing = Guards(trace(lambda a: (a,), [Abstract((), np.dtype(float))]))
    monkeypatch.setattr(derivatives.Guards, "of", staticmethod(lambda program: nothing))
    for name in ("root of what is positive", "sin(x)/x", "x log x", "softplus", "power of |x|", "HYMOD's store"):
        function, point, _ = KNOWN[name]
        backward = diagonals(function, point)["numpy, backward"]
        assert np.isnan(backward).any(), name


@pytest.mark.parametrize("operation", [np.sqrt, np.cbrt, np.arccosh, lambda x: x**0.3])
def test_a_tangent_of_zero_and_one_that_is_small(operation):
    x = np.array([1.0 if operation is np.arccosh else 0.0])
    point = Linearized(trace(lambda a: (operation(a),), [Abstract.of(x)]), [x])
    for size, expected in ((0.0, 0.0), (1e-300, np.inf), (-1e-300, -np.inf), (5e-324, np.inf)):
        assert point.jvp({0: np.array([size])})[0] == expected
        assert point.vjp([np.array([size])], [0])[0] == expected
    assert np.isnan(point.jvp({0: np.array([np.nan])})[0])


def test_a_factor_that_is_zero():
    """a f(x) has the derivative a' f where a = 0, whatever f' is, and a difference of equal ones has none."""
    shape = Abstract((), np.dtype(float))
    for function, a, expected, cancels in (
        (lambda a, x: a * np.sqrt(x), 0.0, [0.0, 0.0], False),
        (lambda a, x: x * np.sqrt(x) + a, 2.0, [1.0, 0.0], False),
        (lambda a, x: np.sin(a) * np.sqrt(x), 0.0, [0.0, 0.0], False),
        (lambda a, x: a + np.sqrt(x) - np.sqrt(x), 1.0, [1.0, 0.0], True),
    ):
        point = Linearized(trace(lambda a, x: (function(a, x),), [shape] * 2), [np.array(a), np.array(0.0)])  # noqa: B023
        np.testing.assert_array_equal(point.vjp([np.array(1.0)], [0, 1]), expected)
        if not cancels:  # forward, that is ∞ − ∞
            assert point.jvp({1: np.array(1.0)}) == (expected[1],)
    point = Linearized(trace(lambda a, x: (a * np.sqrt(x),), [shape] * 2), [np.array(1e-300), np.array(0.0)])
    assert np.isinf(point.vjp([np.array(1.0)], [1])[0])


def test_other_numbers_are_what_they_were():
    """To the bit, away from the edges: guards choose between 0 and the same product."""

    def function(a, b):
        h = np.abs(1 - a / b) ** (1 / (b + 1))
        return (np.where(h > 0.5, np.sqrt(h) / a, np.log(a) * h) + np.arcsin(h / 9),)

    rng = np.random.default_rng(3)
    a, b = rng.uniform(0.1, 2.0, (2, 50))
    program = trace(function, [Abstract.of(a)] * 2)
    plain = Linearized(program, [a, b])
    plain._guards = Guards(trace(lambda a: (a,), [Abstract.of(a)]))
    guarded = Linearized(program, [a, b])
    t, c = rng.standard_normal((2, 50))
    np.testing.assert_array_equal(guarded.jvp({0: t, 1: c}), plain.jvp({0: t, 1: c}))
    np.testing.assert_array_equal(guarded.vjp([t], [0, 1]), plain.vjp([t], [0, 1]))


def test_programs_without_infinite_derivatives_have_no_guards():
    """What they cost, nobody pays who does not need them."""

    def smooth(h, w):
        z = 1 / (1 + np.exp(-w * h))
        return ((1 - z) * np.tanh(h) + np.sqrt(np.maximum(h, 1e-6)) + h**1.5 + np.maximum(np.log(h), 0.0) / w,)

    guards = Guards(trace(smooth, [Abstract((3,), np.dtype(float))] * 2))
    assert not guards.forward
    assert not guards.backward
    assert set(STEEP) >= {"sqrt", "power"}


def test_loops_and_second_derivatives():
    """Inside of a loop, and in the derivative of a derivative."""

    def step(h):
        return h - 0.25 * np.where(h > 0, np.sqrt(h), 0.0)

    x = np.array([0.0, 4.0])
    once = Abstract.of(x)
    for recorded in (trace(lambda h: (repeat(step, h, 2),), [once]), trace(lambda h: (step(step(h)),), [once])):
        gradient = trace(lambda h, p=recorded: Linearized(p, [h]).vjp([np.ones(2)], [0]), [once])
        forward = trace(lambda h, p=recorded: Linearized(p, [h]).jvp({0: np.ones(2)}), [once])
        first = 1 - 0.125 / np.sqrt(4.0)
        slope = first * (1 - 0.125 / np.sqrt(3.5))
        np.testing.assert_allclose(gradient(x)[0], [1.0, slope])
        np.testing.assert_allclose(forward(x)[0], [1.0, slope])
        second = Linearized(gradient, [x]).jvp({0: np.ones(2)})[0]
        exact = 0.0625 / 8 * (1 - 0.125 / np.sqrt(3.5)) + first**2 * 0.0625 / 3.5**1.5
        np.testing.assert_allclose(second, [0.0, exact])


def test_an_infinite_tangent_that_is_not_the_largest():
    """Extreme values choose as well; of nothing but NaN, they choose nothing."""
    x = np.array([0.0, 4.0])
    point = Linearized(trace(lambda h: (np.max(np.sqrt(h)),), [Abstract.of(x)]), [x])
    assert point.jvp({0: np.ones(2)}) == (0.25,)
    np.testing.assert_array_equal(point.vjp([np.array(1.0)], [0])[0], [0.0, 0.25])
    lost = Linearized(trace(lambda h: (np.max(np.sqrt(h)),), [Abstract.of(x)]), [x - 9.0])
    assert lost.jvp({0: np.ones(2)}) == (0.0,)
