"""Compiled loops over steps: the same numbers as step by step, in place, and stopping where they diverge."""

import threading

import numpy as np
import pytest

import fwdgrad as fg
from fwdgrad import systems
from fwdgrad.engines.compiled_engine import aligned, compile_stream
from fwdgrad.engines.numpy_engine import compile_program as reference
from fwdgrad.learning.execution import Execution
from fwdgrad.program import Abstract, trace


class Case:
    """A system's learning steps: the program, its compiled stream, and samples."""

    def __init__(self, estimator, optimizer, steps, name="tanh-rnn", **options):
        self.execution = Execution(systems.build(name, **options), estimator, optimizer, "numpy")
        self.program = self.execution.program("learn")
        self.size = len(self.execution.initial())
        self.stream = compile_stream(self.program, self.size)
        generator = np.random.default_rng(0)
        xs = generator.integers(0, 4, steps)
        signs = [generator.choice([-1.0, 1.0], (steps, *v.shape)) for v in self.program.inputs[self.size + 2 :]]
        self.rows = [xs, np.roll(xs, -1), *signs]
        self.steps = steps

    def carry(self):
        return [np.array(a) for a in self.execution.initial()]

    def outs(self):
        return [np.full((self.steps, *o.shape), np.nan, o.dtype) for o in self.program.outputs[self.size : -1]]

    def run(self, carry=None):
        carry, outs = carry or self.carry(), self.outs()
        return self.stream.run(carry, self.rows, outs, 0, self.steps), carry, outs


@pytest.fixture(scope="module")
def uoro():
    return Case(fg.UORO(), fg.SGD(0.01), 1000, units=8, symbols=4)


def test_a_thousand_steps(uoro):
    done, carry, outs = uoro.run()
    step, state = reference(uoro.program), uoro.execution.initial()
    for t in range(uoro.steps):
        *state, loss, prediction, _ = step(*state, *(np.asarray(r[t]) for r in uoro.rows))
        np.testing.assert_allclose(outs[0][t], loss, rtol=1e-9)
        np.testing.assert_allclose(outs[1][t], prediction, rtol=1e-9, atol=1e-9)
    assert done == uoro.steps
    for mine, theirs in zip(carry, state, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-9, atol=1e-9)


def test_one_step_at_a_time_is_the_same(uoro):
    _, together, outs = uoro.run()
    carry, mine = uoro.carry(), uoro.outs()
    for t in range(uoro.steps):
        assert uoro.stream.run(carry, uoro.rows, mine, t, t + 1) == t + 1
    for a, b in zip([*carry, *mine], [*together, *outs], strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("array", [np.arange(7.0), np.zeros((3, 0)), np.float32(2.5), np.arange(6).reshape(2, 3).T])
def test_aligned_copies(array):
    copy = aligned(array)
    np.testing.assert_array_equal(copy, array)
    assert copy.dtype == array.dtype
    assert copy.__array_interface__["data"][0] % 64 == 0 or not copy.size
    assert copy.flags.c_contiguous
    assert copy.flags.writeable


def test_nothing_is_done_without_steps(uoro):
    carry = uoro.carry()
    assert uoro.stream.run(carry, uoro.rows, uoro.outs(), 7, 7) == 7
    for mine, before in zip(carry, uoro.carry(), strict=True):
        np.testing.assert_array_equal(mine, before)


def test_it_stops_at_the_step_that_diverges(uoro):
    """The step at which the NumPy engine's health is first not finite."""
    program = trace(lambda h, x: (h * h * x, np.vdot(h, h * x)), [Abstract.of(np.zeros(3)), Abstract.of(np.zeros(()))])
    state, rows = np.array([0.1, 1.0, 1.01]), np.full(99, 1.5)
    step, expected = reference(program), None
    carry = [state.copy()]
    with np.errstate(all="ignore"):
        for t in range(99):
            state, health = step(state, rows[t])
            if not np.isfinite(health):
                expected = t
                break
    assert expected is not None
    assert compile_stream(program, 1).run(carry, [rows], [], 0, 99) == expected


def test_it_stops_in_the_midst_of_learning(uoro):
    carry, outs = uoro.carry(), uoro.outs()
    rows = [*uoro.rows[:2], uoro.rows[2].copy()]
    rows[2][37, 2] = np.inf
    assert uoro.stream.run(carry, rows, outs, 0, uoro.steps) == 37
    assert np.isnan(outs[0][38:]).all()
    assert uoro.stream.run(uoro.carry(), rows, outs, 0, 37) == 37
    assert uoro.run()[0] == uoro.steps


def test_a_single_bad_number_is_seen():
    """Health is finite exactly if everything is, however its sum is rearranged."""

    def step(h, x):
        new = h + x
        return new, np.vdot(new, new) + x * x - x * x

    program = trace(lambda h, x: step(h, x), [Abstract.of(np.zeros(3)), Abstract.of(np.zeros(()))])
    stream = compile_stream(program, 1)
    for bad in (np.nan, np.inf, -np.inf, 1e200):
        rows = np.ones(9)
        rows[5] = bad
        assert stream.run([np.zeros(3)], [rows], [], 0, 9) == 5


def test_threads_share_a_stream(uoro):
    _, expected, _ = uoro.run()
    found = [None] * 4

    def work(k):
        for _ in range(3):
            found[k] = uoro.run()[1]

    threads = [threading.Thread(target=work, args=(k,)) for k in range(len(found))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for carry in found:
        for mine, other in zip(carry, expected, strict=True):
            np.testing.assert_array_equal(mine, other)


def test_other_arrays_in_the_same_lists(uoro):
    """Addresses are remembered from call to call, but not for other arrays."""
    carry, outs = uoro.carry(), uoro.outs()
    uoro.stream.run(carry, uoro.rows, outs, 0, 10)
    again = uoro.carry()
    for k, array in enumerate(again):
        carry[k] = array
    uoro.stream.run(carry, uoro.rows, outs, 0, uoro.steps)
    for mine, other in zip(carry, uoro.run()[1], strict=True):
        np.testing.assert_array_equal(mine, other)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c, r, o: c.pop(), r"carry: expected \d+ arrays, got \d+"),
        (lambda c, r, o: c.__setitem__(3, c[3][:-1]), "carry W: expected"),
        (lambda c, r, o: c.__setitem__(3, np.asfortranarray(c[3])), "C-contiguous"),
        (lambda c, r, o: c.__setitem__(0, c[0].astype(np.float32)), "carry h: expected"),
        (lambda c, r, o: c[0].setflags(write=False), "may be written to"),
        (lambda c, r, o: c.__setitem__(1, c[0]), "are the same"),
        (lambda c, r, o: r.__setitem__(0, r[0].astype(float)), "rows x_rows: expected"),
        (lambda c, r, o: o.__setitem__(0, o[0][:5]), "steps 0 to 1000 of 5"),
    ],
)
def test_wrong_arrays_are_refused(uoro, change, message):
    carry, rows, outs = uoro.carry(), list(uoro.rows), uoro.outs()
    change(carry, rows, outs)
    with pytest.raises(ValueError, match=message):
        uoro.stream.run(carry, rows, outs, 0, uoro.steps)


# ---- what is carried is written over only when nobody needs the old values any more


def test_new_values_that_need_all_old_ones():
    def step(a, b, matrix, x):
        mixed = matrix @ a + x
        return b, mixed, matrix.T + np.outer(a, b), np.sum(mixed)

    generator = np.random.default_rng(0)
    start = [generator.normal(size=3), generator.normal(size=3), 0.3 * generator.normal(size=(3, 3))]
    rows = 0.1 * generator.normal(size=(6, 3))
    program = trace(lambda *a: step(*a), [*(Abstract.of(a) for a in start), Abstract.of(rows[0])])
    carry = [a.copy() for a in start]
    assert compile_stream(program, 3).run(carry, [rows], [], 0, 6) == 6
    run = reference(program)
    for row in rows:
        *start, _ = run(*start, row)
    for mine, theirs in zip(carry, start, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-12)


def test_carried_numbers_are_exchanged():
    program = trace(lambda a, b, x: (b, a, a + x), [Abstract.of(np.zeros(()))] * 3)
    carry = [np.asarray(1.0), np.asarray(2.0)]
    outs = []
    assert compile_stream(program, 2).run(carry, [np.zeros(3)], outs, 0, 3) == 3
    assert [float(c) for c in carry] == [2.0, 1.0]


# ---- how many nests of loops there are


@pytest.mark.parametrize(
    ("estimator", "optimizer"),
    [
        (fg.UORO(), fg.SGD(1e-3)),
        (fg.NoBackTrack(), fg.SGD(1e-3)),
        (fg.UORO(), fg.Adam(1e-3)),
        (fg.NoBackTrack(), fg.Adam(1e-3)),
    ],
    ids=["uoro-sgd", "nobacktrack-sgd", "uoro-adam", "nobacktrack-adam"],
)
def test_one_nest_for_each_matrix(estimator, optimizer):
    """W, R and V are each gone through once, beside one product with W (of two vectors) and one with V."""
    from fwdgrad.engines.compiled_engine import source

    system = systems.build("tanh-rnn", units=64, symbols=32)
    execution = Execution(system, estimator, optimizer, "numpy")
    text = source(execution.program("learn"), len(execution.initial()))
    inner = [line for line in text.split("\n") if line.startswith("            for j in range(")]
    assert len(inner) == 5
    stores = [line.split(" = ")[0].strip() for line in text.split("\n") if " = " in line]
    assert all(stores.count(f"{leaf}[i * {n} + j]") == 1 for leaf, n in (("W", 64), ("R", 32), ("V", 64), ("w_W", 64)))


# ---- programs that are called


def test_what_is_given_again_is_read_again():
    """An array that is changed between two calls, one that is read through a view, a list, and results kept apart."""
    from fwdgrad.engines.compiled_engine import compile_program

    program = trace(lambda a, b, c: (a + b + c, 2.0 * c), [Abstract.of(np.zeros(3))] * 3)
    function = compile_program(program)
    whole, turned, numbers = np.zeros(3), np.zeros((3, 2))[:, 0], [0.0, 0.0, 0.0]
    kept = []
    for k in range(4):
        whole[:], turned[:], numbers[k % 3] = k, 10.0 * k, 100.0 * k
        kept.append(function(whole, turned, numbers))
        expected = whole + turned + numbers
        assert kept[-1][0].tolist() == expected.tolist()
        assert kept[-1][1].tolist() == [2.0 * x for x in numbers]
    assert kept[1][0].tolist() == [11.0, 111.0, 11.0]
    with pytest.raises(ValueError, match=r"expected \(3,\) float64, got \(4,\)"):
        function(np.ones(3), np.ones(4), np.ones(3))
    with pytest.raises(TypeError, match="takes 3 arguments, got 2"):
        function(np.ones(3), np.ones(3))
    assert function(whole, turned, numbers)[0].tolist() == kept[-1][0].tolist()


def test_threads_call_one_program():
    from fwdgrad.engines.compiled_engine import compile_program

    program = trace(lambda m: (m @ m @ m, np.linalg.inv(m)), [Abstract.of(np.zeros((20, 20)))])
    function = compile_program(program)
    matrices = [np.eye(20) + 0.01 * np.random.default_rng(k).normal(size=(20, 20)) for k in range(4)]
    wrong = []

    def work(matrix):
        for _ in range(200):
            product, inverse = function(matrix)
            good = np.allclose(product, matrix @ matrix @ matrix) and np.allclose(inverse @ matrix, np.eye(20))
            wrong.extend([] if good else [1])

    threads = [threading.Thread(target=work, args=(m,)) for m in matrices]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
