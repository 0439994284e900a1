"""Going through a record once more with a filter's carry, and going on after its end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fwdgrad.learning.learner import Learner
from fwdgrad.learning.loops import Fitting, Record
from fwdgrad.learning.step.kinds import PREDICTIVE_VARIANCE
from fwdgrad.support.types import Flat

__all__ = ["predicted_with_std", "resumed"]


def predicted_with_std(fitting: Fitting, record: Record, carry: Flat, learns: bool) -> tuple[np.ndarray, np.ndarray]:
    """ŷ and its standard deviation for each sample of a record before it is seen, shape (T, m).

    Args:
        fitting: the filter.
        record: the samples.
        carry: where each trajectory starts from, but for its state.
        learns: whether the filter sees the targets.

    Raises:
        StepError: a step is refused.
    """
    loop, execution = fitting.loop, fitting.execution
    loop.carry = carry
    predictions, variances = [], []
    for start, chunk in record.trajectories():
        loop.restart(np.array(start.state), start.given)
        for k in range(len(chunk.observed)):
            with np.errstate(all="ignore"):
                x = [*(a[k] for a in chunk.x), *loop.feed.row]
                mean, variance = execution.make(PREDICTIVE_VARIANCE, loop.view, x)
            predictions.append(np.ravel(mean))
            variances.append(np.ravel(variance))
            sample = chunk.part(k, k + 1)
            error = loop.run(sample if learns else sample._replace(observed=np.zeros(1, bool))).error
            if error is not None:
                raise error
    return np.array(predictions, float), np.sqrt(np.array(variances, float))


def resumed(fitting: Fitting, carry: Flat, steps: int, row: Sequence[Any], **known: Any) -> Callable[[], Learner]:
    """Makes a learner that goes on with a carry, after so many samples, and with known fields of the filter.

    `row` is what the next sample is to be given (`fwdgrad.learning.loops.feed`): what the loop has after the last one.
    """
    last = [np.array(v) for v in row]

    def make() -> Learner:
        execution = fitting.execution
        optimizer: Any = execution.optimizer
        return Learner.resumed(execution.system, replace(optimizer, **known), carry, steps, last)

    return make
