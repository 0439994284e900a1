"""Code as people write it: what is traced computes what the plain function computes, and its derivative."""

import copy
import math

import autograd.numpy as anp
import numpy as np
import pytest
import scipy.special
import sympy
from program_checks import backward_jacobian, difference_jacobian, forward_jacobian

from fwdgrad.engines.numpy_engine import compile_program
from fwdgrad.errors import TracingError
from fwdgrad.program import Abstract, Linearized, is_tracer, trace
from fwdgrad.program import operations as ops

H, W, B = np.array([0.3, -1.2, 0.7]), np.linspace(-1.0, 1.0, 9).reshape(3, 3), np.array([0.1, 0.2, -0.4])
TABLE = np.arange(12.0).reshape(4, 3)


def lotka_volterra(h, a, b):
    return np.array([a * h[0] - b * h[0] * h[1], -h[1] + b * h[0] * h[1]])


def lotka_volterra_as_list(h, a, b):
    prey, predators = h
    return [a * prey - b * prey * predators, -predators + b * prey * predators]


def lotka_volterra_as_tuple(h, a, b):
    prey, predators = h
    return (a * prey - b * prey * predators, -predators + b * prey * predators)


def scaled(h, a, b):
    return np.array([a * h[0], b * h[1]]) * 2 + 1.0 - np.array([1.0, h[0]])


def with_constants(h, a, b):
    return np.array([h[0], 1.0, a, 2])


def nested(h, a, b):
    return np.array([[a * h[0], 1.0], [0.0, b * h[1]]])


def nested_list(h, a, b):
    return [[a * h[0], 1.0], [0.0, b * h[1]]]


def nested_product(h, a, b):
    return np.array([[a, -b], [b, a]]) @ h


def plain_of_elements(h, a, b):
    return np.tanh(np.array([a * h[0], b * h[1]])) + np.sqrt(np.array([a, b])) ** 2 + np.exp(-np.array([a, b]))


def functions_of_elements(h, a, b):
    x = np.array([a * h[0], b * h[1]])
    return np.array([np.sum(x), np.prod(x), x.sum(), x @ x, np.dot(x, h), np.cumsum(x)[-1], abs(x[0])])


def elements_reshaped(h, a, b):
    return np.array([a, b, h[0], h[1]]).reshape(2, 2).T + np.diag(np.array([a, b]))


def elements_and_arrays(h, a, b):
    return np.concatenate([np.array([a * h[0], 1.0]), h, np.ones(2)]) + np.hstack([a, h, b, h])


def elements_chosen(h, a, b):
    return np.where(np.stack([a, b]) > 0.5, np.array([a, h[0]]), np.array([b, h[1]]))


def as_array(h, a, b):
    h = np.asarray(h)
    return np.array([a, b]) * h + np.asarray(a)


def loop_over_elements(h, a, b):
    total = 0
    for k, value in enumerate(h):
        total = total + (k + 1) * value * a
    return np.array([total, *(b * value for value in reversed(h))])


def loop_over_steps(h, a, b):
    for _ in range(3):
        h = h + 0.1 * np.array([a * h[0] - b * h[0] * h[1], -h[1]])
    return h


def shapes_asked(h, a, b):
    assert h.ndim == np.ndim(h) == 1
    assert h.shape == np.shape(h) == (2,)
    assert len(h) == h.size == np.size(h) == 2
    assert np.ndim(a) == 0
    assert np.result_type(h) == h.dtype
    return h * len(h)


def filled(h, a, b):
    return np.full(3, a) * np.full((2, 1), h[0]) + np.full(3, 1.5) * b


def spaced(h, a, b):
    return np.linspace(a, b, 4) + np.linspace(0.0, h[0], 4)


def added_to_zeros(h, a, b):
    out = np.zeros(2) + h
    out = out + np.zeros((3, 2)) * a
    return out.at if hasattr(out, "at") else out - b


def copies(h, a, b):
    return copy.copy(h) + copy.deepcopy(h) + h.copy() + np.copy(h)


def branch_on_shapes(h, a, b):
    if h.shape[0] == 2 and a is not None:
        return h * a
    return h * b


def python_functions(h, a, b):
    return np.array([sum(h), abs(h[0]), pow(a, 2), divmod(h[1], 0.4)[1]])


def element_methods(h, a, b):
    return np.array([h.sum(), h.mean(), h.max(), h.min(), h.dot(h), h.std(), h.var(), h.prod(), h.clip(0.1, 0.5)[0]])


ODES = [
    lotka_volterra,
    lotka_volterra_as_list,
    lotka_volterra_as_tuple,
    scaled,
    with_constants,
    nested,
    nested_list,
    nested_product,
    plain_of_elements,
    functions_of_elements,
    elements_reshaped,
    elements_and_arrays,
    elements_chosen,
    as_array,
    loop_over_elements,
    loop_over_steps,
    shapes_asked,
    filled,
    spaced,
    added_to_zeros,
    copies,
    branch_on_shapes,
    python_functions,
    element_methods,
]


def agrees(function, arrays):
    """Values and derivatives of the traced function are those of the plain one."""
    program = trace(lambda *a: (function(*a),), [Abstract.of(a) for a in arrays])
    expected = np.asarray(function(*arrays))
    for run in (program, compile_program(program)):
        (result,) = run(*arrays)
        assert np.asarray(result).shape == expected.shape
        assert np.asarray(result).dtype == expected.dtype
        np.testing.assert_allclose(result, expected, rtol=1e-13, atol=1e-13)
    linearized = Linearized(program, arrays)
    forward = forward_jacobian(linearized, arrays)
    np.testing.assert_allclose(forward, backward_jacobian(linearized, arrays), rtol=1e-12, atol=1e-12)
    expected = difference_jacobian(lambda *a: [np.asarray(function(*a))], arrays)
    np.testing.assert_allclose(forward, expected, rtol=1e-8, atol=1e-8)
    return program


@pytest.mark.parametrize("function", ODES, ids=lambda f: f.__name__)
def test_ordinary_differential_equations(function):
    agrees(function, (np.array([0.9, 0.7]), np.array(1.1), np.array(0.4)))


def plain_network(h, w, b):
    return np.tanh(w @ h + b) / (1.0 + np.exp(-h)) - np.sum(h**2) * np.mean(w, axis=0)


def autograd_network(h, w, b):
    return anp.tanh(anp.dot(w, h) + b) / (1.0 + anp.exp(-h)) - anp.sum(h**2) * anp.mean(w, axis=0)


def autograd_elements(h, w, b):
    return anp.concatenate([anp.array([h[0], 1.0, w[0, 1] * h[1]]), anp.stack([b[0], b[1]]), anp.vstack([h, b])[0]])


def gated(h, w, b):
    z = scipy.special.expit(w @ h + b)
    candidate = np.tanh(w.T @ (z * h))
    return np.where(z > 0.4, candidate, h) * z + (1 - z) * np.maximum(h, 0.1)


def attention(h, w, b):
    scores = w @ h / math.sqrt(3)
    weights = np.exp(scores - np.max(scores))
    return (weights / np.sum(weights)) @ w + np.einsum("i,ij->j", b, w) + np.outer(b, h)[0]


@pytest.mark.parametrize("function", [plain_network, autograd_network, autograd_elements, gated, attention])
def test_networks(function):
    agrees(function, (H, W, B))


def test_autograd_and_numpy_give_the_same_program():
    inputs = [Abstract.of(a) for a in (H, W, B)]
    one = trace(lambda *a: (plain_network(*a),), inputs)
    assert [i.operation.name for i in one] == [
        i.operation.name for i in trace(lambda *a: (autograd_network(*a),), inputs)
    ]


def test_lambdified_expressions():
    x, y, a = sympy.symbols("x y a")
    rates = [sympy.sin(x) * y**2 + a, sympy.sqrt(x**2 + a) * sympy.exp(-y)]
    function = sympy.lambdify([(x, y), a], rates, "numpy", cse=True)
    agrees(function, (np.array([0.3, 1.2]), np.array(0.7)))


def test_rows_of_a_constant_table():
    """The mend for ``TABLE[x]``, which NumPy does not let us see."""
    one_hot = trace(lambda h, x: (h * ((np.arange(4) == x) @ TABLE),), [Abstract.of(H), Abstract((), np.dtype(int))])
    for x in range(4):
        (result,) = one_hot(H, np.array(x))
        np.testing.assert_array_equal(result, H * TABLE[x])


def test_object_arrays_of_a_whole_array_are_that_array():
    program = trace(lambda w: (np.asarray(w),), [Abstract.of(W)])
    assert program.instructions == ()
    program = trace(lambda w: (w @ np.asarray(w[0]),), [Abstract.of(W)])
    assert [i.operation.name for i in program] == ["getitem", "matmul"]
    for part in (lambda h: [h[0], h[2], h[1]], lambda h: [h[0], h[1]], lambda h: [h[0], h[1], 2 * h[2]]):
        program = trace(lambda h, part=part: (part(h),), [Abstract.of(H)])
        np.testing.assert_array_equal(program(H)[0], part(H))


def test_elements_of_object_arrays_are_tracers():
    def function(h, w):
        for a in (h, w, h[0]):
            assert np.asarray(a).dtype == object
            assert np.shape(np.asarray(a)) == a.shape
            assert all(is_tracer(e) and e.shape == () for e in np.asarray(a).ravel())
        return np.tanh(np.asarray(h)), np.tanh(np.asarray(w)), np.tanh(np.asarray(h[0]))

    for result, value in zip(trace(function, [Abstract.of(H), Abstract.of(W)])(H, W), (H, W, H[0]), strict=True):
        np.testing.assert_array_equal(result, np.tanh(value))


def test_python_numbers_keep_the_dtype():
    narrow = Abstract((3,), np.dtype(np.float32))
    for function in (
        lambda h: h * 2.0 + 1,
        lambda h: np.where(h > 0, h, 0.0),
        lambda h: np.maximum(h, 0.5) ** 2 / 3,
        lambda h: np.clip(h, -1.0, 1.0) - np.float32(2.0),
        lambda h: h * np.ones(3, np.float32),
    ):
        assert trace(lambda h, f=function: (f(h),), [narrow]).outputs[0].dtype == np.float32
        assert function(np.ones(3, np.float32)).dtype == np.float32
    for function in (lambda h: h * np.float64(2.0), lambda h: h + np.ones(3), lambda h: np.stack([h[0], 1.0])):
        assert trace(lambda h, f=function: (f(h),), [narrow]).outputs[0].dtype == np.float64
        assert function(np.ones(3, np.float32)).dtype == np.float64


# ---------------------------------------------------------------- constants


@pytest.mark.parametrize("size", [3, 1000])
def test_changing_an_array_afterwards_does_not_change_the_program(size):
    weights = np.ones(size)
    program = trace(lambda h: (h * weights,), [Abstract((size,), np.dtype(float))])
    run = compile_program(program)
    weights[:] = 7.0
    for function in (program, run):
        np.testing.assert_array_equal(function(np.ones(size))[0], np.ones(size))


@pytest.mark.parametrize("size", [3, 1000])
def test_changing_an_array_between_two_uses(size):
    """Each use sees what the array holds at that moment."""

    def function(h):
        weights = np.ones(size)
        first = h * weights
        weights[:] = 3.0
        return first, h * weights

    program = trace(function, [Abstract((size,), np.dtype(float))])
    for result, value in zip(program(np.ones(size)), (1.0, 3.0), strict=True):
        np.testing.assert_array_equal(result, np.full(size, value))


def test_constants_cannot_be_changed_through_the_program():
    program = trace(lambda h: (h * 1.0, np.ones(3)), [Abstract.of(H)])
    with pytest.raises(ValueError, match="read-only"):
        program(H)[1][0] = 2.0


def test_equal_constants_are_one():
    program = trace(lambda h: (h * np.ones(100) + np.ones(100),), [Abstract((100,), np.dtype(float))])
    first, second = (i.inputs[1] for i in program)
    assert first is second


def test_outputs_are_arrays():
    program = trace(lambda h: (h, 2.0, [1, 2], True), [Abstract.of(H)])
    for run in (program, compile_program(program)):
        assert [np.asarray(r).dtype for r in run(H)] == [float, float, int, bool]
    assert [o.shape for o in program.outputs] == [(3,), (), (2,), ()]
    assert Linearized(program, (H,)).jvp({0: H})[1] == 0.0


# ---------------------------------------------------------------- recording


def test_equal_calls_are_recorded_once():
    program = trace(lambda h: (np.tanh(h) + np.tanh(h) * h[0] + h[0],), [Abstract.of(H)])
    assert [i.operation.name for i in program] == ["tanh", "getitem", "multiply", "add", "add"]


def test_unused_calls_are_dropped():
    def function(h):
        np.linalg.inv(np.outer(h, h))
        return (h + 1,)

    assert [i.operation.name for i in trace(function, [Abstract.of(H)])] == ["add"]


def test_a_gradient_shares_what_the_value_computed():
    program = trace(lambda h: (np.tanh(h),), [Abstract.of(H)])

    def both(h, g):
        linearized = Linearized(program, (h,))
        return (*linearized.value, *linearized.jvp({0: g}), *linearized.vjp([g], [0]))

    names = [i.operation.name for i in trace(both, [Abstract.of(H), Abstract.of(H)])]
    assert names.count("tanh") == 1
    assert names.count("multiply") == 2  # one product for both directions, the partial derivative once


def test_sources_are_the_lines_of_the_function():
    program = trace(lambda *a: (plain_network(*a),), [Abstract.of(a) for a in (H, W, B)])
    first = plain_network.__code__.co_firstlineno
    for instruction in program:
        assert (instruction.source.file, instruction.source.line) == (__file__, first + 1)
        assert instruction.source.function == "plain_network"
    gradient = trace(lambda *a: Linearized(program, a[:3]).vjp(a[3:], [0]), [Abstract.of(a) for a in (H, W, B, H)])
    assert {i.source.line for i in gradient} == {first + 1}


def test_a_program_is_recorded_into_another():
    inner = trace(lambda h: (np.tanh(h),), [Abstract.of(H)])
    outer = trace(lambda h: inner(2.0 * h), [Abstract.of(H)])
    np.testing.assert_allclose(outer(H)[0], np.tanh(2.0 * H))


def test_a_trace_inside_a_trace():
    """Only the inner one's own arrays take part in it."""

    def function(h):
        inner = trace(lambda g: (g * 3.0,), [Abstract.of(H)])
        return inner(h)

    np.testing.assert_allclose(trace(function, [Abstract.of(H)])(H)[0], 3.0 * H)


def test_a_failed_trace_leaves_nothing_behind():
    with pytest.raises(TracingError):
        trace(lambda h: (h @ np.ones(7),), [Abstract.of(H)])
    assert np.tanh(0.0) == 0.0
    assert trace(lambda h: (h,), [Abstract.of(H)])(H)[0] is H


def test_core_operations_on_arrays_are_executed():
    assert ops.reduce_sum(H, axes=(0,)) == H.sum()
    np.testing.assert_array_equal(ops.POINTWISE["add"](H, 1.0), H + 1.0)


def test_tracers_describe_themselves():
    seen = []

    def function(h):
        seen.extend([h, h[0]])
        assert is_tracer(h)
        assert not is_tracer(H)
        return (h,)

    trace(function, [Abstract.of(H)])
    assert repr(seen[0]) == "<traced float64[3]>"
    assert f"{seen[1]}" == "<traced float64[]>"
    assert hash(seen[0]) != hash(seen[1])


def test_powers_of_a_number():
    exponents = np.array([2.0, 0.0, 0.5])
    for base, slopes in ((2.0, np.log(2.0) * 2.0**exponents), (0.0, np.zeros(3)), (-2.0, np.full(3, np.nan))):
        program = trace(lambda y, b=base: (b**y,), [Abstract.of(exponents)])
        with np.errstate(invalid="ignore"):
            (tangent,) = Linearized(program, (exponents,)).jvp({0: np.ones(3)})
        np.testing.assert_allclose(tangent, slopes)


# ---------------------------------------------------------------- derivatives of programs


def test_an_order_has_no_derivative():
    program = trace(lambda n, x: (scipy.special.jn(n, x),), [Abstract((), np.dtype(float)), Abstract.of(H)])
    linearized = Linearized(program, (np.array(1.0), np.abs(H)))
    (column,) = linearized.jvp({1: np.ones(3)})
    assert np.all(column != 0)
    with pytest.raises(TracingError, match=r"jn has no derivative .* argument 1, at .*test_tracing\.py"):
        linearized.jvp({0: np.array(1.0)})
    with pytest.raises(TracingError, match="jn has no derivative with respect to argument 1"):
        linearized.vjp([H], [0])


def test_stopped_gradients():
    program = trace(lambda h: (ops.stop_gradient(h) * h,), [Abstract.of(H)])
    (gradient,) = Linearized(program, (H,)).vjp([np.ones(3)], [0])
    np.testing.assert_allclose(gradient, H)


def test_derivatives_of_outputs_that_are_inputs():
    program = trace(lambda h, b: (h, h, b * 2, np.ones(2)), [Abstract.of(H), Abstract.of(B)])
    linearized = Linearized(program, (H, B))
    tangents = linearized.jvp({0: B})
    np.testing.assert_array_equal(tangents[0], B)
    np.testing.assert_array_equal(tangents[1], B)
    np.testing.assert_array_equal(tangents[2], 0 * B)
    gradients = linearized.vjp([H, B, None, np.ones(2)], [1, 0])
    np.testing.assert_array_equal(gradients[0], 0 * B)
    np.testing.assert_array_equal(gradients[1], H + B)


def test_shapes_of_tangents_are_checked():
    linearized = Linearized(trace(lambda h: (np.sum(h),), [Abstract.of(H)]), (H,))
    with pytest.raises(ValueError, match=r"shape \(3,\) is expected, got \(2,\)"):
        linearized.jvp({0: np.ones(2)})
    with pytest.raises(ValueError, match=r"shape \(\) is expected, got \(3,\)"):
        linearized.vjp([np.ones(3)], [0])
    with pytest.raises(ValueError, match=r"input 0 of shape \(3,\), got \(4,\)"):
        Linearized(linearized.program, (np.ones(4),))
