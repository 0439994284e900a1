"""The NumPy engine: memory that is used again, and large arrays that are not gone through, change no result."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fwdgrad.engines import numpy_engine, passes
from fwdgrad.engines.passes import fewer_passes
from fwdgrad.program import Abstract, Program, trace

N = 30
"""Matrices have 900 entries: they count as large."""
GENERATOR = np.random.default_rng(0)
ARRAYS = [GENERATOR.normal(size=(N, N)), GENERATOR.normal(size=(N, N)), GENERATOR.normal(size=N), np.array(0.7)]
NAMES = ["A", "B", "u", "s"]


def traced(function, arrays=ARRAYS) -> Program:
    return trace(lambda *a: function(*a), [Abstract.of(a) for a in arrays], names=NAMES[: len(arrays)])


def large(program: Program) -> int:
    """The number of operations whose result is a large array of its own."""
    views = ("reshape", "transpose", "getitem", "broadcast_to")
    return sum(np.prod(i.outputs[0].shape) > 512 for i in program if i.operation.name not in views)


# ---- fewer passes

SHORTER = {
    # name: function, large arrays made before and after
    "a number times an outer product": (lambda A, B, u, s: [s * np.outer(u, u)], 2, 1),
    "a constant times an outer product": (lambda A, B, u, s: [-0.1 * np.outer(u, u)], 2, 1),
    "numbers one after the other": (lambda A, B, u, s: [2.0 * (s * (3.0 * np.outer(u, u)))], 4, 1),
    "a sum": (lambda A, B, u, s: [s * (np.outer(u, u) + u[0] * A)], 4, 3),
    "a difference, the number behind": (lambda A, B, u, s: [(np.outer(u, u) - u[0] * A) * s], 4, 3),
    "rows": (lambda A, B, u, s: [s * (u * A)], 2, 1),
    "zeros but for a column": (lambda A, B, u, s: [B, s * Linear.column(A, u)], 2, 1),
    "the norm of an outer product": (lambda A, B, u, s: [norm(np.outer(u, np.tanh(u)))], 1, 0),
    "the norm of a scaled one": (lambda A, B, u, s: [norm(np.outer(s * u, u).T)], 1, 0),
    "the norm of a column": (lambda A, B, u, s: [norm(Linear.column(A, u))], 1, 0),
}
KEPT = {
    "needed twice": (lambda A, B, u, s: [s * np.outer(u, u), np.sin(np.outer(u, u))], 3, 3),
    "an output": (lambda A, B, u, s: (lambda o: [s * o, o])(np.outer(u, u)), 2, 2),
    "a sum with a plain matrix": (lambda A, B, u, s: [s * (np.outer(u, u) + A)], 3, 3),
    "a product of two matrices": (lambda A, B, u, s: [s * (A * B)], 2, 2),
    "a vector": (lambda A, B, u, s: [u * (u[0] * A)], 2, 2),
    "the norm of a matrix times a row": (lambda A, B, u, s: [norm(u * A)], 1, 1),
    "the norm of a product of matrices": (lambda A, B, u, s: [norm(A * B)], 1, 1),
    "one row taken twice": (lambda A, B, u, s: [norm(Linear.twice(A, u))], 1, 1),
}


def norm(x):
    return np.vdot(x, x)


class Linear:
    """Adjoints of indexing, which programs get from derivatives."""

    @staticmethod
    def column(A, u):
        from fwdgrad.program.operations import scatter_add

        index = (("slice", None, None, None), ("int", 3))
        return scatter_add(u, index=index, shape=A.shape)

    @staticmethod
    def twice(A, u):
        from fwdgrad.program.operations import scatter_add

        rows = np.stack([u, u, u])
        return scatter_add(rows, np.array([4, 7, 4]), index=(("operand",),), shape=A.shape)


def agree(program, arrays=ARRAYS, tolerance=1e-14):
    expected = program(*arrays)
    for result, wanted in zip(numpy_engine.compile_program(program)(*arrays), expected, strict=True):
        assert np.asarray(result).dtype == np.asarray(wanted).dtype
        np.testing.assert_allclose(result, wanted, rtol=tolerance, atol=tolerance * np.abs(wanted).max())


@pytest.mark.parametrize("name", [*SHORTER, *KEPT])
def test_passes(name):
    function, before, after = (SHORTER | KEPT)[name]
    program = traced(function)
    assert (large(program), large(fewer_passes(program))) == (before, after)
    agree(program)


@pytest.mark.parametrize("name", [*SHORTER, *KEPT])
def test_single_precision_stays_single(name):
    arrays = [a.astype(np.float32) for a in ARRAYS]
    agree(traced((SHORTER | KEPT)[name][0], arrays), arrays, 1e-5)
    mixed = [*arrays[:3], ARRAYS[3]]  # a number in double precision makes everything double
    program = traced((SHORTER | KEPT)[name][0], mixed)
    assert [o.dtype for o in fewer_passes(program).outputs] == [o.dtype for o in program.outputs]
    agree(program, mixed, 1e-5)


def test_small_arrays_are_left_as_they_are():
    program = traced(lambda u, s: [s * np.outer(u, u)], [ARRAYS[2][:5], ARRAYS[3]])
    assert str(fewer_passes(program)) == str(program)


@pytest.mark.parametrize(
    ("rule", "name"), [("_apart", "the norm of a matrix times a row"), ("_once", "one row taken twice")]
)
def test_a_norm_taken_apart_wrongly_is_found(monkeypatch, rule, name):
    monkeypatch.setattr(passes, rule, lambda *_: True)
    with pytest.raises(AssertionError):
        agree(traced(KEPT[name][0]))


# ---- memory

STEPS = [
    lambda a, b: a + b,
    lambda a, b: np.tanh(a),
    lambda a, b: a * 0.5 - b,
    lambda a, b: a.T,
    lambda a, b: a.reshape(N // 2, 2 * N).reshape(N, N),
    lambda a, b: a[::-1],
    lambda a, b: np.transpose(np.reshape(a, (N, N, 1)), (1, 0, 2))[:, :, 0],
    lambda a, b: np.broadcast_to(a[0], (N, N)),
    lambda a, b: np.einsum("ij->ji", a),
    lambda a, b: np.concatenate([a[:3], b[3:]]),
    lambda a, b: np.where(a > 0, a, b),
    lambda a, b: a @ b / N,
    lambda a, b: np.outer(a[0], b[:, 0]),
    lambda a, b: a[0] * b,
    lambda a, b: a * a,
    lambda a, b: np.sum(a) * b / N,
]
CHOICES = st.lists(
    st.tuples(st.integers(0, len(STEPS) - 1), st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=14
)


def of(choices):
    """A program that applies one step after the other to recent values; the last two are its outputs."""

    def function(A, B, u, s):
        values = [A, B]
        for number, first, second in choices:
            values.append(STEPS[number](values[-1 - first % len(values)], values[-1 - second % len(values)]))
        return values[-2:]

    return traced(function)


def same(one, other):
    """Equal but for rounding: NumPy sums an array in the order in which it stands in memory, which may be another."""
    size = np.max(np.abs(one), initial=0.0, where=np.isfinite(one))
    return np.allclose(one, other, rtol=1e-10, atol=1e-10 * size, equal_nan=True)


def unspoiled(choices):
    """The engine's results are those of NumPy, the second time too, and no argument has changed."""
    program, given = of(choices), [a.copy() for a in ARRAYS]
    function = numpy_engine.compile_program(program)
    with np.errstate(all="ignore"):
        expected = [np.array(o) for o in program(*ARRAYS)]
        first = function(*given)
        second = function(*given)
    return all(same(e, r) and same(e, t) for e, r, t in zip(expected, first, second, strict=True)) and all(
        np.array_equal(a, b) for a, b in zip(given, ARRAYS, strict=True)
    )


@pytest.fixture
def as_written(monkeypatch):
    """Without a rearrangement of numbers, results have to be the same."""
    monkeypatch.setattr(numpy_engine, "fewer_passes", lambda program: program)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(CHOICES)
def test_random_programs_with_large_arrays(as_written, choices):
    assert unspoiled(choices)


VIEWED = {
    "a transpose": [(1, 0, 0), (3, 0, 0), (1, 1, 0), (0, 0, 1)],
    "a row, repeated": [(1, 0, 0), (7, 0, 0), (2, 1, 0), (0, 0, 1)],
    "the other order": [(1, 0, 0), (5, 0, 0), (1, 1, 0), (0, 0, 1)],
    "an einsum of one array": [(1, 0, 0), (8, 0, 0), (1, 1, 0), (0, 0, 1)],
}


@pytest.mark.parametrize("name", VIEWED)
def test_what_is_looked_at_is_not_written_over(as_written, monkeypatch, name):
    assert unspoiled(VIEWED[name])
    monkeypatch.setattr(numpy_engine, "_makes_new", lambda ins: ins.operation.name != "broadcast_to")
    assert not unspoiled(VIEWED[name])


def test_memory_is_used_again():
    """Eight sums of matrices, one after the other, need two arrays beside the result."""

    def function(A, B, u, s):
        total = A
        for k in range(8):
            total = total + np.outer(u[k] + u, u)
        return [total]

    text, _ = numpy_engine.source(traced(function))
    assert text.count("out=") == 14  # all but the first product and the first sum
    agree(traced(function))
