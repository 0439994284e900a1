"""What a sweep found: records, their summary over replicas, and the best of them."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from fwdgrad.errors import DataError, UnknownNameError, did_you_mean
from fwdgrad.support import display
from fwdgrad.sweeps.cells import Scalar, is_number, key
from fwdgrad.sweeps.records import Record, read_records
from fwdgrad.sweeps.summaries import Summary

__all__ = ["Summary", "Sweep"]

ROWS = 40
"""Of a table that is printed; the best ones if there are more."""


@dataclass(frozen=True)
class Sweep:
    """What a sweep found.

    Attributes:
        records: one a cell, in the order of the grid.
        entropy: what the generators were spawned from: ``default_rng(SeedSequence(entropy, spawn_key=(replica,)))``.

    ``print`` it for a table, ``len`` it for the number of cells, iterate for the records.
    """

    records: tuple[Record, ...]
    entropy: int

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Sweep:
        """The records of a file that `sweep` has written, in the order in which they were made.

        Nothing is called, so the function need not be there.

        Raises:
            DataError: the file cannot be read, or has something else in it.

        Example:
            >>> import pathlib, tempfile, fwdgrad as fg
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     path = pathlib.Path(folder, "sweep.jsonl")
            ...     _ = fg.sweep(lambda rate: {"loss": rate, "curve": [1.0, rate]}, {"rate": [0.1]}, path=path)
            ...     print(fg.Sweep.read(path).records[0].results)
            {'loss': 0.1, 'curve': [1.0, 0.1]}
        """
        head, records = read_records(path)
        return cls(tuple(records), head["seed"])

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)

    @property
    def settings(self) -> dict[str, tuple[Scalar, ...]]:
        """The values of each setting, in the order of the grid."""
        names = dict.fromkeys(name for record in self.records for name in record.settings)
        return {
            name: tuple(dict.fromkeys(r.settings[name] for r in self.records if name in r.settings)) for name in names
        }

    @property
    def results(self) -> tuple[str, ...]:
        """Names of what was returned."""
        return tuple(dict.fromkeys(name for record in self.records for name in record.results))

    @property
    def failed(self) -> tuple[Record, ...]:
        """Those that raised an exception."""
        return tuple(record for record in self.records if record.error is not None)

    def summary(self, result: str | None = None) -> list[Summary]:
        """Each combination of settings, over its replicas.

        Args:
            result: name of a number that the function returned; "loss", or the first one, unless given.

        Raises:
            UnknownNameError: there is no such number.
        """
        result = self._result(result)
        groups: dict[str, list[Record]] = {}
        for record in self.records:
            groups.setdefault(key(record.settings, 0), []).append(record)
        made = []
        for group in groups.values():
            values = np.array([_float(record.results.get(result, math.nan)) for record in group])
            finite = values[np.isfinite(values)]
            mean = float(values.mean()) if len(finite) == len(values) else math.inf
            low, high = (float(finite.min()), float(finite.max())) if len(finite) else (math.nan, math.nan)
            failed = sum(record.error is not None for record in group)
            made.append(Summary(group[0].settings, mean, low, high, len(group), failed))
        return made

    def best(self, result: str | None = None, **fixed: Scalar) -> Summary:
        """The combination with the lowest mean over its replicas; one that failed, or is not finite, once is not it.

        Args:
            result: as for `summary`.
            fixed: among those with these settings, such as ``estimator="uoro"``.

        Raises:
            UnknownNameError: there is no such result or setting.
            DataError: none is finite in all of its replicas.
        """
        for name in fixed:
            if name not in self.settings:
                raise UnknownNameError(f"Sweep.best: there is no setting {name!r}. {did_you_mean(name, self.settings)}")
        among = [s for s in self.summary(result) if fixed.items() <= s.settings.items()]
        finite = [s for s in among if math.isfinite(s.mean)]
        if not finite:
            what = " and ".join(f"{k} = {v}" for k, v in fixed.items())
            raise DataError(f"Sweep.best: of {len(among)} settings{' with ' * bool(what)}{what} none is always finite.")
        return min(finite, key=lambda s: s.mean)

    def to_frame(self) -> Any:
        """The records as a `pandas.DataFrame`, one row each.

        Raises:
            ImportError: pandas is not installed.
        """
        import pandas

        return pandas.DataFrame([record.row for record in self.records])

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write the records as a table.

        Raises:
            DataError: the file cannot be written.
        """
        rows = [record.row for record in self.records]
        names = [*self.settings, "replica", *self.results, "error", "seconds"]
        try:
            with open(path, "w", newline="", encoding="utf-8") as file:
                table = csv.DictWriter(file, names)
                table.writeheader()
                table.writerows(rows)
        except OSError as error:
            raise DataError(f"Sweep.to_csv: cannot write {path}: {error.strerror or error}.") from error

    def plot(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        x: str | None = None,
        result: str | None = None,
    ) -> Any:
        """A picture: a result against one setting, a line for each combination of the others, its best marked.

        Args:
            path: file to write, in a format that its name ends in: png, pdf, svg.
            x: the setting along the axis; the first that has several numbers, unless given.
            result: as for `summary`.

        Dots are means over replicas, bars go from the lowest to the highest; a cross at the upper edge is a setting
        that failed, or was not finite, in some replica.

        Returns:
            The matplotlib figure.

        Raises:
            UnknownNameError: there is no such setting or result.
            DeclarationError: matplotlib is not installed, or cannot write a file of that name.
            DataError: the file cannot be written.
        """
        from fwdgrad.sweeps.picture import draw

        if x is not None and x not in self.settings:
            raise UnknownNameError(f"Sweep.plot: there is no setting {x!r}. {did_you_mean(x, self.settings)}")
        return draw(self, self._result(result), x, path)

    def _result(self, result: str | None) -> str:
        numbers = [name for name in self.results if any(is_number(record.results.get(name)) for record in self.records)]
        if result is None:
            if not numbers:
                raise UnknownNameError("Sweep: the function returned no numbers.")
            return "loss" if "loss" in numbers else numbers[0]
        if result not in numbers:
            raise UnknownNameError(f"Sweep: no number {result!r} was returned. {did_you_mean(result, numbers)}")
        return result

    def __repr__(self) -> str:
        sizes = " × ".join(f"{len(values)} {name}" for name, values in self.settings.items())
        return f"Sweep of {len(self)} cells ({sizes}): {len(self.failed)} failed"

    def __str__(self) -> str:
        table, told = self._table()
        return "\n".join([*display.columns(table, left=len(table[0])), *told])

    def _repr_html_(self) -> str:
        table, told = self._table()
        return display.page(repr(self), display.table(table, left=len(table[0])), display.paragraph("\n".join(told)))

    def _table(self) -> tuple[list[list[str]], list[str]]:
        """Rows of text below a head, and what is said of them."""
        result = self._result(None)
        rows = self.summary()
        shown = rows if len(rows) <= ROWS else sorted(rows, key=lambda s: s.mean)[:ROWS]
        best = min(rows, key=lambda s: s.mean)
        several = max(s.replicas for s in rows) > 1
        varied = [name for name, values in self.settings.items() if len(values) > 1] or list(self.settings)
        table: list[list[str]] = [[*varied, result, *(["lowest", "highest"] if several else []), ""]]
        for s in shown:
            mean = f"{s.mean:.4g}" if math.isfinite(s.mean) else "–"
            ends = [f"{v:.4g}" if math.isfinite(v) else "–" for v in (s.low, s.high)] if several else []
            note = (
                f"{s.failed} of {s.replicas} failed"
                if s.failed
                else "best"
                if s is best and math.isfinite(s.mean)
                else ""
            )
            table.append([*(_shown(s.settings.get(name)) for name in varied), mean, *ends, note])
        told = []
        if len(rows) > len(shown):
            told.append(f"… and {len(rows) - len(shown)} more, none better.")
        if self.failed:
            told.append(f"{len(self.failed)} of {len(self)} cells failed, the first with {self.failed[0].error}")
        return table, told


def _float(value: Any) -> float:
    return float(value) if is_number(value) else math.nan


def _shown(value: Scalar) -> str:
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
