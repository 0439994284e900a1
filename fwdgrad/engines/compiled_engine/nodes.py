"""What the values of a program are to the emitter.

A node says how an element of its value is computed from elements of others, at an index. Most nodes are never arrays:
moves (`View`, `Place`) and cheap pointwise operations (`Map`) are expressions inside the loops of whoever reads them.
What is a loop of its own (`Reduce`, `Cumulate`, `Join`, `Call`, `Loop`), and what is written to memory, is decided in
`planning`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from math import prod
from typing import Any

import numpy as np

from fwdgrad.engines.compiled_engine.indices import Affine, Axis
from fwdgrad.program import Program

__all__ = [
    "Call",
    "Cumulate",
    "Iota",
    "Join",
    "Literal",
    "Loop",
    "Map",
    "Named",
    "Node",
    "Part",
    "Place",
    "Reduce",
    "Result",
    "Root",
    "Stored",
    "Until",
    "View",
    "known",
    "operands",
    "stored",
]

Index = tuple[Affine, ...]
_numbers = count()


@dataclass(eq=False, kw_only=True)
class Node:
    """A value. `name` is what it is called in the source, `note` says which operation it is."""

    shape: tuple[int, ...]
    dtype: np.dtype
    name: str = "value"
    note: str = ""
    number: int = field(default_factory=lambda: next(_numbers))
    """Nodes are numbered in the order in which they are made: after their operands."""

    @property
    def size(self) -> int:
        """The number of entries."""
        return prod(self.shape)


@dataclass(eq=False, kw_only=True)
class Literal(Node):
    """The same known number everywhere. `weak`: a Python number, whose dtype gives way to that of its partner."""

    value: Any
    weak: bool = False


@dataclass(eq=False, kw_only=True)
class Iota(Node):
    """first + step · i, along one axis."""

    first: int
    step: int


@dataclass(eq=False, kw_only=True)
class Stored(Node):
    """An array in memory, in C order, that exists before the block runs; element 0 stands at `base` of `buffer`."""

    buffer: str
    base: Affine = field(default_factory=Affine)


@dataclass(eq=False, kw_only=True)
class Named(Node):
    """A number that a local variable of an enclosing block holds: `name`."""


@dataclass(eq=False, kw_only=True)
class Map(Node):
    """A pointwise operation; operands broadcast."""

    operation: str
    operands: tuple[Node, ...]
    params: dict[str, Any] = field(default_factory=dict)


@dataclass(eq=False, kw_only=True)
class View(Node):
    """source at another index. `contiguous`: the numbers in the order of the source (a reshape)."""

    source: Node
    index: Callable[[Index], Index]
    contiguous: bool = False
    read: tuple[Node, ...] = ()
    """Nodes that the index reads."""


@dataclass(eq=False, kw_only=True)
class Place(Node):
    """Zeros, and `source` where every pair of `conditions` is equal."""

    source: Node
    conditions: Callable[[Index], tuple[tuple[Affine, Affine], ...]]
    index: Callable[[Index], Index]
    read: tuple[Node, ...] = ()


@dataclass(eq=False, kw_only=True)
class Reduce(Node):
    """The product of `factors`, reduced over the axes in `over`, at `out` (an index made of the other axes).

    `kind` is sum, max, min, any, all, argmax or argmin; only sums have several factors. `axes` are all loop variables,
    outermost first. With `scatter`, `out` is any index, and equal places accumulate.
    """

    kind: str
    axes: tuple[Axis, ...]
    over: frozenset[Axis]
    out: Index
    factors: tuple[tuple[Node, Index], ...]
    scatter: bool = False
    read: tuple[Node, ...] = ()


@dataclass(eq=False, kw_only=True)
class Cumulate(Node):
    """Running sums of `source` along `axis`."""

    source: Node
    axis: int


@dataclass(eq=False, kw_only=True)
class Part:
    """What fills a rectangle of an array: element ``at`` of `source` stands at ``index(at)``."""

    source: Node
    index: Callable[[Index], Index]


@dataclass(eq=False, kw_only=True)
class Join(Node):
    """An array filled rectangle by rectangle; zeros elsewhere if `sparse`."""

    parts: tuple[Part, ...]
    sparse: bool = False


@dataclass(eq=False, kw_only=True)
class Call(Node):
    """A helper of `runtime` that takes whole arrays: ``helper(out, *operands, *extra)``."""

    helper: str
    operands: tuple[Node, ...]
    extra: tuple[Any, ...] = ()


@dataclass(eq=False, kw_only=True)
class Root(Call):
    """A solution by Newton's method. Operands: the start, and what `body` takes besides the unknowns."""

    body: Program


@dataclass(eq=False, kw_only=True)
class Until(Call):
    """What a loop ends with. Operands: z and the clock in the beginning, and what `body` takes besides these."""

    body: Program


@dataclass(eq=False)
class Loop:
    """A scan: its body, run over rows with a carry. Its values are `Result` nodes."""

    body: Program
    carried: int
    rows: int
    reverse: bool
    operands: tuple[Node, ...]
    results: tuple[Result, ...] = ()
    note: str = ""
    number: int = field(default_factory=lambda: next(_numbers))


@dataclass(eq=False, kw_only=True)
class Result(Node):
    """Output `place` of a loop."""

    loop: Loop
    place: int


def operands(node: Node) -> Sequence[Node]:
    """The nodes that `node` is computed from."""
    match node:
        case Map() | Call():
            return node.operands
        case View() | Place():
            return (node.source, *node.read)
        case Reduce():
            return (*(factor for factor, _ in node.factors), *node.read)
        case Cumulate():
            return (node.source,)
        case Join():
            return tuple(part.source for part in node.parts)
        case Result():
            return node.loop.operands
        case _:
            return ()


def known(node: Node) -> bool:
    """Whether `node` is the same in every step and needs no memory."""
    return isinstance(node, (Literal, Iota)) or (
        isinstance(node, Place) and isinstance(node.source, Literal) and not node.read
    )


def stored(node: Node) -> Node:
    """The node as one that can be an array in memory."""
    if not node.shape or isinstance(node, (Stored, Map, Reduce, Call, Join, Cumulate, Result)):
        return node
    return Map(
        shape=node.shape,
        dtype=node.dtype,
        operation="astype",
        operands=(node,),
        params={"dtype": node.dtype},
        name=f"{node.name}_array",
    )
