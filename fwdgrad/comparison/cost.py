"""What an estimator costs: time and memory of its steps, beside those of the model alone."""

from __future__ import annotations

import math
import time
import tracemalloc
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from fwdgrad.comparison.accumulate import Nothing
from fwdgrad.comparison.study import GRAIN, Study, run, started
from fwdgrad.estimators import Estimator
from fwdgrad.estimators.windows import RandomEnd, Sliding
from fwdgrad.influence import NoInfluence
from fwdgrad.learning.execution import Execution
from fwdgrad.learning.samples import Chunk
from fwdgrad.learning.step.kinds import PREDICT
from fwdgrad.support import display
from fwdgrad.support.trees import flatten

__all__ = ["Cost", "Costs", "measure"]

STEPS = 128
"""A measurement is over about so many steps, whole windows …"""

SECONDS, LEAST, MOST = 0.3, 5, 25
"""… and repeated for so long, but at least and at most so often."""


class Cost(NamedTuple):
    """Of one estimator; NaN where it was not measured."""

    seconds: float = math.nan
    """Per step."""
    time_ratio: float = math.nan
    """To a step of the model alone, F and Y, on the same engine."""
    peak_bytes: float = math.nan
    """The most memory that its steps held at a time, as `tracemalloc` sees it."""
    memory_ratio: float = math.nan
    """To that of the model alone."""
    influence_bytes: int = 0
    """What is carried of the past from window to window."""

    def _repr_html_(self) -> str:
        return display.page("Cost of a step", display.pairs((k, f"{v:.3g}") for k, v in self._asdict().items()))


class Costs(NamedTuple):
    """Of the model alone, and of every estimator."""

    seconds: float
    peak_bytes: float
    estimators: list[Cost]


def measure(study: Study, estimators: Sequence[Estimator], wanted: bool = True) -> Costs:
    """Time and memory, in this process.

    Time is the median over repeats of the ratio of two measurements made one right after the other, the estimator's
    and the model's, so that a machine that is busy slows both; compilation and reading of samples are not part of it.
    What is open at the end of a measurement is finished. Memory is the peak above what was held before, including
    state, parameters and influence, but not the samples, going one step at a time; a window that has no bound is
    measured over the whole sequence. `tracemalloc` sees NumPy's arrays and Python's objects, not what a compiled engine
    allocates by itself.
    """
    carried = [sum(np.asarray(a).nbytes for a in flatten(study.execution(e).template.influence)) for e in estimators]
    if not wanted:
        return Costs(math.nan, math.nan, [Cost(influence_bytes=n) for n in carried])
    model = _model(study)
    alone = _timed(model, study, min(study.length, 2 * STEPS), targets=False)
    alone()
    held = _peak(_timed(model, study, min(study.length, STEPS), targets=False, grain=1))
    seconds, made = [], []
    for estimator, nbytes in zip(estimators, carried, strict=True):
        learner, count = _learner(study, estimator), _count(study, estimator)
        learn = _timed(learner, study, count)
        learn()
        ratios: list[float] = []
        times: list[float] = []
        end = time.perf_counter() + SECONDS
        while len(ratios) < LEAST or (len(ratios) < MOST and time.perf_counter() < end):
            seconds.append(alone())
            times.append(learn())
            ratios.append(times[-1] / seconds[-1])
        bounded = isinstance(estimator.window, Sliding)
        peak = _peak(_timed(learner, study, count if bounded else study.length, grain=1))
        made.append(Cost(float(np.median(times)), float(np.median(ratios)), peak, peak / held, nbytes))
    return Costs(float(np.median(seconds)), held, made)


def _count(study: Study, estimator: Estimator) -> int:
    """Steps of a measurement: whole windows, where they fit."""
    window = estimator.window
    length = 1
    if isinstance(window, Sliding):
        length = window.length or study.system.size
    elif isinstance(window, RandomEnd):
        length = math.ceil(8 / window.probability)
    return min(study.length, length * -(-STEPS // length))


Steps = Callable[[Sequence[Chunk]], None]


def _timed(steps: Steps, study: Study, count: int, targets: bool = True, grain: int = GRAIN) -> Callable[[], float]:
    """A function that makes so many steps and returns the seconds that each took."""
    chunks = list(study.chunks(0, count, slice(0, count if targets else 0), grain))

    def timed() -> float:
        start = time.perf_counter()
        steps(chunks)
        return (time.perf_counter() - start) / count

    return timed


def _learner(study: Study, estimator: Estimator) -> Steps:
    return lambda chunks: run(study.loop(estimator), chunks, finish=True)


def _model(study: Study) -> Steps:
    """F and Y: the steps of a learner that has neither targets nor an influence."""
    execution = Execution(study.system, Estimator(NoInfluence(), name="the model"), Nothing(), study.engine)

    def predict_eagerly(chunks: Sequence[Chunk]) -> None:  # there, such a step would prepare derivatives
        carry = started(execution, study.params).carry
        with np.errstate(all="ignore"):
            for chunk in chunks:
                for k in range(len(chunk.observed)):
                    carry = (execution.make(PREDICT, carry, [a[k] for a in chunk.x])[0], *carry[1:])

    if not execution.traced:
        return predict_eagerly
    return lambda chunks: run(started(execution, study.params), chunks)


def _peak(run: Callable[[], float]) -> float:
    """Bytes that were held at most while it ran, beyond those held before."""
    tracing = tracemalloc.is_tracing()
    if tracing:
        tracemalloc.reset_peak()
    else:
        tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        run()
        return float(tracemalloc.get_traced_memory()[1] - before)
    finally:
        if not tracing:
            tracemalloc.stop()
