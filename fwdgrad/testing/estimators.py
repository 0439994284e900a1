"""`check_estimator`: an estimator's gradients, through the loops that a learner runs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np

from fwdgrad.errors import DeclarationError
from fwdgrad.estimators import Estimator
from fwdgrad.estimators.windows import RandomEnd, Sliding
from fwdgrad.influence import NoiseSpec, keeps_nothing
from fwdgrad.learning.execution import Execution
from fwdgrad.learning.loops import loop_for, noise_for
from fwdgrad.learning.noise import NoiseStream
from fwdgrad.optimizers import SGD
from fwdgrad.support.trees import flatten
from fwdgrad.system import System
from fwdgrad.testing.claims import Claim, accepted, checked, claim_of, fitting
from fwdgrad.testing.engines import check_engine
from fwdgrad.testing.failures import Subject
from fwdgrad.testing.influences import check_influence
from fwdgrad.testing.means import average
from fwdgrad.testing.noise import DRAWS, draw, every
from fwdgrad.testing.oracles import Observer, exact
from fwdgrad.testing.problems import Problem

__all__ = ["check_estimator"]

PATTERNS = 256
"""Patterns of noise that are tried."""


@np.errstate(all="ignore")  # what is not finite is said by name
def check_estimator(
    estimator: Estimator,
    system: System | None = None,
    *,
    claim: Claim | None = None,
    steps: int = 3,
    seed: int = 0,
    nodes: int = 2,
    tolerance: float = 1e-10,
) -> None:
    """Hold an estimator to what it claims about gradients, for fixed parameters.

    Its influence goes through `check_influence` first. Then sequences of `steps` windows (of 4 steps, if windows have
    no fixed length) are run by the loop that a learner runs: whenever an update is made, the sum of all gradients so
    far is that of the losses so far, by automatic differentiation of the unrolled sequence; in the mean over all
    noise, if that is the claim. The ends of windows that end at random are enumerated with their probabilities. Last,
    two engines have to agree on what is learned.

    Args:
        estimator: what is checked.
        system: where; up to four state variables. By default the built-in systems of `check_influence`.
        claim: "exact", "unbiased" or "biased" (nothing is compared with the true gradient). By default "unbiased" if
            anything is random, else "exact".
        steps: number of windows.
        seed: of samples and of single draws.
        nodes: nodes for each Gaussian number.
        tolerance: relative to the largest entry if that is above 1.

    Raises:
        AssertionError: it fails; the text says what was expected, what came, and where.
        DeclarationError: an argument makes no sense.

    Example:
        >>> import fwdgrad as fg
        >>> check_estimator(fg.Hybrid(2))
        >>> check_estimator(fg.TBPTT(2))
        Traceback (most recent call last):
            ...
        AssertionError: TBPTT(2): the sum of gradients is not that of the losses: W[... is off by ...
    """
    checked("check_estimator", claim, steps)
    if not isinstance(estimator, Estimator):
        raise DeclarationError(f"check_estimator: expected a fg.Estimator, got {estimator!r}. Call it: fg.UORO().")
    subject = Subject(estimator.name)
    if isinstance(estimator.window, Sliding):
        inner = "biased" if claim is None and _forgets(estimator) else claim
        check_influence(
            estimator.influence, system, claim=inner, steps=steps, seed=seed, nodes=nodes, tolerance=tolerance
        )
    for problems in accepted(subject, estimator.kept, system, _length(estimator, steps, 4), seed):
        _sums(subject, estimator, problems, claim, steps, seed, nodes, tolerance)
        with suppress(DeclarationError):  # an engine may say that it cannot
            options: dict[str, Any] = {"estimators": [estimator], "optimizers": [SGD(1e-2)], "steps": 6, "seed": seed}
            check_engine("eager", problems[-1].system, **options)


def _forgets(estimator: Estimator) -> bool:
    """Whether it keeps no influence, so that only windows can make a claim true."""
    return not isinstance(estimator.window, Sliding) or keeps_nothing(estimator.influence)


def _length(estimator: Estimator, steps: int, size: int) -> int:
    """Steps of a sequence of `steps` windows."""
    window = estimator.window
    if not isinstance(window, Sliding):
        return 4
    length = window.length or size
    return length + (window.stride or length) * (steps - 1)


def _sums(
    subject: Subject,
    estimator: Estimator,
    problems: list[Problem],
    claim: Claim | None,
    steps: int,
    seed: int,
    nodes: int,
    tolerance: float,
) -> None:
    if isinstance(estimator.window, Sliding):
        # the noise of the last window has no part in any gradient
        problem, windows, enumerated = fitting(estimator.kept, problems, steps - 1, nodes, PATTERNS)
    else:
        problem, windows, enumerated = problems[0], steps - 1, True
    problem = problem.without(1)
    length = min(_length(estimator, windows + 1, problem.system.size), len(problem.xs))
    execution = Execution(problem.system, estimator, Observer(), "numpy")
    specs, dtype, truth = tuple(noise_for(execution)), problem.system.dtype, exact(problem)
    if isinstance(estimator.window, RandomEnd):
        claim = claim or "unbiased"
        paths = list(_ends(estimator.window.probability, length))
    else:
        claim = claim or claim_of(estimator.kept, problem, None)
        if claim == "unbiased" and specs and enumerated:
            paths = list(_patterns(specs, windows, nodes, dtype))
        else:
            number = DRAWS if claim == "unbiased" and specs else 1
            paths = [(1.0 / number, _drawn(specs, windows, seed + k, dtype)) for k in range(number)]
    runs = [_run(execution, problem, length, script) for _, script in paths]
    weights = np.array([weight for weight, _ in paths])
    for number, (seen, _) in enumerate(runs[0]):
        where = subject.at(problem.name).at(f"the losses of steps 0 to {seen - 1}, {len(paths)} sequences, seed {seed}")
        mean, error = average([run[number][1] for run in runs], weights, drawn=not enumerated)
        for k, v in mean.items():
            where.require(np.all(np.isfinite(v)), f"the sum of gradients: {k}", "finite numbers", v)
        if claim != "biased":
            expected = {k: sum(t.gradient[k] for t in truth[:seen]) for k in mean}
            label = "the sum of gradients" if claim == "exact" else "the mean of the sum of gradients"
            where.close(mean, expected, tolerance, f"{label} is not that of the losses", error)


class _Script(NamedTuple):
    """The noise of a sequence."""

    start: tuple[Any, ...]
    rows: Sequence[tuple[Any, ...]]


class _Scripted(NoiseStream):
    """A stream of noise that is what it is told to be; the last row stays."""

    def __init__(self, script: _Script) -> None:
        self._script, self._row = script, 0

    def start(self) -> tuple[Any, ...]:
        return self._script.start

    def peek(self) -> tuple[Any, ...]:
        rows = self._script.rows
        return rows[min(self._row, len(rows) - 1)]

    def advance(self) -> None:
        self._row += 1


def _run(execution: Execution, problem: Problem, length: int, script: _Script) -> list[tuple[int, Any]]:
    """(losses learned from, sum of the gradients so far) after every update that comes at a known step."""
    window = execution.estimator.window
    stride = (window.stride or window.length or problem.system.size) if isinstance(window, Sliding) else length + 1
    loop, sums = loop_for(execution, _Scripted(script), execution.initial(script.start)), []
    own = len(flatten(problem.system.x))
    for t in range(length):
        loop.feed.row = [np.asarray(v) for v in flatten(problem.xs[t])[own:]]
        loop.step(problem.user_xs[t], problem.ys[t])
        if (t + 1) % stride == 0:
            sums.append((t + 1, execution.unpack(loop.carry).optimizer[0]))
    loop.finish()
    return [*sums, (length, execution.unpack(loop.carry).optimizer[0])]


def _drawn(specs: tuple[NoiseSpec, ...], windows: int, seed: int, dtype: Any) -> _Script:
    rng = np.random.default_rng(seed)
    return _Script(draw(specs, "start", rng, dtype), [draw(specs, "step", rng, dtype) for _ in range(windows)])


def _patterns(specs: tuple[NoiseSpec, ...], windows: int, nodes: int, dtype: Any) -> Iterator[tuple[float, _Script]]:
    """Every pattern of the noise of `windows` windows, with its weight."""
    each = every(specs, "step", nodes, dtype)
    for share, start in zip(*every(specs, "start", nodes, dtype), strict=True):
        for rows in itertools.product(range(len(each.rows)), repeat=windows):
            yield share * float(np.prod(each.weights[list(rows)])), _Script(start, [each.rows[k] for k in rows])


def _ends(probability: float, length: int) -> Iterator[tuple[float, _Script]]:
    """Every choice of the steps after which a window ends, with its probability."""
    for ends in itertools.product((True, False) if probability < 1 else (True,), repeat=length):
        weight = float(np.prod([probability if end else 1.0 - probability for end in ends]))
        # a window ends where the number drawn is below the probability
        rows = [(np.array(0.5 * probability if end else 0.5 * (1.0 + probability)),) for end in ends]
        yield weight, _Script((), rows)
