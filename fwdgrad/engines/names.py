"""The engines' names."""

from __future__ import annotations

from collections.abc import Sequence

from fwdgrad.errors import DeclarationError, nearly

__all__ = ["ENGINES", "current_name", "engine_named"]

ENGINES = ("auto", "numpy", "compiled", "eager")

_FORMER = {"numba": "compiled"}
"""What engines were called before; the compiled one while numba compiled it."""


def current_name(name: str) -> str:
    """An engine's name, where a former one is given."""
    return _FORMER.get(name, name)


def engine_named(name: str, among: Sequence[str] = ENGINES) -> str:
    """An engine's name, of those that there are.

    Raises:
        DeclarationError: there is no such engine.
    """
    current = current_name(name)
    if current not in among:
        raise DeclarationError(f"engine={name!r}: expected one of {', '.join(among)}.{nearly(name, among)}")
    return current
