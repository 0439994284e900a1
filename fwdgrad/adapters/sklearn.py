"""A system as a regressor of scikit-learn: `fit`, `partial_fit` and `predict`, a row a sample, in order."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from fwdgrad.adapters.held import Saved, made, system_for
from fwdgrad.estimators import Estimator
from fwdgrad.learning.learner import Learner
from fwdgrad.optimizers import Optimizer
from fwdgrad.system import System

__all__ = ["NOT_APPLICABLE", "SystemRegressor"]

NOT_APPLICABLE = {
    "check_methods_sample_order_invariance": "rows are samples in time: their order is what is learned",
    "check_methods_subset_invariance": "rows are samples in time: a prediction depends on those before",
}
"""Checks of scikit-learn that no model with a memory can pass, and why."""


class SystemRegressor(Saved, RegressorMixin, BaseEstimator):
    """Learns outputs from rows that follow each other in time, with a memory of the rows before.

    `predict` simulates: it begins in the initial state, and sees no targets. `partial_fit` goes on where the last rows
    ended, and learns each row once.

    Args:
        system: None for a leaky recurrent network, with as many inputs and outputs as there are columns. Scale them.
        estimator: as for `fwdgrad.Learner`.
        optimizer: likewise; Adam for the network.
        units: of the network.
        passes: of `fit` through the rows, each from the initial state on.
        seed: likewise.

    Attributes:
        learner_: what learns: its parameters and state, `report`.
        n_features_in_: columns.

    Example:
        >>> import numpy as np
        >>> from fwdgrad.adapters.sklearn import SystemRegressor  # doctest: +SKIP
        >>> X = np.random.default_rng(0).normal(size=(500, 2))
        >>> y = np.convolve(X[:, 0], [0.5, 0.3])[:500]
        >>> SystemRegressor(passes=5).fit(X, y).score(X, y)  # doctest: +SKIP
    """

    LEARNER = "learner_"

    def __init__(
        self,
        system: System | None = None,
        estimator: Estimator | str = "auto",
        optimizer: Optimizer | None = None,
        units: int = 16,
        passes: int = 1,
        seed: int = 0,
    ) -> None:
        self.system, self.estimator, self.optimizer = system, estimator, optimizer
        self.units, self.passes, self.seed = units, passes, seed

    def __getstate__(self) -> dict[str, Any]:
        """With the version of scikit-learn, as `BaseEstimator` has it, and a checkpoint in place of the learner."""
        return BaseEstimator.__getstate__(self) | Saved.__getstate__(self)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """The other way."""
        BaseEstimator.__setstate__(self, state)
        Saved.__setstate__(self, {k: v for k, v in state.items() if k != "_sklearn_version"})

    def __sklearn_tags__(self) -> Any:
        """It takes several outputs, and does badly where it is not given time."""
        tags = super().__sklearn_tags__()
        tags.regressor_tags.poor_score = True
        tags.target_tags.multi_output = True
        return tags

    def _system(self) -> System:
        return system_for(self.system, self.n_features_in_, self._outputs, self.units, self.seed)

    def fit(self, X: Any, y: Any) -> SystemRegressor:
        """Begin anew, and learn from rows."""
        X, y = self._checked(X, y, begin=True)
        self.learner_ = made(self._system(), self.estimator, self.optimizer, self.seed, self.system is None)
        for _ in range(self.passes):
            self.learner_.reset_state()
            self.learner_.run(self._inputs(X), y)
        return self

    def partial_fit(self, X: Any, y: Any) -> SystemRegressor:
        """Learn from the rows that come next."""
        begin = not hasattr(self, "learner_")
        X, y = self._checked(X, y, begin=begin)
        if begin:
            self.learner_ = made(self._system(), self.estimator, self.optimizer, self.seed, self.system is None)
        self.learner_.run(self._inputs(X), y)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """What the model says of rows, from the initial state on; nothing is learned."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=float, reset=False)
        learner: Learner = self.learner_
        outputs = learner.system.simulate(self._inputs(X), params=learner.params).outputs.reshape(len(X), -1)
        return outputs[:, 0] if self._flat else outputs

    def _checked(self, X: Any, y: Any, begin: bool) -> tuple[np.ndarray, np.ndarray]:
        X, y = validate_data(self, X, y, dtype=float, y_numeric=True, multi_output=True, reset=begin)
        y = np.asarray(y, float)
        if begin:
            self._flat, self._outputs = y.ndim == 1, 1 if y.ndim == 1 else y.shape[1]
        return X, y.reshape(len(y), *self._system().prediction.shape)

    def _inputs(self, X: np.ndarray) -> Any:
        """Rows as the system takes them: columns go to inputs in their order."""
        like = self._system().x
        return dict(zip(like, X.T, strict=True)) if isinstance(like, dict) else X
