"""The compiled engine as an object. The compiler itself is loaded when it is first used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fwdgrad.engines import known
from fwdgrad.engines.base import Engine, Stream
from fwdgrad.program import Program

__all__ = ["CompiledEngine"]


class CompiledEngine(Engine):
    """A program written out as loops, which LLVM compiles (`fwdgrad.engines.compiled_engine`)."""

    name = "compiled"
    needs = "llvmlite"
    streams = True
    compiles = True
    longest = 5000
    starting = 0.15
    each = 6e-4
    loading = 0.2

    def compile(self, program: Program) -> Callable[..., tuple[Any, ...]]:
        """A function that LLVM has compiled."""
        from fwdgrad.engines.compiled_engine import compile_program

        return compile_program(program)

    def source(self, program: Program, carried: int | None = None) -> str:
        """The loops, as Python."""
        from fwdgrad.engines.compiled_engine import source

        return source(program, carried)

    def stream(self, program: Program, carried: int) -> Stream:
        """A loop over steps that LLVM has compiled."""
        from fwdgrad.engines.compiled_engine import compile_stream

        return compile_stream(program, carried)

    def held(self, leaf: Any) -> Any:
        """A copy whose memory begins where a cache line does."""
        from fwdgrad.engines.compiled_engine import aligned

        return aligned(leaf)

    def is_known(self, program: Program, carried: int | None) -> bool:
        """Whether its machine code lies on disk."""
        return known.is_known(program, carried)
