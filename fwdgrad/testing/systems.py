"""`check_system`: a declared system is what it seems, and can be learned."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from fwdgrad.checks import check
from fwdgrad.errors import NonFiniteError, TracingError
from fwdgrad.estimators import RTRL, UORO, Estimator
from fwdgrad.learning.execution import Execution
from fwdgrad.learning.learner import Learner
from fwdgrad.learning.samples import SampleReader
from fwdgrad.learning.step.kinds import LEARN
from fwdgrad.linear import TracedModel
from fwdgrad.optimizers import SGD
from fwdgrad.system import System
from fwdgrad.testing.engines import check_engine
from fwdgrad.testing.failures import Subject
from fwdgrad.testing.oracles import Observer, exact_gradients
from fwdgrad.testing.problems import Problem, model_of, problem_for

__all__ = ["check_system"]

PROBED = 64
"""Entries of each array that are moved to see what they feed."""
LARGEST = 1e7
"""Numbers in an influence matrix that is kept exactly."""


@np.errstate(all="ignore")  # what is not finite is said by name
def check_system(system: System, *, steps: int = 3, seed: int = 0) -> None:
    """Hold a declared system to what learning takes for granted.

    `fwdgrad.check` finds nothing wrong; what lies outside the patterns of ∂F/∂h, ∂F/∂θ and of Y does not move when
    an entry of h or θ is moved, at random points; gradients of RTRL are those of automatic differentiation through the
    unrolled sequence (where autograd lacks an operation of F or Y: of finite differences, which `fwdgrad.check` has
    compared them with); learning stays finite for 20 samples; and the engines agree on it.

    Args:
        system: the declared system: a small one of its kind. Functions that cannot be traced are checked as they are.
        steps: length of the sequence of gradients.
        seed: of samples and points, which lie around the declared examples.

    Cost: that of `fwdgrad.check`, and some hundred runs of F and Y for each array.

    Raises:
        AssertionError: something is wrong; the text says what, and where.

    Example:
        >>> from fwdgrad import systems
        >>> check_system(systems.gru(units=3, symbols=2))
    """
    subject = Subject(repr(system))
    with subject.running("fwdgrad.check"):
        report = check(system, steps=steps, seed=seed)
    subject.require(report.ok, "fwdgrad.check finds something wrong", "Nothing failed.", f"\n{report}")
    traceable = isinstance(model_of(system), TracedModel)
    if traceable:
        _patterns(subject, system, seed)
    problem = problem_for(system, max(steps, 20), seed)
    estimator = RTRL() if system.size * sum(v.size for v in system.coordinates.values()) <= LARGEST else UORO()
    if isinstance(estimator.influence, type(RTRL().influence)):
        _gradients(subject, problem, steps, "numpy" if traceable else "eager")
    _learns(subject, problem, estimator, traceable, seed)


# ---- patterns


def _patterns(subject: Subject, system: System, seed: int) -> None:
    """What an entry of h or θ feeds, by moving it."""
    model = TracedModel(system)
    rng = np.random.default_rng(seed)
    problem = problem_for(system, 2, seed)
    x = problem.xs[-1]
    h = np.asarray(system.transition(system.initial, problem.xs[0], system.coordinates))
    params = {k: (v * (1 + 0.3 * rng.uniform(-1, 1, v.shape))).astype(v.dtype) for k, v in system.coordinates.items()}
    functions = (
        ("F", system.transition, model.patterns.transition),
        ("Y", system.output, model.patterns.output),
    )
    for name, function, patterns in functions:
        where = subject.at(f"the pattern of {name}")
        columns = [("h", patterns.state, h), *((k, patterns.leaves[k], params[k]) for k in system.trainable)]
        for label, pattern, value in columns:
            table = pattern.toarray()
            for number, moved in _moved(value, rng):
                given = (moved, x, params) if label == "h" else (h, x, {**params, label: moved})
                with np.errstate(all="ignore"):
                    before, after = np.ravel(function(h, x, params)), np.ravel(function(*given))
                scale = 1e-12 if system.dtype == np.float64 else 1e-5
                fed = np.abs(after - before) > scale * (1.0 + np.abs(before))
                for i in np.flatnonzero(fed & ~table[:, number]):
                    where.fail(
                        f"output {i} depends on entry {number} of {label}, which is outside the pattern",
                        "no change",
                        f"{after[i] - before[i]:.3g}",
                    )


def _moved(value: Any, rng: np.random.Generator) -> Iterator[tuple[int, Any]]:
    size = int(np.size(value))
    for number in rng.permutation(size)[:PROBED]:
        moved = np.array(value)
        place = np.unravel_index(number, moved.shape)
        moved[place] = moved[place] * 1.1 + 0.01 * (1.0 + abs(moved[place]))
        yield int(number), moved


# ---- gradients, and learning


def _gradients(subject: Subject, problem: Problem, steps: int, engine: str) -> None:
    """Those of RTRL, θ fixed, against autograd."""
    short = Problem(problem.name, problem.system, problem.xs[:steps], problem.ys[:steps])
    try:
        with np.errstate(all="ignore"):
            truth = exact_gradients(short)
    except Exception:  # what autograd cannot differentiate; finite differences have been compared by then
        return
    execution = Execution(problem.system, RTRL(), Observer(), engine)
    reader, carry = SampleReader(execution.model, fed=True), execution.initial()
    tolerance = 1e-10 if problem.system.dtype == np.float64 else 1e-3
    for t, (x, y) in enumerate(zip(short.xs, short.ys, strict=True)):
        flat_x, flat_y, _ = reader.sample(x, y, t)
        carry = tuple(execution.make(LEARN, carry, flat_x, flat_y, ())[:-3])
        got = execution.unpack(carry).optimizer[1]
        where = subject.at(f"step {t}")
        where.close(got, truth[t], tolerance, "the gradient of RTRL is not that of backpropagation through time")


def _learns(subject: Subject, problem: Problem, estimator: Estimator, traceable: bool, seed: int) -> None:
    with subject.running("learning 20 samples"):
        learner = Learner(problem.system, estimator, SGD(1e-6), seed, "auto" if traceable else "eager")
        try:
            history = learner.run(list(zip(problem.user_xs, problem.ys, strict=True)))
        except NonFiniteError as error:
            subject.fail("learning does not stay finite", "finite numbers", error)
    subject.require(np.all(np.isfinite(history.loss)), "losses", "finite numbers", history.loss)
    if traceable:
        try:
            Learner(problem.system, estimator, engine="eager").step(problem.user_xs[0], problem.ys[0])
        except TracingError:
            return  # autograd lacks an operation
        check_engine("eager", problem.system, estimators=[estimator], optimizers=[SGD(1e-6)], steps=6, seed=seed)
