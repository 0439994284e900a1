"""Why numbers stopped being finite in a step, where that can be told: found by making the step once more."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from fwdgrad.integrate import MOMENTS, Adaptive, Clock
from fwdgrad.program import Linearized, Program
from fwdgrad.program.derivatives import infinite
from fwdgrad.program.open_loops import given_up
from fwdgrad.program.roots import watched
from fwdgrad.support.trees import flatten

__all__ = ["Cause", "cause", "radius", "steepness", "unstable"]

LINEAR = 1e-9
"""Relative difference up to which two Jacobians are one."""
LARGE = 256
"""State variables up to which all eigenvalues are computed; of more the largest is looked for with products."""
ROUNDED = 1e-6
"""An eigenvalue this little above 1 is one of absolute value 1."""


class Cause(NamedTuple):
    """What it was."""

    found: str
    """A sentence."""
    quantity: str
    """What is not finite, and in short why."""
    mend: str


def cause(
    system: Any, given: Sequence[Any], step: Callable[[], Any], params: Mapping[str, Any] | None = None
) -> Cause | None:
    """The cause, if it is one of those that can be told.

    Args:
        system: the `System`.
        given: all that the transition is given, flat.
        step: makes the transition and the prediction once more.
        params: θ as F and Y see it.
    """
    if system.past is not None and params is not None:
        for label, delay in system.past.delays.items():
            wrong = system.past.wrong(label, float(np.asarray(delay.length(params))))
            if wrong:
                found, mend = wrong.split("\n")
                return Cause(f"{found[0].upper()}{found[1:]}", "the state (a delay that cannot be had)", mend)
    if isinstance(system.dt, str):
        place = [name for name in system.x for _ in flatten(system.x[name])].index(system.dt)
        if np.asarray(given[place]) == 0:
            return Cause(
                f"The time since the sample before, {system.dt!r}, is 0, and what is divided by it is not finite.",
                "the state (the time since the sample before is 0)",
                f"Leave out samples at the same time, or do not divide by {system.dt!r}: F is a rate per unit of time.",
            )
    with watched() as failures, given_up() as clocks, np.errstate(all="ignore"):
        step()
    if system.events and any(len(clock) > 3 and len(clock) != 6 and clock[2] > MOMENTS for clock in clocks):
        return Cause(
            f"A condition of an event (fg.When) began to hold more than {MOMENTS} times within one step,\n"
            "or its change did not leave it.",
            "the state (events without end)",
            "The change has to leave the condition, and events may not come ever faster (Zeno's paradox: a ball that\n"
            "comes to rest). Make the step shorter, or let the change end it: a speed of 0 below some size.",
        )
    if clocks and isinstance(system.integrator, Adaptive):
        return _out_of_steps(system, given, Clock.of(clocks[0]))
    if failures:
        iterations, size = failures[0]
        implicit = f"the implicit equations of method={system.method!r}" if system.dt is not None else "an equation"
        implicit = "the algebraic equations" if system.algebraic is not None else implicit
        return Cause(
            f"Newton's method does not converge for {implicit} ({iterations} iterations, last change {size:.1g}).",
            "the state (Newton's method does not converge)",
            "A shorter step (dt, or substeps=…) converges, unless a function is outside its domain (log or sqrt of a\n"
            "negative number), or something has gone astray: start nearer, or let a sample move less (rate, prior).",
        )
    return None


def _out_of_steps(system: Any, given: Sequence[Any], clock: Clock) -> Cause:
    """Steps that are chosen by a tolerance, and do not arrive."""
    method: Adaptive = system.integrator
    if isinstance(system.dt, str):
        place = [name for name in system.x for _ in flatten(system.x[name])].index(system.dt)
        length = float(np.asarray(given[place]))
    else:
        length = float(system.dt)
    length /= system.substeps
    where = f"{float(clock.time) * length:.6g} after the sample before (of {length:.6g})"
    size = f"{float(clock.step) * length:.2g}"
    if system.events:
        where = f"{float(clock.time):.3g} of the way from one event to the next, or to the end of the sample"
    if clock.tried >= method.max_steps:
        found = f"method={str(method)!r} has tried {method.max_steps} steps (max_steps), and is {where}; next {size}."
    else:
        found = f"method={str(method)!r} is stuck {where}: no step of {size} is accurate enough."
    if method.stiff:
        mend = (
            "The solution may end there, or a function be outside its domain (log or sqrt of a negative number); or\n"
            "tolerances are too small (rtol, atol), or more steps are needed (max_steps): fg.Adaptive(…)."
        )
    else:
        mend = (
            "Where something decays fast the system is stiff: method='esdirk4' takes long steps there. Else the\n"
            "solution ends, a function is outside its domain, or tolerances are too small (rtol, atol, max_steps of\n"
            "fg.Adaptive)."
        )
    return Cause(found, f"the state ({system.integrator.name} does not arrive)", mend)


def steepness(parts: Sequence[tuple[Program, Sequence[Any], Sequence[int]]], quantity: str) -> Cause | None:
    """The operation with an infinite derivative, or none, where a step has numbers that are not finite for that reason.

    Args:
        parts: programs, the arguments they have in the step, and the numbers of the inputs that are differentiated in.
        quantity: what is not finite.
    """
    for program, arguments, wrt in parts:
        ins, operand = infinite(program, arguments, wrt) or (None, 0)
        if ins is not None and ins.operation.steep:
            name = f"np.{ins.operation.name}"
            if operand == 1:  # x ** y has the derivative xʸ log x in y
                return Cause(
                    f"{name} has no derivative in its exponent where a negative number is raised, as at {ins.source}.",
                    f"{quantity} (the derivative of {name} in its exponent is not a number)",
                    "Fix the exponent, or keep what is raised above 0, as np.maximum(h, 1e-9) does; where it cannot\n"
                    "be negative in truth, a step of the integrator overshoots: make it shorter (dt, or substeps=…).",
                )
            return Cause(
                f"The derivative of {name} is {ins.operation.steep}, where its argument is now, at {ins.source}.",
                f"{quantity} (the derivative of {name} is infinite)",
                "Keep the argument away from there, as np.sqrt(np.maximum(h, 1e-6)) does, or choose another value\n"
                "there: np.where(h > 0, np.sqrt(h), 0.0) has the derivative 0 at h = 0.",
            )
    return None


def radius(program: Program, arguments: Sequence[Any]) -> float:
    """The largest absolute eigenvalue of ∂h'/∂h, of a transition with a correction that of A (Id − K C); NaN if none.

    Args:
        program: a transition, whose first input is h.
        arguments: what it is given.

    Cost: n products forward and all eigenvalues; of more than 256 state variables some hundred products (Arnoldi's
    method, Lehoucq and Sorensen 1996), and NaN where these do not tell it.
    """
    if len(arguments[0]) > LARGE:
        return _largest(program, arguments)
    slopes = _slopes(program, arguments)
    if not np.isfinite(slopes).all():
        return float("nan")
    return float(np.max(np.abs(np.linalg.eigvals(slopes))))


def _largest(program: Program, arguments: Sequence[Any]) -> float:
    from scipy.sparse.linalg import ArpackError, LinearOperator, eigs  # few systems are as large

    with np.errstate(all="ignore"):
        point, size = Linearized(program, arguments), len(arguments[0])
        dtype, start = np.asarray(arguments[0]).dtype, np.random.default_rng(0).normal(size=size)

        def product(v: Any) -> Any:
            return np.asarray(point.jvp({0: np.ravel(v).astype(dtype)})[0], float)

        if not np.isfinite(product(start)).all():
            return float("nan")
        try:
            made = eigs(
                LinearOperator((size, size), matvec=product, dtype=float),
                k=1, v0=start, tol=1e-8, maxiter=20, return_eigenvectors=False,
            )  # fmt: skip
        except ArpackError:
            return float("nan")
    return float(np.abs(made[0]))


def _slopes(program: Program, arguments: Sequence[Any]) -> np.ndarray:
    """∂h'/∂h, or, of a large system, its products with three vectors."""
    with np.errstate(all="ignore"):
        point, size = Linearized(program, arguments), len(arguments[0])
        unit = np.eye(size) if size <= LARGE else np.random.default_rng(0).normal(size=(3, size))
        unit = unit.astype(np.asarray(arguments[0]).dtype)
        return np.stack([np.asarray(point.jvp({0: row})[0]) for row in unit], axis=1)


def unstable(program: Program, arguments: Sequence[Any], elsewhere: Any = None) -> Cause | None:
    """A predictor whose errors grow from sample to sample, where it corrects them by the sample before.

    Args:
        program: its transition.
        arguments: what it is given, the sample before included.
        elsewhere: another state; where the Jacobian is another one there, nothing is said.
    """
    largest = radius(program, arguments)
    if not largest > 1.0 + ROUNDED:
        return None
    if elsewhere is not None:
        here, there = _slopes(program, arguments), _slopes(program, [elsewhere, *arguments[1:]])
        if not np.allclose(here, there, rtol=LINEAR, atol=LINEAR * float(np.max(np.abs(here)))):
            return None
    return Cause(
        f"The predictor is unstable: A (Id − K C), K the gain of `injection`, has an eigenvalue of absolute value "
        f"{largest:.4g} here,\nso that errors of the state grow by as much with every sample.",
        "the state (the predictor is unstable)",
        "Begin with a gain that does not overshoot (0 is one if the model itself is stable), or let a sample move\n"
        "parameters less (a smaller rate, a larger prior).",
    )
