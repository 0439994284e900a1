"""`refine`: estimators down a ladder of steps δt, to the same horizon."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from fwdgrad.comparison.statistics import squared_norm_interval
from fwdgrad.engines.names import AUTO
from fwdgrad.engines.registry import NUMPY
from fwdgrad.errors import DataError, DeclarationError, NonFiniteError
from fwdgrad.estimators import RTRL, Estimator
from fwdgrad.influence import Exact, RankOne
from fwdgrad.limits.brownian import brownian_path
from fwdgrad.limits.options import ON_NUMPY, generator, named, prepared
from fwdgrad.limits.reference import variational
from fwdgrad.limits.replicas import Replicas
from fwdgrad.limits.report import FLOOR, Refined, Refinement
from fwdgrad.limits.timed import OfTime, Timed, grid
from fwdgrad.limits.unscaled import Unscaled
from fwdgrad.support.arguments import entropy_of, integer, jobs, suggests
from fwdgrad.support.notice import Progress
from fwdgrad.support.parallel import calls
from fwdgrad.system import System

__all__ = ["refine"]

BATCH = 128
"""Replicas that are advanced side by side, at most …"""

NUMBERS = 1 << 22
"""… and fewer if their noise at the smallest δt would be more numbers than this."""


HUGE = 1e8
"""Estimates that are larger than the limit by this are those of a step at which the integrator is not stable."""

ROUNDING = 100.0
"""Errors of so many units in the last place are of rounding."""

PASSED = 16
"""Times at which ‖G‖ is looked at, the horizon being the last."""


@suggests
def refine(
    system: System,
    x_of_t: OfTime | None,
    horizon: float,
    dts: Iterable[float],
    estimators: Any = ("nobacktrack", "uoro"),
    replicas: int = 512,
    noise: str = "signs",
    rescale: bool = True,
    *,
    rows: str = "map",
    params: Mapping[str, Any] | None = None,
    seed: int | np.random.Generator = 0,
    engine: str = "auto",
    n_jobs: int = -1,
    progress: bool | Callable[[int, int], None] = False,
) -> Refinement:
    """Let δt → 0: run estimators of ∂h/∂θ down a ladder of steps, with θ fixed, and hold them against the limit.

    The limit of the mean is G(t) of the variational equations dG/dt = J G + ∂F/∂θ, which scipy solves. The mean over
    noise at each δt is exactly that of RTRL on the discretised map, so the order of the method is measured without
    noise, on RTRL; that the replicas agree with it is another question, and has its own interval.

    Args:
        system: declared by its rate, with a `dt` and a `method`. The values of `dt` and `substeps` are not used: δt is
            a step of the method.
        x_of_t: the input as a function of the time t; None for an autonomous system.
        horizon: t at the end; every run starts at 0.
        dts: steps δt, each of which divides the horizon.
        estimators: a list of estimators or names ("uoro"), or a dict of them by label; windows of one step.
        replicas: R, how often random estimators are repeated.
        noise: "signs", or "gaussian": increments of Brownian paths, one for each replica, the same ones at every δt
            (each δt then has to be a multiple of the smallest). Only paths show strong convergence.
        rescale: False takes ρ = 1 in estimators of rank one: v then has no limit, and w goes to 0.
        rows: "map" takes ∂h'/∂θ of the method's map; "rate" puts δt ∂F/∂θ in its place, which is sparser, at the price
            of an error of O(δt²) a step in the mean.
        params: θ, or some of it; the declared values unless given.
        seed: an integer or a generator. The same seed gives the same numbers.
        engine: "compiled" compiles the steps, "numpy" does not; "auto" compiles where llvmlite is installed.
        n_jobs: threads for the replicas, −1 for one on every core; under ``joblib.parallel_config(backend=…)``,
            whatever that names. Threads change no number.
        progress: True for a bar, or a function called with (replicas done, replicas in all).

    Returns:
        ``print`` it for tables with a reading of each; see `Refinement`.

    Cost: R Σ horizon/δt steps for each random estimator, of some ten nanoseconds each for a system of a few variables,
    compiled. Memory n·p numbers for each replica and δt, and the noise of 128 replicas at the smallest δt.

    Derivatives are those in the coordinates that are learned (log θ of a `positive` parameter).

    Raises:
        DeclarationError: something is asked for that makes no sense, such as a system without a rate.
        ShapeError, UnknownNameError: an input or a parameter is not of the declared kind.
        DataError: G at the horizon is zero, so nothing can be relative to it; or no learned parameter is in the rate.
        NonFiniteError: a run, or the solution of the differential equations, diverges.

    Example:
        >>> import numpy as np, fwdgrad as fg
        >>> F = lambda h, x, p: x - p["k"] * h
        >>> decay = fg.System(F, None, np.zeros(1), {"k": 1.0}, np.zeros(1), dt=0.1, method="euler")
        >>> dts = [1 / 16, 1 / 32, 1 / 64, 1 / 128]
        >>> found = fg.refine(decay, lambda t: np.ones(1), 2.0, dts, "uoro", replicas=256)
        >>> print(f"{found.order:.1f} {found['UORO'].slopes['v']:.1f}")
        1.0 1.0
    """
    timed, steps = Timed(system, x_of_t, params=params), grid(horizon, dts)
    chosen = {k: prepared("refine", e, noise, rescale) for k, e in named("refine", estimators).items()}
    if rows not in ("map", "rate"):
        raise DeclarationError(f"refine(rows=…): expected 'map' or 'rate', got {rows!r}.")
    if noise == "gaussian" and np.any(steps[-1] % steps):
        raise DeclarationError(
            "refine(noise='gaussian'): expected dts that are multiples of the smallest, got "
            f"{(horizon / steps).tolist()}."
        )
    for label, e in chosen.items():
        if rows == "rate" and not isinstance(e.influence, (RankOne, Unscaled, Exact)):
            raise DeclarationError(f"refine(rows='rate'): expected rank-one estimators or RTRL, got {label}.")
    count, entropy = integer("refine", "replicas", replicas, 2), entropy_of("refine", seed)
    n_jobs = jobs("refine", n_jobs)
    plan = [_Task.of(timed, label, e, steps, horizon, count, rows, engine) for label, e in chosen.items()]
    mean = Replicas(timed, RTRL(), 1, rows, "numpy")
    found = {}
    with Progress("refine", progress, sum(t.total for t in plan)) as shown:
        shown.expect(mean.seconds * int(steps.sum()) + sum(t.seconds for t in plan), ON_NUMPY)
        passed = variational(timed, horizon / PASSED * np.arange(1, PASSED + 1)).influence
        limit = passed[-1]
        if not np.any(limit):
            excite = "" if x_of_t is None else "an input that moves the state, "
            raise DataError(
                f"refine: ∂h/∂θ at t = {horizon:g} is zero for all of {', '.join(timed.leaves)}.\n"
                f"Nothing can be relative to it. Take another horizon, {excite}other params."
            )
        peak = float(np.max(np.linalg.norm(passed, axis=(1, 2))))
        exact = _exact(mean, steps, horizon)
        for task in plan:
            found[task.label] = _gathered(task, list(task.run(entropy, n_jobs, shown)), limit, exact, peak)
    return Refinement(
        system=system.name,
        method=str(system.method),
        horizon=float(horizon),
        dts=horizon / steps,
        steps=steps,
        noise=noise,
        rescale=rescale,
        rows=rows,
        leaves=timed.leaves,
        replicas=count,
        entropy=entropy,
        limit=limit,
        accuracy=_accuracy(system),
        peak=peak,
        exact=exact,
        estimates=found,
    )


def _exact(mean: Replicas, steps: np.ndarray, horizon: float) -> np.ndarray:
    """G of RTRL at each δt, shape (K, n, p)."""
    return np.stack([mean.dense(mean.run(horizon / n, n, []).influence)[0] for n in steps.tolist()])


def _accuracy(system: System) -> float:
    return max(FLOOR, ROUNDING * float(np.finfo(system.dtype).eps))


class _Batch(NamedTuple):
    """Some replicas, at every δt."""

    matrices: np.ndarray
    """G̃, shape (K, R, n, p)."""
    moved: np.ndarray
    """Mean of ‖Δ‖² over the steps for each factor, shape (K, R, factors)."""
    sizes: np.ndarray
    """‖·‖² of each factor at the horizon, likewise."""


class _Task(NamedTuple):
    """The replicas of one estimator."""

    label: str
    replicas: Replicas
    steps: np.ndarray
    horizon: float
    total: int
    random: bool

    @staticmethod
    def of(
        timed: Timed,
        label: str,
        estimator: Estimator,
        steps: np.ndarray,
        horizon: float,
        count: int,
        rows: str,
        engine: str,
    ) -> _Task:
        probe = Replicas(timed, estimator, 1, rows, engine)
        numbers = sum(int(np.prod(s.shape, dtype=int)) for s in probe.specs)
        random = bool(probe.specs or probe.start_specs)
        if not random:
            quiet = NUMPY.name if engine == AUTO else engine  # one run is made sooner than compiled
            return _Task(label, Replicas(timed, estimator, 1, rows, quiet), steps, horizon, 1, False)
        most = max(1, min(BATCH, NUMBERS // max(1, numbers * int(steps[-1]))))
        batches = -(-count // most)
        return _Task(label, Replicas(timed, estimator, -(-count // batches), rows, engine), steps, horizon, count, True)

    @property
    def batches(self) -> int:
        """How many times the replicas go down the ladder."""
        return -(-self.total // self.replicas.count)

    @property
    def seconds(self) -> float:
        """What all of it takes, about, on the NumPy engine; 0 where it is compiled."""
        return self.replicas.seconds * self.batches * int(self.steps.sum())

    def run(self, entropy: int, n_jobs: int, shown: Progress) -> Any:
        """The batches, in order."""
        size, batches = self.replicas.count, self.batches
        self.replicas.prepare()
        done = 0
        with calls(_batch, ((self, entropy, k) for k in range(batches)), n_jobs, threads=True) as results:
            for batch in results:
                kept = min(size, self.total - done)
                done += kept
                shown.add(kept)
                yield _Batch(*(part[:, :kept] for part in batch))


def _batch(task: _Task, entropy: int, number: int) -> _Batch:
    """One batch down the ladder."""
    replicas, steps = task.replicas, task.steps
    rng = generator(entropy, task.label, number)
    paths = None
    if replicas.specs and all(s.kind == "normal" for s in replicas.specs):
        fine = int(steps[-1])
        paths = [brownian_path(task.horizon / fine, fine, (replicas.count, *s.shape), rng) for s in replicas.specs]
    matrices, moved, sizes = [], [], []
    for count in steps.tolist():
        stream = replicas.stream(rng)
        if paths is None:
            start, drawn = stream.start(), stream.take(count)
        else:
            start, drawn = (), [path.coarsened(len(path.increments) // count).noise for path in paths]
        arrived = replicas.run(task.horizon / count, count, drawn, start)
        matrices.append(replicas.dense(arrived.influence))
        moved.append(arrived.moved / count)
        sizes.append(replicas.sizes(arrived.influence))
    return _Batch(np.stack(matrices), np.stack(moved), np.stack(sizes))


def _gathered(task: _Task, batches: list[_Batch], limit: np.ndarray, exact: np.ndarray, peak: float) -> Refined:
    """What follows from all replicas of an estimator."""
    matrices = np.concatenate([b.matrices for b in batches], axis=1)
    moved = np.concatenate([b.moved for b in batches], axis=1).mean(axis=1)
    sizes = np.concatenate([b.sizes for b in batches], axis=1).mean(axis=1)
    norm = float(np.linalg.norm(limit))
    flat = matrices.reshape(*matrices.shape[:2], -1).astype(float)
    for dt, level in zip(task.horizon / task.steps, flat, strict=True):
        if not np.max(np.abs(level)) < HUGE * peak:
            raise NonFiniteError(
                f"refine: {task.label} diverges with δt = {dt:.3g}: G̃ is up to {np.max(np.abs(level)):.2g} where the "
                f"limit is at most {peak:.2g}.\nThe step is too long for the integrator. Take smaller dts.",
                step=round(task.horizon / dt),
                quantity="the influence",
            )
    bias, agreement = [], []
    for level, mean in zip(flat, exact, strict=True):
        bias.append(squared_norm_interval((level - limit.ravel()) / norm))
        agreement.append(squared_norm_interval((level - mean.ravel()) / norm, 1 - 0.05 / len(exact)))
    centred = flat - flat.mean(axis=1, keepdims=True)
    spread = np.sum(centred**2, axis=(1, 2)) / max(flat.shape[1] - 1, 1) / norm**2
    apart = np.sqrt(np.mean(np.sum((flat[1:] - flat[:-1]) ** 2, axis=2), axis=1)) / norm
    paths = bool(task.replicas.specs) and all(s.kind == "normal" for s in task.replicas.specs)
    return Refined(
        label=task.label,
        estimator=task.replicas.estimator,
        random=task.random,
        dts=task.horizon / task.steps,
        matrices=matrices,
        bias=np.sqrt(np.maximum([b for b, _ in bias], 0.0)),
        bias_interval=np.sqrt([i for _, i in bias]),
        agreement_interval=np.sqrt([i for _, i in agreement]),
        variance=spread,
        moved={k: moved[:, j] for j, k in enumerate(task.replicas.factors)},
        sizes={k: sizes[:, j] for j, k in enumerate(task.replicas.factors)},
        apart=apart if paths else np.full(len(apart), np.nan),
        accuracy=_accuracy(task.replicas.timed.system),
    )
