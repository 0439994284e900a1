"""An approximation of the influence matrix, and an unbiased estimate of what it drops."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from fwdgrad.errors import DeclarationError
from fwdgrad.influence.base import (
    ExplicitRow,
    Influence,
    Layout,
    Leaves,
    NoiseSpec,
    Row,
    drop_zero,
    is_random,
    squared_norm,
)

__all__ = ["BATCHES", "Debiased", "DebiasedState", "Watched"]


BATCHES = 16
"""Sums of what is estimated of the approximation's error, over consecutive stretches of equal length."""


class Watched(NamedTuple):
    """What has been seen of the approximation's error."""

    rests: Leaves
    """Σ (c·v) w over the samples of each batch, arrays (16, *leaf shape)."""
    gradient: Leaves
    """The sum of the approximation's gradients."""
    count: Any
    """Samples."""
    length: Any
    """Samples to a batch: as soon as all are full, they are joined in pairs."""


class DebiasedState(NamedTuple):
    """The approximation's state; the factors of the remainder, and ‖w‖²; and with `watch` what has been seen."""

    kept: Any
    v: Any
    w: Leaves
    w_squared: Any
    watched: Watched | tuple[()] = ()


@dataclass(frozen=True)
class Debiased:
    """G̃ = S + v wᵀ: any approximation S that is not random, and the rest, of rank one, with the right mean.

    Let S' be what the approximation makes of S in a step, and G = S + R. Then, exactly,

        R' = A R + N,      N = A S + B − S'

    which is affine in R, as G' = A G + B is in G. So R is estimated as NoBackTrack and UORO estimate G, with N in place
    of B: R̃ = v wᵀ, and with signs ε and any ρ > 0 that does not see them

        v ← ρ̄ A v + Σ_i ρ_i ε_i l_i,      w ← w/ρ̄ + Σ_i (ε_i/ρ_i) r_i,      N = Σ_i l_i ⊗ r_i

    whose mean over ε is A R̃ + N (NoBackTrack paper, Prop. 1). E G̃ = G, since S is not random and its error is carried
    whole. With `NoInfluence`, S = 0, this is UORO; with a closed pattern N = 0, and this is sparse RTRL.

    - An approximation may know what it drops, term by term: `dropped(state, after, lin)` returns a `Dropped`, or None.
      `Masked` and `Decayed` do: then each state variable has a scale, ρ_i = √(‖r_i‖/‖l_i‖), which is the least
      variance.
    - Of a black box l_i = e_i, and Σ_i ε_i r_i = Sᵀ(Aᵀε) + Bᵀε − S'ᵀε takes one product backward and two with S; there
      is one scale for all. It is a difference: where N is 0, what is left of it is rounding, of size 1e-16.

    v wᵀ is an unbiased estimate of G − S: what it pulls, (c·v) w, is one of the error of the approximation's gradient.

    Args:
        approximation: an influence that is not random, such as `Masked(1)` (SnAp-1).
        watch: add up (c·v) w, for `Learner.bias`. Takes 17 p numbers more, and a pass over them at each step.

    Memory n + p numbers, and the approximation's. Unbiased for fixed θ.
    """

    approximation: Influence
    watch: bool = False

    random: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not hasattr(self.approximation, "advance") or is_random(self.approximation):
            raise DeclarationError(
                f"Debiased(approximation=…): expected an influence that is not random, such as Masked(1), "
                f"got {self.approximation!r}."
            )

    @property
    def single_step(self) -> str:
        """As the approximation."""
        return getattr(self.approximation, "single_step", "")

    def init(self, layout: Layout, start: tuple[Any, ...] = ()) -> DebiasedState:
        """Zeros."""
        w = {k: np.zeros(shape, layout.dtype) for k, shape in layout.leaves.items()}
        kept = self.approximation.init(layout, start)
        made = DebiasedState(kept, np.zeros(layout.size, layout.dtype), w, np.zeros((), layout.dtype))
        if not self.watch:
            return made
        rests = {k: np.zeros((BATCHES, *shape), layout.dtype) for k, shape in layout.leaves.items()}
        return made._replace(
            watched=Watched(rests, dict(w), np.zeros((), layout.dtype), np.ones((), layout.dtype)),
        )

    def noise(self, layout: Layout) -> tuple[NoiseSpec, ...]:
        """ε, one sign per state variable."""
        return (NoiseSpec("signs", (layout.size,)),)

    def pull(self, state: DebiasedState, row: Row, layout: Layout) -> Leaves:
        """c·S + (c·v) wᵀ."""
        return added(self.approximation.pull(state.kept, row, layout), self.remainder(state, row))

    def remainder(self, state: DebiasedState, row: Row) -> Leaves:
        """(c·v) wᵀ: an unbiased estimate of c·(G − S)."""
        along = row(state.v)
        return {k: along * w for k, w in state.w.items()}

    def advance(self, state: DebiasedState, lin: Any, noise: tuple[Any, ...]) -> DebiasedState:
        """The reduction above."""
        (signs,), lin = noise, _Once(lin)
        after = self.approximation.advance(state.kept, lin, ())
        carried = lin.jvp(state.v)
        up, down = drop_zero(state.w_squared, np.vdot(carried, carried))
        left, right = self._reduced(state, after, lin, signs)
        w = {k: down * old + right[k] if k in right else down * old for k, old in state.w.items()}
        return DebiasedState(after, up * carried + left, w, squared_norm(w), state.watched)

    def noted(self, state: DebiasedState, row: Row, direct: Leaves, layout: Layout) -> DebiasedState:
        """With what this sample says of the approximation's error: `row` is c·A, `direct` the rest of its gradient."""
        seen = state.watched
        if not isinstance(seen, Watched):
            return state
        full = seen.count >= BATCHES * seen.length
        length = np.where(full, 2.0 * seen.length, seen.length).astype(layout.dtype)
        here = np.where(np.arange(BATCHES) == np.floor(seen.count / length), 1.0, 0.0).astype(layout.dtype)
        rest, rests = self.remainder(state, row), {}
        for k, old in seen.rests.items():
            joined = np.concatenate([old[0::2] + old[1::2], np.zeros_like(old[1::2])])
            rests[k] = np.where(full, joined, old) + np.reshape(here, (-1, *(1 for _ in rest[k].shape))) * rest[k]
        made = added(direct, self.approximation.pull(state.kept, row, layout))
        gradient = {k: old + made[k] if k in made else old for k, old in seen.gradient.items()}
        return state._replace(watched=Watched(rests, gradient, seen.count + 1.0, length))

    def _reduced(self, state: DebiasedState, after: Any, lin: Any, signs: Any) -> tuple[Any, Leaves]:
        """The two factors of N: Σ_i ρ_i ε_i l_i and Σ_i (ε_i/ρ_i) r_i."""
        asked = getattr(self.approximation, "dropped", None)
        terms = None if asked is None else asked(state.kept, after, lin)
        if terms is not None and terms.relative:
            ratio, inverse = drop_zero(terms.right_squares, terms.left_squares)
            left, right = terms.left(ratio * signs), terms.right(inverse * signs)
            # the common size is an even function of the signs
            up, down = drop_zero(squared_norm(right), np.vdot(left, left))
            return up * left, {k: down * r for k, r in right.items()}
        if terms is not None:
            rho, inverse = drop_zero(terms.right_squares, terms.left_squares)
            return terms.left(rho * signs), terms.right(inverse * signs)
        layout = Layout.of(lin)
        back, fresh = lin.vjp(signs)
        before = self.approximation.pull(state.kept, ExplicitRow(back), layout)
        made = self.approximation.pull(after, ExplicitRow(-signs), layout)
        seen = added(added(before, fresh), made)
        rho, inverse = drop_zero(squared_norm(seen), np.vdot(signs, signs))
        return rho * signs, {k: inverse * f for k, f in seen.items()}

    def magnitude(self, state: DebiasedState) -> Any:
        """That of the approximation, and ‖v‖² + ‖w‖²."""
        size = self.approximation.magnitude(state.kept) + np.vdot(state.v, state.v) + state.w_squared
        seen = state.watched
        if not isinstance(seen, Watched):
            return size
        return size + squared_norm(seen.rests) + squared_norm(seen.gradient) + seen.count + seen.length

    def dense(self, state: DebiasedState, layout: Layout) -> Leaves:
        """S + v wᵀ."""
        n = state.v.shape[0]
        rest = {k: np.reshape(state.v, (n,) + (1,) * np.ndim(w)) * w for k, w in state.w.items()}
        return added(self.approximation.dense(state.kept, layout), rest)


class _Once:
    """A linearization whose entries are computed once, for the approximation and for what it drops."""

    def __init__(self, lin: Any) -> None:
        self._lin = lin

        self._made: dict[Any, Any] = {}

    def _once(self, key: Any, make: Any, *given: Any) -> Any:
        if key not in self._made:
            self._made[key] = make(*given)
        return self._made[key]

    def entries(self) -> tuple[Any, Leaves]:
        """Those of A and B."""
        return self._once("all", self._lin.entries)

    def state_entries(self, numbers: np.ndarray) -> Any:
        """Some of those of A."""
        return self._once(numbers.tobytes(), self._lin.state_entries, numbers)

    def parameter_entries(self) -> Leaves:
        """Those of B."""
        return self._once("parameters", self._lin.parameter_entries)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._lin, name)


def added(one: Leaves, other: Leaves) -> Leaves:
    """The sum; a leaf left out is zero."""
    both = {k: v + other[k] if k in other else v for k, v in one.items()}
    return both | {k: v for k, v in other.items() if k not in one}
