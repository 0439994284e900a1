"""The compiled engine as an object. The compiler itself is loaded when it is first used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fwdgrad.engines import known
from fwdgrad.engines.base import Engine, Stream
from fwdgrad.errors import UnsupportedOperationError
from fwdgrad.program import Program
from fwdgrad.program.costs import length

__all__ = ["CompiledEngine"]

LONGEST = 5000
"""Operations of a step that are compiled; more would take too long, or too many levels of recursion."""

STARTING, EACH = 0.15, 6e-4
"""Seconds that compiling the shortest program takes, and each operation of a longer one, about."""


class CompiledEngine(Engine):
    """A program written out as loops, which LLVM compiles (`fwdgrad.engines.compiled_engine`)."""

    name = "compiled"
    needs = "llvmlite"
    streams = True
    compiles = True
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

    def check(self, program: Program, carried: int | None = None) -> None:
        """See whether there is a loop for each operation, and not too many of them."""
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

    def is_known(self, program: Program, carried: int | None) -> bool:
        """Whether its machine code lies on disk."""
        return known.is_known(program, carried)
