"""What multilevel Monte Carlo does on its levels: pairs of learners along one path, and how many of them are enough."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fwdgrad.errors import DataError, NonFiniteError
from fwdgrad.limits.brownian import brownian_path
from fwdgrad.limits.learners import Learners
from fwdgrad.limits.options import generator
from fwdgrad.support.parallel import calls

__all__ = ["Functional", "Level", "Samples", "allocation", "believed", "next_counts"]

KNOWN = 0.25
"""Standard error of the squared error that is reached, relative to it."""

ALIKE = 1e-12
"""Numbers that differ by so much of their size are the same up to rounding."""

Functional = Callable[[dict[str, np.ndarray]], Any]


class Level:
    """Pairs of learners: the finer and the coarser of two steps δt, along the same path; or the coarsest alone.

    Args:
        learners: R of them.
        horizon: t at the end.
        steps: to the horizon: of the coarser and of the finer, or of one alone.
        functional: φ.
    """

    def __init__(self, learners: Learners, horizon: float, steps: list[int], functional: Functional) -> None:
        self.learners, self.horizon, self.functional, self.steps = learners, horizon, functional, steps
        timed = learners.timed
        self._signals = [(timed.inputs(horizon / n, n), timed.targets(horizon / n, n)) for n in steps]

    @property
    def cost(self) -> int:
        """Steps a replica."""
        return sum(self.steps)

    def alone(self) -> Level:
        """The finer ones without the coarser."""
        return Level(self.learners, self.horizon, self.steps[-1:], self.functional)

    def sample(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """φ of the finer and of the coarser (0 if there is none), for R replicas.

        Raises:
            NonFiniteError: one of them diverges.
            DataError: the functional does not return a number for each replica.
        """
        learners, fine = self.learners, self.steps[-1]
        paths = [brownian_path(self.horizon / fine, fine, (learners.count, *s.shape), rng) for s in learners.specs]
        made = [np.zeros(learners.count)]
        for count, signals in zip(self.steps, self._signals, strict=True):
            noise = [path.coarsened(fine // count).noise for path in paths]
            theta = learners.params(learners.run(learners.start(), *signals, noise), count)
            made.append(self._value(theta, count))
        return made[-1], made[-2]

    def _value(self, params: dict[str, np.ndarray], steps: int) -> np.ndarray:
        count = self.learners.count
        hint = (
            "Its argument is a dict of θ by name, each with a leading axis of replicas: "
            "write lambda p: p['a'][:, 0], or np.sum(p['a']**2, axis=1)."
        )
        try:
            with np.errstate(all="ignore"):
                value = np.asarray(self.functional(params), float)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise DataError(
                f"multilevel: the functional cannot be evaluated: {type(error).__name__}: {error}.\n"
                f"There are {', '.join(params)}. {hint}"
            ) from error
        if value.shape != (count,):
            raise DataError(
                f"multilevel: expected a functional that returns one finite number a replica, shape ({count},); "
                f"got shape {value.shape}.\n{hint}"
            )
        if not np.all(np.isfinite(value)):
            raise NonFiniteError(
                f"multilevel: φ is not finite for {np.count_nonzero(~np.isfinite(value))} of {count} replicas with "
                f"δt = {self.horizon / steps:.3g}.\nUsual causes: a step δt that is too long for the integrator, or a "
                "learning rate that is too large.",
                step=steps,
                quantity="φ",
            )
        return value


class Samples:
    """φ on all levels, as many replicas as were asked for until now.

    Args:
        levels: from the coarsest to the finest.
        entropy: what seeds are spawned from.
    """

    def __init__(self, levels: list[Level], entropy: int) -> None:
        self.levels, self._entropy, self.steps = list(levels), entropy, 0
        self.first = 0
        """The coarsest level that is used. `steps` counts those of all that were ever made."""
        self._made: list[list[tuple[np.ndarray, np.ndarray]]] = [[] for _ in levels]

    @property
    def costs(self) -> np.ndarray:
        """Steps a replica, of the levels in use."""
        return np.array([level.cost for level in self.levels[self.first :]])

    def fine(self) -> list[np.ndarray]:
        """φ_l, for the levels in use."""
        return [np.concatenate([fine for fine, _ in made]) for made in self._made[self.first :]]

    def coarse(self) -> list[np.ndarray]:
        """φ_{l−1} along the same paths; zeros for the coarsest in use."""
        made = [np.concatenate([coarse for _, coarse in made]) for made in self._made[self.first :]]
        return [np.zeros_like(made[0]), *made[1:]]

    def fill(self, wanted: np.ndarray, n_jobs: int, done: Callable[[int], None]) -> bool:
        """Have at least so many batches on each level in use; or, if learners diverge on one, on the finer ones.

        Returns:
            Whether any were lacking.

        Raises:
            NonFiniteError: they diverge on the finest.
        """
        places = range(self.first, len(self.levels))
        tasks = [(k, b) for k in places for b in range(len(self._made[k]), wanted[k])]
        failures: dict[int, NonFiniteError] = {}
        given = ((self.levels[k], self._entropy, k, b) for k, b in tasks)
        with calls(_sampled, given, n_jobs, threads=True) as results:
            for (k, _), made in zip(tasks, results, strict=True):
                if isinstance(made, NonFiniteError):
                    failures[k] = made
                else:
                    self._made[k].append(made)
                    self.steps += len(made[0]) * self.levels[k].cost
                    done(len(made[0]))
        if failures:
            k = max(failures)
            if k == len(self.levels) - 1 == self.first:
                raise failures[k]
            if k == self.first:
                self.leave_out(1)
            else:  # most likely the coarser of the pair; if not, the finer will diverge again, alone
                self.leave_out(k - self.first)
                self._made[k] = []
            self.fill(wanted, n_jobs, done)
        return bool(tasks)

    def leave_out(self, count: int) -> None:
        """Use so many of the coarsest levels no more."""
        if not count:
            return
        self.first += count
        self.levels[self.first] = self.levels[self.first].alone()


def _sampled(level: Level, entropy: int, number: int, batch: int) -> tuple[np.ndarray, np.ndarray] | NonFiniteError:
    try:
        return level.sample(generator(entropy, "multilevel", number, batch))
    except NonFiniteError as error:
        return error


def believed(differences: list[np.ndarray], scale: float, dts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Variances V_l of the levels, and their standard errors, from few samples that may all be alike.

    Two things are not believed. Along one path V_l goes at least as δt, so it is not less than half of what the level
    before makes likely. And if N samples are all alike, then others may be as frequent as 3/N (an event of that
    probability is missed once in 20), and differ by as much as φ does.

    Args:
        differences: φ_0, then φ_l − φ_{l−1}; arrays of any lengths.
        scale: largest φ less the least.
        dts: δt of each.

    Example:
        >>> import numpy as np
        >>> variances, errors = believed([np.array([0.0, 0.0, 1.0, 0.0]), np.zeros(6)], 1.0, np.array([0.2, 0.1]))
        >>> variances
        array([0.25, 0.5 ])
    """
    variances, errors = np.zeros(len(dts)), np.zeros(len(dts))
    for k, d in enumerate(differences):
        if np.ptp(d) <= ALIKE * np.max(np.abs(d)):
            variances[k] = min(3 / len(d), 1.0) * scale**2
        else:
            away = (d - d.mean()) ** 2
            variances[k], errors[k] = away.sum() / (len(d) - 1), away.std() / np.sqrt(len(d))
        if k > 1:
            variances[k] = max(variances[k], 0.5 * variances[k - 1] * dts[k] / dts[k - 1])
    return variances, errors


def allocation(variances: np.ndarray, costs: np.ndarray, tolerance: float) -> np.ndarray:
    """N_l that reach Σ V_l/N_l = ε² with the least Σ N_l C_l.

    Example:
        >>> import numpy as np
        >>> allocation(np.array([1.0, 0.01]), np.array([1.0, 4.0]), 0.1)
        array([120.,   6.])
    """
    return np.sqrt(variances / costs) * np.sum(np.sqrt(variances * costs)) / tolerance**2


def next_counts(
    counts: np.ndarray, variances: np.ndarray, errors: np.ndarray, costs: np.ndarray, tolerance: float
) -> np.ndarray:
    """How many replicas there should be, of which there are `counts`: as many, if these are enough.

    Enough for the error that is asked for, with variances larger by twice their standard errors; and enough to
    know the error that is reached to a quarter, which takes more where φ has heavy tails or tells of a rare event.
    Nothing is more than doubled twice, as the variances will be known better by then.

    Example:
        >>> import numpy as np
        >>> next_counts(np.array([64, 64]), np.array([1.0, 0.01]), np.zeros(2), np.array([1.0, 4.0]), 0.1).round()
        array([120.,  64.])
    """
    asked = allocation(variances + 2 * errors, costs, tolerance)
    doubt, total = errors / counts, np.sum(variances / counts)
    if np.sqrt(np.sum(doubt**2)) > KNOWN * total:
        asked = np.where(doubt >= 0.5 * np.max(doubt), np.maximum(asked, 2 * counts), asked)
    return np.clip(asked, counts, 4 * counts)
