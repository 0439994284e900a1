"""Reading an array at an index, and its transpose, adding at an index."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from fwdgrad.program.instructions import Abstract, Constant
from fwdgrad.program.operations.base import Operand, Operation

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


def _index_source(index: Index, arguments: Sequence[str]) -> str:
    rest = iter(arguments)
    made: list[str] = []
    for entry in index:
        match entry[0]:
            case "slice":
                start, stop, step = ("" if e is None else str(e) for e in entry[1:])
                made.append(f"{start}:{stop}" + (f":{step}" if step else ""))
            case "int":
                made.append(str(entry[1]))
            case "new":
                made.append("None")
            case _:
                made.append(next(rest))
    return ", ".join(made)


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


class GetItem(Operation):
    """x[index]; operands after the first are the array-valued parts of the index."""

    def evaluate(self, x: Any, *indices: Any, index: Index) -> Any:
        return np.asarray(x)[_index(index, indices)]

    def infer(self, inputs: Sequence[Operand], params: dict[str, Any]) -> tuple[Abstract, ...]:
        return (Abstract(_shape_at(inputs[0].shape, params["index"], inputs[1:]), inputs[0].dtype),)

    def emit(self, arguments: Sequence[str], inputs: Sequence[Operand], params: dict[str, Any]) -> str:
        return f"{arguments[0]}[{_index_source(params['index'], arguments[1:])}]"

    def indexed_axes(self, inputs: Sequence[Operand], params: dict[str, Any]) -> Iterator[tuple[Operand, int]]:
        return _index_axes(inputs[0].shape, params["index"], inputs[1:])


getitem = GetItem("getitem")


class ScatterAdd(Operation):
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

    def emit(self, arguments: Sequence[str], inputs: Sequence[Operand], params: dict[str, Any]) -> str:
        where = _index_source(params["index"], arguments[1:])
        helper = "scatter" if all(i.shape == () for i in inputs[1:]) else "scatter_add"
        key = f"np.s_[{where}]" if params["index"] else "()"
        return f"{helper}({arguments[0]}, {key}, {params['shape']})"

    def indexed_axes(self, inputs: Sequence[Operand], params: dict[str, Any]) -> Iterator[tuple[Operand, int]]:
        return _index_axes(params["shape"], params["index"], inputs[1:])


scatter_add = ScatterAdd("scatter_add")
