"""Many replicas of an estimator along one trajectory, with θ fixed: state and Jacobians are the same for all."""

from __future__ import annotations

from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from fwdgrad.estimators import Estimator
from fwdgrad.learning.noise import NoiseStream
from fwdgrad.learning.step import Steps
from fwdgrad.limits.lockstep import Lockstep
from fwdgrad.limits.rate_noise import RateNoiseModel
from fwdgrad.limits.timed import Timed
from fwdgrad.linear import TracedModel
from fwdgrad.program import map_rows
from fwdgrad.support.trees import flatten, unflatten

__all__ = ["Arrived", "Replicas"]

FACTORS = ("v", "w", "u", "H", "G")
"""Fields of an influence whose motion is measured: what G̃ is a product of."""


class Arrived(NamedTuple):
    """R replicas at the horizon."""

    state: np.ndarray
    """h, shape (n,)."""
    influence: Any
    """As the estimator keeps it; every array with a leading axis of replicas."""
    moved: np.ndarray
    """Σ ‖Δ‖² over the steps for each of `Replicas.factors`, shape (R, factors)."""


class Replicas:
    """R copies of an estimator's influence, advanced side by side by the estimator's own reduction.

    Everything that does not depend on the noise, the state and its linearization, is computed once for all of them.

    Args:
        timed: the system.
        estimator: with a window of one step.
        count: R.
        rows: "map" takes B of the method's map; "rate" puts δt ∂F/∂θ in its place, see `fwdgrad.limits.rate_noise`.
        engine: see `Lockstep`.

    Attributes:
        specs: what each replica asks for as noise at every step; start_specs: what it draws once.
        factors: the fields of the influence whose motion is measured.
    """

    def __init__(self, timed: Timed, estimator: Estimator, count: int, rows: str = "map", engine: str = "auto") -> None:
        self.timed, self.estimator, self.count, self._engine = timed, estimator, count, engine
        model: Any = RateNoiseModel(timed) if rows == "rate" else TracedModel(timed.map)
        self._steps = Steps(model, estimator, _Fixed())
        self.influence, self.layout = self._steps.influence, self._steps.layout
        specs = self.influence.noise(self.layout)
        self.specs = tuple(s for s in specs if s.when == "step")
        self.start_specs = tuple(s for s in specs if s.when == "start")
        self._one = self.influence.init(
            self.layout, tuple(np.ones(s.shape, self.layout.dtype) for s in self.start_specs)
        )
        self.factors = tuple(k for k in FACTORS if k in getattr(self._one, "_fields", ()))

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k != "_loop"}  # what was compiled stays in its process

    def stream(self, rng: np.random.Generator) -> NoiseStream:
        """Independent noise for all replicas: `NoiseStream.start` and `take` give what `run` wants."""
        specs = [s._replace(shape=(self.count, *s.shape)) for s in (*self.start_specs, *self.specs)]
        return NoiseStream(rng, specs, self.layout.dtype)

    def prepare(self) -> Replicas:
        """Trace and compile now: before threads need it."""
        assert self._loop
        return self

    @property
    def seconds(self) -> float:
        """What a step of all of them takes, about, on the NumPy engine; 0 where it is compiled."""
        return self._loop.seconds

    def run(self, dt: float, steps: int, noise: list[np.ndarray], start: tuple[np.ndarray, ...] = ()) -> Arrived:
        """So many steps of δt from t = 0.

        Args:
            dt: δt.
            steps: how many.
            noise: for each of `specs` an array (steps, R, *shape).
            start: for each of `start_specs` an array (R, *shape).

        Raises:
            NonFiniteError: see `Lockstep`.
        """
        ended = self._loop(flatten(self._carry(start)), [*self.timed.inputs(dt, steps), *noise])
        h, _, influence, moved = unflatten(self._like, ended)
        return Arrived(h, influence, moved)

    def dense(self, influence: Any) -> np.ndarray:
        """G̃ of each replica, shape (R, n, p)."""
        leaves = flatten(influence)
        made = []
        for r in range(self.count):
            dense = self.influence.dense(unflatten(self._one, [leaf[r] for leaf in leaves]), self.layout)
            made.append(np.concatenate([np.reshape(dense[k], (self.layout.size, -1)) for k in self.layout.leaves], 1))
        return np.stack(made)

    def sizes(self, influence: Any) -> np.ndarray:
        """‖·‖² of each of `factors` of each replica, shape (R, factors)."""
        made = np.zeros((self.count, len(self.factors)))
        for j, k in enumerate(self.factors):
            for leaf in flatten(getattr(influence, k)):
                made[:, j] += np.sum(leaf.reshape(self.count, -1) ** 2, axis=1)
        return made

    def _carry(self, start: tuple[np.ndarray, ...]) -> Any:
        """h, θ, the influences, and what has been moved so far."""
        ones = [self.influence.init(self.layout, tuple(a[r] for a in start)) for r in range(self.count)]
        stacked = unflatten(self._one, [np.stack(leaf) for leaf in zip(*map(flatten, ones), strict=True)])
        moved = np.zeros((self.count, len(self.factors)), self.layout.dtype)
        return self.timed.map.initial, dict(self.timed.params), stacked, moved

    @cached_property
    def _like(self) -> Any:
        return self._carry(tuple(np.ones((self.count, *s.shape), self.layout.dtype) for s in self.start_specs))

    @cached_property
    def _loop(self) -> Lockstep:
        given = self.timed.map.given
        rows = (given, [np.zeros((self.count, *s.shape), self.layout.dtype) for s in self.specs])
        like = (self._like, rows)

        def step(*flat: Any) -> tuple[Any, ...]:
            (h, params, influence, moved), (x, noise) = unflatten(like, flat)
            lin = self._steps.model.linearize(h, x, params)
            leaves = flatten(influence)

            def advance(*row: Any) -> list[Any]:
                before = unflatten(self._one, row[: len(leaves)])
                after = self.influence.advance(before, lin, row[len(leaves) + 1 :])
                distance = [_squared(getattr(after, k), getattr(before, k)) for k in self.factors]
                far = row[len(leaves)] + np.stack(distance) if distance else row[len(leaves)]
                return [*flatten(after), far, self.influence.magnitude(after)]

            *made, magnitude = map_rows(advance, *leaves, moved, *noise)
            return (lin.value, *params.values(), *made, np.vdot(lin.value, lin.value) + np.sum(magnitude))

        name = f"{self.timed.system.name} ({self.estimator.name})"
        return Lockstep(step, flatten(self._like), flatten(rows), name, self._engine)


def _squared(after: Any, before: Any) -> Any:
    """‖after − before‖², over all arrays."""
    total: Any = 0.0
    for a, b in zip(flatten(after), flatten(before), strict=True):
        total = total + np.vdot(a - b, a - b)
    return total


class _Fixed:
    """An optimizer that keeps nothing: θ does not change here."""

    def init(self, params: Any) -> tuple[()]:
        return ()

    def update(self, grads: Any, state: Any, params: Any) -> tuple[Any, Any]:
        return {}, ()
