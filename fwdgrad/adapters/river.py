"""A system as a regressor of river: `learn_one`, `predict_one`, in its pipelines, metrics and evaluations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from river import base

from fwdgrad.adapters.held import Saved, made, system_for
from fwdgrad.estimators import Estimator
from fwdgrad.learning.learner import Learner
from fwdgrad.optimizers import Optimizer
from fwdgrad.system import System

__all__ = ["Regressor"]


class Regressor(Saved, base.Regressor):
    """Learns a number from a stream of features, with a memory of the features before.

    Samples have to come in order: the state goes on with each that is learned. `predict_one` is for the sample that
    comes next, and changes nothing.

    A feature that is a number goes to the input of the system that has its name; where inputs have no names, features
    go by the order of their names. The first sample says which there are: one that is missing later is 0, and one that
    is new is left out.

    Args:
        system: whose output is one number; None for a leaky recurrent network. Scale its features:
            ``StandardScaler() | Regressor()``.
        estimator: as for `fwdgrad.Learner`.
        optimizer: likewise; Adam for the network.
        units: of the network.
        seed: likewise.

    Example:
        >>> from fwdgrad.adapters.river import Regressor  # doctest: +SKIP
        >>> from river import datasets, evaluate, metrics, preprocessing  # doctest: +SKIP
        >>> model = preprocessing.StandardScaler() | Regressor()  # doctest: +SKIP
        >>> evaluate.progressive_val_score(datasets.ChickWeights(), model, metrics.MAE())  # doctest: +SKIP
    """

    def __init__(
        self,
        system: System | None = None,
        estimator: Estimator | str = "auto",
        optimizer: Optimizer | None = None,
        units: int = 16,
        seed: int = 0,
    ) -> None:
        self.system, self.estimator, self.optimizer, self.units, self.seed = system, estimator, optimizer, units, seed
        self._names: tuple[Any, ...] = ()
        self._learner: Learner | None = None

    @classmethod
    def _unit_test_params(cls) -> Iterator[dict[str, Any]]:
        yield {"units": 4}

    @property
    def learner(self) -> Learner | None:
        """What learns: its parameters and state, `report`; None before the first sample."""
        return self._learner

    def _system(self) -> System:
        return system_for(self.system, len(self._names), 1, self.units, self.seed)

    def learn_one(self, x: dict[Any, Any], y: Any) -> None:
        """Learn from a sample."""
        if self._learner is None:
            self._names = tuple(sorted((k for k, v in x.items() if _is_number(v)), key=str))
            self._learner = made(self._system(), self.estimator, self.optimizer, self.seed, self.system is None)
        self._learner.step(self._given(x), np.reshape(float(y), self._learner.system.prediction.shape))

    def predict_one(self, x: dict[Any, Any]) -> float:
        """The prediction for the next sample; 0 before the first one."""
        if self._learner is None:
            return 0.0
        return float(np.ravel(self._learner.predict(self._given(x)))[0])

    def _given(self, x: dict[Any, Any]) -> Any:
        """The features as the system takes them."""
        assert self._learner is not None
        like = self._learner.system.x
        if like is None:
            return None
        if isinstance(like, dict):
            return {k: np.reshape(_number(x.get(k)), np.shape(v)) for k, v in like.items()}
        return np.reshape([_number(x.get(k)) for k in self._names], np.shape(like))


def _is_number(value: Any) -> bool:
    return isinstance(value, (bool, int, float, np.number, np.bool_))


def _number(value: Any) -> float:
    return float(value) if _is_number(value) else 0.0
