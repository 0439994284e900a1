"""What users may say for an engine.

Beside the names of engines two words name no engine: "auto", which leaves the choice to fwdgrad, and "eager",
which asks for another model of the system, functions that are called as they are and differentiated at every step.
"""

from __future__ import annotations

from collections.abc import Sequence

from fwdgrad.engines.registry import REGISTERED
from fwdgrad.errors import DeclarationError, nearly

__all__ = ["AUTO", "EAGER", "ENGINES", "TRACED", "current_name", "engine_named"]

AUTO, EAGER = "auto", "eager"

TRACED = (AUTO, *REGISTERED)
"""What may be said where functions have to be traced."""

ENGINES = (*TRACED, EAGER)
"""What may be said everywhere else."""

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
