"""Machine code on disk, so that what was compiled once is loaded by every later process.

The name of a file is a hash of everything that its machine code depends on; a digest of what is in it is looked at
before it is used. It is written beside its place and moved there, so that processes that write the same file at once do
not disturb each other, and one that is killed leaves nothing that is taken for machine code. What is there is used,
also where nothing can be written; what is not there, and cannot be written, is compiled in memory.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import tempfile
import time
from functools import cache
from pathlib import Path

import numpy as np
import scipy

from fwdgrad._version import __version__
from fwdgrad.engines.compiled_engine import machine
from fwdgrad.engines.compiled_engine.entering import DATA
from fwdgrad.engines.compiled_engine.translating import translated
from fwdgrad.engines.known import machine_code_file

__all__ = ["key_of", "load"]

_MADE_BY = (
    *("entering", "functions", "instructions", "known_functions", "machine", "parameters", "products", "runtime"),
    "translating",
)
"""The modules that turn source into machine code."""


def load(text: str) -> tuple[machine.Linked, float]:
    """The functions that a source becomes, and how many seconds it took to compile (0 from the cache)."""
    key = key_of(text)
    start = time.perf_counter()
    found = _read(key)
    if found is not None:
        return machine.linked(*found), 0.0
    made = translated(text)
    code = machine.machine_code(made.text)
    functions = machine.linked(code, made.names)
    with contextlib.suppress(OSError):
        _write(key, code, made.names)
    return functions, time.perf_counter() - start


def key_of(text: str) -> str:
    """The name of machine code: a hash of everything that it depends on."""
    versions = (__version__, np.__version__, scipy.__version__, platform.python_version(), str(DATA))
    parts = (text, _makers(), *versions, *machine.processor())
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


@cache
def _makers() -> str:
    return "".join(Path(__file__).with_name(f"{name}.py").read_text("utf-8") for name in _MADE_BY)


def _read(key: str) -> tuple[bytes, list[str]] | None:
    """Machine code, and the functions of others that it calls; None if there is none, or it is damaged."""
    with contextlib.suppress(OSError):
        digest, _, rest = machine_code_file(key).read_bytes().partition(b"\n")
        if digest == _digest(key, rest):
            names, _, code = rest.partition(b"\n")
            return code, names.decode().split()
    return None


def _write(key: str, code: bytes, names: tuple[str, ...]) -> None:
    place = machine_code_file(key)
    place.parent.mkdir(parents=True, exist_ok=True)
    rest = " ".join(names).encode() + b"\n" + code
    handle, name = tempfile.mkstemp(dir=place.parent, suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(_digest(key, rest) + b"\n" + rest)
        os.replace(name, place)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


def _digest(key: str, rest: bytes) -> bytes:
    return hashlib.sha256(key.encode() + rest).hexdigest().encode()
