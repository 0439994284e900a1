"""The learner that options ask for: by the names of an estimator and an optimizer, or the library's default."""

from __future__ import annotations

from fwdgrad.errors import DeclarationError
from fwdgrad.estimators import estimator_named
from fwdgrad.learning.learner import Learner
from fwdgrad.optimizers import NAMED, JointFilter
from fwdgrad.system import System

__all__ = ["learner_for"]

RATE = 1e-3


def learner_for(
    system: System, estimator: str | None, optimizer: str | None, rate: float | None = None, seed: int = 0
) -> Learner:
    """A learner by name.

    Raises:
        DeclarationError: a rate, or an estimator, is given to the joint filter, which has none.
    """
    plain = estimator in (None, "auto")
    if optimizer == "joint" or (optimizer is None and plain and rate is None):
        if not plain or rate is not None:
            raise DeclarationError("the joint filter has no estimator and no rate: leave them out.")
        return Learner(system, optimizer=JointFilter() if optimizer == "joint" else None, seed=seed)
    chosen = "auto" if plain or estimator is None else estimator_named(estimator)
    return Learner(system, chosen, NAMED[optimizer or "sgd"](RATE if rate is None else rate), seed)
