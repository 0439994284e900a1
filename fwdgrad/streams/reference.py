"""What a learning curve is compared with: the entropy of single symbols, and compressors."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import numpy.typing as npt

from fwdgrad.errors import DataError, UnknownNameError, did_you_mean
from fwdgrad.streams.checks import code_points, name_of, symbols_arg, text_arg

__all__ = ["compressed_bits", "entropy", "references"]


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
    array = symbols_arg(symbols, "entropy")
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
        data = text_arg(text, "compressed_bits").encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"compressed_bits: expected text that UTF-8 can express, got {name_of(text[error.start])} at position "
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
    unigram = entropy(code_points(text_arg(text, "references")))
    return {"unigram entropy": unigram} | {method: compressed_bits(text, method) for method in _COMPRESSORS}
