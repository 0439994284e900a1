"""Many replicas that learn: each has a state, parameters and an influence of its own."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from fwdgrad.errors import NonFiniteError
from fwdgrad.estimators import Estimator
from fwdgrad.learning.noise import NoiseStream
from fwdgrad.learning.step import Carry, Steps
from fwdgrad.limits.lockstep import Lockstep
from fwdgrad.limits.timed import Timed
from fwdgrad.linear import TracedModel
from fwdgrad.optimizers.base import declaration_error, positive
from fwdgrad.optimizers.rates import Rate, rate_at
from fwdgrad.program import map_rows
from fwdgrad.support.trees import flatten, map_leaves, unflatten

__all__ = ["Learners", "rate_of_time"]

CHECKED = 257
"""Times at which a rate is looked at before it is used."""


class Learners:
    """R learners of one system by dθ = −η(t) g dt, side by side, each with noise of its own.

    Every step is that of a learner with the optimizer `SGD(η(t) δt)`.

    Args:
        timed: the system, with a target.
        estimator: with a window of one step.
        rate: η per unit time: a number, or a function of the time t.
        count: R.
        engine: see `Lockstep`.

    Raises:
        DeclarationError: the rate is no such number or function.
    """

    def __init__(self, timed: Timed, estimator: Estimator, rate: Rate, count: int, engine: str = "auto") -> None:
        self.timed, self.estimator, self.count, self._engine = timed, estimator, count, engine
        self.rate = rate_of_time(rate, f"{timed.who}(rate)")
        self._model = TracedModel(timed.map)
        steps = self._steps(0.0, 0.0)
        self.specs = tuple(s for s in steps.noise if s.when == "step")
        self._start = tuple(s for s in steps.noise if s.when == "start")
        self._one = steps.init(tuple(np.ones(s.shape, timed.system.dtype) for s in self._start))
        self._one = self._one._replace(params=dict(timed.params))

    @property
    def random(self) -> bool:
        """Whether there is any noise, in the steps or at the start."""
        return bool(self.specs or self._start)

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k != "_loop"}

    def _steps(self, time: Any, dt: Any) -> Steps:
        return Steps(self._model, self.estimator, _Descent(self.rate, time, dt))

    def stream(self, rng: np.random.Generator) -> NoiseStream:
        """Independent noise for all replicas."""
        specs = [s._replace(shape=(self.count, *s.shape)) for s in (*self._start, *self.specs)]
        return NoiseStream(rng, specs, self.timed.system.dtype)

    def prepare(self) -> Learners:
        """Trace and compile now: before threads need it."""
        assert self._loop
        return self

    @property
    def seconds(self) -> float:
        """What a step of all of them takes, about, on the NumPy engine; 0 where it is compiled."""
        return self._loop.seconds

    def start(self, drawn: tuple[np.ndarray, ...] = ()) -> Any:
        """The learners at t = 0: (time, `Carry`), every array of the latter with a leading axis of replicas."""
        held = map_leaves(lambda leaf: np.repeat(np.asarray(leaf)[None], self.count, axis=0), self._one)
        if drawn:
            steps = self._steps(0.0, 0.0)
            made = [flatten(steps.influence.init(steps.layout, tuple(a[r] for a in drawn))) for r in range(self.count)]
            held = held._replace(influence=unflatten(self._one.influence, list(map(np.stack, zip(*made, strict=True)))))
        return np.zeros(()), held

    def run(self, carry: Any, given: list[np.ndarray], targets: list[np.ndarray], noise: list[np.ndarray]) -> Any:
        """The learners after some steps.

        Args:
            carry: what `start`, or this, returned.
            given: `Timed.inputs` of these steps.
            targets: `Timed.targets` likewise.
            noise: for each of `specs` an array (steps, R, *shape).

        Raises:
            NonFiniteError: see `Lockstep`.
        """
        return unflatten(carry, self._loop(flatten(carry), [*given, *targets, *noise]))

    def params(self, carry: Any, step: int) -> dict[str, np.ndarray]:
        """θ of all replicas as F and Y see it, by name, arrays (R, *shape).

        Args:
            carry: what `start` or `run` returned.
            step: how many steps that is after.

        Raises:
            NonFiniteError: some of it is not finite, though the coordinates that are learned are.
        """
        system, held = self.timed.system, carry[1].params
        with np.errstate(all="ignore"):
            if all(held[k] is v for k, v in system.natural(held).items()):
                return dict(held)  # what is learned is θ itself
            made = [system.natural({k: v[r] for k, v in held.items()}) for r in range(self.count)]
        params = {k: np.stack([np.asarray(m[k]) for m in made]) for k in made[0]}
        for k, v in params.items():
            if not np.all(np.isfinite(v)):
                raise NonFiniteError(
                    f"{self.timed.who}: parameter {k} is not finite, as its coordinate has gone too far.\n"
                    "Usual cause: a learning rate that is too large.",
                    step=step,
                    quantity=k,
                )
        return params

    @cached_property
    def _loop(self) -> Lockstep:
        system = self.timed.map
        rows = (system.given, system.y, [np.zeros((self.count, *s.shape), system.dtype) for s in self.specs])
        like = (self.start(tuple(np.ones((self.count, *s.shape), system.dtype) for s in self._start)), rows)

        def step(*flat: Any) -> tuple[Any, ...]:
            (time, carry), (given, y, noise) = unflatten(like, flat)
            steps, leaves = self._steps(time, given["dt"]), flatten(carry)

            def learn(*row: Any) -> list[Any]:
                before: Carry = unflatten(self._one, row[: len(leaves)])
                after, outcome = steps.learn(before, given, y, row[len(leaves) :])
                return [*flatten(after), outcome.health]

            *made, health = map_rows(learn, *leaves, *noise)
            return (time + given["dt"], *made, np.sum(health))

        name = f"{self.timed.system.name} ({self.estimator.name}, learning)"
        return Lockstep(step, flatten(like[0]), flatten(rows), name, self._engine)


def rate_of_time(rate: Any, subject: str, horizon: float = 0.0) -> Rate:
    """A rate that is a number, or a function of the time; checked from 0 to the horizon.

    Raises:
        DeclarationError: it is no number or function, or gives something else than numbers from 0 on.
    """
    mend = "give a number per unit of time, such as 0.1, or a function of the time: lambda t: 0.1 * np.exp(-t)"
    if not callable(rate):
        return positive(subject, rate, mend)
    for t in np.linspace(0, horizon, CHECKED) if horizon else (0.0,):
        expected = f"a finite scalar ≥ 0 at t = {t:g}"
        try:
            with np.errstate(all="ignore"):
                value = float(rate(np.asarray(t, float)))
        except Exception as error:
            said = str(error).partition("\n")[0]
            raise declaration_error(subject, expected, f"{type(error).__name__}: {said}", mend) from error
        if not (math.isfinite(value) and value >= 0):
            raise declaration_error(subject, expected, f"{value:g}", mend)
    return rate


@dataclass(frozen=True)
class _Descent:
    """θ ← θ − η(t) δt g, at a time and with a step that may be traced."""

    rate: float | Callable[[Any], Any]
    time: Any
    dt: Any

    def init(self, params: Any) -> tuple[()]:
        """Nothing is kept."""
        return ()

    def update(self, grads: Any, state: tuple[()], params: Any) -> tuple[Any, tuple[()]]:
        """The step."""
        size = rate_at(self.rate, self.time + self.dt) * self.dt
        return {k: -(size * g) for k, g in grads.items()}, ()
