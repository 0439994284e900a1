"""Learners inside of objects of other libraries: made when the first sample says how large it is, and pickled."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from fwdgrad.errors import DeclarationError
from fwdgrad.estimators import Estimator
from fwdgrad.learning.learner import Learner
from fwdgrad.optimizers import Adam, Optimizer
from fwdgrad.system import System

__all__ = ["Saved", "made", "system_for"]

RATE = 3e-3
"""Of Adam, where neither an optimizer nor a system is given."""


class Saved:
    """Pickles an object whose attribute `LEARNER` is a learner, or None: its checkpoint in place of it.

    What the learner is of, the system, is made again from the other attributes, by `_system`.
    """

    LEARNER = "_learner"

    def _system(self) -> System:
        raise NotImplementedError

    def __getstate__(self) -> dict[str, Any]:
        state = dict(vars(self))
        learner = state.get(self.LEARNER)
        if learner is not None:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder, "learner.npz")
                learner.save(path)
                state[self.LEARNER] = path.read_bytes()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        saved = state.get(self.LEARNER)
        if saved is not None:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder, "learner.npz")
                path.write_bytes(saved)
                vars(self)[self.LEARNER] = Learner.load(path, self._system(), optimizer=vars(self).get("optimizer"))


def system_for(system: Any, inputs: int, outputs: int, units: int, seed: int) -> System:
    """What was given; or, for None, a leaky recurrent network of so many inputs and outputs.

    Raises:
        DeclarationError: it is neither.
    """
    from fwdgrad.systems import leaky_rnn

    if system is None:
        return leaky_rnn(units, inputs=inputs, outputs=outputs, seed=seed)
    if not isinstance(system, System):
        raise DeclarationError(f"system: expected a fwdgrad.System, or None for a network; got {system!r}.")
    return system


def made(system: System, estimator: Estimator | str, optimizer: Optimizer | None, seed: int, own: bool) -> Learner:
    """A learner; of a network of its own with Adam, unless an optimizer is given."""
    return Learner(system, estimator, Adam(RATE) if optimizer is None and own else optimizer, seed)
