"""Tables of pandas, and of whatever has `__dataframe__`: in, with their dates, and out.

pandas is loaded only where a table goes out, or one of another library comes in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fwdgrad.errors import DataError, DeclarationError
from fwdgrad.support import display

__all__ = ["Calendar", "calendar_of", "frame", "multiples", "named", "regular", "table"]

UNEVEN = 1e-6
"""Times that differ by less than this part of a step are one time."""
FULLER = 100
"""Times as many steps as rows from which on dates are not called a step apart with gaps."""
DAYS = 28
"""The longest month has 31 days; dates further apart than this may be months apart."""


@dataclass(frozen=True)
class Calendar:
    """Dates a step apart.

    Attributes:
        start: the first one, of pandas.
        step: of pandas, or of NumPy: a length of time, or a number of months.
        rows: which of them a table has, from 0, shape (rows of the table,).
    """

    start: Any
    step: Any
    rows: np.ndarray

    def __repr__(self) -> str:
        return f"Calendar of {self.count} dates from {self.start}, {self.step} apart, {self.missing} missing"

    def _repr_html_(self) -> str:
        return display.page(repr(self))

    @property
    def count(self) -> int:
        """From the first to the last that the table has."""
        return int(self.rows[-1]) + 1

    @property
    def missing(self) -> int:
        """Those in between that it has not."""
        return self.count - len(self.rows)

    def dates(self, count: int, first: int = 0) -> Any:
        """So many of them, from number `first` on: an index of pandas, or an array where they are NumPy's."""
        made = [self.start + k * self.step for k in range(first, first + count)]
        return np.array(made) if isinstance(self.start, np.datetime64) else _pandas().DatetimeIndex(made)

    def spread(self, values: Any) -> np.ndarray:
        """Rows of the table in their places, NaN in between, shape (count, …)."""
        given = np.asarray(values)
        if not self.missing:
            return given
        made = np.full((self.count, *given.shape[1:]), np.nan)
        made[self.rows] = given
        return made


def table(stream: Any) -> Any:
    """A table of another library as one of pandas; anything else as it is."""
    if hasattr(stream, "__dataframe__") and not hasattr(stream, "iloc"):
        return _pandas().api.interchange.from_dataframe(stream)
    return stream


def calendar_of(stream: Any, what: str = "ys") -> Calendar | None:
    """The dates that a table of pandas has as its index; None of anything else.

    Raises:
        DataError: dates do not increase, or are not a step apart, with gaps.
    """
    index = getattr(stream, "index", None)
    if index is None or not hasattr(stream, "iloc") or not str(getattr(index, "dtype", "")).startswith("datetime64"):
        return None
    if index.hasnans or not index.is_monotonic_increasing or not index.is_unique:
        raise DataError(f"{what}: the dates of a table should increase. Sort it, and drop what is there twice.")
    if len(index) < 2:
        return None
    for there in (index, index.tz_localize(None)):  # a day is a day, where clocks are changed too
        found = _evenly(there) or _monthly(there)
        if found is not None:
            return Calendar(there[0], *found)
    gaps = np.unique(np.diff(index.as_unit("ns").asi8)) / 1e9
    raise DataError(
        f"{what}: the dates are not a step apart: from {gaps[0]:g} to {gaps[-1]:g} seconds.\n"
        'Mend: declare the system with dt="elapsed", an input that brings the time since the row before:\n'
        'table["elapsed"] = table.index.to_series().diff().fillna(pd.Timedelta(0)) / pd.Timedelta(days=1).'
    )


def _evenly(index: Any) -> tuple[Any, np.ndarray] | None:
    """(step, rows) of dates that are whole multiples of their smallest step apart."""
    since = index.as_unit("ns").asi8
    steps = np.diff(since)
    rows, least = multiples(since - since[0], int(steps.min())), int(np.argmin(steps))
    return None if rows is None else (index[least + 1] - index[least], rows)


def _monthly(index: Any) -> tuple[Any, np.ndarray] | None:
    """(step, rows) of dates of which each is the same day of its month, or the last one."""
    last = bool(index.is_month_end.all())
    if not (last or (index.day == index.day[0]).all()) or (index[1:] - index[:-1]).min().days < DAYS:
        return None
    months = np.asarray(12 * index.year + index.month)
    step = int(np.diff(months).min())
    rows = multiples(months - months[0], step)
    pandas = _pandas()
    return None if rows is None else (pandas.offsets.MonthEnd(step) if last else pandas.DateOffset(months=step), rows)


def multiples(since: np.ndarray, step: int) -> np.ndarray | None:
    """Times as whole numbers of steps; None if they are not, or if hardly any step has one."""
    rows = np.rint(since / step)
    apart = np.abs(since - rows * step) <= UNEVEN * step
    return rows.astype(int) if apart.all() and rows[-1] < FULLER * len(rows) else None


def regular(xs: Any, ys: Any, dt: Any) -> tuple[Any, Any]:
    """Samples as they are, but tables of pandas with dates have a row for each step: missing where they have none.

    Args:
        xs: inputs.
        ys: targets.
        dt: the step of the system. Where it is the name of an input, every row brings its own time, and stays.

    Raises:
        DataError: dates are not a step apart, differ between inputs and targets, or inputs are missing.
    """
    xs, ys = table(xs), table(ys)
    if isinstance(dt, str):
        return xs, ys
    known = [(stream, calendar_of(stream, what)) for stream, what in ((xs, "xs"), (ys, "ys"))]
    dated = [(stream, calendar) for stream, calendar in known if calendar is not None]
    if len(dated) == 2 and not dated[0][0].index.equals(dated[1][0].index):
        raise DataError("xs and ys have different dates. Join them: table = xs.join(ys, how='outer').")
    if not dated or not dated[0][1].missing:
        return xs, ys
    calendar = dated[0][1]
    if xs is not None:
        first = int(np.setdiff1d(np.arange(calendar.count), calendar.rows)[0])
        raise DataError(
            f"xs: inputs cannot be missing, and the table has no row for {calendar.dates(1, first)[0]}.\n"
            f"Mend: fill them in, such as table.asfreq({_offset(calendar.step)!r}) and .interpolate() for the inputs."
        )
    return xs, type(ys)(calendar.spread(ys), columns=ys.columns) if hasattr(ys, "columns") else calendar.spread(ys)


def _offset(step: Any) -> str:
    """A step of dates as pandas abbreviates it."""
    return str(_pandas().tseries.frequencies.to_offset(step).freqstr)


def frame(columns: Mapping[str, Any], index: Any = None, name: str | None = None) -> Any:
    """A `pandas.DataFrame` of arrays of one length.

    Raises:
        DeclarationError: pandas is not installed.
    """
    made = _pandas().DataFrame(dict(columns), index=index)
    made.index.name = name
    return made


def named(values: Any, names: Sequence[str] | None, what: str) -> dict[str, np.ndarray]:
    """The columns of an array, shape (T, …), by name: of `what` and a number unless given.

    Raises:
        DeclarationError: there are more or fewer names than columns.
    """
    flat = np.reshape(values, (len(values), -1))
    count = flat.shape[1]
    labels = list(names) if names is not None else [what] if count == 1 else [f"{what} {k}" for k in range(count)]
    if len(labels) != count:
        raise DeclarationError(f"to_frame(names=…): expected {count} names, got {len(labels)}: {', '.join(labels)}.")
    return dict(zip(labels, flat.T, strict=True))


def _pandas() -> Any:
    try:
        import pandas
    except ImportError as error:
        raise DeclarationError(f"to_frame: pandas cannot be imported ({error}).\nMend: pip install pandas.") from error
    return pandas
