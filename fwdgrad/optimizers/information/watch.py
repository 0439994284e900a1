"""What a filter's own innovations say about its claims: their size, their memory, and which parameters they made.

If a model and its noise are right, the normalised innovations z = L (y − ŷ)/√(1 + v), with LᵀL the claimed precision of
the noise and v the part of the variance that comes from θ, are white with variance 1 (Kailath, "An innovations approach
to least-squares estimation", 1968; as a test of filters: Bar-Shalom, Li and Kirubarajan 2001, §5.4). Here they are
only summed up, with the step and on every engine; `fwdgrad.learning.confidence` judges the sums.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from fwdgrad.optimizers.base import Arrays

__all__ = ["FADING", "LAGS", "RECENT", "SCALES", "SMALL", "STAGES", "Learned", "Watch", "Watched"]

LAGS = 8
"""Lags whose autocorrelations are kept."""

SCALES = (4, 16, 64, 256)
"""Samples over which residuals are averaged, to see slow ones."""

RECENT = 64
"""Samples that the recent mean square remembers."""

FADING = 4
"""c in the weight s^(c − 1) of sample s: what is remembered is about the last n/c of n samples."""

CLIP = 2.5
"""Standardised residuals beyond this count as this in autocorrelations, so that no outlier makes or hides one."""

MOST = 1e6
"""Normalised residuals beyond this count as this; their squares stay finite."""

STAGES = 4
"""Halvings of a variance that are remembered of how far the parameter went between them."""

SMALL = 64
"""Parameters up to which each is told how the samples fitted that it was learned from."""


class Watched(NamedTuple):
    """Sums over the innovations of m outputs. Outputs that are missing in a sample are left out of it."""

    count: Any
    """Samples seen, (m,)."""
    level: Any
    """Mean of z², recent samples weighing more (`FADING`), (m,)."""
    recent: Any
    """Mean of z² over about the last `RECENT` samples, (m,)."""
    spread: Any
    """Mean of ψ², ψ = z/√recent, clipped, (m,)."""
    lags: Any
    """Mean of ψ_t ψ_{t−l} for l = 1, …, (LAGS, m)."""
    past: Any
    """The last ψ, newest first, (LAGS, m)."""
    slow: Any
    """Exponential means of ψ over `SCALES` samples, (scales, m)."""
    power: Any
    """Mean of their squares, in units of what white ψ would have, (scales, m)."""
    learned: Learned | None
    """By parameter; None if there are more than `SMALL`."""


class Learned(NamedTuple):
    """How what was claimed of each of p parameters held later. All (p,)."""

    fit: Any
    """Mean of z² over the samples that a parameter was learned from, by how much each told."""
    weight: Any
    """Σ of the squared weights in it: 1/weight samples made it up."""
    anchor: Any
    """The parameter when its variance last halved,"""
    variance: Any
    """what its variance was then,"""
    stages: Any
    """how often that was, and"""
    moved: Any
    """the mean, over about the last `STAGES` times, of how far it went since the time before: (θ − θ')²/(P' − P)."""


class Watch:
    """Keeps the sums for m outputs and p parameters; all of it traced with the step.

    Cost: some 30 m numbers, and 6 p of at most `SMALL` parameters; time likewise, besides v and the variances.
    """

    def __init__(self, outputs: int, parameters: int) -> None:
        self._outputs = outputs
        self.parameters = parameters if parameters <= SMALL else 0

    def init(self, values: Arrays, variances: Arrays) -> Watched:
        """Nothing seen; the prior counts as a sample that fitted."""
        m, p, scales = self._outputs, self.parameters, len(SCALES)
        count, level, recent, spread = (np.zeros(m) for _ in range(4))
        lags, past, slow, power = (np.zeros((rows, m)) for rows in (LAGS, LAGS, scales, scales))
        learned = None
        if p:
            start, prior = _flat(values), _flat(variances)
            learned = Learned(np.ones(p), np.ones(p), start.copy(), prior.copy(), np.zeros(p), np.ones(p))
        return Watched(count, level, recent, spread, lags, past, slow, power, learned)

    def update(self, state: Watched, z: Any, seen: Any, square: Any = None) -> Watched:
        """The sums with one more sample, those by parameter left as they are.

        Args:
            state: those so far.
            z: normalised innovations, (m,); anything finite where not seen.
            seen: 1.0 for outputs that were observed, 0.0 else, (m,).
            square: what counts as z², of a mean of 1 if all is right, (m,); that itself unless given.
        """
        seen = seen.astype(np.float64)
        z = _within(z.astype(np.float64), MOST) * seen
        square = z * z if square is None else _within(square.astype(np.float64), MOST) * seen
        count = state.count + seen
        rate = seen * np.minimum(1.0, FADING / (count + (FADING - 1.0)))
        level = state.level + rate * (square - state.level)
        recent = state.recent + seen * (square - state.recent) / np.minimum(np.maximum(count, 1.0), RECENT)
        psi = _within(z / np.sqrt(np.where(recent > 0, recent, 1.0)), CLIP)
        spread = state.spread + rate * (psi * psi - state.spread)
        lags = state.lags + rate * (psi * state.past - state.lags)
        shifted = np.concatenate([np.expand_dims(psi, 0), state.past[:-1]], axis=0)
        past = np.where(seen > 0, shifted, state.past)
        length = np.reshape(np.array(SCALES, float), (len(SCALES), 1))
        slow = state.slow + seen * (psi - state.slow) / length
        power = state.power + rate * (slow * slow * (2.0 * length - 1.0) - state.power)
        return Watched(count, level, recent, spread, lags, past, slow, power, state.learned)

    def judge(
        self, state: Learned, z: Any, seen: Any, values: Arrays, before: Arrays, after: Arrays, keep: Any
    ) -> Learned:
        """The sums by parameter with one more sample.

        What a sample tells of a parameter is how much smaller it makes its variance. θ goes from one value to a later
        one as a martingale, by P' − P in the mean square.

        Args:
            state: those so far.
            z: normalised innovations, (m,).
            seen: which were observed, (m,).
            values: θ with the sample, by leaf.
            before: variances before it, likewise.
            after: with it.
            keep: κ, what decay leaves of what was known.
        """
        old, new, theta = _flat(before), _flat(after), _flat(values)
        share = np.minimum(np.maximum(1.0 - keep * new / old, 0.0), 1.0)
        seen = seen.astype(np.float64)
        z = _within(z.astype(np.float64), MOST) * seen
        mean = np.sum(z * z) / np.maximum(np.sum(seen), 1.0)
        left = 1.0 - share
        fit, weight = left * state.fit + share * mean, left * left * state.weight + share * share
        halved = new <= 0.5 * state.variance
        way = theta - state.anchor
        far = np.minimum(way * way / np.maximum(state.variance - new, np.finfo(np.float64).tiny), MOST)
        rate = 1.0 / np.minimum(np.maximum(state.stages, 1.0), STAGES)
        # the first time, the way is from where the user began, which need not be a guess with the prior's variance
        moved = np.where(halved & (state.stages > 0), state.moved + rate * (far - state.moved), state.moved)
        return Learned(
            fit,
            weight,
            np.where(halved, theta, state.anchor),
            np.where(halved, new, state.variance),
            np.where(halved, state.stages + 1.0, state.stages),
            moved,
        )


def _flat(leaves: Arrays) -> Any:
    """All numbers of all leaves, in double precision."""
    parts = [np.reshape(v, (math.prod(v.shape),)).astype(np.float64) for v in leaves.values()]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _within(x: Any, bound: float) -> Any:
    return np.minimum(np.maximum(x, -bound), bound)
