"""What an expression reads from memory, and where."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from fwdgrad.engines.compiled_engine.indices import Affine, Axis, Datum, fresh
from fwdgrad.engines.compiled_engine.nodes import (
    Call,
    Cumulate,
    Join,
    Loop,
    Map,
    Node,
    Place,
    Reduce,
    Result,
    Stored,
    View,
)

__all__ = ["Index", "loops", "place", "reads", "restricted"]

Index = tuple[Affine, ...]


def loops(root: Any) -> tuple[Axis, ...]:
    """Loop variables of what is made by one nest of loops: of the elements of a `Map`, or the axes of a `Reduce`."""
    if isinstance(root, Reduce):
        return root.axes
    return tuple(a for a in fresh(root.shape) if a.size != 1) if isinstance(root, Node) else ()


def restricted(shape: tuple[int, ...], at: Index) -> Index:
    """The index of an operand of `shape` that broadcasts to what is read at `at`."""
    own = at[len(at) - len(shape) :]
    return tuple(Affine() if n == 1 else i for n, i in zip(shape, own, strict=True))


def place(shape: tuple[int, ...], axes: tuple[Axis, ...]) -> Index:
    """The element at the loop variables `axes`, one for each axis of `shape` that is not of size 1."""
    rest = iter(axes)
    return tuple(Affine() if n == 1 else Affine.of(next(rest)) for n in shape)


def reads(root: Any, axes: tuple[Axis, ...], roots: Collection[Any]) -> dict[tuple[Node, Index | None], None]:
    """The stored nodes that `root` reads, each with its index in terms of `axes`; None where it is read as a whole."""
    found: dict[tuple[Node, Index | None], None] = {}
    seen: set[Any] = set()

    def visit(node: Node, at: Index, whole: bool = False) -> None:
        if (node, at) in seen:
            return
        seen.add((node, at))
        data(at, whole)
        if isinstance(node, Stored) or node in roots or isinstance(node, Result):
            found[node, None if whole else at] = None
            return
        below(node, at, whole)

    def below(node: Node, at: Index, whole: bool) -> None:
        match node:
            case Map():
                for operand in node.operands:
                    visit(operand, restricted(operand.shape, at), whole)
            case View():
                visit(node.source, node.index(at), whole)
            case Place():
                for pair in node.conditions(at):
                    data(pair, whole)
                visit(node.source, node.index(at), whole)

    def data(at: Index, whole: bool) -> None:
        for datum in _data(at):
            visit(datum.node, datum.index, whole)

    match root:
        case Reduce():
            by = {a: Affine.of(b) for a, b in zip(root.axes, axes, strict=True)}
            data(tuple(i.replaced(by) for i in root.out), False)
            for factor, at in root.factors:
                visit(factor, tuple(i.replaced(by) for i in at))
        case Join():
            for part in root.parts:
                inside = tuple(map(Affine.of, fresh(part.source.shape)))
                visit(part.source, inside, whole=True)
                data(part.index(inside), True)
        case Cumulate():
            visit(root.source, tuple(map(Affine.of, fresh(root.source.shape))), whole=True)
        case Call() | Loop():
            for operand in root.operands:
                visit(operand, tuple(map(Affine.of, fresh(operand.shape))), whole=True)
        case _:
            below(root, place(root.shape, axes), False)
    return found


def _data(at: Index) -> Iterator[Datum]:
    for i in at:
        for atom, _ in i.terms:
            if isinstance(atom, Datum):
                yield atom
            elif not isinstance(atom, Axis):
                yield from _data((atom.of,))
