"""fwdgrad: compiled streams, `Learner.run`, and one sample at a time."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

import fwdgrad as fg
from benchmarks.rivals.problem import RATE, SEED, WINDOW, Prepared, Problem, Rival
from fwdgrad.learning.execution import Execution

SGD = fg.SGD(RATE)


def stream(
    estimator: Any, name: str, most: int = 1 << 30, easy: int = 256, optimizer: Any = SGD, like: str | None = None
) -> Rival:
    """The compiled loop by itself: samples, signs and results are arrays in memory."""

    def prepare(problem: Problem) -> Prepared:
        from fwdgrad.engines.compiled_engine import aligned

        start = time.process_time()
        execution = Execution(problem.system, estimator, optimizer, "compiled")
        compiled = execution.stream("learn")
        build = time.process_time() - start
        rows = [*problem.samples, *([problem.signs] if execution.specs else [])]
        begin, outs = execution.initial(), results(execution, problem.steps)
        carry = [aligned(leaf) for leaf in begin]  # as a learner holds it

        def run() -> float:
            for leaf, first in zip(carry, begin, strict=True):
                leaf[...] = first
            started = time.process_time()
            done = compiled.run(carry, rows, outs, 0, problem.steps)
            spent = time.process_time() - started
            assert done == problem.steps, f"{name} stopped at step {done}"
            return spent / problem.steps

        return Prepared(build, run, lambda: execution.unpack(tuple(carry)).params)

    return Rival(name, prepare, ("llvmlite",), most, like=estimator.name if like is None else like, easy=easy)


def windows(estimator: Any, name: str) -> Rival:
    """The compiled loop over windows by itself, with Adam."""

    def prepare(problem: Problem) -> Prepared:
        from fwdgrad.engines.compiled_engine import aligned

        start = time.process_time()
        execution = Execution(problem.system, estimator, fg.Adam(RATE), "compiled")
        compiled = execution.stream("window")
        build = time.process_time() - start
        count = problem.steps // WINDOW
        shape = (count, WINDOW)
        samples = [a[: count * WINDOW].reshape(shape) for a in problem.samples]
        marks = np.ones(shape)
        rows = [*samples, marks, marks, *([problem.signs[:count]] if execution.specs else [])]
        outs = [np.zeros(shape), np.zeros((*shape, *execution.system.prediction.shape))]
        begin = execution.initial()
        carry = [aligned(leaf) for leaf in begin]

        def run() -> float:
            for leaf, first in zip(carry, begin, strict=True):
                leaf[...] = first
            started = time.process_time()
            done = compiled.run(carry, rows, outs, 0, count)
            spent = time.process_time() - started
            assert done == count, f"{name} stopped at window {done}"
            return spent / (count * WINDOW)

        return Prepared(build, run, lambda: execution.unpack(tuple(carry)).params)

    kind = "UORO" if estimator.name == "UORO" else "TBPTT"
    return Rival(name, prepare, ("llvmlite",), like=f"window, {kind}")


def model(name: str) -> Rival:
    """F and Y and nothing else, as the same kind of loop."""

    def prepare(problem: Problem) -> Prepared:
        from fwdgrad.engines.compiled_engine import aligned

        start = time.process_time()
        execution = Execution(problem.system, fg.TBPTT(1), fg.SGD(RATE), "compiled")
        compiled = execution.stream("transit")
        build = time.process_time() - start
        carry, outs = [aligned(leaf) for leaf in execution.initial()], results(execution, problem.steps)
        rows = [problem.samples[0]]

        def run() -> float:
            carry[0][...] = 0.0
            started = time.process_time()
            compiled.run(carry, rows, outs, 0, problem.steps)
            return (time.process_time() - started) / problem.steps

        return Prepared(build, run, dict)

    return Rival(name, prepare, ("llvmlite",), like="")


def whole(estimator: Any, name: str, engine: str) -> Rival:
    """`Learner.run`: reads and checks the samples, draws the signs, records the losses."""

    def prepare(problem: Problem) -> Prepared:
        held: list[fg.Learner] = []

        def run() -> float:
            learner = _learner(problem, estimator, engine)
            started = time.process_time()
            learner.run(*problem.samples, record=problem.steps)
            spent = time.process_time() - started
            held[:] = [learner]
            return spent / problem.steps

        return Prepared(_first(problem, estimator, engine), run, lambda: held[0].params)

    return Rival(name, prepare, ("llvmlite",) if engine == "compiled" else (), like=estimator.name)


def single(estimator: Any, name: str, engine: str) -> Rival:
    """`Learner.step`, one sample after the other."""

    def prepare(problem: Problem) -> Prepared:
        held: list[fg.Learner] = []
        pairs = list(zip(*(a.tolist() for a in problem.samples), strict=True))

        def run() -> float:
            learner = _learner(problem, estimator, engine)
            learn = learner.step
            started = time.process_time()
            for x, y in pairs:
                learn(x, y)
            spent = time.process_time() - started
            held[:] = [learner]
            return spent / problem.steps

        return Prepared(_first(problem, estimator, engine), run, lambda: held[0].params)

    return Rival(name, prepare, ("llvmlite",) if engine == "compiled" else (), like=estimator.name)


def results(execution: Execution, steps: int) -> list[np.ndarray]:
    """Arrays for losses and predictions."""
    like = execution.system.prediction
    return [np.zeros(steps, execution.system.dtype), np.zeros((steps, *like.shape), like.dtype)]


def _learner(problem: Problem, estimator: Any, engine: str) -> fg.Learner:
    return fg.Learner(problem.system, estimator, fg.SGD(RATE), seed=SEED, engine=engine)


def _first(problem: Problem, estimator: Any, engine: str) -> float:
    """Seconds to the end of the first step."""
    start = time.process_time()
    _learner(problem, estimator, engine).step(0, 0)
    return time.process_time() - start
