"""How dependence passes through a program, and through operations that hold one.

A `Trail` is what is known of a variable: on what its entries depend (`depends`), on what they depend in a way that is
not affine with constant coefficients (`varies`), and which entries are zero whatever the values (`zero`). Rules follow
derivatives: ∂out/∂source can be non-zero only where `depends` says so. They never under-estimate; where an exact rule
would cost too much they over-estimate, and an operation without a rule makes every output depend on every input.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components

from fwdgrad.program.closure import closed_pattern
from fwdgrad.program.dependence import Dependence, SourceRows, stacked
from fwdgrad.program.instructions import Constant, Instruction, Variable
from fwdgrad.program.trail import Trail, constant, dense

__all__ = ["HOLDING", "follow", "trails_of"]


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
    name = instruction.operation.name
    if name in HOLDING:
        return HOLDING[name](trails, instruction, steady)
    try:
        return instruction.operation.follow(trails, instruction, steady), None
    except NotImplementedError:
        return [dense(trails, out.shape) for out in instruction.outputs], name


# ---------------------------------------------------------------- implicit equations


def _root(trails: list[Trail], ins: Instruction, steady: np.ndarray) -> tuple[list[Trail], str | None]:
    """Each unknown from what its equation reaches: (∂R/∂z)⁻¹ is a polynomial in ∂R/∂z.

    The residual is followed from the unknowns, and once more from what else it uses: together, each equation would have
    a row of its own wherever one source reaches all of them. Where the solution begins has no influence on it.
    """
    residual, sources = ins.params["residual"], len(steady)
    (n,) = ins.outputs[0].shape
    first = [Dependence.identity(0, n, n), *(None for _ in residual.inputs[1:])]
    (equations,), without = trails_of(residual, first, np.zeros(n, bool))
    (between,) = equations.depends.split(np.array([0, n]))
    still = Trail((n,), Dependence.nothing(n, sources), Dependence.nothing(n, sources))
    (equations,), _ = _followed(residual, [still, *trails[1 : len(residual.inputs)]], steady)
    # unknowns that reach each other depend on the same sources: one row for all of them
    count, label = connected_components(between, directed=True, connection="strong")
    member = sp.csr_array((np.ones(n, np.int64), (label, np.arange(n))), shape=(count, n))
    across = sp.csr_array(member @ sp.csr_array(between, dtype=np.int64) @ member.T, dtype=bool)
    (direct,) = equations.depends.selected(label, np.arange(n), count).split(np.array([0, sources]))
    reached = closed_pattern(across, direct)
    rows = SourceRows(reached.indptr.astype(np.int64), reached.indices.astype(np.int64), sources)
    depends = Dependence(label.astype(np.int64), rows)
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


def _until(trails: list[Trail], ins: Instruction, steady: np.ndarray) -> tuple[list[Trail], str | None]:
    """What any number of turns may make: turn after turn, until one adds nothing. The clock has no derivative."""
    state, clock, *captured = trails
    ticks = _ticks([clock], clock.shape, steady)
    while True:
        (after, then), without = _followed(ins.params["body"], [state, ticks, *captured], steady)
        depends = state.depends.union(after.depends)
        ends = Trail(state.shape, depends, depends), _ticks([ticks, then], clock.shape, steady)
        if all(a.depends.same(b.depends) for a, b in zip(ends, (state, ticks), strict=True)):
            return [ends[0]], without[0] if without else None
        state, ticks = ends


def _ticks(trails: list[Trail], shape: tuple[int, ...], steady: np.ndarray) -> Trail:
    """A clock, of which no more is known than on what it depends without a derivative."""
    depends = dense(trails, shape).depends.columns(steady)
    return Trail(shape, depends, depends)


def _turned(table: Trail, turn: int) -> Trail:
    """A row of a table, of which no more is known than on what it depends."""
    size = math.prod(table.shape[1:])
    row = table.take(np.arange(turn * size, (turn + 1) * size), table.shape[1:])
    return replace(row, zero=None)


def _stacked_rows(rows: list[Trail], shape: tuple[int, ...]) -> Trail:
    """Arrays one after the other."""
    zero = np.concatenate([~t.nonzero for t in rows]) if any(t.zero is not None for t in rows) else None
    return Trail(shape, stacked([t.depends for t in rows]), stacked([t.varies for t in rows]), zero)


HOLDING = {"root": _root, "scan": _scan, "until": _until}
"""Operations that hold programs; each of the others has its rule beside its value and derivatives (`follow`)."""
