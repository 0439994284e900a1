"""Sums, extreme values and the like: accumulated in local variables where the order of loops allows, else in memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from fwdgrad.engines.compiled_engine import pointwise
from fwdgrad.engines.compiled_engine.body import Around, Body
from fwdgrad.engines.compiled_engine.indices import Affine, flat
from fwdgrad.engines.compiled_engine.nodes import Node, Reduce
from fwdgrad.engines.compiled_engine.pointwise import Scalar
from fwdgrad.engines.compiled_engine.reading import Index
from fwdgrad.engines.compiled_engine.statements import Statement

__all__ = ["begin", "write_reduction"]

_STEP = {
    "max": ("=", "{0} if ({0} >= {1}) | ({0} != {0}) else {1}"),
    "min": ("=", "{0} if ({0} <= {1}) | ({0} != {0}) else {1}"),
    "any": ("|=", "{1}"),
    "all": ("&=", "{1}"),
    "sum": ("+=", "{1}"),
}


def write_reduction(block: Around, body: Body, root: Reduce) -> Scalar | None:
    """Write a reduction into a nest over its axes; returns the result if it has no axes."""
    by = {a: Affine.of(b) for a, b in zip(root.axes, body.axes, strict=True)}
    out = tuple(i.replaced(by) for i in root.out)
    factors = [(node, tuple(i.replaced(by) for i in at)) for node, at in root.factors]
    kept = {a for i in out for a in i.axes()}
    depth = len(kept)
    if root.scatter or set(body.axes[:depth]) != kept:
        _in_memory(block, body, root, out, factors)
        return None
    name = body.local(root, out) if root.shape else block.names.of(root, root.name)
    if root.kind in ("argmax", "argmin"):
        _extreme_place(block, body, root, factors, name, depth)
    elif depth == body.depth:
        text = _term(body, root, factors)
        body.before[depth].append(Statement(name, text, note=root.note))
    else:
        text = _term(body, root, factors)
        begun = Statement(name, _first(root.kind, root.dtype), note=root.note)
        body.before[depth].append(begun)
        inner = name
        if root.kind == "sum" and body.depth - depth > 1:
            # a sum that is carried through several loops is slow: each innermost loop has one of its own
            inner = block.names.of((name, "row"), f"{name}_row")
            body.before[body.depth - 1].append(Statement(inner, begun.text))
            body.after[body.depth - 1].append(Statement(name, inner, "+="))
        body.before[body.depth].append(_step(root.kind, inner, text))
    if not root.shape:
        return Scalar(name, root.dtype)
    wanted = block.wanted(root)
    if wanted is not None:
        text, _ = body.index(wanted[1] + flat(out, root.shape))
        body.after[depth].append(Statement(f"{wanted[0]}[{text}]", name))
    return None


def begin(block: Around, root: Node, value: str) -> list[str]:
    """Statements that fill the array of `root`."""
    wanted = block.wanted(root)
    assert wanted is not None
    text, _ = Body(block, ()).index(wanted[1])
    offset = "" if wanted[1] == Affine() else f"{text} + "
    return [f"for i in range({root.size}):  # {root.note}", f"    {wanted[0]}[{offset}i] = {value}"]


def _in_memory(block: Around, body: Body, root: Reduce, out: Index, factors: Any) -> None:
    block.lines += begin(block, root, _first(root.kind, root.dtype))
    wanted = block.wanted(root)
    assert wanted is not None
    text, _ = body.index(wanted[1] + flat(out, root.shape))
    body.stores[body.depth].append(_step(root.kind, f"{wanted[0]}[{text}]", _term(body, root, factors)))


def _step(kind: str, target: str, text: str) -> Statement:
    """One more term."""
    sign, expression = _STEP[kind]
    return Statement(target, expression.format(target, text), sign)


def _term(body: Body, root: Reduce, factors: Any) -> str:
    """One term: the product of the factors."""
    return " * ".join(pointwise.cast(body.value(node, at).scalar, root.dtype) for node, at in factors)


def _first(kind: str, dtype: np.dtype) -> str:
    """What a reduction begins with."""
    if kind in ("max", "min"):
        if dtype.kind == "f":
            return pointwise.literal(-np.inf if kind == "max" else np.inf, dtype)
        if dtype.kind == "b":
            return str(kind == "min")
        limits = np.iinfo(dtype)
        return pointwise.literal(limits.min if kind == "max" else limits.max, dtype)
    return pointwise.literal(kind == "all", dtype)


def _extreme_place(block: Around, body: Body, root: Reduce, factors: Any, name: str, depth: int) -> None:
    """Where the first extreme value stands; NaN counts as one."""
    value = body.value(*factors[0]).scalar
    text = pointwise.cast(value, value.dtype)
    best = block.names.of((name, "best"), f"{name}_best")
    sign = ">" if root.kind == "argmax" else "<"
    inner = body.axes[-1].name if body.depth > depth else "0"
    body.before[depth].append(Statement(name, "0", note=root.note))
    if body.depth > depth:
        body.before[depth].append(Statement(best, pointwise.literal(0, value.dtype)))
        test = f"{inner} == 0 or {text} {sign} {best} or ({text} != {text} and {best} == {best})"
        body.before[body.depth] += [
            Statement("", f"if {test}:"),
            Statement(f"    {best}", text),
            Statement(f"    {name}", str(inner)),
        ]
