"""The comparisons that `check` makes."""

from __future__ import annotations

import itertools
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from fwdgrad.checks.compare import Tally, largest, line_slope, sign_table, skipped
from fwdgrad.checks.report import CheckReport, CheckRow
from fwdgrad.engines.names import AUTO, EAGER
from fwdgrad.errors import DeclarationError, FwdgradError, HiddenStateError, TracingError
from fwdgrad.estimators import RTRL, UORO, Estimator, NoBackTrack
from fwdgrad.learning.execution import Execution
from fwdgrad.learning.loops import ENTRIES, listed_entries
from fwdgrad.learning.step.kinds import LEARN, TRANSIT
from fwdgrad.linear import Coordinates, EagerModel, Model, TracedModel
from fwdgrad.program import Linearized, Program, at_points
from fwdgrad.support.notice import Progress
from fwdgrad.support.trees import flatten, unflatten
from fwdgrad.support.types import Leaves
from fwdgrad.system import System
from fwdgrad.system.tracing import check_against_plain

__all__ = ["check"]

TWICE = "F, Y, loss: called twice"
PATHS = "θ: paths to the loss"

POINTS = 3
LARGEST = 2e9
"""Operations that one row may take; beyond, it is skipped and says so."""
NUMBERS = 4e6
"""Numbers of Jacobians and parameters that are held at once where a transition is computed at many points."""


def check(
    system: System,
    *,
    steps: int = 3,
    seed: int = 0,
    rtol: float | None = None,
    progress: bool | Callable[[int, int], None] = False,
) -> CheckReport:
    """Compare everything that learning will use of a system with the plain functions and their finite differences.

    Points are drawn around the declared example and along a trajectory from it. Compared are: two calls with the same
    arguments; the traced programs with the functions; forward and backward products of F and Y with finite
    differences, and with each other; the gradient of the loss; the influence of the parameters on a trajectory and
    RTRL's gradients along it; and the mean of one reduction of UORO and NoBackTrack with what was reduced, over all
    patterns of signs (n ≤ 8) or over a table of them that has the same second moments. A learned parameter that has no
    path to the loss is a failure too.

    Args:
        system: the declared system. Functions that cannot be traced are checked on the eager engine.
        steps: length of the trajectory.
        seed: of the random points and directions.
        rtol: relative tolerance; 1e-6 by default, 1e-3 in single precision.
        progress: True for a bar, or a function called with (comparisons done, comparisons in all). Without a bar, what
            takes longer than a second is said in a line on the error stream.

    Returns:
        The report. It fails nobody by itself; see `CheckReport.raise_if_failed`.

    Cost: a few hundred runs of F and Y for each array of the state and the parameters; RTRL, and all the reductions,
    where they are cheap enough.

    Raises:
        DeclarationError: `system` is not a System, another argument makes no sense, or F, Y or loss is not finite at
            the declared example.

    Example:
        >>> import numpy as np, fwdgrad as fg
        >>> from fwdgrad.checks import check
        >>> system = fg.System(lambda h, x, p: np.tanh(p["a"] * h + x), None, np.zeros(2), {"a": 0.5}, np.zeros(2))
        >>> report = check(system)
        >>> report.ok
        True
        >>> report.rows[0].what
        'F, Y, loss: called twice'
    """
    if not isinstance(system, System):
        raise DeclarationError(f"check: expected a fg.System, got {system!r}.")
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise DeclarationError(f"check(steps=…): expected an integer of at least 1, got {steps!r}.")
    if rtol is not None and not rtol > 0:
        raise DeclarationError(f"check(rtol=…): expected a positive number, got {rtol!r}.")
    sections = _sections(steps)
    with Progress("check", progress, 1 + len(sections), "comparison") as shown, np.errstate(all="ignore"):
        # what is not finite is said in the table
        with shown.at("checking that it can be traced"):
            try:
                system.confirm()
            except HiddenStateError as error:  # nothing else can be compared
                row = CheckRow(TWICE, 0, np.inf, 0.0, "FAILED", " ".join(str(error).split("\n")))
                return CheckReport(repr(system), EAGER, _first_line(error), (row,))
            found = _Check(system, steps, seed, rtol)
        shown.add(1)
        rows: list[CheckRow] = []
        for what, section in sections.items():
            try:
                with shown.at(f"checking {what}"):
                    rows += section(found)
            except Exception as error:  # whatever a function or a rule does wrong belongs in the table
                rows.append(CheckRow(what, 0, np.inf, found.rtol, "FAILED", _first_line(error)))
            shown.add(1)
        return CheckReport(repr(system), found.execution.engine, found.reason, tuple(rows))


def _sections(steps: int) -> dict[str, Callable[[_Check], Iterator[CheckRow]]]:
    """What is compared, in order."""
    return {
        TWICE: _Check._repeated,
        "F, Y, loss: as traced": _Check._as_traced,
        PATHS: _Check._paths,
        "F: derivatives": _Check._transition,
        "Y: derivatives": _Check._output,
        "loss: gradient in h' and θ": _Check._loss,
        f"influence of θ after {steps} steps": _Check._influence,
        f"RTRL: gradients of {steps} steps": _Check._rtrl,
        "UORO: mean of a reduction": lambda check: check._reduction(UORO()),
        "NoBackTrack: mean of a reduction": lambda check: check._reduction(NoBackTrack()),
    }


@dataclass(frozen=True)
class _Point:
    """Where functions are compared: h before the step, h' after it."""

    h: Any
    x: Any
    params: Leaves
    after: Any
    y: Any


@dataclass(frozen=True)
class _Keep:
    """An optimizer that changes nothing; its state is the last gradient."""

    def init(self, params: Leaves) -> Leaves:
        return {k: np.zeros(p.shape, p.dtype) for k, p in params.items()}

    def update(self, grads: Leaves, state: Leaves, params: Leaves) -> tuple[Leaves, Leaves]:
        return {}, dict(grads)


class _Check:
    def __init__(self, system: System, steps: int, seed: int, rtol: float | None) -> None:
        self.system, self.steps = system, steps
        self.rng = np.random.default_rng(seed)
        double = system.dtype == np.float64
        self.rtol = rtol if rtol is not None else 1e-6 if double else 1e-3
        self.tight = 1e-9 if double else 1e-3
        self.model, self.reason, self.mismatch = _model(system)
        self.exact = _in_double_precision(system)
        self.points = [self._point(walk) for walk in range(POINTS)]

    @cached_property
    def execution(self) -> Execution:
        """The learner's own steps, of RTRL, with θ fixed."""
        return Execution(self.system, RTRL(), _Keep(), EAGER if self.reason else AUTO)

    # ---- points

    def _point(self, walk: int) -> _Point:
        """A random point, `walk` steps along a trajectory from around the declared state."""
        for spread, low in ((0.3, -1.0), (0.3, 0.0), (0.1, 0.0), (0.03, 0.0), (0.0, 0.0)):
            try:
                point = self._drawn(walk, spread, low)
            except (ArithmeticError, ValueError, IndexError):
                if spread > 0.0:
                    continue
                if walk == 0:
                    raise
                return self._point(0)  # the trajectory itself ends
            loss = self._loss_at(self.system, point.after, point.x, point.params, point.y)
            if np.all(np.isfinite(point.after)) and np.isfinite(loss):
                return point
        raise DeclarationError(
            "check: F, Y or the loss is not finite at the declared example, so there is nothing to compare.\n"
            "Declare the system with values for which they are."
        )

    def _drawn(self, walk: int, spread: float, low: float) -> _Point:
        system = self.system

        def around(value: Any, bound: int | None = None) -> Any:
            value = np.asarray(value)
            if value.dtype == np.int64:
                if bound is None or spread == 0.0:  # the declared example itself
                    return value
                return np.asarray(self.rng.integers(bound, size=value.shape))
            factor = 1.0 + spread * self.rng.uniform(-1.0, 1.0, value.shape)
            shift = np.where(value == 0.0, spread * self.rng.uniform(low, 1.0, value.shape), 0.0)
            return (value * factor + shift).astype(value.dtype)

        def tree(value: Any, bounds: list[int | None]) -> Any:
            return unflatten(value, [around(v, b) for v, b in zip(flatten(value), bounds, strict=True)])

        params = {k: around(v) if k in system.trainable else v for k, v in system.coordinates.items()}
        h = around(system.initial)
        for _ in range(walk):
            h = np.asarray(system.transition(h, tree(system.given, self.model.x_bounds), params))
        x = tree(system.given, self.model.x_bounds)
        after = np.asarray(system.transition(h, x, params))
        prediction = np.asarray(system.output(after, x, params))
        plain = isinstance(system.y, np.ndarray) and system.y.dtype.kind == "f" and not np.any(system.y)
        y = around(prediction) if plain and system.y.shape == prediction.shape else tree(system.y, self.model.y_bounds)
        return _Point(h, x, params, after, y)

    # ---- finite differences of the plain functions

    def _loss_at(self, system: System, after: Any, x: Any, params: Leaves, y: Any) -> Any:
        return system.loss.value(system.output(after, x, params), y)

    def _direction(self, value: Any) -> Any:
        """Random, of the size of `value`, entry by entry. Zeros stay."""
        return (
            np.abs(value) * self.rng.uniform(0.5, 1.0, np.shape(value)) * self.rng.choice([-1.0, 1.0], np.shape(value))
        )

    def _directions(self, point: _Point, h: Any) -> Iterator[tuple[str, Any, Leaves]]:
        """(name, direction of the state, direction of the parameters), one for each array that can move."""
        still = np.zeros(h.shape)
        start = 0
        names = list(self.system.state) if isinstance(self.system.state, dict) else [""]
        for key, leaf in zip(names, flatten(self.system.state), strict=True):
            moving = still.copy()
            moving[start : start + leaf.size] = self._direction(h[start : start + leaf.size])
            start += leaf.size
            yield f"in the state {key}".rstrip(), moving, {}
        for k in self.system.trainable:
            yield f"in {k}", still, {k: self._direction(point.params[k])}

    def _along(self, value: Any, direction: Any, t: float) -> Any:
        return (np.asarray(value, self.exact.dtype) + t * direction).astype(self.exact.dtype)

    def _moved(self, params: Leaves, direction: Leaves, t: float) -> Leaves:
        """θ in the precision of the differences; leaves that do not move are the same arrays."""
        still = {k: np.asarray(v, self.exact.dtype) for k, v in params.items() if k not in direction}
        return {k: self._along(v, direction[k], t) if k in direction else still[k] for k, v in params.items()}

    def _input(self, x: Any) -> Any:
        cast = self.exact.dtype
        return unflatten(x, [leaf if leaf.dtype == np.int64 else leaf.astype(cast) for leaf in flatten(x)])

    # ---- the comparisons

    def _repeated(self) -> Iterator[CheckRow]:
        tally = Tally(TWICE, 0.0)
        for p in self.points:
            F, Y = self.system.transition, self.system.output
            tally.compare(F(p.h, p.x, p.params), F(p.h, p.x, p.params), "in F")
            prediction = Y(p.after, p.x, p.params)
            tally.compare(Y(p.after, p.x, p.params), prediction, "in Y")
            loss = self.system.loss.value
            tally.compare(loss(prediction, p.y), loss(prediction, p.y), "in the loss")
        row = tally.row()
        if row.verdict == "FAILED":
            row = replace(row, note=f"{row.note} It depends on more than its arguments, such as random numbers.")
        yield row

    @cached_property
    def _transitions(self) -> Function:
        """The transition whose differences are taken: the plain function in double precision.

        Where it solves equations, calling it once takes hundreds of evaluations of F. What was traced of it, which "as
        traced" compares with it, stands in, at all points at once.
        """
        if self.exact is not self.system or not isinstance(self.model, TracedModel):
            return _each(self.exact.transition)
        traced, size = self.model.traced, self.system.size
        if not _solves(traced.transition):
            return _each(self.exact.transition)

        def several(states: Any, x: Any, params: list[Leaves]) -> Any:
            together = {
                k: v if all(p[k] is v for p in params) else np.stack([p[k] for p in params])
                for k, v in params[0].items()
            }
            return at_points(traced.transition, traced.arguments(states, x, together), len(params))[0]

        most = max(1, int(NUMBERS // (size**2 + sum(v.size for v in self.system.coordinates.values()))))

        def function(states: Any, x: Any, params: list[Leaves]) -> Any:
            parts = [slice(k, k + most) for k in range(0, len(params), most)]
            return np.concatenate([several(states[part], x, params[part]) for part in parts])

        return function

    def _as_traced(self) -> Iterator[CheckRow]:
        tally = Tally("F, Y, loss: as traced", self.tight)
        if self.mismatch:
            yield CheckRow(tally.what, 0, np.inf, self.tight, "FAILED", self.reason)
        if not isinstance(self.model, TracedModel):
            return
        traced = self.model.traced
        for p in self.points:
            after = self.system.transition(p.h, p.x, p.params)
            tally.compare(
                traced.transition(*traced.arguments(p.h, p.x, p.params))[0], after, "in F", 0.0, largest(after)
            )
            prediction = self.system.output(p.after, p.x, p.params)
            made = traced.output(*traced.arguments(p.after, p.x, p.params))[0]
            tally.compare(made, prediction, "in Y", 0.0, largest(prediction))
            loss = self.system.loss.value(prediction, p.y)
            tally.compare(traced.loss(prediction, *flatten(p.y))[0], loss, "in the loss")
        yield tally.row()

    def _paths(self) -> Iterator[CheckRow]:
        if not isinstance(self.model, TracedModel):
            return  # what no structure shows, a learner finds by its gradients
        dead = self.model.paths.dead
        told = [f"{k}: {reason}." for k, reason in dead.items()]
        told += [f"{listed_entries(k, where)}: {ENTRIES}." for k, where in self.model.paths.entries.items()]
        note = f"{' '.join(told)} Freeze what is not to be learned (fg.fixed)." if told else ""
        yield CheckRow(PATHS, len(self.system.trainable), float(len(told)), 0.0, "FAILED" if told else "ok", note)

    def _transition(self) -> Iterator[CheckRow]:
        def products(p: _Point) -> tuple[Any, Any]:
            lin = self.model.linearize(p.h, p.x, p.params)
            return lin.jvp, lin.vjp

        yield from self._products("F", lambda p: p.h, products, self._transitions)

    def _output(self) -> Iterator[CheckRow]:
        if not isinstance(self.model, TracedModel):
            return  # the eager model differentiates Y and the loss together; see the loss
        traced, names = self.model.traced, self.model.readout

        def products(p: _Point) -> tuple[Any, Any]:
            lin = Linearized(traced.output, traced.arguments(p.after, p.x, p.params))

            def jvp(direction: Any, leaves: Leaves) -> Any:
                return lin.jvp({0: direction} | {traced.number[k]: v for k, v in leaves.items()})[0]

            def vjp(cotangent: Any) -> tuple[Any, Leaves]:
                state, *leaves = lin.vjp([cotangent], [0, *(traced.number[k] for k in names)])
                return state, dict(zip(names, leaves, strict=True))

            return jvp, vjp

        yield from self._products("Y", lambda p: p.after, products, _each(self.exact.output))

    def _products(
        self, name: str, at: Callable[[_Point], Any], products: Callable[[_Point], tuple[Any, Any]], plain: Function
    ) -> Iterator[CheckRow]:
        """Forward and backward products of one function against finite differences and each other."""
        forward = Tally(f"{name}: forward products", self.rtol)
        backward = Tally(f"{name}: backward products", self.rtol)
        adjoint = Tally(f"{name}: forward against backward", self.tight)
        for p in self.points:
            jvp, vjp = products(p)
            h, x = at(p), self._input(p.x)
            (value,) = plain(self._along(h, 0.0, 0.0)[None], x, [self._moved(p.params, {}, 0.0)])
            size = np.abs(value)
            ways, made = [], []
            for where, dh, dp in self._directions(p, h):
                tangent = np.asarray(jvp(dh.astype(self.system.dtype), self._cast(dp)), float)
                weight = np.maximum(np.abs(tangent), 1e-3 * size)  # so that outputs of unlike sizes weigh the same
                c = self._direction(1.0 / np.where(weight > 0, weight, 1.0))
                state, leaves = vjp(c.astype(self.system.dtype))
                pulled = np.vdot(state, dh) + sum(np.vdot(leaves[k], d) for k, d in dp.items() if k in leaves)
                ways.append((dh, dp))
                made.append((where, tangent, c, pulled))
            slopes, slacks, _ = line_slope(self._lines(h, x, p.params, ways, plain))
            for (where, tangent, c, pulled), slope, slack in zip(made, slopes, slacks, strict=True):
                forward.compare(tangent, slope, where, slack, 1e-6 * size)
                weight = np.abs(c)
                backward.compare(pulled, np.sum(c * slope), where, np.sum(weight * slack), 1e-6 * np.sum(weight * size))
                # a derivative that is 0 but for rounding, as of a/‖a‖ of one number, is 0 both ways
                floor = np.sum(weight * np.maximum(np.abs(tangent), 1e-6 * size))
                adjoint.compare(pulled, np.sum(c * tangent), where, 0.0, floor)
        yield from (forward.row(), backward.row(), adjoint.row())

    def _lines(
        self, h: Any, x: Any, params: Leaves, ways: list[tuple[Any, Leaves]], plain: Function
    ) -> Callable[[np.ndarray], Any]:
        """t ↦ the function at (h, θ) moved by t in each of some directions, arrays (times, directions, *shape)."""

        def lines(times: np.ndarray) -> Any:
            states = np.stack([self._along(h, dh, t) for t in times for dh, _ in ways])
            made = np.asarray(plain(states, x, [self._moved(params, dp, t) for t in times for _, dp in ways]))
            return made.reshape(len(times), len(ways), *made.shape[1:])

        return lines

    def _cast(self, leaves: Leaves) -> Leaves:
        return {k: np.asarray(v).astype(self.system.dtype) for k, v in leaves.items()}

    def _loss(self) -> Iterator[CheckRow]:
        tally = Tally("loss: gradient in h' and θ", self.rtol)
        for p in self.points:
            c, direct = self.model.observe(p.after, p.x, p.y, p.params).gradient()
            x, y = self._input(p.x), self._input(p.y)
            ways = list(self._directions(p, p.after))
            losses = _each(lambda h, x, params, y=y: self._loss_at(self.exact, h, x, params, y))
            found = line_slope(self._lines(p.after, x, p.params, [way[1:] for way in ways], losses))
            for (where, dh, dp), slope, slack, size in zip(ways, *found, strict=True):
                got = np.vdot(c, dh) + sum(np.vdot(direct[k], d) for k, d in dp.items() if k in direct)
                tally.compare(got, slope, where, slack, 1e-6 * size)
        yield tally.row()

    # ---- trajectories

    @cached_property
    def _trajectory(self) -> list[tuple[_Point, Any]]:
        """(sample, state before it), from the first point on, with the inputs and targets of the points in turn."""
        h, walk = self.points[0].h, []
        for p in itertools.islice(itertools.cycle(self.points), self.steps):
            walk.append((p, h))
            h = np.asarray(self.system.transition(h, p.x, self.points[0].params))
        return walk

    def _walks(self, ways: list[Leaves], times: np.ndarray) -> Iterator[tuple[_Point, Any, list[Leaves]]]:
        """(sample, states after it, θ) of trajectories with θ moved by t in each of some directions, times first."""
        params = [self._moved(self.points[0].params, d, t) for t in times for d in ways]
        states = np.stack([self.points[0].h.astype(self.exact.dtype)] * len(params))
        for p, _ in self._trajectory:
            states = np.asarray(self._transitions(states, self._input(p.x), params))
            yield p, states, params

    def _influence(self) -> Iterator[CheckRow]:
        """v ← A v + B d along a trajectory, against the difference of whole trajectories."""
        tally = Tally(f"influence of θ after {self.steps} steps", self.rtol)
        first = self.points[0]
        ways = [{k: self._direction(first.params[k])} for k in self.model.leaves]
        if not ways:
            yield skipped(tally, "No parameter influences the state.")
            return
        moved = [np.zeros(self.system.size, self.system.dtype) for _ in ways]
        for p, h in self._trajectory:
            lin = self.model.linearize(h, p.x, first.params)
            moved = [lin.jvp(v, self._cast(d)) for v, d in zip(moved, ways, strict=True)]

        def lines(times: np.ndarray) -> Any:
            *_, (_, states, _) = self._walks(ways, times)
            return states.reshape(len(times), len(ways), -1)

        for k, v, slope, slack, size in zip(self.model.leaves, moved, *line_slope(lines), strict=True):
            tally.compare(v, slope, f"in {k}", slack, 1e-6 * size)
        yield tally.row()

    def _rtrl(self) -> Iterator[CheckRow]:
        """The gradients of the learner's own steps, with θ fixed."""
        tally, execution = Tally(f"RTRL: gradients of {self.steps} steps", self.rtol), self.execution
        n, p_count = self.system.size, execution.steps.layout.parameters
        if n * n * p_count * self.steps > LARGEST:
            yield skipped(tally, f"Too large: {n} state variables, {p_count} parameters.")
            return
        first = self.points[0]
        carry = self._start(execution)
        found: list[Leaves] = []
        for p, _ in self._trajectory:
            carry = tuple(execution.make(LEARN, carry, flatten(p.x), flatten(p.y), ())[:-3])
            found.append(execution.unpack(carry).optimizer)
        names = self.system.trainable
        ways = [{k: self._direction(first.params[k])} for k in names]
        if not ways:
            yield tally.row()
            return

        def lines(times: np.ndarray) -> Any:
            made = []
            for p, states, params in self._walks(ways, times):
                x, y = self._input(p.x), self._input(p.y)
                made.append([self._loss_at(self.exact, h, x, q, y) for h, q in zip(states, params, strict=True)])
            return np.array(made).T.reshape(len(times), len(ways), -1)

        for k, d, slope, slack, size in zip(names, ways, *line_slope(lines), strict=True):
            tally.compare([np.vdot(g[k], d[k]) for g in found], slope, f"in {k}", slack, 1e-6 * size)
        yield tally.row()

    def _start(self, execution: Execution) -> tuple[Any, ...]:
        """The carry of a learner at the first point."""
        first = self.points[0]
        carry = execution.unpack(execution.initial())
        return execution.pack(carry._replace(h=first.h, params=dict(first.params)))

    def _reduction(self, estimator: Estimator) -> Iterator[CheckRow]:
        """Mean over the signs of c·reduce(A v wᵀ + B), for a random row c, against (c A) v wᵀ + c B."""
        tally = Tally(f"{estimator.name}: mean of a reduction", self.tight)
        execution = Execution(self.system, estimator, _Keep(), EAGER if self.reason else AUTO)
        layout, influence = execution.steps.layout, execution.steps.influence
        if not layout.leaves:
            yield skipped(tally, "No parameter influences the state.")
            return
        n, count = self.system.size, layout.parameters
        signs = sign_table(n).astype(self.system.dtype)
        rows = n if estimator.influence == NoBackTrack().influence else 1
        if len(signs) * (n * n + rows * count) > LARGEST:
            yield skipped(tally, f"Too large: {n} state variables, {count} parameters.")
            return
        p, q = self.points[:2]
        carry = tuple(execution.make(TRANSIT, self._start(execution), flatten(p.x), (signs[len(signs) // 3],))[:-3])
        before = execution.unpack(carry)
        c = self.rng.normal(size=n).astype(self.system.dtype)
        row, fresh = self.model.linearize(before.h, q.x, before.params).vjp(c)
        carried = influence.pull(before.influence, Coordinates(row), layout)
        total: Leaves = {k: 0.0 for k in layout.leaves}
        size = 0.0
        for noise in signs:
            after = execution.unpack(tuple(execution.make(TRANSIT, carry, flatten(q.x), (noise,))[:-3]))
            pulled = influence.pull(after.influence, Coordinates(c), layout)
            total = {k: total[k] + np.asarray(pulled[k], float) for k in total}
            size = max(size, *map(largest, pulled.values()))
        for k in layout.leaves:
            floor = max(size, 1e-6 * float(np.sum(np.abs(c * before.h))) / (largest(before.params[k]) or 1.0))
            tally.compare(total[k] / len(signs), carried[k] + fresh[k], f"in {k}", 0.0, floor)
        yield tally.row()


# ---- helpers


Function = Callable[[Any, Any, list[Leaves]], Any]
"""(states, arrays (N, n); x; N times θ) ↦ values, arrays (N, *shape)."""


def _each(function: Callable[..., Any]) -> Function:
    """A plain function of (h, x, θ), called at one point after the other."""
    return lambda states, x, params: np.stack([function(h, x, p) for h, p in zip(states, params, strict=True)])


def _model(system: System) -> tuple[Model, str, bool]:
    """The model to check, why it is not the traced one, and whether that is a mistake in the functions."""
    try:
        return TracedModel(system), "", False
    except TracingError as error:
        inside = [frame.f_code for frame, _ in traceback.walk_tb(error.__traceback__)]
        return EagerModel(system), _first_line(error), check_against_plain.__code__ in inside


def _solves(program: Program) -> bool:
    """Whether a program finds roots of equations, in its loops or outside."""
    bodies = [v for ins in program for v in ins.params.values() if isinstance(v, Program)]
    return any(ins.operation.name == "root" for ins in program) or any(map(_solves, bodies))


def _first_line(error: Exception) -> str:
    first, *rest = str(error).split("\n")
    line = f"{first} {rest[0].strip()}" if first.endswith(":") and rest else first
    named = line if isinstance(error, FwdgradError) else f"{type(error).__name__}: {line}"
    return named if named.endswith(".") else named + "."


def _in_double_precision(system: System) -> System:
    """The same system in float64, for finite differences; itself if its functions insist on their precision."""
    if system.dtype == np.float64:
        return system
    try:
        return system.astype(np.float64)
    except FwdgradError:
        return system
