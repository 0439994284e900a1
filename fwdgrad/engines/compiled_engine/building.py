"""A program's instructions as nodes."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from fwdgrad.engines.compiled_engine import moves
from fwdgrad.engines.compiled_engine.indices import Affine, fresh
from fwdgrad.engines.compiled_engine.nodes import (
    Call,
    Cumulate,
    Iota,
    Literal,
    Loop,
    Map,
    Node,
    Reduce,
    Result,
    Root,
    Stored,
    Until,
    known,
    stored,
)
from fwdgrad.engines.compiled_engine.ranges import negative, outside
from fwdgrad.engines.compiled_engine.sums import Sums, loop_order
from fwdgrad.engines.compiled_engine.unsupported import UnsupportedOperation
from fwdgrad.program import Constant, Instruction, Program, Variable
from fwdgrad.program.operations import Pointwise

__all__ = ["Constants", "build"]

REDUCTIONS = ("max", "min", "any", "all")
WHOLE = {"sin": "sines", "cos": "cosines"}
"""Functions that a helper computes for whole arrays, as few numbers in a loop need other arithmetic than the rest."""
MANY = 4
"""So many numbers are enough for it."""


class Constants:
    """Arrays that a program knows, and the names of the buffers they come in."""

    def __init__(self) -> None:
        self.arrays: dict[str, np.ndarray] = {}
        self._nodes: dict[int, tuple[Any, Node]] = {}

    def node(self, constant: Constant) -> Node:
        """A constant as a number, a progression, an identity, or an array that is handed to the compiled function."""
        if constant.weak:
            return Literal(shape=(), dtype=constant.dtype, value=constant.value, weak=True)
        if id(constant.value) not in self._nodes:
            self._nodes[id(constant.value)] = constant.value, self._made(np.asarray(constant.value))
        return self._nodes[id(constant.value)][1]

    def _made(self, array: np.ndarray) -> Node:
        numbers = array.ravel()
        label: dict[str, Any] = {"shape": array.shape, "dtype": array.dtype}
        if array.size and numbers.tobytes() == numbers[:1].tobytes() * array.size:
            return Literal(value=numbers[0].item(), **label)
        if array.ndim == 1 and array.dtype.kind in "iuf" and array.size > 1:
            first, step = numbers[0], numbers[1] - numbers[0]
            if float(first).is_integer() and float(step).is_integer() and abs(first) + abs(step) * array.size < 2**24:
                line = int(first) + int(step) * np.arange(array.size)
                if np.array_equal(line, numbers) and not np.signbit(numbers[numbers == 0]).any():
                    return Iota(first=int(first), step=int(step), **label)
        if array.ndim == 2 and numbers.tobytes() == np.eye(*array.shape, dtype=array.dtype).tobytes():
            return moves.identity(**label)
        name = f"constant{len(self.arrays) + 1}"
        self.arrays[name] = np.ascontiguousarray(array)
        return Stored(buffer=name, name=name, **label)


def build(program: Program, inputs: Sequence[Node], constants: Constants) -> tuple[tuple[Node, ...], tuple[Node, ...]]:
    """The program's outputs as nodes, given its inputs; and single booleans that are True where it is to be refused."""
    builder = _Builder(program, inputs, constants)
    for instruction in program:
        builder.instruction(instruction)
    return tuple(builder.read(o) for o in program.outputs), tuple(t for t in builder.tests.values() if t is not None)


class _Builder:
    def __init__(self, program: Program, inputs: Sequence[Node], constants: Constants) -> None:
        self.values: dict[Variable, Node] = dict(zip(program.inputs, inputs, strict=True))
        self.names = program.names()
        self.constants = constants
        self.sums = Sums()
        self.tests: dict[tuple[Node, int], Node | None] = {}

    def read(self, operand: Variable | Constant) -> Node:
        return self.constants.node(operand) if isinstance(operand, Constant) else self.values[operand]

    def instruction(self, ins: Instruction) -> None:
        """Translate one instruction."""
        operands = tuple(self.read(i) for i in ins.inputs)
        self._test(ins)
        if ins.operation.several:
            self._scan(ins, operands)
            return
        out = ins.outputs[0]
        label: dict[str, Any] = {"name": self.names[out], "note": ins.operation.name}
        if ins.operation.name == "stop_gradient":
            made = operands[0]
        elif ins.operation.name in WHOLE and prod(out.shape) >= MANY:
            made = _call(WHOLE[ins.operation.name], out, operands, label)
        elif isinstance(ins.operation, Pointwise):
            made = Map(
                shape=out.shape,
                dtype=out.dtype,
                operation=ins.operation.name,
                operands=operands,
                params=ins.params,
                **label,
            )
        else:
            method = getattr(self, f"_{ins.operation.name}", None)
            if method is None:
                raise UnsupportedOperation(ins.operation.name, "there is no loop for it")
            made = method(out, operands, label, **ins.params)
        if (made.shape, made.dtype) != (out.shape, out.dtype):
            raise UnsupportedOperation(ins.operation.name, f"it was taken to give {made.shape} {made.dtype}")
        self.values[out] = made

    def _test(self, ins: Instruction) -> None:
        """Note what has to be looked at before the results count: indices, and the exponents of integers."""
        if ins.operation.name in ("getitem", "scatter_add"):  # constant indices have been looked at when it was traced
            for operand, size in ins.operation.indexed_axes(ins.inputs, ins.params):
                if isinstance(operand, Variable):
                    node = self.values[operand]
                    self.tests.setdefault((node, size), outside(node, size))
        elif ins.operation.name == "power" and ins.outputs[0].dtype.kind == "i":
            node = self.read(ins.inputs[1])
            self.tests.setdefault((node, 0), negative(node))

    # ---- moves

    def _reshape(self, out: Variable, x: Sequence[Node], label: Any, shape: tuple[int, ...]) -> Node:
        return moves.reshape(x[0], shape, **label)

    def _transpose(self, out: Variable, x: Sequence[Node], label: Any, axes: tuple[int, ...]) -> Node:
        return moves.transpose(x[0], axes, **label)

    def _broadcast_to(self, out: Variable, x: Sequence[Node], label: Any, shape: tuple[int, ...]) -> Node:
        return moves.broadcast(x[0], shape, **label)

    def _concatenate(self, out: Variable, x: Sequence[Node], label: Any, axis: int) -> Node:
        return moves.concatenate(x, axis, out.shape, out.dtype, **label)

    def _getitem(self, out: Variable, x: Sequence[Node], label: Any, index: Any) -> Node:
        return moves.getitem(x[0], x[1:], index, **label)

    def _scatter_add(self, out: Variable, x: Sequence[Node], label: Any, index: Any, shape: tuple[int, ...]) -> Node:
        return moves.scatter_add(x[0], x[1:], index, shape, **label)

    # ---- products and reductions

    def _matmul(self, out: Variable, x: Sequence[Node], label: Any) -> Node:
        return self.sums.matmul(x[0], x[1], out.dtype, **label)

    def _einsum(self, out: Variable, x: Sequence[Node], label: Any, subscripts: str) -> Node:
        return self.sums.einsum(subscripts, x, out.dtype, **label)

    def _sum(self, out: Variable, x: Sequence[Node], label: Any, axes: tuple[int, ...]) -> Node:
        loops = fresh(x[0].shape)
        kept = tuple(a for k, a in enumerate(loops) if k not in axes)
        factors = ((x[0], tuple(Affine.of(a) for a in loops)),)
        return self.sums.sum(factors, kept, tuple(loops[k] for k in axes), out.dtype, **label)

    def _extreme(self, out: Variable, x: Sequence[Node], label: Any, axes: tuple[int, ...]) -> Node:
        loops = fresh(x[0].shape)
        place = tuple(Affine.of(a) for k, a in enumerate(loops) if k not in axes)
        factors = ((x[0], tuple(Affine.of(a) for a in loops)),)
        real = tuple(a for a in loops if a.size != 1)
        return Reduce(
            shape=out.shape,
            dtype=out.dtype,
            kind=label["note"],
            axes=loop_order(real, factors, place) if label["note"] in REDUCTIONS else real,
            over=frozenset(loops[k] for k in axes),
            out=place,
            factors=factors,
            **label,
        )

    _max = _min = _any = _all = _extreme

    def _argmax(self, out: Variable, x: Sequence[Node], label: Any) -> Node:
        return self._extreme(out, x, label, (len(x[0].shape) - 1,))

    _argmin = _argmax

    def _cumsum(self, out: Variable, x: Sequence[Node], label: Any, axis: int) -> Node:
        return Cumulate(shape=out.shape, dtype=out.dtype, source=x[0], axis=axis, **label)

    # ---- helpers that take whole arrays

    def _argsort(self, out: Variable, x: Sequence[Node], label: Any) -> Node:
        return _call("argsort", out, x, label, out.shape[-1])

    def _searchsorted(self, out: Variable, x: Sequence[Node], label: Any) -> Node:
        return _call("searchsorted", out, x, label)

    def _inv(self, out: Variable, x: Sequence[Node], label: Any) -> Node:
        return _call("inv", out, x, label, out.shape[-1])

    def _det(self, out: Variable, x: Sequence[Node], label: Any) -> Node:
        return _call("det", out, x, label, x[0].shape[-1])

    def _solve(self, out: Variable, x: Sequence[Node], label: Any) -> Node:
        a, b = x
        n = a.shape[-1]
        vector = len(b.shape) == 1
        batch = out.shape[:-1] if vector else out.shape[:-2]
        tail = (n,) if vector else (n, b.shape[-1])
        whole = [moves.broadcast(node, (*batch, *end)) for node, end in ((a, (n, n)), (b, tail))]
        return _call("solve", out, whole, label, n, 1 if vector else b.shape[-1])

    def _singular(self, out: Variable, x: Sequence[Node], label: Any) -> Node:
        return _call("singular", out, x, label, out.shape[-1])

    def _cholesky_update(self, out: Variable, x: Sequence[Node], label: Any) -> Node:
        return _call("cholesky_update", out, x, label, out.shape[-1], x[1].shape[-2])

    def _solve_triangular(self, out: Variable, x: Sequence[Node], label: Any, transposed: bool) -> Node:
        return _call("solve_triangular", out, x, label, *out.shape[-2:], int(transposed))

    def _band_factors(self, out: Variable, x: Sequence[Node], label: Any, lower: int, upper: int) -> Node:
        return _call("band_factors", out, x, label, x[0].shape[0], lower, upper)

    def _band_solve(
        self, out: Variable, x: Sequence[Node], label: Any, lower: int, upper: int, transposed: bool
    ) -> Node:
        return _call("band_solve", out, x[1:], label, *out.shape, lower, upper, int(transposed))

    def _root(self, out: Variable, x: Sequence[Node], label: Any, residual: Program, body: Program, band: Any) -> Node:
        start, *captured = x
        whole = (start, *(o if known(o) else stored(o) for o in captured))
        helper, extra = ("newton", ()) if band is None else ("newton_by_bands", band)
        return Root(shape=out.shape, dtype=out.dtype, helper=helper, operands=whole, extra=extra, body=body, **label)

    def _until(self, out: Variable, x: Sequence[Node], label: Any, body: Program, most: int) -> Node:
        start, clock, *captured = x
        whole = (start, clock, *(o if known(o) else stored(o) for o in captured))
        return Until(
            shape=out.shape, dtype=out.dtype, helper="until", operands=whole, extra=(most,), body=body, **label
        )

    def _scan(self, ins: Instruction, operands: tuple[Node, ...]) -> None:
        p = ins.params
        free = p["carried"]
        operands = (*operands[:free], *(o if known(o) else stored(o) for o in operands[free:]))
        loop = Loop(p["body"], p["carried"], p["rows"], p["reverse"], operands, note="scan")
        results = tuple(
            Result(shape=o.shape, dtype=o.dtype, loop=loop, place=k, name=self.names[o], note="scan")
            for k, o in enumerate(ins.outputs)
        )
        loop.results = results
        self.values.update(zip(ins.outputs, results, strict=True))


def _call(helper: str, out: Variable, x: Sequence[Node], label: Any, *extra: int) -> Node:
    """A helper on whole arrays; a number is an array of one entry."""
    arrays = tuple(stored(moves.reshape(o, o.shape or (1,))) if not o.shape else stored(o) for o in x)
    made = Call(shape=out.shape or (1,), dtype=out.dtype, helper=helper, operands=arrays, extra=extra, **label)
    return made if out.shape else moves.reshape(made, (), **label)
