"""The synthetic streams of the papers, with their exact entropy rates."""

from __future__ import annotations

import string

import numpy as np

from fwdgrad.errors import DeclarationError
from fwdgrad.streams.checks import Symbols, generator_arg, integer_arg
from fwdgrad.streams.text import Alphabet

__all__ = [
    "ANBN",
    "anbn",
    "anbn_entropy",
    "brackets_alphabet",
    "copy_task",
    "distant_brackets",
    "distant_brackets_entropy",
]

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
        >>> from fwdgrad.streams import next_symbol
        >>> xs, ys = next_symbol(symbols)
    """
    k, l = _anbn_range(k, l, "anbn")  # noqa: E741
    length = integer_arg(length, "anbn", "length", least=1)
    rng = generator_arg(rng, "anbn")
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
    return Alphabet("\n[]" + _LETTERS[: integer_arg(a, "brackets_alphabet", "a", least=1, most=len(_LETTERS))])


def distant_brackets(s: int, k: int, a: int, length: int, rng: np.random.Generator) -> Symbols:
    r"""The text "distant brackets" (s, k, a): what stood between brackets comes back k characters later.

    Repeatedly: write ``[``, s random letters out of `a`, ``]``, k random letters, ``[``, the first s letters again,
    ``]``, a newline. Symbols are those of ``brackets_alphabet(a)``. The last line is cut where the length is reached.

    Source: Tallec and Ollivier 2018, section 6 and the sample in figure 3b; (1, 5, 10) there.

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
        >>> symbols = distant_brackets(1, 5, 10, 24, np.random.default_rng(0))
        >>> brackets_alphabet(10).decode(symbols)
        '[i]gfcda[i]\n[a]abigj[a]\n'
    """
    s, k, a = _brackets_sizes(s, k, a, "distant_brackets")
    length = integer_arg(length, "distant_brackets", "length", least=1)
    rng = generator_arg(rng, "distant_brackets")
    newline, left, right = 0, 1, 2
    period = _brackets_period(s, k)
    lines = np.empty((-(-length // period), period), np.int64)
    letters = rng.integers(0, a, size=(len(lines), s + k)) + 3
    again = s + 2 + k
    for start in (0, again):
        lines[:, start] = left
        lines[:, start + 1 : start + 1 + s] = letters[:, :s]
        lines[:, start + 1 + s] = right
    lines[:, s + 2 : again] = letters[:, s:]
    lines[:, -1] = newline
    return lines.ravel()[:length]


def distant_brackets_entropy(s: int, k: int, a: int) -> float:
    """Entropy rate of `distant_brackets` in bits per character: (s + k) log2(a) / (2s + k + 5).

    A line holds s + k free letters among its 2s + k + 5 characters; brackets, newline and the repeated letters follow
    from what came before. Without memory for the bracketed letters the rate is (2s + k) log2(a) / (2s + k + 5).

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
        1.661
    """
    s, k, a = _brackets_sizes(s, k, a, "distant_brackets_entropy")
    return (s + k) * float(np.log2(a)) / _brackets_period(s, k)


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
    lag = integer_arg(lag, "copy_task", "lag", least=0)
    length = integer_arg(length, "copy_task", "length", least=1)
    symbols = integer_arg(symbols, "copy_task", "symbols", least=2, most=_MOST)
    if length <= lag:
        raise DeclarationError(
            f"copy_task: expected length > lag, got length={length} and lag={lag}: every target would be missing.\n"
            "Mend: ask for a longer stream or a shorter lag."
        )
    xs = generator_arg(rng, "copy_task").integers(0, symbols, size=length)
    recalled = np.concatenate([np.full(lag, -1), xs[: length - lag]])
    ys: np.ma.MaskedArray[tuple[int], np.dtype[np.int64]] = np.ma.MaskedArray(
        recalled, mask=np.arange(length) < lag, fill_value=-1
    )
    return xs, ys


_MOST = 2**62
"""Upper bound where a range of int64 is drawn from."""


def _anbn_range(k: object, l: object, who: str) -> tuple[int, int]:  # noqa: E741
    low, high = integer_arg(k, who, "k", least=1), integer_arg(l, who, "l", least=1, most=_MOST)
    if low > high:
        raise DeclarationError(
            f"{who}: expected k <= l (n is drawn in k .. l), got k={low} and l={high}.\nMend: exchange them."
        )
    return low, high


def _brackets_period(s: int, k: int) -> int:
    """Characters of a line: s letters twice, k between, two pairs of brackets, a newline."""
    return 2 * s + k + 5


def _brackets_sizes(s: object, k: object, a: object, who: str) -> tuple[int, int, int]:
    a = integer_arg(a, who, "a", least=1, most=len(_LETTERS))
    return integer_arg(s, who, "s", least=1), integer_arg(k, who, "k", least=0), a
