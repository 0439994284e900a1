"""How biased an approximation's gradient is on a stream, by what a random influence estimates of its error."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import stdtrit

from fwdgrad.errors import DeclarationError
from fwdgrad.influence import Debiased
from fwdgrad.support import display
from fwdgrad.support.types import Leaves

__all__ = ["GradientBias", "gradient_bias"]

LEVEL = 0.95
LEAST = 4
"""Batches without which there is no interval."""


@dataclass(frozen=True, eq=False)
class GradientBias:
    """What an approximation's gradient lacks, on average over the samples so far. ``print`` it for a sentence.

    With S the approximation's influence and G the exact one, the gradient of a sample lacks r = c A (G − S), of which
    `Debiased` has an unbiased estimate. ḡ is the mean of the approximation's gradients, r̄ that of the estimates.

    Attributes:
        approximation: what is judged.
        count: the samples with a target.
        lacking: ⟨r̄, ḡ⟩ / ‖ḡ‖²: the exact gradient is 1 + lacking times ḡ along ḡ. What is lacking across
            ḡ is in `mean`.
        interval: 95 % interval of it, shape (2,): Student's, from batches of consecutive samples, so it holds if a
            batch is longer than the system's memory. NaN while there are too few.
        mean: r̄ by leaf, in the coordinates that are learned.
        std: the standard deviation of r̄ by leaf, likewise.
    """

    approximation: Any
    count: int
    lacking: float
    interval: np.ndarray
    mean: Leaves
    std: Leaves

    def __str__(self) -> str:
        low, high = 1.0 + self.interval
        judged = "no bias is seen" if low <= 1 <= high else "it is biased" if math.isfinite(low) else "too few samples"
        return (
            f"Along the gradient of {self.approximation!r} the exact one is {1 + self.lacking:.3g} times as long "
            f"(95 %: {low:.3g} to {high:.3g}) over {self.count:,} samples: {judged}."
        )

    def __repr__(self) -> str:
        return f"GradientBias of {self.approximation!r}: {self.lacking:.3g} after {self.count} samples"

    def _repr_html_(self) -> str:
        return display.page("Bias of the gradient", display.paragraph(str(self)))


def gradient_bias(influence: Any, state: Any) -> GradientBias:
    """From what an influence has added up.

    Raises:
        DeclarationError: it has added up nothing.
    """
    if not isinstance(influence, Debiased) or not influence.watch:
        raise DeclarationError(
            f"bias: expected an estimator that watches what an approximation drops, got {influence!r}.\n"
            'Learn with fg.Debiased("snap:1", watch=True), from a single stream.'
        )
    seen = state.watched
    count, length = float(seen.count), float(seen.length)
    whole = int(count // length)
    rests = {k: np.asarray(v)[:whole] / length for k, v in seen.rests.items()}
    flat = np.concatenate([v.reshape(whole, -1) for v in rests.values()], axis=1)
    direction = np.concatenate([np.ravel(v) for v in seen.gradient.values()]) / max(count, 1.0)
    square = float(direction @ direction)
    shares = flat @ direction / square if square > 0 else np.full(whole, np.nan)
    lacking = float(np.mean(shares)) if whole else math.nan
    half = math.nan
    if whole >= LEAST:
        half = float(stdtrit(whole - 1, 0.5 + LEVEL / 2) * np.std(shares, ddof=1) / math.sqrt(whole))
    mean = {k: v.mean(axis=0) if whole else np.full(v.shape[1:], np.nan) for k, v in rests.items()}
    std = {
        k: np.std(v, axis=0, ddof=1) / math.sqrt(whole) if whole > 1 else np.full(v.shape[1:], np.nan)
        for k, v in rests.items()
    }
    return GradientBias(
        influence.approximation, int(count), lacking, np.array([lacking - half, lacking + half]), mean, std
    )
