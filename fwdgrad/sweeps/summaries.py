"""One combination of a sweep's settings, over its replicas."""

from __future__ import annotations

from dataclasses import dataclass

from fwdgrad.support import display
from fwdgrad.sweeps.cells import Scalar

__all__ = ["Summary"]


@dataclass(frozen=True)
class Summary:
    """One combination of settings, over its replicas.

    Attributes:
        settings: by name.
        mean: of the result that was asked for, over the replicas; infinite if one failed or is not finite.
        low: the lowest of them; NaN if none is finite.
        high: the highest.
        replicas: how many there are.
        failed: how many of them failed.
    """

    settings: dict[str, Scalar]
    mean: float
    low: float
    high: float
    replicas: int
    failed: int

    def _repr_html_(self) -> str:
        numbers = (("mean", self.mean), ("lowest", self.low), ("highest", self.high))
        rows = [(k, f"{v:.4g}") for k, v in numbers] + [("replicas", self.replicas), ("failed", self.failed)]
        return display.page("Summary of a combination of settings", display.pairs([*self.settings.items(), *rows]))
