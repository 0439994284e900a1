"""Influence that fades at a given rate instead of through the state's Jacobian."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from fwdgrad.errors import DeclarationError
from fwdgrad.influence.base import Dropped, Layout, Leaves, NoiseSpec, Row
from fwdgrad.influence.masked import Masked, MaskedState

__all__ = ["Decayed"]


@dataclass(frozen=True)
class Decayed:
    """S ← λ S + B, on the pattern of B: the Jacobian of the state is taken to be λ times the identity.

    With λ the factor by which a leaky unit keeps its state, this is RFLO (Murray 2019, "Local online learning in
    recurrent networks with random feedback", without the random feedback: the row c·A is exact). With λ = 0 only the
    step before the last is seen besides the last. Biased, unless A is λ times the identity.

    Args:
        decay: λ, in [0, 1].

    Memory: the entries of B; time: one backward product per colour of B's rows. Windows of one step only.
    """

    decay: float = 0.0

    random: ClassVar[bool] = False
    single_step: ClassVar[str] = Masked.single_step

    def __post_init__(self) -> None:
        value = self.decay
        if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not 0 <= value <= 1:
            raise DeclarationError(
                f"Decayed(decay=…): expected a number in [0, 1], got {value!r}. With a leaky unit "
                "h' = (1 − a) h + a f(…), give 1 − a."
            )
        object.__setattr__(self, "decay", float(value))

    def init(self, layout: Layout, start: tuple[Any, ...] = ()) -> MaskedState:
        """Zeros."""
        return _ENTRIES.init(layout, start)

    def noise(self, layout: Layout) -> tuple[NoiseSpec, ...]:
        """None."""
        return ()

    def pull(self, state: MaskedState, row: Row, layout: Layout) -> Leaves:
        """c·S."""
        return _ENTRIES.pull(state, row, layout)

    def push(self, state: MaskedState, leaves: Leaves, layout: Layout) -> Any:
        """Σ S v over the leaves."""
        return _ENTRIES.push(state, leaves, layout)

    def advance(self, state: MaskedState, lin: Any, noise: tuple[Any, ...]) -> MaskedState:
        """λ S + B."""
        fresh = _ENTRIES.fresh(lin)
        return MaskedState({k: self.decay * old + fresh[k] for k, old in state.G.items()})

    def dropped(self, state: MaskedState, after: MaskedState, lin: Any) -> Dropped:
        """N = (A − λ) S: left factors are the columns of A − λ, taken to be of one length, and right ones rows of S."""
        squares, layout = _ENTRIES.row_squares(state, lin), Layout.of(lin)
        return Dropped(
            lambda x: lin.jvp(x) - self.decay * x,
            lambda y: _ENTRIES.combined(state, y, layout),
            np.ones_like(squares),
            squares,
        )

    def magnitude(self, state: MaskedState) -> Any:
        """Sum of squares."""
        return _ENTRIES.magnitude(state)

    def dense(self, state: MaskedState, layout: Layout) -> Leaves:
        """The entries at their places, zeros elsewhere."""
        return _ENTRIES.dense(state, layout)


_ENTRIES = Masked(1)
"""The pattern of one step is that of B."""
