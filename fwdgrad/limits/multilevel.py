"""Multilevel Monte Carlo over δt: E φ(θ(t)) under learning, to a requested accuracy, at a fraction of the steps.

    E φ_L = E φ_0 + Σ_l E (φ_l − φ_{l−1})        (Giles 2008, "Multilevel Monte Carlo path simulation")

φ_l is the functional of a learner with step δt_l. The differences are taken along one Brownian path, which the coarser
learner sees in larger increments, so their variance V_l shrinks with δt, and few replicas suffice where steps are many.
With C_l steps a replica, N_l = (Σ_k √(V_k C_k)) √(V_l/C_l) / ε² replicas reach a standard error ε with fewest steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fwdgrad.compare.replicas import Progress
from fwdgrad.errors import DataError, DeclarationError
from fwdgrad.estimators import Estimator
from fwdgrad.limits.brownian import brownian_path
from fwdgrad.limits.learners import Learners
from fwdgrad.limits.options import checked_progress, entropy_of, generator, one, prepared
from fwdgrad.limits.report import digits
from fwdgrad.limits.timed import OfTime, Timed, grid
from fwdgrad.optimizers.schedules import Rate
from fwdgrad.system import System

__all__ = ["Multilevel", "allocation", "multilevel"]

BATCH = 64
"""Replicas that learn side by side."""

PILOT = 1
"""Batches from which the variances of the levels are first estimated."""

Functional = Callable[[dict[str, np.ndarray]], Any]


@dataclass(frozen=True, eq=False)
class Multilevel:
    """An estimate of E φ(θ(t)) at the smallest δt, and what it cost. Levels go from the largest δt to the smallest.

    Attributes:
        estimate: of E φ with the smallest δt.
        error: its standard error, √Σ V_l/N_l.
        tolerance: what was asked for.
        dts: δt of each level, shape (L,).
        replicas: N_l.
        means: of φ_0, then of φ_l − φ_{l−1}.
        variances: V_l of the same.
        costs: C_l, steps a replica: those of both learners.
        plain_variance: of φ itself at the smallest δt: E φ² − (E φ)², both from all levels.
    """

    estimate: float
    error: float
    tolerance: float
    dts: np.ndarray
    replicas: np.ndarray
    means: np.ndarray
    variances: np.ndarray
    costs: np.ndarray
    plain_variance: float

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of E φ with the smallest δt."""
        return self.estimate - 1.96 * self.error, self.estimate + 1.96 * self.error

    @property
    def remaining(self) -> float:
        """How far E φ is from its limit, about: the last mean over (δt_{L−1}/δt_L − 1), as the weak order is 1."""
        return float(abs(self.means[-1]) / (self.dts[-2] / self.dts[-1] - 1))

    @property
    def steps(self) -> int:
        """Steps made in all."""
        return int(self.replicas @ self.costs)

    @property
    def plain_steps(self) -> float:
        """Steps that plain Monte Carlo at the smallest δt would take for the same standard error."""
        fine = self.costs[-1] / (1 + self.dts[-1] / self.dts[-2])
        return float(self.plain_variance / self.error**2 * fine)

    @property
    def saving(self) -> float:
        """How many times more that is."""
        return self.plain_steps / self.steps

    def __str__(self) -> str:
        rows: list[tuple[str, ...]] = [("δt", "replicas", "steps each", "mean", "variance")]
        for k, dt in enumerate(self.dts):
            numbers = (self.replicas[k], self.costs[k])
            rows.append(
                (digits(float(dt)), *(f"{v:,}" for v in numbers), *map(digits, (self.means[k], self.variances[k])))
            )
        widths = [max(len(row[j]) for row in rows) for j in range(5)]
        return "\n".join(
            [
                f"E φ = {self.estimate:.5g} ± {digits(1.96 * self.error)} (95 %), with {self.steps:,} steps;",
                f"  plain Monte Carlo at δt = {digits(float(self.dts[-1]))}: {self.plain_steps:,.0f}, "
                f"{self.saving:.3g} times as many",
                f"  what a smaller δt would still change: about {digits(self.remaining)}",
                "",
                *("  " + "  ".join(map(str.rjust, row, widths)) for row in rows),
            ]
        )


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
            to diverge; the smallest is the one whose E φ is estimated.
        functional: φ, from a dict of θ by name, arrays (R, *shape), to R numbers.
        tolerance: the standard error to reach.
        estimator: rank-one, with a window of one step. NoBackTrack, whose scales do not look at the noise, has paths
            that converge; with UORO's they do not, and nothing is saved.
        rate: η per unit time, a number, or a function of t.
        params: θ to start from.
        seed: an integer or a generator.
        engine: as in `refine`.
        n_jobs: likewise.
        progress: likewise; replicas in all are not known beforehand.

    Cost: see `Multilevel.steps`.

    Raises:
        DeclarationError, ShapeError, UnknownNameError, NonFiniteError: as `learning`.
        DataError: the functional does not return one finite number a replica.

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
    if not (isinstance(tolerance, (int, float)) and 0 < tolerance < math.inf):
        raise DeclarationError(f"{who}(tolerance=…): expected a positive number, got {tolerance!r}.")
    entropy, chosen = entropy_of(who, seed), prepared(who, one(who, estimator), "gaussian")
    learners = Learners(timed, chosen, rate, BATCH, engine)
    if not learners.specs:
        raise DeclarationError(f"{who}: {chosen.name} is not random; its E φ is φ. Use fg.Learner.")
    levels = [_Level(learners, horizon, steps[max(k - 1, 0) : k + 1].tolist(), functional) for k in range(len(steps))]
    return _run(levels, horizon / steps, tolerance, entropy, n_jobs, checked_progress(who, progress))


def _run(
    levels: list[_Level], dts: np.ndarray, tolerance: float, entropy: int, n_jobs: int, progress: Any
) -> Multilevel:
    """Pilot batches, then as many more as the variances ask for, until they ask for no more."""
    import joblib  # not needed before

    levels[0].learners.prepare()
    samples: list[list[np.ndarray]] = [[] for _ in levels]
    squares: list[list[np.ndarray]] = [[] for _ in levels]
    wanted = np.full(len(levels), PILOT)
    costs = np.array([level.cost for level in levels])
    with Progress(progress, PILOT * BATCH * len(levels)) as shown:
        while True:
            tasks = [(k, b) for k in range(len(levels)) for b in range(len(samples[k]), wanted[k])]
            if not tasks:
                break
            runs = (joblib.delayed(_sampled)(levels[k], entropy, k, b) for k, b in tasks)
            # a new one each time: a second call of the same would not keep to threads
            parallel = joblib.Parallel(n_jobs=n_jobs, prefer="threads", return_as="generator")
            for (k, _), (difference, fine) in zip(tasks, parallel(runs), strict=True):
                samples[k].append(difference)
                squares[k].append(difference * (2 * fine - difference))  # φ_l² − φ_{l−1}²
                shown.add(BATCH)
            variances = np.array([np.var(np.concatenate(s), ddof=1) for s in samples])
            wanted = np.ceil(allocation(smoothed(variances, dts), costs, tolerance) / BATCH).astype(int)
    values = [np.concatenate(s) for s in samples]
    counts, means = np.array([len(v) for v in values]), np.array([v.mean() for v in values])
    return Multilevel(
        estimate=float(means.sum()),
        error=float(np.sqrt(np.sum(variances / counts))),
        tolerance=tolerance,
        dts=dts,
        replicas=counts,
        means=means,
        variances=variances,
        costs=costs,
        plain_variance=float(sum(np.concatenate(s).mean() for s in squares) - means.sum() ** 2),
    )


def smoothed(variances: np.ndarray, dts: np.ndarray) -> np.ndarray:
    """Variances that are not taken for much smaller than those of the level before make likely.

    Along one path V_l goes at least as δt; half of that is the least that is believed of an estimate from few replicas.
    """
    made = variances.copy()
    for k in range(2, len(made)):
        made[k] = max(made[k], 0.5 * made[k - 1] * dts[k] / dts[k - 1])
    return made


def allocation(variances: np.ndarray, costs: np.ndarray, tolerance: float) -> np.ndarray:
    """N_l that reach Σ V_l/N_l = ε² with the least Σ N_l C_l.

    Example:
        >>> import numpy as np
        >>> allocation(np.array([1.0, 0.01]), np.array([1.0, 4.0]), 0.1)
        array([120.,   6.])
    """
    return np.sqrt(variances / costs) * np.sum(np.sqrt(variances * costs)) / tolerance**2


class _Level:
    """Pairs of learners: the finer and the coarser of two steps δt, along the same path; or the coarsest alone."""

    def __init__(self, learners: Learners, horizon: float, steps: list[int], functional: Functional) -> None:
        self.learners, self.horizon, self.functional = learners, horizon, functional
        self.steps = steps
        self.cost = sum(steps)
        timed = learners.timed
        self._signals = [(timed.inputs(horizon / n, n), timed.targets(horizon / n, n)) for n in steps]

    def sample(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """φ_l − φ_{l−1}, or φ_0 on the coarsest level, and φ_l, for a batch."""
        learners, fine = self.learners, self.steps[-1]
        paths = [brownian_path(self.horizon / fine, fine, (learners.count, *s.shape), rng) for s in learners.specs]
        made = []
        for count, signals in zip(self.steps, self._signals, strict=True):
            noise = [path.coarsened(fine // count).noise for path in paths]
            made.append(self._value(learners.params(learners.run(learners.start(), *signals, noise))))
        return (made[-1] - made[0] if len(made) > 1 else made[0]), made[-1]

    def _value(self, params: dict[str, np.ndarray]) -> np.ndarray:
        value = np.asarray(self.functional(params), float)
        if value.shape != (self.learners.count,) or not np.all(np.isfinite(value)):
            raise DataError(
                f"multilevel: expected a functional that returns one finite number a replica, shape "
                f"({self.learners.count},); got shape {value.shape}.\nIts argument has a leading axis of replicas: "
                "write lambda p: p['a'][:, 0], or np.sum(p['a']**2, axis=1)."
            )
        return value


def _sampled(level: _Level, entropy: int, number: int, batch: int) -> tuple[np.ndarray, np.ndarray]:
    return level.sample(generator(entropy, "multilevel", number, batch))
