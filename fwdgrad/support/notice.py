"""What is said on the error stream while something takes long: a line that stays, or a bar where one is asked for."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from fwdgrad.errors import DeclarationError

__all__ = ["LONG", "PATIENCE", "Progress", "slow"]

PATIENCE = 1.0
"""Seconds after which something is said."""

LONG = 5.0
"""Seconds that are announced."""


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


class Progress:
    """A tqdm bar, a user's callback, or nothing.

    Args:
        who: the function that has `progress` as an argument.
        progress: True for a bar, or a function called with (done, in all).
        total: in all.
        unit: what is counted.

    Raises:
        DeclarationError: `progress` is neither a truth value nor a function.
    """

    def __init__(
        self, who: str, progress: bool | Callable[[int, int], None], total: int, unit: str = "replica"
    ) -> None:
        if not (isinstance(progress, bool) or callable(progress)):
            raise DeclarationError(f"{who}(progress=…): expected True, False or a function, got {progress!r}.")
        self._who, self._callback = who, progress if callable(progress) else None
        self._done, self._total = 0, total
        self._bar: Any = None
        if progress is True:
            from tqdm.auto import tqdm

            self._bar = tqdm(total=total, unit=unit)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: Any) -> None:
        if self._bar is not None:
            self._bar.close()

    @contextmanager
    def at(self, what: str) -> Iterator[None]:
        """While `what` is going on, the bar says so; without one, a line does if it takes long."""
        if self._bar is None:
            with slow(what):
                yield
        else:
            self._bar.set_postfix_str(what)
            yield

    def expect(self, seconds: float, where: str) -> None:
        """Before the work, how long it will take, about, if that is long: beside the bar, or in a line without one."""
        if seconds < LONG:
            return
        said = f"takes about {_duration(seconds)} {where}"
        if self._bar is None:
            print(f"fwdgrad: {self._who} {said}", file=sys.stderr, flush=True)
        else:
            self._bar.set_postfix_str(said)

    def add(self, count: int) -> None:
        """So many more are done."""
        self._done += count
        if self._bar is not None:
            self._bar.update(count)
        elif self._callback is not None:
            self._callback(self._done, self._total)


def _duration(seconds: float) -> str:
    """In two digits, and the unit that suits it."""
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.2g} {unit}" if seconds < 99 * size else f"{seconds / size:.0f} {unit}"
    return f"{seconds:.2g} s"
