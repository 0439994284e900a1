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

from fwdgrad.streams.context_trees import context_tree_bits
from fwdgrad.streams.reference import compressed_bits, entropy, references
from fwdgrad.streams.synthetic import (
    ANBN,
    anbn,
    anbn_entropy,
    brackets_alphabet,
    copy_task,
    distant_brackets,
    distant_brackets_entropy,
)
from fwdgrad.streams.text import Alphabet, next_symbol, python_text, read_text, text_stream

__all__ = [
    "ANBN",
    "Alphabet",
    "anbn",
    "anbn_entropy",
    "brackets_alphabet",
    "compressed_bits",
    "context_tree_bits",
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
