"""Learners on disk: what is written of one, and how it goes on."""

from __future__ import annotations

import os
from abc import abstractmethod
from typing import Any, Self

import numpy as np

from fwdgrad.engines.names import ENGINES, current_name
from fwdgrad.errors import CheckpointError
from fwdgrad.estimators import Estimator
from fwdgrad.learning import checkpoint
from fwdgrad.learning.execution import Execution
from fwdgrad.learning.held import Held
from fwdgrad.learning.loops import SilentLeaves
from fwdgrad.linear import NOT_TRACED
from fwdgrad.optimizers import Optimizer
from fwdgrad.support.trees import flatten
from fwdgrad.system import System

__all__ = ["Saved"]


class Saved(Held):
    """A `Learner` as what is saved and loaded."""

    @abstractmethod
    def _set_up(
        self,
        system: System,
        estimator: Estimator | str,
        optimizer: Optimizer | None,
        seed: int | np.random.Generator,
        engine: str,
        streams: int | None,
    ) -> None:
        """Begin."""

    @abstractmethod
    def _tell_dead(self, stacklevel: int = 3) -> None:
        """Warn of parameters without a path to the loss."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything needed to continue bit for bit: parameters, state, influence, optimizer, noise, count.

        The file appears whole or not at all. Nothing is pickled.

        Raises:
            CheckpointError: the file cannot be written.
        """
        arrays = {f"carry{k}": np.asarray(leaf) for k, leaf in enumerate(self._loop.carry)}
        arrays |= {f"loop_{k}": v for k, v in self._loop.arrays().items()}
        arrays |= {f"feed{k}": v for k, v in enumerate(self._loop.feed.row)}
        checkpoint.write(
            path,
            arrays,
            {
                "system": _fingerprint(self.system, self._execution),
                "estimator": checkpoint.describe(self.estimator),
                "optimizer": checkpoint.describe(self.optimizer),
                "engine": self.engine,
                "steps": self.steps,
                "noise": self._loop.noise.state(),
                "note": self.note,
                "watch": self._watch.state(self._loop),
                "told": self._told,
                "streams": self.streams,
                "targets": self._targets.state(),
            },
        )

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        system: System,
        *,
        estimator: Estimator | None = None,
        optimizer: Optimizer | None = None,
        engine: str | None = None,
    ) -> Self:
        """Continue from a checkpoint, bit for bit.

        Args:
            path: a file written by `save`.
            system: the system it was written for, declared again.
            estimator: needed only if it holds an object of your own.
            optimizer: likewise, such as a schedule that is a function.
            engine: to continue on another engine than the one it was saved on, to rounding.

        Raises:
            CheckpointError: the file is missing, damaged, of another format, or belongs to another system, estimator
                or optimizer; the message says what differs.
        """
        arrays, description = checkpoint.read(path)
        for label, given in (("estimator", estimator), ("optimizer", optimizer)):
            if given is not None and checkpoint.describe(given) != description[label]:
                raise CheckpointError(
                    f"the checkpoint {path} was made with {label} {description[label]},\n"
                    f"not with the one given, {checkpoint.describe(given)}."
                )
        if engine is None and current_name(description["engine"]) not in ENGINES:
            raise CheckpointError(
                f"the checkpoint {path} names an engine that there is not: {description['engine']!r}."
            )
        learner = cls.__new__(cls)
        learner._set_up(
            system,
            estimator
            if estimator is not None
            else checkpoint.rebuilt(description["estimator"], "estimator", Estimator),
            optimizer
            if optimizer is not None
            else checkpoint.rebuilt(description["optimizer"], "optimizer", Optimizer),
            0,
            engine or description["engine"],
            description.get("streams"),
        )
        theirs, ours = description["system"], _fingerprint(learner.system, learner._execution)
        theirs = {"first": ours["first"]} | theirs  # not in older files, where x and F tell
        different = [k for k in ours if ours[k] != theirs.get(k) and NOT_TRACED not in (ours[k], theirs.get(k))]
        if different:
            lines = [_difference(k, theirs.get(k), ours[k]) for k in different[:3]]
            raise CheckpointError(
                f"the checkpoint {path} belongs to another system; these differ:\n" + "\n".join(lines) + "\n"
                "Declare the system as it was when the checkpoint was made."
            )
        try:
            learner._restore(arrays, description)
        except (LookupError, ValueError, TypeError, AttributeError, ArithmeticError) as error:
            raise CheckpointError(f"the checkpoint {path} is incomplete or inconsistent ({error!r}).") from error
        learner._tell_dead()
        return learner

    def _restore(self, arrays: dict[str, np.ndarray], description: dict[str, Any]) -> None:
        loop = self._loop
        carry = tuple(arrays[f"carry{k}"] for k in range(len(loop.carry)))
        for k, (mine, read) in enumerate(zip(loop.carry, carry, strict=True)):
            if np.shape(mine) != read.shape or np.asarray(mine).dtype != read.dtype:
                raise ValueError(f"array {k} has shape {read.shape}, expected {np.shape(mine)}")
        loop.carry, loop.steps = carry, int(description["steps"])
        loop.noise.restore(description["noise"])
        loop.restore({k.removeprefix("loop_"): v for k, v in arrays.items() if k.startswith("loop_")})
        row = [arrays[f"feed{k}"] for k in range(len(loop.feed.row))]
        if [np.shape(a) for a in row] != [np.shape(a) for a in loop.feed.row]:
            raise ValueError("what was seen has another shape")
        loop.feed.row = row
        self.note = description["note"]
        if "watch" in description:
            self._watch = SilentLeaves.restored(description["watch"], self._unpacked.params)
        self._told = list(description.get("told", []))
        if "targets" in description:
            self._targets.restore(description["targets"])


def _fingerprint(system: System, execution: Execution) -> dict[str, Any]:
    """What must agree between a checkpoint and the system it is loaded into."""

    def shapes(tree: Any) -> list[str]:
        return [f"{leaf.dtype}{list(leaf.shape)}" for leaf in flatten(tree)]

    return {
        "state": shapes(system.state),
        "params": [f"{k}: {v.dtype}{list(v.shape)} {system.coordinate[k]!r}" for k, v in system.coordinates.items()],
        "frozen": list(system.frozen),
        "x": shapes(system.given),
        "y": shapes(system.y),
        "loss": checkpoint.describe(system.loss),
        "dt": system.dt,
        "first": system.first,
        "method": f"{system.method}, {system.substeps} substeps" if system.substeps > 1 else str(system.method),
        **execution.model.fingerprints(),
    }


def _difference(what: str, theirs: Any, ours: Any) -> str:
    if what in ("F", "Y"):
        return f"  {what}: it computes something else, or the same with other operations or constants"
    return f"  {what}: {theirs} in the checkpoint, {ours} here"
