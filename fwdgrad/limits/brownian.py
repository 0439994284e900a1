"""Noise on Brownian paths: the same path seen at a larger and at a smaller δt."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from fwdgrad.errors import DeclarationError
from fwdgrad.support import display

__all__ = ["BrownianPath", "brownian_path"]


class BrownianPath(NamedTuple):
    """Independent Brownian paths, by their increments over equal steps.

    Halving the step by `refined` keeps what is known of a path: each increment becomes two that sum to it, by Lévy's
    construction of the midpoint. `coarsened` goes back. Strong convergence compares runs along one path; for signs
    there is no such refinement.
    """

    dt: float
    increments: np.ndarray
    """ΔW, of variance δt, shape (steps, *shape of the paths)."""

    def __repr__(self) -> str:
        shape = self.increments.shape
        return f"BrownianPath of {display.counted(shape[0], 'step')} of {self.dt:g}, paths {shape[1:]}"

    def _repr_html_(self) -> str:
        paths = np.cumsum(self.increments.reshape(len(self.increments), -1), axis=0).T[: display.CURVES]
        along = ("t = 0", f"{self.dt * len(self.increments):g}")
        return display.page(repr(self), *(display.curve(path, label="W", along=along) for path in paths))

    @property
    def noise(self) -> np.ndarray:
        """ΔW/√δt, of variance 1: what an influence with Gaussian noise asks for."""
        return self.increments / math.sqrt(self.dt)

    def refined(self, rng: np.random.Generator) -> BrownianPath:
        """The same paths with steps of half the size."""
        half = 0.5 * self.increments
        apart = math.sqrt(self.dt / 4) * rng.standard_normal(half.shape)
        pairs = np.stack([half + apart, half - apart], axis=1)
        return BrownianPath(self.dt / 2, pairs.reshape(-1, *half.shape[1:]))

    def coarsened(self, factor: int) -> BrownianPath:
        """The same paths with steps that are `factor` times as long.

        Raises:
            DeclarationError: the number of steps is not a multiple of `factor`.
        """
        steps, *shape = self.increments.shape
        if factor < 1 or steps % factor:
            raise DeclarationError(f"coarsened: expected a divisor of the {steps} steps, got {factor!r}.")
        if factor == 1:
            return self
        return BrownianPath(self.dt * factor, self.increments.reshape(steps // factor, factor, *shape).sum(axis=1))


def brownian_path(dt: float, steps: int, shape: tuple[int, ...], rng: np.random.Generator) -> BrownianPath:
    """Paths that start now.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> path = brownian_path(0.5, 4, (3,), rng)
        >>> fine = path.refined(rng)
        >>> fine.increments.shape, bool(np.allclose(fine.coarsened(2).increments, path.increments))
        ((8, 3), True)
    """
    return BrownianPath(dt, math.sqrt(dt) * rng.standard_normal((steps, *shape)))
