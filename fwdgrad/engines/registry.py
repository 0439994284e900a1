"""The engines that there are, and what is done where one of them cannot run a program."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TypeVar

from fwdgrad.engines.base import Engine
from fwdgrad.engines.compiled import CompiledEngine
from fwdgrad.engines.jax import JaxEngine
from fwdgrad.engines.numpy_engine import NumPyEngine
from fwdgrad.errors import UnsupportedOperationError

__all__ = ["FAST", "NUMPY", "REGISTERED", "usable"]

Made = TypeVar("Made")

NUMPY: Engine = NumPyEngine()
"""What runs everything that can be traced."""

FAST: Engine = CompiledEngine()
"""What "auto" goes on with as soon as that pays."""

REGISTERED: dict[str, Engine] = {engine.name: engine for engine in (NUMPY, FAST, JaxEngine())}
"""Every engine, by name."""


def usable(engine: Engine, make: Callable[[Engine], Made], what: str, stacklevel: int = 2) -> tuple[Engine, Made]:
    """An engine and what it makes; with a warning that says why, the NumPy engine's where the first one cannot.

    Args:
        engine: the engine that is asked for.
        make: what is wanted of it.
        what: what it is to run, in words.
        stacklevel: where the warning points at, as seen from the caller.

    Raises:
        DeclarationError: what the engine needs is not installed.
    """
    engine.require()
    try:
        return engine, make(engine)
    except UnsupportedOperationError as error:
        warnings.warn(
            f"engine={engine.name!r} cannot run {what}: {error}\nIt runs on the NumPy engine instead.",
            stacklevel=stacklevel + 1,
        )
    return NUMPY, make(NUMPY)
