"""How dependence passes through each core operation: one rule per operation.

A `Trail` is what is known of a variable: on what its entries depend (`depends`), on what they depend in a way that is
not affine with constant coefficients (`varies`), and which entries are zero whatever the values (`zero`). Rules follow
derivatives: ∂out/∂source can be non-zero only where `depends` says so. They never under-estimate; where an exact rule
would cost too much they over-estimate, and an operation without a rule makes every output depend on every input.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from fwdgrad.program.operations import Pointwise
from fwdgrad.program.program import Constant, Instruction, Variable
from fwdgrad.structure.dependence import Dependence

__all__ = ["RULES", "Trail", "follow"]

EXPANSION = 20_000_000
"""Largest product space that is enumerated to make use of known zeros."""


@dataclass(frozen=True)
class Trail:
    """What is known of a variable. Entries are in C order."""

    shape: tuple[int, ...]
    depends: Dependence
    varies: Dependence
    zero: np.ndarray | None = None
    """True where an entry is zero whatever the values, shape (N,); None if none is known to be."""
    value: Any = None
    """The value, of a constant."""

    @property
    def size(self) -> int:
        """N."""
        return int(np.prod(self.shape, dtype=int))

    @property
    def nonzero(self) -> np.ndarray:
        """True where an entry may be other than zero."""
        return np.ones(self.size, bool) if self.zero is None else ~self.zero

    def take(self, entries: np.ndarray, shape: tuple[int, ...]) -> Trail:
        """An array made of some entries of this one."""
        zero = None if self.zero is None else self.zero[entries]
        return Trail(shape, self.depends.take(entries), self.varies.take(entries), _some(zero))


def constant(value: Any, sources: int) -> Trail:
    """The trail of a constant."""
    array = np.asarray(value)
    nothing = Dependence.nothing(array.size, sources)
    return Trail(array.shape, nothing, nothing, _some(array.ravel() == 0), value)


def _some(zero: np.ndarray | None) -> np.ndarray | None:
    return zero if zero is not None and zero.any() else None


def _grid(shape: tuple[int, ...]) -> np.ndarray:
    """The number of each entry, in the array's shape."""
    return np.arange(int(np.prod(shape, dtype=int))).reshape(shape)


def _broadcast(trail: Trail, shape: tuple[int, ...]) -> Trail:
    if trail.shape == shape:
        return trail
    return trail.take(np.broadcast_to(_grid(trail.shape), shape).ravel(), shape)


Rule = Callable[[list[Trail], Instruction], Trail]
RULES: dict[str, Rule] = {}
"""Operation → rule."""


def follow(trails: list[Trail], instruction: Instruction, steady: np.ndarray) -> tuple[list[Trail], str | None]:
    """Trails of an instruction's outputs, and the name of its operation if it has no rule.

    Args:
        trails: those of the operands.
        instruction: what is done with them.
        steady: True for the sources whose dependence also passes through operations without a derivative (inputs).
    """
    operation = instruction.operation
    if operation.name in RULES:
        return [RULES[operation.name](trails, instruction)], None
    if isinstance(operation, Pointwise):
        return [_pointwise(trails, instruction, steady)], None
    if operation.name in _FLAT:
        return [_without_derivative(trails, out.shape, steady) for out in instruction.outputs], None
    made = []
    for out in instruction.outputs:
        size = int(np.prod(out.shape, dtype=int))
        whole = _union_all([t.depends.everything(size) for t in trails])
        made.append(Trail(out.shape, whole, whole))
    return made, operation.name


_FLAT = {"any", "all", "argsort", "argmax", "argmin", "searchsorted", "stop_gradient"}
"""Operations whose derivative is zero."""


def _union_all(parts: Sequence[Dependence]) -> Dependence:
    total = parts[0]
    for part in parts[1:]:
        total = total.union(part)
    return total


def _without_derivative(trails: list[Trail], shape: tuple[int, ...], steady: np.ndarray) -> Trail:
    size = int(np.prod(shape, dtype=int))
    whole = _union_all([t.depends.everything(size) for t in trails]).columns(steady)
    return Trail(shape, whole, whole)


# ---------------------------------------------------------------- pointwise operations


def _pointwise(trails: list[Trail], instruction: Instruction, steady: np.ndarray) -> Trail:
    operation, shape = instruction.operation, instruction.outputs[0].shape
    assert isinstance(operation, Pointwise)
    wide = [_broadcast(t, shape) for t in trails]
    depends = _union_all([t.depends for t in wide])
    if not operation.differentiable:
        depends = depends.columns(steady)
        return Trail(shape, depends, depends)
    if operation.name in _POINTWISE:
        return _POINTWISE[operation.name](wide, trails, shape)
    return Trail(shape, depends, depends, _some(wide[0].zero) if operation.name in _ZERO_TO_ZERO else None)


_ZERO_TO_ZERO = {"tanh", "sin", "arcsin", "arctan", "sinh", "arcsinh", "arctanh", "sqrt", "cbrt", "absolute", "expm1"}
_ZERO_TO_ZERO |= {"log1p", "erf", "tan"}


def _add(wide: list[Trail], _: list[Trail], shape: tuple[int, ...]) -> Trail:
    zero = None if wide[0].zero is None or wide[1].zero is None else wide[0].zero & wide[1].zero
    return Trail(shape, wide[0].depends.union(wide[1].depends), wide[0].varies.union(wide[1].varies), _some(zero))


def _multiply(wide: list[Trail], _: list[Trail], shape: tuple[int, ...]) -> Trail:
    x, y = wide
    live = x.nonzero & y.nonzero
    depends = x.depends.union(y.depends).where(live)
    affine = x.depends.empty or y.depends.empty  # one factor is a constant
    varies = x.varies.union(y.varies).where(live) if affine else depends
    return Trail(shape, depends, varies, _some(~live))


def _divide(wide: list[Trail], _: list[Trail], shape: tuple[int, ...]) -> Trail:
    x, y = wide
    depends = x.depends.union(y.depends).where(x.nonzero)
    varies = x.varies.where(x.nonzero) if y.depends.empty else depends
    return Trail(shape, depends, varies, x.zero)


def _same(wide: list[Trail], _: list[Trail], shape: tuple[int, ...]) -> Trail:
    return Trail(shape, wide[0].depends, wide[0].varies, wide[0].zero)


def _power(wide: list[Trail], narrow: list[Trail], shape: tuple[int, ...]) -> Trail:
    depends = wide[0].depends.union(wide[1].depends)
    if narrow[1].value is not None:  # x⁰ is constant, and 0 to a positive power is 0
        power = np.broadcast_to(np.asarray(narrow[1].value), shape).ravel()
        depends = depends.where((power != 0) & (wide[0].nonzero | (power <= 0)))
        return Trail(shape, depends, depends, _some(~wide[0].nonzero & (power > 0)))
    return Trail(shape, depends, depends)


def _where(wide: list[Trail], narrow: list[Trail], shape: tuple[int, ...]) -> Trail:
    condition, x, y = wide
    if narrow[0].value is not None:  # a constant condition chooses once and for all
        chosen = np.broadcast_to(np.asarray(narrow[0].value), shape).ravel().astype(bool)
        nonzero = np.where(chosen, x.nonzero, y.nonzero)
        return Trail(
            shape,
            x.depends.where(chosen).union(y.depends.where(~chosen)),
            x.varies.where(chosen).union(y.varies.where(~chosen)),
            _some(~nonzero),
        )
    depends = x.depends.union(y.depends).union(condition.depends)
    zero = None if x.zero is None or y.zero is None else x.zero & y.zero
    return Trail(shape, depends, depends, _some(zero))


_POINTWISE: dict[str, Callable[[list[Trail], list[Trail], tuple[int, ...]], Trail]] = {
    "add": _add,
    "subtract": _add,
    "multiply": _multiply,
    "divide": _divide,
    "negative": _same,
    "astype": _same,
    "power": _power,
    "where": _where,
}


# ---------------------------------------------------------------- shapes


def _rule(name: str) -> Callable[[Rule], Rule]:
    def register(rule: Rule) -> Rule:
        RULES[name] = rule
        return rule

    return register


@_rule("reshape")
def _reshape(trails: list[Trail], ins: Instruction) -> Trail:
    """The same entries."""
    x = trails[0]
    return Trail(ins.params["shape"], x.depends, x.varies, x.zero)


@_rule("transpose")
def _transpose(trails: list[Trail], ins: Instruction) -> Trail:
    """The same entries in another order."""
    grid = np.transpose(_grid(trails[0].shape), ins.params["axes"])
    return trails[0].take(grid.ravel(), grid.shape)


@_rule("broadcast_to")
def _broadcast_to(trails: list[Trail], ins: Instruction) -> Trail:
    """The same entries, repeated."""
    return _broadcast(trails[0], ins.params["shape"])


@_rule("concatenate")
def _concatenate(trails: list[Trail], ins: Instruction) -> Trail:
    """Entries of all operands, each from its own."""
    starts = np.cumsum([0, *(t.size for t in trails)])
    grid = np.concatenate([_grid(t.shape) + s for t, s in zip(trails, starts, strict=False)], ins.params["axis"])
    zero = np.concatenate([~t.nonzero for t in trails])
    whole = Trail((int(starts[-1]),), _stack([t.depends for t in trails]), _stack([t.varies for t in trails]), zero)
    return whole.take(grid.ravel(), grid.shape)


def _stack(parts: list[Dependence]) -> Dependence:
    offsets = np.cumsum([0, *(p.rows.shape[0] for p in parts)])
    index = np.concatenate([p.index + o for p, o in zip(parts, offsets, strict=False)])
    return Dependence(index, sp.csr_array(sp.vstack([p.rows for p in parts], format="csr"), dtype=bool))


# ---------------------------------------------------------------- indexing


def _places(shape: tuple[int, ...], index: Any, operands: Sequence[Trail]) -> tuple[np.ndarray, np.ndarray]:
    """For each entry of x[index]: the entries of x it may be. Two arrays (entry of the result, entry of x).

    An index that is not constant may take any value along its axis.
    """
    made: list[Any] = []
    free: list[int] = []  # axes of x along which anything may be chosen
    rest = iter(operands)
    axis = 0
    for entry in index:
        if entry[0] == "new":
            made.append(None)
            continue
        if entry[0] == "slice":
            made.append(slice(*entry[1:]))
        elif entry[0] == "int":
            made.append(entry[1])
        else:
            operand = next(rest)
            if operand.value is not None:
                made.append(np.asarray(operand.value))
            else:
                made.append(np.zeros(operand.shape, np.intp))
                free.append(axis)
        axis += 1
    grid = _grid(shape)
    chosen = grid[tuple(made)]
    strides = [int(np.prod(shape[a + 1 :], dtype=int)) for a in free]
    spread = np.zeros(1, np.intp)
    for a, stride in zip(free, strides, strict=True):
        spread = (spread[:, None] + np.arange(shape[a]) * stride).ravel()
    result = np.repeat(np.arange(chosen.size), len(spread))
    return result, (chosen.reshape(-1, 1) + spread).ravel()


@_rule("getitem")
def _getitem(trails: list[Trail], ins: Instruction) -> Trail:
    """Each entry from the entry it is taken from, or from all that a variable index may choose; and from the index."""
    x, *indices = trails
    shape = ins.outputs[0].shape
    result, source = _places(x.shape, ins.params["index"], indices)
    count = int(np.prod(shape, dtype=int))
    if len(result) == count:
        return x.take(source, shape)
    depends = x.depends.selected(result, source, count)
    varies = x.varies.selected(result, source, count)
    for index in indices:
        if not index.depends.empty:
            whole = index.depends.everything(count)
            # which entry is taken varies with the index, so nothing read through it has a constant coefficient
            depends, varies = depends.union(whole), depends.union(whole)
    zero = np.ones(count, bool)
    np.logical_and.at(zero, result, ~x.nonzero[source])
    return Trail(shape, depends, varies, _some(zero))


@_rule("scatter_add")
def _scatter_add(trails: list[Trail], ins: Instruction) -> Trail:
    """Each place from the entries that are, or may be, added there."""
    x, *indices = trails
    shape = ins.params["shape"]
    entry, place = _places(shape, ins.params["index"], indices)
    count = int(np.prod(shape, dtype=int))
    zero = np.ones(count, bool)
    np.logical_and.at(zero, place, ~x.nonzero[entry])
    return Trail(shape, x.depends.selected(place, entry, count), x.varies.selected(place, entry, count), _some(zero))


# ---------------------------------------------------------------- reductions and products


def _reduced(x: Trail, axes: tuple[int, ...], linear: bool) -> Trail:
    shape = tuple(s for k, s in enumerate(x.shape) if k not in axes)
    kept = tuple(1 if k in axes else s for k, s in enumerate(x.shape))
    groups = np.broadcast_to(_grid(kept), x.shape).ravel()
    count = int(np.prod(shape, dtype=int))
    live = np.where(x.nonzero, groups, -1) if linear else groups
    depends = x.depends.merged(live, count)
    zero = None
    if linear and x.zero is not None:
        zero = np.bincount(groups, x.nonzero, count) == 0
    return Trail(shape, depends, x.varies.merged(live, count) if linear else depends, _some(zero))


@_rule("sum")
def _sum(trails: list[Trail], ins: Instruction) -> Trail:
    """All that are summed."""
    return _reduced(trails[0], ins.params["axes"], linear=True)


@_rule("max")
@_rule("min")
def _extreme(trails: list[Trail], ins: Instruction) -> Trail:
    """All that are compared."""
    return _reduced(trails[0], ins.params["axes"], linear=False)


@_rule("cumsum")
def _cumsum(trails: list[Trail], ins: Instruction) -> Trail:
    """All up to the entry."""
    x, axis = trails[0], ins.params["axis"]
    length = x.shape[axis]
    later, earlier = np.nonzero(np.tri(length, dtype=bool))
    grid = np.moveaxis(_grid(x.shape), axis, 0)
    groups, entries = grid[later].ravel(), grid[earlier].ravel()
    return Trail(x.shape, x.depends.selected(groups, entries, x.size), x.varies.selected(groups, entries, x.size), None)


@_rule("matmul")
def _matmul(trails: list[Trail], ins: Instruction) -> Trail:
    """Entry (i, k) from a_ij and b_jk for all j where neither is known to be zero."""
    a, b = trails
    ranks = len(a.shape), len(b.shape)
    if ranks == (2, 1):
        return _contract(trails, "ij,j->i", ins)
    if ranks == (1, 2):
        return _contract(trails, "j,jk->k", ins)
    if ranks == (1, 1):
        return _contract(trails, "j,j->", ins)
    batch = "pqrst"[: max(ranks) - 2]
    left = batch[max(ranks) - ranks[0] :] + ("ij" if ranks[0] > 1 else "j")
    right = batch[max(ranks) - ranks[1] :] + ("jk" if ranks[1] > 1 else "j")
    if ranks[0] > 2 or ranks[1] > 2:  # stacks of matrices broadcast
        stack = ins.outputs[0].shape[: max(ranks) - 2]
        a = _broadcast(a, stack + a.shape[-2:]) if ranks[0] > 1 else a
        b = _broadcast(b, stack + b.shape[-2:]) if ranks[1] > 1 else b
        left = batch + "ij" if ranks[0] > 1 else "j"
        right = batch + "jk" if ranks[1] > 1 else "j"
    out = batch + ("i" if ranks[0] > 1 else "") + ("k" if ranks[1] > 1 else "")
    return _contract([a, b], f"{left},{right}->{out}", ins)


@_rule("einsum")
def _einsum(trails: list[Trail], ins: Instruction) -> Trail:
    """Every factor of every term of the sum that is not known to be zero."""
    return _contract(trails, ins.params["subscripts"], ins)


def _contract(trails: list[Trail], subscripts: str, ins: Instruction) -> Trail:
    left, out = subscripts.split("->")
    letters = left.split(",")
    sizes = {c: s for word, t in zip(letters, trails, strict=True) for c, s in zip(word, t.shape, strict=True)}
    shape = tuple(sizes[c] for c in out)
    count = int(np.prod(shape, dtype=int))
    space = int(np.prod(list(sizes.values()), dtype=float))
    zeros = any(t.zero is not None for t in trails)
    if zeros and space <= EXPANSION:
        parts = _terms(trails, letters, out, sizes, count)
    else:  # no known zeros, or too many terms: each factor reaches every entry that its free letters allow
        parts = [_factor(t, word, out, sizes, count) for t, word in zip(trails, letters, strict=True)]
    depends = _union_all([p[0] for p in parts])
    moving = sum(not t.depends.empty for t in trails)
    varies = depends if moving > 1 else _union_all([p[1] for p in parts])
    zero = None
    if zeros and space <= EXPANSION:
        hits = np.einsum(subscripts, *(t.nonzero.reshape(t.shape).astype(np.float64) for t in trails))
        zero = np.asarray(hits).ravel() == 0
    return Trail(shape, depends, varies, _some(zero))


def _factor(t: Trail, word: str, out: str, sizes: dict[str, int], count: int) -> tuple[Dependence, Dependence]:
    """What one factor contributes if every other is dense: summed over its lost letters, spread over the others."""
    lost = tuple(k for k, c in enumerate(word) if c not in out)
    reduced = _reduced(t, lost, linear=True)
    kept = [c for c in word if c in out]
    grid = _grid(reduced.shape)
    order = sorted(range(len(kept)), key=lambda k: out.index(kept[k]))
    grid = np.transpose(grid, order).reshape(tuple(sizes[c] if c in kept else 1 for c in out))
    entries = np.broadcast_to(grid, tuple(sizes[c] for c in out)).ravel()
    return reduced.depends.take(entries), reduced.varies.take(entries)


def _terms(
    trails: list[Trail], letters: list[str], out: str, sizes: dict[str, int], count: int
) -> list[tuple[Dependence, Dependence]]:
    """What each factor contributes through the terms of the sum in which no factor is known to be zero."""
    every = list(sizes)
    live = np.ones([sizes[c] for c in every], bool)
    grids = []
    for t, word in zip(trails, letters, strict=True):
        order = sorted(range(len(word)), key=lambda k: every.index(word[k]))
        shape = tuple(sizes[c] if c in word else 1 for c in every)
        grids.append(np.transpose(_grid(t.shape), order).reshape(shape))
        live &= np.transpose(t.nonzero.reshape(t.shape), order).reshape(shape)
    target = np.transpose(
        _grid(tuple(sizes[c] for c in out)), sorted(range(len(out)), key=lambda k: every.index(out[k]))
    ).reshape(tuple(sizes[c] if c in out else 1 for c in every))
    where = np.nonzero(live)
    groups = np.broadcast_to(target, live.shape)[where]
    made = []
    for t, grid in zip(trails, grids, strict=True):
        entries = np.broadcast_to(grid, live.shape)[where]
        made.append((t.depends.selected(groups, entries, count), t.varies.selected(groups, entries, count)))
    return made


@_rule("inv")
@_rule("det")
@_rule("solve")
def _linear_algebra(trails: list[Trail], ins: Instruction) -> Trail:
    """Everything, since the inverse of a sparse matrix is dense."""
    shape = ins.outputs[0].shape
    whole = _union_all([t.depends.everything(int(np.prod(shape, dtype=int))) for t in trails])
    return Trail(shape, whole, whole)


def trails_of(program: Any, first: Sequence[Dependence | None], steady: np.ndarray) -> tuple[list[Trail], list[str]]:
    """Trails of a program's outputs, and the operations that had no rule.

    Args:
        program: any program.
        first: what each input depends on; None for one that is not a source.
        steady: see `follow`.
    """
    sources = len(steady)
    known: dict[Variable, Trail] = {}
    for variable, start in zip(program.inputs, first, strict=True):
        size = int(np.prod(variable.shape, dtype=int))
        nothing = Dependence.nothing(size, sources)
        known[variable] = Trail(variable.shape, start or nothing, nothing)
    unknown: list[str] = []
    last = {i: k for k, ins in enumerate(program.instructions) for i in ins.inputs if isinstance(i, Variable)}
    ends = {o for o in program.outputs if isinstance(o, Variable)}
    for number, ins in enumerate(program.instructions):
        trails = [constant(i.value, sources) if isinstance(i, Constant) else known[i] for i in ins.inputs]
        made, without = follow(trails, ins, steady)
        known.update(zip(ins.outputs, made, strict=True))
        if without is not None:
            unknown.append(without)
        for i in ins.inputs:  # forget what nothing needs any more
            if isinstance(i, Variable) and last[i] == number and i not in ends:
                known.pop(i, None)
    return [known[o] if isinstance(o, Variable) else constant(o.value, sources) for o in program.outputs], unknown
