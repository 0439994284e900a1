"""Repeating random estimators, in this process or in several, with the same numbers in either case."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from fwdgrad.comparison.study import Study
from fwdgrad.errors import NonFiniteError
from fwdgrad.estimators import Estimator
from fwdgrad.support.notice import Progress
from fwdgrad.support.parallel import calls

__all__ = ["Batch", "replicate"]

BATCH = 8
"""Replicas that are added up before anything else is done with them, whatever the number of processes."""


class Batch(NamedTuple):
    """What remains of a few replicas; or why one of them failed."""

    gradients: np.ndarray
    """Over the whole sequence, shape (replicas, p)."""
    sums: np.ndarray
    """Σ_r (g_r − g*) in each block, shape (B, p)."""
    squares: np.ndarray
    """Σ_r ‖g_r − g*‖² in each block, shape (B,)."""
    failure: tuple[int, int, str] | None = None
    """Number of the replica, step, quantity."""


def replicate(
    study: Study,
    estimators: dict[str, Estimator],
    exact: np.ndarray,
    replicas: dict[str, int],
    entropy: int,
    n_jobs: int,
    progress: Progress,
) -> Iterator[tuple[str, Batch]]:
    """Batches of replicas, estimator by estimator, in order.

    Every replica of every estimator draws from a seed sequence of its own, spawned from `entropy` by the estimator's
    label and the number of the replica. So adding an estimator or a replica changes none of the others, and no two
    estimators see the same noise.

    Raises:
        NonFiniteError: something was not finite; the message names estimator, replica and step.
    """
    import joblib  # not needed before

    workers = joblib.effective_n_jobs(n_jobs)
    tasks: list[tuple[str, list[range]]] = []
    for label in estimators:
        count = replicas[label]
        batches = [range(r, min(r + BATCH, count)) for r in range(0, count, BATCH)]
        # each task compiles its estimator anew, but for those in this process
        share = 1 if workers == 1 else -(-len(batches) // workers)
        tasks += [(label, batches[k : k + share]) for k in range(0, len(batches), share)]
    given = ((study, estimators[label], exact, batches, (entropy, _key(label))) for label, batches in tasks)
    with calls(_batches, given, n_jobs) as results:
        for (label, batches), made in zip(tasks, results, strict=True):
            for batch in made:
                if batch.failure is not None:
                    raise _failure(label, (entropy, _key(label)), *batch.failure)
                yield label, batch
            progress.add(sum(map(len, batches)))


Seed = tuple[int, int]
"""Entropy, and the key of an estimator."""


def _key(label: str) -> int:
    return zlib.crc32(label.encode())


def _batches(
    study: Study, estimator: Estimator, exact: np.ndarray, batches: Sequence[range], seed: Seed
) -> list[Batch]:
    return [_batch(study, estimator, exact, batch, seed) for batch in batches]


def _batch(study: Study, estimator: Estimator, exact: np.ndarray, batch: range, seed: Seed) -> Batch:
    gradients, sums, squares = np.empty((len(batch), study.size)), np.zeros_like(exact), np.zeros(len(exact))
    for k, replica in enumerate(batch):
        noise = np.random.default_rng(np.random.SeedSequence(seed[0], spawn_key=(seed[1], replica)))
        try:
            made = study.gradients(estimator, noise)
        except NonFiniteError as error:  # as data: it could not be sent to another process
            return Batch(gradients, sums, squares, (replica, error.step, error.quantity))
        gradients[k] = made.sum(axis=0)
        deviation = made - exact
        sums += deviation
        squares += np.einsum("bp,bp->b", deviation, deviation)
    return Batch(gradients, sums, squares)


def _failure(label: str, seed: Seed, replica: int, step: int, quantity: str) -> NonFiniteError:
    return NonFiniteError(
        f"compare: {label}, replica {replica}: {quantity} is not finite at step {step}.\n"
        f"Its generator is default_rng(SeedSequence({seed[0]}, spawn_key=({seed[1]}, {replica}))).\n"
        "Usual causes: a state that diverges, an influence that grows without bound.\n"
        "Mend: take fewer steps or other params, or leave this estimator out.",
        step=step,
        quantity=quantity,
    )
