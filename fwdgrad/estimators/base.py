"""What an estimator is: a point of one table, influence × window × rank."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fwdgrad.errors import DeclarationError
from fwdgrad.estimators.windows import LARGEST, Sliding, window_of
from fwdgrad.influence import Averaged, Influence, RankOne, is_random, keeps_nothing, refuses_window
from fwdgrad.support.arguments import suggests

__all__ = ["Estimator"]


@suggests
@dataclass(frozen=True)
class Estimator:
    """How gradients are estimated: what is kept of the past, and how much is differentiated exactly.

    Args:
        influence: how the influence matrix is kept between windows; see `fwdgrad.influence`.
        window: T, the number of consecutive steps that are treated as one map, or one of the classes in
            `fwdgrad.estimators.windows`. Within a window gradients are exact; the update is made at its end, from the
            sum of its losses. T states, inputs and targets are stored. Rate schedules count updates, so they see one
            for every T steps.
        rank: number of independent copies of a random influence that are averaged.
        name: what to call it in reports.

    Raises:
        DeclarationError: `window` or `rank` is not a positive integer, or they do not go with the influence.
    """

    influence: Influence = field(default_factory=RankOne)
    window: Any = 1
    rank: int = 1
    name: str = "estimator"

    def __post_init__(self) -> None:
        label = self.name.partition("(")[0]
        try:
            object.__setattr__(self, "window", window_of(self.window))
        except DeclarationError as error:
            raise DeclarationError(f"{label}: {error} Write window=1 for the plain algorithm.") from None
        if isinstance(self.influence, type):
            raise DeclarationError(
                f"{label}: expected an influence, got the class {self.influence.__name__}. "
                f"Call it: {self.influence.__name__}()."
            )
        if isinstance(self.rank, bool) or not isinstance(self.rank, (int, np.integer)) or self.rank < 1:
            raise DeclarationError(
                f"{label}(rank=…): expected an integer of at least 1, got {self.rank!r}.\n"
                "Write 1 for the plain algorithm."
            )
        if self.rank > LARGEST:
            raise DeclarationError(f"{label}(rank=…): expected at most {LARGEST}, got {self.rank}.")
        object.__setattr__(self, "rank", int(self.rank))
        if self.rank > 1 and not is_random(self.influence):
            raise DeclarationError(
                f"{self.name}(rank={self.rank}): copies of what is not random are all the same. Use rank=1."
            )
        why = refuses_window(self.influence)
        if self.window != Sliding(1) and why:
            raise DeclarationError(f"{self.name}: {why.format(window=self.window)}")
        if not isinstance(self.window, Sliding) and not keeps_nothing(self.influence):
            raise DeclarationError(
                f"{self.name}: a window of {self.window} has nothing before it to keep an influence of.\n"
                "Use NoInfluence(), or a window of a fixed number of steps."
            )

    @property
    def kept(self) -> Influence:
        """The influence with its copies."""
        return self.influence if self.rank == 1 else Averaged(self.influence, self.rank)
