"""Sums of products: matrix products, einsum and plain sums, taken apart where that saves work.

Σ_ij (a_i b_j)² is written by programs as a matrix and its sum of squares; here it becomes (Σ_i a_i²)(Σ_j b_j²). A
factor that does not depend on a summed axis leaves the sum, factors without a common axis are summed apart, and a sum
over an array that is zero but at one index is its value there.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from math import prod
from typing import Any

import numpy as np

from fwdgrad.engines.compiled_engine.indices import Affine, Axis, Datum, fresh
from fwdgrad.engines.compiled_engine.matrices import matrix_product
from fwdgrad.engines.compiled_engine.nodes import Literal, Map, Node, Place, Reduce, View

__all__ = ["Sums"]

Index = tuple[Affine, ...]
Factor = tuple[Node, Index]


class Sums:
    """Makes `Reduce` nodes; equal sums are made once."""

    def __init__(self) -> None:
        self._known: dict[Any, Node] = {}

    def einsum(self, subscripts: str, operands: Sequence[Node], dtype: np.dtype, **label: Any) -> Node:
        """Einstein summation; of three operands or more pair by pair, in the order that NumPy would choose."""
        left, output = subscripts.split("->")
        letters = left.split(",")
        if len(operands) > 2:
            samples = [np.broadcast_to(np.zeros(()), o.shape) for o in operands]
            path = np.einsum_path(subscripts, *samples, optimize="greedy")[0][1:]
            terms = list(zip(letters, operands, strict=True))
            for step, pair in enumerate(path):
                taken = [terms.pop(k) for k in sorted(pair, reverse=True)]
                wanted = set(output).union(*(t for t, _ in terms))
                used = dict.fromkeys("".join(t for t, _ in taken))
                result = output if not terms else "".join(c for c in used if c in wanted)
                name = label["name"] if not terms else f"{label['name']}_part{step + 1}"
                made = self.einsum(
                    ",".join(t for t, _ in taken) + "->" + result,
                    [o for _, o in taken],
                    dtype,
                    **{**label, "name": name},
                )
                terms.append((result, made))
            return terms[0][1]
        axes: dict[str, Axis] = {}
        for text, operand in zip(letters, operands, strict=True):
            for letter, size in zip(text, operand.shape, strict=True):
                axes.setdefault(letter, Axis(size))
        factors = tuple((o, tuple(Affine.of(axes[c]) for c in text)) for text, o in zip(letters, operands, strict=True))
        out = tuple(axes[c] for c in output)
        return self.sum(factors, out, tuple(a for c, a in axes.items() if c not in output), dtype, **label)

    def matmul(self, a: Node, b: Node, dtype: np.dtype, **label: Any) -> Node:
        """Matrix product, with NumPy's rules for vectors and stacks."""
        batch = fresh(np.broadcast_shapes(a.shape[:-2], b.shape[:-2]))
        inner = Axis(a.shape[-1])
        left = (Axis(a.shape[-2]),) if len(a.shape) > 1 else ()
        right = (Axis(b.shape[-1]),) if len(b.shape) > 1 else ()

        def stack(x: Node) -> Index:
            own = x.shape[:-2]
            return tuple(
                Affine() if n == 1 else Affine.of(axis)
                for n, axis in zip(own, batch[len(batch) - len(own) :], strict=True)
            )

        first = (*stack(a), *map(Affine.of, left), Affine.of(inner))
        second = (*stack(b), Affine.of(inner), *map(Affine.of, right))
        return self.sum(((a, first), (b, second)), (*batch, *left, *right), (inner,), dtype, **label)

    def sum(
        self, factors: tuple[Factor, ...], out: tuple[Axis, ...], over: tuple[Axis, ...], dtype: np.dtype, **label: Any
    ) -> Node:
        """Σ over the axes `over` of the product of `factors`, an array over the axes `out`."""
        factors, over = _unflattened(factors, over)
        if dtype.kind == "f":
            parts, rest = self._flatten(factors, set(over), dtype)
            groups = _groups(parts, rest)
            space = prod(a.size for a in (*out, *over))
            spaces = [prod(a.size for a in _axes_of(group, rest | set(out))) for group, _ in groups]
            if all(s < space for s in spaces):
                return self._product(groups, parts, rest, set(over), out, dtype, label)
        return self._reduce(factors, out, over, dtype, label)

    def _reduce(
        self, factors: tuple[Factor, ...], out: Sequence[Axis], over: Sequence[Axis], dtype: np.dtype, label: Any
    ) -> Node:
        number: dict[Axis, Affine] = {}
        for axis in (*out, *over):
            if axis.size != 1:
                number[axis] = Affine.of(_KEY.setdefault((len(number), axis.size), Axis(axis.size)))
        key = (
            tuple(a.size for a in out),
            tuple(a.size for a in over),
            dtype,
            tuple((n, tuple(i.replaced(number) for i in at)) for n, at in factors),
        )
        if key not in self._known:
            product = matrix_product(factors, tuple(out), over, dtype, label)
            if product is not None:
                self._known[key] = product
                return product
            place = tuple(Affine.of(a) for a in out)
            axes = tuple(a for a in (*out, *over) if a.size != 1)
            self._known[key] = Reduce(
                shape=tuple(a.size for a in out),
                dtype=dtype,
                kind="sum",
                axes=loop_order(axes, factors, place),
                over=frozenset(over),
                out=place,
                factors=factors,
                **label,
            )
        return self._known[key]

    def _flatten(self, factors: tuple[Factor, ...], over: set[Axis], dtype: np.dtype) -> tuple[list[Factor], set[Axis]]:
        """Products of products as one list; a summed axis on which an index picks one value is replaced by it."""
        parts: list[Factor] = []
        picked: dict[Axis, Affine] = {}
        todo = list(reversed(factors))
        while todo:
            node, at = todo.pop()
            at = tuple(i.replaced(picked) for i in at)
            if isinstance(node, View):
                todo.append((node.source, node.index(at)))
            elif isinstance(node, Literal):
                if node.value != 1:
                    parts.append((Literal(shape=(), dtype=node.dtype, value=node.value, weak=node.weak), ()))
            elif isinstance(node, Map) and node.operation == "multiply" and node.dtype == dtype:
                todo += [(o, _within(o, at)) for o in reversed(node.operands)]
            elif isinstance(node, Place) and all(a == b for a, b in node.conditions(at)):
                todo.append((node.source, node.index(at)))
            elif isinstance(node, Place) and (one := _picked(node, at, over - set(picked))) is not None:
                picked |= one
                todo.append((node.source, node.index(tuple(i.replaced(picked) for i in at))))
            else:
                parts.append((node, at))
        return [(n, tuple(i.replaced(picked) for i in at)) for n, at in parts], over - set(picked)

    def _product(
        self,
        groups: list[tuple[list[Factor], set[Axis]]],
        parts: list[Factor],
        rest: set[Axis],
        over: set[Axis],
        out: tuple[Axis, ...],
        dtype: np.dtype,
        label: Any,
    ) -> Node:
        """The product of separate sums, and of what is not summed."""
        made: list[Factor] = [p for p in parts if not _axes_of([p], rest)]
        for number, (group, summed) in enumerate(groups):
            kept = tuple(a for a in out if a.size != 1 and a in _axes_of(group, set(out)))
            named = {**label, "name": f"{label['name']}_sum{number + 1}"}
            one = self._reduce(tuple(group), kept, tuple(summed), dtype, named)
            made.append((one, tuple(Affine.of(a) for a in kept)))
        used = {a for group, summed in groups for a in summed}
        repeats = prod(a.size for a in rest - used)
        result: Node | None = None
        if repeats != 1:
            result = Literal(shape=(), dtype=dtype, value=float(repeats), weak=True)
        for node, at in made:
            result = self._times(result, self._over(node, at, out), dtype, label)
        shape = tuple(a.size for a in out)
        if result is None or (result.shape, result.dtype) != (shape, dtype) or isinstance(result, Literal):
            result = self._times(result, Literal(shape=shape, dtype=dtype, value=1.0), dtype, label)
        return result

    def _times(self, a: Node | None, b: Node, dtype: np.dtype, label: Any) -> Node:
        if a is None:
            return b
        shape = np.broadcast_shapes(a.shape, b.shape)
        return Map(shape=shape, dtype=dtype, operation="multiply", operands=(a, b), **label)

    def _over(self, node: Node, at: Index, out: tuple[Axis, ...]) -> Node:
        """A factor as an array that broadcasts over `out`."""
        if not node.shape or isinstance(node, Literal):
            return node
        places = [Affine.of(a) for a in out]
        shape = tuple(a.size if any(a in i.axes() for i in at) else 1 for a in out)
        if at == tuple(p for p, n in zip(places, shape, strict=True) if n != 1) and node.shape == shape:
            return node

        def index(where: Index) -> Index:
            by = dict(zip(out, where, strict=True))
            return tuple(i.replaced(by) for i in at)

        return View(shape=shape, dtype=node.dtype, source=node, index=index, read=_data(at))


_KEY: dict[tuple[int, int], Axis] = {}
"""One axis for each place and size, so that sums that differ in the identity of their axes only have equal keys."""


def _data(at: Index) -> tuple[Node, ...]:
    return tuple(atom.node for i in at for atom, _ in i.terms if isinstance(atom, Datum))


def _within(operand: Node, at: Index) -> Index:
    """The index of an operand that broadcasts to what is read at `at`."""
    own = at[len(at) - len(operand.shape) :]
    return tuple(Affine() if n == 1 else i for n, i in zip(operand.shape, own, strict=True))


def _picked(node: Place, at: Index, over: set[Axis]) -> dict[Axis, Affine] | None:
    """The summed axes that the conditions of a `Place` fix, with their values, if each condition fixes one."""
    found: dict[Axis, Affine] = {}
    for a, b in node.conditions(at):
        fixed = _fixed(a, b, over) or _fixed(b, a, over)
        if fixed is None or fixed[0] in found:
            return None
        found[fixed[0]] = fixed[1]
    return found or None


def _fixed(one: Affine, value: Affine, over: set[Axis]) -> tuple[Axis, Affine] | None:
    """A summed axis and the one value that ``one == value`` leaves it; None if that is not what the condition says."""
    atom = one.terms[0][0] if one.terms else None
    plain = len(one.terms) == 1 and one.terms[0][1] == 1 and not one.constant and isinstance(atom, Axis)
    if not plain or atom not in over or value.axes() & over:
        return None
    least, most = value.bounds()
    return (atom, value) if least >= 0 and most < atom.size else None


def _axes_of(factors: Sequence[Factor], among: set[Axis]) -> set[Axis]:
    return {a for _, at in factors for i in at for a in i.axes()} & among


def _groups(parts: list[Factor], rest: set[Axis]) -> list[tuple[list[Factor], set[Axis]]]:
    """The factors that depend on summed axes, in groups that have no summed axis in common."""
    groups: list[tuple[list[Factor], set[Axis]]] = []
    for part in parts:
        axes = _axes_of([part], rest)
        if not axes:
            continue
        members, joined = [part], axes
        apart = []
        for group, own in groups:
            if own & joined:
                members, joined = group + members, own | joined
            else:
                apart.append((group, own))
        groups = [*apart, (members, joined)]
    return groups


def _unflattened(factors: tuple[Factor, ...], over: tuple[Axis, ...]) -> tuple[tuple[Factor, ...], tuple[Axis, ...]]:
    """Summed axes that run over a flattened array replaced by the axes of that array."""
    axes: list[Axis] = []
    by: dict[Axis, Affine] = {}
    for axis in over:
        shape = next(
            (
                n.source.shape
                for n, at in factors
                if isinstance(n, View) and n.contiguous and len(n.shape) == 1 and at == (Affine.of(axis),)
            ),
            None,
        )
        if shape is None or axis.size <= 1:
            axes.append(axis)
            continue
        new = fresh(shape)
        axes += new
        place = Affine()
        for number, a in enumerate(new):
            place = place + Affine.of(a) * prod(shape[number + 1 :])
        by[axis] = place
    return tuple((n, tuple(i.replaced(by) for i in at)) for n, at in factors), tuple(axes)


def loop_order(axes: tuple[Axis, ...], factors: Sequence[Factor], out: Index) -> tuple[Axis, ...]:
    """Loops such that the innermost one goes through memory in order, and results stay in registers if possible."""
    if not 1 < len(axes) <= 5:
        return axes
    arrays = [(node.size, [i.axes() for i in at]) for node, at in map(_base, factors)]
    arrays.append((prod(a.size for i in out for a in i.axes()), [i.axes() for i in out]))
    arrays = [(size, where) for size, where in arrays if any(where)]
    kept = {a for i in out for a in i.axes()}

    def cost(order: tuple[Axis, ...]) -> tuple[int, int]:
        inner = order[-1]
        strided = sum(4 for _, where in arrays if any(inner in w for w in where[:-1]) and inner not in where[-1])
        buffered = int(set(order[: len(kept)]) != kept)
        turned = sum(
            size
            for size, where in arrays
            for k, one in enumerate(where)
            for other in where[k + 1 :]
            for a in one
            for b in other
            if order.index(b) < order.index(a)
        )
        return strided + buffered, turned

    return min(permutations(axes), key=cost)


def _base(factor: Factor) -> Factor:
    node, at = factor
    return _base((node.source, node.index(at))) if isinstance(node, View) else factor
