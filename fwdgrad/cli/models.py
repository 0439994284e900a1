"""Model files on the command line: equations, and columns of a file that they are learned from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fwdgrad.cli.timing import Clock, Timing
from fwdgrad.declare.equations import Equations, EquationSystem, system_of
from fwdgrad.declare.expressions import Number, evaluate, names_in
from fwdgrad.declare.functions import CONSTANTS
from fwdgrad.declare.model import TIME, Equation, EquationModel
from fwdgrad.declare.places import Argument
from fwdgrad.declare.sbml import sbml_text
from fwdgrad.declare.tables import read_toml
from fwdgrad.declare.text import read_text
from fwdgrad.errors import DeclarationError, did_you_mean
from fwdgrad.integrate import At

__all__ = ["SUFFIXES", "ModelFile", "chosen"]

SUFFIXES = (".toml", ".txt", ".xml", ".sbml")
"""Of model files: TOML tables, equation text, and SBML."""

ELAPSED = "elapsed"
"""The input that brings the time since the sample before, where the model has no step of its own."""


def _earliest(equations: Equations) -> float | None:
    """The earliest known time of a change; None if there is none."""
    known = [time for e in equations.events if isinstance(e, At) and not callable(e.times) for time in e.times]
    return min(known, default=None)


class ModelFile:
    """The equations in a file.

    Attributes:
        clock: what the file says of time.

    Raises:
        DeclarationError, DataError: the file cannot be read, or something in it cannot be taken.
    """

    def __init__(self, path: Path) -> None:
        self.model, self._settings = _read(path)
        equations = Equations(self.model)  # refuses what cannot be computed
        first = self._settings.pop("first", None)
        start = self.model.start.get(TIME)
        known = start is not None and CONSTANTS.keys() >= set(names_in(start.expression))
        self.clock = Clock(
            bool(self.model.continuous),
            self._settings.get("dt"),
            first,
            float(evaluate(start.expression, CONSTANTS)) if start is not None and known else None,
            start is not None,
            _earliest(equations),
        )

    def system(self, timing: Timing | None = None) -> EquationSystem:
        """The system, for rows of a certain timing.

        Without a step, in the file or here, every sample brings its own, as the input "elapsed".
        """
        if timing is not None and self.model.timed and timing.start is not None:
            place = Argument("the data", "time")
            self.model.start.setdefault(TIME, Equation(Number(timing.start), place))
        first = self.clock.first if timing is None else timing.first
        step = self.clock.dt
        if step is None and self.model.continuous:
            step = ELAPSED if timing is None or timing.dt is None else timing.dt
            first = None if step == ELAPSED else first
        return system_of(Equations(self.model), **(self._settings | {"dt": step, "first": first}))


def _read(path: Path) -> tuple[EquationModel, dict[str, Any]]:
    if path.suffix in (".xml", ".sbml"):
        return read_text(sbml_text(path))
    return (read_toml if path.suffix == ".toml" else read_text)(path)


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
