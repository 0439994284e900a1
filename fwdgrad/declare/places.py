"""Where something in a model stands, so that what is wrong with it can be said there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from fwdgrad.errors import DeclarationError, ModelTextError, did_you_mean

__all__ = ["Argument", "Line", "Place", "suggestion"]

MANY = 50
"""Names that are looked at for one that was meant."""


@dataclass(frozen=True)
class Line:
    """A line of a text.

    Attributes:
        source: what to call the text: a file, or "model".
        number: from 1.
        text: what it says.
    """

    source: str
    number: int
    text: str

    def error(self, reason: str) -> ModelTextError:
        """What to raise."""
        return ModelTextError(reason, source=self.source, line=self.number, text=self.text)

    def __str__(self) -> str:
        return f"line {self.number}"


@dataclass(frozen=True)
class Argument:
    """An argument of a function, such as ``rates[x]``."""

    source: str
    name: str

    def error(self, reason: str) -> DeclarationError:
        """What to raise."""
        return DeclarationError(f"{self.source}: {self.name}: {reason}{'' if reason.endswith(('.', '?')) else '.'}")

    def __str__(self) -> str:
        return self.name


Place = Line | Argument


def suggestion(name: str, known: Iterable[str]) -> str:
    """`did_you_mean`, looking at the first `MANY` names only."""
    return did_you_mean(name, islice(known, MANY))
