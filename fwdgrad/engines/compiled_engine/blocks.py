"""A block of source: a program's groups in order, nest after nest. The body of a loop in a program is a block too."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from fwdgrad.engines.compiled_engine import moves, pointwise
from fwdgrad.engines.compiled_engine.body import Body
from fwdgrad.engines.compiled_engine.building import Constants, build
from fwdgrad.engines.compiled_engine.indices import Affine, Axis, flat
from fwdgrad.engines.compiled_engine.names import LOOPS, REFUSED, Names
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
    Root,
    Stored,
    Until,
    View,
    known,
)
from fwdgrad.engines.compiled_engine.planning import Group, plan
from fwdgrad.engines.compiled_engine.pointwise import Scalar
from fwdgrad.engines.compiled_engine.reading import place
from fwdgrad.engines.compiled_engine.reductions import begin, write_reduction
from fwdgrad.engines.compiled_engine.statements import Statement
from fwdgrad.engines.compiled_engine.unsupported import UnsupportedOperation
from fwdgrad.program.roots import ITERATIONS, ROUNDING

__all__ = ["Block", "Shared"]

REFUSING = ("band_factors", "inv", "solve")
"""Helpers that say whether they failed."""


class Shared:
    """What all blocks of one function have in common: names, constants, and the arrays they work in."""

    def __init__(self) -> None:
        self.names = Names()
        self.constants = Constants()
        self.work: dict[str, tuple[np.dtype, int]] = {}


class Block:
    """Statements that compute the outputs of a program and write them to their places.

    Args:
        shared: see `Shared`.
        outputs: nodes, each with the memory it is wanted in; None for a number that is only asked for (`number`).
        tests: booleans; where one is True, what the block computes does not count (`REFUSED`).
    """

    def __init__(
        self, shared: Shared, outputs: Sequence[tuple[Node, Stored | None]], tests: Sequence[Node] = ()
    ) -> None:
        self.shared, self.names = shared, shared.names
        self.lines: list[str] = []
        self.nests = 0
        self._numbers: dict[Node, Scalar] = {}
        self._places: dict[Node, tuple[str, Affine]] = {}
        self._once: dict[str, str] = {}
        outputs = [*outputs, *((test, None) for test in tests)]
        self._planned = plan(outputs)
        self._wanted = self._allocated()
        for group in self._planned.groups:
            self._group(group)
        texts = [(self.number(node), target) for node, target in self._planned.numbers]
        self.number_nodes = [node for node, target in outputs if target is None]
        for node in self.number_nodes:
            self.number(node)
        for test in tests:
            self.lines.append(f"{REFUSED} |= {pointwise.cast(self.number(test), test.dtype)}")
        for scalar, target in texts:
            self.lines.append(f"{self._at(target)} = {pointwise.cast(scalar, target.dtype)}")

    def _allocated(self) -> dict[Node, tuple[str, Affine]]:
        """A place for every stored value; new work arrays for those that are no outputs."""
        places = {}
        for node, target in self._planned.stored.items():
            if target is not None:
                places[node] = (target.buffer, target.base)
            elif node.shape:
                name = self.names.of(node, node.name)
                self.shared.work[name] = (node.dtype, node.size)
                places[node] = (name, Affine())
        return places

    # ---- what bodies ask for

    def number(self, node: Node) -> Scalar:
        """A value without axes, computed where it is first needed."""
        if isinstance(node, Literal):
            return Scalar("", node.dtype, node.value, node.weak)
        if node not in self._numbers:
            self._numbers[node] = self._computed(node)
        return self._numbers[node]

    def _computed(self, node: Node) -> Scalar:
        match node:
            case Named():
                return Scalar(node.name, node.dtype)
            case Stored():
                text = self._at(node)
            case Map():
                operands = [self.number(o) for o in node.operands]
                text = pointwise.expression(node.operation, operands, node.dtype, node.params)
            case View() if not node.source.shape:
                return self.number(node.source)
            case _:
                raise AssertionError(f"{type(node).__name__} {node.name} is needed before it is made")
        name = self.names.of(node, node.name)
        self.lines.append(f"{name} = {text}")
        return Scalar(name, node.dtype)

    def once(self, stem: str, text: str) -> str:
        """A local variable for an expression of numbers."""
        if text not in self._once:
            name = self._once[text] = self.names.of((self, text), stem)
            self.lines.append(f"{name} = {text}")
        return self._once[text]

    def in_memory(self, node: Node) -> bool:
        """Whether `node` is an array that can be read."""
        return isinstance(node, Stored) or node in self._places

    def place(self, node: Node) -> tuple[str, Affine]:
        """The buffer of an array, and where its first element stands."""
        return (node.buffer, node.base) if isinstance(node, Stored) else self._places[node]

    def wanted(self, node: Node) -> tuple[str, Affine] | None:
        """Where a value that is being made is to be written, if anywhere."""
        return self._wanted.get(node)

    def _at(self, node: Stored) -> str:
        return f"{node.buffer}[{Body(self, ()).index(node.base)[0]}]"

    # ---- groups

    def _group(self, group: Group) -> None:
        if group.sizes is None:
            (root,) = group.roots
            match root:
                case Join():
                    self._join(root)
                case Cumulate():
                    self._cumulate(root)
                case Root():
                    self._root(root)
                case Until():
                    self._until(root)
                case Call():
                    self._call(root)
                case Loop():
                    self._loop(root)
        else:
            self._nest(group)
        for root in group.roots:
            for node in root.results if isinstance(root, Loop) else (root,):
                if node in self._wanted:
                    self._places[node] = self._wanted[node]

    def body(self, sizes: Sequence[int]) -> Body:
        """A new nest."""
        if len(sizes) > len(LOOPS):
            raise UnsupportedOperation("an array", f"it has {len(sizes)} axes, more than {len(LOOPS)}")
        return Body(self, sizes)

    def _finish(self, body: Body) -> None:
        self.lines += body.lines()
        self.nests += bool(body.axes)

    def _nest(self, group: Group) -> None:
        assert group.sizes is not None
        body = self.body(group.sizes)
        for root in group.roots:
            if isinstance(root, Reduce):
                scalar = write_reduction(self, body, root)
                if scalar is not None:
                    self._numbers[root] = scalar
            elif not root.shape:
                text = pointwise.cast(body.compute(root, ()).scalar, root.dtype)
                name = self.names.of(root, root.name)
                body.before[0].append(Statement(name, text))
                self._numbers[root] = Scalar(name, root.dtype)
            else:
                self._store(body, root, root, place(root.shape, body.axes))
        self._finish(body)

    def _store(self, body: Body, value: Node, into: Node, at: tuple[Affine, ...], where: Affine | None = None) -> None:
        scalar = body.value(value, at).scalar
        wanted = self.wanted(into)
        if wanted is not None:
            text, _ = body.index(wanted[1] + (flat(at, into.shape) if where is None else where))
            body.stores[body.depth].append(Statement(f"{wanted[0]}[{text}]", pointwise.cast(scalar, into.dtype)))

    def _join(self, root: Join) -> None:
        if root.sparse:
            self.lines += begin(self, root, pointwise.literal(0, root.dtype))
        for part in root.parts:
            body = self.body([n for n in part.source.shape if n != 1])
            at = place(part.source.shape, body.axes)
            self._store(body, part.source, root, at, flat(part.index(at), root.shape))
            self._finish(body)

    def _cumulate(self, root: Cumulate) -> None:
        order = [k for k in range(len(root.shape)) if k != root.axis] + [root.axis]
        body = self.body([root.shape[k] for k in order])
        at = tuple(Affine.of(body.axes[order.index(k)]) for k in range(len(root.shape)))
        total = self.names.of((root, "sum"), f"{root.name}_sum")
        body.before[body.depth - 1].append(Statement(total, pointwise.literal(0, root.dtype), note=root.note))
        value = body.value(root.source, at).scalar
        text, _ = body.index(self._wanted[root][1] + flat(at, root.shape))
        body.before[body.depth].append(Statement(total, pointwise.cast(value, root.dtype), "+="))
        body.stores[body.depth].append(Statement(f"{self._wanted[root][0]}[{text}]", total))
        self._finish(body)

    def _call(self, root: Call) -> None:
        places = [(*self._wanted[root], root.size), *((*self.place(o), o.size) for o in root.operands)]
        arrays = [self._array(*p) for p in places]
        work = [self._worked(root, stem, (size,), dtype).buffer for stem, size, dtype in _work(root)]
        begin = f"{REFUSED} |= " if root.helper in REFUSING else ""
        self.lines.append(f"{begin}runtime.{root.helper}({', '.join([*arrays, *map(str, root.extra), *work])})")

    def _array(self, buffer: str, base: Affine, size: int) -> str:
        """An array as an argument."""
        if base == Affine():
            return buffer
        first = Body(self, ()).index(base)[0]
        return f"{buffer}[{first} : {first} + {size}]"

    def _root(self, root: Root) -> None:
        """Newton's iterations, each of which computes the residual and its Jacobian in a block of its own."""
        start, *captured = root.operands
        z = self._copied(start, root)
        nodes, tests = build(root.body, [z, *map(self._captured, captured)], self.shared.constants)
        targets = [
            self._worked(root, stem, node.shape) for stem, node in zip(("residual", "slopes"), nodes, strict=True)
        ]
        unknowns = self._array(z.buffer, z.base, z.size)
        sizes = self._worked(root, "sizes", root.shape).buffer
        largest = self.names.of((root, "largest"), f"{root.name}_largest")
        turn = self.names.of((root, "turn"), "turn")
        block = Block(self.shared, list(zip(nodes, targets, strict=True)), tests)
        self.nests += block.nests
        arguments = [unknowns, sizes, largest, *(t.buffer for t in targets), turn, str(ITERATIONS), str(ROUNDING)]
        if root.extra:
            pivots = self._worked(root, "pivots", root.shape).buffer
            arguments += [*map(str, root.extra), pivots]
        self.lines.append(f"{largest} = runtime.largest({unknowns})")
        self.lines.append(f"for {turn} in range({ITERATIONS}):  # {root.note}")
        self.lines += [f"    {line}" for line in block.lines]
        self.lines += [f"    if runtime.{root.helper}({', '.join(arguments)}):", "        break"]

    def _until(self, root: Until) -> None:
        """Turns, each of which computes z and the clock in a block of its own, over the ones before."""
        start, clock, *captured = root.operands
        z, ticks = self._copied(start, root), self._worked(root, "clock", clock.shape)
        body = self.body([n for n in clock.shape if n != 1])
        scalar = body.value(clock, place(clock.shape, body.axes)).scalar
        text, _ = body.index(flat(place(clock.shape, body.axes), clock.shape))
        body.stores[body.depth].append(Statement(f"{ticks.buffer}[{text}]", pointwise.cast(scalar, ticks.dtype)))
        self._finish(body)
        nodes, tests = build(root.body, [z, ticks, *map(self._captured, captured)], self.shared.constants)
        block = Block(self.shared, list(zip(nodes, (z, ticks), strict=True)), tests)
        self.nests += block.nests
        turn = self.names.of((root, "turn"), "turn")
        self.lines.append(f"for {turn} in range({root.extra[0]}):  # {root.note}")
        self.lines += [f"    {line}" for line in block.lines]
        self.lines += [f"    if {ticks.buffer}[0] > 0:", "        break"]

    def _worked(self, root: Node, stem: str, shape: tuple[int, ...], dtype: np.dtype | None = None) -> Stored:
        """A work array for what is computed on the way to `root`, of the same type if no other is given."""
        name = self.names.of((root, stem), f"{root.name}_{stem}")
        self.shared.work[name] = (dtype or root.dtype, prod(shape))
        return Stored(shape=shape, dtype=dtype or root.dtype, buffer=name, name=name)

    # ---- loops of programs

    def _loop(self, loop: Loop) -> None:
        state = [self._begun(loop, result) for result in loop.results[: loop.carried]]
        rows = loop.operands[loop.carried : loop.carried + loop.rows]
        step = Axis(rows[0].shape[0], self.names.of(loop, "step"))
        inputs: list[Node] = [*state]
        for row in rows:
            inputs.append(self._row(row, step))
        for captured in loop.operands[loop.carried + loop.rows :]:
            inputs.append(self._captured(captured))
        nodes, tests = build(loop.body, inputs, self.shared.constants)
        targets: list[Stored | None] = [s if isinstance(s, Stored) else None for s in state]
        for result in loop.results[loop.carried :]:
            buffer, base = self._wanted[result]
            inner = Stored(shape=result.shape[1:], dtype=result.dtype, buffer=buffer, name=result.name)
            inner.base = base + Affine.of(step) * inner.size
            targets.append(inner)
        block = Block(self.shared, list(zip(nodes, targets, strict=True)), tests)
        self.nests += block.nests
        lines = block.lines
        changed = [
            (s.name, pointwise.cast(block.number(node), s.dtype))
            for s, node in zip(state, nodes, strict=False)
            if isinstance(s, Named) and node is not s
        ]
        if changed:
            lines.append(f"{', '.join(n for n, _ in changed)} = {', '.join(text for _, text in changed)}")
        span = f"{step.size - 1}, -1, -1" if loop.reverse else f"{step.size}"
        self.lines.append(f"for {step.name} in range({span}):  # {loop.note}")
        self.lines += [f"    {line}" for line in lines or ["pass"]]

    def _begun(self, loop: Loop, result: Result) -> Node:
        """A carry before the first turn, as the input of the body."""
        operand = loop.operands[result.place]
        if not result.shape:
            name = self.names.of(result, result.name)
            self.lines.append(f"{name} = {pointwise.cast(self.number(operand), result.dtype)}")
            self._numbers[result] = Scalar(name, result.dtype)
            return Named(shape=(), dtype=result.dtype, name=name)
        return self._copied(operand, result)

    def _copied(self, operand: Node, into: Node) -> Stored:
        """An array that is changed from turn to turn, with what it begins as."""
        body = self.body([n for n in into.shape if n != 1])
        self._store(body, operand, into, place(into.shape, body.axes))
        self._finish(body)
        buffer, base = self._wanted[into]
        return Stored(shape=into.shape, dtype=into.dtype, buffer=buffer, base=base, name=into.name)

    def _row(self, row: Node, step: Axis) -> Node:
        if isinstance(row, Literal):
            return Literal(shape=row.shape[1:], dtype=row.dtype, value=row.value)
        if isinstance(row, Iota):
            text = Body(self, ()).index(Affine.of(step) * row.step + row.first)[0]
            text = text if row.dtype == np.int64 else f"np.{row.dtype.name}({text})"
            return Named(shape=(), dtype=row.dtype, name=text)
        if isinstance(row, Place):
            return moves.row(row, Affine.of(step))
        buffer, base = self.place(row)
        inner = Stored(shape=row.shape[1:], dtype=row.dtype, buffer=buffer, name=f"{row.name}_row")
        inner.base = base + Affine.of(step) * inner.size
        return inner

    def _captured(self, node: Node) -> Node:
        if known(node):
            return node
        if not node.shape:
            scalar = self.number(node)
            return Named(shape=(), dtype=node.dtype, name=scalar.text)
        buffer, base = self.place(node)
        return Stored(shape=node.shape, dtype=node.dtype, buffer=buffer, base=base, name=node.name)


def _work(root: Call) -> list[tuple[str, int, np.dtype]]:
    """What a helper needs to work in: names, lengths, and types."""
    match root.helper:
        case "argsort":
            return [("spare", root.extra[0], np.dtype(np.int64))]
        case "inv" | "det" | "solve":
            return [("reduced", root.extra[0] ** 2, root.dtype)]
        case "singular":
            return [("rows", root.operands[0].size, root.dtype)]
        case "cholesky_update":
            return [("below", root.operands[1].size, root.dtype), ("seen", root.extra[0], root.dtype)]
    return []
