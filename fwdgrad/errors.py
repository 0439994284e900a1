"""Every error fwdgrad raises on purpose, and every warning it gives.

Each message says, in at most five lines, which object is at fault, what was expected, what came, and how to mend
it. Every class also derives from the built-in exception a caller would guess, so that ``except ValueError`` works.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

import numpy as np

__all__ = [
    "AlphabetError",
    "BoundWarning",
    "CalibrationWarning",
    "CheckpointError",
    "ConvergenceWarning",
    "DataError",
    "DeadParameterWarning",
    "DeclarationError",
    "FirstSampleWarning",
    "FwdgradError",
    "FwdgradWarning",
    "HiddenStateError",
    "IdentifiabilityWarning",
    "IndexRangeError",
    "ModelTextError",
    "NonFiniteError",
    "OutlierWarning",
    "ShapeError",
    "SingularMatrixError",
    "StaleRecordWarning",
    "StepError",
    "TracingError",
    "UnknownArgumentError",
    "UnknownNameError",
    "UnlearnedWarning",
    "UnsupportedOperationError",
    "did_you_mean",
    "nearly",
]


class FwdgradError(Exception):
    """Base class: ``except fwdgrad.FwdgradError`` catches everything this library raises on purpose."""


class DeclarationError(FwdgradError, ValueError):
    """A declaration (a system, an estimator, an optimizer, a schedule) does not make sense."""


class ModelTextError(DeclarationError):
    """A line of a model, written as equation text or TOML, that cannot be taken.

    Attributes:
        line: its number, from 1.
        text: what it says.
        reason: what is wrong with it.
    """

    def __init__(self, reason: str, *, line: int, text: str, source: str = "model") -> None:
        shown = text.strip() if len(text.strip()) <= 100 else text.strip()[:97] + "..."
        end = "" if reason.endswith((".", "?")) else "."
        super().__init__(f"{source}, line {line}: {reason}{end}" + (f"\n  {shown}" if shown else ""))
        self.reason, self.line, self.text = reason, line, text


class ShapeError(FwdgradError, ValueError):
    """An array has another shape or dtype than was declared."""


class UnknownArgumentError(FwdgradError, TypeError):
    """A function, or a class, has no argument of that name."""


class UnknownNameError(FwdgradError, KeyError):
    """A name (a parameter, a system, an option) that does not exist."""

    def __str__(self) -> str:  # KeyError would show the repr of the message
        return str(self.args[0]) if self.args else ""


class TracingError(FwdgradError, TypeError):
    """A user function does something that cannot be recorded as a straight-line program."""


class HiddenStateError(TracingError):
    """A user function remembers something between calls, or uses something outside of it that has changed."""


class UnsupportedOperationError(TracingError):
    """A user function calls a NumPy operation that fwdgrad has no derivative for."""


class DataError(FwdgradError, ValueError):
    """A sample, a stream or a file of samples that cannot be learned from."""


class AlphabetError(DataError):
    """A symbol outside the alphabet a text is coded with."""


class CheckpointError(FwdgradError, ValueError):
    """A checkpoint that cannot be read, or that belongs to something else."""


class StepError(FwdgradError):
    """A step that cannot be made. The learner is left as it was just before it.

    Attributes:
        step: number of the step (0 is the first one ever taken); None outside of a learner.
        history: what `Learner.run` had recorded up to there; None from `Learner.step`.
    """

    history: Any = None

    def __init__(self, message: str, *, step: int | None = None) -> None:
        super().__init__(message)
        self.step: Any = step

    def placed(self, step: int, left: str = "; the learner is left as it was before that step") -> None:
        """Say at which step it was, if that is not known yet."""
        if self.step is None:
            self.step = step
            self.args = (f"{self.args[0]}\nIt was at step {step}{left}.",)

    def __reduce__(self) -> Any:
        """Handed from one process to another whole."""
        return _again, (type(self), str(self), self.step), self.__dict__


class IndexRangeError(StepError, IndexError):
    """An index that is computed in a step, or comes with a sample, and lies outside of what it indexes."""


class SingularMatrixError(StepError, np.linalg.LinAlgError):
    """A matrix that has no inverse, where a step needs one."""


class NonFiniteError(StepError, ArithmeticError):
    """A loss, gradient, state or influence stopped being finite.

    Attributes:
        step, history: as in `StepError`.
        quantity: what stopped being finite.
    """

    def __init__(self, message: str, *, step: int | None = None, quantity: str = "") -> None:
        super().__init__(message, step=step)
        self.quantity = quantity


def _again(kind: type[StepError], message: str, step: int | None) -> StepError:
    return kind(message, step=step)


class FwdgradWarning(UserWarning):
    """Base class of the warnings: what goes on, but hardly as it is meant."""


class CalibrationWarning(FwdgradWarning):
    """A filter's residuals contradict the noise it was told: its standard deviations are not what they seem."""


class ConvergenceWarning(FwdgradWarning):
    """A search ended before it was where it went to: what it has found is no minimum."""


class BoundWarning(FwdgradWarning):
    """A bounded parameter is at its bound: the data, or the steps, drive it out."""


class UnstableWarning(FwdgradWarning):
    """A predictor whose gain, or a parameter, makes its errors grow from sample to sample."""


class DeadParameterWarning(FwdgradWarning):
    """A parameter that is to be learned and does not learn: the loss has no derivative in it."""


class UnlearnedWarning(FwdgradWarning):
    """The data have said nothing: of a parameter, whose deviation is still the prior's, or of an output, never seen."""


class IdentifiabilityWarning(FwdgradWarning):
    """Parameters that the data do not tell apart: only a combination of them can be learned."""


class OutlierWarning(FwdgradWarning):
    """Samples hold numbers that are hardly measurements: a code for "missing", one far from all others, outliers."""


class StaleRecordWarning(FwdgradWarning):
    """Records of a sweep were made by a function that has changed since."""


class FirstSampleWarning(FwdgradWarning):
    """An initial state is learned, and it is not said whether the first sample is seen in it or a transition later."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A closing sentence for an unknown name: the nearest known one, or the list of all."""
    known = [str(k) for k in known]
    folded = {k.casefold(): k for k in known}
    near = [folded[k] for k in difflib.get_close_matches(str(name).casefold(), folded, n=1)]
    if near:
        return f"Did you mean {near[0]!r}?"
    return "Known: " + (", ".join(known) if known else "none") + "."


def nearly(name: Any, known: Iterable[str]) -> str:
    """A closing " Did you mean 'rtrl'?", to go after a list of what is known; nothing if no word is near."""
    hint = did_you_mean(str(name), known)
    return f" {hint}" if hint.startswith("Did") else ""
