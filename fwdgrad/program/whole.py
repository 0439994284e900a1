"""A program as one function: on arrays, on tracers, and on autograd's arrays, which differentiate it as a program."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from autograd.core import defjvp_argnums, defvjp_argnums
from autograd.tracer import isbox, primitive

from fwdgrad.program.derivatives import Linearized
from fwdgrad.program.program import Program

__all__ = ["whole"]


def whole(program: Program, arguments: Sequence[Any]) -> Any:
    """The first output of a program.

    On tracers its operations are written into what is being traced. On autograd's arrays it is one operation, with the
    products of `Linearized`, so that it may hold what autograd knows nothing of.

    Example:
        >>> import autograd, numpy as np
        >>> from fwdgrad.program import Abstract, operations, trace, whole
        >>> root = trace(lambda r, b: [operations.cholesky_update(r, b)], [Abstract((1, 1), np.dtype(float))] * 2)
        >>> autograd.grad(lambda b: whole(root, [np.array([[3.0]]), b])[0, 0])(np.array([[4.0]]))
        array([[0.8]])
    """
    if any(map(isbox, arguments)):
        return _applied(program, *arguments)
    return program(*arguments)[0]


@primitive
def _applied(program: Program, *arguments: Any) -> Any:
    return program(*arguments)[0]


@primitive
def _pulled(program: Program, number: int, g: Any, *arguments: Any) -> Any:
    return Linearized(program, arguments).vjp([g], [number])[0]


def _backward(argnums: Sequence[int], ans: Any, args: Any, kwargs: Any) -> Any:
    program, *arguments = args
    numbers = [k - 1 for k in argnums]
    if any(map(isbox, arguments)):  # of another differentiation around this one
        return lambda g: tuple(_pulled(program, k, g, *arguments) for k in numbers)
    point = Linearized(program, arguments)

    def product(g: Any) -> Any:
        return tuple(_pulled(program, k, g, *arguments) for k in numbers) if isbox(g) else point.vjp([g], numbers)

    return product


def _forward(argnums: Sequence[int], tangents: Any, ans: Any, args: Any, kwargs: Any) -> Any:
    program, *arguments = args
    moving = {k - 1: t for k, t in zip(argnums, tangents, strict=True)}
    return Linearized(program, arguments).jvp(moving)[0]


def _again(argnums: Sequence[int], ans: Any, args: Any, kwargs: Any) -> Any:
    """A product backward is linear in g: its transpose is the product forward."""
    program, number, _, *arguments = args
    if argnums != (2,):
        raise NotImplementedError("second derivatives of a program by autograd")
    return lambda c: (Linearized(program, arguments).jvp({number: c})[0],)


defvjp_argnums(_applied, _backward)
defjvp_argnums(_applied, _forward)
defvjp_argnums(_pulled, _again)
