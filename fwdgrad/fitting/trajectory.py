"""One trajectory of a record, as the user gives it, and the record of several."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from fwdgrad.errors import DataError, DeclarationError, FirstSampleWarning, OutlierWarning, ShapeError
from fwdgrad.learning.loops import Record, told_first
from fwdgrad.learning.loops.sifting import Sifting
from fwdgrad.learning.panel_samples import PanelReader
from fwdgrad.learning.samples import Chunk, SampleReader
from fwdgrad.panels import GOES_ON
from fwdgrad.support import display
from fwdgrad.support.trees import flatten
from fwdgrad.system import System

__all__ = ["Trajectory", "recorded"]


class Trajectory(NamedTuple):
    """Samples in order, from one beginning: of one subject, one experiment."""

    xs: Any = None
    """Inputs with time along axis 0, as for `Learner.run`; None for an autonomous system."""
    ys: Any = None
    """Targets; NaN, None or masked where missing."""
    state: Any = None
    """The state it begins in, in the containers of the system's; None: the declared, or learned, initial state."""

    def __repr__(self) -> str:
        given = [f"{label} of {_sizes(part)}" for label, part in (("xs", self.xs), ("ys", self.ys)) if part is not None]
        begins = "" if self.state is None else f", from {_short(self.state)}"
        return f"Trajectory: {', '.join(given) or 'no samples'}{begins}"

    def _repr_html_(self) -> str:
        return display.page(repr(self))


def _sizes(stream: Any) -> str:
    """The shape of a stream, or of each in a dict."""
    if isinstance(stream, dict):
        return ", ".join(f"{k} {_sizes(v)}" for k, v in stream.items())
    if hasattr(stream, "shape"):
        return str(stream.shape)
    return display.counted(len(stream), "sample") if hasattr(stream, "__len__") else "samples"


def recorded(system: System, reader: SampleReader, xs: Any, ys: Any, trajectories: Any) -> Record:
    """All samples that were given.

    Raises:
        DeclarationError: neither targets nor trajectories are given, or both.
        DataError, ShapeError: samples are not of the declared kind, or none has a target.
    """
    if trajectories is None:
        if ys is None:
            raise DeclarationError(
                "fit: expected targets ys, or trajectories=[fg.Trajectory(xs, ys, state), …]; got none."
            )
        trajectories = [Trajectory(xs, ys)]
    elif xs is not None or ys is not None:
        raise DeclarationError("fit: expected samples xs, ys, or trajectories, got both. Leave out one.")
    record = Record(system)
    for number, given in enumerate(_checked(trajectories)):
        state = system.initial if given.state is None else np.asarray(system.pack(given.state), system.dtype)
        record.begin(state, given.state is not None)
        try:
            for chunk in _chunks(reader, given):
                if number == 0 and len(record) == 0 and (said := told_first(system, chunk, state, system.params)):
                    warnings.warn(said, FirstSampleWarning, stacklevel=5)
                record.extend(chunk)
        except (DataError, ShapeError) as error:
            if len(trajectories) > 1:
                error.args = (f"trajectory {number}: {error}",)
            raise
    if not record.observed.any():
        raise DataError("fit: no sample has a target; all are missing. Nothing can be learned from them.")
    return _sifted(system, record)


def _chunks(reader: SampleReader, given: Trajectory) -> Iterator[Chunk]:
    """The samples of a trajectory, or of one for each stream, side by side."""
    if not isinstance(reader, PanelReader):
        yield from reader.chunks(given.xs, given.ys, None, 0)
        return
    count, listed = reader.panel.count, next((v for v in (given.ys, given.xs) if isinstance(v, list)), None)
    if given.state is not None and listed is not None and len(listed) != count:
        raise DataError(
            f"fit: {len(listed)} sequences for {count} streams, which begin in given states: one is for each."
        )
    for number, chunk in enumerate(reader.sequences(given.xs, given.ys, None, 0)):
        if number == 0 and given.state is not None:
            chunk.x[-1][0] = GOES_ON  # from the given state, not the declared one
        yield chunk


def _sifted(system: System, record: Record) -> Record:
    """The record without targets that are hardly measurements, which are told of."""
    targets = flatten(system.y)
    if len(targets) != 1 or targets[0].dtype.kind != "f" or not hasattr(system.loss, "scale"):
        return record
    sifting = Sifting(system)
    aside = sifting.begin(record.chunk)
    if lines := "\n".join(sifting.told()):
        text = f"fit: samples hold numbers that are hardly measurements:\n{lines}.\nWrite what is missing as NaN."
        warnings.warn(text, OutlierWarning, stacklevel=5)
    return record.without(sifting.without(record.chunk, aside))


def _checked(trajectories: Any) -> Sequence[Trajectory]:
    """A list of trajectories; tuples of the same fields will do."""
    if not isinstance(trajectories, (list, tuple)) or isinstance(trajectories, Trajectory) or not trajectories:
        raise DeclarationError(
            f"fit(trajectories=…): expected a list of fg.Trajectory(xs, ys, state), got {_short(trajectories)}."
        )
    made = []
    for number, given in enumerate(trajectories):
        if not isinstance(given, tuple) or not 2 <= len(given) <= 3:
            raise DeclarationError(
                f"fit(trajectories=…): expected fg.Trajectory(xs, ys, state), got {_short(given)} as number {number}."
            )
        made.append(Trajectory(*given))
    return made


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
