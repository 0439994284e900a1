"""Many learners of one system side by side: seeds, or parameter sets, over the same compiled loop."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fwdgrad.errors import DeclarationError
from fwdgrad.estimators import Estimator
from fwdgrad.learning.history import History, Progress
from fwdgrad.learning.learner import Learner
from fwdgrad.optimizers import Optimizer
from fwdgrad.support import display
from fwdgrad.support.arguments import suggests
from fwdgrad.support.parallel import calls
from fwdgrad.system import System

__all__ = ["Ensemble"]

FEW = 16
"""Numbers of a parameter that a notebook shows one by one, at most."""


@suggests
class Ensemble:
    """Replicas of a learner that differ in their random numbers, and, if given, in the parameters they start from.

    Args:
        system: as for `Learner`.
        estimator: likewise.
        optimizer: likewise.
        seeds: how many replicas, whose seeds are spawned from `seed`; or a sequence of seeds, one a replica.
        params: for each replica a dict of parameters to start from instead of the declared ones.
        seed: an integer or a `numpy.random.Generator`, for the seeds.
        engine: as for `Learner`.

    Attributes:
        learners: the replicas, in order. Each is as if it had been made and run by itself.

    Raises:
        DeclarationError: there is no replica, or not as many parameter sets as seeds.

    On the engine "compiled" replicas run in threads, as many at a time as there are processors: the compiled loop lets
    other threads run. Memory is that of so many learners; the step is traced and compiled once.

    Example:
        >>> import numpy as np, fwdgrad as fg
        >>> system = fg.System(lambda h, x, p: p["a"] * h + x, None, np.zeros(1), {"a": 0.5}, np.zeros(1))
        >>> ensemble = fg.Ensemble(system, fg.UORO(), fg.SGD(0.003), seeds=3)
        >>> xs = np.random.default_rng(0).normal(size=(500, 1))
        >>> histories = ensemble.run(xs, xs)
        >>> ensemble.params["a"].shape
        (3,)
    """

    def __init__(
        self,
        system: System,
        estimator: Estimator | str = "auto",
        optimizer: Optimizer | None = None,
        seeds: int | Sequence[Any] = 8,
        params: Sequence[Mapping[str, Any]] | None = None,
        seed: int | np.random.Generator = 0,
        engine: str = "auto",
    ) -> None:
        if isinstance(seeds, (int, np.integer)) and not isinstance(seeds, bool):
            source = seed if isinstance(seed, np.random.Generator) else np.random.default_rng(seed)
            seeds = source.spawn(int(seeds)) if seeds > 0 else []
        elif isinstance(seeds, (bool, str)) or not hasattr(seeds, "__len__"):
            raise DeclarationError(f"Ensemble(seeds=…): expected how many, or a sequence of seeds; got {seeds!r}.")
        if not len(seeds) or (params is not None and len(params) != len(seeds)):
            given = "no parameter sets" if params is None else f"{len(params)} parameter sets"
            raise DeclarationError(
                f"Ensemble: expected one seed or more, one a parameter set; got {seeds!r} and {given}."
            )
        self.learners = tuple(Learner(system, estimator, optimizer, s, engine) for s in seeds)
        for learner, start in zip(self.learners, params or (), strict=bool(params)):
            learner.params = start

    def __len__(self) -> int:
        return len(self.learners)

    def __repr__(self) -> str:
        return f"Ensemble of {len(self)}: {self.learners[0]!r}"

    def _repr_html_(self) -> str:
        rows: list[tuple[str, ...]] = [("parameter", "mean", "least", "largest")]
        for name, values in self.params.items():
            if values[0].size <= FEW:
                for place in np.ndindex(values.shape[1:]):
                    each = values[(slice(None), *place)]
                    numbers = (each.mean(), each.min(), each.max())
                    rows.append((name + (str(list(place)) if place else ""), *(f"{float(v):.4g}" for v in numbers)))
        return display.page(repr(self), display.table(rows) if len(rows) > 1 else "")

    @property
    def params(self) -> dict[str, np.ndarray]:
        """θ of all replicas, by name, each with a leading axis of replicas."""
        return {k: np.stack([learner.params[k] for learner in self.learners]) for k in self.learners[0].params}

    def run(
        self, xs: Any = None, ys: Any = None, *, steps: int | None = None, jobs: int | None = None, **options: Any
    ) -> list[History]:
        """The same samples for all replicas.

        Args:
            xs: inputs, as for `Learner.run`, but arrays.
            ys: targets likewise.
            steps: stop after this many.
            jobs: how many run at a time; by default as many as there are processors.
            options: of `Learner.run`; with progress=True one bar counts the steps of all.

        Returns:
            What each replica recorded, in order.

        Raises:
            NonFiniteError: of the first replica, in order, that diverged; the others have run to their ends.
        """
        if any(hasattr(stream, "__next__") for stream in (xs, ys)):
            raise DeclarationError(
                "Ensemble.run: expected arrays, which every replica can read; got an iterator, which one would use up."
            )
        for learner in self.learners:
            learner.prepare(len(self) * (steps if steps is not None else len(ys if ys is not None else xs)))
        shown = options.pop("progress", False)

        def one(learner: Learner) -> tuple[History | None, Exception | None]:
            try:
                return learner.run(xs, ys, steps=steps, **options), None
            except Exception as error:
                return None, error

        compiled = self.learners[0]._execution.streams
        count = (jobs or os.cpu_count() or 1) if compiled else 1
        histories = []
        each = ((learner,) for learner in self.learners)
        with Progress(shown, len(self)) as bar, calls(one, each, count, threads=True) as found:
            for history, error in found:
                histories.append((history, error))
                bar.update(history.loss[-1:] if history is not None else np.full(1, np.nan))
        for number, (_, error) in enumerate(histories):
            if error is not None:
                error.add_note(f"This was replica {number} of {len(self)}.")
                raise error
        return [history for history, _ in histories if history is not None]
