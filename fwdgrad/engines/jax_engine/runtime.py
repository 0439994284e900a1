"""What source written for JAX calls beside jax.numpy: loops, linear algebra, and tests of what NumPy would refuse.

A function of the source returns its results and, last, whether all of it was sound: indices were in range, and matrices
had inverses. So does what runs it here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from fwdgrad.program.operations.jacobi import SWEEPS
from fwdgrad.program.roots import ITERATIONS, ROUNDING

__all__ = [
    "divided",
    "inverse",
    "invertible",
    "newton",
    "repeated",
    "rows_added",
    "scan",
    "singular_system",
    "solved",
    "spread",
    "triangle_solved",
    "within",
]

Body = Callable[..., tuple[Any, ...]]


# ---------------------------------------------------------------- loops


def scan(
    body: Body, carry: Sequence[Any], rows: Sequence[Any], captured: Sequence[Any], reverse: bool
) -> tuple[Any, ...]:
    """A loop whose turns need each other: the last carry, results of all turns, and whether all was sound."""
    count = len(carry)

    def turn(state: tuple[Any, ...], row: tuple[Any, ...]) -> tuple[Any, Any]:
        *made, sound = body(*state, *row, *captured)
        return tuple(made[:count]), (*made[count:], jnp.asarray(sound))

    state, (*outs, sound) = lax.scan(turn, tuple(carry), tuple(rows), reverse=reverse)
    return *state, *outs, jnp.all(sound)


def spread(body: Body, carry: Sequence[Any], rows: Sequence[Any], captured: Sequence[Any]) -> tuple[Any, ...]:
    """The same for a loop whose turns only add to the carry: all turns at once, and the sums behind them."""
    zeros, count = [jnp.zeros_like(c) for c in carry], len(carry)

    def turn(*row: Any) -> tuple[Any, ...]:
        return tuple(map(jnp.asarray, body(*zeros, *row, *captured)))

    *made, sound = jax.vmap(turn)(*rows)
    sums = [c + jnp.sum(m, axis=0, dtype=m.dtype) for c, m in zip(carry, made[:count], strict=True)]
    return *sums, *made[count:], jnp.all(sound)


def repeated(body: Body, start: Any, clock: Any, captured: Sequence[Any], most: int) -> tuple[Any, Any]:
    """`fwdgrad.program.until`: turns until the first number of the clock is positive, `most` at most."""

    def turn(at: tuple[Any, ...]) -> tuple[Any, ...]:
        z, ticks, count, sound = at
        z, ticks, safe = body(z, ticks, *captured)
        return z, ticks, count + 1, sound & safe

    def goes_on(at: tuple[Any, ...]) -> Any:
        return (at[2] < most) & ((at[2] == 0) | ~(at[1][0] > 0))

    z, _, _, sound = lax.while_loop(goes_on, turn, (start, clock, 0, jnp.asarray(True)))
    return z, sound


def newton(body: Body, start: Any, captured: Sequence[Any]) -> tuple[Any, Any]:
    """`fwdgrad.program.roots.newton`: a root, or NaN where there is none."""
    unit = float(jnp.finfo(start.dtype).eps)
    least = 2 * ROUNDING * unit * jnp.max(jnp.abs(start))

    def turn(at: tuple[Any, ...]) -> tuple[Any, ...]:
        z, before, count, _, _, sound = at
        value, slopes, safe = body(z, *captured)
        step = jnp.linalg.solve(slopes, value)
        z = z - step
        size, length = jnp.abs(step), jnp.abs(z)
        still = jnp.all((size <= ROUNDING * unit * length) | (size >= before))
        arrived = still & (jnp.max(size) <= jnp.maximum(unit**0.5 * jnp.max(length), least))
        return z, size, count + 1, arrived, ~jnp.all(jnp.isfinite(step)), sound & safe

    def goes_on(at: tuple[Any, ...]) -> Any:
        return (at[2] < ITERATIONS) & ~at[3] & ~at[4]

    no, yes = jnp.asarray(False), jnp.asarray(True)
    z, _, _, arrived, _, sound = lax.while_loop(goes_on, turn, (start, jnp.full_like(start, jnp.inf), 0, no, no, yes))
    return jnp.where(arrived, z, jnp.nan), sound


# ---------------------------------------------------------------- integers


def divided(a: Any, b: Any) -> tuple[Any, Any]:
    """Quotient and remainder of integers; both are 0 for a divisor of 0, as in NumPy."""
    quotient, remainder = jnp.divmod(a, jnp.where(b == 0, 1, b))
    return jnp.where(b == 0, 0, quotient), jnp.where(b == 0, 0, remainder)


# ---------------------------------------------------------------- linear algebra


def solved(a: Any, b: Any) -> Any:
    """a⁻¹ b, for a vector or a matrix, or stacks of them."""
    if b.ndim == 1:
        return solved(a, b[:, None])[..., 0]
    stack = jnp.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    factors, _, order = lax.linalg.lu(jnp.broadcast_to(a, (*stack, *a.shape[-2:])))
    b = jnp.take_along_axis(jnp.broadcast_to(b, (*stack, *b.shape[-2:])), order[..., None], axis=-2)
    solve = partial(lax.linalg.triangular_solve, factors, left_side=True)
    return solve(solve(b, lower=True, unit_diagonal=True), lower=False)


def inverse(a: Any) -> Any:
    """a⁻¹, of a matrix or a stack of them."""
    return solved(a, jnp.eye(a.shape[-1], dtype=a.dtype))


def invertible(a: Any) -> Any:
    """Whether elimination meets no pivot that is exactly 0."""
    return jnp.all(jnp.diagonal(lax.linalg.lu(a)[0], axis1=-2, axis2=-1) != 0)


def rows_added(r: Any, rows: Any) -> Any:
    """The triangular factor of RᵀR + BᵀB; see `fwdgrad.program.operations.factors.add_rows`."""
    made = jnp.linalg.qr(jnp.concatenate([r, rows], axis=-2), mode="r") if r.size and rows.size else r
    signs = jnp.where(jnp.diagonal(made, axis1=-2, axis2=-1) < 0, -1, 1).astype(r.dtype)
    return made * signs[..., None]


def triangle_solved(r: Any, b: Any, transposed: bool) -> Any:
    """R⁻¹ b or R⁻ᵀ b, NaN where R has a 0 on its diagonal."""
    made = lax.linalg.triangular_solve(r, b, left_side=True, lower=False, transpose_a=transposed)
    good = jnp.all(jnp.diagonal(r, axis1=-2, axis2=-1) != 0, axis=-1)
    return jnp.where(good[..., None, None], made, jnp.nan)


def singular_system(a: Any) -> Any:
    """Singular values above left singular vectors, by the rotations of `fwdgrad.program.operations.jacobi`."""
    n = a.shape[0]
    unit, pairs = n * float(jnp.finfo(a.dtype).eps), jnp.asarray([(p, q) for p in range(n) for q in range(p + 1, n)])

    def rotated(number: Any, at: tuple[Any, ...]) -> tuple[Any, ...]:
        rows, axes, turned = at
        p, q = pairs[number]
        first, second, off = rows[p] @ rows[p], rows[q] @ rows[q], rows[p] @ rows[q]
        turns = jnp.abs(off) > unit * jnp.sqrt(first) * jnp.sqrt(second)
        ratio = (second - first) / (2.0 * jnp.where(turns, off, 1.0))
        t = jnp.where(ratio < 0, -1.0, 1.0) / (jnp.abs(ratio) + jnp.sqrt(1.0 + ratio * ratio))
        c = jnp.where(turns, 1.0 / jnp.sqrt(1.0 + t * t), 1.0).astype(a.dtype)
        s = jnp.where(turns, c * t, 0.0).astype(a.dtype)
        made = [m.at[p].set(c * m[p] - s * m[q]).at[q].set(s * m[p] + c * m[q]) for m in (rows, axes)]
        return *made, turned | turns

    def sweep(at: tuple[Any, ...]) -> tuple[Any, ...]:
        rows, axes, _, count = at
        return *lax.fori_loop(0, len(pairs), rotated, (rows, axes, jnp.asarray(False))), count + 1

    rows, axes, _, _ = lax.while_loop(
        lambda at: at[2] & (at[3] < SWEEPS), sweep, (a, jnp.eye(n, dtype=a.dtype), jnp.asarray(n > 1), 0)
    )
    values = jnp.sqrt(jnp.sum(rows * rows, axis=1))
    order = jnp.argsort(-values, stable=True)
    return jnp.concatenate([values[order][None], axes[order].T])


# ---------------------------------------------------------------- what NumPy would refuse


def within(index: Any, size: int) -> Any:
    """Whether all of an index is in range of an axis of `size` entries."""
    wide = jnp.asarray(index, "int64")  # a narrow index may be compared with a number that it cannot hold
    return jnp.all((wide >= -size) & (wide < size))
