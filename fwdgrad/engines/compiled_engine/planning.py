"""Which values get loops of their own, which loops are shared, and which values are written to memory.

The plan is a list of groups. A group is one nest of loops that makes several values over the same space, or a single
thing that is no plain nest. A value joins the first nest of its space in which everything it needs is finished; what it
needs from the same nest has to be at the same place. Arrays that are carried from step to step are written over by
their successors, in the last nest that reads them; where others still need the old values, the new ones are written
aside and copied at the end.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

from fwdgrad.engines.compiled_engine.indices import Affine, Axis
from fwdgrad.engines.compiled_engine.nodes import (
    Call,
    Cumulate,
    Iota,
    Join,
    Literal,
    Loop,
    Map,
    Named,
    Node,
    Place,
    Reduce,
    Result,
    Stored,
    View,
    operands,
)
from fwdgrad.engines.compiled_engine.pointwise import cost
from fwdgrad.engines.compiled_engine.reading import loops, place, reads

__all__ = ["Group", "Plan", "plan"]

DEAR = 12
"""A value that costs more than this many additions an element, and is needed by several others, is computed once."""
STREAMS = 16
"""Nests of matrices are shared only where they read the same arrays, and no more arrays than this."""


@dataclass(eq=False)
class Group:
    """What is made together. `sizes` is the space of a nest, None for what is not a nest."""

    sizes: tuple[int, ...] | None
    roots: list[Any] = field(default_factory=list)
    arrays: set[Node] = field(default_factory=set)


@dataclass(eq=False)
class Plan:
    """What a block does, in order.

    Attributes:
        groups: see `Group`.
        stored: values that are written to memory, with their place if it is given (an output).
        made: all values that have loops of their own.
        numbers: outputs without axes, with their places; written at the end.
    """

    groups: list[Group]
    stored: dict[Any, Stored | None]
    made: set[Any]
    numbers: list[tuple[Node, Stored]]


def plan(outputs: Sequence[tuple[Node, Stored | None]]) -> Plan:
    """The plan of a block with these outputs and the places they are wanted at."""
    return _Planner(outputs).run()


class _Planner:
    def __init__(self, outputs: Sequence[tuple[Node, Stored | None]]) -> None:
        self.numbers: list[tuple[Node, Stored]] = []
        self.targets: dict[Node, Stored] = {}
        self.wanted: list[Node] = []
        for node, target in outputs:
            if target is None or not target.shape:
                self.wanted.append(node)
                if target is not None and node is not target:
                    self.numbers.append((node, target))
            elif node is not target:
                self.wanted.append(self._output(node, target))

    def _output(self, node: Node, target: Stored) -> Node:
        if node in self.targets or isinstance(node, (Literal, Iota, Stored, View, Place, Named)):
            node = _copy(node)
        self.targets[node] = target
        return node

    def run(self) -> Plan:
        nodes = self._reachable()
        self.made = self._roots(nodes)
        self._settle_places()
        groups = self._group(self._order())
        return Plan(groups, self._stored(groups), self.made, self.numbers)

    # ---- which values get loops

    def _reachable(self) -> list[Node]:
        seen: dict[Node, None] = {}
        todo = list(self.wanted)
        while todo:
            node = todo.pop()
            if node not in seen:
                seen[node] = None
                if isinstance(node, Result):
                    todo += node.loop.results
                todo += operands(node)
        return sorted(seen, key=lambda n: n.number)

    def _roots(self, nodes: list[Node]) -> set[Any]:
        """Sums, helpers and outputs; pointwise values that are needed more often than they have elements, or dear."""
        uses: dict[Node, list[tuple[Node, int]]] = {}

        def use(node: Node, by: Node, times: int) -> None:
            if isinstance(node, (View, Place)):
                use(node.source, by, times)
                for index in node.read:
                    uses.setdefault(index, []).append((by, index.size))
            else:
                uses.setdefault(node, []).append((by, times))

        for node in nodes:
            times = prod(a.size for a in node.axes) if isinstance(node, Reduce) else node.size
            if not isinstance(node, (View, Place)):
                for operand in operands(node):
                    use(operand, node, operand.size if isinstance(node, (Cumulate, Join, Call, Result)) else times)
        made: set[Any] = {node for node in self.targets if not isinstance(node, Result)}
        price: dict[Node, int] = {}
        for node in nodes:
            if isinstance(node, Result):
                made.add(node.loop)
            elif isinstance(node, (Reduce, Call, Join, Cumulate)) or (
                not node.shape and isinstance(node, (View, Place)) and node.source.shape
            ):
                made.add(node)
            elif isinstance(node, Map) and node.shape:
                price[node] = cost(node.operation) + sum(price.get(_base(o), 0) for o in node.operands)
                often = any(times > node.size for _, times in uses.get(node, ()))
                users = len({by for by, _ in uses.get(node, ())})
                whole = any(isinstance(by, (Call, Result)) for by, _ in uses.get(node, ()))
                if whole or (price[node] and often) or (price[node] > DEAR and users > 1):
                    made.add(node)
                if node in made:
                    price[node] = 0
        return made

    # ---- which outputs can be written over what is carried

    def _settle_places(self) -> None:
        """Find every root's needs, and order readers of a carried array before the value that replaces it."""
        self.axes: dict[Any, tuple[Axis, ...]] = {}
        self.needs: dict[Any, list[tuple[Any, bool]]] = {}
        self.read: dict[Any, set[Node]] = {}
        readers: dict[tuple[str, Affine], list[tuple[Any, bool]]] = {}
        for root in sorted(self.made, key=lambda r: r.number):
            self._look(root, readers)
        self.before: dict[Any, set[Any]] = {root: {n for n, _ in self.needs[root]} for root in self.made}
        for node, target in list(self.targets.items()):
            writer = node.loop if isinstance(node, Result) else node
            old = [(q, near) for q, near in readers.get((target.buffer, target.base), ()) if q is not writer]
            own = any(q is writer and not near for q, near in readers.get((target.buffer, target.base), ()))
            if own or any(self._depends(q, writer) for q, _ in old):
                self._aside(node, target, [q for q, _ in old], readers)
                continue
            for q, near in old:
                self.before[writer].add(q)
                self.needs[writer].append((q, near and self._same_space(q, writer)))

    def _look(self, root: Any, readers: dict[tuple[str, Affine], list[tuple[Any, bool]]]) -> None:
        axes = self.axes[root] = loops(root)
        sizes = tuple(a.size for a in axes)
        needs: list[tuple[Any, bool]] = []
        full: set[Node] = set()
        for node, at in reads(root, axes, self.made):
            near = at is not None and at == place(node.shape, axes) if len(_real(node.shape)) == len(axes) else False
            near = near and _real(node.shape) == sizes and not isinstance(root, (Join, Call, Cumulate, Loop))
            if near and len(axes) > 1:
                full.add(node)
            if isinstance(node, Stored):
                readers.setdefault((node.buffer, node.base), []).append((root, near))
            else:
                maker = node.loop if isinstance(node, Result) else node
                needs.append((maker, near and isinstance(node, Map)))
        self.needs[root], self.read[root] = needs, full

    def _same_space(self, one: Any, other: Any) -> bool:
        return isinstance(other, Map) and [a.size for a in self.axes[one]] == [a.size for a in self.axes[other]]

    def _depends(self, root: Any, on: Any) -> bool:
        seen, todo = set(), [root]
        while todo:
            one = todo.pop()
            if one is on:
                return True
            if one not in seen:
                seen.add(one)
                todo += self.before[one]
        return False

    def _aside(self, node: Node, target: Stored, old: list[Any], readers: Any) -> None:
        copy = _copy(node)
        del self.targets[node]
        self.targets[copy] = target
        self.made.add(copy)
        self._look(copy, readers)
        self.before[copy] = {n for n, _ in self.needs[copy]} | set(old)
        writer = node.loop if isinstance(node, Result) else node
        self.needs[copy] += [(q, False) for q in (*old, writer)]

    # ---- order and groups

    def _order(self) -> list[Any]:
        waiting = {root: len(self.before[root]) for root in self.made}
        after: dict[Any, list[Any]] = {}
        for root, before in self.before.items():
            for one in before:
                after.setdefault(one, []).append(root)
        ready = [(root.number, root) for root, count in waiting.items() if not count]
        heapq.heapify(ready)
        order = []
        while ready:
            _, root = heapq.heappop(ready)
            order.append(root)
            for one in after.get(root, ()):
                waiting[one] -= 1
                if not waiting[one]:
                    heapq.heappush(ready, (one.number, one))
        return order

    def _group(self, order: list[Any]) -> list[Group]:
        groups: list[Group] = []
        position: dict[Any, int] = {}
        for root in order:
            first = max((position[n] + (not near) for n, near in self.needs[root]), default=0)
            nest = isinstance(root, (Map, View, Place, Reduce))
            sizes = tuple(a.size for a in self.axes[root]) if nest else None
            arrays = self.read[root] | ({root} if isinstance(root, Map) and len(self.axes[root]) > 1 else set())
            found = next((k for k in range(first, len(groups)) if self._fits(groups[k], sizes, arrays)), None)
            if found is None:
                groups.append(Group(sizes))
                found = len(groups) - 1
            groups[found].roots.append(root)
            groups[found].arrays |= arrays
            position[root] = found
        return self._merged(groups, {root: k for k, root in enumerate(order)})

    def _merged(self, groups: list[Group], rank: dict[Any, int]) -> list[Group]:
        """Groups that belong together, but began apart, as one, at the place of either where that is possible."""
        a, b = 0, 1
        while a < len(groups):
            if b >= len(groups):
                a, b = a + 1, a + 2
                continue
            one, other = groups[a], groups[b]
            together = one.sizes == other.sizes and self._fits(one, other.sizes, other.arrays)
            at = self._meeting(groups, a, b) if together and one.arrays else None
            if at is None:
                b += 1
                continue
            joined = Group(one.sizes, sorted(one.roots + other.roots, key=rank.__getitem__), one.arrays | other.arrays)
            groups[at] = joined
            del groups[a + b - at]
            a, b = 0, 1
        return groups

    def _meeting(self, groups: list[Group], a: int, b: int) -> int | None:
        """The place, `a` or `b`, at which everything that two groups need is there before, and is there in time."""
        home = {root: k for k, group in enumerate(groups) for root in group.roots}
        both = {*groups[a].roots, *groups[b].roots}
        needs = [(n, near) for root in groups[b].roots for n, near in self.needs[root]]
        if all(near if n in both else home[n] < a for n, near in needs):
            return a
        users = [(root, near) for root in home for n, near in self.needs[root] if n in groups[a].roots]
        if all(near if root in both else home[root] > b for root, near in users):
            return b
        return None

    def _fits(self, group: Group, sizes: tuple[int, ...] | None, arrays: set[Node]) -> bool:
        if sizes is None or group.sizes != sizes:
            return False
        if len(sizes) <= 1 or not arrays or not group.arrays:
            return True
        return bool(arrays & group.arrays) and len(arrays | group.arrays) <= STREAMS

    def _stored(self, groups: list[Group]) -> dict[Any, Stored | None]:
        """Everything that is read in another nest than its own, or at another place."""
        home = {root: number for number, group in enumerate(groups) for root in group.roots}
        stored: dict[Any, Stored | None] = {}
        for root in home:
            if root in self.targets:
                stored[root] = self.targets[root]
            elif isinstance(root, Loop):
                stored.update({r: self.targets.get(r) for r in root.results})
            elif isinstance(root, (Call, Join, Cumulate)) or (isinstance(root, Reduce) and root.shape):
                stored[root] = None
        for root, needs in self.needs.items():
            for maker, near in needs:
                if isinstance(maker, Map) and maker.shape and not (near and home[maker] == home[root]):
                    stored.setdefault(maker, None)
        return stored


def _copy(node: Node) -> Map:
    return Map(
        shape=node.shape,
        dtype=node.dtype,
        operation="astype",
        operands=(node,),
        params={"dtype": node.dtype},
        name=f"{node.name}_copy",
    )


def _base(node: Node) -> Node:
    while isinstance(node, (View, Place)):
        node = node.source
    return node


def _real(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(n for n in shape if n != 1)
