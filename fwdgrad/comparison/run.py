"""`compare`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from fwdgrad.comparison.cost import measure
from fwdgrad.comparison.declare import study_of
from fwdgrad.comparison.reference import exact_gradients
from fwdgrad.comparison.replicas import Batch, replicate
from fwdgrad.comparison.report import Comparison
from fwdgrad.comparison.statistics import summarise
from fwdgrad.errors import DeclarationError
from fwdgrad.estimators import Estimator
from fwdgrad.support.arguments import entropy_of, integer, jobs, suggests
from fwdgrad.support.notice import Progress
from fwdgrad.system import System

__all__ = ["compare"]


@suggests
def compare(
    system: System,
    xs: Any,
    ys: Any,
    estimators: Iterable[Estimator | str] | Mapping[str, Estimator | str],
    replicas: int = 32,
    *,
    steps: int | None = None,
    start: int = 0,
    every: int | None = None,
    at: Iterable[int] | None = None,
    params: Mapping[str, Any] | None = None,
    leaves: Iterable[str] | None = None,
    reference: str = "auto",
    seed: int | np.random.Generator = 0,
    engine: str = "auto",
    n_jobs: int = 1,
    costs: bool = True,
    progress: bool | Callable[[int, int], None] = False,
) -> Comparison:
    """Hold gradient estimators against the exact gradient on a system and data of one's own, with θ fixed.

    Every estimator goes over the sequence as a learner would, with an optimizer that changes nothing and adds up the
    gradients g; what is still open at the end is finished. The exact gradient g* is that of the sum of the losses from
    step `start` on. Estimators that ask for random numbers are repeated; the others are run once.

    Args:
        system: the declared system.
        xs: inputs, arrays with time along axis 0; None for an autonomous system.
        ys: targets likewise; NaN, None or masked where missing.
        estimators: a list of estimators or names ("uoro", "tbptt:10", "auto"), or a dict of them by label.
        replicas: R, how often random estimators are repeated. Intervals shrink as 1/√R.
        steps: use only so many of the samples.
        start: losses before this step do not count; state and influence go on through them, so that what is compared
            is stationary.
        every: steps per block, for statistics over time. Blocks end at multiples of it. By default there are about
            20, of a length that is a multiple of all window lengths if that is possible: a window's gradient belongs
            to the block in which its update is made, so only then are those of a block the gradients of its own steps.
        at: steps whose losses count, each a block of its own, in place of all from `start` on: statistics over time are
            then those of the gradient of a single loss, as in Tallec and Ollivier 2018, eq. 18. What comes behind the
            last one is left out. A window holds one of them at most.
        params: θ, or some of it; the system's initial values unless given. `Learner.params` will do.
        leaves: names of the parameters whose gradients are compared. By default those that the transition uses: the
            gradients of all others are exact under every estimator, and would only dilute the differences.
        reference: "rtrl" or "bptt"; "auto" takes RTRL where n² p ≤ 10⁶, else backpropagation, about ten passes.
        seed: an integer or a generator. The same seed gives the same numbers.
        engine: "numpy", "compiled", "eager" or "auto", as for a learner.
        n_jobs: processes for the replicas; −1 for one on every core. Changes no number (unless the linear algebra
            library sums in another order because it has another number of threads).
        costs: also measure time and memory, in this process.
        progress: True for a bar, or a function called with (replicas done, replicas in all).

    Returns:
        The comparison: ``print`` it for a table with a reading of each line; see `Comparison`.

    Cost: R runs over the sequence for each random estimator, one for each other, one to ten for the exact gradient, a
    second each for the costs. Memory R·p + R² numbers for each estimator and B·p for B blocks.

    Raises:
        DeclarationError: something is asked for that makes no sense, such as one replica of a random estimator.
        DataError: the data have no targets, or no length; or the exact gradient is zero.
        ShapeError, UnknownNameError: a sample or a parameter is not of the declared kind.
        NonFiniteError: something was not finite; the message says in which estimator, replica and step.

    Example:
        >>> import numpy as np, fwdgrad as fg
        >>> system = fg.System(
        ...     lambda h, x, p: np.tanh(p["W"] @ h + x), None, np.zeros(3), {"W": np.eye(3)}, np.zeros(3)
        ... )
        >>> xs, ys = np.random.default_rng(0).normal(size=(2, 100, 3))
        >>> found = fg.compare(system, xs, ys, [fg.UORO(), fg.TBPTT(2)])
        >>> low, high = found["UORO"].bias_interval
        >>> bool(low == 0), bool(found["TBPTT(2)"].bias > 0.1)
        (True, True)
    """
    study, chosen = study_of(
        system,
        xs,
        ys,
        estimators,
        steps=steps,
        start=start,
        every=every,
        at=at,
        params=params,
        leaves=leaves,
        engine=engine,
    )
    entropy = entropy_of("compare", seed)
    if reference not in ("auto", "rtrl", "bptt"):
        raise DeclarationError(f"compare(reference=…): expected auto, rtrl or bptt, got {reference!r}.")
    n_jobs = jobs("compare", n_jobs)
    random = {label: study.is_random(estimator) for label, estimator in chosen.items()}
    count = integer("compare", "replicas", replicas, 1)
    if count < 2 and any(random.values()):
        first = next(label for label, is_random in random.items() if is_random)
        raise DeclarationError(f"compare(replicas={count}): {first} is random; expected at least 2. Write replicas=32.")
    runs = {label: count if random[label] else 1 for label in chosen}
    with Progress("compare", progress, sum(runs.values())) as shown:
        name, exact = exact_gradients(study, reference)
        spent = measure(study, list(chosen.values()), costs)
        made: dict[str, list[Batch]] = {label: [] for label in chosen}
        for label, batch in replicate(study, chosen, exact, runs, entropy, n_jobs, shown):
            made[label].append(batch)
    found = {}
    for (label, batches), cost in zip(made.items(), spent.estimators, strict=True):
        gradients = np.concatenate([batch.gradients for batch in batches])
        sums, squares = np.zeros_like(exact), np.zeros(len(exact))
        for batch in batches:
            sums += batch.sums
            squares += batch.squares
        found[label] = summarise(label, chosen[label], gradients, sums, squares, exact, cost, random[label])
    return Comparison(
        system=system.name,
        engine=study.execution(next(iter(chosen.values()))).engine,
        leaves=study.leaves,
        steps=study.length,
        start=study.edges[0],
        replicas=count,
        entropy=entropy,
        reference=name,
        exact=exact,
        edges=np.array(study.edges),
        model_seconds=spent.seconds,
        model_bytes=spent.peak_bytes,
        tolerance=1e-9 if system.dtype == np.float64 else 1e-3,
        estimates=found,
    )
