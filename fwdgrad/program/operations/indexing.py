"""Reading an array at an index, and its transpose, adding at an index."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from fwdgrad.program.instructions import Abstract, Constant, Instruction
from fwdgrad.program.operations.base import Linear, Operand, shape_of
from fwdgrad.program.operations.shapes import Free
from fwdgrad.program.trail import Trail, all_zero, numbers, some, union_all

__all__ = ["Index", "getitem", "scatter_add"]

Index = tuple[tuple[Any, ...], ...]
"""An index, one entry per axis: ("slice", start, stop, step), ("int", k), ("new",), or ("operand",) for one that the
instruction's next operand gives (an integer or an integer array, of any value)."""


def _index(index: Index, operands: Sequence[Any]) -> tuple[Any, ...]:
    rest = iter(operands)
    made: list[Any] = []
    for entry in index:
        match entry[0]:
            case "slice":
                made.append(slice(*entry[1:]))
            case "int":
                made.append(entry[1])
            case "new":
                made.append(None)
            case _:
                made.append(next(rest))
    return tuple(made)


def _index_axes(shape: tuple[int, ...], index: Index, operands: Sequence[Operand]) -> Iterator[tuple[Operand, int]]:
    rest = iter(operands)
    axis = 0
    for entry in index:
        if entry[0] == "operand":
            yield next(rest), shape[axis]
        axis += entry[0] != "new"


def _shape_at(shape: tuple[int, ...], index: Index, operands: Sequence[Operand]) -> tuple[int, ...]:
    """The shape of what stands at `index`; constant indices are checked against the sizes of their axes."""
    places = [i.value if isinstance(i, Constant) else np.zeros(i.shape, np.intp) for i in operands]
    return np.shape(np.broadcast_to(np.ones((), bool), shape)[_index(index, places)])


def _places(shape: tuple[int, ...], index: Any, operands: Sequence[Trail]) -> tuple[np.ndarray, np.ndarray]:
    """For each entry of x[index]: the entries of x it may be. Two arrays (entry of the result, entry of x).

    An index that is not constant may take any value along its axis.
    """
    made: list[Any] = []
    free: list[int] = []  # axes of x along which anything may be chosen
    rest = iter(operands)
    axis = 0
    for entry in index:
        if entry[0] == "new":
            made.append(None)
            continue
        if entry[0] == "slice":
            made.append(slice(*entry[1:]))
        elif entry[0] == "int":
            made.append(entry[1])
        else:
            operand = next(rest)
            if operand.value is not None:
                made.append(np.asarray(operand.value))
            else:
                made.append(np.zeros(operand.shape, np.intp))
                free.append(axis)
        axis += 1
    grid = numbers(shape)
    chosen = grid[tuple(made)]
    strides = [math.prod(shape[a + 1 :]) for a in free]
    spread = np.zeros(1, np.intp)
    for a, stride in zip(free, strides, strict=True):
        spread = (spread[:, None] + np.arange(shape[a]) * stride).ravel()
    result = np.repeat(np.arange(chosen.size), len(spread))
    return result, (chosen.reshape(-1, 1) + spread).ravel()


class GetItem(Free, Linear):
    """x[index]; operands after the first are the array-valued parts of the index."""

    def evaluate(self, x: Any, *indices: Any, index: Index) -> Any:
        return np.asarray(x)[_index(index, indices)]

    def infer(self, inputs: Sequence[Operand], params: dict[str, Any]) -> tuple[Abstract, ...]:
        return (Abstract(_shape_at(inputs[0].shape, params["index"], inputs[1:]), inputs[0].dtype),)

    def indexed_axes(self, inputs: Sequence[Operand], params: dict[str, Any]) -> Iterator[tuple[Operand, int]]:
        return _index_axes(inputs[0].shape, params["index"], inputs[1:])

    def transpose(self, values: list[Any], g: Any, params: dict[str, Any]) -> Any:
        return scatter_add(g, *values[1:], index=params["index"], shape=shape_of(values[0]))

    def follow(self, trails: list[Trail], instruction: Instruction, steady: np.ndarray) -> list[Trail]:
        """Each entry from the entry it is taken from, or from all that a variable index may choose; and the index."""
        x, *indices = trails
        shape = instruction.outputs[0].shape
        result, source = _places(x.shape, instruction.params["index"], indices)
        count = math.prod(shape)
        if len(result) == count:
            return [x.take(source, shape)]
        depends = x.depends.selected(result, source, count)
        for index in indices:
            if not index.depends.empty:
                depends = depends.union(index.depends.everything(count))
        # which entry is taken varies with the index, so nothing read through it has a constant coefficient
        return [Trail(shape, depends, depends, all_zero(x, source, result, count))]

    def simplified(self, operands: Sequence[Any], params: dict[str, Any]) -> Any:
        return operands[0] if all(e == ("slice", None, None, None) for e in params["index"]) else None

    def may_refuse(self, instruction: Instruction) -> bool:
        """An index may be out of range."""
        return len(instruction.inputs) > 1


getitem = GetItem("getitem")


class ScatterAdd(Linear):
    """Zeros of `shape` with values added at `index`: the adjoint of `getitem`. Equal indices accumulate."""

    def evaluate(self, x: Any, *indices: Any, index: Index, shape: tuple[int, ...]) -> Any:
        out = np.zeros(shape, np.asarray(x).dtype)
        if all(np.ndim(i) == 0 for i in indices):
            out[_index(index, indices)] = x
        else:
            np.add.at(out, _index(index, indices), x)
        return out

    def infer(self, inputs: Sequence[Operand], params: dict[str, Any]) -> tuple[Abstract, ...]:
        place = _shape_at(params["shape"], params["index"], inputs[1:])
        if place != inputs[0].shape:
            raise ValueError(f"values of shape {inputs[0].shape} do not fit into a place of shape {place}")
        return (Abstract(params["shape"], inputs[0].dtype),)

    def indexed_axes(self, inputs: Sequence[Operand], params: dict[str, Any]) -> Iterator[tuple[Operand, int]]:
        return _index_axes(params["shape"], params["index"], inputs[1:])

    def transpose(self, values: list[Any], g: Any, params: dict[str, Any]) -> Any:
        return getitem(g, *values[1:], index=params["index"])

    def follow(self, trails: list[Trail], instruction: Instruction, steady: np.ndarray) -> list[Trail]:
        """Each place from the entries that are, or may be, added there."""
        x, *indices = trails
        shape = instruction.params["shape"]
        entry, place = _places(shape, instruction.params["index"], indices)
        count = math.prod(shape)
        made = x.mapped(shape, lambda d: d.selected(place, entry, count), None)
        untouched = np.bincount(place, x.nonzero[entry], count) == 0
        chosen = [index.depends.everything(count) for index in indices if not index.depends.empty]
        if any(index.value is None for index in indices):  # where something is added varies with the index
            depends = union_all([made.depends, *chosen])
            return [Trail(shape, depends, depends, some(untouched))]
        return [Trail(shape, made.depends, made.varies, some(untouched))]

    def may_refuse(self, instruction: Instruction) -> bool:
        """An index may be out of range."""
        return len(instruction.inputs) > 1


scatter_add = ScatterAdd("scatter_add")
