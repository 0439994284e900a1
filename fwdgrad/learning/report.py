"""Tables of learned parameters: values, deviations, intervals, and what speaks against them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import stdtrit

from fwdgrad.support import display, frames
from fwdgrad.system import System

__all__ = [
    "Report",
    "entries_of",
    "half_width",
    "intervals_of",
    "output_names",
    "parameter_frame",
    "parameter_numbers",
    "parameter_rows",
]

NORMAL = 1.959963985
"""Half the width of an interval with 95 % of a normal distribution, in standard deviations."""


@dataclass(frozen=True)
class Report:
    """What a learner has found; what `Learner.report` returns. Print it.

    Attributes:
        title: what was learned, from how much, and how.
        rows: the parameters: a row of text for each learned number, below a head.
        outputs: a line for each output: how far predictions are off.
        remarks: what speaks against any of it.
    """

    title: str
    rows: tuple[tuple[str, ...], ...]
    outputs: tuple[str, ...]
    remarks: tuple[str, ...]

    @property
    def table(self) -> tuple[str, ...]:
        """The parameters, as lines of text."""
        return tuple(display.columns(self.rows))

    def __repr__(self) -> str:
        return f"Report: {self.title}"

    def _repr_html_(self) -> str:
        outputs = display.paragraph("\n".join(self.outputs))
        return display.page(self.title, display.table(self.rows), outputs, display.remarks(self.remarks))

    def __str__(self) -> str:
        marked = ["! " + remark.replace("\n", "\n  ") for remark in self.remarks]
        return "\n".join([self.title, *self.table, *self.outputs, *marked])


def parameter_rows(
    system: System,
    params: Mapping[str, Any],
    std: Mapping[str, Any],
    interval: Mapping[str, tuple[Any, Any]],
) -> list[tuple[str, ...]]:
    """A row for each learned number, below a head: start, value, standard deviation, 95 % interval.

    Args:
        system: with the declared values.
        params: θ, by name.
        std: deviations, by name; NaN where they are not known, nothing for a leaf that has none.
        interval: (low, high), by name.
    """
    rows: list[tuple[str, ...]] = [("parameter", "start", "value", "std", "95 %")]
    for name, leaf, index in entries_of(system):
        start, value = (float(np.asarray(v[leaf])[index]) for v in (system.params, params))
        deviation = float(np.asarray(std[leaf])[index]) if leaf in std else np.nan
        digits = _digits(value, deviation)
        row = (name, f"{start:.4g}", f"{value:.{digits}g}")
        if np.isfinite(deviation):
            low, high = (f"{float(np.asarray(v)[index]):.{digits}g}" for v in interval[leaf])
            rows.append((*row, f"{deviation:.2g}", f"{low} to {high}"))
        else:
            rows.append((*row, "–", "not known"))
    return rows


def parameter_frame(
    system: System,
    params: Mapping[str, Any],
    std: Mapping[str, Any],
    interval: Mapping[str, tuple[Any, Any]],
) -> Any:
    """The same as a `pandas.DataFrame` of numbers: start, value, std, low, high; NaN where nothing is known.

    Raises:
        DeclarationError: pandas is not installed.
    """
    rows = parameter_numbers(system, params, std, interval)
    columns = np.reshape(list(rows.values()), (len(rows), 5)).T
    head = ("start", "value", "std", "low", "high")
    return frames.frame(dict(zip(head, columns, strict=True)), list(rows), "parameter")


def parameter_numbers(
    system: System,
    params: Mapping[str, Any],
    std: Mapping[str, Any],
    interval: Mapping[str, tuple[Any, Any]],
) -> dict[str, list[float]]:
    """(start, value, std, low, high) of each learned number, by its name; NaN where nothing is known."""
    made = {}
    for name, leaf, index in entries_of(system):
        ends = interval[leaf] if leaf in std else (np.full(system.coordinates[leaf].shape, np.nan),) * 2
        parts = (system.params[leaf], params[leaf], std.get(leaf, ends[0]), *ends)
        made[name] = [float(np.asarray(part)[index]) for part in parts]
    return made


def half_width(freedom: float = math.inf) -> float:
    """Half the width of a 95 % interval, in standard deviations that residuals of so much freedom have told.

    Student's t; 1.96 where there are many.
    """
    return NORMAL if math.isinf(freedom) else float(stdtrit(freedom, 0.975))


def intervals_of(
    system: System, params: Mapping[str, Any], std: Mapping[str, Any], freedom: float = math.inf
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """95 % intervals by leaf, within bounds: ± `half_width` deviations of the coordinates that are learned."""
    made, half = {}, half_width(freedom)
    for k, deviation in std.items():
        coordinate = system.coordinate[k]
        u = coordinate.learned(np.asarray(params[k], float))
        with np.errstate(all="ignore"):
            width = half * np.asarray(deviation) / np.abs(coordinate.slope(u))
        ends = np.sort(np.stack([coordinate.natural(u - width), coordinate.natural(u + width)]), axis=0)
        made[k] = (ends[0][()], ends[1][()])
    return made


def entries_of(system: System) -> list[tuple[str, str, tuple[int, ...]]]:
    """(name, leaf, index) of every learned number."""
    made = []
    for leaf in system.trainable:
        shape = system.coordinates[leaf].shape
        made += [(leaf + (str(list(index)) if shape else ""), leaf, index) for index in np.ndindex(shape)]
    return made


def output_names(system: System) -> list[str]:
    """A name for each number that is observed, or predicted where targets are of another kind."""
    numbers = isinstance(system.y, np.ndarray) and np.issubdtype(system.y.dtype, np.floating)
    count = int(np.prod(np.shape(system.y if numbers else system.prediction), dtype=int))
    return list(getattr(system, "output_names", [f"output {k}" for k in range(count)] if count > 1 else ["output"]))


def _digits(value: float, std: float) -> int:
    """As many digits of a number as its deviation leaves it, two of them uncertain."""
    if not (np.isfinite(std) and np.isfinite(value)) or std <= 0 or value == 0:
        return 4
    return int(np.clip(np.floor(np.log10(abs(value))) - np.floor(np.log10(std)) + 2, 2, 8))
