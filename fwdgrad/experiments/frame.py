"""What all experiments have in common: runs that are recorded, a table beside the paper's, criteria and a verdict."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fwdgrad as fg
from fwdgrad.support import display

__all__ = [
    "Criterion",
    "Experiment",
    "Reproduction",
    "Rows",
    "carried_out",
    "longest",
    "records_of",
    "shortest",
    "spread",
]


@dataclass(frozen=True)
class Criterion:
    """One thing that has to be so if what the paper shows comes out.

    Attributes:
        says: what.
        found: what was found, in numbers.
        holds: whether it is so; None if these runs do not tell, because they were too short, say.
    """

    says: str
    found: str
    holds: bool | None

    def __post_init__(self) -> None:
        """What was not run is not a number."""
        object.__setattr__(self, "found", re.sub(r"\bnan\b", "not run", self.found))

    @property
    def mark(self) -> str:
        """In words: yes, no or not told."""
        return "not told" if self.holds is None else "yes" if self.holds else "no"


Rows = list[list[str]]
"""A table, its head first."""


@dataclass(frozen=True)
class Experiment:
    """A figure or table of a paper, or one of our own.

    Attributes:
        name: on the command line.
        title: in a line.
        source: where the original is.
        setting: what is done, as the paper has it.
        deviations: where what is done differs.
        learn: makes one run, of the settings of a cell and a generator `rng`; see `fwdgrad.sweep`.
        cells: the settings of all runs, from whether a look will do, and a length in steps, or None for the usual one.
        replicas: how many of each by default.
        table: rows of text from the records, ours beside the paper's.
        criteria: likewise.
        draw: the picture, into an empty figure of matplotlib.
        size: of the picture, in inches.
    """

    name: str
    title: str
    source: str
    setting: str
    deviations: tuple[str, ...]
    learn: Callable[..., Any]
    cells: Callable[[bool, int | None], list[dict[str, Any]]]
    table: Callable[[fg.Sweep], Rows]
    criteria: Callable[[fg.Sweep], list[Criterion]]
    draw: Callable[[fg.Sweep, Any], None]
    replicas: int = 1
    size: tuple[float, float] = (7.5, 4.6)


@dataclass(frozen=True)
class Reproduction:
    """What came of an experiment.

    Attributes:
        experiment: which.
        found: the records.

    ``print`` it for the table, the criteria and the verdict.
    """

    experiment: Experiment
    found: fg.Sweep

    @property
    def criteria(self) -> list[Criterion]:
        """With what was found."""
        return self.experiment.criteria(self.found)

    @property
    def verdict(self) -> str:
        """In a few words, from the criteria alone."""
        holds = [criterion.holds for criterion in self.criteria]
        told = [h for h in holds if h is not None]
        if not told:
            return "these runs do not tell"
        if not all(told):
            return f"comes out in part: {sum(told)} of {len(told)}" if any(told) else "does not come out"
        return (
            "comes out" if len(told) == len(holds) else f"comes out as far as it was run: {len(told)} of {len(holds)}"
        )

    @property
    def seconds(self) -> float:
        """Of all runs together, one after the other."""
        return float(sum(record.seconds for record in self.found))

    def plot(self, path: str | os.PathLike[str] | None = None) -> Any:
        """The picture.

        Args:
            path: file to write, in a format that its name ends in: png, pdf, svg.

        Raises:
            DeclarationError: matplotlib is not installed, or cannot write a file of that name.
            DataError: the file cannot be written.
        """
        if path is not None:
            fg.plots.check_target(path)
        figure = fg.plots.new_figure(*self.experiment.size)
        self.experiment.draw(self.found, figure)
        if path is not None:
            fg.plots.save(figure, path)
        return figure

    def __repr__(self) -> str:
        return f"Reproduction of {self.experiment.name}: {self.verdict}"

    def __str__(self) -> str:
        shown = self.experiment
        criteria = [f"  {criterion.mark:8}  {criterion.says}: {criterion.found}" for criterion in self.criteria]
        deviations = [f"  {text}" for text in shown.deviations]
        return "\n".join(
            [
                shown.title,
                f"  {shown.source}",
                "",
                *display.columns(shown.table(self.found)),
                "",
                *(["Differs from the original:", *deviations, ""] if deviations else []),
                *criteria,
                f"Verdict: {self.verdict}",
            ]
        )

    def _repr_html_(self) -> str:
        rows = [["", "criterion", "found"], *([c.mark, c.says, c.found] for c in self.criteria)]
        parts = [display.table(self.experiment.table(self.found)), display.table(rows, left=3)]
        return display.page(f"{self.experiment.title}: {self.verdict}", *parts)


def carried_out(
    experiment: Experiment,
    quick: bool = False,
    *,
    steps: int | None = None,
    seeds: int | None = None,
    folder: str | os.PathLike[str] | None = None,
    n_jobs: int | None = None,
    progress: bool | Callable[[int, int], None] = False,
) -> Reproduction:
    """All runs of an experiment, those that a folder has no records of.

    Args:
        experiment: which.
        quick: short runs, for a look.
        steps: length of each run; that of the experiment unless given.
        seeds: runs of each setting; as many as the experiment has unless given.
        folder: where records are kept, in a file of the experiment's name; None keeps nothing.
        n_jobs: runs at a time, as for `fwdgrad.sweep`.
        progress: likewise.

    Raises:
        DeclarationError: a number is not what it should be, or every run failed.
        DataError: the file of records cannot be read or written.
    """
    found = fg.sweep(
        experiment.learn,
        experiment.cells(quick, steps),
        replicas=seeds if seeds is not None else 1 if quick else experiment.replicas,
        path=None if folder is None else Path(folder) / f"{experiment.name}.jsonl",
        n_jobs=n_jobs,
        progress=progress,
    )
    return Reproduction(experiment, found)


def spread(values: Sequence[float], digits: int = 3) -> str:
    """Mean of some numbers, with their ends if there are several.

    Example:
        >>> spread([0.15]), spread([0.1, 0.2]), spread([])
        ('0.15', '0.15 (0.1 to 0.2)', '–')
    """
    if not len(values):
        return "–"
    mean = sum(values) / len(values)
    return f"{mean:.{digits}g}" + f" ({min(values):.{digits}g} to {max(values):.{digits}g})" * (len(values) > 1)


def records_of(found: fg.Sweep, **settings: Any) -> Sequence[Any]:
    """The records with some settings."""
    return [record for record in found if settings.items() <= record.settings.items()]


def longest(found: fg.Sweep, **settings: Any) -> list[Any]:
    """The runs with some settings that did not fail, of the greatest number of steps that there is among them."""
    made = [record for record in records_of(found, **settings) if record.error is None]
    most = max((record.settings["steps"] for record in made), default=0)
    return [record for record in made if record.settings["steps"] == most]


def shortest(found: fg.Sweep) -> int:
    """Steps of the shortest run that did not fail; 0 if there is none."""
    steps: list[Any] = [record.settings["steps"] for record in found if record.error is None]
    return min(steps, default=0)
