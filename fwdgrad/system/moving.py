"""A sample of a system: F itself, or the steps of an integrator, through events, with what is remembered."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from fwdgrad.integrate import At, Constrained, Past, When, located, scheduled, softened
from fwdgrad.program import repeat
from fwdgrad.support.trees import cut, flatten, unflatten
from fwdgrad.system.checks import check_delays, packed
from fwdgrad.system.constraints import Constraint
from fwdgrad.system.parameters import Parameter
from fwdgrad.system.simulation import Simulated

__all__ = ["Moving"]


class Moving(Simulated):
    """A `System` as what moves from one sample to the next."""

    substeps: int
    constraint: Constraint | None = None
    steady = 0
    """State variables at the end of h that no gain corrects."""

    @abstractmethod
    def unpack(self, h: Any) -> Any:
        """The vector h in the containers and shapes that the user declared."""

    @property
    def surrogates(self) -> str:
        """What is said of derivatives that are not those of the map; nothing if they are."""
        widths = [f"{e.surrogate:g}" for e in self.events if isinstance(e, When) and e.surrogate is not None]
        if not widths:
            return ""
        return f"derivatives are biased, by surrogates at events (fg.When(surrogate=…)) of width {', '.join(widths)}"

    def without_surrogates(self) -> Any:
        """The same system with exact derivatives."""
        if not self.surrogates:
            return self
        return self.replace(events=[replace(e, surrogate=None) if isinstance(e, When) else e for e in self.events])

    def _remember(self, delays: Any, declared: Mapping[str, Any], dt: Any) -> None:
        """Make the past that delays ask for a part of the state.

        Raises:
            DeclarationError, ShapeError: they do not go with the rest.
        """
        self.past = None
        if not delays:
            return
        check_delays(delays, self.state, dt, self.integrator)
        bounds = {
            k: float(p.value) if not p.learn and np.ndim(p.value) == 0 else getattr(p.coordinate, "high", np.inf)
            for k, p in declared.items()
            if isinstance(p, Parameter)
        }
        theta = self.natural(self.coordinates)
        self.past = Past(delays, self.state, bounds, theta, float(dt), self.substeps)
        self.state = self.past.extended(self.state)
        self.steady += sum(v.size for v in flatten(self.state)) - self.past.free(self.state)

    def moved(self, h: Any, x: Any, theta: Mapping[str, Any]) -> Any:
        """The flat h a sample later: F, integrated if `dt` is given, and nothing else of `transition`."""
        if self.dt is None:
            return self._pack(self.F(self.unpack(h), x, theta), "F")
        dt = (x[self.dt] if isinstance(self.dt, str) else self.dt) / self.substeps
        if self.substeps == 1:
            return self.integrated(h, x, theta, dt)
        return repeat(lambda now: self.integrated(now, x, theta, dt), h, self.substeps)

    def integrated(self, h: Any, x: Any, theta: Mapping[str, Any], dt: Any) -> Any:
        """The flat h after one step of the integrator, of length `dt`, and through its events; where F is a rate."""
        memory = self.past
        if memory is None:
            return self._stepped(h, x, theta, dt, self.unpack, lambda value, who, _: self._pack(value, who))
        now, past = memory.split(self.unpack(h))
        like = {k: self.state[k] for k in now}
        shapes = [leaf.shape for leaf in flatten(like)]

        def read(z: Any) -> Any:  # the state, and the time since the step began
            return unflatten(like, cut(z[:-1], shapes)) | memory.seen(now, past, z[-1], theta)

        def write(value: Any, who: str, clock: Any) -> Any:
            if isinstance(value, Mapping):
                value = {k: v for k, v in value.items() if k not in memory.delays}
            return np.concatenate([packed(value, like, self.dtype, who), clock])

        begun = np.concatenate([h[: memory.free(self.state)], np.zeros(1, self.dtype)])
        ended = self._stepped(begun, x, theta, dt, read, write)
        first, last = (self.F(read(z), x, theta) for z in (begun, ended))
        return np.concatenate([ended[:-1], *map(np.ravel, flatten(memory.after(now, past, first, last)))])

    def _stepped(self, h: Any, x: Any, theta: Mapping[str, Any], dt: Any, read: Any, write: Any) -> Any:
        """The same, given how a vector is read as a state, and written from one, who made it, and its clock."""
        one = np.ones(1, self.dtype)

        def plain(now: Any) -> Any:
            return write(self.F(read(now), x, theta), "F", one)

        rate = plain if self.constraint is None else self.constraint.rate(self.F, x, theta)

        def settled(now: Any) -> Any:
            return rate.settled(now) if isinstance(rate, Constrained) else now

        def changed(event: At | When) -> Any:
            who = f"{type(event).__name__}(change=…)"
            return lambda now: settled(write(event.change(read(now), x, theta), who, now[len(now) - 1 :]))

        def through(now: Any, length: Any) -> Any:
            return settled(self.integrator(rate, now, length))

        def resetting(now: Any, length: Any) -> Any:
            conditions = [lambda now, e=e: e.condition(read(now), x, theta) for e in resets]
            changes = [changed(e) for e in resets]
            after = located(through, now, length, conditions, changes)
            return softened(after, conditions, changes, [e.surrogate for e in resets])

        resets = [event for event in self.events if isinstance(event, When)]
        known = [event for event in self.events if isinstance(event, At)]
        step = resetting if resets else through
        if not known:
            return step(h, dt)
        moments = [event.moments(theta, self.dtype) for event in known]
        return scheduled(step, h, read(h)["t"], dt, moments, [changed(e) for e in known])

    def _read(self, h: Any, theta: Mapping[str, Any]) -> Any:
        """The state as functions are given it: in its containers, with what is delayed in place of the past."""
        if self.past is None:
            return self.unpack(h)
        now, past = self.past.split(self.unpack(h))
        return now | self.past.seen(now, past, 0.0, theta)
