"""Derivatives of programs: Jacobian-vector and vector-Jacobian products.

`Linearized` evaluates a program at a point, keeps the intermediate values, and multiplies the Jacobian there by
vectors, from the right (`jvp`, forward) or from the left (`vjp`, backward). It replays the rules of
their operations, one after the other, with NumPy calls, so it works on arrays, and on tracers, where it writes
the derivative into the program being traced; forward and backward products then share the values and partial
derivatives they have in common.

A tangent or cotangent that is zero whatever it is multiplied by stays zero where a partial derivative is infinite or
NaN (`fwdgrad.program.alive`).
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from contextvars import ContextVar
from typing import Any, NamedTuple

import numpy as np

from fwdgrad.errors import ShapeError, UnsupportedOperationError
from fwdgrad.program import operations as ops
from fwdgrad.program.alive import (
    BY_VALUE,
    EVERYWHERE,
    STILL,
    Guards,
    cut,
    either,
    joined,
    kept,
    lively,
    pulled,
    pushed,
    shown,
    widened,
)
from fwdgrad.program.array import is_tracer
from fwdgrad.program.instructions import Constant, Instruction, Variable
from fwdgrad.program.operations import Pointwise
from fwdgrad.program.program import Program, read
from fwdgrad.program.sources import recording_for

__all__ = ["PRODUCTS", "Linearized", "infinite"]

PRODUCTS: dict[str, Callable[..., Any]] = {}
"""Operation that holds a program → (instruction, operands, results) ↦ its products with all operands, `jvp` and `vjp`.

They are made once at a point, and keep what their products have in common.
"""


class _Watch(NamedTuple):
    """What is looked for while a product is made."""

    found: dict[Instruction, int]
    """Instructions by which a cotangent became infinite or NaN, and the operand of which it is."""
    muted: set[Instruction]
    """Instructions that are taken to have the derivative 0."""


_WATCH: ContextVar[_Watch | None] = ContextVar("watch", default=None)


def infinite(program: Program, arguments: Sequence[Any], wrt: Sequence[int]) -> tuple[Instruction, int] | None:
    """The first operation whose derivative makes that of a program infinite or NaN, and the operand; None without one.

    Args:
        program: any program.
        arguments: arrays.
        wrt: numbers of the inputs that the derivative is taken in.
    """

    def watched(muted: set[Instruction]) -> tuple[bool, dict[Instruction, int]]:
        watch = _Watch({}, muted)
        token = _WATCH.set(watch)
        try:
            point = Linearized(program, arguments)
            # no two weights are equal, so that nothing cancels
            seeds = [
                np.linspace(1.0, 2.0, v.size).reshape(v.shape).astype(v.dtype) for v in map(np.asarray, point.value)
            ]
            made = point.vjp(seeds, wrt)
        finally:
            _WATCH.reset(token)
        return all(np.isfinite(g).all() for g in made), watch.found

    with np.errstate(all="ignore"):
        finite, found = watched(set())
        if not finite:
            for ins in reversed(found):
                if not watched(set(found) - {ins})[0]:
                    return ins, found[ins]
    return None


class Linearized:
    """A program evaluated at a point, with its Jacobian there as two products.

    Args:
        program: any program.
        arguments: one array, or tracer, per input.

    Cost: `jvp` and `vjp` each cost a small multiple of the program itself, and `vjp` keeps every intermediate value.

    Raises:
        UnsupportedOperationError: by the products, for operations that have no derivative.

    Example:
        >>> import numpy as np
        >>> from fwdgrad.program import Abstract, Linearized, trace
        >>> vector = Abstract((2,), np.dtype(float))
        >>> program = trace(lambda h, w: (np.sum(h * h * w),), [vector, vector])
        >>> linearized = Linearized(program, (np.array([1.0, 2.0]), np.array([3.0, 4.0])))
        >>> linearized.jvp({0: np.array([1.0, 0.0])})
        (np.float64(6.0),)
        >>> linearized.vjp([1.0], wrt=[0, 1])
        (array([ 6., 16.]), array([1., 4.]))
    """

    def __init__(self, program: Program, arguments: Sequence[Any]) -> None:
        self.program = program
        self._values = program.evaluate(arguments)
        self._products: dict[Instruction, Any] = {}
        self._guards = Guards.of(program)

    @property
    def value(self) -> tuple[Any, ...]:
        """The program's outputs."""
        return tuple(read(self._values, o) for o in self.program.outputs)

    def jvp(self, tangents: dict[int, Any]) -> tuple[Any, ...]:
        """Directional derivatives of the outputs: Σ_k ∂out/∂input_k · tangents[k].

        Args:
            tangents: input number → direction, of the input's shape. Inputs left out are held fixed.

        Returns:
            One array per output; zeros where an output does not depend on the inputs in `tangents`.
        """
        return self.pushed(tangents)[0]

    def pushed(
        self, tangents: dict[int, Any], alive: dict[int, Any] | None = None, everywhere: bool = False
    ) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """`jvp`, and masks of the results.

        Args:
            tangents: as in `jvp`.
            alive: masks of the tangents; as they are, if none are given.
            everywhere: ask for all masks, those of the results included.
        """
        moving: dict[Variable, Any] = {
            self.program.inputs[k]: fit(_checked(t, self.program.inputs[k]), self.program.inputs[k])
            for k, t in tangents.items()
        }
        masks: dict[Any, Any] = dict.fromkeys(moving, BY_VALUE) if alive is None else {}
        masks |= {self.program.inputs[k]: widened(m, self.program.inputs[k].shape) for k, m in (alive or {}).items()}
        return self._carried(moving, masks, EVERYWHERE if everywhere else self._guards.operands, _kept)

    def column(self, number: int, entry: int) -> tuple[Any, ...]:
        """Derivatives of the outputs with respect to one entry of a vector: `jvp` of a unit vector, where it is sparse.

        What the entry does not move is zero whatever the values are, and no products are made with it: what is recorded
        is as long as what follows from the entry, and 0·∞ is no part of it.

        Args:
            number: of the input.
            entry: its place in it.
        """
        variable = self.program.inputs[number]
        unit = np.zeros(variable.shape, variable.dtype)
        unit[entry] = 1.0
        return self._carried({variable: unit}, {variable: BY_VALUE}, self._guards.operands, _moves)[0]

    def around(
        self, tangents: dict[int, Any], still: Container[Variable], at: Sequence[Variable]
    ) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """`jvp` as if some intermediate variables did not move, and the tangents of others.

        Args:
            tangents: as in `jvp`.
            still: variables that are held fixed.
            at: variables whose tangents are wanted.
        """
        moving: dict[Variable, Any] = {self.program.inputs[k]: t for k, t in tangents.items()}
        masks: dict[Any, Any] = dict.fromkeys(moving, BY_VALUE)
        ends, _ = self._carried(moving, masks, self._guards.operands, _kept, still)
        return ends, tuple(moving[v] if v in moving else np.zeros(v.shape, v.dtype) for v in at)

    def _carried(
        self,
        moving: dict[Variable, Any],
        masks: dict[Any, Any],
        asked: Container[Variable],
        keeps: Callable[[Any], bool],
        still: Container[Variable] = (),
    ) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """Tangents of the outputs and their masks, from those that keep moving what depends on it."""
        for instruction in self.program.instructions:
            if not any(isinstance(i, Variable) and i in moving for i in instruction.inputs):
                continue
            if instruction.outputs[0] in still:
                continue
            directions = [moving.get(i) if isinstance(i, Variable) else None for i in instruction.inputs]
            values = [read(self._values, i) for i in instruction.inputs]
            out = instruction.outputs[0]
            with recording_for(instruction.source):
                given = [
                    STILL if d is None else masks.get(i) for d, i in zip(directions, instruction.inputs, strict=True)
                ]
                if instruction.operation.name in PRODUCTS:
                    made = zip(instruction.outputs, self._products_of(instruction).jvp(directions), strict=False)
                    moving.update((o, fit(t, o)) for o, t in made if t is not None and keeps(t))
                else:
                    tangent = forward(instruction, values, self._values[out], directions, given, self._guards)
                    if tangent is not None and keeps(tangent):
                        moving[out] = fit(tangent, out)
                for o in instruction.outputs:
                    if o in moving and o in asked:
                        masks[o] = pushed(instruction, values, self._values[o], directions, given)
        ends = self.program.outputs
        moved = [o if isinstance(o, Variable) and o in moving else None for o in ends]
        return (
            tuple(np.zeros(o.shape, o.dtype) if v is None else moving[v] for o, v in zip(ends, moved, strict=True)),
            tuple(STILL if v is None else masks.get(v) for v in moved),
        )

    def _products_of(self, instruction: Instruction) -> Any:
        """The products of an operation that holds a program."""
        if instruction not in self._products:
            operands = [read(self._values, i) for i in instruction.inputs]
            results = [self._values[o] for o in instruction.outputs]
            self._products[instruction] = PRODUCTS[instruction.operation.name](instruction, operands, results)
        return self._products[instruction]

    def at(self, operand: Variable | Constant) -> Any:
        """The value of an intermediate variable of the program, or of a constant."""
        return read(self._values, operand)

    def vjp(self, cotangents: Sequence[Any], wrt: Sequence[int | Variable]) -> tuple[Any, ...]:
        """Gradients Σ_o cotangents[o] · ∂out_o/∂input_k for the inputs k in `wrt`.

        Args:
            cotangents: one array of the output's shape per output; None counts as zero.
            wrt: numbers of inputs, and intermediate variables of the program. The gradient with respect to one of
                these is that of the rest of the program, as a function of it.

        Returns:
            One array of the input's or variable's shape per entry of `wrt`.
        """
        return self.pulled(cotangents, wrt)[0]

    def pulled(
        self,
        cotangents: Sequence[Any],
        wrt: Sequence[int | Variable],
        alive: Sequence[Any] | None = None,
        wild: Sequence[int] = (),
        everywhere: bool = False,
    ) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """`vjp`, and masks of the gradients.

        Args:
            cotangents: as in `vjp`.
            wrt: as in `vjp`.
            alive: masks of the cotangents; as they are, if none are given.
            wild: numbers of the inputs that may change at an infinite rate, for masks that are given.
            everywhere: ask for all masks, those of the gradients included.
        """
        wanted = [k if isinstance(k, Variable) else self.program.inputs[k] for k in wrt]
        active = set(wanted)
        for instruction in self.program.instructions:
            if any(isinstance(i, Variable) and i in active for i in instruction.inputs):
                active.update(o for o in instruction.outputs if np.issubdtype(o.dtype, np.floating))
        asked: Container[Variable] = EVERYWHERE if everywhere else self._guards.results
        changing = self._guards.wild if not wild else self._guards.wild | _reached(self.program, wild)
        gradients: dict[Variable, Any] = {}
        masks: dict[Variable, Any] = {}

        def accumulate(variable: Variable, gradient: Any, mask: Any) -> None:
            gradient = fit(gradient, variable)
            if variable in asked:
                before = masks.get(variable)
                masks[variable] = joined(before, gradients[variable], mask, gradient) if variable in gradients else mask
            gradients[variable] = gradients[variable] + gradient if variable in gradients else gradient

        for k, (output, cotangent) in enumerate(zip(self.program.outputs, cotangents, strict=True)):
            if cotangent is not None and isinstance(output, Variable) and output in active:
                seed = BY_VALUE if alive is None else widened(alive[k], output.shape)
                accumulate(output, _checked(cotangent, output), seed)
        for instruction in reversed(self.program.instructions):
            if not any(o in gradients for o in instruction.outputs):
                continue
            values = [read(self._values, i) for i in instruction.inputs]
            out = instruction.outputs[0]
            if instruction.operation.name in PRODUCTS:
                mask: Any = STILL
                for o in (o for o in instruction.outputs if o in gradients and o in asked):
                    mask = either(mask, lively(shown(masks.get(o), gradients[o])))
                ends = [gradients.get(o) if o in wanted else gradients.pop(o, None) for o in instruction.outputs]
                numbers = [k for k, i in enumerate(instruction.inputs) if isinstance(i, Variable) and i in active]
                numbers = [k for k in numbers if np.issubdtype(instruction.inputs[k].dtype, np.floating)]
                with recording_for(instruction.source):
                    for number, part in self._products_of(instruction).vjp(ends, numbers).items():
                        operand = instruction.inputs[number]
                        told = pulled(instruction, values, None, None, mask, number) if operand in asked else None
                        accumulate(operand, part, told)
                continue
            gradient = gradients.get(out) if out in wanted else gradients.pop(out, None)
            mask = masks.get(out)
            for number, operand in enumerate(instruction.inputs):
                if isinstance(operand, Variable) and operand in active:
                    with recording_for(instruction.source):
                        part = backward(
                            instruction, values, self._values[out], gradient, number, mask, self._guards, active
                        )
                        if part is not None:
                            told = None
                            if operand in asked:
                                told = pulled(instruction, values, self._values[out], gradient, mask, number, changing)
                            accumulate(operand, part, told)
        return (
            tuple(gradients.get(v, np.zeros(v.shape, v.dtype)) for v in wanted),
            tuple(masks.get(v) if v in gradients else STILL for v in wanted),
        )


def _reached(program: Program, numbers: Sequence[int]) -> set[Variable]:
    """What is computed from some inputs, and these."""
    found = {program.inputs[k] for k in numbers}
    for ins in program.instructions:
        if not found.isdisjoint(ins.inputs):
            found.update(ins.outputs)
    return found


def _checked(value: Any, variable: Variable) -> Any:
    value = value if hasattr(value, "dtype") else np.asarray(value)
    if value.shape != variable.shape:
        raise ShapeError(f"A tangent or cotangent of shape {variable.shape} is expected, got {value.shape}.")
    return value


def _kept(tangent: Any) -> bool:
    """Every tangent is carried on, also one that happens to be zero."""
    return True


def _moves(tangent: Any) -> bool:
    """Whether a tangent is not known to be zero."""
    return is_tracer(tangent) or bool(np.any(tangent))


def fit(value: Any, variable: Variable) -> Any:
    """`value` with the shape and dtype of `variable` (a rule may leave out a broadcast, or widen the dtype)."""
    if value.shape != variable.shape:
        value = ops.broadcast_to(value, shape=variable.shape)
    if value.dtype != variable.dtype:
        value = ops.astype(value, dtype=variable.dtype)
    return value


def forward(
    instruction: Instruction, values: list[Any], out: Any, directions: list[Any], masks: list[Any], guards: Guards
) -> Any:
    """The tangent of an instruction's result, or None where it is zero; `masks` are those of the directions."""
    operation = instruction.operation
    if not isinstance(operation, Pointwise):
        if instruction in guards.kinks:
            directions = [kept(directions[0], cut(instruction, values, out, 0))]
            if directions[0] is None:
                return None
        try:
            return operation.forward(values, out, directions, instruction.params)
        except NotImplementedError:
            raise _no_rule(instruction) from None
    if not operation.differentiable:
        return None
    total = None
    for number, direction in enumerate(directions):
        if direction is not None:
            part = _pointwise(operation, values, out, direction, number, instruction)
            if part is not None and (instruction, number) in guards.forward:
                part = kept(part, shown(masks[number], direction))
            if part is not None and instruction in guards.kinks:
                part = kept(part, cut(instruction, values, out, number))
            if (
                part is not None
                and instruction.inputs[number] in guards.fast
                and _hides(instruction, number, guards.wild)
            ):
                part = kept(part, values[1 - number] != 0)
            if part is not None:
                total = part if total is None else total + part
    return total


def backward(
    instruction: Instruction,
    values: list[Any],
    out: Any,
    gradient: Any,
    number: int,
    mask: Any,
    guards: Guards,
    moving: Container[Any],
) -> Any:
    """The gradient with respect to operand `number`, or None where it is zero.

    `mask` is that of the result, and `moving` is what is computed from what the gradient is taken in.
    """
    operation = instruction.operation
    guarded = (instruction, number) in guards.backward
    if not isinstance(operation, Pointwise):
        try:
            part = operation.backward(values, out, gradient, number, instruction.params)
        except NotImplementedError:
            raise _no_rule(instruction) from None
        if part is not None and guarded:
            part = kept(part, pulled(instruction, values, out, gradient, shown(mask, gradient), number))
        if part is not None and instruction in guards.kinks:
            part = kept(part, cut(instruction, values, out, number))
        return part
    if not operation.differentiable:
        return None
    part = _pointwise(operation, values, out, gradient, number, instruction)
    if part is not None and guarded:
        part = kept(part, shown(mask, gradient))
    watch = _WATCH.get()
    if watch is not None and part is not None:
        if instruction in watch.muted:
            return None
        if np.isfinite(gradient).all() and np.isfinite(out).all() and not np.isfinite(part).all():
            watch.found[instruction] = number
    if part is not None and instruction in guards.kinks:
        part = kept(part, cut(instruction, values, out, number))
    if part is not None and instruction.outputs[0] in guards.operands and _hides(instruction, number, moving):
        part = kept(part, values[1 - number] != 0)
    return None if part is None else ops.unbroadcast(part, np.shape(values[number]))


def _hides(instruction: Instruction, number: int, changing: Container[Any]) -> bool:
    """Whether an operand is multiplied by a factor that may be 0, and is nothing that changes."""
    if instruction.operation.name != "multiply":
        return False
    factor = instruction.inputs[1 - number]
    return bool(np.any(factor.value == 0)) if isinstance(factor, Constant) else factor not in changing


def _no_rule(instruction: Instruction) -> UnsupportedOperationError:
    return UnsupportedOperationError(
        f"{instruction.operation.name} has no derivative, at {instruction.source}.\n"
        "Write the function with operations that have a derivative."
    )


def _pointwise(op: Pointwise, values: list[Any], out: Any, g: Any, number: int, instruction: Instruction) -> Any:
    """g times the partial derivative with respect to operand `number`; broadcast, not summed."""
    try:
        return op.partial(values, out, g, number)
    except NotImplementedError:
        raise UnsupportedOperationError(
            f"{op.name} has no derivative with respect to argument {number + 1}, at {instruction.source}.\n"
            "Keep that argument constant, or write the function with other operations."
        ) from None
