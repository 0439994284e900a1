"""Generated modules on disk, so that what was compiled once is loaded by every later process.

The name of a file is a hash of everything that its machine code depends on. It is written beside its place and moved
there, so that processes that write the same file at once do not disturb each other. What is there is used, also where
nothing can be written; what is not there, and cannot be written, is compiled in memory.
"""

from __future__ import annotations

import contextlib
import hashlib
import linecache
import os
import platform
import sys
import tempfile
import time
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numba
import numpy as np

from fwdgrad._version import __version__
from fwdgrad.engines.known import cache_folder
from fwdgrad.engines.numba_engine.llvm import binding

__all__ = ["cache_folder", "key_of", "load"]

Entry = Any
"""A compiled function of three integers."""

DEEPEST = 20_000
"""Levels of recursion that numba's analysis of a long function may take."""


def load(text: str) -> tuple[Entry, float]:
    """The entry of a module, and how many seconds it took to compile (0 from the cache)."""
    key = key_of(text)
    start = time.perf_counter()
    with _deep():
        try:
            entry = _executed(text, f"fwdgrad_{key}", str(_written(text, key)))
        except Exception:  # an unwritable folder, a damaged file, or numba's own reasons; compiling says what is wrong
            _forget(key)
            entry = _executed(text, f"fwdgrad_{key}_memory", f"<fwdgrad {key}>")
    seconds = time.perf_counter() - start
    (compiled,) = entry.overloads.values()
    # the compiled function itself: the types of its arguments are not looked at in every call
    return compiled.entry_point, 0.0 if sum(entry.stats.cache_hits.values()) else seconds


@contextlib.contextmanager
def _deep() -> Iterator[None]:
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, DEEPEST))
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


def _forget(key: str) -> None:
    """Remove machine code that could not be loaded."""
    with contextlib.suppress(OSError):
        for path in (cache_folder() / "__pycache__").glob(f"{key}.*"):
            path.unlink()


def key_of(text: str) -> str:
    """The name of a module: a hash of everything that its machine code depends on."""
    parts_of_it = ("functions", "runtime", "stored")
    helpers = "".join(Path(__file__).with_name(f"{n}.py").read_text("utf-8") for n in parts_of_it)
    features = binding.get_host_cpu_features().flatten()
    parts = (
        text,
        helpers,
        __version__,
        numba.__version__,
        np.__version__,
        platform.python_version(),
        binding.get_host_cpu_name(),
        features,
    )
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def _written(text: str, key: str) -> Path:
    path = cache_folder() / f"{key}.py"
    with contextlib.suppress(OSError, UnicodeDecodeError):
        if path.read_text(encoding="utf-8") == text:
            return path
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
    return path


def _executed(text: str, name: str, filename: str) -> Entry:
    module = types.ModuleType(name)
    sys.modules[name] = module  # where numba looks it up when it loads what it has compiled
    linecache.cache[filename] = (len(text), None, text.splitlines(True), filename)
    exec(compile(text, filename, "exec"), module.__dict__)
    return module.run
