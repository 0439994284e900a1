"""Estimators by name: what the command line, `analyze` and the tables of the documentation know them by."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from fwdgrad.estimators.base import Estimator
from fwdgrad.estimators.costs import Candidate, Costs

__all__ = ["Named"]


@dataclass(frozen=True)
class Named:
    """An estimator that can be asked for by name, with what is said of it where all of them are listed.

    Attributes:
        name: what is written, such as "snap".
        make: the estimator, from what comes after a colon if anything does.
        rows: its rows in the table of `analyze`, from what things cost on a system.
        argument: what comes after the colon, for the help: "N" for a number; "" if nothing does.
        read: what makes a value of it.
        needed: what is said if it is left out and may not be; "" if it may.
    """

    name: str
    make: Callable[..., Estimator]
    rows: Callable[[Costs], Iterable[Candidate]]
    argument: str = ""
    read: Callable[[str], Any] = str
    needed: str = ""

    @property
    def usage(self) -> str:
        """How it is written: "rtrl", "snap:N" or "uoro[:N]"."""
        if not self.argument:
            return self.name
        return f"{self.name}:{self.argument}" if self.needed else f"{self.name}[:{self.argument}]"
