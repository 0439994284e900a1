"""Every operation, compiled, against the NumPy engine."""

from collections import Counter

import numpy as np
import pytest
from engine_checks import TOLERANCE, differences
from program_checks import program_of
from program_table_axes import TABLE as AXES
from program_table_moves import TABLE as MOVES
from program_table_pointwise import TABLE as POINTWISE

from fwdgrad.engines.compiled_engine import pointwise
from fwdgrad.program import Abstract, scan, trace

SCENARIOS = [*POINTWISE.scenarios, *AXES.scenarios, *MOVES.scenarios]
TOGETHER = 48
STRIDE = {np.float64: 6, np.float32: 12}


def batches(scenarios):
    return [scenarios[k : k + TOGETHER] for k in range(0, len(scenarios), TOGETHER)]


def some(dtype):
    """One of several forms of every operation."""
    count = Counter()
    kept = []
    for scenario in SCENARIOS:
        if count[scenario.operation] % STRIDE[dtype] == 0:
            kept.append(scenario)
        count[scenario.operation] += 1
    return kept


def label(scenarios):
    return f"{scenarios[0].name}..{scenarios[-1].name}"


def compare(scenarios, dtype):
    names = [s.name for s in scenarios]
    programs = [program_of(s, dtype) for s in scenarios]
    return differences(names, programs, [s.cast(dtype) for s in scenarios], TOLERANCE[dtype])


@pytest.mark.parametrize("scenarios", batches(some(np.float64)), ids=label)
def test_operations(scenarios):
    assert compare(scenarios, np.float64) == []


@pytest.mark.quick("np.negative*", "np.searchsorted*")
@pytest.mark.parametrize("scenarios", batches(some(np.float32)), ids=label)
def test_operations_in_single_precision(scenarios):
    assert compare(scenarios, np.float32) == []


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("scenarios", batches(SCENARIOS), ids=label)
def test_all_forms_of_operations(scenarios, dtype):
    assert compare(scenarios, dtype) == []


@pytest.mark.parametrize(("wrong", "name"), [("{0} if {0} >= {1} else {1}", "np.maximum"), ("{0}", "np.tanh")])
def test_a_wrong_expression_is_found(monkeypatch, wrong, name):
    table = pointwise._TWO if name == "np.maximum" else pointwise._MATH
    monkeypatch.setitem(table, name.removeprefix("np."), wrong.replace(">=", "<="))
    assert compare([s for s in SCENARIOS if s.operation == name][:2], np.float64)


# ---- loops, and what scenarios do not contain


def compiled(function, *arrays):
    program = trace(function, [Abstract.of(a) for a in arrays])
    return differences([function.__name__], [program], [arrays], 1e-12)


def test_loops():
    generator = np.random.default_rng(0)
    rows, matrix, start = generator.normal(size=(5, 3)), generator.normal(size=(3, 3)), generator.normal(size=3)

    def nested(rows, matrix, start, scale):
        def inner(carry, row):
            return (carry[0] + row[0] * scale, carry[1] + 1), (carry[0] * carry[1],)

        def outer(carry, row):
            (total, count), (products,) = scan(inner, (carry[1], 0.0), (row[0],))
            state = np.tanh(matrix @ carry[0] + row[0]) * total
            return (state, total + count), (state, np.sum(products), row[0][::-1])

        (state, total), made = scan(outer, (start, 0.5), (rows,))
        (back,), seen = scan(lambda c, r: ((c[0] - r[0] @ matrix,), (c[0],)), (state,), (rows,), reverse=True)
        _, squares = scan(lambda _, r: ((), (np.outer(r[0], start), r[1])), (), (np.eye(3), np.arange(3.0)))
        return state, total, *made, back, *seen, *squares

    assert compiled(nested, rows, matrix, start, np.asarray(0.7)) == []


def test_swapped_and_repeated_values():
    def swapped(a, b):
        (x, y, z), _ = scan(lambda c, r: ((c[1], c[0], c[2] + c[0] * r[0]), ()), (a, b, a), (np.arange(3.0),))
        return x, y, z, a, a + b, a + b, np.zeros(2), np.float64(3.0) * np.ones(())

    assert compiled(swapped, np.array([1.0, 2.0]), np.array([3.0, 4.0])) == []


@pytest.mark.parametrize("k", [-3, -1, 0, 2])
def test_indices_that_are_data(k):
    def indexed(table, k, many):
        return table[k], table[:, k], table[many], table[many, k], np.take(table[0], np.abs(many) - 1, axis=0)

    arrays = np.arange(9.0).reshape(3, 3), np.asarray(k), np.array([[-1, 0], [2, -3]])
    if k >= 0:
        assert compiled(lambda t, k, m: (*indexed(t, k, m), np.where(np.arange(3) == k, t[:, k], 0.0)), *arrays) == []
    assert compiled(indexed, *arrays) == []


def test_the_lowest_integer_by_minus_one():
    """Their quotient is no integer of this size; processors stop at it."""
    for dtype in (np.int64, np.int32):
        low = np.iinfo(dtype).min
        arrays = np.array([low, low, 7, -7, 7], dtype), np.array([-1, 3, -1, 2, 0], dtype)
        assert compiled(lambda a, b: (a // b, a % b), *arrays) == []


def test_what_is_not_finite_stays_so():
    values = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e308, -1e308, 800.0, -800.0])

    def function(a):
        sums = np.sum(a[:1]), np.sum(a[1:2]), np.sum(a[1:3]), np.max(a), np.min(a[1:]), np.argmax(a), np.argmin(a[1:])
        pairs = np.maximum(a, 0.0), np.minimum(a, 0.0), np.fmax(a, 0.0), np.fmin(a, 0.0), a - a, a / a
        tests = np.isfinite(a), np.isnan(a), np.isinf(a), np.isfinite(a * 10.0), np.isnan(a - a), np.sort(a)
        return *sums, *pairs, *tests, np.exp(a), np.tanh(a), np.sqrt(a), np.dot(a[5:], a[5:]), np.sign(a)

    with np.errstate(all="ignore"):
        assert compiled(function, values) == []
