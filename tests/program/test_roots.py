"""`root`: executed, traced and compiled it is the same solution; its derivatives, patterns, and what is refused."""

import autograd
import autograd.numpy as anp
import numpy as np
import pytest
import scipy.optimize
from program_checks import difference_jacobian, unit_vectors

from fwdgrad.engines.numpy_engine import compile_program
from fwdgrad.errors import TracingError
from fwdgrad.program import Abstract, Linearized, root, scan, trace
from fwdgrad.program import roots as roots_module
from fwdgrad.program.costs import multiply_adds
from fwdgrad.program.dependence import Dependence
from fwdgrad.program.operations.pointwise import PARTIALS
from fwdgrad.program.rules import trails_of

rng = np.random.default_rng(0)


def abstract(*arrays):
    return [Abstract.of(a) for a in arrays]


def matrix(n):
    return 2 * np.eye(n) + 0.3 * rng.normal(size=(n, n))


# ---- functions of arrays with one solution in them


def cubic(a, b):
    """Everything at once: a matrix, a vector, the start a value that is given too."""
    return (root(lambda z: a @ z + 0.1 * z**3 - b * np.sin(z + 1) - 1, b),)


def linear(a, b):
    return (root(lambda z: a @ z - b, np.zeros(len(b), b.dtype)),)


def stages(a, b):
    """One solution in the equation of the next."""
    first = root(lambda z: a @ z + np.tanh(z) - b, b)
    return first, root(lambda z: a @ z + np.tanh(z * first) - b, first)


def inside(a, b):
    """An equation whose residual solves another one."""

    def residual(z):
        return a @ z - root(lambda w: w + 0.3 * np.tanh(w * z) - b, b)

    return (root(residual, b),)


def scalars(a, b):
    """One unknown, and numbers without axes from outside."""
    c = a[0, 0] * b[1]
    return (root(lambda z: z + 0.5 * np.exp(z) * np.abs(c) - a[0, 1], np.ones(1, b.dtype)),)


def in_a_loop(a, b):
    def turn(carry, row):
        z = root(lambda z: a @ z + 0.5 * np.tanh(z) - carry[0] - row[0], carry[0])
        return [z], [np.sum(z)]

    (last,), (sums,) = scan(turn, [b], [a])
    return last, sums


def used_twice(a, b):
    """The solution, and a function of it and of what it solves."""
    (z,) = cubic(a, b)
    return z, a @ z + b * z


FUNCTIONS = [cubic, linear, stages, inside, scalars, in_a_loop, used_twice]
SIZES = [3, 12]


def point(n, dtype=np.float64):
    generator = np.random.default_rng(n)
    a = 2 * np.eye(n) + 0.3 * generator.normal(size=(n, n)) / np.sqrt(n)
    return a.astype(dtype), generator.normal(size=n).astype(dtype)


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
def test_traced_and_executed_are_the_same(function, n):
    arrays = point(n)
    expected = function(*arrays)
    program = trace(function, abstract(*arrays))
    for run in (program, compile_program(program)):
        for got, value in zip(run(*arrays), expected, strict=True):
            np.testing.assert_allclose(got, value, rtol=1e-13, atol=1e-14)
    for array, before in zip(arrays, point(n), strict=True):
        np.testing.assert_array_equal(array, before)


def test_the_solution_is_scipys():
    a, b = point(5)
    found = scipy.optimize.root(lambda z: a @ z + 0.1 * z**3 - b * np.sin(z + 1) - 1, b, tol=1e-12)
    assert found.success
    np.testing.assert_allclose(cubic(a, b)[0], found.x, rtol=1e-9)


def test_single_precision():
    a, b = point(3, np.float32)
    program = trace(cubic, abstract(a, b))
    (z,) = compile_program(program)(a, b)
    assert z.dtype == np.float32
    np.testing.assert_allclose(z, cubic(*point(3))[0], rtol=1e-5)
    (moved,) = Linearized(program, [a, b]).jvp({1: b})
    assert moved.dtype == np.float32


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
def test_derivatives_are_those_of_the_solution(function):
    """Forward and backward products against differences of the plain function."""
    arrays = point(3)
    linearized = Linearized(trace(function, abstract(*arrays)), arrays)
    expected = difference_jacobian(function, arrays)
    forward = np.array(
        [
            np.concatenate([np.ravel(o) for o in linearized.jvp({k: e})])
            for k, a in enumerate(arrays)
            for e in unit_vectors(a.shape)
        ]
    ).T
    np.testing.assert_allclose(forward, expected, rtol=1e-7, atol=1e-9)
    start = 0
    for number, value in enumerate(linearized.value):
        for e in unit_vectors(value.shape):
            cotangents = [e if k == number else None for k in range(len(linearized.value))]
            row = np.concatenate([np.ravel(g) for g in linearized.vjp(cotangents, [0, 1])])
            np.testing.assert_allclose(row, forward[start], rtol=1e-12, atol=1e-14)
            start += 1


def test_derivatives_are_exact():
    """Closed forms, to rounding: z = √a, z = A⁻¹ b. One inverse serves all products."""
    a = np.array([4.0, 9.0, 1e8, 1e-8])
    program = trace(lambda a: [root(lambda z: z * z - a, np.ones(4))], abstract(a))
    linearized = Linearized(program, [a])
    np.testing.assert_allclose(linearized.value[0], np.sqrt(a), rtol=1e-15)
    for e, column in zip(np.eye(4), np.diag(0.5 / np.sqrt(a)), strict=True):
        np.testing.assert_allclose(linearized.jvp({0: e})[0], column, rtol=1e-15)
        np.testing.assert_allclose(linearized.vjp([e], [0])[0], column, rtol=1e-15)

    a, b = point(12)

    solution = trace(linear, abstract(a, b))

    def products(a, b):
        lin = Linearized(solution, [a, b])
        return [*(lin.jvp({1: e})[0] for e in np.eye(12)), *lin.vjp([b], [0, 1])]

    program = trace(products, abstract(a, b))
    assert [i.operation.name for i in program].count("inv") == 1
    *columns, gradient, last = compile_program(program)(a, b)
    inverse = np.linalg.inv(a)
    np.testing.assert_allclose(np.stack(columns, 1), inverse, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(last, inverse.T @ b, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(gradient, -np.outer(inverse.T @ b, inverse @ b), rtol=1e-12, atol=1e-14)


def test_second_derivatives():
    a, b = point(3)
    direction = np.array([0.3, -0.2, 0.5])
    program = trace(cubic, abstract(a, b))
    for products in (
        lambda a, b: Linearized(program, [a, b]).jvp({1: direction}),
        lambda a, b: Linearized(program, [a, b]).vjp([direction], [0, 1]),
    ):
        second = trace(products, abstract(a, b))
        linearized = Linearized(second, [a, b])
        columns = [np.concatenate([np.ravel(o) for o in linearized.jvp({1: e})]) for e in np.eye(3)]
        expected = difference_jacobian(lambda b, second=second: second(a, b), (b,))
        np.testing.assert_allclose(np.array(columns).T, expected, rtol=1e-7, atol=1e-9)


def test_where_it_begins_has_no_derivative():
    start = np.array([1.5, 2.5])
    program = trace(lambda s, b: [root(lambda z: z * z - b, s)], abstract(start, start))
    linearized = Linearized(program, [start, start])
    np.testing.assert_array_equal(linearized.jvp({0: start})[0], 0)
    np.testing.assert_array_equal(linearized.vjp([start], [0])[0], 0)
    assert np.any(linearized.jvp({1: start})[0])


# ---- as it is, and under autograd


def test_functions_that_cannot_be_traced_are_solved_too():
    def branching(b):
        return root(lambda z: anp.exp(z) - b if z[0] < 0 else anp.exp(2 * z) - b, np.array([0.5, 0.5]))

    b = np.array([3.0, 4.0])
    np.testing.assert_allclose(branching(b), np.log(b) / 2, rtol=1e-15)
    np.testing.assert_allclose(autograd.jacobian(branching)(b), np.diag(0.5 / b), rtol=1e-14)


def test_autograd_sees_the_same_derivatives_of_any_order():
    a, b = point(3)
    direction = np.array([0.3, -0.2, 0.5])

    def along(b):
        z = root(lambda z: anp.dot(a, z) + 0.1 * z**3 - b * anp.sin(z + 1) - 1, b)
        return anp.sum(direction * z)

    program = trace(cubic, abstract(a, b))
    (gradient,) = Linearized(program, [a, b]).vjp([direction], [1])
    np.testing.assert_allclose(autograd.grad(along)(b), gradient, rtol=1e-12)
    back = trace(lambda b: Linearized(program, [a, b]).vjp([direction], [1]), abstract(b))
    hessian = np.array([Linearized(back, [b]).jvp({0: e})[0] for e in np.eye(3)])
    np.testing.assert_allclose(autograd.hessian(along)(b), hessian, rtol=1e-10)

    def cube_root(b):
        return root(lambda z: z**3 - b, np.ones(1))[0]

    third = autograd.elementwise_grad(autograd.elementwise_grad(autograd.elementwise_grad(cube_root)))
    np.testing.assert_allclose(third(8.0), 10 / 27 * 8.0 ** (-8 / 3), rtol=1e-10)


# ---- what does not converge


def everywhere(function, *arrays):
    """The value as it is, interpreted, and emitted."""
    program = trace(function, abstract(*arrays))
    return [f(*arrays)[0] for f in (function, program, compile_program(program))]


@pytest.mark.parametrize(
    "residual",
    [
        lambda z, b: z * z + b,  # no root
        lambda z, b: z * z * b,  # a double root, where the derivative does not exist
        lambda z, b: 0 * z + b,  # no Jacobian
        lambda z, b: np.log(z - 10) + b,  # outside its domain
        lambda z, b: np.cbrt(z) * b,  # Newton's steps go away from the root
        lambda z, b: z * np.nan,
        lambda z, b: np.exp(50 * z) * z - 1e300 * b,  # too far away
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_what_does_not_converge_is_nan(residual):
    for value in everywhere(lambda b: (root(lambda z: residual(z, b), np.ones(2)),), np.ones(2)):
        assert np.isnan(value).all()


def test_a_wrong_jacobian_does_not_go_unseen(monkeypatch):
    """Newton's method with the rule of tanh wrong by a factor does not arrive; without a trace it needs no rule."""
    b = np.array([0.3, -2.0])

    def function(b):
        return (root(lambda z: z + 2 * np.tanh(z) - b, b),)

    assert all(np.isfinite(v).all() for v in everywhere(function, b))
    monkeypatch.setitem(PARTIALS, "tanh", lambda g, out, k, x: 0.5 * g * (1.0 - out * out))
    plain, *others = everywhere(function, b)
    assert np.isfinite(plain).all()
    assert all(np.isnan(v).all() for v in others)


@pytest.mark.parametrize("scale", [1e-200, 1e-20, 1e-8, 1.0, 1e12, 1e200])
def test_unknowns_of_any_size(scale):
    """Side by side with ones of size 1, each to all its digits."""
    size = np.array([1.0, scale])
    b = np.array([0.7, 0.3])

    def function(b):
        return (root(lambda z: z / size + 0.5 * np.tanh(z / size) - b, 0.1 * size),)

    exact = root(lambda z: z + 0.5 * np.tanh(z) - b, 0.1 * np.ones(2))
    for value in everywhere(function, b):
        np.testing.assert_allclose(value / size, exact, rtol=1e-15)


def test_rounding_errors_are_not_taken_for_failure():
    """At a root of zero nothing gets small in proportion; an ill-conditioned Jacobian leaves larger errors."""
    for value in everywhere(lambda b: (root(lambda z: ((z + 1) ** 2 - 1) * b, b),), np.array([0.5, 0.1])):
        np.testing.assert_allclose(value, 0, atol=1e-15)
    a = np.array([[1.0, 1.0], [1.0, 1.0 + 1e-9]])
    b = np.array([2.0, 2.0 + 1e-9])
    for value in everywhere(lambda b: (root(lambda z: a @ z + 1e-12 * np.sin(z) - b, b),), b):
        np.testing.assert_allclose(value, 1, atol=1e-2)


def test_iterations_are_few():
    """Quadratic convergence, to rounding, and one step that sees it."""
    a, b = point(12)
    program = trace(cubic, abstract(a, b))
    body = next(i for i in program if i.operation.name == "root").params["body"]
    count = [0]

    def counted(*arguments):
        count[0] += 1
        return body(*arguments)

    captured = next(i for i in program if i.operation.name == "root").inputs[1:]
    values = program.evaluate([a, b])
    roots_module.newton(counted, b, *(values[v] for v in captured))
    assert 3 <= count[0] <= 8


# ---- structure


def pattern(function, *arrays):
    """Which entries of the one result depend on which entries of the first array."""
    program = trace(function, abstract(*arrays))
    size = arrays[0].size
    starts = [Dependence.identity(0, size, size), *(None for _ in arrays[1:])]
    (trail,), unknown = trails_of(program, starts, np.zeros(size, bool))
    assert unknown == []
    (matrix,) = trail.depends.split(np.array([0, size]))
    jacobian = [Linearized(program, arrays).jvp({0: e})[0] for e in np.eye(size)]
    return matrix.toarray(), np.array(jacobian).T != 0


def test_patterns():
    """Each unknown depends on what its equation reaches through the others."""
    b = np.array([0.1, 0.2, 0.3, 0.4])
    apart, seen = pattern(lambda b: [root(lambda z: z + np.sinh(z) - b, np.ones(4))], b)
    np.testing.assert_array_equal(apart, np.eye(4))
    np.testing.assert_array_equal(seen, apart)

    chain, seen = pattern(lambda b: [root(lambda z: z + 0.1 * np.append(z[1:], 0.0) ** 2 - b, np.ones(4))], b)
    np.testing.assert_array_equal(chain, np.triu(np.ones((4, 4))))
    np.testing.assert_array_equal(seen, chain)

    rows = np.array([2, 3, 0, 1])
    shuffled, seen = pattern(lambda b: [root(lambda z: z[rows] - b**3, np.ones(4))], b)
    assert np.all(shuffled >= seen)
    assert not shuffled[0, 1]

    dense, seen = pattern(lambda b: [root(lambda z: z + 0.1 * np.sum(z) - b, np.ones(4))], b)
    assert dense.all()
    assert seen.all()


def test_a_pattern_that_forgot_the_unknowns_would_be_wrong():
    """What the chain's equations depend on directly is the diagonal, and its derivative is not."""
    b = np.array([0.1, 0.2, 0.3, 0.4])
    _, seen = pattern(lambda b: [root(lambda z: z + 0.1 * np.append(z[1:], 0.0) ** 2 - b, np.ones(4))], b)
    assert np.any(seen > np.eye(4))


def test_inputs_that_reach_it_without_a_derivative_are_seen():
    """Through a rounding in the residual: `steady` sources."""
    b = np.array([0.1, 0.2])
    program = trace(lambda b: [root(lambda z: 2 * z - np.sign(b), b)], abstract(b))
    for steady in (True, False):
        (trail,), _ = trails_of(program, [Dependence.identity(0, 2, 2)], np.full(2, steady))
        assert trail.depends.empty is not steady


def test_costs():
    sizes = (6, 12)
    few, many = (multiply_adds(trace(linear, abstract(*point(n)))) for n in sizes)
    assert 4 * few < many < 10 * few


# ---- listings and refusals


def test_listing_and_fingerprint():
    arrays = point(3)
    text = str(trace(cubic, abstract(*arrays)))
    assert "        residual(z: float64[3], " in text
    assert trace(cubic, abstract(*arrays)).fingerprint() == trace(cubic, abstract(*arrays)).fingerprint()
    assert trace(cubic, abstract(*arrays)).fingerprint() != trace(linear, abstract(*arrays)).fingerprint()


def test_what_depends_on_no_unknown_is_computed_once():
    a, b = point(3)
    program = trace(lambda a, b: [root(lambda z: np.linalg.inv(a) @ z + np.tanh(z) - b, b)], abstract(a, b))
    outside, inner = [i.operation.name for i in program], next(reversed(program.instructions)).params["residual"]
    assert "inv" in outside
    assert "inv" not in [i.operation.name for i in inner]


def test_names_of_parameters_do_not_hide_what_the_program_calls():
    b = np.array([4.0])
    program = trace(lambda b: [root(lambda z: z * z - b, np.ones(1))], abstract(b), names=["newton"])
    np.testing.assert_allclose(compile_program(program)(b)[0], 2)


@pytest.mark.parametrize("start", [np.ones((2, 2)), np.array(1.0), np.ones(2, int), np.zeros(0)])
def test_a_start_that_is_no_vector_is_refused(start):
    with pytest.raises(TracingError, match=r"root begins at .*test_roots\.py"):
        root(lambda z: z, start)


@pytest.mark.parametrize("residual", [lambda z: z[:1], lambda z: np.sum(z), lambda z: z > 0, lambda z: [*z, 1.0]])
def test_a_residual_of_another_shape_is_refused(residual):
    with pytest.raises(TracingError, match=r"the residual of float64\[2\] is .*test_roots\.py"):
        root(residual, np.ones(2))
    with pytest.raises(TracingError, match=r"the residual of float64\[2\] is"):
        trace(lambda b: [root(lambda z: residual(z), b)], abstract(np.ones(2)))


def test_a_residual_may_have_a_loop():
    """Its Jacobian is a loop beside it, and the equations themselves stay as they were."""

    def function(b):
        def residual(z):
            return scan(lambda c, r: ([np.tanh(c[0]) * r[0]], []), [z], [np.ones((3, 2)) * 0.3])[0][0] + z - b

        return (root(residual, b),)

    b = np.array([0.3, 0.7])
    (expected,) = function(b)
    for value in everywhere(function, b):
        np.testing.assert_allclose(value, expected, rtol=1e-12)
    lin = Linearized(trace(function, abstract(b)), [b])
    slopes = difference_jacobian(function, [b])
    np.testing.assert_allclose(np.array([lin.jvp({0: e})[0] for e in np.eye(2)]).T, slopes, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(np.array([lin.vjp([e], [0])[0] for e in np.eye(2)]), slopes, rtol=1e-7, atol=1e-9)


def test_errors_of_the_residual_are_its_own():
    with pytest.raises(ZeroDivisionError):
        root(lambda z: 1 // 0, np.ones(2))


# ---- compiled


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    compiled_engine = pytest.importorskip("fwdgrad.engines.compiled_engine")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FWDGRAD_CACHE", str(tmp_path_factory.mktemp("compiled")))
        yield compiled_engine.compile_program


def compare(compiled, functions, dtype, sizes):
    """Functions, products of a derivative, and equations with and without a solution, in one program."""
    (a, b), (long_a, long_b) = (point(n, dtype) for n in sizes)
    program = trace(cubic, abstract(a, b))

    def everything(a, b, long_a, long_b):
        lin = Linearized(program, [a, b])
        for function in functions:
            yield from function(a, b)
        yield from cubic(long_a, long_b)
        yield from lin.jvp({0: a, 1: b})
        yield from lin.vjp([b], [0, 1])
        yield root(lambda z: z * z + 1, b)

    arrays = (a, b, long_a, long_b)
    whole = trace(everything, abstract(*arrays))
    with np.errstate(all="ignore"):
        expected = compile_program(whole)(*arrays)
    got = compiled(whole)(*arrays)
    tolerance = 1e-12 if dtype == np.float64 else 2e-5
    for one, other in zip(got, expected, strict=True):
        assert (one.shape, one.dtype) == (np.shape(other), np.asarray(other).dtype)
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)
    assert np.isnan(got[-1]).all()
    assert not np.isnan(np.concatenate([np.ravel(v) for v in got[:-1]])).any()


def test_compiled(compiled):
    compare(compiled, [in_a_loop], np.float64, (2, 9))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_all_forms_compiled(compiled, dtype):
    compare(compiled, FUNCTIONS, dtype, (3, 12))
