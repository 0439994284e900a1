"""Model files on the command line: equations, and columns of a file that they are learned from."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fwdgrad.declare.equations import Equations, EquationSystem, system_of
from fwdgrad.declare.expressions import Number
from fwdgrad.declare.model import TIME, Equation
from fwdgrad.declare.places import Argument
from fwdgrad.declare.tables import read_toml
from fwdgrad.declare.text import read_text
from fwdgrad.errors import DataError, DeclarationError, did_you_mean

__all__ = ["SUFFIXES", "ModelFile", "chosen"]

SUFFIXES = (".toml", ".txt")
"""Of model files: TOML tables, and equation text."""

ELAPSED = "elapsed"
"""The input that brings the time since the sample before, where the model has no step of its own."""

UNEVEN = 1e-6
"""Steps that differ by less than this part are one step."""


class ModelFile:
    """The equations in a file.

    Attributes:
        dt: the step, or the name of the input that brings it, if the file says so.

    Raises:
        DeclarationError, DataError: the file cannot be read, or something in it cannot be taken.
    """

    def __init__(self, path: Path) -> None:
        self.model, self._settings = (read_toml if path.suffix == ".toml" else read_text)(path)
        self.dt: float | str | None = self._settings.get("dt")
        self.learns_start = callable(Equations(self.model).state)

    def system(self, dt: float | str | None = None, start: float | None = None) -> EquationSystem:
        """The system.

        Args:
            dt: the step, where the file has none; by default every sample brings its own, as the input "elapsed".
            start: the time at the start of the data, for a model that uses `t` and does not say where it begins.
        """
        if self.model.timed and start is not None:
            place = Argument("the data", "time")
            self.model.start.setdefault(TIME, Equation(Number(start), place))
        step = self.dt if self.dt is not None or not self.model.continuous else dt or ELAPSED
        return system_of(Equations(self.model), **(self._settings | {"dt": step}))

    def timing(self, times: np.ndarray | None, source: str) -> tuple[float | str | None, float | None]:
        """The step and the time at the start that suit these times, for `system`.

        Raises:
            DataError: the times do not increase, or do not suit the model's step.
        """
        if times is None:
            if self.model.continuous and self.dt is None:
                raise DataError(
                    f"{source}: the model has no step dt, so the times of the samples are needed: --time COLUMN."
                )
            return None, None
        steps = np.diff(times)
        if np.any(steps < 0):
            row = int(np.argmax(steps < 0)) + 1
            raise DataError(
                f"{source}: times should not decrease; sample {row} is at {times[row]:g}, "
                f"the one before at {times[row - 1]:g}."
            )
        even = len(steps) > 0 and steps.min() > 0 and np.ptp(steps) <= UNEVEN * steps.mean()
        step = float(times[-1] - times[0]) / len(steps) if even else None
        if isinstance(self.dt, float):
            if step is None or abs(step - self.dt) > UNEVEN * self.dt:
                found = f"{step:g} apart" if step is not None else "not evenly spaced"
                raise DataError(
                    f"{source}: the model has the step dt = {self.dt:g}, but the samples are {found}.\n"
                    "Mend: leave dt out of the model, and the times say how long each step is; or leave out --time."
                )
            return None, float(times[0]) - (0.0 if self.learns_start else self.dt)
        return (step if self.learns_start and self.dt is None else None), float(times[0])


def chosen(pairs: list[str] | None, known: list[str], option: str) -> dict[str, str]:
    """From names in a model to columns.

    Args:
        pairs: "name=column", or a name that its column has too; None for all of them by their own names.
        known: the names there are.
        option: for messages.

    Raises:
        DeclarationError: there is no such name, or it is there twice.
    """
    if pairs is None:
        return {name: name for name in known}
    made: dict[str, str] = {}
    for pair in pairs:
        name, _, column = (part.strip() for part in pair.partition("="))
        if name not in known:
            raise DeclarationError(f"{option} {pair}: the model has no {name!r} there. {did_you_mean(name, known)}")
        if name in made:
            raise DeclarationError(f"{option}: {name!r} is there twice.")
        made[name] = column or name
    return made
