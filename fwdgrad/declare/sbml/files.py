"""SBML files (Systems Biology Markup Language, Levels 1 to 3) as systems, by way of equation text."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from fwdgrad.declare.equations import EquationSystem
from fwdgrad.declare.sbml.read import read
from fwdgrad.declare.text import from_text
from fwdgrad.support.arguments import suggests

__all__ = ["from_sbml", "sbml_text"]


@suggests
def from_sbml(
    source: str | os.PathLike[str],
    *,
    dt: float | str,
    learned: Iterable[str] | None = None,
    outputs: Iterable[str] | None = None,
    method: str | None = None,
    substeps: int | None = None,
    loss: Any = None,
    name: str | None = None,
    first: str | None = None,
) -> EquationSystem:
    """A system from an SBML file: `sbml_text`, read by `from_text`.

    Args:
        source: the path of a file, or its text.
        dt: the time between two samples, in the model's unit of time; or a name, of the input that brings it.
        learned: constants, and species whose initial value is learned; None for all constants but volumes.
        outputs: species, variable parameters, rules or reactions (their rates); None for all species that change.
        method: see `from_text`.
        substeps: see `from_text`.
        loss: see `from_text`.
        name: what to call it in reports.
        first: see `from_text`.

    Raises:
        DataError: the file cannot be read, or is no valid SBML.
        DeclarationError: python-libsbml is not installed; the model has something that equation text cannot say (delays
            of events and of formulas, algebraic rules, fast reactions, packages that change the mathematics); or a name
            in `learned` or `outputs` is none of the model.

    Example:
        >>> import pathlib
        >>> import fwdgrad as fg
        >>> system = fg.from_sbml(pathlib.Path("enzyme.xml"), dt=0.1, learned=["kcat"])  # doctest: +SKIP
    """
    text = sbml_text(source, learned=learned, outputs=outputs)
    return from_text(text, dt=dt, method=method, substeps=substeps, loss=loss, name=name, first=first)


@suggests
def sbml_text(
    source: str | os.PathLike[str], *, learned: Iterable[str] | None = None, outputs: Iterable[str] | None = None
) -> str:
    """An SBML file as equation text, to read, change and give to `from_text`.

    Reactions become definitions with their rate laws, species rates of change, constants parameters, events lines with
    `at` and `when`. What nothing depends on is left out. Identifiers that equation text cannot have get an underscore.
    Units are not converted: numbers are those of the file. Events that different conditions trigger at one moment are
    made one after the other, by their priorities, and one whose condition has ended by then is not made.

    Args:
        source: the path of a file, or its text.
        learned: see `from_sbml`.
        outputs: see `from_sbml`.

    Raises:
        DataError, DeclarationError: see `from_sbml`.
    """
    model = read(source)
    from fwdgrad.declare.sbml.translate import Translation  # which needs python-libsbml

    return Translation(model, learned, outputs).text()
