"""What cannot be traced is refused by name: the operation, the line of the user's function, and the mend."""

import inspect
import math
import re

import numpy as np
import pytest
import scipy.linalg
import scipy.special

from fwdgrad.errors import DeclarationError, FwdgradError, TracingError, UnsupportedOperationError
from fwdgrad.program import Abstract, scan, trace
from fwdgrad.program.array import OBJECT_LIMIT

VECTOR, MATRIX = Abstract((3,), np.dtype(float)), Abstract((3, 3), np.dtype(float))
INDEX, LARGE = Abstract((), np.dtype(int)), Abstract((50, 50), np.dtype(float))
TABLE = np.arange(5.0)


def while_loop(h):
    while h[0] < 3:
        h = h * 2
    return h


def assigned(h):
    h[0] = 1.0
    return h


def added_in_place(h):
    h += 1
    return h


def added_to_plain(h):
    out = np.zeros(3)
    out += h
    return out


def stored_element(h):
    out = np.zeros(3)
    out[0] = h[0]
    return out


def stored_all(h):
    out = np.zeros(3)
    out[:] = h
    return out


def stored_row(h):
    out = np.zeros((3, 3))
    out[0] = h
    return out


# function, its inputs, words of the message
REFUSED = [
    # values
    (lambda h: h if h[0] > 0 else -h, [VECTOR], "branch", "np.where"),
    (while_loop, [VECTOR], "branch", "np.where"),
    (lambda h: (h[0] > 0) and h, [VECTOR], "branch", "np.where"),
    (lambda h: h[0] or h, [VECTOR], "branch", "np.where"),
    (lambda h: not h[0], [VECTOR], "branch", "np.where"),
    (lambda h: max(h[0], 0.0), [VECTOR], "branch", "np.maximum"),
    (lambda h: min(h), [VECTOR], "branch", "np.minimum"),
    (lambda h: sorted(h), [VECTOR], "branch", "engine='eager'"),
    (lambda h: 1.0 in h, [VECTOR], "'in'", "np.where"),
    (lambda h: h * float(h[0]), [VECTOR], "Python number", "np functions"),
    (lambda h: h * int(h[0]), [VECTOR], "Python number", "np functions"),
    (lambda h: h * math.sin(h[0]), [VECTOR], "Python number", "instead of math"),
    (lambda h: h * math.floor(h[0]), [VECTOR], "Python number", "instead of math"),
    (lambda h: h * round(h[0]), [VECTOR], "Python number", "np functions"),
    (lambda h: h * h[0].item(), [VECTOR], "Python number", "np functions"),
    (lambda h: h.tolist(), [VECTOR], "Python number", "np functions"),
    (lambda h: f"{h[0]:.3f}", [VECTOR], "format", "plain arrays"),
    (lambda h: np.random.default_rng(0).normal(h), [VECTOR], "Python number", "np functions"),
    # places
    (assigned, [VECTOR], "assigned to", "np.stack"),
    (added_in_place, [VECTOR], "in place", "x = x + y"),
    (added_to_plain, [VECTOR], "in place", "x = x + y"),
    (stored_element, [VECTOR], "stored into a plain NumPy array", "np.stack"),
    (stored_all, [VECTOR], "stored into a plain NumPy array", "np.stack"),
    (stored_row, [VECTOR], "stored into a plain NumPy array", "np.stack"),
    (lambda h: np.array([h[0], 1.0], dtype=float), [VECTOR], "stored into a plain NumPy array", "np.stack"),
    (lambda h: np.asarray(h, dtype=float), [VECTOR], "stored into a plain NumPy array", "np.stack"),
    (lambda h: np.float64(h[0]), [VECTOR], "Python number", "np functions"),
    (lambda h: np.full(3, h[0], dtype=float), [VECTOR], "np.copyto", "np.stack"),
    (lambda h: np.add.at(np.zeros(3), [0], h), [VECTOR], "np.add.at", "np.stack"),
    (lambda h: h.sort(), [VECTOR], "in place", "np.sort"),
    (lambda h: h.fill(1.0), [VECTOR], "in place", "Build a new array"),
    # sizes and indices
    (lambda h: np.where(h > 0), [VECTOR], "np.where(condition) alone", "np.where(condition, a, b)"),
    (lambda h: h[h > 0], [VECTOR], "indexed with a condition", "np.where(condition, a, b)"),
    (lambda h: h.nonzero(), [VECTOR], "np.nonzero", "np.where(condition, a, b)"),
    (lambda x: TABLE[x], [INDEX], "IndexError", "(np.arange(len(table)) == x) @ table"),
    (lambda x: [1.0, 2.0, 3.0][x], [INDEX], "index into a plain array or list", "np.arange(len(table)) == x"),
    (lambda h, x: h[:x], [VECTOR, INDEX], "A slice", "np.take(x, start + np.arange(length))"),
    (lambda x: np.zeros(x), [INDEX], "TypeError", "Sizes must not depend on values"),
    (lambda x: list(range(x)), [INDEX], "as a size", "Sizes must not depend on values"),
    (lambda h, x: np.repeat(h, x), [VECTOR, INDEX], "A number of repetitions", "constant"),
    (lambda h, x: np.roll(h, x), [VECTOR, INDEX], "A shift", "constant"),
    (lambda h, x: np.sum(h, axis=x), [VECTOR, INDEX], "An axis", "constant"),
    (lambda h: h[h], [VECTOR], "numbers of type float64", ".astype(int)"),
    (lambda h: h[5], [VECTOR], "Index 5", "(3,)", "count from 0"),
    (lambda h: h[0, 0], [VECTOR], "2 indices", "(3,)", "one index per axis"),
    (lambda h: h[[0, 7]], [VECTOR], "getitem(float64[3], int64[2])", "index 7 is out of bounds", "Check the shapes"),
    (lambda h: h[True], [VECTOR], "single True", "np.where"),
    (lambda h: h[np.array([True, False])], [VECTOR], "mask of shape (2,)", "(3,)", "same shape"),
    (lambda h: h[..., ...], [VECTOR], "more than one ellipsis", "axes"),
    (lambda h: h["a"], [VECTOR], "type <U1", "real numbers"),
    # unknown functions and arguments
    (lambda h: np.fft.fft(h), [VECTOR], "np.fft.fft is not among", "engine='eager'"),
    (lambda h: np.linalg.svd(h), [MATRIX], "np.linalg.svd is not among", "engine='eager'"),
    (lambda h: np.linalg.eigh(h), [MATRIX], "np.linalg.eigh is not among", "engine='eager'"),
    (lambda h: np.median(h), [VECTOR], "np.median is not among", "np.sort"),
    (lambda h: np.unique(h), [VECTOR], "np.unique is not among", "np.where"),
    (lambda h: np.array_equal(h, h), [VECTOR], "np.array_equal is not among", "np.all(x == y)"),
    (lambda h: np.sinc(h), [VECTOR], "np.sinc is not among", "the table in the documentation"),
    (lambda h: np.add.reduceat(h, [0]), [VECTOR], "np.add.reduceat is not among", "engine='eager'"),
    (lambda h: np.hypot.reduce(h), [VECTOR], "np.hypot.reduce is not among", "engine='eager'"),
    (lambda h: np.linalg.norm(h, "nuc"), [MATRIX], "np.linalg.norm(ord='nuc'", "(3, 3)", "engine='eager'"),
    (lambda h: np.linalg.norm(h, 2), [MATRIX], "np.linalg.norm(ord=2", "(3, 3)", "engine='eager'"),
    (
        lambda h: np.linalg.norm(h, ord=2, axis=(0, 1)),
        [MATRIX],
        "np.linalg.norm(ord=2",
        "axis=(0, 1)",
        "engine='eager'",
    ),
    (lambda h: np.cross(h[:2], h[:2]), [VECTOR], "np.cross of shapes (2,) and (2,)", "engine='eager'"),
    (lambda h: scipy.special.zeta(h), [VECTOR], "scipy.special.zeta is not among", "engine='eager'"),
    (lambda h: scipy.special.softmax(h), [VECTOR], "scipy.special.softmax is not among", "np.exp(x - np.max(x))"),
    (lambda h: scipy.special.logsumexp(h), [VECTOR], "scipy.special.logsumexp is not among", "np.log(np.sum("),
    (lambda h: scipy.linalg.expm(h), [MATRIX], "scipy.linalg.expm is not among", "engine='eager'"),
    (lambda h: np.add(h, h, out=np.zeros(3)), [VECTOR], "np.add with out=", "x = np.add(x, y)"),
    (lambda h: np.sum(h, out=np.zeros(())), [VECTOR], "np.sum is called with out=", "supported arguments"),
    (lambda h: np.sum(h, where=h > 0), [VECTOR], "np.sum is called with where=", "supported arguments"),
    (lambda h: np.sum(h, None, None, None, False, 1.0), [VECTOR], "np.sum is called with initial=", "supported"),
    (lambda h: np.sort(h, order="a"), [VECTOR], "np.sort is called with order=", "supported arguments"),
    (
        lambda h: np.pad(h, 1, mode="linear_ramp", end_values=1),
        [VECTOR],
        "np.pad is called with end_values=",
        "supported",
    ),
    (lambda h: np.pad(h, 1, mode="mean"), [VECTOR], "np.pad is called with mode='mean'", "edge"),
    (lambda h: np.add(h, 1, where=h > 0), [VECTOR], "np.add is called with where=", "np.where"),
    (lambda h: np.add(h, 1, dtype=np.float32), [VECTOR], "np.add is called with dtype=", ".astype(dtype)"),
    (lambda h: np.reshape(h, (3, 1), order="F"), [VECTOR], "np.reshape is called with order='F'", "C order"),
    # shapes
    (lambda h: h @ np.ones(4), [VECTOR], "matmul(float64[3], float64[4])", "(3,) and (4,)", "Check the shapes"),
    (lambda h: h + np.ones(4), [VECTOR], "add(float64[3], float64[4])", "Check the shapes"),
    (lambda h: np.concatenate([h, np.ones((2, 2))]), [VECTOR], "np.concatenate", "(3,), (2, 2)", "number of axes"),
    (lambda h: np.concatenate([h[0], h]), [VECTOR], "np.concatenate joins numbers", "np.stack"),
    (lambda h: np.stack([h, np.ones(2)]), [VECTOR], "np.stack", "(3,), (2,)", "same shape"),
    (lambda h: np.reshape(h, (2, 2)), [VECTOR], "(3,)", "(2, 2)", "number of entries"),
    (lambda h: np.reshape(h, (-1, -1)), [VECTOR], "(3,)", "(-1, -1)", "number of entries"),
    (lambda h: np.squeeze(h, 0), [VECTOR], "np.squeeze", "(3,)", "size 1"),
    (lambda h: np.broadcast_to(h, (2, 2)), [VECTOR], "broadcast_to(float64[3])", "(2, 2)", "Check the shapes"),
    (lambda h: np.linalg.inv(h), [VECTOR], "inv(float64[3])", "square", "Check the shapes"),
    (lambda h: np.linalg.solve(h, np.ones(4)), [MATRIX], "(3, 3) and (4,)", "3 rows", "Check the shapes"),
    (lambda h: np.sum(h, axis=1), [VECTOR], "Axis 1", "1 dimensions", "shape"),
    (lambda h: np.sum(h, axis=(0, -2)), [MATRIX], "An axis is repeated", "once"),
    (lambda h: np.max(h[:0]), [VECTOR], "max(float64[0])", "size 0", "Check the shapes"),
    (lambda h: np.einsum("ij->i", h), [VECTOR], "np.einsum('ij->i')", "every axis a letter"),
    (lambda h: np.einsum("i,i", h, np.ones(4)), [VECTOR], "(3,), (4,)", "equally long"),
    (lambda h: np.tensordot(h, np.ones((2, 3)), 1), [VECTOR], "np.tensordot", "(3,) and (2, 3)", "equally long"),
    (lambda h: np.tensordot(h, np.ones((9, 1)).reshape(1, 9), 2), [MATRIX], "(3, 3) and (1, 9)", "equally long"),
    (lambda h: np.array([h, [1.0, 2.0]]), [VECTOR], "inhomogeneous", "plain arrays"),
    (lambda h: h * [h[0], [1.0, 2.0]], [VECTOR], "different shapes [(), (2,)]", "same shape"),
    (lambda h: np.split(h, 2), [VECTOR], "np.split", "(3,)", "np.array_split"),
    # kinds of numbers
    (lambda h: h * 1j, [VECTOR], "complex numbers", "imaginary part"),
    (lambda h: np.exp(1j * h).real, [VECTOR], "complex numbers", "imaginary part"),
    (lambda h: h.astype(complex), [VECTOR], "The result of astype", "complex numbers", "imaginary part"),
    (lambda h: h + "a", [VECTOR], "type <U1", "real numbers"),
    (lambda h: h * None, [VECTOR], "NoneType", "Pass numbers"),
    (lambda h: -(h > 0), [VECTOR], "negative(bool[3])", "Check the shapes"),
    # arrays that np.array builds from traced values
    (lambda h: np.where(np.array([h[0], h[1]]) > 0, 1.0, 0.0), [VECTOR], "branch", "np.stack"),
    (lambda h: np.maximum(np.array([h[0], h[1]]), 0), [VECTOR], "branch", "np.stack"),
    (lambda h: np.sign(np.array([h[0], h[1]])), [VECTOR], "branch", "np.stack"),
    (lambda h: scipy.special.expit(np.array([h[0], h[1]])), [VECTOR], "expit", "np.stack"),
    (lambda h: np.isnan(np.array([h[0], h[1]])), [VECTOR], "isnan", "np.stack"),
    (lambda h: np.mean(np.array([h[0], h[1]])), [VECTOR], "Python number", "np.stack"),
    (lambda h: np.array([h[0], h[1]]).astype(float), [VECTOR], "Python number", "np.stack"),
    (lambda h: np.asarray(h), [LARGE], "(50, 50)", "leave np.asarray out"),
    (lambda h: np.ones((50, 50)).dot(h), [LARGE], "(50, 50)", "np.dot(W, h)"),
    # errors of the function's own
    (lambda h: undefined * h, [VECTOR], "NameError", "undefined", "plain arrays"),  # noqa: F821
    (lambda h: {}["W"] @ h, [VECTOR], "KeyError", "'W'", "plain arrays"),
    (lambda h: h.somewhat, [VECTOR], "AttributeError", "somewhat", "plain arrays"),
    (lambda h: h[0](), [VECTOR], "TypeError", "not callable", "plain arrays"),
]


@pytest.mark.parametrize(("function", "inputs", "words"), [(f, i, w) for f, i, *w in REFUSED])
def test_refused(function, inputs, words):
    with pytest.raises(TracingError) as caught:
        trace(lambda *a: (function(*a),), inputs, name="F")
    message = str(caught.value)
    for word in words:
        assert word in message
    assert 2 <= len(message.split("\n")) <= 5
    lines, first = inspect.getsourcelines(function)
    found = re.search(rf"at {re.escape(__file__)}:(\d+), in {re.escape(function.__name__)}", message)
    assert found is not None, message
    assert first <= int(found[1]) < first + len(lines)
    assert isinstance(caught.value, UnsupportedOperationError) == ("is not among the operations" in message)


def test_errors_that_numpy_puts_in_place_of_ours_are_not_shown():
    """NumPy replaces an error in a conversion by one of its own; the user gets the first one."""
    with pytest.raises(TracingError) as caught:
        trace(lambda h: [stored_element(h)], [VECTOR])
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_errors_of_the_function_keep_their_cause():
    with pytest.raises(TracingError) as caught:
        trace(lambda h: [{}["W"] @ h], [VECTOR])
    assert isinstance(caught.value.__cause__, KeyError)


def test_own_errors_pass_through():
    def function(h):
        raise DeclarationError("not that way")

    with pytest.raises(DeclarationError, match=r"^not that way$"):
        trace(function, [VECTOR])


def test_leaked_arrays_are_refused():
    kept = []

    def keeps(h):
        kept.append(h)
        return (h,)

    trace(keeps, [VECTOR])
    for use in (
        lambda h: (h + kept[0],),
        lambda h: (kept[0] + h,),
        lambda h: (kept[0] * 2.0,),
        lambda h: (np.stack([h, kept[0]]),),
        lambda h: (kept[0],),
    ):
        with pytest.raises(TracingError, match="belongs to a trace, or to the body of a loop, that has ended"):
            trace(use, [VECTOR])


def test_arrays_of_another_open_trace_are_refused():
    def outer(h):
        trace(lambda g: (g + h,), [VECTOR])
        return (h,)

    with pytest.raises(TracingError, match="belongs to a trace, or to the body of a loop"):
        trace(outer, [VECTOR])


def test_arrays_leaked_from_the_body_of_a_loop_are_refused():
    kept = []

    def function(h):
        def body(carry, row):
            kept.append(row[0])
            return carry, [row[0]]

        scan(body, [], [h])
        return (h * kept[0],)

    with pytest.raises(TracingError, match="the body of a loop, that has ended"):
        trace(function, [VECTOR])


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda h: h, "returned one array"),
        (lambda h: np.zeros(3), "returned one array"),
        (lambda h: None, "returned nothing"),
        (lambda h: (h, None), "output 1 of the traced function is a NoneType"),
        (lambda h: (h, "text"), "output 1 of the traced function is a str"),
        (lambda h: (h.sum,), "output 0 of the traced function is a method"),
    ],
)
def test_what_a_traced_function_returns(function, words):
    with pytest.raises(TracingError, match=words):
        trace(function, [VECTOR])


def test_inputs_are_real():
    with pytest.raises(TracingError, match="complex numbers"):
        trace(lambda h: (h,), [Abstract((3,), np.dtype(complex))])


def test_small_arrays_may_be_taken_apart():
    shape = (OBJECT_LIMIT,)
    program = trace(lambda h: (np.asarray(h),), [Abstract(shape, np.dtype(float))])
    assert program.instructions == ()  # recognised as the whole array
    with pytest.raises(TracingError, match=r"leave np\.asarray out"):
        trace(lambda h: (np.asarray(h),), [Abstract((OBJECT_LIMIT + 1,), np.dtype(float))])


def test_every_refusal_is_an_error_of_this_library():
    assert issubclass(TracingError, FwdgradError)
    assert issubclass(TracingError, TypeError)
