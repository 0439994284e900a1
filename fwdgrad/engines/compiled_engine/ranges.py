"""Which numbers a step has to look at before it counts: indices that may be out of range, and negative powers.

A compiled step reads nothing outside of an array, whatever its indices are. That one of them was out of range it says
at its end, and the step is refused.
"""

from __future__ import annotations

from math import inf
from typing import Any

import numpy as np

from fwdgrad.engines.compiled_engine.indices import Affine, fresh
from fwdgrad.engines.compiled_engine.nodes import Call, Iota, Literal, Map, Node, Reduce, View

__all__ = ["negative", "outside"]

_BOOL = np.dtype(bool)
_ANY: tuple[float, float] = (-inf, inf)


def outside(index: Node, size: int) -> Node | None:
    """Whether an entry of `index` is out of range of an axis of `size` entries; None if none can be."""
    low, high = _span(index)
    tests = []
    if high >= size:
        tests.append(_compared(index, "greater_equal", size))
    if low < -size and index.dtype.kind == "i":
        tests.append(_compared(index, "less", -size))
    if not tests:
        return None
    one, *other = tests
    test = _map("logical_or", (one, *other), index.shape) if other else one
    return _any(test)


def negative(exponent: Node) -> Node | None:
    """Whether an entry of an integer exponent is below 0; None if none can be."""
    if exponent.dtype.kind != "i" or _span(exponent)[0] >= 0:
        return None
    return _any(_compared(exponent, "less", 0))


def _compared(node: Node, comparison: str, number: int) -> Node:
    # in 64 bits: a narrow index may be compared with a number that it cannot hold
    wide = _map("astype", (node,), node.shape, np.dtype(np.int64), {"dtype": np.dtype(np.int64)})
    return _map(comparison, (wide, Literal(shape=(), dtype=wide.dtype, value=number)), node.shape)


def _map(
    operation: str, operands: tuple[Node, ...], shape: tuple[int, ...], dtype: Any = _BOOL, params: Any = None
) -> Node:
    label: dict[str, Any] = {"name": "outside", "note": "range"}
    return Map(shape=shape, dtype=dtype, operation=operation, operands=operands, params=params or {}, **label)


def _any(test: Node) -> Node:
    if not test.shape:
        return test
    axes = fresh(test.shape)
    at = tuple(Affine.of(a) for a in axes)
    return Reduce(
        shape=(),
        dtype=_BOOL,
        kind="any",
        axes=tuple(a for a in axes if a.size != 1),
        over=frozenset(axes),
        out=(),
        factors=((test, at),),
        name="outside",
        note="range",
    )


def _span(node: Node) -> tuple[float, float]:
    """Between which integers all entries lie, as far as that is seen without computing them."""
    match node:
        case Literal():
            return float(node.value), float(node.value)
        case Iota():
            ends = (node.first, node.first + node.step * (node.size - 1))
            return float(min(ends)), float(max(ends))
        case View():
            return _span(node.source)
        case Call(helper="argsort"):
            return 0.0, float(max(node.extra[0] - 1, 0))
        case Call(helper="searchsorted"):
            return 0.0, float(node.operands[0].size)
        case Reduce(kind="argmax" | "argmin"):
            return 0.0, max(float(np.prod([a.size for a in node.over], dtype=float)) - 1, 0.0)
        case Map():
            return _of_map(node)
        case _:
            return _ANY


def _of_map(node: Map) -> tuple[float, float]:
    if node.dtype.kind not in "iu" or any(o.dtype.kind not in "iub" for o in node.operands):
        return _ANY
    spans = [_span(o) for o in node.operands]
    match node.operation, spans:
        case "astype", [one]:
            return one
        case "maximum", [(a, b), (c, d)]:
            return max(a, c), max(b, d)
        case "minimum", [(a, b), (c, d)]:
            return min(a, c), min(b, d)
        case "add", [(a, b), (c, d)]:
            return a + c, b + d
        case "subtract", [(a, b), (c, d)]:
            return a - d, b - c
        case "mod", [_, (a, b)] if a == b > 0:
            return 0.0, b - 1
        case _:
            return _ANY
