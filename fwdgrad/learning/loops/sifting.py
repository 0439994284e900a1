"""Strange numbers among the samples: targets that are left out of what is learned, inputs that are told of."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fwdgrad.learning.outliers import FAR, FAR_INPUTS, FEW, Sieve, Tally, strange
from fwdgrad.learning.samples import Chunk
from fwdgrad.support.trees import flatten, leaf_names
from fwdgrad.system import System

__all__ = ["Sifting"]


class Sifting:
    """Applies `fwdgrad.learning.outliers` to each number of a target, and of an input that is a real number, by itself.

    Args:
        system: whose samples these are. Its target is one array.
    """

    def __init__(self, system: System) -> None:
        (target,) = flatten(system.y)
        self.outputs = target.size
        inputs = leaf_names(system.x, "x")
        self._inputs = [
            k
            for k, (name, a) in enumerate(zip(inputs, flatten(system.x), strict=True))
            if np.issubdtype(a.dtype, np.floating) and name != f"x_{system.dt}"
        ]
        names = getattr(system, "output_names", None)
        self._names = [f"output {k!r}" for k in names] if names else _numbered("y", target)
        for k in self._inputs:
            self._names += _numbered(inputs[k], flatten(system.x)[k])
        count = len(self._names) - self.outputs
        self._far = np.array([FAR] * self.outputs + [FAR_INPUTS] * count)
        self._sieve = Sieve(self._far)

    def look(self, chunk: Chunk, first: int) -> np.ndarray:
        """Which targets of the next samples are strange by those before, shape (samples, outputs)."""
        return self._sieve.look(self._rows(chunk), first)[:, : self.outputs]

    def begin(self, chunk: Chunk) -> np.ndarray:
        """Which targets of the first samples are strange among them, likewise; what comes is judged by these."""
        rows = self._rows(chunk)
        found = np.stack([strange(column, far) for column, far in zip(rows.T, self._far, strict=True)], axis=1)
        self._sieve.begin(rows, found)
        return found[:, : self.outputs]

    def without(self, chunk: Chunk, aside: np.ndarray) -> Chunk:
        """A chunk in which these targets, shape (samples, outputs), are missing."""
        if not aside.any():
            return chunk
        (targets,) = chunk.y
        left = np.where(aside, np.nan, targets.reshape(aside.shape))
        observed = chunk.observed & np.isfinite(left).any(axis=1)
        left[~observed] = 0.0
        return Chunk(chunk.x, [left.reshape(targets.shape).astype(targets.dtype)], observed)

    @property
    def count(self) -> int:
        """Strange targets so far."""
        return int(self._sieve.tallies[: self.outputs, 0].sum())

    def told(self) -> tuple[str, ...]:
        """What was found, a line for each output and input."""
        tallies = [(k, self._sieve.found(k)) for k in range(len(self._names))]
        return tuple(_line(self._names[k], tally, k < self.outputs) for k, tally in tallies if tally is not None)

    def _rows(self, chunk: Chunk) -> np.ndarray:
        """All numbers that are looked at, NaN where missing, shape (samples, numbers)."""

        def flat(array: np.ndarray) -> np.ndarray:
            return array.reshape(len(array), math.prod(array.shape[1:])).astype(float)

        columns = [np.where(chunk.observed[:, None], flat(chunk.y[0]), np.nan)]
        columns += [flat(chunk.x[k]) for k in self._inputs]
        return np.concatenate(columns, axis=1)

    # ---- checkpoints

    def arrays(self) -> dict[str, np.ndarray]:
        """What is known of the samples so far."""
        return self._sieve.arrays()

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """The inverse of `arrays`."""
        self._sieve.restore(arrays)


def _numbered(name: str, array: Any) -> list[str]:
    """A name for each number of an array."""
    if not array.ndim:
        return [name]
    return [f"{name}[{', '.join(map(str, place))}]" for place in np.ndindex(array.shape)]


def _line(name: str, tally: Tally, target: bool) -> str:
    """A line on one column."""
    often = "" if tally.found == 1 else f", and {tally.found - 1} more"
    if tally.found > 1 and tally.same == tally.found:
        often = f", {tally.found} times the same" + (': probably a code for "missing"' if tally.found >= FEW else "")
    done = "left out of what is learned" if target else "taken as it is"
    return f"{name} is {tally.value:.6g} at sample {tally.step}{often}; {done}"
