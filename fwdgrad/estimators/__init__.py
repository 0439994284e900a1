"""Gradient estimators as points of one table, influence × window × rank, under the names they have in the field.

Each file holds those of a kind: how they are made, what they cost on a system, and what they are called. To add one,
write its function and its `Named` entry in such a file.
"""

from __future__ import annotations

from dataclasses import replace

from fwdgrad.errors import DeclarationError, nearly
from fwdgrad.estimators import backward, debiased, exact, factored, forward_gradient, rank_one
from fwdgrad.estimators.backward import ARTBP, BPTT, TBPTT, Hybrid
from fwdgrad.estimators.base import Estimator
from fwdgrad.estimators.costs import Candidate, Costs, size_of
from fwdgrad.estimators.debiased import Debiased, Decayed
from fwdgrad.estimators.exact import RTRL, SnAp, SparseRTRL
from fwdgrad.estimators.factored import KFRTRL, OK, TensorNoBackTrack
from fwdgrad.estimators.forward_gradient import ForwardGradient
from fwdgrad.estimators.named import Named
from fwdgrad.estimators.rank_one import UORO, NoBackTrack

__all__ = [
    "ARTBP",
    "BPTT",
    "KFRTRL",
    "NAMED",
    "OK",
    "RTRL",
    "TBPTT",
    "UORO",
    "Candidate",
    "Costs",
    "Debiased",
    "Decayed",
    "Estimator",
    "ForwardGradient",
    "Hybrid",
    "Named",
    "NoBackTrack",
    "SnAp",
    "SparseRTRL",
    "TensorNoBackTrack",
    "estimator_named",
    "size_of",
]

_FILES = (exact, debiased, rank_one, factored, forward_gradient, backward)
NAMED: dict[str, Named] = {entry.name: entry for file in _FILES for entry in file.NAMES}
"""All estimators that can be asked for by name: exact ones first, then random ones, then those of windows."""


def estimator_named(text: str, rank: int = 1) -> Estimator:
    """An estimator from text: "uoro", "rtrl", "bptt", "hybrid", "snap:2", "tbptt:16" (a window of 16), "artbp:0.1".

    "snap:1+nobacktrack" is "debiased:snap:1", an approximation made unbiased. Likewise "kfrtrl:uoro" and
    "tensornobacktrack:rtrl" (how other leaves are kept), and "forward-gradient:signs".

    Raises:
        DeclarationError: no estimator has that name, or its number is missing, or not a number, or not allowed.
    """
    name, colon, given = text.lower().partition(":")
    if given.endswith("+nobacktrack"):
        name, given = "debiased", text.lower()
    if name not in NAMED:
        raise DeclarationError(
            f"estimator {text!r} is not known. Choose one of {', '.join(NAMED)}, or tbptt:16." + nearly(name, NAMED)
        )
    entry = NAMED[name]
    if entry.needed and not given:
        raise DeclarationError(f"estimator {name!r} needs {entry.needed}.")
    try:
        options = [entry.read(given)] if colon and entry.argument else []
        if colon and not entry.argument:
            raise ValueError
    except ValueError:
        raise DeclarationError(
            f"estimator {text!r}: expected {name}{' and a number' * bool(entry.argument)}."
        ) from None
    made = entry.make(*options)
    return made if rank == 1 else replace(made, rank=rank)
