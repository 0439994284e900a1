"""Context-tree weighting against its definition: the mixture over all trees, written out."""

import itertools
import math

import numpy as np
import pytest

from fwdgrad import streams
from fwdgrad.errors import DataError, DeclarationError

ROOT = ()


def estimator(digits):
    """P_e of a row of zeros and ones, from its formula."""
    p, counts = 1.0, [0, 0]
    for digit in digits:
        p *= (counts[digit] + 0.5) / (sum(counts) + 1)
        counts[digit] += 1
    return p


def trees(size, depth, node=ROOT):
    """Every tree below a node, as its leaves, with its weight."""
    if len(node) == depth:
        return [([node], 1.0)]
    made = [([node], 0.5)]
    children = [trees(size, depth, (*node, earlier)) for earlier in range(size + 1)]
    for chosen in itertools.product(*children):
        made.append(
            ([leaf for leaves, _ in chosen for leaf in leaves], 0.5 * math.prod(weight for _, weight in chosen))
        )
    return made


def mixture(symbols, size, depth):
    """Bits of a whole text: each digit, given the ones before it in its symbol, by the mixture of all trees."""
    digits, bits = max(1, (size - 1).bit_length()), 0.0
    text = [f"{symbol:0{digits}b}" for symbol in symbols]
    for place in range(digits):
        for begin in map("".join, itertools.product("01", repeat=place)):
            said = [(t, int(word[place])) for t, word in enumerate(text) if word.startswith(begin)]
            total = 0.0
            for leaves, weight in trees(size, depth):
                of = {leaf: [] for leaf in leaves}
                for t, digit in said:
                    past = tuple(symbols[t - d] if t >= d else size for d in range(1, depth + 1))
                    of[next(leaf for leaf in leaves if past[: len(leaf)] == leaf)].append(digit)
                total += weight * math.prod(map(estimator, of.values()))
            bits -= math.log2(total)
    return bits


@pytest.mark.parametrize(("size", "depth"), [(2, 0), (2, 1), (2, 2), (3, 1), (4, 1)])
def test_the_mixture_of_all_trees_is_what_is_computed(size, depth):
    symbols = np.random.default_rng(size + depth).integers(size, size=30).tolist()
    found = streams.context_tree_bits(symbols, depth, size).sum()
    assert found == pytest.approx(mixture(symbols, size, depth), abs=1e-9)
    assert found != pytest.approx(
        mixture(symbols, size, depth + 1 if depth < 1 else depth - 1), abs=1e-3
    )  # the control


def test_a_chain_is_compressed_to_its_entropy():
    """Stay with probability 0.9: H = 0.469 bits; and half a bit of log T for each of the two parameters."""
    rng = np.random.default_rng(0)
    symbols = np.cumsum(rng.random(4000) < 0.1) % 2
    found = streams.context_tree_bits(symbols, 4).mean()
    entropy = -(0.9 * np.log2(0.9) + 0.1 * np.log2(0.1))
    assert abs(found - entropy) < 0.02 + np.log2(4000) / 4000
    assert streams.context_tree_bits(symbols, 0).mean() > 0.98


def test_a_longer_text_begins_with_the_bits_of_the_shorter_one():
    symbols = np.random.default_rng(1).integers(5, size=60)
    whole = streams.context_tree_bits(symbols, 3, 5)
    np.testing.assert_array_equal(streams.context_tree_bits(symbols[:20], 3, 5), whole[:20])


def test_long_repetition_neither_overflows_nor_costs_anything():
    bits = streams.context_tree_bits([0, 1] * 6000, 2)
    assert np.isfinite(bits).all()
    assert bits[-1000:].max() < 1e-3


@pytest.mark.parametrize(
    ("symbols", "options", "error"),
    [
        ([], {}, DataError),
        ([-1], {}, DataError),
        ([0.5], {}, DataError),
        ([0, 3], {"size": 3}, DataError),
        ([0], {"depth": -1}, DeclarationError),
        ([0], {"size": 0}, DeclarationError),
    ],
)
def test_what_makes_no_sense_is_refused(symbols, options, error):
    with pytest.raises(error, match="context_tree_bits"):
        streams.context_tree_bits(symbols, **options)
