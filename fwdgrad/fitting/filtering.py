"""A record explained by a filter: noise in the state, whose size is found, and predictions one sample ahead."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fwdgrad.fitting.going_on import predicted_with_std, resumed
from fwdgrad.fitting.result import Fit, Going
from fwdgrad.learning.confidence import judged
from fwdgrad.learning.loops import Fitting, Normal, Pass, Record
from fwdgrad.support.types import Flat

__all__ = ["disturbed", "followed", "louder"]

FACTORS = (10.0**0.5, 10.0**0.15, 10.0**0.05)
"""Deviations of noises are changed by these, one after the other."""
SCANNED = (1e-2, 0.1, 0.4)
"""Noises of the state, as parts of it, that are tried at first."""
PARTS = (0.03, 0.1, 0.3)
"""Deviations of the observation noise that are tried, as parts of that of the first targets;"""
SMALLEST = 0.003
"""and that to which it goes down."""
TRIES = 5
"""Passes with the noises that were found, at most, until parameters have settled."""
HARDLY = 1e-6
"""Nats that are no gain."""
ROUNDS, ENOUGH = 12, 0.1
"""Rounds through all noises, at most, for one factor; and what one has to gain, in nats, for another."""
SIZES = ((1e-2, 0.3), (1e-3, 0.6), (0.1, 0.1), (1e-4, 0.9), (0.4, 0.03))
"""Noises of the state, as parts of it, with parts of the residuals' variance that are left to the observation."""
SINGLY = 6
"""State variables up to which each has a noise of its own."""


def followed(record: Record, fitting: Fitting, found: Pass, prior: np.ndarray, passes: Callable[[], float]) -> Fit:
    """The fit that passes of a filter are, at the noise in the state that makes the record likeliest.

    Args:
        record: what was fitted.
        fitting: the filter.
        found: its best pass so far.
        prior: deviations of the prior, shape (p,).
        passes: tells how often samples were gone through.

    Raises:
        StepError: a step is refused.
    """
    found = likeliest(record, fitting, found)
    bound, held = fitting.filter, fitting.execution.unpack(found.carry)
    outputs, _ = predicted_with_std(fitting, record, fitting.certain(found.carry), learns=True)
    watched = fitting.execution.unpack(fitting.loop.carry).optimizer.watch
    root = np.asarray(held.optimizer.root, float)[:, bound.size :]
    process = np.broadcast_to(found.level[1], (bound.size,))
    going = Going(
        resumed(fitting, found.carry, len(record), fitting.loop.feed.row, process_noise=tuple(process.tolist())),
        lambda: predicted_with_std(fitting, record, fitting.certain(found.carry), learns=True)[1],
    )
    return Fit(
        fitting.execution.system, "filter", fitting.flat(found.carry).astype(float), root.T @ root, prior, False,
        np.sqrt(np.asarray(held.optimizer.noise, float)), process,
        found.surprise, outputs, record.targets(bound.outputs), tuple(s.place for s in record.starts),
        record.times(), passes(), judged(watched), (), going,
    )  # fmt: skip


def likeliest(record: Record, fitting: Fitting, best: Pass) -> Pass:
    """The best pass, with every noise larger or smaller as long as that helps, by factors that get smaller."""
    bound, n = fitting.filter, fitting.filter.size
    initial, process = fitting.learns_level
    groups = [np.arange(1, n + 1)] if process else []
    groups += [np.array([1 + k]) for k in range(n) if process and 1 < n <= SINGLY]
    groups += [np.array([1 + n + k]) for k in range(bound.outputs) if bound.learns_noise]
    groups += [np.array([0])] if initial else []
    return _improved(record, fitting, best, groups, FACTORS)


def louder(record: Record, fitting: Fitting, best: Pass) -> Pass:
    """The best pass, with more or less noise in the state, about: what tells whether there is any."""
    process = [np.arange(1, fitting.filter.size + 1)] if fitting.learns_level[1] else []
    return _improved(record, fitting, best, process, FACTORS[:1])


def disturbed(record: Record, fitting: Fitting, carry: Flat, here: Normal, matters: float) -> float:
    """By how many nats noise in the state makes a record likelier than its simulation, at least; 0 if none is found.

    Some sizes of both noises are tried, until the gain matters.

    Args:
        record: the samples.
        fitting: the filter.
        carry: one with the parameters.
        here: the simulation with them.
        matters: a gain that is enough.
    """
    best = 0.0
    if not fitting.learns_level[1]:
        return best
    initial = fitting.levels[0][0]
    for process, share in SIZES:
        noise = share * here.noise if fitting.filter.learns_noise else here.noise
        made = fitting.once(record, carry, (initial, process), noise)
        best = best if made is None else max(best, here.objective - made.surprise)
        if best >= matters:
            break
    return best


def _improved(record: Record, fitting: Fitting, best: Pass, groups: list[np.ndarray], factors: Any) -> Pass:
    """The best pass with changes of (initial, process noise (n,), R (m,)), a group of places at a time.

    With a noise that is small from the first sample on a filter may lose a state that one that learns it keeps, as in
    chaos: where nothing is as likely as the pass that was given, that is left.
    """
    n, given = fitting.filter.size, best
    for process in SCANNED if fitting.learns_level[1] else ():  # there may be valleys between
        louder_yet = fitting.settled(record, None, best.carry, (best.level[0], process))
        if louder_yet is not None and louder_yet.surprise < best.surprise:
            best = louder_yet
    noise = np.array(fitting.execution.unpack(best.carry).optimizer.noise, float)
    best = fitting.once(record, best.carry, best.level, noise) or best
    knobs = np.concatenate([[best.level[0]], np.broadcast_to(best.level[1], (n,)), noise])
    power = np.where(np.arange(len(knobs)) > n, 2.0, 1.0)  # R is variances, the others are deviations
    spread = record.spread(len(noise))
    floor = np.concatenate([np.zeros(n + 1), (SMALLEST * spread) ** 2])
    for factor in factors:
        for part in PARTS if fitting.filter.learns_noise else ():  # from next to nothing no factor leads anywhere
            tried = np.concatenate([knobs[: n + 1], (part * spread) ** 2])
            made = fitting.once(record, best.carry, (tried[0], tried[1 : n + 1]), tried[n + 1 :])
            if made is not None and made.surprise < best.surprise - HARDLY:
                best, knobs = made, tried
        for _ in range(ROUNDS):
            before = best.surprise
            for places in groups:  # a step each in turn: one that goes all its way would leave the others no room
                for change in (1.0 / factor, factor):
                    tried = knobs.copy()
                    tried[places] *= change ** power[places]
                    tried = np.maximum(tried, floor)
                    made = fitting.once(record, best.carry, (tried[0], tried[1 : n + 1]), tried[n + 1 :])
                    if made is not None and made.surprise < best.surprise - HARDLY:
                        best, knobs = made, tried
                        break  # what is better with less is not with more
            if best.surprise > before - ENOUGH:
                break
    for _ in range(TRIES):  # parameters may still be on their way
        made = fitting.once(record, best.carry, (knobs[0], knobs[1 : n + 1]), knobs[n + 1 :])
        if made is None or made.surprise >= best.surprise:
            break
        best = made
    return best if best.surprise <= given.surprise else given
