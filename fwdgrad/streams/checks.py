"""Checks of arguments that the streams share."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import numpy.typing as npt

from fwdgrad.errors import DataError, DeclarationError

Symbols = npt.NDArray[np.int64]


def integer_arg(value: Any, who: str, name: str, *, least: int, most: int | None = None) -> int:
    """An integer within bounds, or a DeclarationError that names the argument."""
    wanted = f"an integer of at least {least}" if most is None else f"an integer in {least} .. {most}"
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None or number < least or (most is not None and number > most):
        raise DeclarationError(
            f"{who}: expected {name} to be {wanted}, got {shorten(repr(value))}.\n"
            f"Mend: choose an integer with {least} <= {name}{'' if most is None else f' <= {most}'}."
        )
    return number


def generator_arg(rng: object, who: str) -> np.random.Generator:
    """A random generator, or a DeclarationError."""
    if isinstance(rng, np.random.Generator):
        return rng
    seed = rng if isinstance(rng, int) and not isinstance(rng, bool) and rng >= 0 else "seed"
    raise DeclarationError(
        f"{who}: expected rng to be a numpy.random.Generator, got {shorten(repr(rng))}.\n"
        f"Mend: pass np.random.default_rng({seed})."
    )


def text_arg(text: object, who: str, *, least: int = 1) -> str:
    """A text long enough, or a DataError."""
    if not isinstance(text, str):
        mend = "decode the bytes: data.decode('utf-8')" if isinstance(text, bytes) else "pass the text itself"
        raise DataError(f"{who}: expected a text (str), got {type(text).__name__}.\nMend: {mend}.")
    if len(text) < least:
        raise DataError(
            f"{who}: expected a text of at least {least} character{'s' * (least > 1)}, got {len(text)}.\n"
            "Mend: pass a longer text."
        )
    return text


def symbols_arg(symbols: npt.ArrayLike, who: str, *, scalar: bool = False) -> Symbols:
    """Symbols as an int64 array, or a DataError."""
    if np.ma.is_masked(symbols):
        raise DataError(f"{who}: expected symbols without gaps, got masked entries.\nMend: pass array.compressed().")
    array = np.asarray(symbols)
    if array.ndim != 1 and not (scalar and array.ndim == 0 and array.dtype.kind != "U"):
        raise DataError(
            f"{who}: expected symbols of shape (T,), time along axis 0, got shape {array.shape} of {array.dtype}.\n"
            "Mend: pass one stream at a time; a text is coded by Alphabet.of(text).encode(text)."
        )
    if array.size and (array.dtype.kind not in "iu" or not np.can_cast(array.dtype, np.int64)):
        raise DataError(
            f"{who}: expected integer symbols that fit int64, got {array.dtype}.\n"
            "Mend: code a text with Alphabet.of(text).encode(text), or convert with array.astype(np.int64)."
        )
    return array.astype(np.int64, copy=False)


def code_points(text: str) -> npt.NDArray[np.uint32]:
    """The text's code points as integers."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")


def shorten(text: str) -> str:
    """At most 60 characters of a representation."""
    return text if len(text) <= 60 else text[:57] + "..."


def name_of(character: str) -> str:
    """A character with its code point, as 'é' (U+00E9)."""
    return f"{character!r} (U+{ord(character):04X})"
