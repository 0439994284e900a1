"""Multilevel Monte Carlo over δt: E φ(θ(t)) under learning, to a requested accuracy, at a fraction of the steps.

    E φ_L = E φ_0 + Σ_l E (φ_l − φ_{l−1})        (Giles 2008, "Multilevel Monte Carlo path simulation")

φ_l is the functional of a learner with step δt_l. The differences are taken along one Brownian path, which the coarser
learner sees in larger increments, so their variance V_l shrinks with δt, and few replicas suffice where steps are many.
With C_l steps a replica, N_l = (Σ_k √(V_k C_k)) √(V_l/C_l) / ε² replicas reach a standard error ε with fewest steps.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fwdgrad.errors import DataError, DeclarationError
from fwdgrad.estimators import Estimator
from fwdgrad.limits.learners import Learners, rate_of_time
from fwdgrad.limits.levels import Functional, Level, Samples, believed, next_counts
from fwdgrad.limits.options import one, prepared
from fwdgrad.limits.timed import OfTime, Timed, grid
from fwdgrad.optimizers.base import positive
from fwdgrad.optimizers.rates import Rate
from fwdgrad.support import display
from fwdgrad.support.arguments import entropy_of, integer, jobs
from fwdgrad.support.notice import Progress
from fwdgrad.support.words import digits
from fwdgrad.system import System

__all__ = ["Multilevel", "multilevel"]

BATCH = 64
"""Replicas that learn side by side."""

DOMINANT = 0.05
"""A replica that makes such a part of error² is one of too few."""

WILD = 1e6
"""Where φ varies so many times as much as at a smaller δt, learners diverge."""

ROUNDS = 6
"""Rounds of replicas after which one of them should not make …"""

RULES = 0.25
"""… such a part of error², unless φ has no variance."""


@dataclass(frozen=True, eq=False)
class Multilevel:
    """An estimate of E φ(θ(t)) at the smallest δt, and what it cost. Levels go from the largest δt to the smallest.

    Attributes:
        estimate: of E φ with the smallest δt.
        error: its standard error, √Σ V_l/N_l.
        tolerance: what was asked for.
        dts: δt of each level, shape (L,).
        left_out: larger δt that were asked for and are not used, as learners diverge there.
        replicas: N_l.
        means: of φ_0, then of φ_l − φ_{l−1}.
        variances: V_l of the same; see `believed` for what is not taken from the samples.
        costs: C_l, steps a replica: those of both learners.
        steps: made in all, also with what is left out.
        plain_variance: of φ itself at the smallest δt.
        dominance: the largest part of error² that one replica makes. If that is much, φ has heavy tails, of which there
            may be more than was seen: the interval is likely to be too short.
    """

    estimate: float
    error: float
    tolerance: float
    dts: np.ndarray
    left_out: np.ndarray
    replicas: np.ndarray
    means: np.ndarray
    variances: np.ndarray
    costs: np.ndarray
    steps: int
    plain_variance: float
    dominance: float

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of E φ with the smallest δt."""
        return self.estimate - 1.96 * self.error, self.estimate + 1.96 * self.error

    @property
    def remaining(self) -> float:
        """How far E φ is from its limit, about: the last mean over (δt_{L−1}/δt_L − 1), as the weak order is 1.

        NaN if only one level is used.
        """
        if len(self.dts) < 2:
            return math.nan
        return float(abs(self.means[-1]) / (self.dts[-2] / self.dts[-1] - 1))

    @property
    def plain_steps(self) -> float:
        """Steps that plain Monte Carlo at the smallest δt would take for the same standard error."""
        fine = self.costs[-1] if len(self.dts) < 2 else self.costs[-1] / (1 + self.dts[-1] / self.dts[-2])
        return float(self.plain_variance / self.error**2 * fine)

    @property
    def saving(self) -> float:
        """How many times more that is."""
        return self.plain_steps / self.steps

    def __repr__(self) -> str:
        return f"Multilevel: {self.estimate:.5g} ± {digits(1.96 * self.error)} (95 %)"

    def __str__(self) -> str:
        return "\n".join([*self._said(), "", *(f"  {line}" for line in display.columns(self._rows(), left=0))])

    def _repr_html_(self) -> str:
        title, *said = self._said()
        return display.page(
            title, display.paragraph("\n".join(s.strip() for s in said)), display.table(self._rows(), 0)
        )

    def _rows(self) -> list[tuple[str, ...]]:
        rows: list[tuple[str, ...]] = [("δt", "replicas", "steps each", "mean", "variance")]
        for k, dt in enumerate(self.dts):
            numbers = (self.replicas[k], self.costs[k])
            rows.append(
                (digits(float(dt)), *(f"{v:,}" for v in numbers), *map(digits, (self.means[k], self.variances[k])))
            )
        return rows

    def _said(self) -> list[str]:
        said = [
            f"E φ = {self.estimate:.5g} ± {digits(1.96 * self.error)} (95 %), with {self.steps:,} steps;",
            f"  plain Monte Carlo at δt = {digits(float(self.dts[-1]))}: {self.plain_steps:,.0f}, "
            f"{self.saving:.3g} times as many",
        ]
        if len(self.dts) > 1:
            said.append(f"  what a smaller δt would still change: about {digits(self.remaining)}")
        if len(self.left_out):
            left = ", ".join(digits(float(dt)) for dt in self.left_out)
            said.append(f"  left out, as learners diverge there: δt = {left}")
        if self.dominance > DOMINANT:
            said.append(
                f"  ! one replica alone makes {self.dominance:.0%} of error²: with tails so heavy, it may be too small"
            )
        return said


def multilevel(
    system: System,
    x_of_t: OfTime | None,
    y_of_t: OfTime,
    horizon: float,
    dts: Iterable[float],
    functional: Functional,
    tolerance: float,
    estimator: Estimator | str = "nobacktrack",
    rate: Rate = 0.1,
    *,
    pilot: int = 64,
    params: Mapping[str, Any] | None = None,
    seed: int | np.random.Generator = 0,
    engine: str = "auto",
    n_jobs: int = -1,
    progress: bool | Callable[[int, int], None] = False,
) -> Multilevel:
    """E φ(θ(t)) under learning by dθ = −η g dt with noise on Brownian paths, to a standard error of `tolerance`.

    Args:
        system: declared by its rate.
        x_of_t: the input as a function of the time; None for an autonomous system.
        y_of_t: the target likewise.
        horizon: t.
        dts: the levels: two or more δt, each a whole fraction of the one before. The largest must be small enough not
            to diverge, else it is left out; the smallest is the one whose E φ is estimated.
        functional: φ, from a dict of θ by name, arrays (R, *shape), to R numbers.
        tolerance: the standard error to reach. Replicas are added until it is also known to a quarter; where φ has
            heavy tails, as a high power has, that is so only once these were seen (see `Multilevel.dominance`).
        estimator: rank-one, with a window of one step. NoBackTrack, whose scales do not look at the noise, has paths
            that converge; with UORO's they do not, and nothing is saved.
        rate: η per unit time, a number, or a function of t.
        pilot: replicas at the smallest δt from which the variances are first estimated, and more at the larger ones.
            An event that is rarer than one in all of them is not seen.
        params: θ to start from.
        seed: an integer or a generator.
        engine: as in `refine`.
        n_jobs: likewise.
        progress: likewise; replicas in all are not known beforehand.

    Cost: see `Multilevel.steps`.

    Raises:
        DeclarationError, ShapeError, UnknownNameError, NonFiniteError: as `learning`.
        DataError: the functional does not return a number for each replica, or always the same one, or has no variance.

    Example:
        >>> import numpy as np, fwdgrad as fg
        >>> from fwdgrad.limits import multilevel
        >>> decay = fg.System(lambda h, x, p: p["u"] - h, None, np.zeros(1), {"u": np.zeros(1)}, dt=0.1)
        >>> dts = [1 / 16, 1 / 32, 1 / 64, 1 / 128]
        >>> found = multilevel(decay, None, lambda t: np.ones(1), 2.0, dts, lambda p: p["u"][:, 0], 0.001)
        >>> found.error < 0.0011, found.saving > 2
        (True, True)
    """
    who = "multilevel"
    timed, steps = Timed(system, x_of_t, y_of_t, params, who), grid(horizon, dts, who)
    if len(steps) < 2 or np.any(steps[1:] % steps[:-1]):
        raise DeclarationError(
            f"{who}: expected two or more dts, each a whole fraction of the one before, got "
            f"{(horizon / steps).tolist()}."
        )
    tolerance = positive(f"{who}(tolerance)", tolerance, "give a standard error, such as 0.01")
    entropy, chosen = entropy_of(who, seed), prepared(who, one(who, estimator), "gaussian")
    learners = Learners(timed, chosen, rate_of_time(rate, "multilevel(rate)", horizon), BATCH, engine)
    if not learners.random:
        raise DeclarationError(f"{who}: {chosen.name} is not random; its E φ is φ. Use fg.Learner.")
    levels = [Level(learners, horizon, steps[max(k - 1, 0) : k + 1].tolist(), functional) for k in range(len(steps))]
    first = integer(who, "pilot", pilot, 2)
    return _run(levels, horizon / steps, tolerance, entropy, first, jobs(who, n_jobs), progress)


def _run(
    levels: list[Level], dts: np.ndarray, tolerance: float, entropy: int, pilot: int, n_jobs: int, progress: Any
) -> Multilevel:
    """A pilot on each level, then as many more as the variances ask for, until they ask for no more."""
    samples, costs = Samples(levels, entropy), np.array([level.cost for level in levels])
    wanted = np.ceil(pilot * np.sqrt(costs[-1] / costs) / BATCH).astype(int)
    rounds = itertools.count()
    with Progress("multilevel", progress, int(wanted.sum()) * BATCH) as shown:
        levels[0].learners.prepare()
        while samples.fill(wanted, n_jobs, shown.add):
            samples.leave_out(_wild(samples.fine()))
            fine, coarse, used = samples.fine(), samples.coarse(), dts[samples.first :]
            spread = float(np.max([np.ptp(f) for f in fine]))
            if spread == 0:
                raise DataError(
                    f"multilevel: φ is {fine[0][0]:g} for all {sum(map(len, fine)):,} replicas of every level, so "
                    "nothing is known of its variance.\nIf it tells of an event that is rare, ask for more replicas to "
                    f"begin with: pilot={10 * pilot}."
                )
            differences = [f - c for f, c in zip(fine, coarse, strict=True)]
            variances, errors = believed(differences, spread, used)
            dominance = _dominance(differences, variances)
            if next(rounds) >= ROUNDS and dominance > RULES:
                raise DataError(
                    f"multilevel: after {samples.steps:,} steps one replica still makes "
                    f"{dominance:.0%} of error², so φ has no variance to speak of.\n"
                    "Take a φ that is bounded, such as a median's indicator, or np.clip of this one."
                )
            asked = next_counts(np.array(list(map(len, fine))), variances, errors, samples.costs, tolerance)
            wanted = np.concatenate([wanted[: samples.first], np.ceil(asked / BATCH).astype(int)])
    counts, means = np.array(list(map(len, differences))), np.array([d.mean() for d in differences])
    return Multilevel(
        estimate=float(means.sum()),
        error=float(np.sqrt(np.sum(variances / counts))),
        tolerance=tolerance,
        dts=used,
        left_out=dts[: samples.first],
        replicas=counts,
        means=means,
        variances=variances,
        costs=samples.costs,
        steps=samples.steps,
        plain_variance=_plain_variance(fine, coarse),
        dominance=dominance,
    )


def _wild(fine: list[np.ndarray]) -> int:
    """On how many of the coarsest levels learners diverge, though their φ is finite."""
    with np.errstate(all="ignore"):
        variances = np.array([np.var(f) for f in fine])
    count = 0
    for k in range(len(fine) - 1):
        later = variances[k + 1 :]
        least = np.min(later[later > 0], initial=np.inf)
        if not variances[k] <= WILD * least:
            count = k + 1
    return count


def _dominance(differences: list[np.ndarray], variances: np.ndarray) -> float:
    """The largest part of Σ V_l/N_l that one replica makes."""
    total = sum(v / len(d) for d, v in zip(differences, variances, strict=True))
    return float(max(np.max((d - d.mean()) ** 2) / len(d) ** 2 for d in differences) / total)


def _plain_variance(fine: list[np.ndarray], coarse: list[np.ndarray]) -> float:
    """Of φ at the smallest δt: E φ² − (E φ)², both from all levels; or, if that is not positive, from the finest."""
    square = sum(np.mean(f**2) - np.mean(c**2) for f, c in zip(fine, coarse, strict=True))
    mean = sum(np.mean(f) - np.mean(c) for f, c in zip(fine, coarse, strict=True))
    return float(square - mean**2) if square > mean**2 else float(np.var(np.concatenate(fine[1:] or fine)))
