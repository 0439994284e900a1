"""Equations that remember: x(t − τ), from a ring of the last steps that is part of the state.

Of every step that was made the ring holds x at its start and the rates at both of its ends. Between them x is Hermite's
cubic (order 4, as RK4 is), so that x(t − τ) is a smooth function of what the ring holds, and of τ: derivatives in all
parameters, τ among them, go through both, exactly for the map that is executed. Rates have two ends because they jump
where inputs do, and at the start, before which the state was what it is there.

Where a derivative of x jumps within a step, as it does τ after the start, that step is made with order 2 (Bellen &
Zennaro 2003, chapter 2).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fwdgrad.errors import DeclarationError, ShapeError, did_you_mean
from fwdgrad.support.arguments import suggests

__all__ = ["BEFORE", "Delay", "Past"]

BEFORE = " before"
"""What the name of a state variable ends in, where it is that of its past."""
MOST = 10_000
"""Steps that a past holds, at most."""
SLACK = 1e-9
"""Of a step: delays are that much shorter or longer by rounding."""


@suggests
@dataclass(frozen=True)
class Delay:
    """A state variable as it was a while ago, x(t − τ), for `System(delays={"late": Delay("x", τ)})`.

    F and Y find it among the state by its label, `h["late"]`. Before the start, the state was what it is there. The
    past is kept on the grid of the integrator's steps, so that these have one size: a number `dt`, and a method of
    fixed steps. A delay is not shorter than a step.

    Args:
        of: the name of a state variable, which is a dict.
        by: τ, in the unit of `dt`: a number; the name of a parameter; or a function of θ that returns a number.
        longest: how far the past reaches. It may be left out for a number, a fixed parameter, and one that has an upper
            bound.

    Raises:
        DeclarationError: τ is no positive number; or, by `System`, shorter than a step, longer than `longest`, or not
            known to end anywhere.

    Example:
        >>> import numpy as np, fwdgrad as fg
        >>> def blood(h, x, p):  # Mackey and Glass (1977)
        ...     return {"x": 0.2 * h["late"] / (1 + h["late"] ** 10) - p["loss"] * h["x"]}
        >>> system = fg.System(
        ...     blood, lambda h, x, p: h["x"], {"x": np.array(1.2)},
        ...     {"loss": 0.1, "tau": fg.bounded(17.0, 1.0, 30.0)}, dt=1.0, substeps=2,
        ...     delays={"late": fg.Delay("x", "tau")},
        ... )  # fmt: skip
        >>> print(system.simulate(steps=100).outputs[-1].round(3))
        1.014
    """

    of: str
    by: Any
    longest: float | None = None

    def __post_init__(self) -> None:
        if callable(self.by) or isinstance(self.by, str):
            numbers = [] if self.longest is None else [self.longest]
        else:
            numbers = [self.by] if self.longest is None else [self.by, self.longest]
        for number in numbers:
            try:
                value = float(number)
            except (TypeError, ValueError):
                value = math.nan
            if value == 0:
                raise DeclarationError(f"Delay({self.of!r}, …): a delay of 0 is none; use {self.of!r} itself.")
            if not 0 < value < math.inf:
                raise DeclarationError(
                    f"Delay({self.of!r}, …): expected a positive time, the name of a parameter or a function of θ, got "
                    f"{np.asarray(number)}.\nA system knows its past, not its future."
                )

    def length(self, theta: Mapping[str, Any]) -> Any:
        """τ."""
        return self.by(theta) if callable(self.by) else theta[self.by] if isinstance(self.by, str) else float(self.by)


class Past:
    """The past of some state variables, as part of a state.

    Args:
        delays: by label.
        state: the declared state, a dict.
        bounds: of each parameter, the largest value that it can have.
        theta: the declared parameters.
        dt: the time between samples.
        substeps: steps for each.

    Attributes:
        counts: of each state variable that is remembered, the number of steps that are kept.
        step: the length of each.

    Raises:
        DeclarationError: there is no such variable or parameter, a label is taken, or a delay is shorter than a step,
            longer than the past, or not known to end.
    """

    def __init__(
        self,
        delays: Mapping[str, Delay],
        state: Mapping[str, Any],
        bounds: Mapping[str, float],
        theta: Mapping[str, Any],
        dt: float,
        substeps: int,
    ) -> None:
        self.delays, self.step = dict(delays), dt / substeps
        self.counts: dict[str, int] = {}
        for label, delay in self.delays.items():
            if delay.of not in state:
                raise DeclarationError(
                    f"delays: there is no state variable {delay.of!r}. {did_you_mean(delay.of, state)}"
                )
            if label in state:
                raise DeclarationError(f"delays: {label!r} is a state variable itself. Give what is delayed a name.")
            if isinstance(delay.by, str) and delay.by not in theta:
                raise DeclarationError(f"delays: there is no parameter {delay.by!r}. {did_you_mean(delay.by, theta)}")
            longest = self._longest(delay, bounds)
            self._check(label, delay, np.asarray(delay.length(theta)), longest)
            samples = math.ceil(longest / dt - SLACK)
            if samples * substeps > MOST:
                raise DeclarationError(
                    f"delays: {label!r} may be as long as {longest:g}, {samples * substeps:,} steps of {self.step:g}; "
                    f"the most is {MOST:,}.\nSay what it is at most (longest=, or bounds), or make steps longer."
                )
            self.counts[delay.of] = max(self.counts.get(delay.of, 1), samples * substeps)
        self._longest_of = {k: self._longest(delay, bounds) for k, delay in self.delays.items()}

    @staticmethod
    def _longest(delay: Delay, bounds: Mapping[str, float]) -> float:
        if delay.longest is not None:
            return float(delay.longest)
        if not callable(delay.by) and not isinstance(delay.by, str):
            return float(delay.by)
        longest = bounds.get(delay.by, math.inf) if isinstance(delay.by, str) else math.inf
        if not 0 < longest < math.inf:
            what = f"the parameter {delay.by!r} has no upper bound" if isinstance(delay.by, str) else "it is computed"
            raise DeclarationError(
                f"delays: how far back {delay.of!r} is needed is not known: {what}.\n"
                "Give the parameter bounds, as `in (1, 30)` or fg.bounded(17, 1, 30); or say how far at most:\n"
                "Delay(…, longest=30), delay(x, tau, 30)."
            )
        return longest

    def _check(self, label: str, delay: Delay, length: np.ndarray, longest: float) -> None:
        if length.shape != ():
            raise DeclarationError(f"delays: {label!r} is one number; got the shape {length.shape}.")
        wrong = self.wrong(label, float(length), longest)
        if wrong:
            raise DeclarationError(f"delays: {wrong}")

    def wrong(self, label: str, length: float, longest: float | None = None) -> str:
        """What is wrong with a delay of this length, and its mend; nothing if it can be had."""
        delay = self.delays[label]
        longest = self._longest_of[label] if longest is None else longest
        name = f"the delay of {delay.of!r}" + (f", {delay.by!r}," if isinstance(delay.by, str) else "")
        if not length > 0:
            return (
                f"{name} is {length:g}; it has to be positive.\nGive the parameter bounds: fg.bounded(value, 0, high)."
            )
        if length < self.step * (1 - SLACK):
            return (
                f"{name} is {length:g}, shorter than a step of {self.step:g}: within a step nothing is remembered.\n"
                "Make steps shorter (dt, substeps=…), or bound it from below."
            )
        if length > longest * (1 + SLACK):
            return f"{name} is {length:g}, longer than its past of {longest:g}.\nSay Delay(…, longest=…), or bound it."
        return ""

    # ---- as part of a state

    def begun(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """The past of a state that was the same for ever."""
        made = {}
        for name, count in self.counts.items():
            value = np.stack([state[name]] * count)
            made[name + BEFORE] = np.stack([value, 0.0 * value, 0.0 * value])
        return made

    def extended(self, state: Any) -> Any:
        """A state with its past, that which it was given with or a constant one.

        Raises:
            ShapeError: it was given with another one.
        """
        if not isinstance(state, Mapping) or not all(k in state for k in self.counts):
            return state  # which is refused for what it lacks
        past = self.begun(state)
        for key, like in past.items():
            if key in state and np.shape(state[key]) != np.shape(like):
                raise ShapeError(
                    f"state[{key!r}]: expected shape {np.shape(like)}, values and two rates of as many steps as are "
                    f"remembered; got {np.shape(state[key])}.\nLeave it out: the state was the same before, then."
                )
        return {
            **{k: v for k, v in state.items() if k not in past},
            **past,
            **{k: state[k] for k in past if k in state},
        }

    def declared(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """A state without a past that is constant, as another grid makes it anew."""
        own, _ = self.split(state)
        constant = all(np.array_equal(state[k], v) for k, v in self.begun(own).items())
        return own if constant else dict(state)

    def split(self, state: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """The variables that are declared, and the past."""
        own = {k: v for k, v in state.items() if k.removesuffix(BEFORE) not in self.counts or k in self.counts}
        return own, {k: state[k + BEFORE] for k in self.counts}

    def free(self, state: Mapping[str, Any]) -> int:
        """How many numbers of a state are not the past."""
        return sum(np.size(value) for value in self.split(state)[0].values())

    def seen(self, now: Mapping[str, Any], past: Mapping[str, Any], since: Any, theta: Mapping[str, Any]) -> Any:
        """What is delayed, by label; NaN where a delay is one that cannot be had.

        Args:
            now: the variables at the end of the past, where a step begins.
            past: arrays (3, N, …) by variable: values at the starts of the last N steps, the latest first, and rates at
                their starts and ends.
            since: time since then.
            theta: the parameters.
        """
        made = {}
        for label, delay in self.delays.items():
            length = delay.length(theta)
            late = between(now[delay.of], past[delay.of], (length - since) / self.step, self.step)
            least, most = self.step * (1 - SLACK), self._longest_of[label] * (1 + SLACK)
            late = np.where((length >= least) & (length <= most), late, np.nan)
            made[label] = late if late.dtype == now[delay.of].dtype else late.astype(now[delay.of].dtype)
        return made

    def after(self, now: Mapping[str, Any], past: Mapping[str, Any], first: Any, last: Any) -> dict[str, Any]:
        """The past a step later, from the variables and rates at its start, and the rates at its end."""
        made = {}
        for name in self.counts:
            latest = np.stack([now[name], first[name], last[name]])
            made[name + BEFORE] = np.concatenate([latest[:, None], past[name][:, :-1]], axis=1)
        return made

    def refined(self, state: Mapping[str, Any], finer: Past) -> dict[str, Any]:
        """A state with the past on another grid that reaches as far back."""
        own, past = self.split(state)
        made = dict(own)
        for name, count in finer.counts.items():
            places = finer.step / self.step * np.arange(count + 1)
            lengths = [between(own[name], past[name], q, self.step) for q in places]
            inside = 1e-6  # of an end, where rates are not those of the next step
            slopes = [
                [between(own[name], past[name], q + side * inside, self.step, rate=True) for q in places[part]]
                for side, part in ((-1, slice(1, None)), (1, slice(None, -1)))
            ]
            made[name + BEFORE] = np.stack([lengths[1:], *slopes])
        return made


def between(now: Any, past: Any, place: Any, step: float, *, rate: bool = False) -> Any:
    """Hermite's cubic at a place that is counted in steps backward; or its slope.

    Args:
        now: the value at place 0.
        past: (3, N, …), see `Past.seen`.
        place: ≥ 0.
        step: the length of a step.
        rate: whether the slope is meant.
    """
    count = np.shape(past)[1]
    whole = np.minimum(np.maximum(np.floor(place), 0.0), count - 1.0)
    part = whole + 1.0 - place  # of the step, from its start
    number = whole.astype(int) if hasattr(whole, "astype") else int(whole)
    ends = np.concatenate([np.reshape(now, (1, *np.shape(now))), past[0]])
    start, end = ends[number + 1], ends[number]
    first, last = past[1][number], past[2][number]
    if rate:
        slope = 6.0 * part * (1.0 - part) * (end - start) / step
        return slope + first * (1.0 - part) * (1.0 - 3.0 * part) + last * part * (3.0 * part - 2.0)
    left = 1.0 - part
    value = start * (1.0 + 2.0 * part) * left**2 + end * part**2 * (3.0 - 2.0 * part)
    return value + step * part * left * (first * left - last * part)
