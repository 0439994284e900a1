"""Context-tree weighting: an online compressor that mixes all trees of contexts."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from fwdgrad.errors import DataError
from fwdgrad.streams.checks import integer_arg, symbols_arg

__all__ = ["context_tree_bits"]


def context_tree_bits(symbols: npt.ArrayLike, depth: int = 6, size: int | None = None) -> npt.NDArray[np.float64]:
    r"""What each symbol costs by context-tree weighting, in bits: a reference for learning curves.

    A symbol is predicted from those before it by all trees of contexts of at most `depth` symbols together: in a node s
    of the full tree with the counts a and b of zeros and ones

        P_w(s) = ½ P_e(s) + ½ Π_c P_w(c s)   above the greatest depth,   P_w(s) = P_e(s)   in it,

    where P_e, the estimator of Krichevsky and Trofimov, gives a one the probability (b + ½)/(a + b + 1). Every binary
    digit of a symbol, given those before it, has a tree of its own. Nothing is known before the first symbol; contexts
    that reach back further hold a symbol of their own.

    Sources: Willems, Shtarkov and Tjalkens, "The context-tree weighting method: basic properties", 1995; digits by
    digits as in Volf, "Weighting techniques in data compression", 2002. Ollivier, Tallec and Charpiat 2015 have it in
    their figure 1.

    Cost: O(T · depth · log size) in plain Python, about 60 µs a symbol of a text; memory likewise, some 100 bytes for
    each context that occurs.

    Args:
        symbols: integers of shape (T,), at least 0.
        depth: symbols of a context, at most.
        size: of the alphabet; one more than the largest symbol unless given.

    Returns:
        Bits for each symbol, shape (T,); ``np.cumsum(bits) / np.arange(1, T + 1)`` is the cumulated loss of the paper.

    Raises:
        DataError: no symbol, not integers, a negative one or one that is too large, or more than one axis.
        DeclarationError: `depth` is not an integer of at least 0, or `size` of at least 1.

    Example:
        >>> import numpy as np
        >>> from fwdgrad.streams import context_tree_bits
        >>> bits = context_tree_bits([0, 1, 2, 1] * 100)
        >>> print(bits[:100].mean().round(2), bits[300:].mean().round(2))
        0.32 0.02
    """
    array = symbols_arg(symbols, "context_tree_bits")
    depth = integer_arg(depth, "context_tree_bits", "depth", least=0)
    if not len(array) or array.min() < 0:
        raise DataError("context_tree_bits: expected symbols, integers of at least 0, and one of them or more.")
    size = int(array.max()) + 1 if size is None else integer_arg(size, "context_tree_bits", "size", least=1)
    if array.max() >= size:
        raise DataError(f"context_tree_bits: expected symbols below size={size}, got {array.max()}.")
    digits = max(1, (size - 1).bit_length())
    trees: list[dict[int, list[float]]] = [{} for _ in range(depth + 1)]
    made = np.empty(len(array))
    past = [size] * depth  # the newest first
    for t, symbol in enumerate(array.tolist()):
        contexts = [0]
        for earlier in past:
            contexts.append(contexts[-1] * (size + 1) + earlier)
        cost, node = 0.0, 1
        for place in range(digits - 1, -1, -1):
            bit = symbol >> place & 1
            cost -= math.log2(_coded(trees, [(context << digits) + node for context in contexts], bit))
            node = 2 * node + bit
        made[t] = cost
        if depth:
            past = [symbol, *past[:-1]]
    return made


def _coded(trees: list[dict[int, list[float]]], keys: list[int], bit: int) -> float:
    """The probability of a digit in its contexts, from the shortest to the longest, which are then told of it.

    A node holds a + ½, b + ½ and the logarithm of η = P_e(s) / Π P_w(c s). The digit has the probability
    (η p + q)/(η + 1) there, where p is the node's own and q that of the context which is longer by one.
    """
    below = -1.0
    for tree, key in zip(reversed(trees), reversed(keys), strict=True):
        node = tree.get(key)
        if node is None:
            node = tree[key] = [0.5, 0.5, 0.0]
        own = node[bit] / (node[0] + node[1])
        node[bit] += 1.0
        if below < 0.0:
            below = own
            continue
        ratio = node[2]
        node[2] = ratio + math.log(own / below)
        weight = 1.0 / (1.0 + math.exp(-ratio)) if ratio > -700.0 else 0.0
        below = weight * own + (1.0 - weight) * below
    return below
