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
    """What was found of a system's structure; `fwdgrad.Structure` tells what each attribute is."""

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
