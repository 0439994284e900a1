"""`scan`: executed, traced and compiled, it is the same loop."""

import numpy as np
import pytest

from fwdgrad.engines.numpy_engine import compile_program
from fwdgrad.errors import TracingError
from fwdgrad.program import Abstract, Linearized, Program, scan, trace

A, X, H = np.linspace(-0.5, 0.5, 9).reshape(3, 3), np.arange(12.0).reshape(4, 3), np.array([0.1, 0.2, 0.3])
K = np.array([2, 0, 3, 1])


def recurrent(a, x, h):
    (last,), (states, sums) = scan(
        lambda carry, row: ([np.tanh(a @ carry[0] + row[0])], [carry[0], np.sum(row[0])]), [h], [x]
    )
    return last, states, sums


def backward(a, x, h):
    (last,), (states,) = scan(lambda carry, row: ([a @ carry[0] + row[0]], [carry[0]]), [h], [x], reverse=True)
    return last, states


def two_carries(a, x, h):
    def body(carry, row):
        state, count = carry
        return [a @ state + row[0] * row[1], count + 1], [state * count]

    (state, count), (products,) = scan(body, [h, 0], [x, x[:, 0]])
    return state, count, products


def every_row(a, x, h):
    """An empty carry: the body is applied to every row."""
    _, (out,) = scan(lambda carry, row: ([], [a @ row[0] + h]), [], [x])
    return (out,)


def only_carry(a, x, h):
    (last,), out = scan(lambda carry, row: ([carry[0] * 0.5 + row[0]], []), [h], [x])
    assert out == ()
    return (last,)


def passed_on(a, x, h):
    """The carry as it was, a row as it is, an outer value and a constant as results."""
    (last,), out = scan(lambda carry, row: ([carry[0]], [row[0], a, 2.0, carry[0]]), [h], [x])
    return last, *out


def nested(a, x, h):
    def outer(carry, row):
        def inner(c, r):
            return [c[0] + np.dot(a, c[0]) * r[0] + carry[0]], [c[0] * row[0]]

        (last,), (made,) = scan(inner, [carry[0]], [row[0]])
        return [last * 0.1], [np.sum(made, axis=0), last]

    (last,), (sums, lasts) = scan(outer, [h], [x])
    return last, sums, lasts


def constants(a, x, h):
    weights = np.array([1.0, 2.0, 3.0]).astype(h.dtype)
    (last,), (out,) = scan(lambda carry, row: ([carry[0] * weights + row[0]], [weights[0] * carry[0]]), [h], [x])
    return last * weights, out


def over_constant_rows(a, x, h):
    (last,), _ = scan(lambda carry, row: ([carry[0] * row[0] + a[0]], []), [h], [np.array([1.0, 2.0], h.dtype)])
    return (last,)


LOOPS = [
    recurrent,
    backward,
    two_carries,
    every_row,
    only_carry,
    passed_on,
    nested,
    constants,
    over_constant_rows,
]


def equal(one, other):
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        a, b = np.asarray(a), np.asarray(b)
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        np.testing.assert_allclose(a, b, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("function", LOOPS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_loop(function, dtype):
    arrays = [v.astype(dtype) for v in (A, X, H)]
    expected = function(*arrays)
    program = trace(function, [Abstract.of(v) for v in arrays])
    assert "scan" in [i.operation.name for i in program]
    equal(program(*arrays), expected)
    equal(compile_program(program)(*arrays), expected)
    again = trace(lambda *v: program(*v), [Abstract.of(v) for v in arrays])
    equal(compile_program(again)(*arrays), expected)


def test_the_loop_is_a_loop():
    """Against the loop written out."""
    last, states, sums = recurrent(A, X, H)
    h = H
    for k in range(4):
        np.testing.assert_array_equal(states[k], h)
        assert sums[k] == X[k].sum()
        h = np.tanh(A @ h + X[k])
    np.testing.assert_array_equal(last, h)
    last, states = backward(A, X, H)
    h = H
    for k in (3, 2, 1, 0):
        np.testing.assert_array_equal(states[k], h)
        h = A @ h + X[k]
    np.testing.assert_array_equal(last, h)


def body_of(program: Program) -> Program:
    return next(i for i in program if i.operation.name == "scan").params["body"]


def test_what_does_not_change_is_computed_once():
    def function(a, x, h):
        def body(carry, row):
            return [np.tanh(np.linalg.inv(a + np.eye(3) * 5) @ carry[0]) + row[0]], []

        return scan(body, [h], [x])[0]

    program = trace(function, [Abstract.of(v) for v in (A, X, H)])
    assert [i.operation.name for i in program] == ["add", "inv", "scan"]
    assert [i.operation.name for i in body_of(program)] == ["matmul", "tanh", "add"]
    equal(compile_program(program)(A, X, H), function(A, X, H))


def test_a_body_may_use_what_was_computed_before():
    def function(a, x, h):
        scaled = a * 2.0
        return scan(lambda c, r: ([scaled @ c[0] + r[0] + scaled[0]], [scaled]), [h], [x])[1]

    program = trace(function, [Abstract.of(v) for v in (A, X, H)])
    equal(compile_program(program)(A, X, H), function(A, X, H))


def test_rows_that_are_indices():
    def function(a, h, k):
        (last,), (read,) = scan(lambda c, r: ([c[0] + a[:, r[0] % 3]], [h[r[0]]]), [H], [k])
        return last, read

    h = np.arange(5.0)
    program = trace(function, [Abstract.of(v) for v in (A, h, K)])
    equal(program(A, h, K), function(A, h, K))
    equal(compile_program(program)(A, h, K), function(A, h, K))
    assert program.index_bounds == {2: 5}


def test_captured_indices():
    def function(a, x, k):
        _, (out,) = scan(lambda c, r: ([], [a[k] * r[0]]), [], [x])
        return (out,)

    program = trace(function, [Abstract.of(v) for v in (A, X, np.array(1))])
    equal(compile_program(program)(A, X, np.array(1)), function(A, X, np.array(1)))
    assert program.index_bounds == {2: 3}


def test_captured_indices_into_rows():
    def function(x, k):
        return scan(lambda c, r: ([], [r[0][k]]), [], [x])[1]

    program = trace(function, [Abstract.of(X), Abstract.of(np.array(1))])
    equal(compile_program(program)(X, np.array(1)), function(X, np.array(1)))
    assert program.index_bounds == {1: 3}


def test_indices_inside_nested_loops():
    def function(x, k):
        def outer(carry, row):
            return [], scan(lambda c, r: ([], [row[0][r[0]]]), [], [k])[1]

        return scan(outer, [], [x])[1]

    k = np.array([0, 2])
    program = trace(function, [Abstract.of(X), Abstract.of(k)])
    equal(compile_program(program)(X, k), function(X, k))
    assert program.index_bounds == {1: 3}


def test_a_gradient_inside_the_body():
    """How derivatives of loops are written: the body's derivative, in a loop of its own."""
    step = trace(lambda h, x: (np.tanh(h * x),), [Abstract.of(H), Abstract.of(X[0])])

    def function(x, h):
        def body(carry, row):
            linearized = Linearized(step, (carry[0], row[0]))
            return [linearized.value[0]], [linearized.vjp([row[0]], [0])[0]]

        (last,), (gradients,) = scan(body, [h], [x])
        return last, gradients

    program = trace(function, [Abstract.of(X), Abstract.of(H)])
    equal(compile_program(program)(X, H), function(X, H))


def test_no_rows():
    empty = np.zeros((0, 3))
    program = trace(recurrent, [Abstract.of(v) for v in (A, empty, H)])
    for run in (program, compile_program(program)):
        last, states, sums = run(A, empty, H)
        np.testing.assert_array_equal(last, H)
        assert (states.shape, sums.shape) == ((0, 3), (0,))
    with pytest.raises(TracingError, match="no rows outside a trace"):
        recurrent(A, empty, H)


@pytest.mark.parametrize(
    "body",
    [
        lambda c, r: ([c[0][:2]], []),
        lambda c, r: ([c[0] > 0], []),
        lambda c, r: ([c[0], c[0]], []),
        lambda c, r: ([], []),
    ],
)
def test_a_carry_keeps_its_shape_and_dtype(body):
    with pytest.raises(TracingError, match=r"the carry begins as \(float64\[3\]\).*at .*test_loops\.py"):
        trace(lambda x, h: scan(body, [h], [x])[0], [Abstract.of(X), Abstract.of(H)])


@pytest.mark.parametrize("rows", [[], [X, X[:2]], [np.array(1.0)]])
def test_rows_fit_each_other(rows):
    with pytest.raises(TracingError, match="scan is called with rows of shapes"):
        scan(lambda c, r: (c, []), [H], rows)


def test_listing_shows_the_body():
    text = str(trace(recurrent, [Abstract.of(v) for v in (A, X, H)], name="loop"))
    assert "        body(carry0: float64[3], row0: float64[3], outer: float64[3, 3]):" in text.split("\n")


def test_fingerprints_tell_bodies_apart():
    inputs = [Abstract.of(v) for v in (A, X, H)]
    assert trace(recurrent, inputs).fingerprint() == trace(recurrent, inputs).fingerprint()
    assert len({trace(f, inputs).fingerprint() for f in (recurrent, backward, two_carries, nested)}) == 4
