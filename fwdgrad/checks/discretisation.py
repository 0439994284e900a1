"""How far a map with a step δt is from the differential equation that it stands for: state and influence."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fwdgrad.checks.report import CheckRow
from fwdgrad.engines.numpy_engine import compile_program
from fwdgrad.errors import StepError
from fwdgrad.filtering import FilteredSystem
from fwdgrad.integrate import Adaptive, Past
from fwdgrad.program import Abstract, Linearized, trace
from fwdgrad.support.trees import flatten, unflatten
from fwdgrad.system import System
from fwdgrad.system.tracing import traced

__all__ = ["SAMPLES", "discretisation"]

SAMPLES = 32
"""Length of the stretch."""
TOLERANCE = 1e-3
"""Relative error from which steps are called too long: a tenth of a prediction error of one part in a hundred."""
SLIGHT = 0.01
"""Part of its state variable that an influence is measured by at least."""
TIGHT = 1e-9
"""Relative tolerance of the reference."""
MOST = 20_000
"""Evaluations of rates after which the stretch ends."""
FINER, TIGHTER = 4, 1000.0
"""Times as many steps, and parts of tolerances, of a reference that is the same map."""
ENOUGH = 400
"""Steps that it makes, about."""
SIDE = 1e-6
"""Of a direction, on both sides of θ."""
EXPLICIT = ("euler", "heun", "rk4")
ORDERS: dict[Any, int] = {"euler": 1, "heun": 2, "rk4": 4, "sdirk2": 2}


def discretisation(system: System, xs: Any, rng: np.random.Generator) -> Iterator[CheckRow]:
    """Rows on state and influence over a stretch of samples, against a solution of the variational equations.

    The influence is that along one direction of all learned parameters. Errors are relative to the largest value of
    each state variable over the stretch. A step that is too long is "coarse", which is no failure: derivatives are
    those of the map that is executed.

    Args:
        system: with a `dt`; nothing is said of a map.
        xs: inputs with time along axis 0, of which the first samples are taken; the declared example, unless given.
        rng: where the direction comes from.

    Cost: of the reference, some hundred evaluations of F and of its derivative a sample, and for stiff systems
    differences in all of the 2n variables. Where there are events, delays or algebraic equations, of which that knows
    nothing, the reference is the same map with finer steps: `FINER` times as many, by RK4 unless the method is
    implicit, or smaller tolerances.

    Source: SciPy's LSODA (Petzold 1983), of which both Adams' methods and BDF are parts.
    """
    if system.dt is None:
        return
    plain = system.wrapped if isinstance(system, FilteredSystem) else system
    plain = plain.replace(injection=None, state=plain.state, first="next").astype(np.float64)
    count = SAMPLES if xs is None else min(SAMPLES, len(flatten(xs)[0]))
    mapped = bool(plain.events) or plain.past is not None or plain.algebraic is not None
    if mapped:
        count = min(count, max(1, ENOUGH // (FINER * plain.substeps)))
    inputs = [plain.x if xs is None else _row(plain.x, xs, k) for k in range(count)]
    direction = {k: np.where(v, np.abs(v), 1.0) * rng.uniform(0.5, 1.0, v.shape) for k, v in plain.coordinates.items()}
    direction = {k: direction[k] if k in plain.trainable else np.zeros_like(direction[k]) for k in direction}
    if plain.past is not None:  # of order 1 where a delay crosses the start, which biases nothing
        direction = {k: np.zeros_like(v) if _delays(plain, plain.past, k) else v for k, v in direction.items()}
    if mapped:
        steps, exact, ended = _sides(plain, inputs, direction), _sides(_finer(plain), inputs, direction), False
    else:
        steps = _steps(plain, inputs, direction)
        exact, ended = _solved(plain, inputs, direction, len(steps))
    own = len(plain.initial) if plain.past is None else plain.past.free(plain.state)
    steps, exact = steps[..., :own], exact[..., :own]
    count = len(exact) if ended else count
    steps = steps[:count]
    sizes = np.abs(np.concatenate([[plain.initial[:own]], exact[:, 0]])).max(axis=0)
    yield _judged(plain, f"δt: state after {count} samples", steps[:, 0], exact[:, 0], sizes, count)
    sizes = np.maximum(np.abs(exact[:, 1]).max(axis=0, initial=0.0), SLIGHT * sizes)
    yield _judged(plain, f"δt: influence of θ after {count} samples", steps[:, 1], exact[:, 1], sizes, count)


class _Enough(Exception):
    """The reference has taken long enough."""


def _row(like: Any, xs: Any, k: int) -> Any:
    leaves = [np.asarray(v)[k].astype(e.dtype) for v, e in zip(flatten(xs), flatten(like), strict=True)]
    return unflatten(like, leaves)


def _delays(system: System, past: Past, name: str) -> bool:
    """Whether a delay depends on a parameter."""
    moved = system.coordinates | {name: system.coordinates[name] + 1e-3}
    thetas = [system.natural(u) for u in (system.coordinates, moved)]
    lengths = [[float(np.asarray(d.length(t))) for d in past.delays.values()] for t in thetas]
    return bool(lengths[0] != lengths[1])


def _finer(system: System) -> System:
    """The same by steps that are much shorter."""
    if isinstance(system.integrator, Adaptive):
        return system.replace(method=system.integrator.tighter(TIGHTER))
    implicit = system.method not in EXPLICIT
    return system.replace(method=system.method if implicit else "rk4", substeps=FINER * system.substeps)


def _steps(system: System, inputs: list[Any], direction: dict[str, Any]) -> np.ndarray:
    """State and influence after each sample, by the integrator, as far as they are finite: shape (T, 2, n)."""
    programs = traced(system)
    h, moved = system.initial, np.zeros(system.size)
    made: list[Any] = []
    for x in inputs:
        try:
            point = Linearized(programs.transition, programs.arguments(h, x, system.coordinates))
            along = {programs.number[k]: v for k, v in direction.items()}
            (moved,), (h,) = point.jvp({0: moved, **along}), point.value
        except (StepError, np.linalg.LinAlgError):
            break
        if not (np.isfinite(h).all() and np.isfinite(moved).all()):
            break
        made.append([h, moved])
    return np.reshape(made, (len(made), 2, system.size))


def _sides(system: System, inputs: list[Any], direction: dict[str, Any]) -> np.ndarray:
    """The same by differences, which cost three passes without derivatives: through many events much less."""
    programs = traced(system)
    step = compile_program(programs.transition)
    thetas = [{k: v + side * SIDE * direction[k] for k, v in system.coordinates.items()} for side in (0.0, 1.0, -1.0)]
    states = [system.initial] * 3
    made: list[Any] = []
    for x in inputs:
        try:
            states = [step(*programs.arguments(h, x, u))[0] for h, u in zip(states, thetas, strict=True)]
        except (StepError, np.linalg.LinAlgError):
            break
        if not np.isfinite(states).all():
            break
        made.append([states[0], (states[1] - states[2]) / (2 * SIDE)])
    return np.reshape(made, (len(made), 2, system.size))


def _solved(system: System, inputs: list[Any], direction: dict[str, Any], least: int) -> tuple[np.ndarray, bool]:
    """The same for the differential equation, one sample more than `least` at most; and whether `MOST` ended it."""
    from scipy.integrate import solve_ivp  # heavy: loaded for a check only

    calls = itertools.count()
    compiled = _variational(system)
    fixed = [*system.coordinates.values(), *direction.values()]

    def rate(z: Any, x: Any) -> Any:
        if next(calls) > MOST:
            raise _Enough
        return compiled(z, *flatten(x), *fixed)[0]

    z: Any = np.concatenate([system.initial, np.zeros(system.size)])
    made: list[Any] = []
    size = np.zeros(len(z))
    for x in inputs[: least + 1]:
        length = float(x[system.dt] if isinstance(system.dt, str) else system.dt or 0.0)
        if length > 0:
            size = np.maximum(size, np.maximum(np.abs(z), length * np.abs(rate(z, x))))  # what decays is not followed
            least_size = TIGHT * np.where(size > 0, size, 1e-6 * size.max() or 1.0)
            try:
                found = solve_ivp(
                    lambda _, now, x=x: rate(now, x), (0.0, length), z, method="LSODA", rtol=TIGHT, atol=least_size
                )
            except _Enough:
                return np.reshape(made, (len(made), 2, system.size)), True
            if not found.success or not np.isfinite(found.y[:, -1]).all():
                break
            z = found.y[:, -1]
        made.append(z.reshape(2, -1))
    return np.reshape(made, (len(made), 2, system.size)), False


def _variational(system: System) -> Callable[..., Any]:
    """(h and ∂h, both in one vector; inputs, θ, direction of θ) ↦ their rates."""
    rate = system.replace(Y=None, y=None, loss=None, dt=None, method="euler", substeps=1)
    programs, n = traced(rate), rate.size
    inputs, names = len(flatten(rate.x)), list(rate.coordinates)

    def both(z: Any, *rest: Any) -> Any:
        x, theta = rest[:inputs], rest[inputs : inputs + len(names)]
        along = dict(zip(names, rest[inputs + len(names) :], strict=True))
        given = programs.arguments(z[:n], unflatten(rate.x, x), dict(zip(names, theta, strict=True)))
        point = Linearized(programs.transition, given)
        moving = {programs.number[k]: v for k, v in along.items() if k in rate.trainable}
        return [np.concatenate([point.value[0], point.jvp({0: z[n:], **moving})[0]])]

    leaves = [*flatten(rate.x), *rate.coordinates.values(), *rate.coordinates.values()]
    example = [Abstract((2 * n,), np.dtype(np.float64)), *map(Abstract.of, leaves)]
    return compile_program(trace(both, example, name="variational"))


def _judged(system: System, what: str, steps: np.ndarray, exact: np.ndarray, sizes: np.ndarray, count: int) -> CheckRow:
    """The row on one of the two, given the size of each state variable."""
    common = min(len(steps), len(exact))
    if len(exact) < min(len(steps) + 1, count):
        note = f"The reference cannot go on at sample {len(exact)}: {_name(system)} is not judged."
        return CheckRow(what, common * len(sizes), 0.0, TOLERANCE, "unclear", note)
    if len(steps) < count:
        note = (
            f"By {_name(system)} numbers stop being finite at sample {len(steps)}, where the equations' own solution "
            "goes on. Make steps shorter (dt, substeps=…), or, if the system is stiff, say method='sdirk2'."
        )
        return CheckRow(what, common * len(sizes), math.inf, TOLERANCE, "coarse", note)
    scale = np.where(sizes > 0, sizes, sizes.max() or 1.0)
    error = float((np.abs(steps - exact) / scale).max(initial=0.0))
    if error <= TOLERANCE:
        return CheckRow(what, common * len(sizes), error, TOLERANCE, "ok")
    order = ORDERS.get(system.method, 0)
    order = min(order, 2) if system.past is not None else order
    if not order:
        mend = "Make tolerances smaller (fg.Adaptive(rtol=…, atol=…))."
    elif error < 1.0:
        enough = system.substeps * math.ceil((error / TOLERANCE) ** (1 / order))
        mend = f"About substeps={enough} would do" + (", or method='rk4'." if order < 4 else ".")
    else:
        mend = "Make steps much shorter (dt, substeps=…), or, if the system is stiff, say method='sdirk2'."
    note = f"{_name(system)} is off by {error:.2g} of the largest value, and parameters that are learned biased. {mend}"
    return CheckRow(what, common * len(sizes), error, TOLERANCE, "coarse", note)


def _name(system: System) -> str:
    method = f"method={str(system.method)!r}"
    return method + (f" with {system.substeps} substeps" if system.substeps > 1 else "")
