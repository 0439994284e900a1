"""Derivatives of loops, against those of the same steps written out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fwdgrad.engines.numpy_engine import compile_program
from fwdgrad.program import Abstract, Linearized, Program, repeat, root, scan, trace
from fwdgrad.program.loop_derivatives import PlainLoop, TracedLoop

REAL = np.dtype(float)
N, M, T = 3, 2, 5

Scan = Callable[..., Any]


def written_out(body: Any, carry: Any, rows: Any, *, reverse: bool = False) -> Any:
    """`scan`, turn after turn."""
    order = range(np.shape(rows[0])[0])
    made: list[Any] = [None] * len(order)
    for k in reversed(order) if reverse else order:
        carry, made[k] = body(tuple(carry), tuple(r[k] for r in rows))
    return tuple(carry), tuple(np.stack(column) for column in zip(*made, strict=True))


def carried_only(scan: Scan, h: Any, w: Any, u: Any) -> Any:
    (end,), _ = scan(lambda c, r: ((np.tanh(w @ c[0]) + 0.1 * c[0],), ()), (h,), (np.arange(T),))
    return (end,)


def rows_and_results(scan: Scan, h: Any, w: Any, u: Any) -> Any:
    """Two carries that read each other, rows with a derivative and without, results, a dead one among them."""

    def body(c: Any, r: Any) -> Any:
        a, s = c
        new = np.sin(w @ a) * s + r[0] * np.exp(-s)
        return (new, s + np.sum(a * r[0]) * 0.1), (new * r[0], s * r[1], np.cos(a))

    (end, total), (first, second, _) = scan(body, (h, np.sum(h)), (u, np.arange(T) * 0.5))
    return end + total, first, second


def backward_in_time(scan: Scan, h: Any, w: Any, u: Any) -> Any:
    (end,), (seen,) = scan(lambda c, r: ((c[0] / (1 + r[0] ** 2),), (c[0],)), (h,), (u,), reverse=True)
    return end, seen


def with_condition(scan: Scan, h: Any, w: Any, u: Any) -> Any:
    """A branch, a maximum, an index that is computed, a count that has no derivative."""

    def body(c: Any, r: Any) -> Any:
        a, count = c
        place = np.argmax(a)
        return (np.where(a > 0.1, a * w[0], np.maximum(r[0], a)) + 0.1 * a[place], count + place), (a[place],)

    (end, count), (seen,) = scan(body, (h, np.zeros((), int)), (u,))
    return end * count, seen


def nested(scan: Scan, h: Any, w: Any, u: Any) -> Any:
    def outer(c: Any, r: Any) -> Any:
        (inner,), (seen,) = scan(
            lambda d, q: ((np.tanh(d[0] * q[0] + w @ c[0]),), (d[0] * r[0],)), (c[0],), (np.arange(1.0, 3.0),)
        )
        return (inner + 0.2 * c[0],), (np.sum(seen),)

    (end,), (sums,) = scan(outer, (h,), (u,))
    return end, sums


def implicit(scan: Scan, h: Any, w: Any, u: Any) -> Any:
    """An equation is solved in every turn."""

    def body(c: Any, r: Any) -> Any:
        return (root(lambda z: z - c[0] + 0.2 * (z**3 + w @ z - r[0]), c[0]),), ()

    (end,), _ = scan(body, (h,), (u,))
    return (end,)


def hoisted(scan: Scan, h: Any, w: Any, u: Any) -> Any:
    """What only concerns outer values, with derivatives that do too."""
    (end,), _ = scan(lambda c, r: ((c[0] * np.sin(w[0]) + np.exp(np.sum(w)) * r[0] * 1e-3,), ()), (h,), (u,))
    return (end,)


CASES = [carried_only, rows_and_results, backward_in_time, with_condition, nested, implicit, hoisted]


def point() -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    return [rng.normal(size=N), 0.5 * rng.normal(size=(N, N)), 0.5 * rng.normal(size=(T, N))]


def programs(case: Any) -> tuple[Program, Program]:
    """As loops, and written out."""
    shapes = [Abstract(a.shape, REAL) for a in point()]
    return tuple(trace(lambda *a, s=s: case(s, *a), shapes) for s in (scan, written_out))  # type: ignore[return-value]


def products(program: Program, points: list[Any]) -> list[Any]:
    """Products with the Jacobian: forward, along some inputs and all; backward, from all outputs and some."""
    rng = np.random.default_rng(5)
    lin = Linearized(program, points)
    directions = [rng.normal(size=a.shape) for a in point()]
    made = list(lin.value)
    for moving in ([0], [1], [2], [0, 1, 2]):
        made += lin.jvp({k: directions[k] for k in moving})
    weights = [rng.normal(size=o.shape) for o in program.outputs]
    for wanted in ([0], [1], [2, 1, 0]):
        made += lin.vjp(weights, wanted)
    for k in range(len(weights)):
        made += lin.vjp([w if j == k else None for j, w in enumerate(weights)], [0, 1, 2])
    return made


def close(got: Any, expected: Any) -> None:
    assert len(got) == len(expected)
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("case", CASES)
def test_products_on_arrays(case):
    loop, steps = programs(case)
    close(products(loop, point()), products(steps, point()))


@pytest.mark.parametrize("case", CASES)
def test_products_in_a_trace(case):
    loop, steps = programs(case)
    traced = trace(lambda *a: products(loop, list(a)), [Abstract(a.shape, REAL) for a in point()])
    expected = products(steps, point())
    close(traced(*point()), expected)
    close(compile_program(traced)(*point()), expected)


@pytest.mark.parametrize("case", [rows_and_results, nested, implicit])
def test_products_compiled(case):
    compiled_engine = pytest.importorskip("fwdgrad.engines.compiled_engine")
    loop, steps = programs(case)

    def few(program: Program, *arguments: Any) -> Any:
        lin = Linearized(program, arguments)
        forward = lin.jvp(dict(enumerate(arguments)))
        return *lin.value, *forward, *lin.vjp(forward, [0, 1, 2])

    traced = trace(lambda *a: few(loop, *a), [Abstract(a.shape, REAL) for a in point()])
    close(compiled_engine.compile_program(traced)(*point()), few(steps, *point()))


@pytest.mark.parametrize("case", CASES)
def test_products_in_a_loop_of_products(case):
    """As Jacobians are made: a row after the other, each by a product with one and the same linearization."""
    loop, steps = programs(case)

    def jacobians(program: Program, *arguments: Any) -> Any:
        lin = Linearized(program, arguments)
        others = [np.zeros(o.shape) for o in program.outputs[1:]]
        _, rows = scan(lambda _, r: ((), lin.vjp([r[0], *others], [0, 1])), (), (np.eye(N),))
        _, columns = scan(lambda _, r: ((), lin.jvp({0: r[0]})), (), (np.eye(N),))
        return *rows, *columns

    shapes = [Abstract(a.shape, REAL) for a in point()]
    made = [trace(lambda *a, p=p: jacobians(p, *a), shapes)(*point()) for p in (loop, steps)]
    close(*made)


@pytest.mark.parametrize("case", [c for c in CASES if c is not with_condition])
def test_second_derivatives(case):
    """A product forward with a product backward, in a trace: loops are differentiated that came from derivatives."""
    rng = np.random.default_rng(7)
    loop, steps = programs(case)
    shapes = [Abstract(a.shape, REAL) for a in point()]
    weights = [rng.normal(size=o.shape) for o in loop.outputs]
    directions = {k: rng.normal(size=a.shape) for k, a in enumerate(point())}
    made = []
    for program in (loop, steps):
        gradient = trace(lambda *a, p=program: Linearized(p, a).vjp(weights, [0, 1, 2]), shapes)
        forward = trace(lambda *a, p=gradient: Linearized(p, a).jvp(directions), shapes)
        backward = trace(lambda *a, p=gradient: Linearized(p, a).vjp(list(directions.values()), [0, 1, 2]), shapes)
        assert forward(*point())[0].shape == (N,)
        made.append([*forward(*point()), *backward(*point())])
    close(*made)
    close(made[0][:3], made[0][3:])  # the matrix of second derivatives is symmetric


def count(program: Program) -> int:
    """Instructions, those in loops included."""
    return sum(1 + sum(count(v) for v in ins.params.values() if isinstance(v, Program)) for ins in program)


def test_a_body_is_evaluated_once_for_all_products():
    """Of three products none repeats the sine, the cosine it needs is computed once, and a repeated one is shared."""

    def function(h: Any, v: Any, c: Any) -> Any:
        lin = Linearized(program, [h])
        return *lin.value, *lin.jvp({0: v}), *lin.jvp({0: v}), *lin.jvp({0: c}), *lin.vjp([c], [0])

    vector = Abstract((N,), REAL)
    program = trace(lambda h: [repeat(lambda a: np.sin(a) + 0.1 * a, h, 7)], [vector])
    text = str(trace(function, [vector] * 3))
    assert (text.count(" sin("), text.count(" cos(")) == (1, 1)
    assert text.count("scan(") == 4


def test_what_a_product_did_not_need_is_not_kept():
    """Coefficients of a product that ends up unused are not handed out by the loop."""

    def function(h: Any, v: Any, *, used: bool) -> Any:
        lin = Linearized(program, [h])
        made = lin.jvp({0: v})
        return (*lin.value, *made) if used else lin.value

    vector = Abstract((N,), REAL)
    program = trace(lambda h: [repeat(np.sin, h, 7)], [vector])
    plain, both = (trace(lambda *a, u=u: function(*a, used=u), [vector] * 2) for u in (False, True))
    assert count(plain) == 2
    assert count(both) > 4


@pytest.mark.parametrize("turns", [1, 40])
def test_the_length_of_a_program_does_not_depend_on_the_turns(turns):
    def function(h: Any, w: Any) -> Any:
        lin = Linearized(program, [h, w])
        return *lin.jvp({0: h, 1: w}), *lin.vjp([h], [0, 1])

    shapes = [Abstract((N,), REAL), Abstract((N, N), REAL)]
    program = trace(lambda h, w: [repeat(lambda a: np.tanh(w @ a), h, turns)], shapes)
    assert count(trace(function, shapes)) < 40


@pytest.mark.parametrize("broken", [PlainLoop, TracedLoop])
def test_the_comparison_sees_a_wrong_rule(broken, monkeypatch):
    """The negative control: gradients of what the body captures, from the last turn alone."""
    right = broken.vjp

    def wrong(self: Any, cotangents: Any, wanted: Any) -> Any:
        return {k: v * (0.9 if k else 1.0) for k, v in right(self, cotangents, wanted).items()}

    monkeypatch.setattr(broken, "vjp", wrong)
    loop, steps = programs(carried_only)
    shapes = [Abstract(a.shape, REAL) for a in point()]
    made = (
        products(loop, point()) if broken is PlainLoop else trace(lambda *a: products(loop, list(a)), shapes)(*point())
    )
    with pytest.raises(AssertionError):
        close(made, products(steps, point()))
