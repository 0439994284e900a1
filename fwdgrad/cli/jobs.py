"""What there is to learn: a system, and a stream of samples from a text or from columns of a file."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import numpy as np

from fwdgrad import streams
from fwdgrad.cli.builders import Builder
from fwdgrad.data import Columns, read_columns
from fwdgrad.errors import DataError, DeclarationError
from fwdgrad.losses import CrossEntropy
from fwdgrad.system import System
from fwdgrad.trees import flatten, unflatten

__all__ = ["DataJob", "Job", "TextJob", "job_for"]

ONE_PASS = 100_000
"""Of a text, at most so many characters are read unless more are asked for: about half a minute."""


class Job:
    """A system and its samples, time along axis 0.

    Attributes:
        source: what to call the samples.
        identity: a hash of the samples.
        built_in: the samples come with Python.
        unit: of the loss.
    """

    built_in = False

    unit = "loss"
    system: System
    source: str
    identity: str
    xs: Any
    ys: Any

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

    @property
    def names(self) -> list[str]:
        """A name for each number of a prediction."""
        names = []
        for name, values in self.columns.targets.items():
            width = values[0].size
            names += [name] if width == 1 else [f"{name}{k}" for k in range(width)]
        size = self.system.prediction.size
        return names if len(names) == size else [f"prediction{k}" for k in range(size)]


def job_for(builder: Builder, settings: dict[str, Any]) -> Job:
    """The job that the settings describe: a text if the system reads symbols, unless there are data.

    Raises:
        DeclarationError, DataError: the system and the data do not go together, or cannot be had.
    """
    if settings["text"] is not None and settings["data"] is not None:
        raise DeclarationError("--text and --data: give one of them.")
    reads_symbols = "symbols" in builder.accepts
    if settings["text"] is not None and not reads_symbols:
        raise DeclarationError(
            f"the system {builder.name} does not read text: its function has no argument `symbols`.\n"
            "Give it --data, or take a network, such as tanh-rnn."
        )
    if settings["data"] is None and reads_symbols:
        return TextJob(builder, settings)
    return DataJob(builder, settings)


def _units(settings: dict[str, Any]) -> dict[str, Any]:
    return {} if settings["units"] is None else {"units": settings["units"]}


def _keys(names: list[str] | None, like: Any) -> list[str] | None:
    """The columns of a dict are named like its keys, those of nothing are none, unless the user says otherwise."""
    if names is not None:
        return names
    if like is None:
        return []
    return list(like) if isinstance(like, dict) else None
