"""What an influence is: a way to keep G = ∂h/∂θ, the influence matrix, from one step to the next.

The influence matrix obeys G' = A G + B, where A = ∂h'/∂h and B = ∂h'/∂θ are those of the current step (RTRL, Williams &
Zipser 1989). An influence represents G, or a random matrix whose mean is G, and knows nothing about the system:

1. `layout` tells it how many state variables and which parameter leaves there are;
2. `init` gives the representation of G = 0;
3. `pull` multiplies it by a row from the left, which is all a gradient needs;
4. `advance` replaces it by a representation of A G + B, using only the products in a `Linearization`;
5. whatever randomness it needs it asks for in `noise`, and receives as arrays, at every step or once per trajectory.

An influence that measures parameter-shaped things, such as the rows of B, does so with `metric_of(lin)`: Euclidean,
unless the optimizer has a metric of its own (the information filter has). One that measures nothing need not look.

All five are pure NumPy functions of arrays, so that any engine can trace and compile them.

What an estimator has to know of it stands in four class attributes. All may be left out: `random`, `forgets`,
`single_step` and `parts`; see `Influence`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np

from fwdgrad.linear import EUCLIDEAN, ExplicitRow, Linearization, Metric, Row
from fwdgrad.linear.base import known, restricted
from fwdgrad.structure import Patterns
from fwdgrad.support.types import Leaves

__all__ = [
    "EUCLIDEAN",
    "Dropped",
    "ExplicitRow",
    "Influence",
    "Layout",
    "Leaves",
    "NoiseSpec",
    "Row",
    "drop_zero",
    "is_random",
    "keeps_nothing",
    "metric_of",
    "parts_of",
    "refuses_window",
    "squared_norm",
]


@dataclass(frozen=True, eq=False)
class Layout:
    """Sizes of an influence matrix, and where it can be non-zero."""

    size: int
    """n, the number of state variables."""
    leaves: dict[str, tuple[int, ...]]
    """Shapes of the parameter leaves that have an influence."""
    dtype: np.dtype
    analyse: Callable[[], Patterns | None] = lambda: None
    """Finds the patterns; asked only by those that need them."""

    @cached_property
    def patterns(self) -> Patterns | None:
        """Where A and B can be non-zero; None if that cannot be known."""
        return self.analyse()

    @staticmethod
    def of(lin: Linearization) -> Layout:
        """That of the influence that a linearization advances, if its patterns are known."""
        patterns = known(lin.patterns)
        shapes = {k: patterns.shapes[k] for k in lin.leaves}
        return Layout(lin.value.shape[0], shapes, lin.value.dtype, lambda: patterns)

    def only(self, leaves: Sequence[str]) -> Layout:
        """The same with fewer leaves."""
        shapes = {k: shape for k, shape in self.leaves.items() if k in leaves}
        return Layout(self.size, shapes, self.dtype, lambda: restricted(self.patterns, leaves))

    @property
    def parameters(self) -> int:
        """p, the number of parameters that have an influence."""
        return sum(int(np.prod(shape, dtype=int)) for shape in self.leaves.values())


class NoiseSpec(NamedTuple):
    """An array of independent random numbers that an influence asks for."""

    kind: str
    """"signs" (±1), "cube roots" (0, 1 or 2: which one), "normal" (standard Gaussian) or "uniform" (in [0, 1))."""
    shape: tuple[int, ...]
    when: str = "step"
    """"step": drawn afresh for every `advance`; "start": drawn once, for `init`, when a trajectory starts."""


class Dropped(NamedTuple):
    """What an approximation drops in a step, as a sum of terms, one for each state variable: N = Σ_i l_i ⊗ r_i.

    Attributes:
        left: x ↦ Σ_i x_i l_i, shape (n,).
        right: y ↦ Σ_i y_i r_i, a leaf left out is zero.
        left_squares: ‖l_i‖², shape (n,), or what is thought of them: any positive numbers do, if they do not depend
            on the signs of this step.
        right_squares: ‖r_i‖², likewise.
        relative: whether left_squares are right up to a common factor only.
    """

    left: Callable[[Any], Any]
    right: Callable[[Any], Leaves]
    left_squares: Any
    right_squares: Any
    relative: bool = False


class Influence(Protocol):
    """The contract; see the module's text."""

    def init(self, layout: Layout, start: tuple[Any, ...] = ()) -> Any:
        """The representation of G = 0: a NamedTuple of arrays and dicts of arrays.

        `start` holds what `noise` asks for with when="start".
        """

    def noise(self, layout: Layout) -> tuple[NoiseSpec, ...]:
        """What `init` and `advance` are to be given as randomness."""

    def pull(self, state: Any, row: Row, layout: Layout) -> Leaves:
        """c·G for a row c: one array per leaf; a leaf left out is zero.

        Take `row(direction)` if few directions are enough, `row.array` else. Of a single step, the former costs a
        product forward (often one that `advance` needs as well), the latter a product backward.
        """

    def advance(self, state: Any, lin: Linearization, noise: tuple[Any, ...]) -> Any:
        """The representation of A G + B."""

    def magnitude(self, state: Any) -> Any:
        """A scalar that is finite exactly if every number of the representation is (a sum of squares)."""

    # Optional, with what is taken for it otherwise:
    #
    # push(self, state, leaves, layout) -> Any: Σ_k G_k v_k, (n,), for an influence that is not random. With it the
    #     state follows what a filter does to θ; see `fwdgrad.learning.step`.
    # dropped(self, state, after, lin) -> Dropped | None: what an approximation that is not random dropped when `state`
    #     became `after`, term by term, for `Debiased`; None where that is not known.
    # noted(self, state, row, direct, layout) -> Any: the state after a sample with a target, whose gradient is
    #     row·G̃ + direct, before `advance`: for one that keeps count of what it says.
    # random: bool = True: whether G̃ is random, so that the mean of several copies is better than one.
    # forgets: bool = False: whether it keeps nothing of the past.
    # single_step: str = "": why windows of several steps are refused, and the mend; "{window}" stands for their length.
    # parts: tuple[Influence, ...] = (): the influences that it is made of, which then answer for it.

    def dense(self, state: Any, layout: Layout) -> Leaves:
        """G in full, arrays (n, *leaf shape): for small systems and tests."""


def parts_of(influence: Any) -> Iterator[Any]:
    """The influences that keep something: those that one is made of, to the last, or itself."""
    parts = getattr(influence, "parts", ())
    if not parts:
        yield influence
    for part in parts:
        yield from parts_of(part)


def is_random(influence: Any) -> bool:
    """Whether anything that it keeps is random."""
    return any(getattr(part, "random", True) for part in parts_of(influence))


def keeps_nothing(influence: Any) -> bool:
    """Whether it forgets the past."""
    return all(getattr(part, "forgets", False) for part in parts_of(influence))


def refuses_window(influence: Any) -> str:
    """Why it takes no windows of several steps; "" if it does."""
    return next((why for part in parts_of(influence) if (why := getattr(part, "single_step", ""))), "")


def metric_of(lin: Any) -> Metric:
    """That of a linearization, Euclidean if it has none."""
    return getattr(lin, "metric", EUCLIDEAN)


def squared_norm(leaves: Any) -> Any:
    """Sum of squares of all numbers in a dict of arrays."""
    return EUCLIDEAN.squared_norm(leaves)


def drop_zero(numerator: Any, denominator: Any) -> tuple[Any, Any]:
    """ρ = √(‖w‖/‖v‖) and 1/ρ from the squared norms ‖w‖² and ‖v‖²; both 0 if either norm is 0.

    A term v ⊗ w with a zero factor contributes nothing to the matrix that is reduced. With both scales 0 it
    contributes nothing to the reduced factors either, which keeps the mean and adds no variance (and is what an
    arbitrary ρ would not do).
    """
    live = (numerator > 0) & (denominator > 0)
    w = np.sqrt(np.sqrt(np.where(live, numerator, 1.0)))  # roots before the ratio, which could overflow
    v = np.sqrt(np.sqrt(np.where(live, denominator, 1.0)))
    zero = np.zeros((), w.dtype)
    return np.where(live, w / v, zero), np.where(live, v / w, zero)
