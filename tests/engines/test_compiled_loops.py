"""Loops rewritten before they are compiled: the same numbers, fewer passes over matrices, and nothing done twice."""

import numpy as np
import pytest

import fwdgrad as fg
from fwdgrad import systems
from fwdgrad.engines.accumulating import accumulated
from fwdgrad.engines.compiled_engine import sharing
from fwdgrad.engines.compiled_engine.sharing import shared_between_loops
from fwdgrad.estimators.windows import Sliding
from fwdgrad.learning.execution import Execution
from fwdgrad.program import Abstract, scan, trace

RNG = np.random.default_rng(0)
T, N, M = 5, 30, 20
U, V, C = RNG.normal(size=(T, N)), RNG.normal(size=(T, M)), RNG.normal(size=(N, M))
SEEN = np.array([1.0, 0.0, 1.0, 1.0, 0.0])


def program(function, *examples):
    return trace(lambda *a: tuple(function(*a)), [Abstract.of(e) for e in examples])


def bodies(program):
    return [ins.params["body"] for ins in program if ins.operation.name == "scan"]


def adding(term, c, u, v, seen):
    return scan(lambda k, r: ((k[0] + term(*r, k[0]),), (r[0] * 2,)), (c,), (u, v, seen))[0]


SUMS = {
    "outer": (lambda u, v, s, c: np.outer(u, v), True),
    "the row first": (lambda u, v, s, c: v * u[:, None], True),
    "where there is a target": (lambda u, v, s, c: np.where(s > 0, np.outer(u, v), 0.0), True),
    "else another number": (lambda u, v, s, c: np.where(s > 0, np.outer(u, v), 1.0), False),
    "of itself": (lambda u, v, s, c: np.outer(u, v) * np.sum(c), False),
    "a choice by entries": (lambda u, v, s, c: np.where(v > 0, np.outer(u, v), 0.0), False),
    "no product": (lambda u, v, s, c: u[:, None] + v, False),
}


@pytest.mark.parametrize("name", SUMS)
@pytest.mark.parametrize("reverse", [False, True])
def test_sums_of_outer_products(name, reverse):
    term, moved = SUMS[name]
    made = program(lambda *a: adding(term, *a), C, U, V, SEEN)
    again = accumulated(made)
    np.testing.assert_allclose(again(C, U, V, SEEN)[0], made(C, U, V, SEEN)[0], rtol=1e-13, atol=1e-14)
    assert (again.inputs[0] not in [i for ins in again for i in ins.inputs if ins.operation.name == "scan"]) == moved


def test_what_is_not_counted_may_be_infinite():
    made = program(lambda *a: adding(SUMS["where there is a target"][0], *a), C, U, V, SEEN)
    u = np.where(SEEN[:, None] > 0, U, np.inf)
    np.testing.assert_allclose(accumulated(made)(C, u, V, SEEN)[0], made(C, U, V, SEEN)[0], rtol=1e-13, atol=1e-14)


def test_a_sum_that_is_read_in_between_stays():
    def read(c, u, v):
        return scan(lambda k, r: ((k[0] + np.outer(r[0], r[1]),), (k[0][0],)), (c,), (u, v))[1]

    made = program(read, C, U, V)
    np.testing.assert_array_equal(accumulated(made)(C, U, V)[0], made(C, U, V)[0])


def test_small_sums_are_left_as_they_are():
    made = program(lambda c, u, v: adding(SUMS["outer"][0], c, u, v, SEEN), C[:4, :3], U[:, :4], V[:, :3])
    assert [ins.operation.name for ins in accumulated(made)] == ["scan"]


def forth_and_back(x, y, w):
    """The first loop makes states; the second goes back, and asks for the same of them."""
    _, (states, made) = scan(lambda k, r: ((np.tanh(w @ k[0] + r[0]),), (k[0], r[1] * 2)), (np.zeros(3),), (x, y))

    def back(k, r):
        z = w @ r[0] + r[1]
        return (k[0] @ w * (1 - np.tanh(z) ** 2) + np.exp(r[2]),), (z,)

    return (*scan(back, (np.ones(3),), (states, x, y), reverse=True)[1], made)


def test_what_two_loops_have_in_common():
    x, y, w = RNG.normal(size=(T, 3)), RNG.normal(size=(T, 3)), RNG.normal(size=(3, 3))
    made = program(forth_and_back, x, y, w)
    again = shared_between_loops(made)
    for ours, theirs in zip(again(x, y, w), made(x, y, w), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    names = [ins.operation.name for ins in bodies(again)[1]]
    assert names.count("matmul") == 1  # the way back
    assert "tanh" not in names
    assert "exp" in names  # of something that the first loop does not compute


def test_another_row_is_not_the_same():
    """A negative control, with loops that look alike."""
    x, y, w = RNG.normal(size=(T, 3)), RNG.normal(size=(T, 3)), RNG.normal(size=(3, 3))

    def twice(x, y, w):
        _, (a,) = scan(lambda k, r: ((), (np.tanh(w @ r[0]),)), (), (x,))
        _, (b,) = scan(lambda k, r: ((), (np.tanh(w @ r[0]),)), (), (y,))
        return a, b

    made = program(twice, x, y, w)
    assert shared_between_loops(made) is made


@pytest.mark.parametrize(
    "estimator",
    [fg.TBPTT(6), fg.UORO(window=6), fg.TBPTT(6, 2), fg.Hybrid(3), fg.Estimator(fg.UORO().kept, Sliding(4, 2))],
)
@pytest.mark.parametrize("name", ["tanh-rnn", "gru"])
def test_windows_are_the_same_to_the_last_bit(name, estimator):
    """Executed by NumPy, one operation after the other; sums of outer products to rounding."""
    execution = Execution(systems.build(name, units=24, symbols=5), estimator, fg.Adam(1e-2), "numpy")
    made = execution.program("window")
    rng = np.random.default_rng(1)
    given = [rng.integers(5, size=v.shape) if v.dtype.kind == "i" else rng.random(v.shape) + 0.1 for v in made.inputs]
    shared = shared_between_loops(made)
    assert shared is not made
    for ours, theirs in zip(shared(*given), made(*given), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    for ours, theirs in zip(accumulated(shared)(*given), made(*given), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)


def test_a_wrong_match_is_found(monkeypatch):
    monkeypatch.setattr(sharing, "_key", lambda ins, inputs: (ins.operation.name, ins.outputs[0].shape))
    x, y, w = RNG.normal(size=(T, 3)), RNG.normal(size=(T, 3)), RNG.normal(size=(3, 3))

    def other(x, y, w):
        _, (a,) = scan(lambda k, r: ((), (np.tanh(w @ r[0]),)), (), (x,))
        _, (b,) = scan(lambda k, r: ((), (np.tanh(r[0] @ w),)), (), (x,))
        return a, b

    made = program(other, x, y, w)
    assert not np.array_equal(shared_between_loops(made)(x, y, w)[1], made(x, y, w)[1])
