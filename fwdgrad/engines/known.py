"""Which programs have been compiled before, in this process or another, without loading the compiler to find out.

Beside the compiled modules lies a small file for each program, named by a hash of the program and of the versions that
compiled it. It names the module. It is a hint: if it should be wrong, the program is compiled, and that takes longer.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import sys
from functools import lru_cache
from importlib import metadata
from pathlib import Path

import numpy as np

from fwdgrad._version import __version__
from fwdgrad.program import Program

__all__ = ["cache_folder", "is_known", "machine_code_file", "remember"]


def cache_folder() -> Path:
    """Where compiled modules are kept: $FWDGRAD_CACHE, or a folder of the user's."""
    chosen = os.environ.get("FWDGRAD_CACHE")
    if chosen:
        return Path(chosen)
    if sys.platform == "win32":
        root = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        root = Path.home() / "Library" / "Caches"
    else:
        root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return root / "fwdgrad"


def machine_code_file(module: str) -> Path:
    """Where the machine code of a module is kept."""
    return cache_folder() / f"{module}.machine"


def is_known(program: Program, carried: int | None) -> bool:
    """Whether machine code of a program lies on disk.

    Args:
        program: any program.
        carried: length of its carry as a stream of steps; None if it is compiled by itself.
    """
    with contextlib.suppress(OSError, UnicodeDecodeError):
        module = _place(program, carried).read_text("utf-8")
        return machine_code_file(module).exists()
    return False


def remember(program: Program, carried: int | None, module: str) -> None:
    """Write down that a program was compiled as the module of this name; where nothing can be written, do nothing."""
    if machine_code_file(module).exists():
        with contextlib.suppress(OSError):
            _place(program, carried).write_text(module, "utf-8")


def _place(program: Program, carried: int | None) -> Path:
    names = ",".join(str(v.name) for v in program.inputs)
    parts = (program.fingerprint(), names, str(carried), __version__, _compiler(), np.__version__)
    key = hashlib.sha256("\0".join((*parts, platform.python_version(), platform.machine())).encode()).hexdigest()
    return cache_folder() / f"{key[:32]}.known"


@lru_cache(maxsize=1)
def _compiler() -> str:
    try:
        return metadata.version("llvmlite")
    except metadata.PackageNotFoundError:
        return ""
