"""The line of the user's code on whose behalf something is recorded, and errors that name it."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterable, Iterator
from functools import cache
from types import FrameType
from typing import Any, NoReturn

import autograd
import numpy as np
import scipy

from fwdgrad.errors import TracingError, UnsupportedOperationError
from fwdgrad.program.instructions import Source

__all__ = [
    "caller",
    "frames_of",
    "is_users",
    "mend_of",
    "recording_for",
    "refuse",
    "refuse_operation",
    "scipy_call",
    "source_among",
]


def _folder(file: str | None) -> str:
    return os.path.dirname(os.path.abspath(file or "")) + os.sep


_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_CATALOGUE = os.path.join(_PACKAGE, "systems") + os.sep
_SCIPY = _folder(scipy.__file__)
_LIBRARIES = (_folder(np.__file__), _SCIPY, _folder(autograd.__file__), "<__array_function__", "<frozen")


@cache
def is_users(file: str) -> bool:
    """Whether code of this file is the user's, or the catalogue's, and not a library's or fwdgrad's."""
    if file.startswith(_PACKAGE):
        return file.startswith(_CATALOGUE)
    return not file.startswith(_LIBRARIES)


@cache
def _source(file: str, line: int, function: str) -> Source:
    return Source(file, line, function)


class _Replayed(threading.local):
    source: Source | None = None


REPLAYED = _Replayed()
"""The line of the user's function on whose behalf operations are being recorded, while a program is replayed."""


class recording_for:
    """While this is entered, recorded operations are credited to `source`."""

    __slots__ = ("before", "source")

    def __init__(self, source: Source | None) -> None:
        self.source = source

    def __enter__(self) -> None:
        self.before = REPLAYED.source
        REPLAYED.source = self.source

    def __exit__(self, *_: Any) -> None:
        REPLAYED.source = self.before


def caller() -> Source | None:
    """The line of the user's function that is being recorded: of a replayed operation, or the innermost frame."""
    if REPLAYED.source is not None:
        return REPLAYED.source
    return source_among(_frames())


def frames_of(error: BaseException) -> list[tuple[FrameType, int]]:
    """The frames that `error` passed through and the line in each, innermost first."""
    frames = []
    step = error.__traceback__
    while step is not None:
        frames.append((step.tb_frame, step.tb_lineno))
        step = step.tb_next
    return frames[::-1]


def _frames() -> Iterator[tuple[FrameType, int]]:
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        yield frame, frame.f_lineno
        frame = frame.f_back


def source_among(frames: Iterable[tuple[FrameType, int]]) -> Source | None:
    """The innermost line of the user's code."""
    for frame, line in frames:
        if is_users(frame.f_code.co_filename):
            return _source(frame.f_code.co_filename, line, frame.f_code.co_name)
    return None


def scipy_call(frames: Iterable[tuple[FrameType, int]] | None = None) -> str | None:
    """The function of SciPy that the user's innermost line has called, if it has."""
    name = None
    for frame, _ in _frames() if frames is None else frames:
        code = frame.f_code
        if is_users(code.co_filename):
            break
        if code.co_filename.startswith(_SCIPY) and code.co_name not in _WRAPPERS:
            public = [part for part in frame.f_globals["__name__"].split(".") if not part.startswith("_")]
            called = type(frame.f_locals.get("self")).__name__ if code.co_name == "__call__" else code.co_name
            name = ".".join([*public, called])
    return name


_WRAPPERS = ("wrapper", "wrapped", "inner", "_wrapper", "_wrapped")


def refuse(what: str, mend: str) -> NoReturn:
    """Raise a TracingError that names the line of the user's function.

    Args:
        what: what the function does, without a full stop.
        mend: how to write it instead.
    """
    inside = scipy_call()
    if inside is not None:
        refuse_operation(inside)
    raise TracingError(f"{what}, at {caller() or 'an unknown line'}.\n{mend}")


_IN_PLACE = "It changes an array in place. Build a new one with np.stack, np.concatenate or np.where."
_SIZE = "The size of its result depends on values. Use np.where(condition, a, b), which keeps the shape."
_PIECES = """For t inside of its points it is, exactly, with at = lambda k, v: np.interp(k, np.arange(len(v)), v),
k = np.clip(np.searchsorted(f.x, t) - 1, 0, len(f.x) - 2); s = t - at(k, f.x);
sum(at(k, c) * s ** (len(f.c) - 1 - i) for i, c in enumerate(f.c))"""
_LINES = """With straight lines between points it is np.interp(t, f.x, f.y) inside of them.
Else make a table once, outside of the function: grid = np.linspace(low, high, 1001); table = f(grid);
and write np.interp(t, grid, table)."""
_TABLE = """Make a table of it once, outside of the function: grid = np.linspace(low, high, 1001); table = f(grid);
and write np.interp(t, grid, table)."""
_MENDS = {
    **dict.fromkeys((f"scipy.interpolate.{k}" for k in ("CubicSpline", "PchipInterpolator", "PPoly")), _PIECES),
    **dict.fromkeys((f"scipy.interpolate.{k}" for k in ("Akima1DInterpolator", "CubicHermiteSpline")), _PIECES),
    "scipy.interpolate.interp1d": _LINES,
    **dict.fromkeys(("np.copyto", "np.put", "np.place", "np.putmask", "np.fill_diagonal"), _IN_PLACE),
    **dict.fromkeys(("np.add.at", "np.put_along_axis"), _IN_PLACE),
    **dict.fromkeys(("np.nonzero", "np.flatnonzero", "np.argwhere", "np.unique", "np.extract"), _SIZE),
    **dict.fromkeys(("np.compress", "np.trim_zeros"), _SIZE),
    **dict.fromkeys(("np.array_equal", "np.allclose"), "Compare with np.all(x == y), and choose with np.where."),
    **dict.fromkeys(("np.choose", "np.piecewise"), "Use np.where or np.select."),
    "scipy.special.softmax": "Write e / np.sum(e) with e = np.exp(x - np.max(x)).",
    "scipy.special.log_softmax": "Write y - np.log(np.sum(np.exp(y))) with y = x - np.max(x).",
    "scipy.special.logsumexp": "Write m + np.log(np.sum(np.exp(x - m))) with m = np.max(x).",
    **dict.fromkeys(("np.median", "np.quantile", "np.percentile"), "Take entries of np.sort(x)."),
}


def refuse_operation(name: str, mend: str = "", source: Source | None = None) -> NoReturn:
    """Raise the error for a function that has no lowering, called at `source` or here."""
    raise UnsupportedOperationError(
        f"{name} is not among the operations fwdgrad can trace, at {source or caller() or 'an unknown line'}.\n"
        + (mend or mend_of(name) or _OTHERS)
    )


_OTHERS = (
    "Write it with the operations in the table in the documentation.\n"
    "Or run with engine='eager', which calls the function as it is."
)


def mend_of(name: str) -> str:
    """How to write a function that cannot be traced; nothing if that is not known."""
    return _MENDS.get(name, _TABLE if name.startswith("scipy.interpolate.") else "")
