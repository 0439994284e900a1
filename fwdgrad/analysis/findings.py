"""What `analyze` finds, as plain data: what reports and pictures are made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fwdgrad.estimators import Candidate, Estimator
from fwdgrad.structure import Patterns
from fwdgrad.structure.units import Units

__all__ = ["Findings"]


@dataclass(frozen=True, eq=False)
class Findings:
    """What was found of a system's structure; see `fwdgrad.Structure`.

    Attributes:
        name: the system's.
        patterns: patterns of ∂F and ∂Y, `scipy.sparse` matrices.
        units: groups of state variables that share parameters, with their parameters and bias-like parameter.
        colors: for each influential leaf, the number of backward products that give all its rows.
        readout_only: learned parameters that only Y uses. Their gradient is exact under every estimator.
        dead: learned parameters with no path to the loss.
        product_only: matrices that enter only through products with a vector: W @ a, a @ W, or a column R[:, x].
            `KFRTRL` and `TensorNoBackTrack` take those that F uses once.
        closed: number of entries of the closed influence pattern: what exact gradients need to keep.
        delay: if the state is a delay line, the number of steps after which truncation is exact; else None.
        components: strongly connected component of each state variable, in an order in which none depends on a later.
        model_cost: multiply-adds of F, Y and the loss.
        candidates: every estimator that has a name, with its predicted costs, and why not where it does not apply.
        choice: the estimator that ``estimator="auto"`` takes.
        reason: why, in a sentence.
    """

    name: str
    patterns: Patterns
    units: Units
    colors: dict[str, int]
    readout_only: tuple[str, ...]
    dead: tuple[str, ...]
    product_only: tuple[str, ...]
    closed: int
    delay: int | None
    components: np.ndarray
    model_cost: int
    candidates: tuple[Candidate, ...]
    choice: Estimator
    reason: str

    @property
    def backward_products(self) -> int:
        """Backward products that give all rows of ∂F/∂θ."""
        return sum(family.count for family in self.patterns.row_families)
