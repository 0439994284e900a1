"""How dependence passes through pointwise operations."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fwdgrad.program.instructions import Instruction
from fwdgrad.program.operations import Pointwise
from fwdgrad.structure.trail import Trail, broadcast, some, union_all, united

__all__ = ["follow_pointwise"]


def follow_pointwise(trails: list[Trail], instruction: Instruction, steady: np.ndarray) -> Trail:
    """Each entry from the entries it is computed from; see `fwdgrad.structure.rules.follow`."""
    operation, shape = instruction.operation, instruction.outputs[0].shape
    assert isinstance(operation, Pointwise)
    wide = [broadcast(t, shape) for t in trails]
    if operation.name in _POINTWISE and np.issubdtype(instruction.outputs[0].dtype, np.floating):
        return _POINTWISE[operation.name](wide, trails, shape)
    depends = union_all([t.depends for t in wide])
    if not operation.differentiable or not np.issubdtype(instruction.outputs[0].dtype, np.floating):
        depends = depends.columns(steady)
        return Trail(shape, depends, depends)
    return Trail(shape, depends, depends, some(wide[0].zero) if operation.name in _ZERO_TO_ZERO else None)


_ZERO_TO_ZERO = {"tanh", "sin", "arcsin", "arctan", "sinh", "arcsinh", "arctanh", "sqrt", "cbrt", "absolute", "expm1"}
_ZERO_TO_ZERO |= {"log1p", "erf", "tan"}


def _add(wide: list[Trail], _: list[Trail], shape: tuple[int, ...]) -> Trail:
    zero = None if wide[0].zero is None or wide[1].zero is None else wide[0].zero & wide[1].zero
    return Trail(shape, *united(wide), some(zero))


def _multiply(wide: list[Trail], narrow: list[Trail], shape: tuple[int, ...]) -> Trail:
    x, y = wide
    live = x.nonzero & y.nonzero
    depends = x.depends.union(y.depends).where(live)
    # one factor is a constant; a factor without derivatives, such as sign(h), is none
    affine = narrow[0].value is not None or narrow[1].value is not None
    varies = united(wide)[1].where(live) if affine else depends
    return Trail(shape, depends, varies, some(~live))


def _divide(wide: list[Trail], narrow: list[Trail], shape: tuple[int, ...]) -> Trail:
    x, y = wide
    depends = x.depends.union(y.depends).where(x.nonzero)
    varies = x.varies.where(x.nonzero) if narrow[1].value is not None else depends
    return Trail(shape, depends, varies, x.zero)


def _same(wide: list[Trail], _: list[Trail], shape: tuple[int, ...]) -> Trail:
    return wide[0]


def _power(wide: list[Trail], narrow: list[Trail], shape: tuple[int, ...]) -> Trail:
    depends = wide[0].depends.union(wide[1].depends)
    if narrow[1].value is not None:  # x⁰ is constant, and 0 to a positive power is 0
        power = np.broadcast_to(np.asarray(narrow[1].value), shape).ravel()
        depends = depends.where((power != 0) & (wide[0].nonzero | (power <= 0)))
        return Trail(shape, depends, depends, some(~wide[0].nonzero & (power > 0)))
    return Trail(shape, depends, depends)


def _where(wide: list[Trail], narrow: list[Trail], shape: tuple[int, ...]) -> Trail:
    condition, x, y = wide
    if narrow[0].value is not None:  # a constant condition chooses once and for all
        chosen = np.broadcast_to(np.asarray(narrow[0].value), shape).ravel().astype(bool)
        nonzero = np.where(chosen, x.nonzero, y.nonzero)
        return Trail(
            shape,
            x.depends.where(chosen).union(y.depends.where(~chosen)),
            x.varies.where(chosen).union(y.varies.where(~chosen)),
            some(~nonzero),
        )
    depends = x.depends.union(y.depends).union(condition.depends)
    zero = None if x.zero is None or y.zero is None else x.zero & y.zero
    return Trail(shape, depends, depends, some(zero))


_POINTWISE: dict[str, Callable[[list[Trail], list[Trail], tuple[int, ...]], Trail]] = {
    "add": _add,
    "subtract": _add,
    "multiply": _multiply,
    "divide": _divide,
    "negative": _same,
    "astype": _same,
    "power": _power,
    "where": _where,
}
