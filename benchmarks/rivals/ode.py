"""Exact sensitivities of a small ODE: Lotka and Volterra's, by steps of Euler's and of the Runge–Kutta method."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import fwdgrad as fg
from benchmarks.rivals.fwdgrad_steps import results
from benchmarks.rivals.measure import Effort, Found, absent, rounds, say
from benchmarks.rivals.problem import Rival
from benchmarks.rivals.report import paces, ratios, target
from fwdgrad.integrate import step_map
from fwdgrad.learning.execution import Execution

START = np.array([10.0, 10.0])
RATES = np.array([1.1, 0.1, 0.1, 0.4])
TIME = 10.0
EXACT = np.array([[6.33285, 16.33123, -28.59391, 27.58254], [24.45878, 14.33824, -101.50118, 90.07591]])
"""∂(x, y)/∂p at t = 10, from solvers of high order."""
METHODS = {"euler": "Euler", "rk4": "Runge–Kutta of order 4"}
AGREE = 1e-9
STREAM, STEP = "fwdgrad, RTRL, compiled stream", "fwdgrad, RTRL, `Learner.step`"
DIFFRAX, FOLD, BUFFER = "diffrax, `ForwardMode`", "casadi, `fold`", "casadi, `buffer()` at every step"


@dataclass
class Trajectory:
    """Something that is ready to go from t = 0 to 10 in so many steps."""

    build: float
    run: Callable[[], float]
    """Seconds per step."""
    slopes: Callable[[], np.ndarray]
    """∂(x, y)/∂p at the end of the last run."""


def system(method: str, steps: int) -> fg.System:
    def rate(h: Any, x: Any, p: Any) -> Any:
        a, b, c, d = p["p"]
        return np.stack([a * h[0] - b * h[0] * h[1], c * h[0] * h[1] - d * h[1]])

    dt = TIME / steps
    return fg.System(rate, None, state=START, params={"p": RATES}, dt=dt, method=method, name="lotka-volterra")


def _timed(steps: int, go: Callable[[], Any], keep: list[Any]) -> float:
    started = time.process_time()
    made = go()
    spent = time.process_time() - started
    keep[:] = [made]
    return spent / steps


def fwdgrad_stream(method: str, steps: int) -> Trajectory:
    start = time.process_time()
    execution = Execution(system(method, steps), fg.RTRL(), fg.SGD(1e-3), "compiled")
    compiled = execution.stream("transit")
    build = time.process_time() - start
    carry = execution.initial()
    begin, outs, keep = [leaf.copy() for leaf in carry], results(execution, steps), []

    def run() -> float:
        for leaf, first in zip(carry, begin, strict=True):
            leaf[...] = first
        return _timed(steps, lambda: compiled.run(carry, [], outs, 0, steps), keep)

    def slopes() -> np.ndarray:
        influence = execution.unpack(tuple(carry)).influence
        return np.asarray(execution.steps.influence.dense(influence, execution.steps.layout)["p"]).reshape(2, 4)

    return Trajectory(build, run, slopes)


def fwdgrad_step(method: str, steps: int) -> Trajectory:
    start = time.process_time()
    declared = system(method, steps)
    fg.Learner(declared, fg.RTRL(), fg.SGD(1e-3), engine="compiled").step()
    build = time.process_time() - start
    keep: list[fg.Learner] = []

    def run() -> float:
        learner = fg.Learner(declared, fg.RTRL(), fg.SGD(1e-3), engine="compiled")

        def go() -> fg.Learner:
            step = learner.step
            for _ in range(steps):
                step()
            return learner

        return _timed(steps, go, keep)

    return Trajectory(build, run, lambda: keep[0].influence_matrix())


def _runge_kutta() -> Any:
    """The classical method, which diffrax describes by its coefficients and has none of."""
    import diffrax

    class RungeKutta(diffrax.AbstractERK):
        tableau = diffrax.ButcherTableau(
            c=np.array([0.5, 0.5, 1.0]),
            b_sol=np.array([1 / 6, 1 / 3, 1 / 3, 1 / 6]),
            b_error=np.zeros(4),
            a_lower=(np.array([0.5]), np.array([0.0, 0.5]), np.array([0.0, 0.0, 1.0])),
        )
        interpolation_cls = diffrax.ThirdOrderHermitePolynomialInterpolation.from_k

        def order(self, terms: Any) -> int:
            return 4

    return RungeKutta()


def diffrax_forward(method: str, steps: int) -> Trajectory:
    import diffrax
    import jax
    import jax.numpy as jnp

    def rate(t: Any, h: Any, p: Any) -> Any:
        return jnp.stack([p[0] * h[0] - p[1] * h[0] * h[1], p[2] * h[0] * h[1] - p[3] * h[1]])

    def final(p: Any) -> Any:
        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(rate),
            diffrax.Euler() if method == "euler" else _runge_kutta(),
            t0=0.0,
            t1=TIME,
            dt0=None,
            y0=jnp.asarray(START),
            args=p,
            saveat=diffrax.SaveAt(t1=True),
            stepsize_controller=diffrax.StepTo(np.linspace(0.0, TIME, steps + 1)),
            adjoint=diffrax.ForwardMode(),
            max_steps=steps + 1,
        )
        return solution.ys[0]

    start = time.process_time()
    p = jnp.asarray(RATES)
    compiled = jax.jit(jax.jacfwd(final)).lower(p).compile()
    build, keep = time.process_time() - start, []
    return Trajectory(
        build, lambda: _timed(steps, lambda: jax.block_until_ready(compiled(p)), keep), lambda: np.asarray(keep[0])
    )


def _casadi(method: str, steps: int) -> Any:
    """One step of state and sensitivities: (h, G, p) ↦ (h', G')."""
    import casadi

    h, G, p = casadi.SX.sym("h", 2), casadi.SX.sym("G", 2, 4), casadi.SX.sym("p", 4)

    def rate(h: Any) -> Any:
        return casadi.vertcat(p[0] * h[0] - p[1] * h[0] * h[1], p[2] * h[0] * h[1] - p[3] * h[1])

    new = step_map(method)(rate, h, TIME / steps)
    after = casadi.jacobian(new, h) @ G + casadi.jacobian(new, p)
    return casadi.Function("step", [h, G, p], [new, after], {"cse": True})


def casadi_buffer(method: str, steps: int) -> Trajectory:
    start = time.process_time()
    function = _casadi(method, steps)
    states, slopes = np.zeros((2, 2)), np.zeros((2, 8))
    calls = []
    for a, b in ((0, 1), (1, 0)):  # from one half of the memory to the other, and back
        buffer, call = function.buffer()
        for k, array in enumerate((states[a], slopes[a], RATES)):
            buffer.set_arg(k, memoryview(array))
        for k, array in enumerate((states[b], slopes[b])):
            buffer.set_res(k, memoryview(array))
        calls.append((buffer, call))
    build, keep = time.process_time() - start, []

    def run() -> float:
        states[0], slopes[0] = START, 0.0

        def go() -> None:
            there, back = (call for _, call in calls)
            for _ in range(steps // 2):
                there()
                back()

        return _timed(steps, go, keep)

    return Trajectory(build, run, lambda: slopes[0].reshape(4, 2).T)


def casadi_fold(method: str, steps: int) -> Trajectory:
    import casadi

    start = time.process_time()
    h, G, p = casadi.MX.sym("h", 2), casadi.MX.sym("G", 2, 4), casadi.MX.sym("p", 4)
    state = casadi.vertcat(h, casadi.vec(G))
    step = casadi.Function("packed", [state, p], [casadi.vertcat(*map(casadi.vec, _casadi(method, steps)(h, G, p)))])
    function = step.fold(steps)
    buffer, call = function.buffer()
    begin, end = np.concatenate([START, np.zeros(8)]), np.zeros(10)
    rates = np.tile(RATES, (steps, 1))  # a column a step
    for k, array in enumerate((begin, rates)):
        buffer.set_arg(k, memoryview(array))
    buffer.set_res(0, memoryview(end))
    build, keep, held = time.process_time() - start, [], (buffer, begin, rates)

    def run() -> float:
        assert held  # casadi knows addresses only
        return _timed(steps, call, keep)

    return Trajectory(build, run, lambda: end[2:].reshape(4, 2).T)


ENTRANTS = (
    (STREAM, ("llvmlite",), fwdgrad_stream),
    (FOLD, ("casadi",), casadi_fold),
    (DIFFRAX, ("diffrax",), diffrax_forward),
    (STEP, ("llvmlite",), fwdgrad_step),
    (BUFFER, ("casadi",), casadi_buffer),
)


def sensitivities(units: list[int], effort: Effort) -> str:
    """x, y and their derivatives in four rates; `units` is the number of steps."""
    return "\n".join(_table(method, units[0], effort) for method in METHODS)


def _table(method: str, steps: int, effort: Effort) -> str:
    """All entrants, with one method."""
    found, runs = Found(), {}
    reference = None
    for name, needs, prepare in ENTRANTS:
        rival = Rival(name, lambda problem: None, needs)
        if absent(rival):
            found.missing[name] = f"not installed ({absent(rival)})"
            continue
        say(f"ode: {method}: {name}")
        made = prepare(method, steps)
        made.run()
        slopes = np.array(made.slopes())
        if reference is None:
            reference = slopes
        else:
            found.apart[name] = float(np.abs(slopes - reference).max() / np.abs(reference).max())
            assert found.apart[name] < AGREE, f"{name}: {slopes} is not {reference}"
        found.build[name] = made.build
        often = int(np.clip(effort.seconds / (made.run() * steps), 1, 1000))
        runs[name] = lambda run=made.run, often=often: statistics.fmean(run() for _ in range(often))
    for name, times in zip(runs, rounds(list(runs.values()), effort.repeats), strict=True):
        found.paces[name, steps] = times
    off = "" if reference is None else f"{np.abs(reference - EXACT).max() / np.abs(EXACT).max():.2g}"
    text = paces(found, STREAM).replace(f"n = {steps}", f"{steps} steps").replace("what was learned", "∂(x, y)/∂p")
    lines = [
        text.replace("µs per step", f"{METHODS[method]}, µs per step") + "\n",
        f"Error in ∂(x, y)/∂p at t = {TIME:g}, the same for all, relative to the largest of them: {off}.\n",
        *(
            target(f"{name} ÷ {base}", ratios(found, name, base), 1, True)
            for base, name in ((STREAM, DIFFRAX), (STREAM, FOLD), (STREAM, BUFFER), (STEP, BUFFER))
        ),
    ]
    return "\n".join(lines) + "\n"
