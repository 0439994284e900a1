"""Exact sensitivities of differential equations: error against time, beside SciPy, CVODE and diffsol.

    python benchmarks/work_precision.py [--problems …] [--tolerances 1e-3 …] [--repeats 5] [--out picture.png]

For each problem and tolerance: y(T) and ∂y/∂θ from one interval of length T; the error is that of ∂y/∂θ, as
‖S − S*‖/‖S*‖ against SciPy's solution of the variational equations at 10⁻¹². Times are the processor's, the least of
the repeats, taken in turn, compiled before. fwdgrad makes one step of RTRL with a method that chooses its steps; SciPy
and CVODE (scikit-sundae) integrate the variational equations, which this library derives, and call them in Python;
diffsol (pydiffsol) has forward sensitivities of its own, compiled. What is not installed is left out.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from scipy.integrate import solve_ivp

import fwdgrad as fg
from fwdgrad.engines.numpy_engine import compile_program
from fwdgrad.program import Abstract, Linearized, trace


class Problem(NamedTuple):
    """dy/dt = f(y, θ) over one interval."""

    rates: Callable[[Any, Any], Any]
    start: np.ndarray
    theta: np.ndarray
    length: float
    stiff: bool
    atol: float
    diffsl: str


def lotka_volterra() -> Problem:
    """Two species, four parameters, not stiff."""

    def rates(y: Any, p: Any) -> Any:
        return np.stack([p[0] * y[0] - p[1] * y[0] * y[1], p[2] * y[0] * y[1] - p[3] * y[1]])

    text = """in_i { a = 1.1, b = 0.1, d = 0.1, c = 0.4 }
    u_i { x = 10, z = 5 }
    F_i { a*x - b*x*z, d*x*z - c*z }"""
    return Problem(rates, np.array([10.0, 5.0]), np.array([1.1, 0.1, 0.1, 0.4]), 20.0, False, 1.0, text)


def robertson() -> Problem:
    """Three substances, rates nine orders of magnitude apart."""

    def rates(y: Any, p: Any) -> Any:
        slow, fast, pair = p[0] * y[0], p[1] * y[1] * y[2], p[2] * y[1] * y[1]
        return np.stack([fast - slow, slow - fast - pair, pair])

    text = """in_i { k = 0.04, m = 10000, q = 30000000 }
    u_i { x = 1, y = 0, z = 0 }
    F_i { m*y*z - k*x, k*x - m*y*z - q*y*y, q*y*y }"""
    return Problem(rates, np.array([1.0, 0.0, 0.0]), np.array([0.04, 1e4, 3e7]), 400.0, True, 1e-4, text)


def van_der_pol() -> Problem:
    """μ = 1000, up to 500: before the jump, which multiplies sensitivities by a million."""

    def rates(y: Any, p: Any) -> Any:
        return np.stack([y[1], p[0] * (1 - y[0] ** 2) * y[1] - y[0]])

    text = """in_i { mu = 1000 }
    u_i { x = 2, y = 0 }
    F_i { y, mu*(1 - x*x)*y - x }"""
    return Problem(rates, np.array([2.0, 0.0]), np.array([1000.0]), 500.0, True, 1e-3, text)


def brusselator(cells: int = 100) -> Problem:
    """The Brusselator on a row of cells: 200 state variables, which stand in pairs, three parameters."""
    z = np.arange(1, cells + 1) / (cells + 1)
    start = np.stack([1 + np.sin(2 * np.pi * z), np.full(cells, 3.0)], axis=1).ravel()
    edge = (cells + 1) ** 2

    def rates(y: Any, p: Any) -> Any:
        u, v = y[::2], y[1::2]
        wide = np.concatenate([np.ones(1), u, np.ones(1)]), np.concatenate([np.full(1, 3.0), v, np.full(1, 3.0)])
        spread = [p[2] * edge * (w[2:] - 2 * w[1:-1] + w[:-2]) for w in wide]
        made = u * u * v
        pair = p[0] - (p[1] + 1) * u + made + spread[0], p[1] * u - made + spread[1]
        return np.reshape(np.stack(pair, axis=1), (-1,))

    return Problem(rates, start, np.array([1.0, 3.0, 0.02]), 2.0, True, 1e-1, "")


PROBLEMS = {f.__name__: f for f in (lotka_volterra, robertson, van_der_pol, brusselator)}


def variational(problem: Problem) -> Callable[[float, np.ndarray], np.ndarray]:
    """Rates of y and ∂y/∂θ in one vector, compiled to NumPy calls."""
    n, k = len(problem.start), len(problem.theta)
    inner = trace(lambda y, p: [problem.rates(y, p)], [Abstract.of(problem.start), Abstract.of(problem.theta)])

    def both(z: Any) -> Any:
        S = np.reshape(z[n:], (k, n))
        point = Linearized(inner, [z[:n], problem.theta])
        columns = [point.jvp({0: S[j], 1: np.eye(k)[j]})[0] for j in range(k)]
        return [np.concatenate([point.value[0], *columns])]

    run = compile_program(trace(both, [Abstract((n * (k + 1),), np.dtype(float))]))
    return lambda t, z: run(np.asarray(z))[0]


def by_fwdgrad(problem: Problem, tolerance: float) -> Callable[[], np.ndarray]:
    """One step of RTRL."""
    name = "esdirk4" if problem.stiff else "dopri5"
    method = fg.Adaptive(name, rtol=tolerance, atol=problem.atol * tolerance, max_steps=100_000)

    def F(h: Any, x: Any, p: Any) -> Any:
        return problem.rates(h, p["theta"])

    system = fg.System(F, None, problem.start, {"theta": problem.theta}, dt=problem.length, method=method)
    learner = fg.Learner(system, fg.RTRL(), fg.SGD(1e-3), engine="compiled")

    def run() -> np.ndarray:
        learner.reset_state()
        learner.step()
        return learner.influence_matrix()

    return run


def by_scipy(problem: Problem, tolerance: float, method: str | None = None) -> Callable[[], np.ndarray]:
    """LSODA or DOP853 on the variational equations, with sensitivities in the control of errors."""
    rates, n, k = variational(problem), len(problem.start), len(problem.theta)
    z0 = np.concatenate([problem.start, np.zeros(n * k)])
    method = method or ("LSODA" if problem.stiff else "DOP853")

    def run() -> np.ndarray:
        atol = problem.atol * tolerance
        made = solve_ivp(rates, (0, problem.length), z0, method=method, rtol=tolerance, atol=atol)
        return made.y[n:, -1].reshape(k, n).T

    return run


def by_cvode(problem: Problem, tolerance: float) -> Callable[[], np.ndarray]:
    """CVODE (BDF, or Adams) on the variational equations."""
    from sksundae.cvode import CVODE

    rates, n, k = variational(problem), len(problem.start), len(problem.theta)
    z0 = np.concatenate([problem.start, np.zeros(n * k)])

    def right(t: float, z: np.ndarray, out: np.ndarray) -> None:
        out[:] = rates(t, z)

    kind = "BDF" if problem.stiff else "Adams"
    solver = CVODE(right, method=kind, rtol=tolerance, atol=problem.atol * tolerance, max_num_steps=100_000)

    def run() -> np.ndarray:
        made = solver.solve(np.array([0.0, problem.length]), z0)
        return np.asarray(made.y)[-1, n:].reshape(k, n).T

    return run


def by_diffsol(problem: Problem, tolerance: float) -> Callable[[], np.ndarray]:
    """diffsol's forward sensitivities, compiled from DiffSL."""
    import pydiffsol as ds

    if not problem.diffsl:
        raise NotImplementedError("no DiffSL is written for it")
    ode = ds.Ode(problem.diffsl, matrix_type=ds.nalgebra_dense)
    ode.ode_solver = ds.bdf if problem.stiff else ds.tsit45
    ode.rtol = ode.sens_rtol = tolerance
    ode.atol = ode.sens_atol = problem.atol * tolerance
    times = np.array([problem.length])

    def run() -> np.ndarray:
        made = ode.solve_fwd_sens(problem.theta, times)
        return np.stack([np.asarray(s)[:, -1] for s in made.sens], axis=1)

    return run


SIDES = {"fwdgrad": by_fwdgrad, "SciPy": by_scipy, "CVODE": by_cvode, "diffsol": by_diffsol}
NEEDS = {"CVODE": "sksundae", "diffsol": "pydiffsol"}


class Row(NamedTuple):
    """What came of one side at one tolerance."""

    problem: str
    side: str
    tolerance: float
    error: float
    seconds: float


def rows(names: list[str], tolerances: list[float], repeats: int) -> Iterator[Row]:
    """Every side in turn."""
    for name in names:
        problem = PROBLEMS[name]()
        exact = by_scipy(problem, 1e-12, "Radau" if problem.stiff and len(problem.start) < 10 else None)()
        for tolerance in tolerances:
            runs = {}
            for side, make in SIDES.items():
                if side in NEEDS and importlib.util.find_spec(NEEDS[side]) is None:
                    continue
                try:
                    runs[side] = make(problem, tolerance)
                    found = runs[side]()
                except Exception as error:
                    print(f"{name} {tolerance:g} {side}: {type(error).__name__} {str(error)[:90]}", flush=True)
                    runs.pop(side, None)
                    continue
                runs[side] = runs[side], np.linalg.norm(found - exact) / np.linalg.norm(exact)
            taken: dict[str, list[float]] = {side: [] for side in runs}
            for _ in range(repeats):
                for side, (run, _) in runs.items():
                    begun = time.process_time()
                    run()
                    taken[side].append(time.process_time() - begun)
            for side, (_, error) in runs.items():
                yield Row(name, side, tolerance, float(error), min(taken[side]))


def draw(made: list[Row], out: str) -> None:
    """Error against time, a panel a problem."""
    import matplotlib.pyplot as plt

    names = list(dict.fromkeys(r.problem for r in made))
    fig, axes = plt.subplots(1, len(names), figsize=(3.3 * len(names), 3.3), layout="constrained", squeeze=False)
    for ax, name in zip(axes[0], names, strict=True):
        for side in SIDES:
            points = [(r.error, r.seconds) for r in made if r.problem == name and r.side == side]
            if points:
                ax.loglog(*zip(*points, strict=True), marker="o", ms=3, label=side)
        ax.set(title=name.replace("_", " "), xlabel="error of ∂y/∂θ", ylabel="seconds" if ax is axes[0][0] else "")
        ax.invert_xaxis()
    axes[0][0].legend(frameon=False)
    fig.savefig(out, dpi=120)


def main() -> None:
    """Print a line for each, and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", nargs="+", default=list(PROBLEMS), choices=list(PROBLEMS))
    parser.add_argument("--tolerances", nargs="+", type=float, default=[1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", default="")
    options = parser.parse_args()
    made = []
    for row in rows(options.problems, options.tolerances, options.repeats):
        made.append(row)
        print(
            f"{row.problem:15} {row.side:8} {row.tolerance:.0e}  {row.error:.1e}  {1e3 * row.seconds:9.3f} ms",
            flush=True,
        )
    if options.out:
        draw(made, options.out)


if __name__ == "__main__":
    main()
