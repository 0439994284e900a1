"""Operations that move numbers, as rewritings of indices: indexing, its adjoint, transposes, reshapes, joins."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fwdgrad.engines.compiled_engine.indices import Affine, Datum, flat, fresh, spread
from fwdgrad.engines.compiled_engine.nodes import Iota, Join, Literal, Node, Part, Place, Reduce, View

__all__ = ["broadcast", "concatenate", "getitem", "identity", "reshape", "row", "scatter_add", "transpose"]

Index = tuple[Affine, ...]


def transpose(x: Node, axes: tuple[int, ...], **label: Any) -> Node:
    """Axes in another order."""

    def index(at: Index) -> Index:
        return tuple(at[axes.index(k)] for k in range(len(axes)))

    return View(shape=tuple(x.shape[k] for k in axes), dtype=x.dtype, source=x, index=index, **label)


def broadcast(x: Node, shape: tuple[int, ...], **label: Any) -> Node:
    """Repeated along new axes in front and along axes of size 1."""
    skipped = len(shape) - len(x.shape)

    def index(at: Index) -> Index:
        return tuple(Affine() if n == 1 else i for n, i in zip(x.shape, at[skipped:], strict=True))

    return View(shape=shape, dtype=x.dtype, source=x, index=index, **label)


def reshape(x: Node, shape: tuple[int, ...], **label: Any) -> Node:
    """The same numbers in C order."""

    def index(at: Index) -> Index:
        return spread(flat(at, shape), x.shape)

    return View(shape=shape, dtype=x.dtype, source=x, index=index, contiguous=True, **label)


def identity(shape: tuple[int, ...], dtype: np.dtype, **label: Any) -> Place:
    """Ones on the diagonal."""
    one = Literal(shape=(), dtype=dtype, value=dtype.type(1).item())
    return Place(
        shape=shape, dtype=dtype, source=one, conditions=lambda at: ((at[0], at[1]),), index=lambda at: (), **label
    )


def row(x: Place, number: Affine) -> Place:
    """x[number], for the number of a turn of a loop."""
    return Place(
        shape=x.shape[1:],
        dtype=x.dtype,
        source=x.source,
        conditions=lambda at: x.conditions((number, *at)),
        index=lambda at: x.index((number, *at)),
        name=f"{x.name}_row",
    )


def concatenate(parts: Sequence[Node], axis: int, shape: tuple[int, ...], dtype: np.dtype, **label: Any) -> Node:
    """Joined along an axis."""
    made = []
    offset = 0
    for part in parts:
        made.append(Part(source=part, index=_shift(axis, offset)))
        offset += part.shape[axis]
    return Join(shape=shape, dtype=dtype, parts=tuple(made), **label)


def _shift(axis: int, offset: int) -> Callable[[Index], Index]:
    return lambda at: (*at[:axis], at[axis] + offset, *at[axis + 1 :])


@dataclass(frozen=True)
class _Plan:
    """How an index picks elements: for each axis of the indexed array what stands there, from the place picked."""

    entries: tuple[tuple[str, Any], ...]
    """Per axis ("slice", (start, step, length, output axis)) or ("number", function of the fancy part's index)."""
    fancy: tuple[int, ...]
    """The output axes that run over the index arrays."""
    shape: tuple[int, ...]
    read: tuple[Node, ...]

    def source(self, at: Index) -> Index:
        """Where the element at `at` of the result stands in the indexed array."""
        loops = tuple(at[k] for k in self.fancy)
        return tuple(at[what[3]] * what[1] + what[0] if kind == "slice" else what(loops) for kind, what in self.entries)


def _plan(shape: tuple[int, ...], index: Any, arrays: Sequence[Node]) -> _Plan:
    rest = iter(arrays)
    items: list[tuple[str, Any]] = []
    for entry in index:
        items.append(("array", next(rest)) if entry[0] == "operand" else (entry[0], entry[1:]))
    consumed = sum(kind != "new" for kind, _ in items)
    items += [("slice", (None, None, None))] * (len(shape) - consumed)
    looped = any(kind == "array" and what.shape for kind, what in items)
    advanced = [k for k, (kind, _) in enumerate(items) if kind == "array" or (kind == "int" and looped)]
    fancy = np.broadcast_shapes(*(what.shape for kind, what in items if kind == "array")) if looped else ()
    together = not looped or advanced == list(range(advanced[0], advanced[-1] + 1))
    out: list[int] = [] if together or not looped else list(fancy)
    places = tuple(range(len(fancy))) if not together else ()
    entries: list[tuple[str, Any]] = []
    axis = 0
    for k, (kind, what) in enumerate(items):
        if looped and together and k == advanced[0]:
            places = tuple(range(len(out), len(out) + len(fancy)))
            out += fancy
        if kind == "new":
            out.append(1)
            continue
        size = shape[axis]
        axis += 1
        if kind == "slice":
            start, stop, step = slice(*what).indices(size)
            length = len(range(start, stop, step))
            entries.append(("slice", (start, step, length, len(out))))
            out.append(length)
        elif kind == "int":
            number = what[0] + size if what[0] < 0 else what[0]
            entries.append(("number", lambda loops, n=number: Affine.of(n)))
        else:
            entries.append(("number", lambda loops, a=what, n=size: _number(a, loops, n)))
    return _Plan(tuple(entries), places, tuple(out), tuple(arrays))


def _number(array: Node, loops: Index, size: int) -> Affine:
    """The entry of an index array at a place of the broadcast index arrays, as an index below `size`."""
    at = tuple(
        Affine() if n == 1 else i for n, i in zip(array.shape, loops[len(loops) - len(array.shape) :], strict=True)
    )
    if isinstance(array, Literal):
        return Affine.of(int(array.value) + (size if array.value < 0 else 0))
    if isinstance(array, Iota):
        ends = (array.first, array.first + array.step * (array.size - 1))
        if min(ends) >= 0:
            return at[0] * array.step + array.first
    return Affine.of(Datum(array, at, size))


def getitem(x: Node, arrays: Sequence[Node], index: Any, **label: Any) -> Node:
    """x[index], with NumPy's rules for slices, numbers and arrays."""
    plan = _plan(x.shape, index, arrays)
    return View(shape=plan.shape, dtype=x.dtype, source=x, index=plan.source, read=plan.read, **label)


def scatter_add(x: Node, arrays: Sequence[Node], index: Any, shape: tuple[int, ...], **label: Any) -> Node:
    """Zeros of `shape` with x added at `index`."""
    plan = _plan(shape, index, arrays)
    label |= {"shape": shape, "dtype": x.dtype}
    if plan.fancy:
        axes = fresh(x.shape)
        at = tuple(Affine.of(a) for a in axes)
        factors = ((x, at),)
        return Reduce(
            kind="sum",
            axes=axes,
            over=frozenset(axes),
            out=plan.source(at),
            factors=factors,
            scatter=True,
            read=plan.read,
            **label,
        )
    whole = all(kind != "slice" or what[:3] == (0, 1, n) for n, (kind, what) in zip(shape, plan.entries, strict=True))
    if not whole:
        return Join(parts=(Part(source=x, index=plan.source),), sparse=True, **label)

    def conditions(at: Index) -> tuple[tuple[Affine, Affine], ...]:
        return tuple((i, what(())) for i, (kind, what) in zip(at, plan.entries, strict=True) if kind != "slice")

    def source(at: Index) -> Index:
        inside = [Affine()] * len(x.shape)
        for i, (kind, what) in zip(at, plan.entries, strict=True):
            if kind == "slice":
                inside[what[3]] = i
        return tuple(inside)

    return Place(source=x, conditions=conditions, index=source, read=plan.read, **label)
