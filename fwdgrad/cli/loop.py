"""The loop around `Learner.run`: blocks of steps between which it shows progress, saves, and may be interrupted."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from typing import Any

from fwdgrad.cli.curve import Curve
from fwdgrad.cli.jobs import Job
from fwdgrad.learning.history import History
from fwdgrad.learning.learner import Learner

__all__ = ["run"]

LONG, SHORT = 0.2, 0.05
"""Seconds: a block that takes longer is halved the next time, a shorter one doubled. Nothing else depends on blocks."""


def run(
    learner: Learner,
    job: Job,
    steps: int,
    curve: Curve,
    *,
    save: Callable[[], None] | None = None,
    every: int | None = None,
    keep: Callable[[int, History], None] | None = None,
    quiet: bool = False,
) -> bool:
    """Learn up to step number `steps`, going through the data again after its end, as the job says.

    What learns at the end of a sequence learns at the end of each pass through the data, and at the last step: never at
    the end of a block, whose length depends on how fast the machine is, nor where a checkpoint is written.

    Args:
        learner: where it is; sample number learner.steps, modulo the length of the data, comes next.
        job: the data.
        steps: of the learner in all.
        curve: takes the losses.
        save: writes a checkpoint.
        every: call `save` after each multiple of so many steps.
        keep: takes the number of the first step of a block and its history, with predictions.
        quiet: no progress bar.

    Returns:
        Whether it got there; False if it was interrupted with Ctrl-C, which takes effect between two steps.
    """
    size = 16
    with _Bar(job, steps, learner.steps, quiet) as bar, _Interruption() as interruption:
        while learner.steps < steps and not interruption.asked:
            start = time.perf_counter()
            first = learner.steps
            pass_ends = first - first % len(job) + len(job)
            ends = [first + size, steps, pass_ends]
            if every is not None:
                ends.append(first - first % every + every)
            count = min(ends) - first
            xs, ys = job.slice(first % len(job), count)
            if job.again and first and first % len(job) == 0:
                learner.reset_state()
            last = first + count in (steps, pass_ends)
            history = learner.run(xs, ys, steps=count, keep_predictions=keep is not None, finish=last)
            curve.add(history.loss)
            if keep is not None:
                keep(first, history)
            bar.show(count, curve)
            spent = time.perf_counter() - start
            size = max(size // 2, 1) if spent > LONG else min(2 * size, 65536) if spent < SHORT else size
            if save is not None and every is not None and learner.steps % every == 0 and learner.steps < steps:
                save()
    return learner.steps >= steps


class _Interruption:
    """Makes Ctrl-C a request; a second one is a KeyboardInterrupt as usual."""

    def __init__(self) -> None:
        self.asked = False

    def __enter__(self) -> _Interruption:
        self._main = threading.current_thread() is threading.main_thread()
        if self._main:
            self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def _note(self, *_: Any) -> None:
        self.asked = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def __exit__(self, *_: Any) -> None:
        if self._main:
            signal.signal(signal.SIGINT, self._before)


class _Bar:
    """A tqdm bar with the loss of the latest steps."""

    def __init__(self, job: Job, total: int, done: int, quiet: bool) -> None:
        from tqdm.auto import tqdm

        self._job = job
        # disable=None: no bar where stderr is not a terminal
        self._bar = tqdm(total=total, initial=done, unit="step", unit_scale=True, disable=True if quiet else None)

    def __enter__(self) -> _Bar:
        return self

    def show(self, count: int, curve: Curve) -> None:
        self._bar.set_postfix_str(f"{self._job.show(curve.mean(0.02))} {self._job.unit}", refresh=False)
        self._bar.update(count)

    def __exit__(self, *_: Any) -> None:
        self._bar.close()
