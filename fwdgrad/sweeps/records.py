"""What came of each cell, and the file that keeps it: one line of JSON a cell, written when the cell ends."""

from __future__ import annotations

import functools
import json
import math
import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fwdgrad.errors import DataError, DeclarationError, StaleRecordWarning
from fwdgrad.outside.code import code_key
from fwdgrad.support import display
from fwdgrad.sweeps.cells import Scalar, is_number, key, plain

__all__ = ["Record", "RecordFile", "Result", "read_records", "results_of"]

FORMAT = "fwdgrad sweep"
"""What the first line has, with the version of the format."""

Result = Scalar | list[float]
"""What a function may return by name: a number, a text, or several numbers, such as a learning curve."""

ALONE = "loss"
"""What a number is called that a function returns by itself."""


@dataclass(frozen=True)
class Record:
    """One cell: its settings, and what came of it.

    Attributes:
        settings: by name.
        replica: which of the repetitions.
        results: what the function returned, by name; empty if it failed.
        error: what it failed with, in one line; None if it did not.
        seconds: how long it took. Two records that differ in nothing else are equal.
    """

    settings: dict[str, Scalar]
    replica: int
    results: dict[str, Result]
    error: str | None = None
    seconds: float = field(default=math.nan, compare=False)

    @property
    def key(self) -> str:
        """Of its cell."""
        return key(self.settings, self.replica)

    def _repr_html_(self) -> str:
        shown = ((k, display.counted(len(v), "number") if isinstance(v, list) else v) for k, v in self.row.items())
        return display.page("Record of a cell", display.pairs(shown))

    @property
    def row(self) -> dict[str, Result]:
        """All of it by name: settings, replica, results, error, seconds."""
        return {
            **self.settings,
            "replica": self.replica,
            **self.results,
            "error": self.error,
            "seconds": self.seconds,
        }


def results_of(returned: Any) -> dict[str, Result]:
    """What a function returned, as a record holds it.

    Raises:
        DeclarationError: it is neither a number nor numbers, lists of them and texts by name.
    """
    try:
        if isinstance(returned, Mapping):
            made = {str(name): _result(value) for name, value in returned.items()}
        else:
            made = {ALONE: plain(returned)}
    except TypeError as error:
        made, wrong = {}, f"one with {error.args[0]}" if isinstance(returned, Mapping) else error.args[0]
    else:
        wrong = "nothing" if not made or returned is None else ""
    if wrong:
        raise DeclarationError(
            "sweep: expected the function to return a number, or a dict of numbers, lists of them and texts by name; "
            f"got {wrong}.\n"
            "Mend: return {'loss': history.recent(1000)}, say."
        )
    return made


def _result(value: Any) -> Result:
    """A number, a text, or a row of numbers as a list.

    Raises:
        TypeError: it is something else.
    """
    if not isinstance(value, (list, tuple, np.ndarray)) or np.ndim(value) == 0:
        return plain(value)
    row = [plain(entry) for entry in value]
    if not all(is_number(entry) for entry in row):
        raise TypeError(f"{type(value).__name__} of something else than numbers")
    return row  # type: ignore[return-value]


def read_records(path: str | os.PathLike[str]) -> tuple[dict[str, Any], list[Record]]:
    """What stands in a file of records: its first line, and the records in the order in which they were made.

    Raises:
        DataError: the file cannot be read, or has something else in it.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"sweep: cannot use the file {path}: {error}.") from error
    return _parsed(text[: text.rfind("\n") + 1], path)


def _parsed(text: str, path: str | os.PathLike[str]) -> tuple[dict[str, Any], list[Record]]:
    lines = text.splitlines()
    head = _line(lines[0], 1, path) if lines else {}
    if head.get(FORMAT) != 1:
        raise DataError(f"sweep: {path} has no records of a sweep. Give another file.")
    records = []
    for number, line in enumerate(lines[1:], 2):
        made = _line(line, number, path)
        try:
            results = {k: _number(v) for k, v in made["results"].items()}
            records.append(Record(made["settings"], made["replica"], results, made["error"], made["seconds"]))
        except (KeyError, TypeError, AttributeError):
            raise DataError(f"sweep: line {number} of {path} is no record.") from None
    return head, records


def _line(line: str, number: int, path: str | os.PathLike[str]) -> dict[str, Any]:
    try:
        made = json.loads(line)
    except ValueError:
        made = None
    if not isinstance(made, dict):
        raise DataError(f"sweep: line {number} of {path} is no record.")
    return made


class RecordFile:
    """The records of a sweep in a file; those that are there already are read.

    Args:
        path: of the file; None for records that are kept nowhere.
        learn: the function.
        names: of the settings.
        entropy: of the generators.

    Attributes:
        found: records that were there, by key.

    Raises:
        DataError: the file cannot be read or written, or has something else in it.
        DeclarationError: it belongs to a sweep of other settings, or of another seed.
    """

    def __init__(
        self, path: str | os.PathLike[str] | None, learn: Callable[..., Any], names: list[str], entropy: int
    ) -> None:
        self.found: dict[str, Record] = {}
        self._path = None if path is None else Path(path)
        if self._path is None:
            return
        head = {FORMAT: 1, "settings": sorted(names), "seed": entropy, "code": _code(learn)}
        try:
            text = self._path.read_bytes() if self._path.exists() else b""
            whole = text[: text.rfind(b"\n") + 1]  # a killed run may have left half a line
            if whole:
                self._read(whole.decode(), head)
                if len(whole) < len(text):
                    os.truncate(self._path, len(whole))
            else:
                self._path.write_text(json.dumps(head) + "\n", encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"sweep: cannot use the file {self._path}: {error}.") from error

    def _read(self, text: str, head: dict[str, Any]) -> None:
        assert self._path is not None
        there, records = _parsed(text, self._path)
        for name, what in (("settings", "settings"), ("seed", "the seed")):
            if there.get(name) != head[name]:
                raise DeclarationError(
                    f"sweep: {self._path} has records for {what} {there.get(name)}, not {head[name]}.\n"
                    "Mend: give another file, or sweep as before."
                )
        self.found = {record.key: record for record in records}
        if self.found and there.get("code") != head["code"]:
            warnings.warn(
                f"sweep: the function has changed (or Python has) since {len(self.found)} cells were recorded in "
                f"{self._path}; they are kept as they are.\nMend: give another file if they mean something else now.",
                StaleRecordWarning,
                stacklevel=5,
            )

    def add(self, record: Record) -> None:
        """Keep one more; it is on disk when this returns.

        Raises:
            DataError: it cannot be written.
        """
        if self._path is None:
            return
        line = {
            "settings": record.settings,
            "replica": record.replica,
            "results": {k: _text(v) for k, v in record.results.items()},
            "error": record.error,
            "seconds": round(record.seconds, 6),
        }
        try:
            with open(self._path, "a", encoding="utf-8") as file:
                file.write(json.dumps(line, allow_nan=False) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise DataError(f"sweep: cannot write {self._path}: {error.strerror or error}.") from error


NOT_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def _text(value: Any) -> Any:
    """JSON has no word for what is not finite."""
    if isinstance(value, list):
        return [_text(entry) for entry in value]
    return repr(value) if isinstance(value, float) and not math.isfinite(value) else value


def _number(value: Any) -> Any:
    if isinstance(value, list):
        return [_number(entry) for entry in value]
    return NOT_FINITE.get(value, value) if isinstance(value, str) else value


def _code(learn: Any) -> str:
    """A hash of what the function says; "" for what has no code to be seen."""
    while isinstance(learn, functools.partial):
        learn = learn.func
    code = getattr(learn, "__code__", None)
    return code_key(code) if code is not None else ""
