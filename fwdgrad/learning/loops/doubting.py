"""What first samples say of a model that a filter learns: they are kept beside it, and asked what the model lacks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fwdgrad.engines.registry import NUMPY
from fwdgrad.estimators import RTRL
from fwdgrad.learning.confidence import Fitted
from fwdgrad.learning.defaults import why_not_joint
from fwdgrad.learning.execution import Execution, execution_for
from fwdgrad.learning.loops.around import Around
from fwdgrad.learning.loops.base import Loop, Ran
from fwdgrad.learning.loops.gauss_newton import ENOUGH, GaussNewton, Normal
from fwdgrad.learning.loops.lacking import lacking
from fwdgrad.learning.loops.record import Record
from fwdgrad.learning.samples import Chunk
from fwdgrad.optimizers import NormalEquations
from fwdgrad.optimizers.informed import scale_of

__all__ = ["Doubting", "doubts"]

FIRST = 512
"""Targets that are kept, at most,"""
KEPT = 16
"""and samples, those without a target too, for each of these."""
FEWEST = 64
"""Targets from which on they are asked."""
MORE = 1.5
"""How many times as many there are before they are asked again."""
APART = 3.0
"""Deviations between what the filter has learned and a fit of what it has learned from, from which it is told."""
NEAR = 0.5
"""Those up to which nothing is made of it."""
SURER = 1.5
"""How many times as large the variance of a fit may be as the filter's, likewise."""


def doubts(execution: Execution) -> bool:
    """Whether steps are those of a filter whose claims can be held against its samples, simulated.

    Of one that forgets, old samples are no measure: parameters may have been others. A large system, or one whose loss
    has no residuals, is not simulated.
    """
    informed: Any = execution.steps.informed
    if not execution.traced or not hasattr(informed, "variances") or getattr(informed, "forgets", True):
        return False
    watched = getattr(execution.unpack(execution.initial()).optimizer, "watch", None)
    return watched is not None and why_not_joint(execution.system) is None


class Doubting(Around):
    """A loop around that of a filter: what it does is not changed, and the first samples are kept.

    When somebody wants to know what deviations are worth, these samples are fitted, by simulation from the parameters
    that the filter has found, and asked what the model lacks (`lacking`); and whether the filter is where they are.

    Args:
        inner: the loop that makes the steps.
        loop_for: makes a loop for an execution without random numbers.
    """

    def __init__(self, inner: Loop, loop_for: Callable[[Execution], Loop]) -> None:
        super().__init__(inner)
        self._loop_for = loop_for
        self._record: Record | None = Record(self.execution.system)
        self._record.begin(self.execution.system.initial, False)
        self._full = False
        self._asked = FEWEST / MORE  # targets there were when it was asked last
        self._known: Fitted | None = None
        self._tails = self._counts = ""

    def step(self, x: Any, y: Any) -> float:
        """One sample."""
        if self._record is None or self._full:
            return self.inner.step(x, y)
        *arrays, observed = self.reader.sample(x, y, self.steps)
        inputs, targets = ([np.asarray(a)[None] for a in part] for part in arrays)
        loss = self.inner.step(x, y)
        self._keep(self._record, Chunk(inputs, targets, np.array([observed])))
        return loss

    def run(self, chunk: Chunk) -> Ran:
        """Consecutive samples, up to the first that is refused."""
        ran = self.inner.run(chunk)
        if self._record is not None and not self._full:
            self._keep(self._record, chunk.part(0, len(ran.losses)))
        return ran

    def _keep(self, record: Record, chunk: Chunk) -> None:
        """Keep samples that have been learned from, as many as there is room for; none if some before were not kept."""
        if self.steps - len(chunk.observed) != len(record):
            self._record = None
            return
        places = np.flatnonzero(chunk.observed)
        room = FIRST - record.seen
        stop = int(places[room - 1]) + 1 if len(places) >= room else len(chunk.observed)
        stop = min(stop, KEPT * FIRST - len(record))
        record.extend(chunk.part(0, stop))
        self._full = record.seen >= FIRST or len(record) >= KEPT * FIRST

    def restart(self, h: Any, given: bool) -> None:
        """A new trajectory."""
        self.inner.restart(h, given)
        if self._record is not None and not self._full:
            self._record.begin(h, given)

    @property
    def tails(self) -> str:
        """Of the fit that was last asked."""
        return self._tails

    @property
    def counts(self) -> str:
        """By that fit."""
        return self._counts

    def fitted(self) -> Fitted | None:
        """What the samples that are kept say; once they are all there, that is asked a last time."""
        record = self._record
        if record is None or record.seen < (FEWEST if self._full else MORE * self._asked):
            return self._known
        self._asked, row = record.seen, list(self.feed.row)
        self._known = self._asked_of(record)
        self.feed.row = row
        if self._full:
            self._record = None
        return self._known

    def _asked_of(self, record: Record) -> Fitted | None:
        """What samples say."""
        system = self.execution.system
        informed: Any = self.execution.steps.informed
        held: Any = self.execution.unpack(self.execution.initial())
        prior = np.sqrt(_flat(informed.unlearned(held.optimizer)))
        carry: Any = self.execution.unpack(self.inner.carry)
        point = _flat({k: carry.params[k] for k in system.trainable})
        leaves = {k: np.asarray(system.coordinates[k]) for k in system.trainable}
        bounded = {k: system.coordinate[k].bounded for k in leaves}
        units = _flat({k: np.full(v.shape, 1.0 if bounded[k] else scale_of(v)) for k, v in leaves.items()})
        execution = execution_for(system, RTRL(), NormalEquations(), NUMPY.name)
        newton = GaussNewton(self._loop_for(execution), None)
        found = newton.minimum(record, point, _flat(leaves), prior, units, gain=ENOUGH)
        if found is None:
            return None
        covariance = found.covariance(prior)
        lack = lacking(system, record, found.point, found.noise, covariance, NUMPY.name, self._loop_for)
        self._tails, self._counts = lack.tails, lack.counts
        fitted = lack.doubted(Fitted(found.point, covariance, anew=False), covariance)
        return self._held_to(record, fitted, found, point, np.sqrt(_flat(informed.variances(carry.optimizer))))

    def _held_to(self, record: Record, fitted: Fitted, found: Normal, point: np.ndarray, claimed: np.ndarray) -> Fitted:
        """With how far the filter is from a fit, which should be nothing if both have seen the same samples.

        A filter took each of them as linear where it was then: it may be elsewhere, and surer than all of them are
        where they lead. If it has learned from later samples too, it may be off by what the kept ones leave unknown.
        """
        away, variances = np.abs(point - found.point), np.diag(fitted.covariance)
        complete = self.steps == len(record)
        width = claimed if complete else np.maximum(claimed, np.sqrt(variances))
        far = float(np.max(away / width))
        bias = np.where(away > (NEAR if complete else APART) * width, away, 0.0)
        if complete:
            bias = np.hypot(bias, np.sqrt(np.where(variances > SURER * claimed**2, variances - claimed**2, 0.0)))
        if not bias.any():
            return fitted
        said = (
            f"a fit of {record.seen} targets is {far:.2g} deviations away from the filter, which took first samples as "
            "linear where it began (JointFilter fits them again)"
        )
        said = said if far > APART else ""
        bias = bias if fitted.bias is None else np.hypot(bias, fitted.bias)
        return fitted._replace(bias=bias, lacks=fitted.lacks or said)

    # ---- checkpoints

    def arrays(self) -> dict[str, np.ndarray]:
        """What is kept."""
        made = self.inner.arrays() | ({} if self._record is None else self._record.arrays())
        return made if self._known is None else made | self._known.arrays()

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """Take it up; there is nothing in older files."""
        self.inner.restore(arrays)
        self._known = Fitted.restored(arrays)
        if "places" not in arrays:
            self._record = None
            return
        self._record = Record(self.execution.system)
        self._record.restore(arrays)
        self._full = self._record.seen >= FIRST or len(self._record) >= KEPT * FIRST


def _flat(leaves: Any) -> np.ndarray:
    """Numbers of all leaves, shape (p,)."""
    return np.concatenate([np.ravel(np.asarray(v, float)) for v in leaves.values()])
