"""`check_engine`: an engine does what the NumPy engine does."""

from __future__ import annotations

import inspect
import itertools
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from fwdgrad.errors import DeclarationError, NonFiniteError
from fwdgrad.estimators import BPTT, RTRL, TBPTT, UORO, Estimator, NoBackTrack, SparseRTRL
from fwdgrad.learning.learner import Learner
from fwdgrad.optimizers import SGD, Adam, Optimizer
from fwdgrad.system import System
from fwdgrad.testing.failures import Subject
from fwdgrad.testing.problems import Problem, network, oscillator, problem_for, shared, symbols

__all__ = ["check_engine"]

ESTIMATORS = (RTRL(), SparseRTRL(), UORO(), NoBackTrack(rank=2), UORO(window=3), TBPTT(3), BPTT())
OPTIMIZERS = (SGD(1e-2), Adam(1e-2))


@np.errstate(all="ignore")  # what is not finite is said by name
def check_engine(
    engine: str,
    system: System | None = None,
    *,
    estimators: Sequence[Estimator] | None = None,
    optimizers: Sequence[Optimizer] | None = None,
    steps: int = 20,
    seed: int = 0,
    reference: str = "numpy",
) -> None:
    """Compare learning on an engine with learning on the NumPy engine: same seed, same stream, some targets missing.

    Parameters and losses agree to 1e-13 (of the largest) after the first step and to 1e-9 after all of them (1e-5 and
    1e-3 in single precision); predictions agree and change nothing; `run` is what single steps are; a state that
    diverges is reported at the same step, with the learner left as it was; a checkpoint is continued bit for bit, and
    to 1e-9 by the reference engine where `Learner.load` takes an engine.

    Args:
        engine: a name that `Learner` takes.
        system: where; by default built-in systems: fully connected (in both precisions), few parameters that feed all,
            named states, symbols.
        estimators: with which; by default one of each kind.
        optimizers: with which; the first of them with every estimator, the others with the first estimator.
        steps: length of the streams.
        seed: of samples and noise.
        reference: the engine to compare with.

    Cost: each engine prepares its step once for each system, estimator and optimizer.

    Raises:
        AssertionError: something differs; the text says what, and where.
        DeclarationError: every system and estimator is refused, by this engine or the reference. Some may be.

    Example:
        >>> import fwdgrad as fg
        >>> from fwdgrad import systems
        >>> check_engine("eager", systems.tanh_rnn(units=3, symbols=2), estimators=[fg.RTRL()], steps=5)
    """
    chosen = ESTIMATORS if estimators is None else tuple(estimators)
    others = OPTIMIZERS if optimizers is None else tuple(optimizers)
    pairs = [(e, others[0]) for e in chosen] + [(chosen[0], o) for o in others[1:]]
    refused, done = None, 0
    for problem in _problems(system, steps, seed):
        for estimator, optimizer in pairs:
            subject = Subject(f"engine {engine!r}", f"{problem}, {estimator.name}, {optimizer!r}, seed {seed}")
            pair = _Pair(subject, problem, estimator, optimizer, engine, reference, seed)
            try:
                pair.prepare()
            except DeclarationError as error:
                refused = error
                continue
            pair.steps()
            pair.runs()
            pair.saved()
            done += 1
    if refused is not None and not done:
        raise refused
    if system is None:
        for estimator in chosen:
            _diverges(
                Subject(f"engine {engine!r}", f"a state that diverges, {estimator.name}"), estimator, engine, reference
            )


def _problems(system: System | None, steps: int, seed: int) -> list[Problem]:
    if system is not None:
        made = [problem_for(system, steps, seed)]
    else:
        built = [(network, 3, np.float64), (network, 3, np.float32), (shared, 3, np.float64)]
        built += [(oscillator, 2, np.float64), (symbols, 3, np.float64)]
        label = "built-in {} of {} state variables in {}"
        made = [
            problem_for(build(n, dtype), steps, seed, label.format(build.__name__, n, dtype.__name__))
            for build, n, dtype in built
        ]
    return [p.without(2, 3) for p in made]


class _Pair:
    """A learner on the engine, and one on the reference."""

    def __init__(
        self,
        subject: Subject,
        problem: Problem,
        estimator: Estimator,
        optimizer: Optimizer,
        engine: str,
        reference: str,
        seed: int,
    ) -> None:
        self.subject, self.problem, self.engine, self.reference = subject, problem, engine, reference
        self.estimator, self.optimizer = estimator, optimizer
        self.seed = seed
        double = problem.system.dtype == np.float64
        self.first, self.last = (1e-13, 1e-9) if double else (1e-5, 1e-3)

    def prepare(self) -> None:
        """Make the learners, and a step with others.

        Raises:
            DeclarationError: an engine refuses the system or the estimator.
        """
        for engine in (self.reference, self.engine):
            with (
                suppress(NonFiniteError),
                self.subject.running(f"a step on {engine!r}", DeclarationError, NonFiniteError),
            ):
                self._learner(engine).step(self.problem.user_xs[0], self.problem.ys[0])
        self.ours, self.theirs = self._learner(self.engine), self._learner(self.reference)

    def _learner(self, engine: str) -> Learner:
        made = Learner(self.problem.system, self.estimator, self.optimizer, self.seed, engine)
        self.subject.require(made.engine == engine, "the learner falls back to another engine", engine, made.engine)
        return made

    def steps(self) -> None:
        """One after the other, on both."""
        for t, (x, y) in enumerate(zip(self.problem.user_xs, self.problem.ys, strict=True)):
            where, tolerance = self.subject.at(f"step {t}"), self.first if t == 0 else self.last
            with where.running("predict"):
                before = dict(self.ours.params)
                seen, expected = self.ours.predict(x), self.theirs.predict(x)
            where.same(dict(self.ours.params), before, "predict changes the parameters")
            where.close({"ŷ": seen}, {"ŷ": expected}, tolerance, "the prediction differs")
            with where.running("step"):
                got, other = self.ours.step(x, y), self.theirs.step(x, y)
            where.require(np.isnan(got) == np.isnan(other), "the loss", other, got)
            if not np.isnan(other):
                where.close({"loss": got}, {"loss": other}, tolerance, "the loss differs")
            self._same(where, tolerance)
        with self.subject.running("finish"):
            self.ours.finish()
            self.theirs.finish()
        self._same(self.subject.at("after finish"), self.last)

    def _same(self, where: Subject, tolerance: float) -> None:
        where.close(dict(self.ours.params), dict(self.theirs.params), tolerance, "parameters differ")
        state, expected = (self.problem.system.pack(v.state) for v in (self.ours, self.theirs))
        where.close({"h": state}, {"h": expected}, tolerance, "the state differs")
        dtypes = {k: v.dtype for k, v in self.ours.params.items()}
        where.require(set(dtypes.values()) == {self.problem.system.dtype}, "dtypes", self.problem.system.dtype, dtypes)

    def runs(self) -> None:
        """`run` over the same samples."""
        learner, where = self._learner(self.engine), self.subject.at("run")
        with where.running("run"):
            learner.run(list(zip(self.problem.user_xs, self.problem.ys, strict=True)))
            learner.finish()
        where.close(dict(learner.params), dict(self.ours.params), self.last, "run learns something else than steps")
        where.require(learner.steps == self.ours.steps, "steps counted", self.ours.steps, learner.steps)

    def saved(self) -> None:
        """Stopped half way, and taken up again."""
        half = len(self.problem.user_xs) // 2 + 1  # within a window
        samples = list(zip(self.problem.user_xs, self.problem.ys, strict=True))
        learner, where = self._learner(self.engine), self.subject.at(f"a checkpoint after {half} steps")
        with tempfile.TemporaryDirectory() as folder, where.running("saving and loading"):
            path, known = Path(folder) / "half.npz", {"estimator": self.estimator, "optimizer": self.optimizer}
            for x, y in samples[:half]:
                learner.step(x, y)
            learner.save(path)
            again = [(0.0, Learner.load(path, self.problem.system, **known))]  # type: ignore[arg-type]
            if "engine" in inspect.signature(Learner.load).parameters:
                other: Any = {**known, "engine": self.reference}
                again.append((self.last, Learner.load(path, self.problem.system, **other)))
        for tolerance, loaded in again:
            for x, y in samples[half:]:
                loaded.step(x, y)
            loaded.finish()
            label = f"what was loaded on engine {loaded.engine!r} goes on differently"
            where.close(dict(loaded.params), dict(self.ours.params), tolerance, label)


def _diverges(subject: Subject, estimator: Estimator, engine: str, reference: str) -> None:
    """h' = a h² + x, from 2: squares of squares, until they are infinite."""
    system = System(lambda h, x, p: p["a"] * h * h + x, None, np.array([2.0]), {"a": 1.0}, np.zeros(1), name="squares")
    found: list[tuple[Any, ...]] = []
    for name, targets in itertools.product((reference, engine), (True, False)):
        learner = Learner(system, estimator, SGD(1e-30), engine=name)
        error = None
        with subject.running("diverging"):
            for _ in range(20):
                before = dict(learner.params), learner.state, learner.steps
                try:
                    learner.step(np.zeros(1), np.ones(1) if targets else None)
                except NonFiniteError as raised:
                    error = raised
                    break
        subject.require(error is not None, f"on {name!r} a state that is infinite is not reported", "an error", "none")
        subject.same(
            (dict(learner.params), learner.state), before[:2], f"on {name!r} a refused step changes the learner"
        )
        subject.require(learner.steps == before[2], "a refused step is counted", before[2], learner.steps)
        found.append((error.step, error.quantity) if error else ())
    subject.require(found[:2] == found[2:], "step and quantity that diverged", found[:2], found[2:])
