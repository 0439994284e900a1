"""Every value that an influence's noise can take, with its weight; or many draws of it where there are too many."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fwdgrad.influence import NoiseSpec
from fwdgrad.support.trees import cut

__all__ = ["DRAWS", "MOST", "Draws", "count", "draw", "every"]

MOST, DRAWS = 4096, 1024
"""Patterns of noise that are tried; draws where there are more."""


class Draws(NamedTuple):
    """Weights that sum to 1, and the arrays that each of them belongs to, one for each spec."""

    weights: np.ndarray
    rows: list[tuple[np.ndarray, ...]]


def _of(specs: Sequence[NoiseSpec], when: str) -> list[NoiseSpec]:
    return [s for s in specs if s.when == when]


def count(specs: Sequence[NoiseSpec], when: str, nodes: int) -> float:
    """How many patterns there are; infinite for noise that is uniform."""
    total = 1.0
    for spec in _of(specs, when):
        size = int(np.prod(spec.shape, dtype=int))
        values = {"signs": 2, "cube roots": 3, "normal": nodes}.get(spec.kind, np.inf)
        total *= float(values) ** min(size, 500)  # in floating point: the number may be astronomical
    return total


def every(specs: Sequence[NoiseSpec], when: str, nodes: int, dtype: Any) -> Draws:
    """All patterns: both signs; the three cube roots; for a standard Gaussian number its Gauss–Hermite nodes.

    Means of polynomials of degree less than 2·nodes in each Gaussian number are exact. Two nodes, which are ±1, are
    enough for what is at most quadratic in each draw, as a reduction is once its scales have cancelled.
    """
    numbers: list[list[tuple[float, float]]] = []
    for spec in _of(specs, when):
        points, weights = np.array([-1.0, 1.0]), np.array([0.5, 0.5])
        if spec.kind == "cube roots":
            points, weights = np.arange(3.0), np.full(3, 1 / 3)
        if spec.kind == "normal":
            points, weights = np.polynomial.hermite_e.hermegauss(nodes)
        pairs = list(zip(points.tolist(), (weights / np.sum(weights)).tolist(), strict=True))
        numbers += [pairs] * int(np.prod(spec.shape, dtype=int))
    made, shares = [], []
    for pattern in itertools.product(*numbers):
        flat = np.array([value for value, _ in pattern], dtype)
        shares.append(float(np.prod([share for _, share in pattern])))
        made.append(_split(flat, _of(specs, when)))
    return Draws(np.array(shares), made)


def draw(specs: Sequence[NoiseSpec], when: str, rng: np.random.Generator, dtype: Any) -> tuple[np.ndarray, ...]:
    """One draw."""
    made = []
    for spec in _of(specs, when):
        if spec.kind == "signs":
            made.append(rng.choice([-1.0, 1.0], spec.shape).astype(dtype))
        elif spec.kind == "cube roots":
            made.append(rng.integers(3, size=spec.shape).astype(dtype))
        elif spec.kind == "normal":
            made.append(rng.standard_normal(spec.shape).astype(dtype))
        else:
            made.append(rng.random(spec.shape).astype(dtype))
    return tuple(np.asarray(a) for a in made)


def _split(flat: np.ndarray, specs: Sequence[NoiseSpec]) -> tuple[np.ndarray, ...]:
    return tuple(cut(flat, [spec.shape for spec in specs]))
