"""One system, one sequence, one θ: running an estimator over it and reading its gradients block by block."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fwdgrad.comparison.accumulate import Accumulate
from fwdgrad.estimators import Estimator
from fwdgrad.learning.execution import Execution
from fwdgrad.learning.loops import Loop, loop_for, noise_for
from fwdgrad.learning.noise import NoiseStream
from fwdgrad.learning.samples import Chunk
from fwdgrad.system import System

__all__ = ["Study", "name_of", "run", "started"]

GRAIN = 256
"""Steps that a loop is given at a time."""

VARIANTS = ("probe", "mixed", "normal")
"""Options of an influence that a name should show …"""

NAMED_BY_WINDOW = ("TBPTT", "Hybrid")
"""… and estimators whose names have the window in them."""


@dataclass(frozen=True, eq=False)
class Study:
    """What all estimators have in common. It goes to other processes without what was compiled in this one.

    Attributes:
        system: the declared system.
        params: θ by name; it does not change.
        leaves: the parameters whose gradients are compared; p numbers in all.
        xs: inputs as flat arrays, each of shape (T, …).
        ys: targets likewise, zeros where missing.
        observed: which steps have a target, shape (T,).
        edges: the first step of each block and the end of the last one, shape (B + 1,). Targets before the first block
            do not count.
        engine: what runs the steps.
    """

    system: System
    params: dict[str, np.ndarray]
    leaves: tuple[str, ...]
    xs: list[np.ndarray]
    ys: list[np.ndarray]
    observed: np.ndarray
    edges: tuple[int, ...]
    engine: str
    _prepared: list[tuple[Estimator, Execution]] = field(default_factory=list, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_prepared": []}

    @property
    def length(self) -> int:
        """T."""
        return len(self.observed)

    @property
    def blocks(self) -> int:
        """B."""
        return len(self.edges) - 1

    @property
    def size(self) -> int:
        """p, the number of parameters that are compared."""
        return sum(self.params[k].size for k in self.leaves)

    def chunks(self, start: int, stop: int, counted: slice | None = None, grain: int = GRAIN) -> Iterator[Chunk]:
        """Consecutive samples, a few at a time; targets outside `counted`, by default all blocks, are missing."""
        counted = slice(self.edges[0], None) if counted is None else counted
        observed = np.zeros_like(self.observed)
        observed[counted] = self.observed[counted]
        for k in range(start, stop, grain):
            part = slice(k, min(k + grain, stop))
            yield Chunk([a[part] for a in self.xs], [a[part] for a in self.ys], observed[part])

    def execution(self, estimator: Estimator) -> Execution:
        """The estimator's steps; compiled when they are first needed, and kept."""
        for known, prepared in self._prepared:
            if known is estimator:
                return prepared
        made = Execution(self.system, estimator, Accumulate(self.leaves), self.engine)
        self._prepared.append((estimator, made))
        return made

    def loop(self, estimator: Estimator, generator: np.random.Generator | None = None) -> Loop:
        """A learner's loop at the beginning of the sequence, at θ."""
        return started(self.execution(estimator), self.params, generator)

    def is_random(self, estimator: Estimator) -> bool:
        """Whether the estimator asks for random numbers."""
        return bool(noise_for(self.execution(estimator)))

    def gradients(self, estimator: Estimator, generator: np.random.Generator | None = None) -> np.ndarray:
        """Sum of the gradients made in each block, shape (B, p).

        A window's gradient is made where its update is: at the window's end. What is still open at the end of the
        sequence belongs to the last block.

        Raises:
            NonFiniteError: a state, loss, gradient or influence is not finite.
        """
        loop = self.loop(estimator, generator)
        run(loop, self.chunks(0, self.edges[0]))
        made = np.empty((self.blocks, self.size))
        for block, (start, stop) in enumerate(itertools.pairwise(self.edges)):
            run(loop, self.chunks(start, stop), finish=block == self.blocks - 1)
            made[block] = self.take(loop)
        return made

    def take(self, loop: Loop) -> np.ndarray:
        """The sum of the gradients made since the last time, shape (p,)."""
        execution = loop.execution
        carry = execution.unpack(loop.carry)
        made = np.concatenate([np.ravel(carry.optimizer[k]) for k in self.leaves])
        zeros = {k: np.zeros_like(v) for k, v in carry.optimizer.items()}
        loop.carry = execution.pack(carry._replace(optimizer=zeros))
        return made


def started(execution: Execution, params: dict[str, np.ndarray], generator: np.random.Generator | None = None) -> Loop:
    """A loop at the beginning of the sequence, with these parameters."""
    generator = np.random.default_rng(0) if generator is None else generator
    noise = NoiseStream(generator, noise_for(execution), execution.system.dtype)
    carry = execution.unpack(execution.initial(noise.start()))
    return loop_for(execution, noise, execution.pack(carry._replace(params=dict(params))))


def run(loop: Loop, chunks: Iterable[Chunk], finish: bool = False) -> None:
    """Go through samples, and, if asked to, finish what is open.

    Raises:
        NonFiniteError: a state, loss, gradient or influence is not finite.
    """
    for chunk in chunks:
        error = loop.run(chunk).error
        if error is not None:
            raise error
    if finish:
        with np.errstate(all="ignore"):  # what is not finite is refused by name
            loop.finish()


def name_of(estimator: Estimator) -> str:
    """A name that tells variants apart: "UORO, rank 4", "NoBackTrack, mixed, window 8"."""
    parts = [estimator.name]
    influence = estimator.influence
    parts += [str(v) for v in (getattr(influence, "scale", ""), getattr(influence, "signs", "")) if v in VARIANTS]
    if estimator.rank > 1:
        parts.append(f"rank {estimator.rank}")
    window = estimator.window
    if getattr(window, "length", 1) != 1 and estimator.name.partition("(")[0] not in NAMED_BY_WINDOW:
        parts.append(f"window {window}")
    return ", ".join(parts)
