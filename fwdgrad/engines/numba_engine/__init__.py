"""The compiled engine: a program written out as loops, compiled by numba.

`building` turns a program's instructions into nodes, `planning` decides which of them share loops and which are kept in
memory, `blocks` writes the loops, `writing` the module, and `modules` keeps what was compiled on disk.
"""

from fwdgrad.engines.numba_engine.stream import Stream, aligned, compile_program, compile_stream, source
from fwdgrad.engines.numba_engine.unsupported import UnsupportedOperation

__all__ = ["Stream", "UnsupportedOperation", "aligned", "compile_program", "compile_stream", "source"]
