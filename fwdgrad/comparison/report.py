"""What `compare` returns, as arrays, as a table and as sentences."""

from __future__ import annotations

import math
import os
import textwrap
from dataclasses import dataclass
from typing import Any

import numpy as np

from fwdgrad.comparison.statistics import Estimate
from fwdgrad.errors import UnknownNameError, did_you_mean
from fwdgrad.support import display, frames
from fwdgrad.support.words import cut

__all__ = ["Comparison", "number", "reading"]

WIDTH = 98
LABEL = 24

NOTE = "Bias and variance are relative to ‖g*‖ and ‖g*‖²; intervals are of 95 %; ×1 is the model alone."

WIDE = 0.5
"""An interval of the bias that reaches further than this is called wide."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """Gradient estimators beside the exact gradient. ``print`` it for a table; `plot` it; index it by label.

    Attributes:
        system: its name.
        engine: what ran the steps.
        leaves: the parameters whose gradients are compared, p numbers.
        steps: T, the number of samples.
        start: the first step whose loss counts.
        replicas: R, of the random estimators.
        entropy: what the replicas' seeds are spawned from.
        reference: "RTRL" or "BPTT": what made the exact gradients.
        exact: g* of each block, shape (B, p); flat, in the order of `leaves`, each in C order. Their sum over the
            blocks is that of the sequence.
        edges: first step of each block, and the end, shape (B + 1,).
        model_seconds: time of a step of the model alone; NaN if not measured.
        model_bytes: its memory.
        tolerance: what relative difference counts as rounding.
        estimates: an `Estimate` for every label.
    """

    system: str
    engine: str
    leaves: tuple[str, ...]
    steps: int
    start: int
    replicas: int
    entropy: int
    reference: str
    exact: np.ndarray
    edges: np.ndarray
    model_seconds: float
    model_bytes: float
    tolerance: float
    estimates: dict[str, Estimate]

    def __getitem__(self, label: str) -> Estimate:
        """What was found out about one estimator.

        Raises:
            UnknownNameError: there is none of that label.
        """
        if label not in self.estimates:
            raise UnknownNameError(f"compare: no estimator is called {label!r}. {did_you_mean(label, self.estimates)}")
        return self.estimates[label]

    def reading(self, label: str) -> str:
        """What follows from an estimator's numbers, in a sentence."""
        return reading(self[label], self.tolerance)

    def plot(self, path: str | os.PathLike[str] | None = None) -> Any:
        """Noise over time, projections with their intervals, cost against error. Needs matplotlib.

        Args:
            path: file to write, in a format that its name ends in: png, pdf, svg.

        Returns:
            The matplotlib figure.

        Raises:
            DeclarationError: matplotlib is not installed, or knows no such format.
            DataError: the file cannot be written.
        """
        from fwdgrad.comparison.picture import draw

        return draw(self, path)

    def to_frame(self) -> Any:
        """A `pandas.DataFrame` with a row for each estimator, by label, of what the table has.

        Raises:
            DeclarationError: pandas is not installed.
        """
        rows = self.to_rows()
        columns = {name: [row[name] for row in rows.values()] for name in next(iter(rows.values()))}
        return frames.frame(columns, list(rows), "estimator")

    def to_rows(self) -> dict[str, dict[str, float]]:
        """What the table has, as numbers: by label of an estimator, and by name; NaN where it was not measured."""
        made = {}
        for label, e in self.estimates.items():
            numbers = {"projection": e.projection, "bias": e.bias}
            for name, ends in (("projection", e.projection_interval), ("bias", e.bias_interval)):
                numbers |= {f"{name}_low": float(ends[0]), f"{name}_high": float(ends[1])}
            numbers |= {"variance": e.variance, "cosine": float(np.mean(e.cosines))}
            made[label] = {k: float(v) for k, v in (numbers | e.cost._asdict()).items()}
        return made

    def __repr__(self) -> str:
        return f"Comparison of {', '.join(self.estimates)} on {self.system}, {self.steps} steps"

    def __str__(self) -> str:
        rows = self._rows()
        width = max(len(row[0]) for row in rows)
        said = [line for label in self.estimates for line in self._said(label, width)]
        lines = [f"  {line}" for line in display.columns(rows)]
        return "\n".join([*self._head(), "", *lines, "", *said, "", f"  {NOTE}"])

    def _repr_html_(self) -> str:
        title, *head = self._head()
        said = [(cut(label, LABEL), self.reading(label)) for label in self.estimates]
        parts = (display.paragraph("\n".join(line.strip() for line in head)), display.table(self._rows()))
        return display.page(title, *parts, display.pairs(said), display.paragraph(NOTE))

    def _rows(self) -> list[tuple[str, ...]]:
        head = ("estimator", "projection", "bias", "variance", "cosine", "time", "memory", "influence")
        return [head, *(_row(e) for e in self.estimates.values())]

    def _head(self) -> list[str]:
        p, norm = self.exact.shape[1], float(np.linalg.norm(self.exact.sum(axis=0)))
        steps = f"steps {self.start} to {self.steps}" if self.start else f"{self.steps} steps"
        names = textwrap.shorten(", ".join(self.leaves), 50, placeholder=" …")
        lines = [
            f"Gradients of {self.system} over {steps}; {self.replicas} replicas, seed {self.entropy}",
            f"  parameters  {p:,} ({names})",
            f"  exact       {self.reference}, ‖g*‖ = {norm:.3g}",
        ]
        if not math.isnan(self.model_seconds):
            spent, held = _seconds(self.model_seconds), _bytes(self.model_bytes)
            lines.append(f"  the model   {spent} a step, holds {held}; engine {self.engine}")
        return [line[:WIDTH] for line in lines]

    def _said(self, label: str, width: int) -> list[str]:
        name = cut(label, LABEL).ljust(width)
        text = textwrap.wrap(self.reading(label), WIDTH - width - 4)
        return [f"  {name if k == 0 else ' ' * width}  {line}" for k, line in enumerate(text)]


def reading(e: Estimate, tolerance: float) -> str:
    """What follows from an estimator's numbers, in a sentence. Whatever may be 0 is said with its interval."""
    low, high = e.bias_interval
    if not e.random:
        if e.bias <= tolerance:
            return "Exact." if e.bias == 0 else f"Exact, up to rounding: off by {number(e.bias)} times the gradient."
        way = ": points the wrong way" if e.projection < 0 else ""
        cosine = _two(float(e.cosines[0]))
        return f"Biased{way}, off by {number(e.bias)} times the gradient, at a cosine of {cosine}."
    noise = f"noise {number(math.sqrt(e.variance))} times the gradient"
    if high <= tolerance:
        return f"Exact, up to rounding: off by at most {number(high)} times the gradient; {noise}."
    if low > 0:
        way = ": points the wrong way" if e.projection_interval[1] < 0 else ""
        return f"Looks biased{way}, off by {number(low)} to {number(high)} times the gradient; {noise}."
    if not e.projection_interval[0] <= 1 <= e.projection_interval[1]:
        return f"Unclear: the bias may be 0, but the projection is not 1; take more replicas; {noise}."
    within = f"Unbiased within its interval, 0 to {number(high)} times the gradient"
    return f"{within}{' (wide: take more replicas)' if high > WIDE else ''}; {noise}."


def _row(e: Estimate) -> tuple[str, ...]:
    half = float(e.projection_interval[1] - e.projection)
    projection, bias, variance = number(e.projection), number(e.bias), "0"
    if e.random:
        projection += f" ± {number(half)}"
        bias += f" [{', '.join(map(number, e.bias_interval.tolist()))}]"
        variance = number(e.variance)
    cosine = _two(float(np.mean(e.cosines)))
    ratios = [f"×{number(r)}" if r == r else "–" for r in (e.cost.time_ratio, e.cost.memory_ratio)]
    return (cut(e.label, LABEL), projection, bias, variance, cosine, *ratios, _bytes(e.cost.influence_bytes))


def number(value: float) -> str:
    """Three digits at most, as short as they can be read."""
    size = abs(value)
    if size == 0:
        return "0"
    if size < 1e-3 or size >= 1e4:
        mantissa, _, power = f"{value:.1e}".partition("e")
        return f"{mantissa.removesuffix('.0')}e{int(power)}".replace("-", "−")
    digits = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 0.1 else 3
    return f"{value:.{digits}f}".replace("-", "−")


def _two(value: float) -> str:
    return f"{value:.2f}".replace("-0.00", "0.00").replace("-", "−")


def _bytes(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"


def _seconds(value: float) -> str:
    return f"{value * 1e6:.3g} µs" if value < 1e-3 else f"{value * 1e3:.3g} ms"
