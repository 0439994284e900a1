"""The comparisons that `check` makes."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from fwdgrad.checks.compare import Tally, largest, line_slope
from fwdgrad.checks.discretisation import SAMPLES, discretisation
from fwdgrad.checks.points import Function, Point
from fwdgrad.checks.report import CheckReport, CheckRow
from fwdgrad.checks.trajectories import Trajectories
from fwdgrad.engines.names import EAGER
from fwdgrad.errors import DeclarationError, FwdgradError, HiddenStateError, TracingError
from fwdgrad.estimators import UORO, NoBackTrack
from fwdgrad.learning.loops import ENTRIES, listed_entries
from fwdgrad.linear import EagerModel, Model, TracedModel
from fwdgrad.program import Linearized, Program, at_points
from fwdgrad.support.arguments import suggests
from fwdgrad.support.notice import Progress
from fwdgrad.support.trees import flatten
from fwdgrad.support.types import Leaves
from fwdgrad.system import System
from fwdgrad.system.tracing import check_against_plain

__all__ = ["check"]

TWICE = "F, Y, loss: called twice"
PATHS = "θ: paths to the loss"

POINTS = 3
NUMBERS = 4e6
"""Numbers of Jacobians and parameters that are held at once where a transition is computed at many points."""


@suggests
def check(
    system: System,
    *,
    steps: int = 3,
    seed: int = 0,
    rtol: float | None = None,
    progress: bool | Callable[[int, int], None] = False,
    xs: Any = None,
) -> CheckReport:
    """Compare everything that learning will use of a system with the plain functions and their finite differences.

    Points are drawn around the declared example and along a trajectory from it. Compared are: two calls with the same
    arguments; the traced programs with the functions; forward and backward products of F and Y with finite
    differences, and with each other; the gradient of the loss; the influence of the parameters on a trajectory and
    RTRL's gradients along it; and the mean of one reduction of UORO and NoBackTrack with what was reduced, over all
    patterns of signs (n ≤ 8) or over a table of them that has the same second moments. A learned parameter that has no
    path to the loss is a failure too. With a `dt`, state and influence are compared with the solution of the
    differential equation itself, over a stretch of samples; steps that are too long are "coarse", which is no failure.

    Args:
        system: the declared system. Functions that cannot be traced are checked on the eager engine.
        steps: length of the trajectory.
        seed: of the random points and directions.
        rtol: relative tolerance; 1e-6 by default, 1e-3 in single precision.
        progress: True for a bar, or a function called with (comparisons done, comparisons in all). Without a bar, what
            takes longer than a second is said in a line on the error stream.
        xs: inputs with time along axis 0, for that stretch; unless given, the declared example is held.

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
    surrogates, system = system.surrogates, system.without_surrogates()
    if system.dt is not None:
        sections |= {f"δt: after {SAMPLES} samples": _Check._discretisation}
    with Progress("check", progress, 1 + len(sections), "comparison") as shown, np.errstate(all="ignore"):
        # what is not finite is said in the table
        with shown.at("checking that it can be traced"):
            try:
                system.confirm()
            except HiddenStateError as error:  # nothing else can be compared
                row = CheckRow(TWICE, 0, np.inf, 0.0, "FAILED", " ".join(str(error).split("\n")))
                return CheckReport(repr(system), EAGER, _first_line(error), (row,))
            found = _Check(system, steps, seed, rtol, xs)
        shown.add(1)
        rows: list[CheckRow] = []
        for what, section in sections.items():
            try:
                with shown.at(f"checking {what}"):
                    rows += section(found)
            except Exception as error:  # whatever a function or a rule does wrong belongs in the table
                rows.append(CheckRow(what, 0, np.inf, found.rtol, "FAILED", _first_line(error)))
            shown.add(1)
        if surrogates:
            rows.append(CheckRow("surrogates", 0, 0.0, 0.0, "skipped", f"{surrogates}; checked is the system without."))
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


class _Check(Trajectories):
    def __init__(self, system: System, steps: int, seed: int, rtol: float | None, xs: Any) -> None:
        self.system, self.steps, self.xs = system, steps, xs
        self.rng = np.random.default_rng(seed)
        double = system.dtype == np.float64
        self.rtol = rtol if rtol is not None else 1e-6 if double else 1e-3
        self.tight = 1e-9 if double else 1e-3
        self.model, self.reason, self.mismatch = _model(system)
        self.exact = _in_double_precision(system)
        self.points = [self._point(walk) for walk in range(POINTS)]

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

    def _discretisation(self) -> Iterator[CheckRow]:
        if isinstance(self.model, TracedModel):
            yield from discretisation(self.system, self.xs, self.rng)

    def _paths(self) -> Iterator[CheckRow]:
        if not isinstance(self.model, TracedModel):
            return  # what no structure shows, a learner finds by its gradients
        dead = self.model.paths.dead
        told = [f"{k}: {reason}." for k, reason in dead.items()]
        told += [f"{listed_entries(k, where)}: {ENTRIES}." for k, where in self.model.paths.entries.items()]
        note = f"{' '.join(told)} Freeze what is not to be learned (fg.fixed)." if told else ""
        yield CheckRow(PATHS, len(self.system.trainable), float(len(told)), 0.0, "FAILED" if told else "ok", note)

    def _transition(self) -> Iterator[CheckRow]:
        def products(p: Point) -> tuple[Any, Any]:
            lin = self.model.linearize(p.h, p.x, p.params)
            return lin.jvp, lin.vjp

        yield from self._products("F", lambda p: p.h, products, self._transitions)

    def _output(self) -> Iterator[CheckRow]:
        if not isinstance(self.model, TracedModel):
            return  # the eager model differentiates Y and the loss together; see the loss
        traced, names = self.model.traced, self.model.readout

        def products(p: Point) -> tuple[Any, Any]:
            lin = Linearized(traced.output, traced.arguments(p.after, p.x, p.params))

            def jvp(direction: Any, leaves: Leaves) -> Any:
                return lin.jvp({0: direction} | {traced.number[k]: v for k, v in leaves.items()})[0]

            def vjp(cotangent: Any) -> tuple[Any, Leaves]:
                state, *leaves = lin.vjp([cotangent], [0, *(traced.number[k] for k in names)])
                return state, dict(zip(names, leaves, strict=True))

            return jvp, vjp

        yield from self._products("Y", lambda p: p.after, products, _each(self.exact.output))

    def _products(
        self, name: str, at: Callable[[Point], Any], products: Callable[[Point], tuple[Any, Any]], plain: Function
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


# ---- helpers


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
