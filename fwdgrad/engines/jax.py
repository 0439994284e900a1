"""The JAX engine as an object. JAX itself is loaded when it is first used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fwdgrad.engines.base import Engine, Stream
from fwdgrad.errors import UnsupportedOperationError
from fwdgrad.program import Program
from fwdgrad.program.costs import length

__all__ = ["JaxEngine"]

LONGEST = 5000
"""Operations of a step that are compiled; more would take too long."""

STARTING, EACH = 0.3, 3e-3
"""Seconds that compiling the shortest program takes, and each operation of a longer one, about."""


class JaxEngine(Engine):
    """A program written out as calls of jax.numpy, for whatever device JAX sees (`fwdgrad.engines.jax_engine`)."""

    name = "jax"
    needs = "jax"
    streams = True
    compiles = True

    def compile(self, program: Program) -> Callable[..., tuple[Any, ...]]:
        """A function that XLA has compiled."""
        from fwdgrad.engines.jax_engine.stream import compile_program

        return compile_program(program)

    def source(self, program: Program, carried: int | None = None) -> str:
        """The calls, as Python."""
        from fwdgrad.engines.jax_engine.writing import write

        return write(program, carried).text

    def stream(self, program: Program, carried: int) -> Stream:
        """Steps in `lax.scan`."""
        from fwdgrad.engines.jax_engine.stream import Stream as Scan

        return Scan(program, carried)

    def held(self, leaf: Any) -> Any:
        """An array that stays on the device."""
        from fwdgrad.engines.jax_engine.stream import OnDevice

        return OnDevice(leaf)

    def check(self, program: Program, carried: int | None = None) -> None:
        """See whether JAX has each operation, and there are not too many of them."""
        count = length(program)
        if count > LONGEST:
            raise UnsupportedOperationError(
                f"it has {count} operations, more than {LONGEST}: compiling them takes too long.\n"
                "Arrays instead of single numbers make it shorter."
            )
        super().check(program, carried)

    def seconds(self, program: Program) -> float:
        """What compiling it takes, about."""
        return STARTING + EACH * length(program)
