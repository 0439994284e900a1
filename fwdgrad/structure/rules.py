"""How dependence passes through each core operation: one rule per operation.

A `Trail` is what is known of a variable: on what its entries depend (`depends`), on what they depend in a way that is
not affine with constant coefficients (`varies`), and which entries are zero whatever the values (`zero`). Rules follow
derivatives: ∂out/∂source can be non-zero only where `depends` says so. They never under-estimate; where an exact rule
would cost too much they over-estimate, and an operation without a rule makes every output depend on every input.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fwdgrad.program.instructions import Constant, Instruction, Variable
from fwdgrad.program.operations import Pointwise
from fwdgrad.structure.closure import closed_pattern
from fwdgrad.structure.dependence import Dependence, Rows, stacked
from fwdgrad.structure.pointwise import follow_pointwise
from fwdgrad.structure.trail import Trail, broadcast, constant, numbers, some, union_all, united

__all__ = ["RULES", "follow", "trails_of"]

EXPANSION = 20_000_000
"""Largest space of terms (of a product or a running sum) that is enumerated to make use of what is known of each."""


Rule = Callable[[list[Trail], Instruction], Trail]
RULES: dict[str, Rule] = {}
"""Operation → rule."""


def trails_of(program: Any, first: Sequence[Dependence | None], steady: np.ndarray) -> tuple[list[Trail], list[str]]:
    """Trails of a program's outputs, and the operations that had no rule.

    Args:
        program: any program.
        first: what each input depends on; None for one that is not a source.
        steady: see `follow`.
    """
    sources = len(steady)
    starts = []
    for variable, start in zip(program.inputs, first, strict=True):
        nothing = Dependence.nothing(math.prod(variable.shape), sources)
        starts.append(Trail(variable.shape, start or nothing, nothing))
    return _followed(program, starts, steady)


def _followed(program: Any, starts: Sequence[Trail], steady: np.ndarray) -> tuple[list[Trail], list[str]]:
    """Trails of a program's outputs from those of its inputs, and the operations that had no rule."""
    sources = len(steady)
    known: dict[Variable, Trail] = dict(zip(program.inputs, starts, strict=True))
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
        return [follow_pointwise(trails, instruction, steady)], None
    if operation.name == "root":
        return _root(trails, instruction, steady)
    if operation.name == "scan":
        return _scan(trails, instruction, steady)
    if operation.name in _FLAT:
        return [_without_derivative(trails, out.shape, steady) for out in instruction.outputs], None
    made = []
    for out in instruction.outputs:
        size = math.prod(out.shape)
        whole = union_all([t.depends.everything(size) for t in trails])
        made.append(Trail(out.shape, whole, whole))
    return made, operation.name


_FLAT = {"any", "all", "argsort", "argmax", "argmin", "searchsorted", "stop_gradient"}
"""Operations whose derivative is zero."""


def _without_derivative(trails: list[Trail], shape: tuple[int, ...], steady: np.ndarray) -> Trail:
    size = math.prod(shape)
    whole = union_all([t.depends.everything(size) for t in trails]).columns(steady)
    return Trail(shape, whole, whole)


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
    grid = np.transpose(numbers(trails[0].shape), ins.params["axes"])
    return trails[0].take(grid.ravel(), grid.shape)


@_rule("broadcast_to")
def _broadcast_to(trails: list[Trail], ins: Instruction) -> Trail:
    """The same entries, repeated."""
    return broadcast(trails[0], ins.params["shape"])


@_rule("concatenate")
def _concatenate(trails: list[Trail], ins: Instruction) -> Trail:
    """Entries of all operands, each from its own."""
    starts = np.cumsum([0, *(t.size for t in trails)])
    grid = np.concatenate([numbers(t.shape) + s for t, s in zip(trails, starts, strict=False)], ins.params["axis"])
    zero = np.concatenate([~t.nonzero for t in trails]) if any(t.zero is not None for t in trails) else None
    depends = stacked([t.depends for t in trails])
    same = all(t.varies is t.depends for t in trails)
    varies = depends if same else stacked([t.varies for t in trails])
    return Trail((int(starts[-1]),), depends, varies, zero).take(grid.ravel(), grid.shape)


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
    grid = numbers(shape)
    chosen = grid[tuple(made)]
    strides = [math.prod(shape[a + 1 :]) for a in free]
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
    count = math.prod(shape)
    if len(result) == count:
        return x.take(source, shape)
    depends = x.depends.selected(result, source, count)
    for index in indices:
        if not index.depends.empty:
            depends = depends.union(index.depends.everything(count))
    # which entry is taken varies with the index, so nothing read through it has a constant coefficient
    return Trail(shape, depends, depends, _all_zero(x, source, result, count))


def _all_zero(x: Trail, entries: np.ndarray, groups: np.ndarray, count: int) -> np.ndarray | None:
    """True for the groups all of whose entries are zero."""
    if x.zero is None:
        return None
    return some(np.bincount(groups, ~x.zero[entries], count) == 0)


@_rule("scatter_add")
def _scatter_add(trails: list[Trail], ins: Instruction) -> Trail:
    """Each place from the entries that are, or may be, added there."""
    x, *indices = trails
    shape = ins.params["shape"]
    entry, place = _places(shape, ins.params["index"], indices)
    count = math.prod(shape)
    made = x.mapped(shape, lambda d: d.selected(place, entry, count), None)
    untouched = np.bincount(place, x.nonzero[entry], count) == 0
    chosen = [index.depends.everything(count) for index in indices if not index.depends.empty]
    if any(index.value is None for index in indices):  # where something is added varies with the index
        depends = union_all([made.depends, *chosen])
        return Trail(shape, depends, depends, some(untouched))
    return Trail(shape, made.depends, made.varies, some(untouched))


# ---------------------------------------------------------------- reductions and products


def _reduced(x: Trail, axes: tuple[int, ...], linear: bool) -> Trail:
    shape = tuple(s for k, s in enumerate(x.shape) if k not in axes)
    kept = tuple(1 if k in axes else s for k, s in enumerate(x.shape))
    groups = np.broadcast_to(numbers(kept), x.shape).ravel()
    count = math.prod(shape)
    if not linear:
        depends = x.depends.merged(groups, count)
        return Trail(shape, depends, depends)
    live = groups if x.zero is None else np.where(x.zero, -1, groups)
    return x.mapped(shape, lambda d: d.merged(live, count), _all_zero(x, np.arange(x.size), groups, count))


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
    if x.size * length > EXPANSION:  # too many pairs: each entry of a line from the whole line
        lines = np.broadcast_to(numbers(tuple(1 if k == axis else s for k, s in enumerate(x.shape))), x.shape).ravel()
        return x.mapped(x.shape, lambda d: d.merged(lines, int(lines.max(initial=-1)) + 1).take(lines), None)
    later, earlier = np.nonzero(np.tri(length, dtype=bool))
    grid = np.moveaxis(numbers(x.shape), axis, 0)
    groups, entries = grid[later].ravel(), grid[earlier].ravel()
    return x.mapped(x.shape, lambda d: d.selected(groups, entries, x.size), None)


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
        a = broadcast(a, stack + a.shape[-2:]) if ranks[0] > 1 else a
        b = broadcast(b, stack + b.shape[-2:]) if ranks[1] > 1 else b
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
    count = math.prod(shape)
    space = math.prod(sizes.values())
    # a matrix-vector product has no more terms than the matrix has entries
    expand = any(t.zero is not None for t in trails) and space <= max(EXPANSION, *(t.size for t in trails))
    if expand:
        parts, zero = _terms(trails, letters, out, sizes, count)
    else:  # no known zeros, or too many terms: each factor reaches every entry that its free letters allow
        parts, zero = [_factor(t, word, out, sizes) for t, word in zip(trails, letters, strict=True)], None
    depends, varies = united([p for p in parts if not p.depends.empty] or parts[:1])
    moving = sum(t.value is None for t in trails)
    return Trail(shape, depends, depends if moving > 1 else varies, zero)


def _factor(t: Trail, word: str, out: str, sizes: dict[str, int]) -> Trail:
    """What one factor contributes if every other is dense: summed over its lost letters, spread over the others."""
    lost = tuple(k for k, c in enumerate(word) if c not in out)
    reduced = _reduced(t, lost, linear=True)
    kept = [c for c in word if c in out]
    grid = numbers(reduced.shape)
    order = sorted(range(len(kept)), key=lambda k: out.index(kept[k]))
    grid = np.transpose(grid, order).reshape(tuple(sizes[c] if c in kept else 1 for c in out))
    shape = tuple(sizes[c] for c in out)
    return reduced.take(np.broadcast_to(grid, shape).ravel(), shape)


def _terms(
    trails: list[Trail], letters: list[str], out: str, sizes: dict[str, int], count: int
) -> tuple[list[Trail], np.ndarray | None]:
    """What each factor contributes through the terms of the sum in which no factor is known to be zero.

    Also, where there is no such term.
    """
    every = list(sizes)
    live = np.ones([sizes[c] for c in every], bool)
    grids = []
    for t, word in zip(trails, letters, strict=True):
        order = sorted(range(len(word)), key=lambda k: every.index(word[k]))
        shape = tuple(sizes[c] if c in word else 1 for c in every)
        grids.append(np.transpose(numbers(t.shape), order).reshape(shape))
        if t.zero is not None:
            live &= np.transpose(t.nonzero.reshape(t.shape), order).reshape(shape)
    target = np.transpose(
        numbers(tuple(sizes[c] for c in out)), sorted(range(len(out)), key=lambda k: every.index(out[k]))
    ).reshape(tuple(sizes[c] if c in out else 1 for c in every))
    where = np.nonzero(live)
    groups = np.broadcast_to(target, live.shape)[where]
    spread = [np.broadcast_to(grid, live.shape)[where] for grid in grids]
    parts = [_gathered(t, groups, e, count) for t, e in zip(trails, spread, strict=True)]
    return parts, some(np.bincount(groups, minlength=count) == 0)


def _gathered(t: Trail, groups: np.ndarray, entries: np.ndarray, count: int) -> Trail:
    return t.mapped((count,), lambda d: d.selected(groups, entries, count), None)


@_rule("inv")
@_rule("det")
@_rule("solve")
@_rule("cholesky_update")
@_rule("solve_triangular")
def _linear_algebra(trails: list[Trail], ins: Instruction) -> Trail:
    """Everything, since the inverse of a sparse matrix is dense."""
    shape = ins.outputs[0].shape
    whole = union_all([t.depends.everything(math.prod(shape)) for t in trails])
    return Trail(shape, whole, whole)


# ---------------------------------------------------------------- implicit equations


def _root(trails: list[Trail], ins: Instruction, steady: np.ndarray) -> tuple[list[Trail], str | None]:
    """Each unknown from what its equation reaches: (∂R/∂z)⁻¹ is a polynomial in ∂R/∂z.

    The unknowns are further sources while the residual is followed. Where the solution begins has no influence on it.
    """
    residual, sources = ins.params["residual"], len(steady)
    (n,) = ins.outputs[0].shape
    unknowns = Trail((n,), Dependence.identity(sources, n, sources + n), Dependence.nothing(n, sources + n))
    starts = [unknowns, *(_widened(t, sources + n) for t in trails[1 : len(residual.inputs)])]
    (equations,), without = _followed(residual, starts, np.append(steady, np.zeros(n, bool)))
    direct, between = equations.depends.split(np.array([0, sources, sources + n]))
    reached = closed_pattern(between, direct)
    rows = Rows(reached.indptr.astype(np.int64), reached.indices.astype(np.int64), sources)
    depends = Dependence(np.arange(n), rows)
    return [Trail((n,), depends, depends)], without[0] if without else None


# ---------------------------------------------------------------- loops


def _scan(trails: list[Trail], ins: Instruction, steady: np.ndarray) -> tuple[list[Trail], str | None]:
    """Turn after turn, until one changes nothing and all that come after it are like it."""
    body, carried, rows = ins.params["body"], ins.params["carried"], ins.params["rows"]
    state, table, captured = trails[:carried], trails[carried : carried + rows], trails[carried + rows :]
    length = ins.inputs[carried].shape[0]
    alike = all(t.depends.empty for t in table)
    order = range(length - 1, -1, -1) if ins.params["reverse"] else range(length)
    made: dict[int, list[Trail]] = {}
    unknown: str | None = None
    for turn in order:
        now = [_turned(t, turn) for t in table]
        ends, without = _followed(body, [*state, *now, *captured], steady)
        unknown = unknown or (without[0] if without else None)
        made[turn] = ends[carried:]
        settled = alike and all(a.same(b) for a, b in zip(state, ends[:carried], strict=True))
        state = ends[:carried]
        if settled:
            made.update((k, made[turn]) for k in order if k not in made)
            break
    stacked_ = [
        _stacked_rows([made[k][place] for k in range(length)], o.shape) for place, o in enumerate(ins.outputs[carried:])
    ]
    return [*state, *stacked_], unknown


def _turned(table: Trail, turn: int) -> Trail:
    """A row of a table, of which no more is known than on what it depends."""
    size = math.prod(table.shape[1:])
    row = table.take(np.arange(turn * size, (turn + 1) * size), table.shape[1:])
    return replace(row, zero=None)


def _stacked_rows(rows: list[Trail], shape: tuple[int, ...]) -> Trail:
    """Arrays one after the other."""
    zero = np.concatenate([~t.nonzero for t in rows]) if any(t.zero is not None for t in rows) else None
    return Trail(shape, stacked([t.depends for t in rows]), stacked([t.varies for t in rows]), zero)


def _widened(trail: Trail, sources: int) -> Trail:
    """The same, with more sources, on which nothing depends."""

    def wide(d: Dependence) -> Dependence:
        return Dependence(d.index, Rows(d.rows.pointer, d.rows.sources, sources))

    return replace(trail.mapped(trail.shape, wide, trail.zero), value=trail.value)
