"""Checking the arguments that many functions have: counts, seeds, numbers of jobs."""

from __future__ import annotations

from typing import Any

import numpy as np

from fwdgrad.errors import DeclarationError

__all__ = ["entropy_of", "integer", "jobs"]


def integer(who: str, name: str, value: Any, least: int) -> int:
    """An integer of at least so much.

    Raises:
        DeclarationError: it is something else.
    """
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise DeclarationError(f"{who}({name}=…): expected an integer of at least {least}, got {value!r}.")
    return int(value)


def jobs(who: str, value: Any) -> int:
    """How many at a time, or −1 for one on every core.

    Raises:
        DeclarationError: it is neither.
    """
    if value == -1:
        return -1
    return integer(who, "n_jobs", value, 1)


def entropy_of(who: str, seed: Any) -> int:
    """What seeds are spawned from: an integer, or one drawn from a generator.

    Raises:
        DeclarationError: it is neither.
    """
    return int(seed.integers(2**63)) if isinstance(seed, np.random.Generator) else integer(who, "seed", seed, 0)
