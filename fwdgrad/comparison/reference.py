"""The exact gradients that estimates are held against."""

from __future__ import annotations

import itertools

import numpy as np

from fwdgrad.comparison.study import Study, run
from fwdgrad.errors import DataError, NonFiniteError
from fwdgrad.estimators import BPTT, RTRL

__all__ = ["LARGEST", "exact_gradients"]

LARGEST = 1_000_000
"""RTRL is the reference if n² p is at most this: a step then takes milliseconds, and n·p numbers at most 8 MB."""

STATES = 8_000_000
"""Backpropagation stores all states up to this many numbers; beyond, it goes from checkpoints."""


def exact_gradients(study: Study, how: str = "auto") -> tuple[str, np.ndarray]:
    """Exact gradients, and how they were made: "RTRL" or "BPTT".

    RTRL carries ∂h/∂θ along: one pass, memory n·p, time O(n² p) a step. Backpropagation through time makes one pass for
    each block, from the first step to the block's end, in which only the targets of the block count: about B/2 passes
    over the sequence forward and back, memory T·n, or O(√T n) with checkpoints.

    Returns:
        The name, and the sum of ∂ℓ_t/∂θ over the steps t of each block, shape (B, p).

    Raises:
        NonFiniteError: a state, loss or gradient is not finite.
        DataError: the exact gradient is zero.
    """
    leaves = study.execution(BPTT_ALL).steps.layout.leaves
    n, p = study.system.size, sum(study.system.coordinates[k].size for k in leaves)
    if how == "auto":
        how = "rtrl" if n * n * p <= LARGEST else "bptt"
    name = "RTRL" if how == "rtrl" else "BPTT"
    try:
        made = study.gradients(RTRL_ALL) if how == "rtrl" else _backward(study)
    except NonFiniteError as error:
        raise NonFiniteError(
            f"compare: the exact gradient ({name}): {error.quantity} is not finite at step {error.step}.\n"
            "Usual causes: a state that diverges, or a function outside its domain. Take fewer steps, or other params.",
            step=error.step,
            quantity=error.quantity,
        ) from error
    if not np.any(made.sum(axis=0)):
        raise DataError(
            f"compare: the exact gradient of {', '.join(study.leaves)} is zero, so nothing can be relative to it.\n"
            "Usual cause: a readout that is zero at first. Mend: give other parameters, such as\n"
            "params=learner.params after some learning, or name other leaves=[…]."
        )
    return name, made


def _backward(study: Study) -> np.ndarray:
    estimator = BPTT_THIN if study.length * study.system.size > STATES else BPTT_ALL
    made = np.zeros((study.blocks, study.size))
    for block, (start, stop) in enumerate(itertools.pairwise(study.edges)):
        if study.observed[start:stop].any():
            loop = study.loop(estimator)
            run(loop, study.chunks(0, stop, slice(start, stop)), finish=True)
            made[block] = study.take(loop)
    return made


RTRL_ALL, BPTT_ALL, BPTT_THIN = RTRL(), BPTT(), BPTT(checkpoints=True)
