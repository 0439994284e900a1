"""Which numbers of a tangent or cotangent are zero whatever they are multiplied by: 0 · ∞ is 0 for these, else NaN.

A derivative is a sum over paths, each a product of partial derivatives. A path that is cut contributes 0, also where a
partial derivative on it is infinite or NaN. Cut is a path that begins with a tangent or cotangent of exactly 0, that
goes through an alternative which is not taken, or through a kink whose derivative is 0 by convention.

Zeros cannot be told by their numbers alone. (√x)² has the derivative 2√x · ½/√x, which is 1, and reads 0 · ∞ at x = 0:
this zero is the value of a derivative that changes, at the same rate as the other one grows, and the product stays
NaN, which refuses the step. But as long as a result depends on √x by sums, choices and factors that do not depend on
it, the cotangent of √x is the factor that it has in the result. If that is 0 the result does not change with x: a f(x)
has the derivative a' f where a = 0, for any continuous f. So a mask says what is alive,

- `BY_VALUE`: what is not exactly 0, while everything so far was of that kind;
- an array of booleans, carried beside the tangent or cotangent from the first operation that was not;
- None: everything.

They are carried only to the places that ask for them, and only there a product is guarded.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from fwdgrad.program import operations as ops
from fwdgrad.program.instructions import Constant, Instruction, Variable
from fwdgrad.program.operations import Pointwise
from fwdgrad.program.program import Program

__all__ = [
    "BY_VALUE",
    "EVERYWHERE",
    "STILL",
    "Guards",
    "both",
    "cut",
    "either",
    "joined",
    "kept",
    "lively",
    "narrowed",
    "pulled",
    "pushed",
    "shown",
    "widened",
]

AT_ZERO = frozenset(("sqrt", "cbrt", "power"))
"""Operations with a derivative that is infinite at 0, where their value is finite."""

_P = ops.POINTWISE
BY_VALUE = "by value"
STILL = np.False_
"""The mask of what does not move."""


class _Everywhere:
    """All variables."""

    def __contains__(self, _: object) -> bool:
        return True


EVERYWHERE: Container[Variable] = _Everywhere()


class Guards:
    """Where the products of a program are guarded, and where masks are needed for that.

    Args:
        program: any program.

    Attributes:
        backward: operands of instructions whose cotangents are guarded by the mask of the result.
        forward: the same for tangents, guarded by the mask of the operand.
        results: variables whose mask is needed backward.
        operands: variables whose mask is needed forward.
        kinks: instructions with a kink that an infinite tangent, or cotangent, may come to.
        fast: variables that may change at an infinite rate.
        wild: these, and those that may be infinite or NaN where they are left out.
    """

    def __init__(self, program: Program) -> None:
        inside = _alternatives(program)
        loose: set[Variable] = set()
        makers: dict[Variable, Instruction] = {}
        self.fast: set[Variable] = set()
        self.wild: set[Variable] = set()
        self.backward: set[tuple[Instruction, int]] = set()
        self.forward: set[tuple[Instruction, int]] = set()
        self.results: set[Variable] = set()
        self.operands: set[Variable] = set()
        self.kinks: set[Instruction] = set()
        for ins in program.instructions:
            moving = [k for k, i in enumerate(ins.inputs) if isinstance(i, Variable) and i.dtype.kind == "f"]
            maker = makers.get(ins.inputs[0]) if moving[:1] == [0] else None  # type: ignore[arg-type]
            bounded = ins.operation.name in AT_ZERO and _positive(maker)
            steep = {(ins, 0)} if 0 in moving and _steep(ins) and not bounded else set()
            makers.update(dict.fromkeys(ins.outputs, ins))
            risky = {(ins, k) for k in moving if _risky(ins, k, loose)} if inside.issuperset(ins.outputs) else set()
            self.forward |= steep
            self.backward |= steep | risky
            if ins.operation.loose or not loose.isdisjoint(ins.inputs):
                loose.update(ins.outputs)
            if steep or not self.fast.isdisjoint(ins.inputs):
                self.fast.update(ins.outputs)
            if steep or risky or not self.wild.isdisjoint(ins.inputs):
                self.wild.update(ins.outputs)
            if ins.operation.kink and not self.fast.isdisjoint(ins.inputs):
                self.kinks.add(ins)
            if steep or risky or not self.results.isdisjoint(ins.inputs):
                self.results.update(ins.outputs)
        for ins in reversed(program.instructions):
            if (ins, 0) in self.forward or not self.operands.isdisjoint(ins.outputs):
                if ins.operation.kink:
                    self.kinks.add(ins)
                self.operands.update(i for i in ins.inputs if isinstance(i, Variable))

    @staticmethod
    def of(program: Program) -> Guards:
        """The guards of a program, found once."""
        if program not in _GUARDS:
            _GUARDS[program] = Guards(program)
        return _GUARDS[program]


_GUARDS: WeakKeyDictionary[Program, Guards] = WeakKeyDictionary()


def _alternatives(program: Program) -> set[Variable]:
    """What the alternatives of np.where are computed from."""
    inside: set[Variable] = set()
    for ins in reversed(program.instructions):
        used = ins.inputs[1:] if ins.operation.name == "where" else ins.inputs
        if ins.operation.name == "where" or not inside.isdisjoint(ins.outputs):
            inside.update(i for i in used if isinstance(i, Variable))
    return inside


def _steep(ins: Instruction) -> bool:
    """Whether the derivative in the first operand may be infinite where the value is finite."""
    if not ins.operation.steep:
        return False
    exponent = ins.inputs[1] if ins.operation.name == "power" else None
    return not isinstance(exponent, Constant) or not bool(np.all(np.asarray(exponent.value) >= 1))


def _positive(ins: Instruction | None) -> bool:
    """Whether a result is away from 0, as that of np.maximum(x, 1e-6) is."""
    if ins is None or ins.operation.name != "maximum":
        return False
    return any(isinstance(i, Constant) and bool(np.all(np.asarray(i.value) > 0)) for i in ins.inputs)


def _risky(ins: Instruction, number: int, loose: set[Variable]) -> bool:
    """Whether a partial derivative may be infinite or NaN, together with a value."""
    operation = ins.operation
    if operation.name in ("multiply", "matmul"):
        return any(i in loose for k, i in enumerate(ins.inputs) if k != number)
    if not isinstance(operation, Pointwise) or operation.tame:
        return False
    return operation.loose or not loose.isdisjoint(ins.inputs)


# ---------------------------------------------------------------- masks


def shown(mask: Any, g: Any) -> Any:
    """The mask of a tangent or cotangent g as an array, or None."""
    return _simple(g != 0) if mask is BY_VALUE else mask


def _simple(mask: Any) -> Any:
    """None for a mask that is known to be True everywhere."""
    return None if isinstance(mask, (np.ndarray, np.bool_)) and bool(np.all(mask)) else mask


def joined(mask: Any, g: Any, other: Any, part: Any) -> Any:
    """The mask of g + part."""
    if mask is BY_VALUE and other is BY_VALUE:
        return BY_VALUE
    return either(shown(mask, g), shown(other, part))


def kept(part: Any, mask: Any) -> Any:
    """What is alive of a product, 0 elsewhere; None if it is known that nothing is."""
    if mask is None:
        return part
    if isinstance(mask, (np.ndarray, np.bool_)) and not np.any(mask):
        return None
    return _P["where"](mask, part, np.zeros((), part.dtype))


def both(a: Any, b: Any) -> Any:
    """Where both masks are alive."""
    return b if a is None else a if b is None or a is STILL else _P["logical_and"](a, b)


def either(a: Any, b: Any) -> Any:
    """Where one of two masks is alive."""
    if a is None or b is None:
        return None
    return b if a is STILL else a if b is STILL else _simple(_P["logical_or"](a, b))


def narrowed(mask: Any, wide: tuple[int, ...], shape: tuple[int, ...]) -> Any:
    """The mask of an operand of `shape` that was broadcast to the shape `wide`: alive where a copy is."""
    if mask is None or np.shape(mask) == shape:
        return mask
    mask = widened(mask, wide)
    extra = len(wide) - len(shape)
    axes = (*range(extra), *(k + extra for k, s in enumerate(shape) if s == 1 and wide[k + extra] != 1))
    return ops.reshape(ops.reduce_any(mask, axes=axes), shape=shape) if axes else mask


def widened(mask: Any, shape: tuple[int, ...]) -> Any:
    """The mask of an array of a shape, of one that broadcasts to it."""
    if mask is None or mask is BY_VALUE or np.shape(mask) == shape:
        return mask
    return ops.broadcast_to(mask, shape=shape)


def lively(mask: Any) -> Any:
    """Whether anything of an array is alive."""
    if mask is None or mask is STILL:
        return mask
    return ops.reduce_any(mask, axes=tuple(range(len(np.shape(mask)))))


def cut(ins: Instruction, values: Sequence[Any], out: Any, number: int) -> Any:
    """Where an operation does not cut the paths through an operand, of the shape of the broadcast operands."""
    match ins.operation.name:
        case "where":
            return values[0] if number == 1 else _P["logical_not"](values[0])
        case "maximum" | "minimum" | "fmax" | "fmin":
            return values[number] == out
        case "absolute" | "hypot":
            return out != 0
        case "max" | "min":
            return values[0] == _spread(ins, values, out)
    return None


def _spread(ins: Instruction, values: Sequence[Any], reduced: Any) -> Any:
    """The result of a reduction beside its operand."""
    axes = ins.params["axes"]
    return ops.reshape(reduced, shape=tuple(1 if k in axes else s for k, s in enumerate(np.shape(values[0]))))


def pulled(
    ins: Instruction, values: Sequence[Any], out: Any, g: Any, mask: Any, number: int, wild: Container[Any] = ()
) -> Any:
    """The mask of an operand, from that of the cotangent g of the result: backward."""
    others = (i for k, i in enumerate(ins.inputs) if k != number)
    if (
        mask is BY_VALUE
        and ins.operation.linear_in(number)
        and (ins.operation.additive or not any(i in wild for i in others))
    ):
        return BY_VALUE
    mask = shown(mask, g)
    shape = np.shape(values[number])
    if isinstance(ins.operation, Pointwise):
        return narrowed(both(mask, cut(ins, values, out, number)), np.shape(out), shape)
    name = ins.operation.name
    if name in ("max", "min"):
        hit = cut(ins, values, out, 0)
        return hit if mask is None else both(_spread(ins, values, mask), hit)
    if mask is None:
        return None
    match name:
        case "reshape" | "transpose" | "concatenate":
            return ins.operation.backward(list(values), out, mask, number, ins.params)
        case "sum":
            return widened(_spread(ins, values, mask), shape)
        case "getitem" | "broadcast_to" | "cumsum" | "scatter_add":
            return ins.operation.backward(list(values), out, _counted(mask), number, ins.params) != 0
    return widened(lively(mask), shape)


def pushed(ins: Instruction, values: Sequence[Any], out: Any, directions: Sequence[Any], masks: Sequence[Any]) -> Any:
    """The mask of a result, from those of the operands' directions: forward. A direction that is None does not move."""
    moving = [k for k, d in enumerate(directions) if d is not None]
    alone = ins.operation.additive or len(moving) == 1
    if alone and all(masks[k] is BY_VALUE and ins.operation.linear_in(k) for k in moving):
        return BY_VALUE
    masks = [STILL if d is None else shown(m, d) for m, d in zip(masks, directions, strict=True)]
    if isinstance(ins.operation, Pointwise):
        total: Any = STILL
        for number, mask in enumerate(masks):
            if mask is not STILL:
                total = either(total, both(mask, cut(ins, values, out, number)))
        return widened(total, np.shape(out))
    name, params = ins.operation.name, ins.params
    if name in ("max", "min"):
        return ops.reduce_any(both(masks[0], cut(ins, values, out, 0)), axes=params["axes"])
    if name == "concatenate":
        whole = [np.True_ if m is None else m for m in masks]
        return _simple(
            ops.concatenate(*(widened(m, np.shape(v)) for m, v in zip(whole, values, strict=True)), **params)
        )
    if any(m is None for m in masks):
        return None
    match name:
        case "reshape" | "transpose" | "broadcast_to" | "getitem":
            return ins.operation.forward(list(values), out, list(masks), params)
        case "sum":
            return ops.reduce_any(masks[0], axes=params["axes"])
        case "cumsum" | "scatter_add":
            return ins.operation.forward(list(values), out, [_counted(masks[0])], params) != 0
    total = STILL
    for mask in masks:
        total = either(total, lively(mask))
    return widened(total, np.shape(out))


def _counted(mask: Any) -> Any:
    return ops.astype(mask, dtype=np.dtype(float))
