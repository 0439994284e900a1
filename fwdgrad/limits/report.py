"""What `refine` returns, as arrays, as tables and as sentences."""

from __future__ import annotations

import os
import textwrap
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from fwdgrad.errors import UnknownNameError, did_you_mean
from fwdgrad.estimators import Estimator
from fwdgrad.influence import RankOne
from fwdgrad.limits.slopes import FINEST, local_slopes, slope
from fwdgrad.limits.unscaled import Unscaled
from fwdgrad.support import display
from fwdgrad.support.words import digits

__all__ = ["Refined", "Refinement"]

WIDTH = 98

NOTE = "Bias and variance are relative to ‖G‖ and ‖G‖²; intervals are of 95 %; RTRL is the mean at each δt."

FLOOR = 1e-9
"""Relative errors below this are those of the reference."""

NEGLIGIBLE = 1e-6
"""Below such a part of its largest norm, G at the horizon is said to be small."""

LARGE = 0.5
"""An error of the mean that no order can be read off."""

STRAY = 0.75
"""Local orders that are further apart than this are not those of a power."""

HAS_LIMIT = 0.15
"""A factor has a limit if E‖Δ‖² a step is of an order within this of 1, as of a Brownian path, and E‖·‖² of 0."""

ENOUGH = 64
"""Replicas from which on an order of E‖·‖², over four δt, is known to about 0.1."""

ROUGH = 0.2
"""With such errors of the mean, the sizes of the factors change with δt as the integrator's do."""

HAS_NONE = 0.5
"""It has none if the order of E‖·‖² is beyond this."""


@dataclass(frozen=True, eq=False)
class Refined:
    """One estimator down the ladder: K steps δt from the largest to the smallest, R replicas.

    Attributes:
        label: its name in tables.
        estimator: itself, with the noise that was asked for.
        random: whether it asks for random numbers.
        dts: δt, shape (K,).
        matrices: G̃ of every replica at the horizon, shape (K, R, n, p).
        bias: ‖E G̃ − G‖ / ‖G‖ against the limit G, without the noise's own contribution, shape (K,).
        bias_interval: 95 % interval of it, shape (K, 2).
        agreement_interval: the same against RTRL at the same δt, shape (K, 2). For an unbiased estimator all K hold 0,
            in 95 of 100 studies: each is an interval of 1 − 0.05/K.
        variance: E ‖G̃ − E G̃‖² / ‖G‖², shape (K,).
        moved: for each factor, such as "v" and "w", E ‖Δ‖² per step, arrays (K,).
        sizes: E ‖·‖² of each factor at the horizon, arrays (K,).
        apart: √E ‖G̃ − G̃'‖² / ‖G‖ of neighbouring δt along the same Brownian path, shape (K − 1,); NaN for signs.
        accuracy: as in `Refinement`.
    """

    label: str
    estimator: Estimator
    random: bool
    dts: np.ndarray
    matrices: np.ndarray
    bias: np.ndarray
    bias_interval: np.ndarray
    agreement_interval: np.ndarray
    variance: np.ndarray
    moved: dict[str, np.ndarray]
    sizes: dict[str, np.ndarray]
    apart: np.ndarray
    accuracy: float

    @property
    def of_rank_one(self) -> bool:
        """Whether G̃ is a product of two factors that noise moves."""
        return isinstance(self.estimator.influence, (RankOne, Unscaled))

    @property
    def slopes(self) -> dict[str, float]:
        """The order of each of `moved` in δt, over the smallest four: 1 where a factor has a limit."""
        return {k: slope(self.dts, v) for k, v in self.moved.items()}

    @property
    def growth(self) -> dict[str, float]:
        """The order of each of `sizes` in δt, over the smallest four: 0 where a factor has a limit that is not 0."""
        return {k: slope(self.dts, v) for k, v in self.sizes.items()}

    @property
    def strong_order(self) -> float:
        """The order of `apart` in δt, over the smallest four; NaN for signs."""
        return slope(self.dts[1:], self.apart)

    def __repr__(self) -> str:
        return f"Refined {self.label}: {len(self.dts)} δt, {display.counted(self.matrices.shape[1], 'replica')}"

    def _repr_html_(self) -> str:
        rows = [("δt", "bias", "variance", *(f"E‖Δ{k}‖²" for k in self.moved))]
        for k, dt in enumerate(self.dts):
            numbers = (dt, self.bias[k], self.variance[k], *(v[k] for v in self.moved.values()))
            rows.append(tuple(digits(float(v)) for v in numbers))
        return display.page(repr(self), display.table(rows, left=0))

    @property
    def agrees(self) -> bool:
        """Whether the replicas' mean agrees with RTRL at every δt, within its intervals."""
        return bool(np.all(self.agreement_interval[:, 0] <= self.accuracy))


@dataclass(frozen=True, eq=False)
class Refinement:
    """Estimators down a ladder of δt. ``print`` it for tables; `plot` it; index it by label.

    Attributes:
        system: its name.
        method: the integrator.
        horizon: t at the end.
        dts: δt, from the largest to the smallest, shape (K,).
        steps: horizon/δt, shape (K,).
        noise: "signs" or "gaussian".
        rescale: whether scales were chosen for least variance.
        rows: "map" or "rate".
        leaves: the parameters of the p columns of G, each in C order.
        replicas: R.
        entropy: what the replicas' seeds are spawned from.
        limit: G of the variational equations at the horizon, shape (n, p).
        peak: the largest ‖G(t)‖ at 16 times up to the horizon.
        accuracy: errors relative to ‖G‖ that are below this are of rounding, or of the reference.
        exact: G of RTRL at each δt, which is the mean of every unbiased estimator, shape (K, n, p).
        estimates: a `Refined` for every label.
    """

    system: str
    method: str
    horizon: float
    dts: np.ndarray
    steps: np.ndarray
    noise: str
    rescale: bool
    rows: str
    leaves: tuple[str, ...]
    replicas: int
    entropy: int
    limit: np.ndarray
    peak: float
    accuracy: float
    exact: np.ndarray
    estimates: dict[str, Refined]

    def __getitem__(self, label: str) -> Refined:
        """What was found out about one estimator.

        Raises:
            UnknownNameError: there is none of that label.
        """
        if label not in self.estimates:
            raise UnknownNameError(f"refine: no estimator is called {label!r}. {did_you_mean(label, self.estimates)}")
        return self.estimates[label]

    @cached_property
    def errors(self) -> np.ndarray:
        """‖G_δt − G‖ / ‖G‖ of RTRL on the discretised map, shape (K,): the bias that the integrator makes."""
        return np.linalg.norm(self.exact - self.limit, axis=(1, 2)) / np.linalg.norm(self.limit)

    @property
    def order(self) -> float:
        """The weak order: that of `errors` in δt, over the smallest four that are above `accuracy`."""
        return slope(self.dts, self.errors, self.accuracy)

    @property
    def remarks(self) -> list[str]:
        """Why the numbers may not mean what their columns say, in sentences; empty if nothing is the matter."""
        said, norm = [], float(np.linalg.norm(self.limit))
        if norm < NEGLIGIBLE * self.peak:
            said.append(
                f"‖G‖ at the horizon is {digits(norm / self.peak)} of what it was on the way; all is relative to "
                "something as small as that. Take another horizon."
            )
        orders = local_slopes(self.dts, self.errors, self.accuracy)
        if self.errors[-1] > LARGE or (len(orders) and np.ptp(orders) > STRAY):
            each = ", ".join(f"{order:.2f}" for order in orders)
            said.append(
                f"RTRL's error is not a power of δt on this ladder (from one δt to the next its order is {each}), so "
                "that orders and slopes mean little. Take smaller δt, or a shorter horizon."
            )
        return said

    def reading(self, label: str) -> str:
        """What follows from an estimator's numbers, in sentences."""
        e = self[label]
        if not e.random:
            worst = float(np.max(e.agreement_interval))
            return (
                "Not random; RTRL's at every δt."
                if worst <= e.accuracy
                else f"Not random; off RTRL by {digits(worst)}."
            )
        most = float(np.max(e.agreement_interval[:, 1]))
        if np.isnan(most):
            said = ["There are too few replicas to see a bias."]
        elif e.agrees:
            said = [f"No bias is seen at any δt; one of up to {digits(most)} ‖G‖ would not be."]
        else:
            said = ["The mean is off RTRL's at some δt, as by chance in 1 table of 20."]
        for name, order in e.slopes.items():
            if np.isnan(order):
                continue  # it does not move
            orders = f"E‖Δ{name}‖² a step goes as δt^{order:.2f} and E‖{name}‖² as δt^{e.growth[name]:.2f}"
            said.append(f"{orders}: {self._verdict(e, name)}." if e.of_rank_one else f"{orders}.")
        if not np.isnan(e.strong_order):
            said.append(f"Along one path, halving δt moves G̃ as δt^{e.strong_order:.2f}.")
        return " ".join(said)

    def _verdict(self, e: Refined, factor: str) -> str:
        """Whether a factor has a limit: from its motion and size, where the integrator's errors do not rule both."""
        growth, few = e.growth[factor], e.matrices.shape[1] < ENOUGH or len(self.dts) < FINEST
        if few or self.remarks or np.max(self.errors[-FINEST:]) > ROUGH:
            why = "with so few replicas or δt" if few else "with δt as large as these"
            return f"whether {factor} has a limit cannot be told {why}"
        if abs(growth) > HAS_NONE:
            return f"{factor} goes to 0" if growth > 0 else f"{factor} has no limit"
        if abs(growth) < HAS_LIMIT and abs(e.slopes[factor] - 1) < HAS_LIMIT:
            return f"{factor} has a limit"
        return f"whether {factor} has a limit cannot be told on this ladder"

    def plot(self, path: str | os.PathLike[str] | None = None) -> Any:
        """Error of the mean, motion a step, and variance, against δt. Needs matplotlib.

        Args:
            path: file to write, in a format that its name ends in: png, pdf, svg.

        Returns:
            The matplotlib figure.

        Raises:
            DeclarationError: matplotlib is not installed, or knows no such format.
            DataError: the file cannot be written.
        """
        from fwdgrad.limits.picture import draw

        return draw(self, path)

    def __repr__(self) -> str:
        return (
            f"Refinement of {', '.join(self.estimates)} on {self.system}, δt from {self.dts[0]:g} to {self.dts[-1]:g}"
        )

    def __str__(self) -> str:
        lines = self._head()
        for label in self.estimates:
            said = textwrap.wrap(self.reading(label), WIDTH - 2, initial_indent="  ", subsequent_indent="  ")
            lines += ["", *(f"  {line}" for line in display.columns(self._rows(label))), *said]
        remarks = [
            line
            for remark in self.remarks
            for line in textwrap.wrap(remark, WIDTH - 2, initial_indent="  ! ", subsequent_indent="    ")
        ]
        return "\n".join([*lines, "", f"  {NOTE}", *remarks])

    def _repr_html_(self) -> str:
        title, *head = self._head()
        parts = [display.paragraph("\n".join(line.strip() for line in head))]
        for label in self.estimates:
            parts += [display.table(self._rows(label)), display.paragraph(self.reading(label))]
        return display.page(title, *parts, display.paragraph(NOTE), display.remarks(self.remarks))

    def _head(self) -> list[str]:
        p, norm = self.limit.shape[1], float(np.linalg.norm(self.limit))
        how = self.noise + ("" if self.rescale else ", without rescaling") + (", rows of ∂F/∂θ" * (self.rows == "rate"))
        names = textwrap.shorten(", ".join(self.leaves), 50, placeholder=" …")
        return [
            f"∂h/∂θ of {self.system} at t = {self.horizon:g} for δt → 0; {self.replicas} replicas, seed {self.entropy}",
            f"  parameters  {p:,} ({names})",
            f"  the limit   variational equations, ‖G‖ = {norm:.3g}",
            f"  method      {self.method}, {self._order()}; noise: {how}",
        ]

    def _order(self) -> str:
        if not np.isnan(self.order):
            return f"of order {self.order:.2f} in the mean"
        return "whose order does not show: the errors are of rounding, or one δt is too few"

    def _rows(self, label: str) -> list[tuple[str, ...]]:
        e = self[label]
        motion = [f"E‖Δ{k}‖²" for k in e.moved] if e.random else []
        paths = e.random and not np.all(np.isnan(e.apart))
        rows: list[tuple[str, ...]] = [
            (label, "steps", "RTRL", "bias", "off RTRL", "variance", *motion, *["apart"] * paths)
        ]
        for k, dt in enumerate(e.dts):
            off = f"[{', '.join(map(digits, e.agreement_interval[k].tolist()))}]"
            row = [
                f"δt {digits(float(dt))}",
                str(self.steps[k]),
                digits(float(self.errors[k])),
                digits(float(e.bias[k])),
            ]
            row += [off if e.random else digits(float(e.agreement_interval[k, 0])), digits(float(e.variance[k]))]
            row += [digits(float(v[k])) for v in e.moved.values()] if e.random else []
            rows.append((*row, *(["–" if k == 0 else digits(float(e.apart[k - 1]))] * paths)))
        if e.random:
            last = [f"δt^{s:.2f}" for s in e.slopes.values()]
            strong = [f"δt^{e.strong_order:.2f}"] * paths
            rows.append(("slope", "", f"δt^{self.order:.2f}", "", "", "", *last, *strong))
        return rows
