"""What every rival is given: a tanh network that reads random symbols, and the random signs it reduces with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

import fwdgrad as fg
from fwdgrad import systems
from fwdgrad.influence import NoiseSpec
from fwdgrad.learning.noise import NoiseStream

SYMBOLS = 32
RATE = 1e-3
"""Of SGD."""
SEED = 0
WINDOW = 16
"""Steps of a window, where there are windows."""
INNER, OUTER = ("b", "R", "W"), ("V", "c")
"""Parameters of the transition, and of the output."""
BITS = 1 / np.log(2)


@dataclass(frozen=True)
class Problem:
    """h' = b + R[:, x] + W tanh(h), scores V tanh(h') + c, cross entropy in bits; SGD; so many steps."""

    units: int
    steps: int

    def of(self, steps: int) -> Problem:
        """The same with another number of steps."""
        return replace(self, steps=steps)

    @cached_property
    def system(self) -> fg.System:
        return systems.build("tanh-rnn", units=self.units, symbols=SYMBOLS)

    @cached_property
    def samples(self) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and targets."""
        xs, ys = np.random.default_rng(1).integers(SYMBOLS, size=(2, self.steps))
        return xs, ys

    @cached_property
    def signs(self) -> np.ndarray:
        """±1, (steps, units): those that a learner with seed 0 draws."""
        stream = NoiseStream(np.random.default_rng(SEED), [NoiseSpec("signs", (self.units,))], np.dtype(float))
        return stream.take(self.steps)[0]

    def params(self) -> dict[str, np.ndarray]:
        """θ at the start, to be written to."""
        return {k: v.copy() for k, v in self.system.params.items()}


class Prepared(NamedTuple):
    """Something that is ready to run."""

    build: float
    """Seconds it took to trace and compile."""
    run: Callable[[], float]
    """Make all steps of the problem, from its start; seconds per step."""
    learned: Callable[[], Mapping[str, np.ndarray]]
    """θ after the last run."""


@dataclass(frozen=True)
class Rival:
    """Something that can be measured.

    Args:
        name: what to call it in tables.
        prepare: make it ready for a problem.
        needs: modules that have to be installed.
        most: the largest number of units it is asked to do.
        like: rivals of one kind compute the same, and their θ is compared; "" is not compared.
        easy: the largest number of units at which steps are cheap; above, fewer of them are compared.
    """

    name: str
    prepare: Callable[[Problem], Prepared]
    needs: tuple[str, ...] = ()
    most: int = 1 << 30
    like: str = "UORO"
    easy: int = 256
