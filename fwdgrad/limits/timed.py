"""A system in continuous time as a map whose step δt is an input, so that one compiled step serves every δt."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from fwdgrad.errors import DeclarationError, ShapeError
from fwdgrad.integrate import Adaptive, step_map
from fwdgrad.linear import TracedModel
from fwdgrad.support.trees import flatten, map_leaves, unflatten
from fwdgrad.system import System

__all__ = ["Timed", "grid"]

OfTime = Callable[[float], Any]
"""A signal: from the time to an input, or a target, as a system declares it."""

NODES = {"euler": (0.0,), "heun": (0.0, 1.0), "rk4": (0.0, 0.5, 0.5, 1.0)}
"""Where in a step, as parts of δt, a method evaluates the rate, in this order."""


class Timed:
    """h ↦ h(t + δt), with δt and the inputs at the method's own times as inputs of the map.

    An input that changes in time has to be known inside a step, or every method would be of order 1. The output is
    evaluated where the state is, at the end of the step.

    Args:
        system: declared by a rate, with a number `dt`; its dt and substeps are not used.
        x_of_t: the input at time t, of the kind that the system declares; None for an autonomous system.
        y_of_t: the target at time t; None if nothing is learned.
        who: what to call the caller in messages.

    Attributes:
        system: as declared.
        map: the map as a system of its own, whose example input is {"dt": δt, "x": inputs, one row a time}.
        euler: the map of Euler's method, with the same inputs. Its ∂h'/∂θ is δt ∂F/∂θ, as sparse as that of F.
        rate: F itself, as if it were a map: its linearization has J = ∂F/∂h and ∂F/∂θ.
        params: coordinates of θ at which everything happens.

    Raises:
        DeclarationError: the system has no rate, or something that has no limit in continuous time.
        ShapeError: what a signal gives is not of the declared kind.
        UnknownNameError: `params` has a parameter that is not declared.

    Example:
        >>> import numpy as np, fwdgrad as fg
        >>> F = lambda h, x, p: x - p["k"] * h
        >>> system = fg.System(F, None, np.zeros(1), {"k": 1.0}, np.zeros(1), dt=0.1, method="heun")
        >>> timed = Timed(system, lambda t: np.array([np.cos(t)]))
        >>> [rows.shape for rows in timed.inputs(0.25, 8)]  # δt, and the input at both ends of each step
        [(8,), (8, 2, 1)]
    """

    def __init__(
        self,
        system: System,
        x_of_t: OfTime | None = None,
        y_of_t: OfTime | None = None,
        params: Mapping[str, Any] | None = None,
        who: str = "refine",
    ) -> None:
        _check(system, who)
        for label, signal in (("x_of_t", x_of_t), ("y_of_t", y_of_t)):
            if signal is not None and not callable(signal):
                raise DeclarationError(
                    f"{who}({label}=…): expected a function of the time, got {signal!r}.\n"
                    f"Write {label}=lambda t: …; for samples in an array, an interpolation of them."
                )
        if (x_of_t is None) != (system.x is None):
            expected = "None: the system is autonomous" if system.x is None else "a function of the time"
            raise DeclarationError(f"{who}(x_of_t=…): expected {expected}, got {x_of_t!r}.")
        if isinstance(system.integrator, Adaptive):
            raise DeclarationError(
                f"{who}: method {str(system.method)!r} chooses its steps, so that there is no step δt to make small.\n"
                "Say which method makes the steps: system.replace(method='rk4')."
            )
        if system.events:
            raise DeclarationError(
                f"{who}: the limit of small steps is that of rates, and this system has events.\nLeave them out: "
                "system.replace(events=())."
            )
        if system.past is not None:
            raise DeclarationError(
                f"{who}: the limit of small steps is that of rates at one time, and this system has delays."
            )
        if system.algebraic is not None:
            raise DeclarationError(
                f"{who}: the limit of small steps is that of rates, and this system has algebraic equations beside.\n"
                "Solve them in F, with fwdgrad.program.root."
            )
        method = str(system.method)
        if x_of_t is not None and method not in NODES:
            raise DeclarationError(
                f"{who}: method {method!r} asks for inputs at times that are not known beforehand.\n"
                f"With an input, use one of {', '.join(NODES)}: system.replace(method='rk4')."
            )
        self.system, self.who = system, who
        self._x_of_t, self._y_of_t, self._given = x_of_t, y_of_t, params
        self.params = system.learned(params or {})
        nodes = sorted({*NODES.get(method, ()), 1.0})
        self._nodes = np.array(nodes)
        self.map = system.replace(
            F=self._step(method, [nodes.index(c) for c in NODES.get(method, ())]),
            Y=None if system.Y is None else self._seen,
            x={"dt": np.array(system.dt, float), "x": self._at(np.zeros(len(nodes)))},
            y=system.y,
            dt=None,
            method="euler",
            substeps=1,
            first="next",
        )
        self.euler = self.map.replace(F=self._step("euler", [0]))
        self.rate = system.replace(Y=None, y=None, loss=None, dt=None, method="euler", substeps=1, first="next")

    def precise(self) -> Timed:
        """The same in double precision, for solvers that choose their steps by differences."""
        if self.system.dtype == np.float64:
            return self
        return Timed(self.system.astype(np.float64), self._x_of_t, self._y_of_t, self._given, self.who)

    @property
    def leaves(self) -> tuple[str, ...]:
        """The learned parameters that the rate uses: those with an influence on the state."""
        return TracedModel(self.rate).leaves

    def _step(self, method: str, turns: list[int]) -> Callable[[Any, Any, Any], Any]:
        """The transition by a method; evaluation number k of the rate is with input number turns[k]."""
        system, integrate = self.system, step_map(method)

        def step(h: Any, given: Any, theta: Any) -> Any:
            order = iter(turns)

            def rate(flat: Any) -> Any:
                x = None if system.x is None else _row(given["x"], next(order))
                return system.pack(system.F(system.unpack(flat), x, theta))

            return system.unpack(integrate(rate, system.pack(h), given["dt"]))

        return step

    def _seen(self, h: Any, given: Any, theta: Any) -> Any:
        """The output of `map`."""
        assert self.system.Y is not None
        x = None if self.system.x is None else _row(given["x"], -1)
        return self.system.Y(h, x, theta)

    # ---- signals

    def x(self, t: float) -> Any:
        """The input at a time, as F takes it."""
        return None if self._x_of_t is None else self._signal("x_of_t", self._x_of_t, t, self.system.x)

    def y(self, t: float) -> list[np.ndarray]:
        """The target at a time, as flat arrays.

        Raises:
            DeclarationError: there is none.
        """
        if self._y_of_t is None:
            raise DeclarationError(f"{self.who}: learning needs a target at every time. Give y_of_t=lambda t: ….")
        return flatten(self._signal("y_of_t", self._y_of_t, t, self.system.y))

    def inputs(self, dt: float, steps: int) -> list[np.ndarray]:
        """What the map is given at each of so many steps from t = 0 on: flat arrays (steps, …)."""
        starts = dt * np.arange(steps)
        rows = [np.full(steps, dt, self.system.dtype)]
        if self.system.x is None:
            return rows
        made = [flatten(self._at(start + dt * self._nodes)) for start in starts]
        return rows + [np.stack(column) for column in zip(*made, strict=True)]

    def given(self, t: float) -> list[np.ndarray]:
        """What the map's output at time t is given, as `inputs` gives it: flat arrays of one row."""
        rows = [np.full(1, self.system.dt, self.system.dtype)]
        return rows + [leaf[None] for leaf in flatten(self._at(np.full(len(self._nodes), t)))]

    def targets(self, dt: float, steps: int) -> list[np.ndarray]:
        """The targets at the ends of these steps: flat arrays (steps, …)."""
        made = [self.y(dt * (k + 1)) for k in range(steps)]
        return [np.stack(column) for column in zip(*made, strict=True)]

    def _at(self, times: np.ndarray) -> Any:
        """Inputs at several times, stacked."""
        if self.system.x is None:
            return None
        rows = [flatten(self.x(float(t))) for t in times]
        return unflatten(self.system.x, [np.stack(column) for column in zip(*rows, strict=True)])

    def _signal(self, label: str, signal: OfTime, t: float, like: Any) -> Any:
        value = signal(t)
        wrong = ShapeError(f"{self.who}: expected {label} to return {_kind(like)}, got {value!r} at t = {t:g}.")
        keys = sorted(like) if isinstance(like, dict) else None
        if (sorted(value) if isinstance(value, Mapping) else None) != keys:
            raise wrong
        leaves = [value[k] for k in like] if isinstance(like, dict) else [value]
        made = []
        for leaf, e in zip(leaves, flatten(like), strict=True):
            try:
                v = np.asarray(leaf)
                v = v if np.iscomplexobj(v) else v.astype(e.dtype)
            except (TypeError, ValueError):
                raise wrong from None
            if np.iscomplexobj(v) or v.shape != e.shape or not np.all(np.isfinite(v)):
                raise wrong
            made.append(v)
        return unflatten(like, made)


def _row(rows: Any, k: int) -> Any:
    """One row of every array."""
    return map_leaves(lambda leaf: leaf[k], rows)


def _kind(like: Any) -> str:
    if isinstance(like, dict):
        return f"a dict with the keys {sorted(like)}, each of the declared shape"
    return f"finite numbers of shape {like.shape}"


def _check(system: Any, who: str) -> None:
    if not isinstance(system, System):
        raise DeclarationError(f"{who}: expected a fg.System, got {system!r}. Declare one: fg.System(F, Y, …, dt=0.1).")
    if not isinstance(system.dt, float):
        given = "a map (dt=None)" if system.dt is None else f"dt={system.dt!r}, which comes with each sample"
        raise DeclarationError(
            f"{who}: expected a system that is declared by its rate dh/dt, with a number dt; got {given}.\n"
            "A map has no limit of small steps. Write F as a rate, and System(..., dt=0.1)."
        )
    if system.init is not None or system.corrects:
        what = "a learned initial state" if system.init is not None else "injection"
        raise DeclarationError(
            f"{who}: {what} is given sample by sample, which has no limit of small steps.\n"
            "Declare the system with a fixed initial state, and without injection."
        )


def grid(horizon: Any, dts: Any, who: str = "refine") -> np.ndarray:
    """The number of steps to the horizon for each δt, from the largest δt to the smallest, shape (K,).

    Raises:
        DeclarationError: δt is not a positive number, is given twice, or does not divide the horizon.

    Example:
        >>> grid(1.0, [0.05, 0.1]).tolist()
        [10, 20]
    """
    numbers = [horizon, *np.ravel(np.asarray(dts, float))]
    if len(numbers) < 2 or not all(isinstance(v, (int, float)) and 0 < v < math.inf for v in numbers):
        raise DeclarationError(f"{who}: expected a positive horizon and positive dts, got {horizon!r} and {dts!r}.")
    steps = [horizon / v for v in sorted(numbers[1:], reverse=True)]
    whole = np.array([round(s) for s in steps])
    if np.any(np.abs(steps - whole) > 1e-9 * whole) or len(set(whole.tolist())) < len(whole):
        raise DeclarationError(
            f"{who}: expected dts that divide the horizon {horizon:g} into whole numbers of steps, each given once;\n"
            f"got {[float(v) for v in numbers[1:]]}. Write dts=[{horizon:g} / n for n in (64, 128, 256)]."
        )
    return whole
