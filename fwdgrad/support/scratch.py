"""Files that appear whole or not at all: written under another name, and renamed.

A process that is killed while it writes leaves its scratch file behind. The next one that writes the same file removes
it, but never one that another process is writing: that one holds a lock, which goes when the process does.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # Windows, where a file that is open cannot be removed
    fcntl = None  # type: ignore[assignment]

__all__ = ["replacing"]


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file to write to; it takes the place of `path` when the block ends without an exception.

    Raises:
        OSError: it cannot be made, written or moved.
        ValueError: the path is not a possible one.
    """
    _clean(path)
    handle, name = _made(path)
    lock = os.dup(handle) if fcntl is not None else None  # keeps the lock until the file has its name
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
    finally:
        if lock is not None:
            os.close(lock)


def _made(path: Path) -> tuple[int, str]:
    """A new scratch file, locked where that is possible."""
    while True:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        if fcntl is None:
            return handle, name
        with contextlib.suppress(OSError):  # a file system without locks, on which nothing is cleaned either
            fcntl.flock(handle, fcntl.LOCK_EX)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.stat(name), os.fstat(handle)):
                return handle, name
        os.close(handle)  # it was taken for one that was left behind, before the lock


def _clean(path: Path) -> None:
    """Remove scratch files of processes that are gone."""
    scratch = re.compile(re.escape(f".{path.name}.") + r"[a-z0-9_]{8}\.tmp")
    with contextlib.suppress(OSError):
        for entry in list(os.scandir(path.parent)):
            if scratch.fullmatch(entry.name):
                _remove(entry.path)


def _remove(name: str) -> None:
    """Remove a file unless somebody holds its lock."""
    with contextlib.suppress(OSError):
        if fcntl is None:
            os.unlink(name)
            return
        handle = os.open(name, os.O_RDWR)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(name)
        finally:
            os.close(handle)
