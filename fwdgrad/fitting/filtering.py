"""A record explained by a filter: noise in the state, whose size is found, and predictions one sample ahead."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fwdgrad.confidence import judged
from fwdgrad.fitting.going_on import resumed, spreads
from fwdgrad.fitting.result import Fit, Going
from fwdgrad.loops import Fitting, Pass, Record

__all__ = ["followed", "louder"]

FACTORS = (10.0**0.5, 10.0**0.15)
"""Deviations of noises are changed by these, one after the other."""
TRIES = 5
"""How often, at most, one is made larger, or smaller."""
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
    outputs, _ = spreads(fitting, record, fitting.certain(found.carry), learns=True)
    watched = fitting.execution.unpack(fitting.loop.carry).optimizer.watch
    root = np.asarray(held.optimizer.root, float)[:, bound.size :]
    process = np.broadcast_to(found.level[1], (bound.size,))
    going = Going(
        resumed(fitting, found.carry, len(record), process_noise=tuple(process.tolist())),
        lambda: spreads(fitting, record, fitting.certain(found.carry), learns=True)[1],
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


def _improved(record: Record, fitting: Fitting, best: Pass, groups: list[np.ndarray], factors: Any) -> Pass:
    """The best pass with changes of (initial, process noise (n,), R (m,)), a group of places at a time."""
    n = fitting.filter.size
    noise = np.array(fitting.execution.unpack(best.carry).optimizer.noise, float)
    best = fitting.once(record, best.carry, best.level, noise) or best
    knobs = np.concatenate([[best.level[0]], np.broadcast_to(best.level[1], (n,)), noise])
    power = np.where(np.arange(len(knobs)) > n, 2.0, 1.0)  # R is variances, the others are deviations
    for factor in factors:
        for places in groups:
            for change in (1.0 / factor, factor):
                helped = False
                for _ in range(TRIES):
                    tried = knobs.copy()
                    tried[places] *= change ** power[places]
                    made = fitting.once(record, best.carry, (tried[0], tried[1 : n + 1]), tried[n + 1 :])
                    if made is None or made.surprise >= best.surprise:
                        break
                    best, knobs, helped = made, tried, True
                if helped:
                    break  # what is better with less is not with more
    return best
