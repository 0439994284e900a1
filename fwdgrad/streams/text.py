"""Texts as streams of integer symbols."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fwdgrad.errors import AlphabetError, DataError, DeclarationError
from fwdgrad.streams.checks import Symbols, code_points, integer_arg, name_of, shorten, symbols_arg, text_arg

__all__ = ["Alphabet", "next_symbol", "python_text", "read_text", "text_stream"]


@dataclass(frozen=True, init=False, repr=False)
class Alphabet:
    r"""An ordered set of characters: the code between a text and integer symbols.

    Symbol i stands for ``characters[i]``. A character is one Unicode code point; nothing is normalised. Alphabets are
    immutable and hashable, and equal when they hold the same characters in the same order.

    Args:
        characters: the distinct characters in the order of their symbols. For "all that occur in this text" see `of`.

    Raises:
        DeclarationError: no character, a repeated one, or something that is not a single character.

    Example:
        >>> alphabet = Alphabet("\nab")
        >>> alphabet.encode("ab\n")
        array([1, 2, 0])
        >>> alphabet.decode([1, 2, 0])
        'ab\n'
        >>> len(alphabet), "b" in alphabet, alphabet == Alphabet.of("b\na")
        (3, True, True)
    """

    characters: tuple[str, ...]

    def __init__(self, characters: Iterable[str]) -> None:
        if not isinstance(characters, Iterable):
            raise DeclarationError(
                f"Alphabet: expected characters, got {shorten(repr(characters))}.\n"
                "Mend: pass a str or a sequence of one-character strings."
            )
        chosen = tuple(characters)
        seen: set[str] = set()
        for character in chosen:
            if not isinstance(character, str) or len(character) != 1:
                raise DeclarationError(
                    f"Alphabet: expected single characters (str of length 1), got {shorten(repr(character))}.\n"
                    "Mend: pass a str or a sequence of one-character strings."
                )
            if character in seen:
                raise DeclarationError(
                    f"Alphabet: expected distinct characters, got {name_of(character)} more than once.\n"
                    "Mend: remove the repeats, or use Alphabet.of(text) for the characters that occur in a text."
                )
            seen.add(character)
        if not chosen:
            raise DeclarationError('Alphabet: expected at least one character, got none.\nMend: e.g. Alphabet("ab").')
        object.__setattr__(self, "characters", chosen)

    @classmethod
    def of(cls, text: str) -> Alphabet:
        """The distinct characters of a text, sorted by code point.

        Cost: one pass over the text.

        Args:
            text: the text.

        Returns:
            The smallest alphabet that can code the text.

        Raises:
            DataError: the text is empty, or not a str.

        Example:
            >>> Alphabet.of("hello")
            Alphabet('ehlo')
        """
        return cls(sorted(set(text_arg(text, "Alphabet.of"))))

    def encode(self, text: str) -> Symbols:
        """The symbols of a text.

        Cost: O(length x log size), vectorised.

        Args:
            text: characters of this alphabet; may be empty.

        Returns:
            int64 array of shape ``(len(text),)`` with values in 0 .. size - 1.

        Raises:
            AlphabetError: a character outside the alphabet; the message names the first one and where it is.
            DataError: not a str.

        Example:
            >>> Alphabet("ab").encode("abba")
            array([0, 1, 1, 0])
        """
        codes = code_points(text_arg(text, "Alphabet.encode", least=0))
        order, ordered = self._sorted
        place = np.minimum(np.searchsorted(ordered, codes), len(self) - 1)
        foreign = ordered[place] != codes
        if foreign.any():
            position = int(foreign.argmax())
            line = text.count("\n", 0, position) + 1
            column = position - text.rfind("\n", 0, position)
            raise AlphabetError(
                f"Alphabet.encode: {name_of(text[position])} at position {position} (line {line}, column {column}) is "
                f"not among the {len(self)} characters of the alphabet.\n"
                f"Expected only characters of {self!r}; {int(foreign.sum())} of {len(text)} are outside it.\n"
                "Mend: take the alphabet from all text to be coded, Alphabet.of(text), or replace the character."
            )
        return order[place]

    def decode(self, symbols: npt.ArrayLike) -> str:
        """The text of a sequence of symbols; the inverse of `encode`.

        Cost: O(length), vectorised.

        Args:
            symbols: integers in 0 .. size - 1, of shape (T,), or a single one.

        Returns:
            A str of T characters.

        Raises:
            AlphabetError: a symbol out of range; the message names the first one and where it is.
            DataError: not integers, missing (masked) entries, or more than one axis.

        Example:
            >>> Alphabet("ab").decode(1)
            'b'
        """
        array = np.atleast_1d(symbols_arg(symbols, "Alphabet.decode", scalar=True))
        foreign = (array < 0) | (array >= len(self))
        if foreign.any():
            position = int(foreign.argmax())
            raise AlphabetError(
                f"Alphabet.decode: symbol {array[position]} at position {position} is out of range.\n"
                f"Expected 0 .. {len(self) - 1}, the {len(self)} characters of {self!r}.\n"
                "Mend: decode with the alphabet that coded the text."
            )
        return self._codes[array].tobytes().decode("utf-32-le", "surrogatepass")

    @cached_property
    def _codes(self) -> npt.NDArray[np.uint32]:
        """Code point of each symbol."""
        return code_points("".join(self.characters))

    @cached_property
    def _sorted(self) -> tuple[Symbols, npt.NDArray[np.uint32]]:
        """The symbols by increasing code point, and those code points: what `encode` searches."""
        order = np.argsort(self._codes).astype(np.int64)
        return order, self._codes[order]

    def __len__(self) -> int:
        return len(self.characters)

    def __iter__(self) -> Iterator[str]:
        return iter(self.characters)

    def __contains__(self, character: object) -> bool:
        return character in self.characters

    def __repr__(self) -> str:
        if len(self) <= 16:
            return f"Alphabet({''.join(self.characters)!r})"
        return f"Alphabet({len(self)} characters: {''.join(self.characters[:12])!r}...)"


def next_symbol(symbols: npt.ArrayLike) -> tuple[Symbols, Symbols]:
    """Inputs and targets of next-symbol prediction: y(t) = x(t + 1).

    Cost: O(1) for an int64 array; both results are views of it.

    Args:
        symbols: integers of shape (T + 1,), T >= 1.

    Returns:
        ``(xs, ys)``: all but the last symbol, and all but the first, int64 of shape (T,).

    Raises:
        DataError: fewer than two symbols, not integers, missing (masked) entries, or more than one axis.

    Example:
        >>> next_symbol([3, 1, 4])
        (array([3, 1]), array([1, 4]))
    """
    array = symbols_arg(symbols, "next_symbol")
    if len(array) < 2:
        raise DataError(
            f"next_symbol: expected at least 2 symbols (an input and its successor), got {len(array)}.\n"
            "Mend: pass a longer stream."
        )
    return array[:-1], array[1:]


def text_stream(text: str, alphabet: Alphabet | None = None) -> tuple[Symbols, Symbols, Alphabet]:
    """A text as a stream for next-character prediction.

    The setting of Ollivier, Tallec and Charpiat 2015 ("Preliminary experiments") and of Tallec and Ollivier 2018,
    section 6 ("Next-character prediction").

    Cost: that of `Alphabet.encode`.

    Args:
        text: at least two characters.
        alphabet: the code; the characters that occur in the text unless given.

    Returns:
        ``(xs, ys, alphabet)``: int64 inputs and targets of shape ``(len(text) - 1,)``, and the code used.

    Raises:
        AlphabetError: a character outside the given alphabet.
        DataError: fewer than two characters, or not a str.
        DeclarationError: `alphabet` is not an `Alphabet`.

    Example:
        >>> xs, ys, alphabet = text_stream("abba")
        >>> xs, ys, alphabet
        (array([0, 1, 1]), array([1, 1, 0]), Alphabet('ab'))
    """
    text = text_arg(text, "text_stream", least=2)
    alphabet = Alphabet.of(text) if alphabet is None else alphabet
    if not isinstance(alphabet, Alphabet):
        raise DeclarationError(
            f"text_stream: expected alphabet to be an Alphabet, got {shorten(repr(alphabet))}.\n"
            "Mend: pass Alphabet(characters), or leave it out to take the characters of the text."
        )
    xs, ys = next_symbol(alphabet.encode(text))
    return xs, ys, alphabet


def read_text(path: str | os.PathLike[str], encoding: str = "utf-8") -> str:
    r"""The text of a file, the same on every platform.

    Line ends become ``"\n"`` and a byte order mark is dropped. The whole file is read into memory.

    Args:
        path: the file.
        encoding: name of its encoding.

    Returns:
        Its text, at least one character.

    Raises:
        DataError: the file is missing, unreadable, empty, or not in this encoding.
        DeclarationError: an unknown encoding.

    Example:
        >>> import pathlib, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "sample.txt")
        ...     _ = path.write_bytes(b"ab\r\n")
        ...     read_text(path)
        'ab\n'
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise DataError(
            f"read_text: expected a readable file at {os.fspath(path)!r}, got: {error.strerror or error}.\n"
            f"Mend: check the path; the working directory is {str(Path.cwd())!r}."
        ) from error
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise DataError(
            f"read_text: expected {encoding} text in {os.fspath(path)!r}, got byte 0x{data[error.start]:02X} at offset "
            f"{error.start}: {error.reason}.\n"
            'Mend: convert the file to UTF-8, or name its encoding: read_text(path, encoding="latin-1").'
        ) from error
    except LookupError as error:
        raise DeclarationError(
            f"read_text: expected the name of a text encoding, got {encoding!r}.\n"
            'Mend: use a name that Python knows, such as "utf-8" or "latin-1".'
        ) from error
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    if not text:
        raise DataError(
            f"read_text: expected at least one character in {os.fspath(path)!r}, got an empty file.\n"
            "Mend: check that the file was written completely."
        )
    return text


def python_text(characters: int | None = None) -> str:
    """English text that comes with Python: the help topics of `pydoc_data.topics`, in order of their names.

    About half a million characters of technical prose and code samples, at hand without a download. The text differs
    between Python versions, patch releases included, so report results on it together with ``sys.version``.

    Args:
        characters: how many to take from the beginning; all of them unless given.

    Returns:
        A str of that many characters.

    Raises:
        DataError: more characters than there are, or a Python installed without its help topics.
        DeclarationError: not a positive integer.

    Example:
        >>> len(python_text(1000))
        1000
    """
    try:
        from pydoc_data.topics import topics
    except ImportError as error:
        raise DataError(
            "python_text: expected the help topics of Python (module pydoc_data.topics), got an installation without "
            "them.\nMend: install the complete standard library, or use read_text on a file of your own."
        ) from error
    text = "".join(topics[name] for name in sorted(topics))
    if characters is None:
        return text
    count = integer_arg(characters, "python_text", "characters", least=1)
    if count > len(text):
        raise DataError(
            f"python_text: expected at most {len(text)} characters (all this Python has), got {count}.\n"
            "Mend: ask for fewer, or use read_text on a longer file of your own."
        )
    return text[:count]
