"""Parameters whose gradient is exactly zero, sample after sample: found without another operation in a step.

Where no update changes a parameter without a gradient, one that has moved by a bit has had one, and nothing more need
be known of it. Only if some have not moved after the first samples, a second loop goes through the next ones beside
the learner, with the same estimator and fixed parameters, and adds up the sizes of the gradients: a parameter may
also stand still because its rate is tiny.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from fwdgrad.engines.names import EAGER
from fwdgrad.engines.registry import NUMPY
from fwdgrad.errors import FwdgradError
from fwdgrad.estimators.windows import RandomEnd, Sliding, WholeSequence
from fwdgrad.learning.execution import execution_for
from fwdgrad.learning.loops.base import Loop
from fwdgrad.learning.loops.choosing import loop_for, noise_for
from fwdgrad.learning.noise import NoiseStream
from fwdgrad.learning.samples import Chunk
from fwdgrad.support.types import Leaves
from fwdgrad.system import System

__all__ = ["ENTRIES", "FIRST", "SAMPLES", "SilentLeaves", "listed_entries", "told_dead", "told_silent"]

ENTRIES = "what they change never reaches the loss, or nothing uses them"

SAMPLES = 100
"""N: samples with a target, and a loss other than zero, after which a gradient that was always zero is told of; those
of a window, and as many as a parameter takes to reach the loss, come on top."""

FIRST = 32
"""After so many of them, leaves that have not moved are looked at more closely."""


@dataclass(frozen=True)
class _Sizes:
    """An optimizer that changes nothing; its state is the sum of the sizes of the gradients, entry by entry."""

    def init(self, params: Leaves) -> Leaves:
        return {k: np.zeros(p.shape, p.dtype) for k, p in params.items()}

    def update(self, grads: Leaves, state: Leaves, params: Leaves) -> tuple[Leaves, Leaves]:
        return {}, {k: state[k] + np.abs(grads[k]) for k in state}


class SilentLeaves:
    """Which of some leaves have had no gradient since they were set.

    Args:
        leaves: their names.
        params: θ now, by leaf, as what is learned.

    Attributes:
        open: whether any of them is still in question. When none is, there is nothing to feed.
        silent: leaves whose gradient was found to be exactly zero, with their values.
        samples: samples with a target and a loss so far.
    """

    def __init__(self, leaves: Iterable[str], params: Mapping[str, Any]) -> None:
        self._start = {k: np.array(params[k]) for k in leaves}
        self.open = bool(self._start)
        self.silent: Leaves = {}
        self.samples = 0
        self._beside: Loop | None = None
        self._compared = 0

    # ---- what the learner tells; both return the leaves that were found to be silent, which is told once

    def step(self, loop: Loop, x: Any, y: Any, loss: float) -> tuple[str, ...]:
        """The learner has made a step."""
        if self._beside is not None:
            with self._forgiving():
                self._beside.step(x, y)
        return self._seen(loop, int(_tells(loss)))

    def run(self, loop: Loop, chunk: Chunk, losses: np.ndarray) -> tuple[str, ...]:
        """The learner has gone through some samples."""
        if self._beside is not None and self._beside.run(chunk).error is not None:
            self._beside = None
        return self._seen(loop, int(_tells(losses).sum()))

    def until_next_look(self, loop: Loop, observed: np.ndarray) -> int:
        """How many of the next samples, of which these have a target, had best be gone through before telling."""
        if not self.open or isinstance(loop.execution.estimator.window, WholeSequence):
            return len(observed)
        wanted = FIRST + _length(loop) - self.samples if self._beside is None else SAMPLES - FIRST - self._compared
        places = np.flatnonzero(observed)
        return int(places[wanted - 1]) + 1 if 0 < wanted <= len(places) else len(observed)

    def finish(self) -> None:
        """The learner learns from what is still open."""
        if self._beside is not None:
            with self._forgiving():
                self._beside.finish()

    def restart(self, h: Any, given: bool) -> None:
        """The learner starts another trajectory."""
        if self._beside is not None:
            self._beside.restart(h, given)

    def before_the_end(self, loop: Loop) -> Loop | None:
        """The loop beside one that learns at the end of the sequence, which is about to come."""
        whole = isinstance(loop.execution.estimator.window, WholeSequence)
        return _beside(loop) if self.open and whole and self.samples >= SAMPLES + _length(loop) else None

    def after_the_end(self, loop: Loop, beside: Loop) -> tuple[str, ...]:
        """The sequence has been learned from."""
        return self._judged(loop, beside)

    # ---- how it is found out

    @contextmanager
    def _forgiving(self) -> Iterator[None]:
        """With fixed parameters a step may fail that the learner makes: then the loop beside it starts again."""
        try:
            with np.errstate(all="ignore"):
                yield
        except FwdgradError:
            self._beside = None

    def _seen(self, loop: Loop, observed: int) -> tuple[str, ...]:
        self.samples += observed
        window = loop.execution.estimator.window
        if isinstance(window, WholeSequence):
            return ()
        if self._beside is not None:
            self._compared += observed
            if self._compared >= SAMPLES - FIRST:
                return self._judged(loop, self._beside)
        elif self.samples >= FIRST + _length(loop):
            self.open = bool(self._still(loop))
            self._beside, self._compared = _beside(loop) if self.open else None, 0
        return ()

    def _still(self, loop: Loop) -> tuple[str, ...]:
        """The leaves that have not moved by a bit; all of them, if the optimizer moves what has no gradient."""
        params = loop.execution.unpack(loop.view).params
        if _drifts(loop):
            return tuple(self._start)
        return tuple(k for k, v in self._start.items() if np.array_equal(v, params[k]))

    def _judged(self, loop: Loop, beside: Loop) -> tuple[str, ...]:
        with self._forgiving():
            beside.finish()
        sizes = beside.execution.unpack(beside.carry).optimizer
        found = tuple(k for k in self._still(loop) if not np.any(sizes[k]))
        params = loop.execution.unpack(loop.view).params
        self.silent |= {k: np.array(params[k]) for k in found}
        self.open, self._beside = False, None
        return found

    def still_silent(self, params: Mapping[str, Any]) -> tuple[str, ...]:
        """The silent leaves that have not moved since they were found."""
        return tuple(k for k, v in self.silent.items() if np.array_equal(v, params[k]))

    # ---- another start, and checkpoints

    def restarted(self, params: Mapping[str, Any]) -> SilentLeaves:
        """For parameters that were set to something else: whatever has not been seen to learn is in question again."""
        return SilentLeaves([*(self._start if self.open else ()), *self.silent], params)

    def state(self, loop: Loop) -> dict[str, Any]:
        """For a checkpoint."""
        return {
            "still": list(self._still(loop)) if self.open else [],
            "silent": list(self.still_silent(loop.execution.unpack(loop.view).params)),
            "samples": self.samples,
        }

    @staticmethod
    def restored(state: Mapping[str, Any], params: Mapping[str, Any]) -> SilentLeaves:
        """From a checkpoint. Leaves that have not moved still have their first values."""
        made = SilentLeaves(state["still"], params)
        made.silent = {k: np.array(params[k]) for k in state["silent"]}
        made.samples = int(state["samples"])
        return made


def _tells(losses: Any) -> Any:
    """Which samples have a target and a loss: with none left, as where data are a model's own, no gradient is one."""
    return (losses != 0.0) & (losses == losses)


def _length(loop: Loop) -> int:
    """Steps after which a parameter that can reach the loss has, and an update has been made (or almost certainly)."""
    window, reach = loop.execution.estimator.window, loop.execution.model.paths.steps
    if isinstance(window, RandomEnd):
        return reach + math.ceil(10 / window.probability)
    length = (window.length or loop.execution.system.size) if isinstance(window, Sliding) else 0
    return reach + (length if length > 1 else 0)


def _drifts(loop: Loop) -> bool:
    """Whether the optimizer moves parameters without a gradient, as weight decay does."""
    system, optimizer = loop.execution.system, loop.execution.steps.optimizer
    if loop.execution.steps.informed is not None:
        return False  # a filter divides the gradient by what is known of each parameter
    params = {k: system.coordinates[k] for k in system.trainable}
    nothing = {k: np.zeros_like(v) for k, v in params.items()}
    with np.errstate(all="ignore"):
        updates, _ = optimizer.update(nothing, optimizer.init(params), params)
    return any(np.any(u) for u in updates.values())


def _beside(loop: Loop) -> Loop:
    """A loop at the same place as `loop`, which adds up the gradients and learns nothing."""
    main = loop.execution
    system = main.system
    sizes = _Sizes()
    execution = execution_for(system, main.estimator, sizes, NUMPY.name if main.traced else EAGER)
    held = main.unpack(loop.carry)
    carry = execution.pack(
        held._replace(optimizer=sizes.init({k: held.params[k] for k in system.trainable}), constants=())
    )
    noise = NoiseStream(np.random.default_rng(0), noise_for(execution), system.dtype)
    made = loop_for(execution, noise, carry)
    made.steps, made.feed.row = loop.steps, list(loop.feed.row)
    made.restore(loop.arrays())
    return made


def told_dead(system: System, dead: Mapping[str, str], entries: Mapping[str, np.ndarray]) -> str:
    """What is said of parameters that have no path to the loss, for these reasons, and of such entries of others."""
    named = [f"{_sized(system, k)}: {reason}" for k, reason in dead.items()]
    named += [f"{listed_entries(k, where)}: {ENTRIES}" for k, where in entries.items()]
    lines = [f"  {line}" for line in named[:2]]
    if len(named) > 2:
        rest = [*dead, *entries][2:]
        lines.append(f"  and {len(rest)} more: {', '.join(rest[:6])}" + (", …" if len(rest) > 6 else ""))
    return (
        f"Learner of {system.name}: these parameters cannot learn, since the loss has no derivative in them.\n"
        + "\n".join(lines)
        + "\nFreeze them (fg.fixed, or frozen=[…]), or let F or Y use them smoothly. Their deviation is not known."
    )


def listed_entries(leaf: str, where: np.ndarray) -> str:
    """The entries of a leaf at which something is so, the first six of them."""
    places = np.argwhere(where).tolist()
    return ", ".join(f"{leaf}{place}" for place in places[:6]) + (", …" if len(places) > 6 else "")


def told_silent(system: System, silent: tuple[str, ...], samples: int) -> str:
    """What is said of parameters that have had no gradient in so many samples."""
    return (
        f"Learner of {system.name}: the gradient has been exactly zero for all {samples} samples in "
        f"{', '.join(_sized(system, k) for k in silent[:6])}{', …' if len(silent) > 6 else ''}.\n"
        "It has learned nothing so far. Usual causes: a branch of np.where that is not taken, a product with zero, a\n"
        "unit that is not active, a value outside np.clip. Start it elsewhere, freeze it (fg.fixed), or use it."
    )


def _sized(system: System, leaf: str) -> str:
    size = system.coordinates[leaf].size
    return leaf if size == 1 else f"{leaf} (all {size} entries)"
