"""A loop around another one, which makes the steps."""

from __future__ import annotations

from typing import Any

from fwdgrad.learning.loops.base import Loop, Sample
from fwdgrad.learning.loops.feed import Feed
from fwdgrad.support.types import Flat

__all__ = ["Around"]


class Around(Loop):
    """Hands on what the loop inside does; a subclass says what is done besides.

    Args:
        inner: the loop that makes the steps.
    """

    def __init__(self, inner: Loop) -> None:
        self.inner = inner
        self.execution, self.reader, self.noise = inner.execution, inner.reader, inner.noise

    @property
    def carry(self) -> Flat:
        """That of the loop inside."""
        return self.inner.carry

    @carry.setter
    def carry(self, carry: Flat) -> None:
        self.inner.carry = carry

    @property
    def steps(self) -> int:
        """Number of samples seen; those gone through again are not counted."""
        return self.inner.steps

    @steps.setter
    def steps(self, steps: int) -> None:
        self.inner.steps = steps

    @property
    def view(self) -> Flat:
        """That of the loop inside."""
        return self.inner.view

    @property
    def feed(self) -> Feed:
        """That of the loop inside."""
        return self.inner.feed

    @feed.setter
    def feed(self, feed: Feed) -> None:
        self.inner.feed = feed

    @property
    def grain(self) -> int:  # type: ignore[override]
        """That of the loop inside."""
        return self.inner.grain

    def learn(self, sample: Sample) -> tuple[float, Any]:
        """That of the loop inside."""
        return self.inner.learn(sample)

    def finish(self) -> None:
        """Nothing is open."""

    def discard(self) -> None:
        """Nothing is open."""
