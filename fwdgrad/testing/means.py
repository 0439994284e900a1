"""Means over all noise, of what an influence says of G and of the gradient: by branching at every step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fwdgrad.learning.execution import Execution
from fwdgrad.learning.samples import SampleReader
from fwdgrad.learning.step.kinds import LEARN, TRANSIT
from fwdgrad.support.types import Leaves
from fwdgrad.testing.noise import draw, every
from fwdgrad.testing.problems import Problem

__all__ = ["Level", "average", "means"]

ERRORS = 6.0
"""Standard errors that a mean of draws may be off."""


class Level(NamedTuple):
    """After a step: means, and how far they may be off because the noise was drawn; 0 where it was enumerated."""

    influence: Leaves
    gradient: Leaves
    influence_error: Leaves
    gradient_error: Leaves
    how: str


def means(execution: Execution, problem: Problem, steps: int, nodes: int | None, draws: int, seed: int) -> list[Level]:
    """Means of `dense` and of the gradient of each step, θ fixed.

    Args:
        execution: the steps, with an `Observer` as optimizer.
        problem: the samples.
        steps: how many of them.
        nodes: nodes for each Gaussian number; None to draw the noise.
        draws: how many trajectories are drawn.
        seed: of the draws.
    """
    specs, dtype = execution.specs, problem.system.dtype
    reader = SampleReader(execution.model, fed=True)
    rng = np.random.default_rng(seed)
    if nodes is None:
        carries = [execution.initial(draw(specs, "start", rng, dtype)) for _ in range(draws)]
        weights = np.full(draws, 1.0 / draws)
    else:
        weights, starts = every(specs, "start", nodes, dtype)
        carries = [execution.initial(start) for start in starts]
        shares, patterns = every(specs, "step", nodes, dtype)
    levels = []
    for t in range(steps):
        x, y, observed = reader.sample(problem.xs[t], problem.ys[t], t)

        def run(carry: Any, noise: Any, x: Any = x, y: Any = y, observed: bool = observed) -> Any:
            made = execution.make(LEARN, carry, x, y, noise) if observed else execution.make(TRANSIT, carry, x, noise)
            return tuple(made[:-3])

        if nodes is None:
            carries = [run(c, draw(specs, "step", rng, dtype)) for c in carries]
        else:
            carries = [run(c, noise) for c in carries for noise in patterns]
            weights = np.outer(weights, shares).ravel()
        held = [execution.unpack(c) for c in carries]
        dense = [execution.steps.influence.dense(s.influence, execution.steps.layout) for s in held]
        influence, influence_error = average(dense, weights, nodes is None)
        gradient, gradient_error = average([s.optimizer[1] for s in held], weights, nodes is None)
        levels.append(Level(influence, gradient, influence_error, gradient_error, _how(specs, len(held), nodes, seed)))
    return levels


def average(leaves: Sequence[Leaves], weights: np.ndarray, drawn: bool) -> tuple[Leaves, Leaves]:
    """Weighted mean, and its uncertainty if the leaves were drawn."""
    stacked = {k: np.array([leaf[k] for leaf in leaves], float) for k in leaves[0]}
    mean = {k: np.tensordot(weights, v, axes=1) for k, v in stacked.items()}
    if not drawn or len(leaves) == 1:
        return mean, {k: np.zeros(np.shape(v)) for k, v in mean.items()}
    return mean, {k: ERRORS * np.std(v, axis=0, ddof=1) / np.sqrt(len(leaves)) for k, v in stacked.items()}


def _how(specs: Sequence[Any], count: int, nodes: int | None, seed: int) -> str:
    if not specs:
        return "no noise"
    if nodes is not None:
        return f"over all {count} patterns of the noise"
    return f"{'one draw' if count == 1 else f'{count} draws'} of the noise, seed {seed}"
