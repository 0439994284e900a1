"""Whether the steps of an integrator are too long for what is learned: the same simulation with finer ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from fwdgrad.errors import ShapeError, StepError
from fwdgrad.integrate import Adaptive
from fwdgrad.learning.loops.record import Record
from fwdgrad.learning.samples import Chunk
from fwdgrad.losses import SquaredError, StudentT
from fwdgrad.support.trees import unflatten
from fwdgrad.system import System

__all__ = ["Stretches", "coarse_steps", "discretisation_error", "unstable_steps"]

FINER, TIGHTER = 4, 100.0
"""Times as many substeps; or, of a method that chooses its steps, parts of its tolerances."""
COARSE, NEGLIGIBLE = 0.1, 1e-4
"""Change of outputs from which it is told of: in parts of the residuals, and of the outputs' deviation."""
FAR = 10.0
"""Residuals, in deviations of the targets, that no trajectory has which is as large as they are."""
STRETCH = 64
"""Samples that are simulated with finer steps at a time; and of the first time that they are."""
SHORTEST = 32
"""Samples that are enough, where a run ends."""

_FINER: WeakKeyDictionary[System, System] = WeakKeyDictionary()


def coarse_steps(
    system: System, record: Record, params: Mapping[str, Any], residual: np.ndarray, outputs: np.ndarray | None = None
) -> str:
    """What is said of steps that are too long; nothing if they are not, or in discrete time.

    Args:
        system: the declared system.
        record: the samples.
        params: θ as F and Y see it.
        residual: root mean square of the residuals of each output, or the deviation of its noise, shape (m,); NaN
            where there are none.
        outputs: those with the steps as they are, (T, m), if they are known.
    """
    error = discretisation_error(system, record, params, outputs)
    return "" if error is None else _told(system, error, record.targets(len(residual)), residual)


def unstable_steps(system: System, record: Record, params: Mapping[str, Any], residual: np.ndarray) -> str:
    """What is said of steps with which a simulation blows up, or ends, and with finer ones does not; else nothing.

    It is asked of a filter, which follows the data where a simulation is soon elsewhere for other reasons, too.
    Arguments as of `coarse_steps`. Cost: nine passes of the model.
    """
    targets = record.targets(len(residual))
    fine = discretisation_error(system, record, params, np.zeros(targets.shape))
    if fine is None or _far(fine, targets):
        return ""
    error = discretisation_error(system, record, params)
    return "" if error is None or not _far(fine - error, targets) else _told(system, error, targets, residual)


def _far(outputs: Any, targets: np.ndarray) -> bool:
    """Whether some output has residuals larger than `FAR` deviations of its targets, or ends."""
    seen = np.isfinite(targets)
    with np.errstate(over="ignore"):
        squares = np.square(np.where(seen, outputs - targets, 0.0))
        size = np.sqrt(np.sum(squares, axis=0) / np.maximum(seen.sum(axis=0), 1))
    spread = _spread(targets)
    return bool(np.any(~(size <= FAR * spread) & (spread > 0)))


def _spread(targets: np.ndarray) -> np.ndarray:
    """Deviation of each output's targets, shape (m,); 0 where there are none."""
    return np.array([np.std(c[np.isfinite(c)]) if np.isfinite(c).any() else 0.0 for c in targets.T])


def _told(system: System, error: np.ndarray, targets: np.ndarray, residual: np.ndarray) -> str:
    """What is said of a change of outputs, shape (T, m), by finer steps."""
    with np.errstate(over="ignore"):
        size = np.sqrt(np.mean(np.square(error), axis=0))
    least = np.maximum(COARSE * residual, NEGLIGIBLE * _spread(targets))
    known = np.isfinite(residual) & np.isfinite(targets).any(axis=0)
    if not np.any(~(size <= least) & known):
        return ""
    residual = np.where(known, residual, 0.0)
    parts = np.where(residual > 0, size / np.where(residual > 0, residual, 1.0), np.inf)
    worst = int(np.argmax(np.where(known, np.nan_to_num(parts, nan=np.inf), -1.0)))
    method = str(system.method) + (f", {system.substeps} substeps" if system.substeps > 1 else "")
    how_far = "change" if not np.isfinite(size[worst]) else f"change by {size[worst]:.2g}"
    how_far += f", {parts[worst]:.2g} times the residuals" if np.isfinite(parts[worst]) else ""
    if isinstance(system.integrator, Adaptive):
        finer, mend = f"tolerances {TIGHTER:g} times smaller", "rtol=, atol="
    else:
        finer, mend = f"{FINER} times as many", "method=, substeps="
    return (
        f"integration steps are too long ({method}): with {finer}, outputs {how_far}, and parameters are biased "
        f"({mend})"
    )


def discretisation_error(
    system: System, record: Record, params: Mapping[str, Any], outputs: np.ndarray | None = None
) -> np.ndarray | None:
    """How much outputs change with `FINER` times as many substeps, or tighter tolerances, shape (T, m).

    NaN where the finer run cannot go on; None for a map in discrete time, or with injection. By Richardson's argument
    a method of order q has then (4^q − 1)/4^q of its error left out of it: three quarters for Euler's, nearly all for
    others. Cost: four passes of the model as plain NumPy calls, and one more unless its outputs are known.
    """
    if system.dt is None or system.corrects:
        return None
    made = []
    for start, chunk in record.trajectories():
        count, size = len(chunk.observed), int(np.prod(np.shape(system.prediction), dtype=int))
        known = None if outputs is None else outputs[start.place : start.place + count]
        pair = _both(system, chunk, params, start.state if start.given else None, None, known)
        made.append(np.full((count, size), np.nan) if pair is None else pair[1] - pair[0])
    return np.concatenate(made)


def _finer(system: System) -> System:
    if isinstance(system.integrator, Adaptive):
        return system.replace(method=system.integrator.tighter(TIGHTER))
    return system.replace(substeps=FINER * system.substeps)


def _both(
    system: System, chunk: Chunk, params: Mapping[str, Any], state: Any, first: str | None, known: Any = None
) -> tuple[np.ndarray, np.ndarray] | None:
    """Outputs with steps as they are, if they are not known, and with finer ones, each (T, m); None where one ends."""
    if system not in _FINER:
        _FINER[system] = _finer(system)
    count = len(chunk.observed)
    xs = None if system.x is None else unflatten(system.x, chunk.x)
    given: dict[str, Any] = {"params": params, "first": first, "steps": None if xs is not None else count}
    given["state"] = None if state is None else system.unpack(state)

    def run(one: System) -> np.ndarray:
        if given["state"] is not None and one is not system and one.past is not None and system.past is not None:
            given["state"] = system.past.refined(given["state"], one.past)
        return np.reshape(one.simulate(xs, **given).outputs, (count, -1))

    try:
        return run(system) if known is None else known, run(_FINER[system])
    except (StepError, ShapeError):  # of parameters at a bound, which have no coordinate
        return None


class Stretches:
    """Looks, in a stretch of samples now and then, whether integration steps are too long for a learner.

    Stretches of `STRETCH` samples begin with samples number 0, 64, 128, 256, 512, …. The model is simulated through
    each, from the state that the learner had at its beginning and with the parameters that it has at its end, with
    steps as they are and finer ones. Where that changes outputs by more than a tenth of their errors, it is told.

    Only of rates with steps of a fixed size, whose targets are like predictions, and without injection, whose errors
    are the data's.

    Args:
        system: what is learned.

    Attributes:
        told: what is said; empty as long as there is nothing to say.
        open: whether samples are being looked at, or may be later.

    Cost: 5 · 64 samples of the model as plain NumPy calls for each stretch, log₂ of the number of samples of them.
    """

    def __init__(self, system: System) -> None:
        plain = isinstance(system.loss, (SquaredError, StudentT))
        fixed = system.dt is not None and not isinstance(system.integrator, Adaptive)
        self.open = fixed and not system.corrects and plain
        self.told = ""
        self._system, self._due = system, 0
        self._fresh = False
        self._began: tuple[int, np.ndarray] | None = None
        self._parts: list[Chunk] = []

    def wants(self, steps: int, state: Any) -> bool:
        """Whether the next sample is looked at.

        Args:
            steps: samples seen.
            state: h now.
        """
        if not self.open:
            return False
        if self._fresh:  # the first sample of a trajectory may make no transition
            self._fresh = False
            return False
        if self._began is None and steps >= self._due:
            self._began = steps, np.array(state)
        return self._began is not None

    def extend(self, chunk: Chunk, params: Mapping[str, Any]) -> None:
        """Samples that have been gone through, with the parameters there are after them."""
        seen = sum(len(part.observed) for part in self._parts)
        self._parts.append(chunk.part(0, STRETCH - seen))
        if seen + len(chunk.observed) >= STRETCH:
            self.finish(params)

    def finish(self, params: Mapping[str, Any]) -> None:
        """A stretch, or the run that it is of, ends: see what there is."""
        began, parts, self._began, self._parts = self._began, self._parts, None, []
        if began is None:
            return
        self._due = max(STRETCH, 2 ** int(began[0]).bit_length())
        if sum(len(part.observed) for part in parts) >= SHORTEST and any(part.observed.any() for part in parts):
            self.told = self._look(*began, _joined(parts), params)
            self.open = not self.told

    def restart(self) -> None:
        """Another trajectory begins."""
        self._fresh, self._began, self._parts = True, None, []

    def _look(self, start: int, state: np.ndarray, chunk: Chunk, params: Mapping[str, Any]) -> str:
        pair = _both(self._system, chunk, params, state if start else None, "next" if start else None)
        if pair is None:
            return ""
        (targets,) = chunk.y
        targets = targets.reshape(len(chunk.observed), -1).astype(float)
        targets[~chunk.observed] = np.nan
        errors = np.square(targets - pair[0])
        counts = np.maximum(np.isfinite(errors).sum(axis=0), 1)
        residual = np.where(np.isfinite(errors).any(axis=0), np.sqrt(np.nansum(errors, axis=0) / counts), np.nan)
        return _told(self._system, pair[1] - pair[0], targets, residual)


def _joined(parts: Sequence[Chunk]) -> Chunk:
    x, y = ([np.concatenate(a) for a in zip(*(getattr(p, k) for p in parts), strict=True)] for k in ("x", "y"))
    return Chunk(x, y, np.concatenate([p.observed for p in parts]))
