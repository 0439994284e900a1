"""Samples from files: CSV tables and NumPy archives, as streams that `Learner.run` takes.

Time goes down the rows. A target may be missing (a cell of `MISSING`); an input may not.
"""

from __future__ import annotations

import csv
import hashlib
import math
import os
import re
import zipfile
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, time
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np

from fwdgrad.errors import DataError, did_you_mean
from fwdgrad.support.trees import cut, flatten, leaf_names, unflatten
from fwdgrad.system import System

__all__ = ["Columns", "read_columns", "read_labels"]

Arrays = dict[str, np.ndarray]

MISSING = frozenset((
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA", "NULL", "None",
    "n/a", "null", "nan", "-nan", "NaN", "-NaN",
))  # fmt: skip
"""What a missing number is written as: what pandas takes for one."""

_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}")


@dataclass(frozen=True)
class Columns:
    """Chosen columns of a file.

    Attributes:
        source: the file.
        inputs: by name, each of shape (T, …); without gaps.
        targets: likewise; NaN where missing.
    """

    source: str
    inputs: Arrays
    targets: Arrays

    def __len__(self) -> int:
        """T, the number of samples."""
        return len(next(iter((self.inputs | self.targets).values())))

    def width(self, part: str) -> int:
        """How many numbers a sample has in "inputs" or in "targets"."""
        return sum(v[0].size for v in getattr(self, part).values())

    def digest(self) -> str:
        """A hash of the numbers and their names."""
        made = hashlib.sha256()
        for name, value in (*self.inputs.items(), *self.targets.items()):
            made.update(f"{name} {value.shape}\n".encode())
            made.update(np.ascontiguousarray(value, dtype=np.float64).tobytes())
        return made.hexdigest()

    def streams(self, system: System) -> tuple[Any, Any]:
        """Inputs and targets in the containers and shapes of a system's.

        Columns named like the keys of a dict go to these keys; otherwise they are used up in order.

        Raises:
            DataError: there are more or fewer numbers per sample than the system has.
        """
        return self._fill(self.inputs, system.x, "inputs"), self._fill(self.targets, system.y, "targets")

    def _fill(self, columns: Arrays, like: Any, part: str) -> Any:
        leaves = flatten(like)
        names = [name.partition("_")[2] for name in leaf_names(like, "")]
        if isinstance(like, dict) and set(names) == set(columns):
            columns = {name: columns[name] for name in names}
        table = [v.reshape(len(v), -1) for v in columns.values()]
        have, need = sum(v.shape[1] for v in table), sum(leaf.size for leaf in leaves)
        if have != need:
            raise DataError(
                f"{self.source}: the system has {need} number{'s' * (need != 1)} in the {part} of a sample, "
                f"the chosen columns ({', '.join(columns) or 'none'}) have {have}.\n"
                f"Mend: name the columns to use, --{part} a,b,c."
            )
        if not leaves:
            return None
        return unflatten(like, cut(np.concatenate(table, axis=1), [leaf.shape for leaf in leaves], axis=1))


def read_columns(
    path: str | os.PathLike[str], inputs: Sequence[str] | None = None, targets: Sequence[str] | None = None
) -> Columns:
    r"""Read inputs and targets from a CSV file with a header, or from a ``.npz`` archive of arrays.

    In a CSV file the separator is the comma, semicolon or tab, whichever is most frequent in the header. Numbers have a
    decimal point, or all of them a decimal comma; a file where that cannot be told is refused. Dates and clock times
    are refused, as they have no unit. Arrays of an archive have time along axis 0. The file is read into memory.

    Args:
        path: the file; ``.npz`` is an archive, everything else CSV.
        inputs: names of columns or arrays, in the order of the system's inputs; none if empty. By default x, or
            x0, x1, …, or none if there is no such column.
        targets: likewise; by default y, or y0, y1, ….

    Raises:
        DataError: the file cannot be read, a column is not there, a cell is no number, an input is missing, or all
            targets are; the message says in which line and column.

    Example:
        >>> import pathlib, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "run.csv")
        ...     _ = path.write_text("day,u,y\nMon,1,2.5\nTue,0,\n")
        ...     columns = read_columns(path, inputs=["u"])
        >>> columns.inputs, columns.targets
        ({'u': array([1., 0.])}, {'y': array([2.5, nan])})
    """
    archive = Path(path).suffix.lower() == ".npz"
    chosen, read = (_read_archive if archive else _read_csv)(Path(path), inputs, targets)
    columns = Columns(os.fspath(path), {k: read[k] for k in chosen[0]}, {k: read[k] for k in chosen[1]})
    if len(columns) == 0:
        raise DataError(f"{path}: expected at least one sample, got none.")
    if all(np.all(np.isnan(v)) for v in columns.targets.values()):
        raise DataError(f"{path}: every target is missing ({', '.join(columns.targets)}); there is nothing to learn.")
    return columns


def read_labels(path: str | os.PathLike[str], name: str) -> list[str]:
    """A column of a CSV file as text, or an array of an archive, one label a row: what tells its rows apart.

    Raises:
        DataError: the file cannot be read, or has no such column.
    """
    place = Path(path)
    if place.suffix.lower() == ".npz":
        return [str(v) for v in _read_archive(place, [], [name])[1][name]]
    try:
        with place.open(encoding="utf-8-sig", newline="") as file:
            delimiter = max(",;\t", key=file.readline().count)
            file.seek(0)
            rows = csv.reader(file, delimiter=delimiter, strict=True)
            known = [cell.strip() for cell in next(rows, [])]
            if name not in known:
                raise DataError(f"{path}: there is no column {name!r}. {did_you_mean(name, known)}")
            return [row[known.index(name)].strip() for _, row in _rows(place, rows, len(known))]
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: expected CSV in UTF-8 ({error}).") from error


def _choose(
    path: Path, known: Sequence[str], inputs: Sequence[str] | None, targets: Sequence[str] | None
) -> tuple[list[str], list[str]]:
    """The names of inputs and targets, known to be there."""
    chosen = []
    for part, names, letter in (("inputs", inputs, "x"), ("targets", targets, "y")):
        if names is None:
            names = [letter] if letter in known else [k for k in known if re.fullmatch(rf"{letter}_?\d+", k)]
        for name in names:
            if name not in known:
                raise DataError(f"{path}: there is no column {name!r} for the {part}. {did_you_mean(name, known)}")
            if list(known).count(name) > 1:
                raise DataError(f"{path}: the column {name!r} is there twice; rename one.")
        chosen.append(list(names))
    if not chosen[1]:
        raise DataError(
            f"{path}: which columns are the targets? There is none named y, y0, y1, ….\n"
            f"Mend: name them, --targets …; there are {', '.join(known) or 'no columns'}."
        )
    return chosen[0], chosen[1]


# ---- CSV


def _read_csv(path: Path, inputs: Sequence[str] | None, targets: Sequence[str] | None) -> tuple[Any, Arrays]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = file.readline()
            delimiter = max(",;\t", key=header.count)
            file.seek(0)
            rows = csv.reader(file, delimiter=delimiter, strict=True)
            known = [name.strip() for name in next(rows, [])]
            chosen = _choose(path, known, inputs, targets)
            places = {name: known.index(name) for part in chosen for name in part}
            made = {name: array("d") for name in places}
            marks = _Marks()
            for line, row in _rows(path, rows, len(known)):
                for name, place in places.items():
                    cell = _Cell(path, line, name, row[place].strip())
                    made[name].append(marks.number(cell, gaps=name not in chosen[0]))
            marks.check()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: expected UTF-8 text, got byte 0x{error.object[error.start]:02X}.") from error
    except csv.Error as error:
        raise DataError(f"{path}: expected CSV, got line {rows.line_num} ({error}).") from error
    return chosen, {name: np.array(values, dtype=np.float64) for name, values in made.items()}


def _rows(path: Path, rows: Any, width: int) -> Iterator[tuple[int, list[str]]]:
    """Rows with their line numbers, known to be complete. An empty line is skipped; in a single column it is a gap."""
    for row in rows:
        if not row and width > 1:
            continue
        row = row or [""]
        if len(row) != width:
            raise DataError(
                f"{path}, line {rows.line_num}: expected {width} cells, as in the header, got {len(row)}.\n"
                "Mend: put cells that hold a separator in double quotes, and complete cut-off lines."
            )
        yield rows.line_num, row


class _Cell(NamedTuple):
    """A cell, and where it stands."""

    path: Path
    line: int
    name: str
    text: str

    def refuse(self, expected: str, got: str, mend: str = "") -> NoReturn:
        end = f"\nMend: {mend}." if mend else ""
        raise DataError(f"{self.path}, line {self.line}, column {self.name!r}: expected {expected}, got {got}.{end}")


class _Marks:
    """Numbers from cells, and whether the file writes them with a decimal point or a decimal comma."""

    def __init__(self) -> None:
        self._point: _Cell | None = None
        self._comma: _Cell | None = None
        self._sure = False

    def number(self, cell: _Cell, *, gaps: bool) -> float:
        """The number in a cell; NaN for a gap."""
        text = cell.text
        if text in MISSING or text.casefold() in MISSING:
            if not gaps:
                cell.refuse("a number (only targets may be missing)", repr(text) if text else "an empty cell")
            return math.nan
        if _COMMA.fullmatch(text):
            self._comma = self._comma or cell
            self._sure = self._sure or not _THOUSANDS.fullmatch(text)
            text = text.replace(",", ".")
        elif "." in text:
            self._point = self._point or cell
        try:
            value = float(text) if "_" not in text else float("_")
        except ValueError:
            cell.refuse("a number", repr(cell.text), _mend(cell.text))
        if not math.isfinite(value):
            cell.refuse("a finite number", repr(cell.text))
        return value

    def check(self) -> None:
        """Refuse commas that may not be decimal ones."""
        if self._comma is None:
            return
        text = self._comma.text
        if self._point is not None:
            self._comma.refuse(
                f"a decimal point, as in line {self._point.line}, {self._point.text!r}",
                repr(text),
                "write all numbers with a decimal point and without separators of thousands",
            )
        if not self._sure:
            self._comma.refuse(
                "a number",
                f"{text!r}, which may be {text.replace(',', '')} or {text.replace(',', '.')}",
                "write it with a decimal point and without separators of thousands",
            )


def _mend(text: str) -> str:
    """What to do about a cell that is no number."""
    for read in (datetime.fromisoformat, time.fromisoformat):
        try:
            read(text)
        except ValueError:
            continue
        return (
            "for a model, say what its unit of time is, --unit days for one; or write times as numbers, such as hours\n"
            "since the first row; with pandas, t = pd.to_datetime(table[name]); (t - t.iloc[0]) / pd.Timedelta(hours=1)"
        )
    return "write numbers without separators of thousands or units" if any(c.isdigit() for c in text) else ""


# ---- archives


def _read_archive(path: Path, inputs: Sequence[str] | None, targets: Sequence[str] | None) -> tuple[Any, Arrays]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            chosen = _choose(path, archive.files, inputs, targets)
            read = {name: archive[name] for part in chosen for name in part}
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}.") from error
    except (ValueError, EOFError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: expected a .npz archive of numbers, as np.savez writes; {error}.") from error
    lengths = {}
    for name, value in read.items():
        if not (np.issubdtype(value.dtype, np.floating) or np.issubdtype(value.dtype, np.integer)):
            raise DataError(f"{path}: the array {name!r} should hold real numbers, got {value.dtype}.")
        if value.ndim == 0:
            raise DataError(f"{path}: the array {name!r} is a single number; expected time along axis 0.")
        lengths[name] = len(value)
        read[name] = value.astype(np.float64)
        wrong = np.isinf(read[name]) if name not in chosen[0] else ~np.isfinite(read[name])
        if wrong.any():
            row = int(wrong.reshape(len(value), -1).any(axis=1).argmax())
            kind = "finite numbers" if name in chosen[0] else "numbers or NaN"
            raise DataError(f"{path}, array {name!r}, row {row}: expected {kind}, got {value[row]}.")
    if len(set(lengths.values())) > 1:
        raise DataError(f"{path}: the arrays have different lengths: {lengths}.")
    return chosen, read
