"""The law of learning: how θ(t) is distributed over the noise of the estimator, for δt → 0."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fwdgrad.errors import DeclarationError, UnknownNameError, did_you_mean
from fwdgrad.estimators import RTRL, Estimator
from fwdgrad.limits.learners import Learners, rate_of_time
from fwdgrad.limits.options import ON_NUMPY, generator, one, prepared
from fwdgrad.limits.reference import gradient_flow
from fwdgrad.limits.slopes import slope
from fwdgrad.limits.timed import OfTime, Timed, grid
from fwdgrad.optimizers.rates import Rate, rate_at
from fwdgrad.support import display
from fwdgrad.support.arguments import entropy_of, integer, jobs
from fwdgrad.support.notice import Progress
from fwdgrad.support.parallel import calls
from fwdgrad.support.words import digits
from fwdgrad.system import System

__all__ = ["Law", "learning"]

BATCH = 64
"""Replicas that learn side by side."""

POINTS = 24
"""Times that are recorded, at most."""


@dataclass(frozen=True, eq=False)
class Law:
    """θ(t) over R replicas, at K times and for D steps δt. ``print`` it for a table at the horizon; `plot` it.

    Attributes:
        system: its name.
        estimator: the estimator's.
        rate: η per unit time, as it was given.
        dts: δt, from the largest to the smallest, shape (D,).
        times: t, shape (K,); the last one is the horizon.
        params: learned θ by name as F and Y see it, arrays (D, R, K, *shape).
        noiseless: the same for RTRL at each δt, arrays (D, K, *shape).
        flow: the gradient flow, which that becomes for δt → 0, arrays (K, *shape).
        entropy: what the replicas' seeds are spawned from.
    """

    system: str
    estimator: str
    rate: Any
    dts: np.ndarray
    times: np.ndarray
    params: dict[str, np.ndarray]
    noiseless: dict[str, np.ndarray]
    flow: dict[str, np.ndarray]
    entropy: int

    def samples(self, name: str) -> np.ndarray:
        """θ of one name, shape (D, R, K, *shape).

        Raises:
            UnknownNameError: there is no such parameter.
        """
        if name not in self.params:
            raise UnknownNameError(f"learning: there is no parameter {name!r}. {did_you_mean(name, self.params)}")
        return self.params[name]

    def mean(self, name: str) -> np.ndarray:
        """E θ(t), shape (D, K, *shape)."""
        return self.samples(name).mean(axis=1)

    def spread(self, name: str) -> np.ndarray:
        """Standard deviation of θ(t), shape (D, K, *shape)."""
        return self.samples(name).std(axis=1, ddof=1)

    def quantiles(self, name: str, levels: Iterable[float] = (0.05, 0.25, 0.5, 0.75, 0.95)) -> np.ndarray:
        """Quantiles of θ(t), shape (levels, D, K, *shape)."""
        return np.quantile(self.samples(name), list(levels), axis=1)

    @property
    def order(self) -> float:
        """That of the distance between RTRL's θ and the gradient flow at the horizon, in δt."""
        apart = [self.noiseless[k][:, -1] - self.flow[k][-1] for k in self.flow]
        return slope(self.dts, np.sqrt(sum(np.sum(a.reshape(len(a), -1) ** 2, axis=1) for a in apart)))

    def plot(self, path: Any = None) -> Any:
        """θ against time: the flow, the mean and the quantiles at the smallest δt. Needs matplotlib.

        Args and errors as `Refinement.plot`.
        """
        from fwdgrad.limits.picture import draw_law

        return draw_law(self, path)

    def __repr__(self) -> str:
        return f"Law of {', '.join(self.params)} of {self.system} under {self.estimator}, t to {self.times[-1]:g}"

    def __str__(self) -> str:
        return "\n".join([*self._head(), "", *(f"  {line}" for line in display.columns(self._rows(), left=2))])

    def _repr_html_(self) -> str:
        title, said = self._head()
        return display.page(title, display.paragraph(said.strip()), display.table(self._rows(), left=2))

    def _head(self) -> list[str]:
        R = next(iter(self.params.values())).shape[1]
        return [
            f"θ of {self.system} learned by {self.estimator} to t = {self.times[-1]:g}; {R} replicas, "
            f"seed {self.entropy}",
            f"  without noise RTRL is off the gradient flow by δt^{self.order:.2f}",
        ]

    def _rows(self) -> list[tuple[str, ...]]:
        rows: list[tuple[str, ...]] = [("", "", "flow", "RTRL", "mean", "spread", "5 %", "median", "95 %")]
        for name, values in self.params.items():
            for place in np.ndindex(values.shape[3:]):
                label = name + (f"[{', '.join(map(str, place))}]" if place else "")
                for k, dt in enumerate(self.dts):
                    at = (k, slice(None), -1, *place)
                    low, middle, high = np.quantile(values[at], [0.05, 0.5, 0.95])
                    numbers = [self.flow[name][(-1, *place)], self.noiseless[name][(k, -1, *place)], values[at].mean(),
                               values[at].std(ddof=1), low, middle, high]  # fmt: skip
                    rows.append((label if k == 0 else "", f"δt {digits(float(dt))}", *map(digits, map(float, numbers))))
        return rows


def learning(
    system: System,
    x_of_t: OfTime | None,
    y_of_t: OfTime,
    horizon: float,
    dts: Iterable[float],
    estimator: Estimator | str = "nobacktrack",
    rate: Rate = 0.1,
    replicas: int = 256,
    noise: str = "signs",
    *,
    params: Mapping[str, Any] | None = None,
    seed: int | np.random.Generator = 0,
    engine: str = "auto",
    n_jobs: int = -1,
    progress: bool | Callable[[int, int], None] = False,
) -> Law:
    """Learn by dθ = −η g dt along the data y(t), many times, down a ladder of δt.

    For δt → 0 the noise of a rank-one estimator does not vanish: v wᵀ has a limit with a variance, correlated in time.
    So θ(t) is random in the limit too; for small rates its spread is small, and the gradient flow remains.

    Args:
        system: declared by its rate.
        x_of_t: the input as a function of the time; None for an autonomous system.
        y_of_t: the target likewise, compared with the prediction at the end of each step.
        horizon: t at the end; every run starts at 0.
        dts: steps δt, each of which divides the horizon.
        estimator: with a window of one step.
        rate: η per unit time, a number, or a function of the time t: plain NumPy.
        replicas: R.
        noise: "signs" or "gaussian".
        params: θ to start from; the declared values unless given.
        seed: an integer or a generator.
        engine: as in `refine`.
        n_jobs: likewise.
        progress: likewise.

    Cost: R Σ horizon/δt steps of learning. Memory R K p numbers for each δt.

    Raises:
        DeclarationError, ShapeError, UnknownNameError, NonFiniteError: as `refine`. What diverges does so mostly
            because the rate is too large for the noise.

    Example:
        >>> import numpy as np, fwdgrad as fg
        >>> from fwdgrad.limits import learning
        >>> decay = fg.System(lambda h, x, p: p["u"] - h, None, np.zeros(1), {"u": np.zeros(1)}, dt=0.1)
        >>> law = learning(decay, None, lambda t: np.ones(1), 4.0, [1 / 8, 1 / 16, 1 / 32], rate=0.2, replicas=64)
        >>> law.params["u"].shape, f"{law.order:.1f}"
        ((3, 64, 16, 1), '1.0')
    """
    timed, steps = Timed(system, x_of_t, y_of_t, params, "learning"), grid(horizon, dts, "learning")
    chosen = prepared("learning", one("learning", estimator), noise)
    count, entropy = integer("learning", "replicas", replicas, 2), entropy_of("learning", seed)
    common = math.gcd(*steps.tolist())
    points = max(d for d in range(1, POINTS + 1) if common % d == 0)
    times = horizon / points * np.arange(1, points + 1)
    rate = rate_of_time(rate, "learning(rate)", horizon)
    learners = Learners(timed, chosen, rate, min(BATCH, count), engine)
    if not learners.random:
        raise DeclarationError(f"learning: {chosen.name} is not random, so there is no law. RTRL is always part of it.")
    single = Learners(timed, RTRL(), rate, 1, "numpy")
    tasks = [(k, b) for k in range(len(steps)) for b in range(-(-count // learners.count))]
    made: list[list[dict[str, np.ndarray]]] = [[] for _ in steps]
    n_jobs = jobs("learning", n_jobs)
    with Progress("learning", progress, count * len(steps)) as shown:
        in_all = sum(int(steps[k]) for k, _ in tasks)
        shown.expect(single.seconds * int(steps.sum()) + learners.seconds * in_all, ON_NUMPY)
        rows = [(timed.inputs(horizon / n, n), timed.targets(horizon / n, n)) for n in steps.tolist()]
        flow = gradient_flow(timed, lambda t: float(rate_at(learners.rate, t)), times).params
        natural = [system.natural({k: v[j] for k, v in flow.items()}) for j in range(points)]
        quiet = [_recorded(single, given, targets, points, None) for given, targets in rows]
        each = ((learners, *rows[k], points, (entropy, chosen.name, k, b)) for k, b in tasks)
        with calls(_recorded, each, n_jobs, threads=True) as results:
            for (k, b), thetas in zip(tasks, results, strict=True):
                made[k].append(thetas)
                shown.add(min(learners.count, count - b * learners.count))
    return Law(
        system=system.name,
        estimator=chosen.name,
        rate=learners.rate,
        dts=horizon / steps,
        times=times,
        params={
            k: np.stack([np.concatenate([b[k] for b in level])[:count] for level in made]) for k in system.trainable
        },
        noiseless={k: np.stack([q[k][0] for q in quiet]) for k in system.trainable},
        flow={k: np.stack([np.asarray(n[k]) for n in natural]) for k in system.trainable},
        entropy=entropy,
    )


def _recorded(
    learners: Learners,
    given: list[np.ndarray],
    targets: list[np.ndarray],
    points: int,
    seed: tuple[Any, ...] | None,
) -> dict[str, np.ndarray]:
    """θ of a batch at equally spaced times, arrays (R, points, *shape)."""
    stream = learners.stream(generator(*seed) if seed is not None else np.random.default_rng(0))
    carry, length = learners.start(stream.start()), len(given[0]) // points
    made = []
    for k in range(points):
        part = slice(k * length, (k + 1) * length)
        carry = learners.run(carry, [a[part] for a in given], [a[part] for a in targets], stream.take(length))
        made.append(learners.params(carry, (k + 1) * length))
    return {name: np.stack([m[name] for m in made], axis=1) for name in made[0]}
