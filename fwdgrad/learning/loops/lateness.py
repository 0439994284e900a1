"""Whether targets stand a few rows beside the inputs that they answer.

A table whose outputs were written down a row late, or early, is fitted well by a model with other parameters, and its
residuals may be white: they are correlated with the inputs of other rows. So they are held against these (Box and
Jenkins, Time Series Analysis, 1970, §11.3), and, since a table may have none, against what the prediction does in the
rows beside. Where they are correlated the model is fitted to targets that are moved by a row, or a few.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import ndtri

from fwdgrad.learning.loops.deviations import longest_memory, normalised
from fwdgrad.learning.loops.gauss_newton import ENOUGH, GaussNewton, Normal
from fwdgrad.learning.loops.record import Record
from fwdgrad.learning.samples import Chunk
from fwdgrad.system import System

__all__ = ["Late", "beside"]

ROWS = 4
"""Rows by which targets are moved, at most."""
CHANCE = 0.01
"""Probability with which residuals of a right model are looked at more closely."""
MATTERS = 8.0
"""Nats by which moved targets have to be likelier, as many times as their residuals remember."""
MOVED = 1.0
"""Claimed deviations by which some parameter has to be off."""
CLIP = 3.0
"""Normalised residuals beyond this count as this."""
MOST = 1024
"""First targets that are looked at, at most."""
FLAT = 1e-9
"""Deviation of what moves at all, as a part of its size."""
PASSES = 10
"""Of Gauss–Newton for each number of rows, at most."""


class Late(NamedTuple):
    """By how many rows targets stand beside their inputs."""

    rows: int
    """How many later they are; negative: earlier."""
    moved: np.ndarray
    """By how many claimed deviations each coordinate of θ is off for it, shape (p,)."""
    gain: float
    """Nats by which targets in their places are likelier."""
    memory: float
    """Samples that residuals remember then; 1 if they are white."""
    text: str
    """In words."""

    def __str__(self) -> str:
        return self.text


def beside(
    record: Record, newton: GaussNewton, found: Normal, deviations: np.ndarray, prior: np.ndarray, z: np.ndarray
) -> Late | None:
    """By how many rows targets stand beside their inputs or, without inputs, beside the model's start; None if by none.

    Args:
        record: the samples.
        newton: what has found the minimum.
        found: the minimum of a simulation.
        deviations: claimed ones of the coordinates, shape (p,).
        prior: those of the prior, shape (p,).
        z: residuals over their deviation, shape (T, m), NaN where nothing was observed.

    Cost: a pass through the first `MOST` targets; some ten more for each number of rows where something is found.
    """
    places = np.flatnonzero(record.observed)[:MOST]
    record = record.head(int(places[-1]) + 1 if len(places) else 0)
    if newton.system.corrects or min((len(c.observed) for _, c in record.trajectories()), default=0) <= 4 * ROWS:
        return None
    outputs = newton.predictions(record, found.point)
    if outputs is None or not _correlated(record, outputs, z[: len(record)]):
        return None

    def fitted(rows: int, point: np.ndarray) -> Normal | None:
        return newton.minimum(_moved(record, rows), point, found.point, prior, prior, PASSES, ENOUGH)

    here = fitted(0, found.point)
    if here is None:
        return None
    best, rows = here, 0
    for sign in (1, -1):
        last = here
        for k in range(sign, sign * (ROWS + 1), sign):
            other = fitted(k, last.point)
            if other is None or other.objective >= last.objective:
                break
            last = other
            if last.objective < best.objective:
                best, rows = last, k
    far = (best.point - found.point) / deviations
    left = newton.predictions(record, best.point)
    if not rows or np.max(np.abs(far)) < MOVED or left is None:
        return None
    z = normalised(newton.system.loss, _moved(record, rows).targets(left.shape[1]), left, best.noise)
    memory = longest_memory(z, [start.place for start in record.starts])
    gain = (here.objective - best.objective) / memory
    if gain < MATTERS:
        return None
    return Late(rows, far, gain, memory, _told(newton.system, rows, float(np.max(np.abs(far)))))


def _told(system: System, rows: int, far: float) -> str:
    """In words, with what mends it."""
    count, which = abs(rows), "later" if rows > 0 else "earlier"
    by = f"{count} row{'s' if count > 1 else ''} {which}"
    if system.x is None:
        what, mend = f"targets stand {by} than the model has them", "leave rows out, or begin with another state"
    else:
        what, pair = f"targets answer inputs {by} than in the model", ("xs[:-{0}], ys[{0}:]", "xs[{0}:], ys[:-{0}]")
        mend = f"give {pair[rows < 0].format(count)}, or a model with that delay"
    if system.dt is not None and not isinstance(system.dt, str) and abs(rows) == 1:
        other = "initial" if rows > 0 else "next"
        mend += f', or first="{other}"' if system.first != other else ""
    return f"{what}, which moves parameters by {far:.2g} deviations: {mend}"


def _moved(record: Record, rows: int) -> Record:
    """With targets so many rows earlier; the same ones whatever the number, so that likelihoods compare."""
    chunk, size = record.chunk, len(record)
    index, seen = np.zeros(size, int), np.zeros(size, bool)
    ends = [*(start.place for start in record.starts[1:]), size]
    for start, end in zip(record.starts, ends, strict=True):
        kept = np.arange(start.place + ROWS, end - ROWS)
        index[kept - rows], seen[kept - rows] = kept, chunk.observed[kept]
    return record.without(Chunk(chunk.x, [a[index] for a in chunk.y], seen))


def _correlated(record: Record, outputs: np.ndarray, z: np.ndarray) -> bool:
    """Whether residuals are correlated with inputs a few rows off, or with what the prediction does there."""
    chunk, size = record.chunk, len(record)
    real = [a.reshape(size, -1) for a in chunk.x if np.issubdtype(a.dtype, np.floating)]
    ends = [*(start.place for start in record.starts[1:]), size]
    clipped = np.where(np.isfinite(z), np.clip(z, -CLIP, CLIP), 0.0)
    count, largest = 0, 0.0
    for k in range(-ROWS, ROWS + 1):
        tried = [_shifted(a, k, record, ends) for a in real]
        tried += [_shifted(outputs, k, record, ends) - outputs] if abs(k) == 1 else []
        for w in (column for a in tried for column in a.T):
            if np.std(w) <= FLAT * np.max(np.abs(w)):
                continue
            w = (w - w.mean()) / np.std(w)
            for residual in clipped.T:
                product = residual * w
                spread = float(product @ product)  # as if they were white: with a memory more is looked at, not told
                count += 1
                largest = max(largest, abs(float(product.sum())) / spread**0.5 if spread > 0 else 0.0)
    return count > 0 and largest > -float(ndtri(CHANCE / 2 / count))


def _shifted(columns: np.ndarray, rows: int, record: Record, ends: list[int]) -> np.ndarray:
    """What stands so many rows later, within trajectories; where there is none, the row itself."""
    index = np.arange(len(columns))
    for start, end in zip(record.starts, ends, strict=True):
        own = np.arange(start.place, end)
        there = own + rows
        index[own] = np.where((there >= start.place) & (there < end), there, own)
    return columns[index]
