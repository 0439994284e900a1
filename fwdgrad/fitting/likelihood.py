"""What a minimum of Fisher's scoring is worth for a filtered system, whose noise is among its parameters."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fwdgrad.estimators import RTRL
from fwdgrad.filtering import FilteredSystem
from fwdgrad.fitting.result import Fit, Going
from fwdgrad.fitting.simulation import verdict_of
from fwdgrad.learning.confidence import FEW
from fwdgrad.learning.execution import execution_for
from fwdgrad.learning.learner import Learner
from fwdgrad.learning.loops import GaussNewton, Normal, Record, robust
from fwdgrad.optimizers import Full, InformationFilter

__all__ = ["likeliest"]


def likeliest(
    system: FilteredSystem, record: Record, newton: GaussNewton, found: Normal, prior: np.ndarray, passes: float
) -> Fit:
    """The fit that a minimum is: predictions one sample ahead, with the deviations that the filter gives them.

    Args:
        system: the filter.
        record: what was fitted.
        newton: what has found the minimum.
        found: the minimum.
        prior: deviations of the prior, shape (p,).
        passes: how often samples were gone through.

    Raises:
        StepError: the system cannot be filtered with these parameters.
    """
    made, scores, matrix = newton.sample_by_sample(record, found.point, found.noise)
    covariance = found._replace(matrix=matrix).covariance(prior)
    outputs, deviations = (np.reshape(a, (len(record), -1)) for a in (system.point(made), system.deviation(made)))
    targets = record.targets(outputs.shape[1])
    z, loss = np.full(targets.shape, np.nan), 0.0
    for k in np.flatnonzero(record.observed):
        y = np.reshape(targets[k], system.y.shape)
        white, seen = system.innovations(made[k], y)
        z[k] = np.where(np.ravel(seen) > 0, np.ravel(white), np.nan)
        loss += float(system.loss.value(made[k], y))
    starts = tuple(s.place for s in record.starts)
    verdict, count = verdict_of(z, starts), int(np.isfinite(targets).sum())
    memory = float(np.max(verdict.memory))
    if memory > 1.0:
        factors = robust(covariance, scores, starts, memory)
        covariance = covariance * np.outer(factors, factors)
    withheld = count <= len(found.point) or count / memory < FEW
    noise = np.sqrt(np.diag(system.covariances(system.params_at(found.point))["observation"]))
    going = Going(_going_on(system, newton, found, prior, len(record)), lambda: deviations)
    return Fit(
        system, "likelihood", found.point, covariance, prior, withheld, noise, np.full(system.wrapped.size, np.nan),
        loss, outputs, targets, starts, record.times(), passes, verdict, (), going,
    )  # fmt: skip


def _going_on(
    system: FilteredSystem, newton: GaussNewton, found: Normal, prior: np.ndarray, steps: int
) -> Callable[[], Learner]:
    """Makes a learner at the end of the record: with the influence there, and the information of all samples."""
    row, optimizer = [np.array(v) for v in newton.row], InformationFilter(Full(joint=True), "exact")

    def make() -> Learner:
        execution = execution_for(system, RTRL(), optimizer, newton.engine)
        fresh, dtype = execution.unpack(execution.initial()), system.dtype
        information = np.linalg.cholesky(found.matrix + np.diag(prior**-2.0)).T
        factors = (np.asarray(information, dtype)[None],)
        state = fresh.optimizer._replace(
            t=np.asarray(float(steps)), matrix=fresh.optimizer.matrix._replace(factors=factors)
        )
        held = found.carry
        carry = fresh._replace(h=held.h, params=held.params, influence=held.influence, optimizer=state)
        return Learner.resumed(system, optimizer, execution.pack(carry), steps, row, RTRL())

    return make
