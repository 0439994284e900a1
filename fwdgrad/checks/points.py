"""The points where functions are compared, and moving away from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from fwdgrad.errors import DeclarationError
from fwdgrad.linear import Model
from fwdgrad.support.trees import flatten, unflatten
from fwdgrad.support.types import Leaves
from fwdgrad.system import System

__all__ = ["Function", "Point", "Points"]

Function = Callable[[Any, Any, list[Leaves]], Any]
"""(states, arrays (N, n); x; N times θ) ↦ values, arrays (N, *shape)."""


@dataclass(frozen=True)
class Point:
    """Where functions are compared: h before the step, h' after it."""

    h: Any
    x: Any
    params: Leaves
    after: Any
    y: Any


class Points:
    """Random points along a trajectory, and directions to move in.

    Attributes:
        system: what is checked.
        exact: the same in double precision.
        model: its derivatives.
        rng: where points and directions come from.
        points: the points.
    """

    system: System
    exact: System
    model: Model
    rng: np.random.Generator
    points: list[Point]

    def _point(self, walk: int) -> Point:
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

    def _drawn(self, walk: int, spread: float, low: float) -> Point:
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
        return Point(h, x, params, after, y)

    # ---- finite differences of the plain functions

    def _loss_at(self, system: System, after: Any, x: Any, params: Leaves, y: Any) -> Any:
        return system.loss.value(system.output(after, x, params), y)

    def _direction(self, value: Any) -> Any:
        """Random, of the size of `value`, entry by entry. Zeros stay."""
        return (
            np.abs(value) * self.rng.uniform(0.5, 1.0, np.shape(value)) * self.rng.choice([-1.0, 1.0], np.shape(value))
        )

    def _directions(self, point: Point, h: Any) -> Iterator[tuple[str, Any, Leaves]]:
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

    def _cast(self, leaves: Leaves) -> Leaves:
        return {k: np.asarray(v).astype(self.system.dtype) for k, v in leaves.items()}
