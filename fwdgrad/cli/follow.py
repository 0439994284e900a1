"""``fwdgrad learn SYSTEM - --follow``: a sample a line, as it comes; a prediction leaves before its line is learned."""

from __future__ import annotations

import argparse
import csv
import json
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, TextIO

import numpy as np

from fwdgrad.cli.builders import Builder
from fwdgrad.cli.choosing import likened
from fwdgrad.cli.data import MISSING
from fwdgrad.cli.learners import learner_for
from fwdgrad.cli.models import ELAPSED, chosen
from fwdgrad.errors import CheckpointError, DataError, DeclarationError, did_you_mean
from fwdgrad.learning.learner import Learner
from fwdgrad.learning.report import output_names
from fwdgrad.learning.step.kinds import PREDICTIVE_VARIANCE
from fwdgrad.support.trees import flatten, leaf_names, unflatten
from fwdgrad.system import System

__all__ = ["run"]

NOTE = "fwdgrad learn --follow"
"""Where the note of a learner has what belongs here: lines read, and the time of the last one."""
SAVED = 1000
"""Lines between two checkpoints, unless said otherwise."""
LOOK = 64
"""Lines between two looks at what deviations have to be multiplied by."""


def run(options: argparse.Namespace) -> None:
    """Carry out the command, until the stream ends, or SIGTERM or Ctrl-C.

    Raises:
        FwdgradError: something in the options is wrong, or a line cannot be taken; what came before it is saved.
    """
    for name in ("text", "steps", "plot", "sample", "predictions", "data", "unit"):
        if getattr(options, name) is not None:
            raise DeclarationError(f"--{name} has no meaning with --follow; leave it out.")
    if options.file not in (None, "-"):
        raise DeclarationError(f"--follow reads the standard input: expected -, got {options.file}. Send it there.")
    if options.again and not options.resume:
        raise DeclarationError("--again needs a checkpoint to go on from: --resume FILE.")
    follower = _Follower(options)
    with _Ending() as ending:
        try:
            follower.go(sys.stdin, sys.stdout, ending)
        finally:
            follower.save()
    print(f"fwdgrad: {ending.said or 'the stream has ended'} after line {follower.line}", file=sys.stderr)


class _Follower:
    """A learner, and which line it is at.

    Attributes:
        line: the last one that was learned, counted from 1, without the header.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        builder = Builder(options.system)
        given = {} if options.units is None else {"units": options.units}
        system = builder(given, {"seed": options.seed or 0})
        if options.likelihood is not None:
            system = likened(system, options.likelihood)
        self._target = options.save or options.resume
        self._every = options.checkpoint_every or SAVED
        self._json, self._again = options.json, options.again
        self.line, self._time, self._saved = 0, None, 0
        if options.resume is None:
            self.learner = learner_for(system, options.estimator, options.optimizer, options.rate, options.seed or 0)
        else:
            self.learner = Learner.load(options.resume, system)
            note = self.learner.note.get(NOTE)
            if note is None:
                raise CheckpointError(f"the checkpoint {options.resume} was not written by a run with --follow.")
            self.line, self._time = note["line"], note["time"]
            self._saved = self.line
        self._columns = _Columns(system, options)
        self._names = output_names(system)
        self._banded = hasattr(self.learner._execution.steps.informed, "variances")
        self._factor, self._look = 1.0, 0

    def go(self, source: TextIO, out: TextIO, ending: _Ending) -> None:
        """Lines, one by one.

        Raises:
            DataError: a line cannot be taken.
        """
        skipped = self.line if self._again else 0
        rows = _rows(source, ending)
        if not self._json:
            heads = [f"{n}{part}" for n in self._names for part in (("", "_std") if self._banded else ("",))]
            csv.writer(out, lineterminator="\n").writerow(["line", *heads])
            out.flush()
        for number, row in enumerate(rows, 1):
            if number <= skipped:
                continue
            where = f"line {self.line + 1}"
            x, y, time = self._columns.sample(row, self._time, where)
            self._show(out, x)
            try:
                self.learner.step(x, y)
            except DataError as error:
                raise DataError(f"{where}: {error}") from error
            self.line, self._time = self.line + 1, time
            if self.line % self._every == 0:
                self.save()
            if ending.asked:
                return

    def _show(self, out: TextIO, x: Any) -> None:
        """The prediction for a line, with its deviation where a filter knows it."""
        if self._banded:
            loop = self.learner._loop
            mean, variance = self.learner._execution.make(PREDICTIVE_VARIANCE, loop.view, loop.input(x))
            if self._look <= 0:
                self._factor, self._look = self.learner.confidence().overall, LOOK
            self._look -= 1
            pairs = zip(np.ravel(mean).tolist(), (self._factor * np.sqrt(np.ravel(variance))).tolist(), strict=True)
        else:
            pairs = ((v, None) for v in np.ravel(self.learner.predict(x)).tolist())  # type: ignore[assignment]
        made: dict[str, Any] = {"line": self.line + 1}
        for name, (value, std) in zip(self._names, pairs, strict=False):
            made[name] = value
            if std is not None:
                made[f"{name}_std"] = std if std == std else None
        if self._json:
            out.write(json.dumps(made) + "\n")
        else:
            out.write(",".join("" if v is None else repr(v) for v in made.values()) + "\n")
        out.flush()

    def save(self) -> None:
        """Write a checkpoint, and say so: the lines up to there are done, and are not learned again."""
        if self._target is None or self.line == self._saved:
            return
        self.learner.note = {NOTE: {"line": self.line, "time": self._time}}
        self.learner.save(self._target)
        self._saved = self.line
        print(f"fwdgrad: saved at line {self.line}", file=sys.stderr, flush=True)


class _Columns:
    """Which columns of a line are inputs and targets of a system."""

    def __init__(self, system: System, options: argparse.Namespace) -> None:
        self._system = system
        self._elapsed = isinstance(system.dt, str) and options.time is not None
        names = [name.removeprefix("x_") for name in leaf_names(system.x, "x")]
        inputs = [n for n in names if not (self._elapsed and n == system.dt)]
        if isinstance(system.dt, str) and system.dt == ELAPSED and not self._elapsed:
            raise DeclarationError("the model has no step dt, so the times of the lines are needed: --time COLUMN.")
        outputs = output_names(system)
        self._time = options.time if self._elapsed else None
        self._vector = bool(names) and not isinstance(system.x, dict)
        if self._vector:
            count = int(np.size(system.x))
            self._inputs = options.inputs or ([f"x{k}" for k in range(count)] if count > 1 else ["x"])
            if len(self._inputs) != count:
                raise DeclarationError(f"--inputs: expected the names of {count} columns, got {len(self._inputs)}.")
        else:
            self._inputs = [chosen(options.inputs, inputs, "--inputs").get(n, n) for n in inputs]
        self._order = inputs
        if options.targets is not None:
            if len(options.targets) != len(outputs):
                raise DeclarationError(f"--targets: expected {len(outputs)} columns, got {len(options.targets)}.")
            self._targets = dict(zip(outputs, options.targets, strict=True))
        else:
            self._targets = chosen(options.observe, outputs, "--observe")
        self._outputs = outputs
        self._known = False

    def sample(self, row: dict[str, Any], before: float | None, where: str) -> tuple[Any, Any, float | None]:
        """(input, target, time) of a line.

        Raises:
            DataError: a column is not there, an input is missing, or a cell is no number.
        """
        if not self._known:
            for name in (*self._inputs, *self._targets.values(), *([self._time] if self._time else [])):
                if name not in row:
                    raise DataError(f"{where}: there is no column {name!r}. {did_you_mean(name, list(row))}")
            self._known = True
        numbers = [_number(row.get(name), name, where) for name in self._inputs]
        if gaps := [name for name, v in zip(self._inputs, numbers, strict=True) if v != v]:
            raise DataError(f"{where}: the input {gaps[0]!r} is missing; only targets may be.")
        time = _number(row.get(self._time), self._time, where) if self._time else None
        x: Any = None
        if self._vector:
            x = np.reshape(np.asarray(numbers), np.shape(self._system.x)).astype(self._system.x.dtype)
        elif self._system.x is not None:
            given = dict(zip(self._order, numbers, strict=True))
            if time is not None:
                given[str(self._system.dt)] = 0.0 if before is None else time - before
            x = {k: np.reshape(np.asarray(given[k]), np.shape(v)) for k, v in self._system.x.items()}
        y = np.full(len(self._outputs), np.nan)
        for k, name in enumerate(self._outputs):
            if name in self._targets:
                y[k] = _number(row.get(self._targets[name]), self._targets[name], where)
        (like,) = flatten(self._system.y)
        if like.dtype.kind in "iu":
            return x, None if np.isnan(y).all() else y.astype(like.dtype).reshape(like.shape), time
        return x, unflatten(self._system.y, [y.reshape(like.shape)]), time


def _number(cell: Any, name: str, where: str) -> float:
    if cell is None or (isinstance(cell, str) and cell.strip() in MISSING):
        return float("nan")
    try:
        value = float(cell)
    except (TypeError, ValueError):
        raise DataError(f"{where}, column {name!r}: expected a number, got {cell!r}.") from None
    if np.isinf(value):
        raise DataError(f"{where}, column {name!r}: expected a finite number, got {cell!r}.")
    return value


def _rows(source: TextIO, ending: _Ending) -> Iterator[dict[str, Any]]:
    """The lines of a stream, by column: JSON objects, or CSV below a header, as the first line says.

    Raises:
        DataError: a line is neither.
    """
    header: list[str] | None = None
    number = 0
    while (text := ending.waited(source.readline)) != "":
        text = text.strip("\r\n\ufeff")
        if not text.strip():
            continue
        if header is None and not text.lstrip().startswith("{"):
            delimiter = max(",;\t", key=text.count)
            header = [cell.strip() for cell in next(csv.reader([text], delimiter=delimiter))]
            continue
        number += 1
        if header is None:
            try:
                row = json.loads(text)
            except json.JSONDecodeError as error:
                raise DataError(f"line {number}: expected an object of JSON, got {text[:60]!r} ({error}).") from None
            if not isinstance(row, dict):
                raise DataError(f"line {number}: expected an object of JSON, got {text[:60]!r}.")
            yield row
            continue
        cells = next(csv.reader([text], delimiter=delimiter))
        if len(cells) != len(header):
            raise DataError(f"line {number}: expected {len(header)} cells, as in the header, got {len(cells)}.")
        yield dict(zip(header, cells, strict=True))


class _Stopped(Exception):
    """While a line was waited for."""


class _Ending:
    """SIGTERM and Ctrl-C as requests: a line that has been read is finished first.

    Attributes:
        asked: whether there was one.
        said: what it was.
    """

    def __init__(self) -> None:
        self.asked, self.said, self._waiting = False, "", False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> _Ending:
        if threading.current_thread() is threading.main_thread():
            for kind in (signal.SIGINT, signal.SIGTERM):
                self._before[kind] = signal.signal(kind, self._note)
        return self

    def _note(self, kind: int, _: FrameType | None) -> None:
        self.asked, self.said = True, "interrupted" if kind == signal.SIGINT else "ended"
        if self._waiting:
            self._waiting = False
            raise _Stopped

    def waited(self, read: Callable[[], str]) -> str:
        """A line; nothing at the end, or where it was asked for an end."""
        if self.asked:
            return ""
        try:
            self._waiting = True
            return read()
        except _Stopped:
            return ""
        finally:
            self._waiting = False

    def __exit__(self, *_: Any) -> None:
        for kind, handler in self._before.items():
            signal.signal(kind, handler)
