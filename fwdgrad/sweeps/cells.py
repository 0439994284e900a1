"""A grid of settings as cells, each of which is one call."""

from __future__ import annotations

import inspect
import itertools
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fwdgrad.errors import DeclarationError, nearly

__all__ = ["Cell", "Scalar", "cells_of", "is_number", "key", "plain", "takes_rng"]

Scalar = float | int | str | bool | None
"""What a record can hold."""

RESERVED = ("replica", "error", "seconds", "rng")
"""Names that a record, or a call, has for something else."""


@dataclass(frozen=True)
class Cell:
    """One call.

    Attributes:
        settings: what the record says of each setting.
        values: what the function is given for it.
        replica: which of the repetitions this is.
    """

    settings: dict[str, Scalar]
    values: dict[str, Any]
    replica: int

    @property
    def key(self) -> str:
        """The same for the same cell in every run."""
        return key(self.settings, self.replica)


def key(settings: Mapping[str, Scalar], replica: int) -> str:
    """Settings and the number of the repetition as text, whatever the order of the settings."""
    return json.dumps([sorted(settings.items()), replica])


def is_number(value: Any) -> bool:
    """Whether a record has a number there, truth values excepted."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def plain(value: Any) -> Scalar:
    """A scalar as a record holds it.

    Raises:
        TypeError: it is no number, text, truth value or None.
    """
    if isinstance(value, (np.ndarray, np.generic)) and np.ndim(value) == 0:
        value = np.asarray(value).item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(type(value).__name__)


def cells_of(learn: Callable[..., Any], grid: Any, replicas: int) -> list[Cell]:
    """All combinations of a grid's values, or the cells that are listed one by one; each `replicas` times.

    Raises:
        DeclarationError: the grid is empty, has a value that cannot be recorded, a cell twice, or a name that `learn`
            does not take.
    """
    if isinstance(grid, Mapping):
        axes = {str(name): _axis(str(name), values) for name, values in grid.items()}
        rows = [dict(zip(axes, row, strict=True)) for row in itertools.product(*axes.values())]
    elif isinstance(grid, Iterable) and not isinstance(grid, (str, bytes)):
        rows = [_row(number, row) for number, row in enumerate(grid)]
    else:
        raise DeclarationError(
            "sweep(grid=…): expected a dict of lists, such as {'rate': [0.1, 0.01]}, or a list of dicts, "
            f"got {grid!r}."
        )
    if not rows or not rows[0]:
        raise DeclarationError(f"sweep(grid=…): expected at least one setting with one value, got {grid!r}.")
    for row in rows:
        _check_names(learn, row)
    made = [
        Cell({k: label for k, (label, _) in row.items()}, {k: value for k, (_, value) in row.items()}, replica)
        for row in rows
        for replica in range(replicas)
    ]
    seen: set[str] = set()
    for cell in made:
        if cell.key in seen:
            raise DeclarationError(f"sweep(grid=…): the cell {cell.settings} is there twice. Leave one out.")
        seen.add(cell.key)
    return made


def _axis(name: str, values: Any) -> list[tuple[Scalar, Any]]:
    """The values of a setting, each with what the record calls it."""
    if isinstance(values, Mapping):
        return [_labelled(name, label, value) for label, value in values.items()]
    if isinstance(values, (str, bytes)) or not isinstance(values, (Sequence, np.ndarray, range)):
        raise DeclarationError(f"sweep(grid=…): expected a list of values for {name!r}, got {values!r}.")
    return [_labelled(name, value, value) for value in values]


def _row(number: int, row: Any) -> dict[str, tuple[Scalar, Any]]:
    if not isinstance(row, Mapping):
        raise DeclarationError(f"sweep(grid=…): expected a dict of settings in place {number}, got {row!r}.")
    return {str(name): _labelled(str(name), value, value) for name, value in row.items()}


def _labelled(name: str, label: Any, value: Any) -> tuple[Scalar, Any]:
    try:
        kept = plain(label)
    except TypeError:
        raise DeclarationError(
            f"sweep(grid=…): {name!r} has the value {value!r}; a record holds numbers and texts.\n"
            f"Mend: give it a name, as in {{{name!r}: {{'short': {value!r}, …}}}}."
        ) from None
    if isinstance(kept, float) and not math.isfinite(kept):
        raise DeclarationError(f"sweep(grid=…): expected finite values for {name!r}, got {kept!r}.")
    return kept, (kept if value is label else value)


def _check_names(learn: Callable[..., Any], row: Mapping[str, Any]) -> None:
    for name in row:
        if name in RESERVED:
            raise DeclarationError(f"sweep(grid=…): the name {name!r} is taken; call the setting something else.")
    try:
        parameters = inspect.signature(learn).parameters
    except (TypeError, ValueError):  # of some that are written in C
        return
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return
    known = [name for name, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    for name in row:
        if name not in known:
            raise DeclarationError(
                f"sweep(grid=…): the function has no argument {name!r}; it has {', '.join(known) or 'none'}."
                + nearly(name, known)
            )
    for name, p in parameters.items():
        if p.default is p.empty and p.kind is not p.VAR_POSITIONAL and name not in (*row, "rng"):
            raise DeclarationError(
                f"sweep: the function needs its argument {name!r}, for which the grid has no value.\n"
                f"Mend: give it a default, or one value: {{{name!r}: [...]}}."
            )


def takes_rng(learn: Callable[..., Any]) -> bool:
    """Whether the function has an argument `rng`."""
    try:
        parameters = inspect.signature(learn).parameters
    except (TypeError, ValueError):
        return False
    return "rng" in parameters
