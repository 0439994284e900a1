"""Checking the arguments that many functions have: counts, seeds, numbers of jobs."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from fwdgrad.errors import DeclarationError, UnknownArgumentError, did_you_mean, nearly

__all__ = ["entropy_of", "integer", "jobs", "suggests"]

Made = TypeVar("Made", bound=Callable[..., Any])


def suggests(made: Made, *, beyond: Callable[..., Any] | None = None) -> Made:
    """A function, or a class, that refuses an argument that it has not by the name that may be meant.

    Args:
        made: it; if it takes others too, `**options`, only those that resemble one that there is are refused.
        beyond: what the others are handed on to.

    Example:
        >>> @suggests
        ... def drawn(rank=1, seed=0):
        ...     return rank
        >>> drawn(rnk=2)
        Traceback (most recent call last):
        ...
        fwdgrad.errors.UnknownArgumentError: drawn: there is no argument 'rnk'. Did you mean 'rank'?
    """
    function: Any = made.__init__ if isinstance(made, type) else made  # type: ignore[misc]
    parameters = inspect.signature(made).parameters
    more = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    known = [name for name, parameter in parameters.items() if parameter.kind is not parameter.VAR_KEYWORD]
    known += [] if beyond is None else inspect.signature(beyond).parameters.keys() - {*known}

    @functools.wraps(function)
    def called(*args: Any, **options: Any) -> Any:
        for name in options:
            if name not in known and (not more or nearly(name, known)):
                raise UnknownArgumentError(
                    f"{made.__name__}: there is no argument {name!r}. {did_you_mean(name, known)}"
                )
        return function(*args, **options)

    if not isinstance(made, type):
        return called  # type: ignore[return-value]
    made.__init__ = called  # type: ignore[misc]
    return made


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
