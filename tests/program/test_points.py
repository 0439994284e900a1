"""`at_points`: every operation, loop and root at several points at once is what it is at each of them by itself."""

import numpy as np
import pytest
from program_checks import program_of
from program_table_axes import TABLE as AXES
from program_table_moves import TABLE as MOVES
from program_table_pointwise import TABLE as POINTWISE
from test_roots import FUNCTIONS, point

from fwdgrad.errors import ShapeError
from fwdgrad.program import Abstract, points, root, scan, trace
from fwdgrad.program.points import at_points

SCENARIOS = [*POINTWISE.scenarios, *AXES.scenarios, *MOVES.scenarios]
COUNT = 3
rng = np.random.default_rng(0)


def moved(array):
    """The array at each point: another one where it holds real numbers."""
    if array.dtype.kind != "f":
        return np.stack([array] * COUNT)
    return np.stack([array, array * 1.01, array * 0.97]).astype(array.dtype)


def compared(program, arrays, fixed=()):
    """All inputs vary but those that are fixed; the same points one by one."""
    given = [a if k in fixed else moved(a) for k, a in enumerate(arrays)]
    with np.errstate(all="ignore"):
        made = at_points(program, given, COUNT)
        singly = [program(*(a if k in fixed else a[n] for k, a in enumerate(given))) for n in range(COUNT)]
    for found, expected, output in zip(made, zip(*singly, strict=True), program.outputs, strict=True):
        assert found.shape == (COUNT, *output.shape)
        assert found.dtype == output.dtype
        np.testing.assert_allclose(found, np.stack(expected), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("operation", sorted({s.operation for s in SCENARIOS}))
def test_operation(operation):
    """With all operands different at each point, and with each of them the same at all."""
    for scenario in SCENARIOS:
        if scenario.operation == operation:
            arrays = [np.asarray(a) for a in scenario.arrays]
            for fixed in [(), *((k,) for k in range(len(arrays)))]:
                compared(program_of(scenario), arrays, fixed)


@pytest.mark.parametrize("n", [3, 12])
@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
def test_root(function, n):
    arrays = point(n)
    program = trace(function, [Abstract.of(a) for a in arrays])
    for fixed in ((), (0,), (1,), (0, 1)):
        compared(program, arrays, fixed)


def test_newton_at_points_that_fare_differently():
    """One converges at once, one slowly, one never, one begins at NaN, and one meets a matrix without an inverse."""
    program = trace(lambda a, z: [root(lambda z: z**2 - a, z)], [Abstract((1,), np.dtype(float))] * 2)
    a = np.array([[4.0], [1e4], [-1.0], [4.0], [4.0]])
    start = np.array([[2.0], [1.0], [1.0], [np.nan], [0.0]])
    (made,) = at_points(program, [a, start], 5)
    expected = np.stack([program(*given)[0] for given in zip(a, start, strict=True)])
    np.testing.assert_allclose(made, expected, rtol=1e-15)
    np.testing.assert_array_equal(np.isfinite(made[:, 0]), [True, True, False, False, False])


@pytest.mark.parametrize("reverse", [False, True])
def test_loop(reverse):
    def turn(carry, row, w, c):
        return [np.tanh(w @ carry[0]) + row[0] * c], [carry[0] * row[1]]

    def run(start, table, w, c):
        (last,), (rows,) = scan(lambda h, r: turn(h, r, w, c), [start], [table, np.arange(4.0)], reverse=reverse)
        return last, rows

    arrays = [rng.normal(size=2), rng.normal(size=(4, 2)), rng.normal(size=(2, 2)), np.array(0.7)]
    program = trace(run, [Abstract.of(a) for a in arrays])
    for fixed in ((), (0,), (1,), (2,), (3,), (0, 1, 2), (0, 1, 2, 3)):
        compared(program, arrays, fixed)


WRONG = {
    "sum": lambda: test_operation("np.sum"),
    "concatenate": lambda: test_operation("np.concatenate"),
    "matmul": lambda: test_operation("np.matmul"),
    "scan": lambda: test_loop(False),
    "root": lambda: test_root(FUNCTIONS[0], 3),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_rule_is_found(name, monkeypatch):
    """Negative control: a rule that mistakes one point for another."""
    right = points._RULES[name]
    monkeypatch.setitem(points._RULES, name, lambda *given: [np.roll(v, 1, axis=0) for v in right(*given)])
    with pytest.raises(AssertionError):
        WRONG[name]()


def test_what_does_not_fit_is_refused():
    program = trace(lambda h: [np.tanh(h)], [Abstract((2,), np.dtype(float))], names=["h"])
    with pytest.raises(ShapeError, match=r"input h has shape \(2,\), or \(3, 2\) .* got \(4, 2\)"):
        at_points(program, [np.ones((4, 2))], 3)
