"""Two influences side by side, each for leaves of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from fwdgrad.errors import DeclarationError
from fwdgrad.influence.base import Influence, Layout, Leaves, NoiseSpec, Row
from fwdgrad.influence.none import NoInfluence
from fwdgrad.support.trees import flatten

__all__ = ["Selective", "Split", "SplitState"]


class Selective(Influence, Protocol):
    """An influence for some kinds of leaves only."""

    def takes(self, layout: Layout) -> tuple[str, ...]:
        """The leaves of a layout that it is for."""


class SplitState(NamedTuple):
    """The two parts."""

    first: Any
    rest: Any


class _Part(NamedTuple):
    influence: Influence
    layout: Layout
    specs: tuple[NoiseSpec, ...]

    def noise(self, arrays: list[Any], when: str) -> tuple[Any, ...]:
        """Takes its own from what has been drawn for both."""
        return tuple(arrays.pop(0) for spec in self.specs if spec.when == when)


@dataclass(frozen=True)
class Split:
    """The leaves that `first` can take are kept by `first`, all others by `rest`.

    G' = A G + B holds for each leaf by itself, so each part goes its own way, on a linearization with its own columns
    of B: exact or unbiased if both parts are. What a product costs for the state it costs once for each part.

    Args:
        first: an influence that says what it takes, such as `Kronecker()`.
        rest: any influence.
    """

    first: Selective
    rest: Influence

    @property
    def parts(self) -> tuple[Influence, ...]:
        """Both."""
        return self.first, self.rest

    def __post_init__(self) -> None:
        if not hasattr(self.first, "takes"):
            raise DeclarationError(
                f"Split(first=…): expected an influence that takes some leaves only, such as Kronecker(), "
                f"got {self.first!r}."
            )

    def _parts(self, layout: Layout) -> tuple[_Part, _Part]:
        names = self.first.takes(layout)
        others = tuple(k for k in layout.leaves if k not in names)
        return _part(self.first, layout.only(names)), _part(self.rest, layout.only(others))

    def init(self, layout: Layout, start: tuple[Any, ...] = ()) -> SplitState:
        """Zeros, in both parts.

        Raises:
            DeclarationError: there is no leaf for `first`.
        """
        first, rest = self._parts(layout)
        if not first.layout.leaves:
            raise DeclarationError(
                f"{type(self.first).__name__}: it takes none of the parameters of F, which are "
                f"{', '.join([*layout.leaves][:5])}{', …' * (len(layout.leaves) > 5)}.\n"
                "Use an estimator for all of them, such as UORO()."
            )
        arrays = list(start)
        return SplitState(*(p.influence.init(p.layout, p.noise(arrays, "start")) for p in (first, rest)))

    def noise(self, layout: Layout) -> tuple[NoiseSpec, ...]:
        """That of the first part, then that of the rest."""
        first, rest = self._parts(layout)
        return first.specs + rest.specs

    def pull(self, state: SplitState, row: Row, layout: Layout) -> Leaves:
        """c·G̃, each leaf from its part."""
        parts = zip(self._parts(layout), state, strict=True)
        return {k: g for p, kept in parts for k, g in p.influence.pull(kept, row, p.layout).items()}

    def advance(self, state: SplitState, lin: Any, noise: tuple[Any, ...]) -> SplitState:
        """Both parts, each with its own leaves and noise."""
        arrays, parts = list(noise), zip(self._parts(Layout.of(lin)), state, strict=True)
        return SplitState(
            *(p.influence.advance(kept, lin.only(tuple(p.layout.leaves)), p.noise(arrays, "step")) for p, kept in parts)
        )

    def magnitude(self, state: SplitState) -> Any:
        """The sum of both."""
        # where there is no leaf for the rest, nothing is kept of it
        return self.first.magnitude(state.first) + (self.rest.magnitude(state.rest) if flatten(state.rest) else 0.0)

    def dense(self, state: SplitState, layout: Layout) -> Leaves:
        """Both, in the order of the leaves."""
        parts = zip(self._parts(layout), state, strict=True)
        made = {k: g for p, kept in parts for k, g in p.influence.dense(kept, p.layout).items()}
        return {k: made[k] for k in layout.leaves}


def _part(influence: Influence, layout: Layout) -> _Part:
    kept: Influence = influence if layout.leaves else NoInfluence()
    return _Part(kept, layout, kept.noise(layout))
