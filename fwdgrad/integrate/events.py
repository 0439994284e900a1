"""What happens at a moment between two samples: the state goes to the moment, is changed there, and goes on.

With h⁺ = R(h) at a time τ, a step from t to t + δt is made of a step to τ, of R, and of a step over what is left. Its
length is t + δt − τ, so where τ depends on θ, or on h, derivatives go through it: that is the saltation term

    ∂h/∂θ⁺ = R_h ∂h/∂θ⁻ + R_θ + (R_h f⁻ − f⁺) ∂τ/∂θ

(Aizerman & Gantmakher 1958), of the map that is executed and not added by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from autograd.tracer import getval, isbox

from fwdgrad.errors import DeclarationError
from fwdgrad.program import root, until
from fwdgrad.program.array import is_tracer
from fwdgrad.program.operations import stop_gradient
from fwdgrad.support.arguments import suggests

__all__ = ["At", "When", "located", "scheduled", "softened"]

SLACK = 1e-9
"""Of the time and of the step: an event so little before the end of a step belongs to the next one."""
MOST = 1000
"""Times of one event."""
MOMENTS = 100
"""At which something begins to hold, in one step; where there are more, they may be without end (Zeno)."""
HALVINGS = 30
"""Of the interval in which a moment lies, before Newton's method."""


@suggests
@dataclass(frozen=True)
class At:
    """A change of the state at given times, such as a dose, for `System(events=…)`.

    The state has to be a dict with the time, a number `"t"` whose rate is 1. A time between two samples is met exactly.
    The sample at that very time is seen before the change. Changes at one time are made in the order of declaration.

    Args:
        times: when, in the unit of `dt`: a number, several, or a function of θ that returns them. What lies before the
            start never happens.
        change: a function of (state, input, parameters) that returns the state after the change; t stays as it is. The
            input is that of the sample that the step leads to.

    Raises:
        DeclarationError: there are no times, more than a thousand, or some that are no finite numbers; or `change` is
            no function.

    Example:
        >>> import numpy as np, fwdgrad as fg
        >>> def decay(h, x, p):
        ...     return {"drug": -p["k"] * h["drug"], "t": 1.0 + 0.0 * h["t"]}
        >>> def give(h, x, p):
        ...     return {"drug": h["drug"] + p["dose"], "t": h["t"]}
        >>> system = fg.System(
        ...     decay, lambda h, x, p: h["drug"], {"drug": np.array(0.0), "t": np.array(0.0)},
        ...     {"k": 0.5, "dose": 10.0}, dt=1.0, substeps=8, events=[fg.At([0.0, 1.5], give)],
        ... )  # fmt: skip
        >>> print(system.simulate(steps=2).outputs.round(3), f"{10 * np.exp(-1) + 10 * np.exp(-0.25):.3f}")
        [ 6.065 11.467] 11.467
    """

    times: Any
    change: Callable[[Any, Any, Any], Any]

    def __post_init__(self) -> None:
        if not callable(self.change):
            raise DeclarationError(
                f"At(change=…): expected a function of (state, input, parameters), got {self.change!r}."
            )
        if callable(self.times):
            return
        try:
            times = np.array(self.times, dtype=float).reshape(-1)
        except (TypeError, ValueError):
            times = np.array([np.nan])
        if not times.size or times.size > MOST or not np.isfinite(times).all():
            raise DeclarationError(
                f"At(times=…): expected 1 to {MOST} finite times, or a function of θ that returns them, got "
                f"{self.times!r}."
            )
        object.__setattr__(self, "times", tuple(times.tolist()))

    def moments(self, theta: Any, dtype: Any) -> Any:
        """The times, shape (k,).

        Raises:
            DeclarationError: θ gives something else.
        """
        if not callable(self.times):
            return np.array(self.times, dtype)
        times = self.times(theta)
        shape = np.shape(times)
        if len(shape) > 1 or (shape and not 1 <= shape[0] <= MOST):
            raise DeclarationError(f"At(times=…): the function of θ returned the shape {shape}; expected one, or (k,).")
        return np.reshape(times, (-1,))


@suggests
@dataclass(frozen=True, repr=False)
class When:
    """A change of the state at the moment when something begins to hold, such as a reset, for `System(events=…)`.

    The moment is found in the step in which a condition that was ≤ 0 becomes > 0, as the root of what the method
    computes up to there, and derivatives go through it. A condition that is positive already acts at once. What begins
    and ends to hold within one step is not seen: steps have to be short enough for that.

    Args:
        condition: a function of (state, input, parameters) that returns a number: positive where it holds.
        change: a function of (state, input, parameters) that returns the state after the change. It has to leave the
            condition.
        surrogate: a width w > 0, in the unit of the condition c, for derivatives that are biased on purpose: at the
            end of each step the derivative of the state gets (R(h) − h) ∂f, f = ½ (1 + u/(1 + |u|)), u = c/w, as if a
            part f of the change had happened (Zenke & Ganguli 2018). So a neuron that does not fire at all is told in
            which direction its threshold is, where the exact derivative is 0. The state is the same. None: the exact
            derivative.

    Raises:
        DeclarationError: one of them is no function, or the width is not positive.

    Example:
        >>> import numpy as np, fwdgrad as fg
        >>> ball = fg.System(
        ...     lambda h, x, p: np.stack([h[1], -9.81]),
        ...     lambda h, x, p: h[:1], np.array([1.0, 0.0]), {"bounce": 0.8}, dt=0.1,
        ...     events=[fg.When(lambda h, x, p: -h[0], lambda h, x, p: np.stack([h[0], -p["bounce"] * h[1]]))],
        ... )  # fmt: skip
        >>> print(ball.simulate(steps=6).outputs[:, 0].round(4))
        [0.951  0.8038 0.5586 0.2152 0.1603 0.418 ]
    """

    condition: Callable[[Any, Any, Any], Any]
    change: Callable[[Any, Any, Any], Any]
    surrogate: float | None = None

    def __post_init__(self) -> None:
        for name in ("condition", "change"):
            if not callable(getattr(self, name)):
                raise DeclarationError(
                    f"When({name}=…): expected a function of (state, input, parameters), got {getattr(self, name)!r}."
                )
        width = self.surrogate
        if width is not None and (isinstance(width, (bool, str)) or not 0 < width < np.inf):
            raise DeclarationError(
                f"When(surrogate=…): expected a positive width, in the unit of the condition, or None; got {width!r}."
            )

    def __repr__(self) -> str:
        biased = "" if self.surrogate is None else f", surrogate={self.surrogate:g} (biased derivatives)"
        return f"When({_called(self.condition)}, {_called(self.change)}{biased})"


def located(step: Callable[[Any, Any], Any], h: Any, dt: Any, conditions: Sequence[Any], changes: Sequence[Any]) -> Any:
    """h(t + δt), through every moment at which a condition begins to hold; NaN after a hundred of them.

    Args:
        step: (h, length) ↦ the state so much later.
        h: the state, a vector.
        dt: δt.
        conditions: of each event, h ↦ a number, positive where it holds.
        changes: of each event, h ↦ h'.

    Cost: one step of the method and one of each condition where nothing happens; about fifty for each event.
    """
    dtype, count = h.dtype, len(conditions)

    def values(state: Any) -> Any:
        return np.stack([np.reshape(c(state), ()) for c in conditions])

    def turn(z: Any, clock: Any) -> tuple[Any, Any]:
        state, gone = z[:-1], z[-1]
        left = dt - gone
        first, last = values(state), values(step(state, left))
        held = (first > SLACK * np.abs(last)) & (clock[3:] < 0.5)
        begins = (last > 0.0) & ~held
        at_once, crosses = np.any(held), np.any(begins)

        def highest(part: Any) -> Any:
            return np.max(np.where(begins, values(step(state, part * left)), -np.inf))

        def halved(ends: Any, ticks: Any) -> tuple[Any, Any]:
            middle = 0.5 * (ends[0] + ends[1])
            above = highest(middle) > 0.0
            ends = np.stack([np.where(above, ends[0], middle), np.where(above, middle, ends[1])])
            return ends, np.stack(
                [np.where((ticks[2] >= HALVINGS) | ~crosses | at_once, 1.0, 0.0), 1.0, ticks[2] + 1.0]
            )

        ends = until(halved, np.array([0.0, 1.0], dtype), np.array([0.0, 1.0, 0.0], dtype), HALVINGS + 2)
        there = np.where(begins, values(step(state, ends[1] * left)), -np.inf)
        which = np.where(at_once, np.argmax(np.where(held, 1.0, 0.0)), np.argmax(there))
        mine = np.arange(count) == which
        wanted = np.where(at_once, 0.0, 1.0)

        def missed(part: Any) -> Any:
            value = np.sum(np.where(mine, values(step(state, part[0] * left)), 0.0))
            return np.reshape(np.where(crosses & ~at_once, value, part[0] - wanted), (1,)).astype(dtype)

        part = root(missed, np.reshape(np.where(crosses & ~at_once, ends[1], wanted), (1,)).astype(dtype))[0]
        happens = at_once | crosses
        state = step(state, part * left)
        for number, change in enumerate(changes):
            state = np.where(happens & mine[number], change(state), state)
        outside = ~(np.abs(part - 0.5) <= 0.5 + SLACK)  # the change has not left the condition; or no moment was found
        failed = happens & (outside | (clock[2] >= MOMENTS))
        tried = np.where(failed, MOMENTS + 1.0, clock[2] + 1.0)
        unknown = np.any(np.isnan(first) | np.isnan(last))  # a condition that is no number holds nowhere, silently
        state = np.where(failed | unknown, np.nan, state)
        ended = np.where(happens & ~failed & ~unknown, 0.0, 1.0)
        ticks = [np.stack([ended, 1.0 + 0.0 * ended, tried]), np.where(happens & mine, 1.0, 0.0)]
        return (
            np.concatenate([state, np.reshape(gone + part * left, (1,))]).astype(dtype),
            np.concatenate(ticks).astype(dtype),
        )

    begun = np.concatenate([h, np.zeros(1, dtype)])
    clock = np.concatenate([np.array([0.0, 1.0, 0.0]), np.zeros(count)]).astype(dtype)
    return until(turn, begun, clock, MOMENTS + 2)[:-1]


def softened(h: Any, conditions: Sequence[Any], changes: Sequence[Any], widths: Sequence[float | None]) -> Any:
    """The same state, with the surrogate derivatives of events that have a width; see `When`.

    Args:
        h: the state at the end of a step, a vector.
        conditions: of each event, h ↦ a number.
        changes: of each event, h ↦ h'.
        widths: of each, or None.
    """
    for condition, change, width in zip(conditions, changes, widths, strict=True):
        if width is not None:
            u = np.reshape(condition(h), ()) / width
            part = 0.5 * u / (1.0 + np.abs(u))
            h = h + (part - _held(part)) * _held(change(h) - h)
    return h


def _held(value: Any) -> Any:
    """A value without its derivative."""
    if is_tracer(value):
        return stop_gradient(value)
    while isbox(value):
        value = getval(value)
    return value


def _called(function: Any) -> str:
    return getattr(function, "__name__", repr(function))


def scheduled(
    step: Callable[[Any, Any], Any], h: Any, now: Any, dt: Any, times: Sequence[Any], changes: Sequence[Any]
) -> Any:
    """h(t + δt), through all that is due in between, in the order of time.

    Args:
        step: (h, length) ↦ the state so much later.
        h: the state, a vector.
        now: t, of the state.
        dt: δt.
        times: of each event, a vector in the unit of t.
        changes: of each event, h ↦ h'.

    Cost: one step of the method, and one more for each event that is due.
    """
    dtype = h.dtype
    every = np.concatenate(times)
    owner = np.repeat(np.arange(len(times)), [np.shape(t)[0] for t in times])
    ahead = every - now
    slack = max(SLACK, 8 * float(np.finfo(dtype).eps)) * (np.abs(now) + np.abs(dt))
    due = (ahead >= -slack) & (ahead < dt - slack)
    count = len(owner)
    earlier = np.less.outer(np.arange(count), np.arange(count))
    before = (ahead[:, None] < ahead[None, :]) | ((ahead[:, None] == ahead[None, :]) & earlier)
    rank = np.sum(np.where(before & due[:, None], 1.0, 0.0), axis=0)
    rank = np.where(due, rank, -1.0)

    def turn(z: Any, clock: Any) -> tuple[Any, Any]:
        state, gone = z[:-1], z[-1]
        chosen = rank == clock[2]
        some = np.any(chosen)
        goal = np.where(some, np.sum(np.where(chosen, ahead, 0.0)), dt)
        state = step(state, goal - gone)
        for number, change in enumerate(changes):
            state = np.where(np.any(chosen[owner == number]), change(state), state)
        ended = np.where(some, 0.0, 1.0)
        ticks = np.stack([ended, 1.0 + 0.0 * ended, clock[2] + 1.0]).astype(dtype)
        return np.concatenate([state, np.reshape(goal, (1,))]).astype(dtype), ticks

    begun = np.concatenate([h, np.zeros(1, dtype)])
    return until(turn, begun, np.array([0.0, 1.0, 0.0], dtype), count + 1)[:-1]
