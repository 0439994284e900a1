"""What compiled programs refuse: exactly what NumPy does, wherever it stands."""

import numpy as np
import pytest
from interpreted import interpreted

from fwdgrad.engines.compiled_engine import compile_program, source
from fwdgrad.engines.numpy_engine import compile_program as reference
from fwdgrad.errors import IndexRangeError, NonFiniteError, SingularMatrixError, StepError
from fwdgrad.program import Abstract, Linearized, root, scan, trace

TABLE = np.arange(12.0).reshape(4, 3)
INDEX = np.array([0, 3, -4, 2])
MATRIX = np.array([[2.0, 1.0], [4.0, 3.0]])


def moved(function):
    """The function of a table and of an index that is computed."""
    return lambda t, i, by: function(t, i + by)


def turned(t, i):
    """An index computed in a loop."""
    (total,), _ = scan(lambda c, r: ((c[0] + t[r[0] + 1, 0],), ()), (0.0,), (i - 1,))
    return (total,)


def solved(t, i):
    """An index in equations that are solved."""
    return (root(lambda z: 2.0 * z - np.sum(t[i]), np.zeros(1)),)


def differentiated(t, i):
    """The transpose, which adds at indices."""
    program = trace(lambda t, i: (np.tanh(t[i]),), [Abstract.of(TABLE), Abstract(i.shape, i.dtype)])
    return Linearized(program, (t, i)).vjp([np.ones((*i.shape, 3))], [0])


INDEXED = {
    "one": lambda t, i: (t[i[1]], t[i[2]]),
    "array": lambda t, i: (t[i],),
    "column": lambda t, i: (t[0][i % 3], t[:, 1][i]),
    "pair": lambda t, i: (t[i, [0, 1, 2, 0]],),
    "of which one is read": lambda t, i: (t[i][0],),
    "of which none is used": lambda t, i: (0.0 * np.sum(t[i]) + 1.0,),
    "behind a choice": lambda t, i: (np.where(i[:, None] < 4, t[i], 0.0),),
    "take": lambda t, i: (np.take(t, i, axis=0), np.take(t, i)),
    "take along an axis": lambda t, i: (np.take_along_axis(t[:, :1], i[:, None], 0),),
    "narrow": lambda t, i: (t[i.astype(np.int8)],),
    "floats": lambda t, i: (t[(i * 1.5 / 1.5).astype(int)],),
    "in a loop": turned,
    "in equations": solved,
    "transposed": differentiated,
}


def outcome(run, arrays):
    """What comes of it: results, or the kind of the refusal."""
    with np.errstate(all="ignore"):
        try:
            return run(*arrays)
        except StepError as error:
            return type(error)


def same(one, other):
    if isinstance(one, type) or isinstance(other, type):
        assert one is other
    else:
        for a, b in zip(one, other, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12)


def both(function, arrays):
    """The NumPy engine and the compiled engine's source, of the same program."""
    program = trace(function, [Abstract.of(a) for a in arrays])
    return reference(program), interpreted(program)


@pytest.mark.parametrize("label", INDEXED)
def test_an_index_out_of_range(label):
    arrays = TABLE, INDEX, np.asarray(0)
    runs = both(moved(INDEXED[label]), arrays)
    for by in (0, 1, -1, 100):
        expected = INDEXED[label](TABLE, INDEX + by) if by == 0 else None
        made = [outcome(run, (TABLE, INDEX, np.asarray(by))) for run in runs]
        same(*made)
        if expected is None:
            assert made[0] is IndexRangeError
        else:
            same(expected, made[0])


def test_numpy_knows_the_range():
    """The same indices, by NumPy alone."""
    for label in ("one", "array", "pair", "take"):
        for by in (1, -1, 100):
            with pytest.raises(IndexError):
                INDEXED[label](TABLE, INDEX + by)


def test_a_test_that_is_left_out_is_found(monkeypatch):
    """Negative control: without looking at indices, what is nearest is read."""
    from fwdgrad.engines.compiled_engine import building

    monkeypatch.setattr(building, "outside", lambda index, size: None)
    arrays = TABLE, INDEX, np.asarray(1)
    with pytest.raises(AssertionError):
        same(*(outcome(run, arrays) for run in both(moved(INDEXED["array"]), arrays)))


@pytest.mark.parametrize(
    "function",
    [
        lambda t, i: (np.sort(t, axis=0), np.argsort(t[:, 0])),
        lambda t, i: (np.interp(t[:, 0], t[0], t[1]),),
        lambda t, i: (t[i % 4], t[np.clip(i, 0, 3)], t[np.argmax(t, axis=0)], np.take(t, i, axis=0, mode="wrap")),
        lambda t, i: (t[[1, -1]], t[np.arange(3) + 1], t[:, ::-1]),
    ],
)
def test_what_cannot_be_out_of_range_is_not_looked_at(function):
    program = trace(function, [Abstract.of(TABLE), Abstract.of(INDEX)])
    assert "refused" not in source(program)
    same(reference(program)(TABLE, INDEX + 7), interpreted(program)(TABLE, INDEX + 7))


SINGULAR = [np.zeros((2, 2)), np.ones((2, 2)), np.array([[0.0, 1.0], [0.0, 2.0]]), np.array([[1.0, 2.0], [-2.0, -4.0]])]
INVERTED = {
    "inv": lambda a: (np.tanh(np.linalg.inv(a)),),
    "solve": lambda a: (np.where(a[0] > 9.0, np.linalg.solve(a, np.ones(2)), 0.0),),
    "solve a matrix": lambda a: (np.linalg.solve(a, np.eye(2)),),
    "stack": lambda a: (
        np.linalg.inv(np.stack([MATRIX, a])),
        np.linalg.solve(np.stack([a, MATRIX]), np.ones((2, 2, 1))),
    ),
    "matrix_power": lambda a: (np.linalg.matrix_power(a, -2),),
    "in a loop": lambda a: scan(lambda c, r: ((), (np.linalg.inv(r[0] * a),)), (), (np.array([1.0, 2.0]),))[1],
}


@pytest.mark.parametrize("label", INVERTED)
def test_a_matrix_without_an_inverse(label):
    runs = both(INVERTED[label], (MATRIX,))
    same(*(outcome(run, (MATRIX,)) for run in runs))
    for a in SINGULAR:
        made = [outcome(run, (a,)) for run in runs]
        assert made == [SingularMatrixError] * 2


def test_integers_to_a_negative_power():
    runs = both(lambda n, k: (n**k,), (INDEX, np.asarray(2)))
    for k in (0, 3):
        same(*(outcome(run, (INDEX, np.asarray(k))) for run in runs))
    assert [outcome(run, (INDEX, np.asarray(-1))) for run in runs] == [NonFiniteError] * 2


def test_compiled():
    """The same by machine code."""

    def function(t, i, by, a):
        return *INDEXED["array"](t, i + by), *turned(t, i + by), *INVERTED["inv"](a), *solved(t, i + by)

    program = trace(function, [Abstract.of(v) for v in (TABLE, INDEX, np.asarray(0), MATRIX)])
    runs = reference(program), compile_program(program)
    for by, a, expected in [(0, MATRIX, None), (1, MATRIX, IndexRangeError), (0, SINGULAR[1], SingularMatrixError)]:
        made = [outcome(run, (TABLE, INDEX, np.asarray(by), a)) for run in runs]
        same(*made)
        assert expected is None or made[0] is expected
