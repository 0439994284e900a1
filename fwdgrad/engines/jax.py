"""The JAX engine as an object. JAX itself is loaded when it is first used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fwdgrad.engines.base import Engine, Stream
from fwdgrad.program import Program

__all__ = ["JaxEngine"]


class JaxEngine(Engine):
    """A program written out as calls of jax.numpy, for whatever device JAX sees (`fwdgrad.engines.jax_engine`)."""

    name = "jax"
    needs = "jax"
    streams = True
    compiles = True
    longest = 5000
    starting = 0.3
    each = 3e-3

    def compile(self, program: Program) -> Callable[..., tuple[Any, ...]]:
        """A function that XLA has compiled."""
        from fwdgrad.engines.jax_engine.stream import compile_program

        return compile_program(program)

    def source(self, program: Program, carried: int | None = None) -> str:
        """The calls, as Python."""
        from fwdgrad.engines.jax_engine.writing import write

        return write(program, carried).text

    def stream(self, program: Program, carried: int) -> Stream:
        """Steps in a loop of XLA's."""
        from fwdgrad.engines.jax_engine.stream import Stream as Scan

        return Scan(program, carried)

    def held(self, leaf: Any) -> Any:
        """An array that stays on the device."""
        from fwdgrad.engines.jax_engine.stream import OnDevice

        return OnDevice(leaf)
