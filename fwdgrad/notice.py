"""A line on the error stream for work that takes longer than one would expect."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["PATIENCE", "slow"]

PATIENCE = 1.0
"""Seconds after which something is said."""


@contextmanager
def slow(what: str) -> Iterator[None]:
    """Say `what` is going on if it takes longer than a second, and how long it took when it is done."""
    start = time.perf_counter()
    said = threading.Event()

    def say() -> None:
        said.set()
        print(f"fwdgrad: {what} …", end="", file=sys.stderr, flush=True)

    timer = threading.Timer(PATIENCE, say)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        if said.is_set():
            print(f" {time.perf_counter() - start:.1f} s", file=sys.stderr, flush=True)
