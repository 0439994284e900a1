"""What all loops share: the carry, the noise, and the refusal of a step that is not finite."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fwdgrad.errors import NonFiniteError, StepError, TracingError
from fwdgrad.influence import NoiseSpec
from fwdgrad.learning.confidence import Fitted
from fwdgrad.learning.execution import Execution
from fwdgrad.learning.loops.feed import Feed
from fwdgrad.learning.noise import NoiseStream
from fwdgrad.learning.panel_samples import reader_for
from fwdgrad.learning.samples import Chunk
from fwdgrad.learning.step.kinds import PREDICT
from fwdgrad.support.trees import flatten
from fwdgrad.support.types import Flat
from fwdgrad.system import GIVEN, OWN
from fwdgrad.system.causes import Cause, cause, steepness, unstable
from fwdgrad.system.tracing import traced

__all__ = ["Loop", "Ran", "Sample"]

GRAIN = 64
"""Steps that are made between two looks at the progress bar, where Python makes every step."""


class Sample(NamedTuple):
    """One sample, as flat lists of arrays."""

    x: list[Any]
    y: list[Any]
    observed: bool


class Ran(NamedTuple):
    """What came of consecutive steps."""

    losses: np.ndarray
    """Of the steps made, before learning from each; NaN without a target."""
    predictions: np.ndarray
    error: StepError | None
    """Why there are fewer of them than samples."""


class Loop(ABC):
    """Goes through a stream.

    A step that fails changes nothing: implementations assign to `carry`, `steps` and their own fields only when all is
    computed and found finite.

    Args:
        execution: the steps, on an engine.
        noise: the random numbers that `specs` asks for.
        carry: what to start from.

    Attributes:
        carry: all that is learned and remembered, flat.
        reader: turns samples into arrays.
        feed: what is added to the user's inputs.
        grain: how many samples `run` had best be given at a time.
        steps: number of samples seen.
        explains: whether it is found out what refuses a step; a search, which goes on elsewhere, need not know.
    """

    carry: Flat
    explains = True

    def __init__(self, execution: Execution, noise: NoiseStream, carry: Flat) -> None:
        self.execution, self.grain = execution, GRAIN
        self.reader, self.feed = reader_for(execution.model), Feed(execution.system)
        x, y = flatten(execution.system.x), flatten(execution.system.y)
        self._row = [np.zeros((1, *a.shape), a.dtype) for a in x], [np.zeros((1, *a.shape), a.dtype) for a in y]
        self.noise, self.carry, self.steps = noise, carry, 0

    @staticmethod
    def specs(execution: Execution) -> Sequence[NoiseSpec]:
        """The random numbers that are needed."""
        return execution.specs

    @property
    def few(self) -> str:
        """What is said of deviations that few samples have made; nothing if there are enough."""
        return ""

    @property
    def coarse(self) -> str:
        """What is said of integration steps that are too long for what was learned; nothing if that is not known."""
        return ""

    @property
    def otherwise(self) -> str:
        """What is said of other parameters that explained the samples as well; nothing if there are none."""
        return ""

    @property
    def tails(self) -> str:
        """What is said of a few residuals that weigh much; nothing if there are none."""
        return ""

    @property
    def counts(self) -> str:
        """What is said of targets that are counts, or yes and no, and taken for others; nothing if they are not."""
        return ""

    def remarks(self) -> tuple[str, ...]:
        """What is strange about the samples, a line each."""
        return ()

    def fitted(self) -> Fitted | None:
        """What the last fit of the first samples knew, if there was one."""
        return None

    @property
    def early(self) -> bool:
        """Whether what is learned so far is a guess, about to be replaced by a fit."""
        return False

    @property
    def view(self) -> Flat:
        """The carry, to be read at once and not to be kept."""
        return self.carry

    @property
    def state(self) -> Any:
        """h, to be read at once and not to be kept."""
        return self.view[0]

    def foreseen(self, steps: int) -> int:
        """How many steps are going to be made for so many samples."""
        return steps

    def input(self, x: Any) -> list[Any]:
        """All that the next transition is given, for this input of the user's."""
        return [*self.reader.input(x, self.steps), *self.feed.row]

    def step(self, x: Any, y: Any) -> float:
        """One sample as the user gives it; the loss before learning from it.

        Raises:
            ShapeError, DataError: it is not of the declared kind. Nothing has changed.
            StepError: as `learn`.
        """
        observed = self.reader.put(x, y, *self._row, 0)
        if observed is None:
            sample = Sample(*self.reader.sample(x, y, self.steps))
        else:
            sample = Sample([a[0].copy() for a in self._row[0]], [a[0].copy() for a in self._row[1]], observed)
        with np.errstate(all="ignore"):  # what is not finite is refused by name
            loss = self._placed(sample._replace(x=[*sample.x, *self.feed.row]))[0]
        if self.feed:
            self.feed.advance(
                Chunk([a[None] for a in sample.x], [a[None] for a in sample.y], np.array([sample.observed])), 1
            )
        return loss

    def run(self, chunk: Chunk) -> Ran:
        """Consecutive samples, up to the first that is refused."""
        if not self.feed:
            return self._run(chunk)
        before = self.steps
        try:
            return self._run(self.feed.extend(chunk))
        finally:  # whatever ended it, the steps that were made stay made
            self.feed.advance(chunk, self.steps - before)

    def _run(self, chunk: Chunk) -> Ran:
        losses, predictions, error = [], [], None
        with np.errstate(all="ignore"):
            for k, observed in enumerate(chunk.observed.tolist()):
                try:
                    sample = Sample([a[k] for a in chunk.x], [a[k] for a in chunk.y], observed)
                    loss, prediction = self._placed(sample)
                except StepError as refusal:
                    error = refusal
                    break
                losses.append(loss)
                predictions.append(prediction)
        like = self.execution.system.prediction
        return Ran(np.array(losses), np.array(predictions, like.dtype).reshape(len(losses), *like.shape), error)

    def _placed(self, sample: Sample) -> tuple[float, Any]:
        """`learn`, with the number of the step in what refuses it."""
        try:
            return self.learn(sample)
        except StepError as error:
            error.placed(self.steps)
            raise

    @abstractmethod
    def learn(self, sample: Sample) -> tuple[float, Any]:
        """One sample, with what `feed` adds; the loss before learning (NaN without a target), and the prediction.

        Raises:
            NonFiniteError: something would stop being finite. Nothing has changed.
            IndexRangeError, SingularMatrixError: an index is out of range, or a matrix has no inverse; likewise.
        """

    @abstractmethod
    def finish(self) -> None:
        """Learn from what is still open: the trajectory ends here.

        Raises:
            StepError: as `step`.
        """

    @abstractmethod
    def discard(self) -> None:
        """Drop what is still open."""

    @abstractmethod
    def arrays(self) -> dict[str, np.ndarray]:
        """What a checkpoint has to hold besides carry, noise and count."""

    @abstractmethod
    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """Take up what `arrays` gave."""

    def restart(self, h: Any, given: bool) -> None:
        """A new trajectory from the state h: nothing is open and nothing has an influence yet. θ is kept.

        Args:
            h: the state.
            given: whether it is to be taken even if the system has a learned initial state.
        """
        execution = self.execution
        self.carry = execution.pack(execution.steps.restarted(execution.unpack(self.carry), h, self.noise.start()))
        self.feed.restart(GIVEN if given else OWN)
        self.discard()

    def check(
        self, health: Any, carry: Sequence[Any], loss: Any, observed: bool, x: Sequence[Any] | None = None
    ) -> None:
        """Say what stopped being finite, if anything did, in the carry that was going to be the next one.

        Args:
            health: finite if everything is.
            carry: the next one.
            loss: of this step.
            observed: whether it has a target.
            x: all that the transition from the present carry was given; None if there was none.
        """
        if math.isfinite(health):
            return
        if not self.explains:
            raise StepError("the step is refused.", step=self.steps)
        if x is not None:
            self._explain(x)
        system = self.execution.system
        made = self.execution.unpack(tuple(carry))
        found = "a number too large to square (state, parameter or influence)"
        if not np.all(np.isfinite(made.h)):
            found = "the state"
        elif observed and not math.isfinite(loss):
            found = "the loss"
        else:
            for k in system.trainable:
                if not np.all(np.isfinite(made.params[k])):
                    found = f"the gradient of {k}"
                    break
            else:
                if not all(np.all(np.isfinite(leaf)) for leaf in flatten(made.influence)):
                    found = "the influence"
            if x is not None and found.startswith(("the gradient", "the influence")):
                self._told(self._steep(x, found), found)
        raise NonFiniteError(
            f"{found} is not finite at step {self.steps}.\n"
            f"The learner is left as it was before that step. Usual causes: {self._moves_too_far()},\n"
            f"{self._steps_too_far()}a state that diverges, or a function outside its domain\n"
            "(log or sqrt of a negative number, a division by zero)."
            + getattr(self.execution.steps.informed, "advice", ""),
            step=self.steps,
            quantity=found,
        )

    def _moves_too_far(self) -> str:
        """What may be to blame in this optimizer."""
        return getattr(self.execution.steps.informed, "moves", "a learning rate that is too large")

    def _steps_too_far(self) -> str:
        """What may be to blame in the integrator."""
        return "" if self.execution.system.dt is None else "integration steps that are too long, "

    def _explain(self, x: Sequence[Any]) -> None:
        """Refuse the step by its cause, if that can be told."""
        predict = self.execution.reference(PREDICT)
        system = self.execution.system
        params = system.natural(self.execution.unpack(tuple(self.view)).params)
        self._told(cause(system, x, lambda: predict(*self.view, *x), params), "the state")
        self._told(self.unstable(x), "the state")

    def unstable(self, x: Sequence[Any] | None = None) -> Cause | None:
        """What is said of a gain that makes the predictor unstable, if it does.

        Args:
            x: all that the next transition is given; unless it is, the input is the declared one, and nothing is said
                of a transition that is not linear, whose Jacobian is another one elsewhere.
        """
        system = self.execution.system
        if system.injection is None:
            return None
        try:
            programs = traced(system)
        except TracingError:
            return None
        carry = self.execution.unpack(tuple(self.view))
        if x is not None:
            return unstable(programs.transition, programs.arguments(carry.h, x, carry.params))
        given = programs.arguments(carry.h, flatten(system.given), carry.params)
        return unstable(programs.transition, given, np.asarray(carry.h) + 1.0)

    def _steep(self, x: Sequence[Any], quantity: str) -> Cause | None:
        """The operation whose infinite derivative it was, if it was one, and the functions can be traced."""
        try:
            programs = traced(self.execution.system)
        except TracingError:
            return None
        carry = self.execution.unpack(tuple(self.view))
        before = programs.arguments(carry.h, x, carry.params)
        with np.errstate(all="ignore"):
            (after,) = programs.transition(*before)
        wrt = [0, *(programs.number[k] for k in self.execution.system.trainable)]
        after = programs.arguments(after, x, carry.params)
        return steepness([(programs.transition, before, wrt), (programs.output, after, wrt)], quantity)

    def _told(self, told: Cause | None, what: str) -> None:
        """Refuse the step by its cause, if that is known."""
        if told is not None:
            raise NonFiniteError(
                f"{what} is not finite at step {self.steps}.\n{told.found}\n{told.mend}\n"
                "The learner is left as it was before that step.",
                step=self.steps,
                quantity=told.quantity,
            )
