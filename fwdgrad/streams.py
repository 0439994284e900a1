r"""Streams to learn from: coded text, and the synthetic texts of the papers.

Time is axis 0. A text is an int64 array of *symbols*, positions in an `Alphabet`; the target of a symbol is the next
one. Random streams take an explicit `numpy.random.Generator`: the same seed gives the same stream, and a longer stream
begins with the shorter one of that seed. How far a generator has advanced afterwards depends on the length asked for,
so give each stream a generator of its own.

To read a learning curve in bits per character, compare it with the exact entropy rate of a synthetic text
(`anbn_entropy`, `distant_brackets_entropy`) or with what compressors reach on any other text (`references`).

Sources: C. Tallec and Y. Ollivier, *Unbiased Online Recurrent Optimization*, ICLR 2018, sections 5 and 6;
Y. Ollivier, C. Tallec and G. Charpiat, *Training recurrent networks online without backtracking*, 2015.
"""

from __future__ import annotations

import importlib
import operator
import os
import string
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import AlphabetError, DataError, DeclarationError, UnknownNameError, did_you_mean

__all__ = [
    "ANBN",
    "Alphabet",
    "anbn",
    "anbn_entropy",
    "brackets_alphabet",
    "compressed_bits",
    "copy_task",
    "distant_brackets",
    "distant_brackets_entropy",
    "entropy",
    "next_symbol",
    "python_text",
    "read_text",
    "references",
    "text_stream",
]

Symbols = npt.NDArray[np.int64]


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
                f"Alphabet: expected characters, got {_shorten(repr(characters))}.\n"
                "Mend: pass a str or a sequence of one-character strings."
            )
        chosen = tuple(characters)
        seen: set[str] = set()
        for character in chosen:
            if not isinstance(character, str) or len(character) != 1:
                raise DeclarationError(
                    f"Alphabet: expected single characters (str of length 1), got {_shorten(repr(character))}.\n"
                    "Mend: pass a str or a sequence of one-character strings."
                )
            if character in seen:
                raise DeclarationError(
                    f"Alphabet: expected distinct characters, got {_name(character)} more than once.\n"
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
        return cls(sorted(set(_text(text, "Alphabet.of"))))

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
        codes = _code_points(_text(text, "Alphabet.encode", least=0))
        order, ordered = self._sorted
        place = np.minimum(np.searchsorted(ordered, codes), len(self) - 1)
        foreign = ordered[place] != codes
        if foreign.any():
            position = int(foreign.argmax())
            line = text.count("\n", 0, position) + 1
            column = position - text.rfind("\n", 0, position)
            raise AlphabetError(
                f"Alphabet.encode: {_name(text[position])} at position {position} (line {line}, column {column}) is "
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
        array = np.atleast_1d(_symbols(symbols, "Alphabet.decode", scalar=True))
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
        return _code_points("".join(self.characters))

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
    array = _symbols(symbols, "next_symbol")
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
    text = _text(text, "text_stream", least=2)
    alphabet = Alphabet.of(text) if alphabet is None else alphabet
    if not isinstance(alphabet, Alphabet):
        raise DeclarationError(
            f"text_stream: expected alphabet to be an Alphabet, got {_shorten(repr(alphabet))}.\n"
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
    count = _integer(characters, "python_text", "characters", least=1)
    if count > len(text):
        raise DataError(
            f"python_text: expected at most {len(text)} characters (all this Python has), got {count}.\n"
            "Mend: ask for fewer, or use read_text on a longer file of your own."
        )
    return text[:count]


ANBN = Alphabet("\nab")
"""The alphabet of `anbn`: newline 0, a 1, b 2."""


def anbn(k: int, l: int, length: int, rng: np.random.Generator) -> Symbols:  # noqa: E741 (the paper's name)
    r"""The text a^n b^n (k, l): the number of b's has to be remembered from the a's.

    Repeatedly: draw n uniformly in k .. l, both included; write n a's, a newline, n b's, a newline. Symbols are those
    of `ANBN`. The last block is cut where the length is reached.

    Source: Tallec and Ollivier 2018, section 6 and figure 3c, after Gers and Schmidhuber 2001; (1, 32) there.

    Cost: O(length), vectorised.

    Args:
        k: smallest n, at least 1.
        l: largest n, at least k.
        length: number of symbols, at least 1.
        rng: source of the draws.

    Returns:
        int64 array of shape (length,). Same seed, greater length: the same stream, continued.

    Raises:
        DeclarationError: an argument outside the ranges above.

    Example:
        >>> symbols = anbn(1, 3, 14, np.random.default_rng(0))
        >>> ANBN.decode(symbols)
        'aaa\nbbb\naa\nbb\n'
        >>> xs, ys = next_symbol(symbols)
    """
    k, l = _anbn_range(k, l, "anbn")  # noqa: E741
    length = _integer(length, "anbn", "length", least=1)
    rng = _generator(rng, "anbn")
    # Enough for blocks that are all of the shortest kind; as many as are needed are then used. A block longer than the
    # stream looks the same whatever its n is.
    n = np.minimum(rng.integers(k, l + 1, size=-(-length // (2 * k + 2))), length)
    n = n[: np.searchsorted(np.cumsum(2 * n + 2), length) + 1]
    one = np.ones_like(n)
    runs = np.stack([n, one, n, one], axis=1).ravel()
    return np.repeat(np.tile(ANBN.encode("a\nb\n"), len(n)), runs)[:length]


def anbn_entropy(k: int, l: int) -> float:  # noqa: E741 (the paper's name)
    """Entropy rate of `anbn` in bits per character: log2(l - k + 1) / (k + l + 2).

    A block holds one draw among l - k + 1 and has E[2n + 2] = k + l + 2 characters on average. A model that does not
    see that the two counts agree can reach twice this rate and no less (Tallec and Ollivier 2018, section 6).

    Args:
        k: smallest n, at least 1.
        l: largest n, at least k.

    Returns:
        The least mean loss, base 2, that any model of the text can reach.

    Raises:
        DeclarationError: an argument outside the ranges above.

    Example:
        >>> round(anbn_entropy(1, 32), 2)
        0.14
    """
    k, l = _anbn_range(k, l, "anbn_entropy")  # noqa: E741
    return float(np.log2(l - k + 1)) / (k + l + 2)


_LETTERS = string.ascii_lowercase + string.ascii_uppercase + string.digits


def brackets_alphabet(a: int) -> Alphabet:
    r"""The alphabet of `distant_brackets`: newline 0, ``[`` 1, ``]`` 2, then `a` letters or digits.

    Args:
        a: number of letters, 1 to 62.

    Returns:
        An alphabet of a + 3 characters.

    Raises:
        DeclarationError: `a` is not in that range.

    Example:
        >>> brackets_alphabet(4)
        Alphabet('\n[]abcd')
    """
    return Alphabet("\n[]" + _LETTERS[: _integer(a, "brackets_alphabet", "a", least=1, most=len(_LETTERS))])


def distant_brackets(s: int, k: int, a: int, length: int, rng: np.random.Generator) -> Symbols:
    r"""The text "distant brackets" (s, k, a): what stood between brackets comes back k characters later.

    Repeatedly: write ``[``, s random letters out of `a`, ``]``, k random letters, the first s letters again, a newline.
    Symbols are those of ``brackets_alphabet(a)``. The last line is cut where the length is reached.

    Source: Tallec and Ollivier 2018, section 6 and figure 3b; (1, 5, 10) there.

    Cost: O(length), vectorised.

    Args:
        s: letters to be repeated, at least 1.
        k: letters in between, at least 0.
        a: number of letters to draw from, 1 to 62.
        length: number of symbols, at least 1.
        rng: source of the draws.

    Returns:
        int64 array of shape (length,). Same seed, greater length: the same stream, continued.

    Raises:
        DeclarationError: an argument outside the ranges above.

    Example:
        >>> symbols = distant_brackets(1, 5, 10, 20, np.random.default_rng(0))
        >>> brackets_alphabet(10).decode(symbols)
        '[i]gfcdai\n[a]abigja\n'
    """
    s, k, a = _brackets_sizes(s, k, a, "distant_brackets")
    length = _integer(length, "distant_brackets", "length", least=1)
    rng = _generator(rng, "distant_brackets")
    newline, left, right = 0, 1, 2
    period = 2 * s + k + 3
    lines = np.empty((-(-length // period), period), np.int64)
    letters = rng.integers(0, a, size=(len(lines), s + k)) + 3
    lines[:, 0] = left
    lines[:, 1 : s + 1] = letters[:, :s]
    lines[:, s + 1] = right
    lines[:, s + 2 : s + 2 + k] = letters[:, s:]
    lines[:, s + 2 + k : -1] = letters[:, :s]
    lines[:, -1] = newline
    return lines.ravel()[:length]


def distant_brackets_entropy(s: int, k: int, a: int) -> float:
    """Entropy rate of `distant_brackets` in bits per character: (s + k) log2(a) / (2s + k + 3).

    A line holds s + k free letters among its 2s + k + 3 characters. Without memory for the bracketed letters the rate
    is (2s + k) log2(a) / (2s + k + 3).

    Args:
        s: letters to be repeated, at least 1.
        k: letters in between, at least 0.
        a: number of letters to draw from, 1 to 62.

    Returns:
        The least mean loss, base 2, that any model of the text can reach.

    Raises:
        DeclarationError: an argument outside the ranges above.

    Example:
        >>> round(distant_brackets_entropy(1, 5, 10), 3)
        1.993
    """
    s, k, a = _brackets_sizes(s, k, a, "distant_brackets_entropy")
    return (s + k) * float(np.log2(a)) / (2 * s + k + 3)


def copy_task(
    lag: int, length: int, rng: np.random.Generator, *, symbols: int = 2
) -> tuple[Symbols, np.ma.MaskedArray[tuple[int], np.dtype[np.int64]]]:
    """The streaming copy task: say now what the input was `lag` steps ago.

    Inputs are independent and uniform among `symbols`; y(t) = x(t - lag), and the first `lag` targets are missing.
    The least mean loss is 0; a model that remembers fewer than `lag` steps cannot do better than log2(symbols) bits.

    Source: Tallec and Ollivier 2018, section 5 and figure 1c, train on "a simple copy task" after Hochreiter and
    Schmidhuber 1997 with a lag of 5, without printing the stream; this is its form without episodes, where every step
    asks for one recall.

    Cost: O(length), vectorised.

    Args:
        lag: how many steps back, at least 0.
        length: number of steps, more than `lag`.
        rng: source of the draws.
        symbols: size of the input alphabet, at least 2.

    Returns:
        ``(xs, ys)`` of shape (length,): int64 inputs, and int64 targets as a masked array whose masked rows are the
        missing ones. Under the mask stands -1, so that code which drops the mask meets a symbol out of range. Same
        seed, greater length: the same stream, continued.

    Raises:
        DeclarationError: an argument outside the ranges above.

    Example:
        >>> xs, ys = copy_task(2, 6, np.random.default_rng(0))
        >>> print(xs, ys)
        [1 1 1 0 0 0] [-- -- 1 1 1 0]
    """
    lag = _integer(lag, "copy_task", "lag", least=0)
    length = _integer(length, "copy_task", "length", least=1)
    symbols = _integer(symbols, "copy_task", "symbols", least=2, most=_MOST)
    if length <= lag:
        raise DeclarationError(
            f"copy_task: expected length > lag, got length={length} and lag={lag}: every target would be missing.\n"
            "Mend: ask for a longer stream or a shorter lag."
        )
    xs = _generator(rng, "copy_task").integers(0, symbols, size=length)
    recalled = np.concatenate([np.full(lag, -1), xs[: length - lag]])
    ys: np.ma.MaskedArray[tuple[int], np.dtype[np.int64]] = np.ma.MaskedArray(
        recalled, mask=np.arange(length) < lag, fill_value=-1
    )
    return xs, ys


def entropy(symbols: npt.ArrayLike) -> float:
    """Empirical unigram entropy in bits per symbol: sum of p log2(1/p) over the observed frequencies p.

    The mean loss, base 2, of the best fixed prediction: what a model reaches that knows the frequencies and nothing
    else. On a short stream it underestimates the entropy of the source.

    Cost: O(T log T).

    Args:
        symbols: integers of shape (T,), T >= 1.

    Returns:
        Between 0 and log2 of the number of distinct symbols.

    Raises:
        DataError: no symbol, not integers, missing (masked) entries, or more than one axis.

    Example:
        >>> entropy([0, 1, 0, 2])
        1.5
    """
    array = _symbols(symbols, "entropy")
    if not len(array):
        raise DataError("entropy: expected at least one symbol, got none.\nMend: pass a stream that is not empty.")
    counts = np.unique(array, return_counts=True)[1]
    return float(counts @ np.log2(len(array) / counts)) / len(array)


# Each compressor at its best; 9 | 2**31 is lzma's preset 9 "extreme".
_COMPRESSORS: dict[str, dict[str, int]] = {
    "zlib": {"level": 9},
    "bz2": {"compresslevel": 9},
    "lzma": {"preset": 9 | 2**31},
}


def compressed_bits(text: str, method: str) -> float:
    """Bits per character that a general compressor needs for a text.

    The UTF-8 bytes are compressed at the highest level; the container's header (6 to some 60 bytes) counts. A learner
    that predicts before it learns is an online compressor, so its mean loss so far, base 2, is the number to compare.
    Builds of one compressor may differ slightly. Characters are code points, not bytes.

    Cost: about a second per million characters for "lzma", less for the others.

    Args:
        text: at least one character.
        method: "zlib", "bz2" or "lzma".

    Returns:
        8 x compressed bytes / characters.

    Raises:
        DataError: the text is empty, not a str, or holds lone surrogates, which UTF-8 cannot express.
        UnknownNameError: another method.

    Example:
        >>> compressed_bits("ab" * 5000, "zlib") < 0.1
        True
    """
    if method not in tuple(_COMPRESSORS):
        raise UnknownNameError(
            f"compressed_bits: expected a method among {', '.join(_COMPRESSORS)}, got {method!r}. "
            + did_you_mean(str(method), _COMPRESSORS)
        )
    try:
        data = _text(text, "compressed_bits").encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"compressed_bits: expected text that UTF-8 can express, got {_name(text[error.start])} at position "
            f"{error.start}.\nMend: remove the lone surrogates, e.g. text.encode(errors='replace').decode()."
        ) from error
    # Imported here because some builds of Python lack bz2 or lzma, and no other use of fwdgrad needs them.
    compressor: Any = importlib.import_module(method)
    return 8 * len(compressor.compress(data, **_COMPRESSORS[method])) / len(text)


def references(text: str) -> dict[str, float]:
    """Reference lines for a learning curve on a text, in bits per character.

    Ollivier, Tallec and Charpiat 2015 (figure 1) compare with gzip, the algorithm of "zlib", in the same way.

    Cost: that of the compressors; see `compressed_bits`.

    Args:
        text: at least one character.

    Returns:
        "unigram entropy" (`entropy`), "zlib", "bz2" and "lzma" (`compressed_bits`).

    Raises:
        DataError: the text is empty, not a str, or holds lone surrogates.

    Example:
        >>> for name, bits in references("ab" * 5000).items():
        ...     print(name, round(bits, 1))
        unigram entropy 1.0
        zlib 0.0
        bz2 0.0
        lzma 0.1
    """
    unigram = entropy(_code_points(_text(text, "references")))
    return {"unigram entropy": unigram} | {method: compressed_bits(text, method) for method in _COMPRESSORS}


_MOST = 2**62
"""Upper bound where a range of int64 is drawn from."""


def _anbn_range(k: object, l: object, who: str) -> tuple[int, int]:  # noqa: E741
    low, high = _integer(k, who, "k", least=1), _integer(l, who, "l", least=1, most=_MOST)
    if low > high:
        raise DeclarationError(
            f"{who}: expected k <= l (n is drawn in k .. l), got k={low} and l={high}.\nMend: exchange them."
        )
    return low, high


def _brackets_sizes(s: object, k: object, a: object, who: str) -> tuple[int, int, int]:
    a = _integer(a, who, "a", least=1, most=len(_LETTERS))
    return _integer(s, who, "s", least=1), _integer(k, who, "k", least=0), a


def _integer(value: Any, who: str, name: str, *, least: int, most: int | None = None) -> int:
    wanted = f"an integer of at least {least}" if most is None else f"an integer in {least} .. {most}"
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None or number < least or (most is not None and number > most):
        raise DeclarationError(
            f"{who}: expected {name} to be {wanted}, got {_shorten(repr(value))}.\n"
            f"Mend: choose an integer with {least} <= {name}{'' if most is None else f' <= {most}'}."
        )
    return number


def _generator(rng: object, who: str) -> np.random.Generator:
    if isinstance(rng, np.random.Generator):
        return rng
    seed = rng if isinstance(rng, int) and not isinstance(rng, bool) and rng >= 0 else "seed"
    raise DeclarationError(
        f"{who}: expected rng to be a numpy.random.Generator, got {_shorten(repr(rng))}.\n"
        f"Mend: pass np.random.default_rng({seed})."
    )


def _text(text: object, who: str, *, least: int = 1) -> str:
    if not isinstance(text, str):
        mend = "decode the bytes: data.decode('utf-8')" if isinstance(text, bytes) else "pass the text itself"
        raise DataError(f"{who}: expected a text (str), got {type(text).__name__}.\nMend: {mend}.")
    if len(text) < least:
        raise DataError(
            f"{who}: expected a text of at least {least} character{'s' * (least > 1)}, got {len(text)}.\n"
            "Mend: pass a longer text."
        )
    return text


def _symbols(symbols: npt.ArrayLike, who: str, *, scalar: bool = False) -> Symbols:
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


def _code_points(text: str) -> npt.NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")


def _name(character: str) -> str:
    return f"{character!r} (U+{ord(character):04X})"


def _shorten(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."
