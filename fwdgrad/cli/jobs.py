"""What there is to learn: a system, and a stream of samples from a text or from columns of a file."""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np

from fwdgrad import streams
from fwdgrad.cli.builders import Builder
from fwdgrad.cli.data import Columns, read_columns, read_labels
from fwdgrad.cli.dates import read_dates
from fwdgrad.cli.models import chosen
from fwdgrad.cli.timing import UNEVEN, Clock, Timing
from fwdgrad.declare import EquationSystem
from fwdgrad.errors import DataError, DeclarationError, FirstSampleWarning
from fwdgrad.losses import CrossEntropy
from fwdgrad.support.frames import Calendar
from fwdgrad.support.trees import flatten, unflatten
from fwdgrad.system import System

__all__ = ["DataJob", "Job", "ModelJob", "TextJob"]

ONE_PASS = 100_000
"""Of a text, at most so many characters are read unless more are asked for: about half a minute."""

SAMPLES = 2000
"""A model is learned from at least so many samples; shorter data are gone through again."""


class Job:
    """A system and its samples, time along axis 0.

    Attributes:
        source: what to call the samples.
        identity: a hash of the samples.
        built_in: the samples come with Python.
        again: how going through them again begins: with a new trajectory if true, else where the last one ended.
        unit: of the loss.
        truth: the parameters that the samples come from, by name, where they are known.
        groups: the rows of each trajectory, one after the other in time.
        labels: what the table calls each; none without a column of subjects.
        calendar: the dates of the samples, where the table has some.
    """

    built_in = False
    again = False

    unit = "loss"
    truth: Mapping[str, Any] = MappingProxyType({})
    system: System
    source: str
    identity: str
    xs: Any
    ys: Any
    groups: list[np.ndarray]
    labels: list[str]
    calendar: Calendar | None = None

    def __len__(self) -> int:
        return len(flatten(self.ys)[0])

    def slice(self, start: int, count: int) -> tuple[Any, Any]:
        """So many inputs and targets, from that one on."""
        made = [unflatten(s, [leaf[start : start + count] for leaf in flatten(s)]) for s in (self.xs, self.ys)]
        return made[0], made[1]

    def show(self, loss: float) -> str:
        """A loss as text."""
        return f"{loss:.4g}"

    @property
    def default_steps(self) -> int:
        """Once through."""
        return len(self)

    @property
    def first(self) -> str:
        """What the first sample is observed in."""
        dt = self.system.dt
        if isinstance(dt, str):
            lead = float(self.xs[dt][0])
            return f"seen {lead:g} after the initial state" if lead else "seen in the initial state"
        if self.system.first == "initial":
            return "seen in the initial state"
        return "seen one step after the initial state" + (f", {dt:g} later" if dt else "")


class TextJob(Job):
    """Next-character prediction."""

    unit = "bits per character"

    def __init__(self, builder: Builder, settings: dict[str, Any]) -> None:
        path = settings["text"]
        self.text = streams.python_text() if path is None else streams.read_text(path)
        self.built_in = path is None
        self.source = "the help topics of Python" if path is None else str(path)
        self.identity = hashlib.sha256(self.text.encode(errors="surrogatepass")).hexdigest()
        self.xs, self.ys, self.alphabet = streams.text_stream(self.text)
        self.system = builder(_units(settings) | {"symbols": len(self.alphabet)}, {"seed": settings["seed"]})
        loss = self.system.loss
        if not isinstance(loss, CrossEntropy) or self.system.x is None or np.shape(self.system.x) != ():
            raise DeclarationError(f"{builder.name}: expected a system that reads symbols, with CrossEntropy loss.")
        self._bits = math.log2(loss.base or math.e)

    def show(self, loss: float) -> str:
        """In bits, whatever the base of the loss."""
        return f"{self.bits(loss):.3f}"

    def bits(self, loss: Any) -> Any:
        """A loss, or an array of them, in bits."""
        return loss * self._bits

    @property
    def default_steps(self) -> int:
        """Once through, but not for minutes."""
        return min(len(self), ONE_PASS)

    def read(self, steps: int) -> str:
        """The part of the text that so many steps see."""
        return self.text[: steps + 1]


class DataJob(Job):
    """Inputs and targets from a file."""

    def __init__(self, builder: Builder, settings: dict[str, Any]) -> None:
        path, inputs, targets = settings["data"], settings["inputs"], settings["targets"]
        if path is None:
            raise DataError(f"the system {builder.name} needs data to learn from: --data FILE.csv or FILE.npz.")
        sizes = {"inputs", "outputs"} & builder.accepts
        if sizes:
            columns = read_columns(path, inputs, targets)
            sizes_there = {"inputs": columns.width("inputs"), "outputs": columns.width("targets")}
            self.system = builder(_units(settings) | {k: sizes_there[k] for k in sizes}, {"seed": settings["seed"]})
        else:
            self.system = builder(_units(settings), {"seed": settings["seed"]})
            columns = read_columns(path, _keys(inputs, self.system.x), _keys(targets, self.system.y))
        self.columns: Columns = columns
        self.source, self.identity = str(path), columns.digest()
        self.xs, self.ys = columns.streams(self.system)
        self.groups, self.labels = _groups(path, settings.get("subject"), len(self))

    @property
    def names(self) -> list[str]:
        """A name for each number of a prediction."""
        names = []
        for name, values in self.columns.targets.items():
            width = values[0].size
            names += [name] if width == 1 else [f"{name}{k}" for k in range(width)]
        size = self.system.prediction.size
        return names if len(names) == size else [f"prediction{k}" for k in range(size)]


class ModelJob(DataJob):
    """A model file, and columns by the names in the model. Every pass through them is a trajectory of its own."""

    again = True
    system: EquationSystem

    def __init__(self, builder: Builder, settings: dict[str, Any]) -> None:
        model, path, time = builder.model, settings["data"], settings["time"]
        assert model is not None
        if path is None:
            raise DataError(f"the model {builder.name} needs data to learn from: fwdgrad learn {builder.name} FILE.csv")
        if settings["targets"] is not None:
            raise DeclarationError("--targets: the columns of a model are named with --observe OUTPUT=COLUMN,….")
        like: Any = builder(_units(settings), {})
        steps = model.clock.dt if model.model.continuous and isinstance(like.dt, str) else None
        own = [name for name in like.x or {} if name != like.dt or (steps is not None and time is None)]
        self.inputs = chosen(settings["inputs"], own, "--inputs")
        if missing := [name for name in own if name not in self.inputs]:
            raise DeclarationError(f"--inputs: the model also needs {', '.join(missing)}.")
        outputs = _outputs(like)
        observed = chosen(settings["observe"], list(outputs), "--observe")
        unit = settings.get("unit")
        if unit is not None and (time is None or settings.get("subject") is not None):
            raise DeclarationError("--unit: expected --time COLUMN with the dates of one trajectory.")
        wanted = [*self.inputs.values(), *([time] if time and unit is None else [])]
        self.columns = read_columns(path, [*dict.fromkeys(wanted)], [*dict.fromkeys(observed.values())])
        self.source, self.identity = str(path), self.columns.digest()
        times = None
        if unit is not None:
            times = self._dated(path, time, unit)
        elif time is not None:
            times = _times(self.columns, time)
        self.groups, self.labels = _groups(path, settings.get("subject"), len(self.columns))
        timings = _timings(model.clock, times, self.groups, self.source)
        self.system = model.system(timings[0])
        self.xs = self._given(times, [timing.lead for timing in timings])
        self.ys = np.full((len(self.columns), self.system.prediction.size), np.nan)
        for name, column in observed.items():
            values = self.columns.targets[column].reshape(len(self.columns), -1)
            if values.shape[1] != outputs[name].stop - outputs[name].start:
                raise DataError(f"{path}: {column!r} has {values.shape[1]} numbers a sample, not as many as {name!r}.")
            self.ys[:, outputs[name]] = values

    def _dated(self, path: Any, time: str, unit: str) -> np.ndarray:
        """The times of the samples; without inputs, a sample that was not observed for each date that is not there."""
        times, calendar = read_dates(path, time, unit)
        if calendar is None or (calendar.missing and self.inputs):
            return times
        self.calendar = calendar
        targets = {name: calendar.spread(values) for name, values in self.columns.targets.items()}
        self.columns = replace(self.columns, targets=targets)
        return times[-1] / calendar.rows[-1] * np.arange(calendar.count)

    def _given(self, times: np.ndarray | None, leads: list[float]) -> dict[str, np.ndarray] | None:
        """The inputs, with the time since the sample before where that is one."""
        if self.system.x is None:
            return None
        made = {}
        for name, like in self.system.x.items():
            if name not in self.inputs and times is not None:
                made[name] = np.empty(len(times))
                for rows, lead in zip(self.groups, leads, strict=True):
                    made[name][rows] = np.diff(times[rows], prepend=times[rows[0]] - lead)
                continue
            values = self.columns.inputs[self.inputs[name]]
            if values[0].size != like.size:
                raise DataError(f"{self.source}: {name!r} takes {like.size} numbers a sample, got {values[0].size}.")
            made[name] = values.reshape(len(values), *like.shape)
        return made

    @property
    def names(self) -> list[str]:
        """The names of the model's outputs."""
        return list(self.system.output_names)

    @property
    def default_steps(self) -> int:
        """Whole passes, together at least `SAMPLES`: a short series tells more when it is read again."""
        return len(self) * max(1, -(-SAMPLES // len(self)))


def _outputs(system: EquationSystem) -> dict[str, slice]:
    """Where each output is in a prediction, by its name, and for an array by the names of its entries too."""
    made: dict[str, slice] = {}
    for place, name in enumerate(system.output_names):
        whole = name.partition("[")[0]
        made[whole] = slice(made[whole].start if whole in made else place, place + 1)
        made[name] = slice(place, place + 1)
    return made


def _groups(path: Any, subject: str | None, length: int) -> tuple[list[np.ndarray], list[str]]:
    """The rows and the name of each subject, as they first appear; all rows without a column of subjects."""
    if subject is None:
        return [np.arange(length)], []
    made: dict[str, list[int]] = {}
    for row, label in enumerate(read_labels(path, subject)):
        made.setdefault(label, []).append(row)
    return [np.array(rows) for rows in made.values()], list(made)


def _timings(clock: Clock, times: np.ndarray | None, groups: list[np.ndarray], source: str) -> list[Timing]:
    """That of each group; of one kind, so that one system goes through all of them."""
    if times is None:
        return [clock.timing(None, source) for _ in groups]
    made = [clock.timing(times[rows], source) for rows in groups]
    if doubt := next((said for rows in groups if (said := clock.doubt(times[rows]))), ""):
        warnings.warn(f"{source}: {doubt}", FirstSampleWarning, stacklevel=2)
    alike = all(t.first == made[0].first and _same_step(t.dt, made[0].dt) for t in made)
    return made if alike else [clock.timing(times[rows], source, even=False) for rows in groups]


def _same_step(one: float | None, other: float | None) -> bool:
    return one is other if one is None or other is None else abs(one - other) <= UNEVEN * other


def _times(columns: Columns, name: str) -> np.ndarray:
    times = columns.inputs[name]
    if times.ndim != 1:
        raise DataError(f"{columns.source}: the times {name!r} should be one number a sample.")
    return times


def _units(settings: dict[str, Any]) -> dict[str, Any]:
    return {} if settings["units"] is None else {"units": settings["units"]}


def _keys(names: list[str] | None, like: Any) -> list[str] | None:
    """The columns of a dict are named like its keys, those of nothing are none, unless the user says otherwise."""
    if names is not None:
        return names
    if like is None:
        return []
    return list(like) if isinstance(like, dict) else None
