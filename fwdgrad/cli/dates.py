"""Columns of dates: as numbers in the model's unit of time, with a row for each step."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np

from fwdgrad.cli.data import read_labels
from fwdgrad.errors import DataError
from fwdgrad.support.frames import Calendar, multiples

__all__ = ["UNITS", "Dates", "read_dates", "said"]

UNITS = {"seconds": 1.0, "minutes": 60.0, "hours": 3600.0, "days": 86400.0, "weeks": 604800.0, "years": 31557600.0}
"""Of time, in seconds. A year has 365.25 days."""


class Dates(NamedTuple):
    """The dates of the rows of a table."""

    times: np.ndarray
    """Since the first one, in the unit that was asked for, (rows,)."""
    calendar: Calendar | None
    """Where the rows stand among dates that are a step apart; None if they are not."""


def read_dates(path: str | os.PathLike[str], column: str, unit: str) -> Dates:
    """A column of dates, or of dates with clock times, as ISO 8601 writes them.

    Raises:
        DataError: a cell is no such date, or dates decrease.
    """
    cells = read_labels(path, column)
    stamps = []
    for row, cell in enumerate(cells):
        try:
            stamp = datetime.fromisoformat(cell)
        except ValueError:
            raise DataError(
                f"{path}, column {column!r}, row {row}: expected a date such as 2024-01-31 or 2024-01-31 12:00, "
                f"got {cell!r}.\nMend: write dates like that; or times as numbers, without --unit."
            ) from None
        aware = stamp.tzinfo is not None
        stamps.append(np.datetime64(stamp.astimezone(UTC).replace(tzinfo=None) if aware else stamp, "us"))
    since = (np.array(stamps) - stamps[0]).astype("timedelta64[us]").astype(np.int64)
    steps = np.diff(since)
    if np.any(steps < 0):
        row = int(np.argmax(steps < 0)) + 1
        raise DataError(f"{path}, column {column!r}: dates should not decrease; row {row} has {cells[row]}.")
    rows = multiples(since, int(steps.min())) if len(steps) and steps.min() > 0 else None
    calendar = None if rows is None else Calendar(stamps[0], np.timedelta64(int(steps.min()), "us"), rows)
    return Dates(since / (1e6 * UNITS[unit]), calendar)


def said(stamp: np.datetime64) -> str:
    """A date, with its clock time if it has one.

    Example:
        >>> said(np.datetime64("2024-01-31T00:00:00")), said(np.datetime64("2024-01-31T12:30:00"))
        ('2024-01-31', '2024-01-31 12:30:00')
    """
    day = stamp.astype("datetime64[D]")
    return str(day) if day == stamp else str(stamp.astype("datetime64[s]")).replace("T", " ")
