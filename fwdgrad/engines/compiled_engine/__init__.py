"""The compiled engine: a program written out as loops, compiled by LLVM.

`building` turns a program's instructions into nodes, `planning` decides which of them share loops and which are kept in
memory, `blocks` writes the loops as source, `writing` the module, `translating` puts the source into LLVM's language,
`machine` makes machine code of it, and `modules` keeps that on disk.
"""

from fwdgrad.engines.compiled_engine.calling import compile_program, source
from fwdgrad.engines.compiled_engine.stream import Stream, aligned, compile_stream
from fwdgrad.engines.compiled_engine.unsupported import UnsupportedOperation

__all__ = ["Stream", "UnsupportedOperation", "aligned", "compile_program", "compile_stream", "source"]
