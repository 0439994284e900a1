"""`choose`: the estimator whose gradients are best on the user's own data, for what they cost."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fwdgrad.analysis import Budget, Structure, analyze
from fwdgrad.comparison.report import Comparison, number
from fwdgrad.comparison.run import compare
from fwdgrad.comparison.statistics import Estimate
from fwdgrad.errors import DeclarationError
from fwdgrad.estimators import TBPTT, Candidate, Debiased, Estimator
from fwdgrad.support import display
from fwdgrad.support.arguments import integer, suggests
from fwdgrad.system import System

__all__ = ["Choice", "choose"]

NEAR = 1.5
"""An error at most this many times the smallest is as good: the cheapest of those is taken."""

SMALL = 0.05
"""So is one of at most this share of the gradient."""

LARGE = 0.5
"""An error above this is said to be none to learn with."""

SLOW = 1.5
"""Estimators that take at most this many times the time of the cheapest: the one with the smallest error is taken."""

SPARSE = 8
"""Where a state variable feeds at most so many, on average, wider patterns are tried, too."""

STEPS = 500
"""Samples that are looked at unless it is said."""

BUDGET = Budget(ratio=100.0, floor=1e5)
"""What an estimator may be predicted to cost and still be tried."""


@dataclass(frozen=True, eq=False)
class Choice:
    """Which estimator, and why. ``print`` it for a table; `plot` it; `estimator` goes into a learner.

    Attributes:
        label: of the one that is taken.
        horizon: H, the samples over which noise averages out.
        errors: for each estimator √(bias² + variance T/H), relative to the gradient, T the samples of the comparison; 0
            where it is rounding.
        left_out: estimators that were not tried, and why.
        comparison: what was measured.
    """

    label: str
    horizon: int
    errors: dict[str, float]
    left_out: dict[str, str]
    comparison: Comparison

    @property
    def estimator(self) -> Estimator:
        """The one that is taken."""
        return self.comparison[self.label].estimator

    @property
    def reason(self) -> str:
        """Why, in a sentence."""
        mine, error = self.comparison[self.label], self.errors[self.label]
        off = f"is off by {number(error)} times the gradient over {self.horizon:,} samples" if error else "is exact"
        said = f"{self.label} {off}"
        nearer = [k for k, e in self.errors.items() if e < error and k != self.label]
        cheaper = [k for k in self.errors if _time(self.comparison[k]) * SLOW < _time(mine)]
        if nearer:
            best = min(nearer, key=self.errors.__getitem__)
            dear = _time(self.comparison[best]) / _time(mine)
            off = f"is nearer ({number(self.errors[best])})" if self.errors[best] else "is exact"
            said += f"; {best} {off}, at {number(dear)} times the time of a step"
        if cheaper:
            other = min(cheaper, key=self.errors.__getitem__)
            said += f"; {other} is cheaper, and off by {number(self.errors[other])}"
        if error > LARGE:
            said += ". None is good: noise averages out over a longer horizon, a smaller learning rate"
        return f"{said}."

    def plot(self, path: str | os.PathLike[str] | None = None) -> Any:
        """Error against the time of a step, with those that no other is better than in both joined. Needs matplotlib.

        Args:
            path: file to write, in a format that its name ends in: png, pdf, svg.

        Returns:
            The matplotlib figure.

        Raises:
            DeclarationError: matplotlib is not installed, or knows no such format.
            DataError: the file cannot be written.
        """
        from fwdgrad.comparison.picture import draw_choice

        times = {k: _time(self.comparison[k]) for k in self.errors}
        return draw_choice(self.comparison.system, times, self.errors, self.label, self.front, path)

    @property
    def front(self) -> tuple[str, ...]:
        """The estimators that no other is better than in both error and time, the cheapest first."""
        order = sorted(self.errors, key=lambda k: (_time(self.comparison[k]), self.errors[k]))
        kept: list[str] = []
        for k in order:
            if not kept or self.errors[k] < self.errors[kept[-1]]:
                kept.append(k)
        return tuple(kept)

    def __repr__(self) -> str:
        return f"Choice of {self.label} out of {', '.join(self.errors)}"

    def __str__(self) -> str:
        title = f"Estimators for {self.comparison.system}, by {self.comparison.steps:,} samples"
        lines = [f"  {line}" for line in display.columns(self._rows())]
        left = [f"  not tried: {k}, {why}" for k, why in self.left_out.items()]
        return "\n".join([title, *lines, *left, f"  {self.reason}"])

    def _repr_html_(self) -> str:
        left = "\n".join(f"not tried: {k}, {why}" for k, why in self.left_out.items())
        title = f"Estimators for {self.comparison.system}, by {self.comparison.steps:,} samples"
        return display.page(title, display.table(self._rows()), display.paragraph(left), display.paragraph(self.reason))

    def _rows(self) -> list[tuple[str, ...]]:
        head = ("estimator", "bias", "noise", f"error over {self.horizon:,}", "time")
        rows: list[tuple[str, ...]] = [head]
        for k, error in self.errors.items():
            e = self.comparison[k]
            mark = "→ " if k == self.label else "  "
            noise = math.sqrt(e.variance * self.comparison.steps / self.horizon)
            rows.append(
                (
                    mark + k,
                    number(_bias(e) if error else 0.0),
                    number(noise),
                    number(error),
                    f"×{number(e.cost.time_ratio)}",
                )
            )
        return rows


@suggests
def choose(
    system: System,
    xs: Any,
    ys: Any,
    estimators: Iterable[Estimator | str] | Mapping[str, Estimator | str] | None = None,
    *,
    horizon: int = 1000,
    steps: int | None = None,
    budget: Budget = BUDGET,
    replicas: int = 16,
    params: Mapping[str, Any] | None = None,
    seed: int | np.random.Generator = 0,
    engine: str = "auto",
    n_jobs: int = 1,
    progress: bool | Callable[[int, int], None] = False,
) -> Choice:
    """Choose between bias, noise and cost by measuring them on a stretch of data, with θ fixed.

    What structure says (`analyze`) is what an estimator costs; how biased or noisy it is only data tell. Every
    estimator goes over the samples as in `compare`. Averaged over H samples, the squared error of its gradient,
    relative to ‖g*‖², is about

        bias² + variance · T/H

    with the variance of the gradient of all T samples. Taken is the cheapest of those whose error is at most 1.5 times
    the smallest, or 5 % of the gradient: of two that are as fast, the one with the smaller error.

    Args:
        system: the declared system.
        xs: inputs, arrays with time along axis 0; None for an autonomous system.
        ys: targets likewise.
        estimators: what there is to choose from, as for `compare`. By default exact gradients, SnAp-1 and what makes it
            unbiased, `OK`, the random one that "auto" would take, and truncation after 1 and 10 steps, as far as they
            apply and fit the budget.
        horizon: H, about one over the learning rate: how many samples a step of learning averages over.
        steps: T, how many of the samples are used; 500 unless there are fewer.
        budget: what an estimator may be predicted to cost and still be tried.
        replicas: how often random estimators are repeated.
        params: θ, or some of it; the system's initial values unless given.
        seed: an integer or a generator.
        engine: as for `compare`: times are those of its steps.
        n_jobs: processes.
        progress: as for `compare`.

    Returns:
        The choice, with its reason: `Choice`.

    Raises:
        DeclarationError, DataError, ShapeError, UnknownNameError, NonFiniteError: as `compare`.

    Example:
        >>> import numpy as np, fwdgrad as fg
        >>> from fwdgrad import systems
        >>> system = systems.tanh_rnn(units=4, inputs=1, outputs=1)
        >>> xs = np.random.default_rng(0).normal(size=(60, 1))
        >>> found = fg.choose(system, xs, 0.5 * xs, replicas=4)
        >>> learner = fg.Learner(system, found.estimator, fg.Adam(1e-3))
    """
    H = integer("choose", "horizon", horizon, 1)
    left_out: dict[str, str] = {}
    if estimators is None:
        if not isinstance(system, System):
            raise DeclarationError(f"choose: expected a fg.System, got {system!r}. Declare one: fg.System(F, Y, …).")
        estimators, left_out = candidates(analyze(system, budget), budget)
    length = next((len(part) for part in _parts(ys)), 0)
    used = min(STEPS, length) if steps is None else steps
    found = compare(
        system, xs, ys, estimators, replicas, steps=used or None, params=params, seed=seed, engine=engine,
        n_jobs=n_jobs, progress=progress,
    )  # fmt: skip
    errors = {k: math.sqrt(_bias(e) ** 2 + e.variance * found.steps / H) for k, e in found.estimates.items()}
    errors = {k: 0.0 if e <= found.tolerance else e for k, e in errors.items()}
    return Choice(_best(found, errors), H, errors, left_out, found)


def candidates(structure: Structure, budget: Budget) -> tuple[dict[str, Estimator], dict[str, str]]:
    """What there is to choose from on a system, and what is too dear."""
    by = {c.label: c for c in structure.candidates}
    allowed = max(budget.ratio * by["TBPTT(1)"].multiply_adds, budget.floor)
    exact = min((by["RTRL"], by["SparseRTRL"]), key=lambda c: c.multiply_adds)
    tried: list[Candidate] = [exact]
    if by["SnAp-1"].bias != "none":
        tried += [by["SnAp-1"], by["Debiased(SnAp-1)"]]
    if "OK(4)" in by and not by["OK(4)"].why_not:
        tried.append(by["OK(4)"])
    tried += [c for c in by.values() if c.make() == structure.choice and c not in tried and c is not exact]
    if not any(c.variance.startswith("random signs, one") for c in tried):
        tried.append(min((by["NoBackTrack"], by["UORO"]), key=lambda c: c.multiply_adds))
    made, left_out = {}, {}
    for c in tried:
        if c.multiply_adds > allowed or c.nbytes > budget.nbytes:
            times = c.multiply_adds / by["TBPTT(1)"].multiply_adds
            left_out[c.label] = f"which would cost {times:,.0f} times what truncation does"
        else:
            made[c.label] = c.make()
    S = structure.patterns.transition.state
    if "Debiased(SnAp-1)" in made and S.nnz <= SPARSE * S.shape[0] and structure.closed > S.nnz:
        made["Debiased(SnAp-4)"] = Debiased("snap:4")
    return made | {"TBPTT(1)": TBPTT(1), "TBPTT(10)": TBPTT(10)}, left_out


def _best(found: Comparison, errors: dict[str, float]) -> str:
    """The cheapest of those that are good enough."""
    good = [k for k, e in errors.items() if e <= max(NEAR * min(errors.values()), SMALL)]
    fast = min(_time(found[k]) for k in good)
    return min((k for k in good if _time(found[k]) <= SLOW * fast), key=errors.__getitem__)


def _bias(e: Estimate) -> float:
    """What is certain of it, where it is estimated: the low end of its interval."""
    return float(e.bias_interval[0]) if e.random else e.bias


def _time(e: Estimate) -> float:
    return e.cost.time_ratio


def _parts(stream: Any) -> list[Any]:
    if isinstance(stream, Mapping):
        return [leaf for value in stream.values() for leaf in _parts(value)]
    return [stream] if hasattr(stream, "__len__") else []
