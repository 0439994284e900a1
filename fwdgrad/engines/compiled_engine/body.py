"""The inside of a nest of loops: values at an index, as statements at the depth where they can first be computed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from fwdgrad.engines.compiled_engine import pointwise
from fwdgrad.engines.compiled_engine.indices import Affine, Axis, Datum, Quotient, flat
from fwdgrad.engines.compiled_engine.names import LOOPS, Names
from fwdgrad.engines.compiled_engine.nodes import Iota, Literal, Map, Node, Place, View
from fwdgrad.engines.compiled_engine.pointwise import Scalar
from fwdgrad.engines.compiled_engine.reading import Index, restricted
from fwdgrad.engines.compiled_engine.statements import Statement, copies, folded, shown

__all__ = ["Around", "Body", "Value"]

INTEGER = np.dtype(np.int64)
TOGETHER = 4
"""Rows of a matrix that are multiplied by the same vector are gone through so many at once,"""
LONG = 32
"""if they have at least so many entries."""


class Value(NamedTuple):
    """A number in the source, and how many loops have to be open for it."""

    scalar: Scalar
    depth: int


class Around(Protocol):
    """What the body of a nest asks of the block that it stands in; see `Block`."""

    names: Names
    lines: list[str]

    def number(self, node: Node) -> Scalar:
        """A value without axes."""

    def once(self, stem: str, text: str) -> str:
        """A local variable for an expression of numbers."""

    def in_memory(self, node: Node) -> bool:
        """Whether a node is an array that can be read."""

    def place(self, node: Node) -> tuple[str, Affine]:
        """The buffer of an array, and where its first element stands."""

    def wanted(self, node: Node) -> tuple[str, Affine] | None:
        """Where a value that is being made is to be written, if anywhere."""


class Body:
    """A nest of loops over `sizes`, being written.

    Attributes:
        axes: the loop variables, outermost first.
        before: statements by depth, ahead of the loop inside.
        stores: statements by depth, after everything that reads.
        after: statements by depth, behind the loop inside.
    """

    def __init__(self, block: Around, sizes: Sequence[int]) -> None:
        self.block = block
        self.axes = tuple(Axis(size, name) for size, name in zip(sizes, LOOPS, strict=False))
        self.depths = {axis: number + 1 for number, axis in enumerate(self.axes)}
        levels = range(len(self.axes) + 1)
        self.before: list[list[Statement]] = [[] for _ in levels]
        self.stores: list[list[Statement]] = [[] for _ in levels]
        self.after: list[list[Statement]] = [[] for _ in levels]
        self._known: dict[Any, Value] = {}

    @property
    def depth(self) -> int:
        """The number of loops."""
        return len(self.axes)

    # ---- values

    def value(self, node: Node, at: Index) -> Value:
        """The element of `node` at an index."""
        if isinstance(node, Literal):
            return Value(Scalar("", node.dtype, node.value, node.weak), 0)
        if not node.shape:
            return Value(self.block.number(node), 0)
        key = (node, at)
        if key not in self._known:
            self._known[key] = self.compute(node, at)
        return self._known[key]

    def compute(self, node: Node, at: Index) -> Value:
        """The same, in new statements."""
        if self.block.in_memory(node):
            return self._load(node, flat(at, node.shape), at)
        match node:
            case Iota():
                text, depth = self.index(at[0] * node.step + node.first)
                if node.dtype != INTEGER:
                    text = f"np.{node.dtype.name}({text})"
                return self._local(node, at, text, depth)
            case Map():
                operands = [self.value(o, restricted(o.shape, at)) for o in node.operands]
                text = pointwise.expression(node.operation, [o.scalar for o in operands], node.dtype, node.params)
                if node.operation == "astype" and text == operands[0].scalar.text:
                    return operands[0]
                return self._local(node, at, text, max((o.depth for o in operands), default=0))
            case View():
                return self.value(node.source, node.index(at))
            case Place():
                return self._placed(node, at)
        raise AssertionError(f"{type(node).__name__} {node.name} is read before it is made")

    def _placed(self, node: Place, at: Index) -> Value:
        source = self.value(node.source, node.index(at))
        tests, depth = [], source.depth
        for pair in node.conditions(at):
            (one, first), (other, second) = (self.index(i) for i in pair)
            tests.append(f"{one} == {other}")
            depth = max(depth, first, second)
        zero = pointwise.literal(0, node.dtype)
        text = pointwise.cast(source.scalar, node.dtype)
        return self._local(node, at, f"{text} if {' and '.join(tests) or True} else {zero}", depth)

    def _load(self, node: Node, offset: Affine, at: Index) -> Value:
        if not node.size:  # of a loop that makes no turn, ahead of which nothing may be read
            return Value(Scalar("", node.dtype, node.dtype.type(0).item()), 0)
        buffer, base = self.block.place(node)
        text, depth = self.index(base + offset)
        return self._local(node, at, f"{buffer}[{text}]", depth)

    def _local(self, node: Node, at: Index, text: str, depth: int) -> Value:
        """A local variable for an expression."""
        name = self.local(node, at)
        note = node.note if isinstance(node, Place) else ""
        self.before[depth].append(Statement(name, text, note=note, value=True))
        return Value(Scalar(name, node.dtype), depth)

    def local(self, node: Node, at: Index) -> str:
        """A name for an element: that of the array and of the loop variables it stands at."""
        letters = ""
        for i in at:
            if len(i.terms) == 1 and i.terms[0][1] == 1 and isinstance(i.terms[0][0], Axis) and not i.constant:
                letters += i.terms[0][0].name or ""
            elif i.terms or i.constant:
                letters += "x"
        key = (node, tuple((i.terms and str(self._shown(i))) or i.constant for i in at))
        return self.block.names.of(key, f"{node.name}_{letters}" if letters else f"{node.name}_0")

    def _shown(self, i: Affine) -> Any:
        return tuple((self._mark(a), c) for a, c in i.terms), i.constant

    def _mark(self, atom: Any) -> Any:
        if isinstance(atom, Axis):
            return atom.name
        if isinstance(atom, Datum):
            return id(atom.node), tuple(self._shown(i) for i in atom.index)
        return type(atom).__name__, self._shown(atom.of), atom.by

    # ---- indices

    def index(self, i: Affine) -> tuple[str, int]:
        """An index as source, and its depth."""
        parts, depth = [], 0
        for atom, c in i.terms:
            text, level = self._atom(atom)
            depth = max(depth, level)
            parts.append(text if c == 1 else f"{text} * {c}")
        if i.constant or not parts:
            parts.append(str(i.constant))
        return " + ".join(parts).replace("+ -", "- "), depth

    def _atom(self, atom: Any) -> tuple[str, int]:
        if isinstance(atom, Axis):
            return str(atom.name), self.depths.get(atom, 0)
        if isinstance(atom, Datum):
            return self._datum(atom)
        text, depth = self.index(atom.of)
        text = f"({text})" if " " in text else text
        return f"({text} {'//' if isinstance(atom, Quotient) else '%'} {atom.by})", depth

    def _datum(self, datum: Datum) -> tuple[str, int]:
        key = (datum,)
        if key not in self._known:
            value = self.value(datum.node, datum.index)
            text, last = pointwise.cast(value.scalar, value.scalar.dtype), datum.size - 1
            # counted from the end if negative; one that is out of range reads what is nearest, and is refused elsewhere
            inside = f"min(max({text} + {datum.size} if {text} < 0 else {text}, 0), {last})"
            if not datum.node.shape:
                name = self.block.once(f"{text}_place", inside)
            else:
                name = self.block.names.of(("place", text, datum.size), f"{text}_place")
                self.before[value.depth].append(Statement(name, inside))
            self._known[key] = Value(Scalar(name, INTEGER), value.depth)
        return self._known[key].scalar.text, self._known[key].depth

    # ---- text

    def lines(self) -> list[str]:
        """The nest."""
        levels = range(self.depth + 1)
        texts = [[" ".join(f"{x.target} {x.text}" for x in part[d]) for part in self._parts()] for d in levels]
        for depth in levels:
            rest = [t for d in levels for k, t in enumerate(texts[d]) if (d, k) != (depth, 0)]
            self.before[depth] = folded(self.before[depth], " ".join(rest))
        turns = self._turns()
        if turns > 1:
            rows = (self.before[1], self.before[2], self.after[1])
            self.before[1], self.before[2], self.after[1] = copies(rows, str(self.axes[0].name), turns, self._turned)
        return self._level(0, turns)

    def _turns(self) -> int:
        """How many rows are gone through at once: several where each is summed, to read once what they share."""
        if self.depth != 2 or self.stores[2] or self.axes[0].size % TOGETHER or self.axes[1].size < LONG:
            return 1
        begun = {x.target for x in self.before[1]}
        sums = [x for x in self.before[2] if x.sign != "="]
        plain = all(x.target.isidentifier() for level in (self.before[1], self.before[2]) for x in level)
        return TOGETHER if plain and sums and all(x.target in begun for x in sums) else 1

    def _turned(self, name: str, turn: int) -> str:
        return self.block.names.of(("turn", name, turn), f"{name}{turn + 1}")

    def _parts(self) -> tuple[list[list[Statement]], ...]:
        return self.before, self.stores, self.after

    def _level(self, depth: int, turns: int = 1) -> list[str]:
        lines = [shown(x) for x in self.before[depth]]
        if depth < self.depth:
            axis = self.axes[depth]
            inner = self._level(depth + 1)
            if inner:
                span = str(axis.size) if depth or turns == 1 else f"0, {axis.size}, {turns}"
                lines.append(f"for {axis.name} in range({span}):")
                lines += [f"    {line}" for line in inner]
        return lines + [shown(x) for x in (*self.stores[depth], *self.after[depth])]
