"""Systems from functions in the conventions of SciPy, ``f(t, y, *args)``, and python-control, ``f(t, x, u, params)``.

Time is a state variable, `t`, if a function uses it, and else does not occur.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from fwdgrad.errors import DeclarationError, TracingError, UnknownNameError, did_you_mean
from fwdgrad.program import Abstract, trace
from fwdgrad.support.arguments import suggests
from fwdgrad.support.trees import flatten, unflatten
from fwdgrad.system import System

__all__ = ["from_control", "from_scipy"]

TIME = "t"
"""The state variable that holds the time."""

Function = Callable[[Any, Any, Any, Any], Any]
"""(time, state, input, parameters) ↦ array."""


@partial(suggests, beyond=System)
def from_scipy(
    fun: Callable[..., Any],
    y0: Any,
    args: Sequence[Any] | Mapping[str, Any],
    *,
    dt: float | str,
    t0: float = 0.0,
    outputs: Callable[..., Any] | None = None,
    method: str = "rk4",
    **declaration: Any,
) -> System:
    """The system of a function written for `scipy.integrate.solve_ivp`, with its arguments as parameters.

    Args:
        fun: the rate of change, ``fun(t, y, *args)``.
        y0: the initial state, an array of one axis.
        args: initial values of the further arguments, in order; or a dict of them by name. Each may be a number, an
            array, or what `positive`, `bounded`, `fixed` and `tied` return.
        dt: time from one sample to the next, or the name of the input that brings it.
        t0: the time of the initial state.
        outputs: what is observed, ``outputs(t, y, *args)``; all of y by default.
        method: integrator; see `fwdgrad.integrate`.
        declaration: further arguments of `System`, such as loss, frozen, substeps, injection, and first="initial" for
            samples that begin at t0, as those of ``t_eval`` do.

    Returns:
        A system whose parameters are named as the function names them. Its state is y, or {"y": y, "t": t} if `fun` or
        `outputs` use the time.

    Raises:
        DeclarationError: the arguments do not fit the function, or what `System` raises.

    Example:
        >>> import fwdgrad as fg
        >>> from fwdgrad.declare.adapters import from_scipy
        >>> def lotka_volterra(t, z, a, b, c, d):
        ...     x, y = z
        ...     return [a * x - b * x * y, -c * y + d * x * y]
        >>> system = from_scipy(lotka_volterra, [10.0, 5.0], args=(1.5, 1, 3, 1), dt=0.1)
        >>> list(system.params), system.state
        (['a', 'b', 'c', 'd'], array([10.,  5.]))
    """
    params = _arguments(fun, args)
    names = tuple(params)

    def rate(t: Any, y: Any, u: Any, theta: Mapping[str, Any]) -> Any:
        return fun(t, y, *(theta[k] for k in names))

    def observed(t: Any, y: Any, u: Any, theta: Mapping[str, Any]) -> Any:
        return y if outputs is None else outputs(t, y, *(theta[k] for k in names))

    declaration.setdefault("name", getattr(fun, "__name__", None))
    return _declared(rate, observed, "y", y0, params, 0, dt, t0, 1.0, method=method, **declaration)


@partial(suggests, beyond=System)
def from_control(
    updfcn: Any,
    outfcn: Callable[..., Any] | None = None,
    *,
    state: Any = None,
    params: Mapping[str, Any] | None = None,
    inputs: int | None = None,
    dt: float | str | None = None,
    t0: float = 0.0,
    method: str | None = None,
    **declaration: Any,
) -> System:
    """The system of python-control's functions, or of one of its `NonlinearIOSystem` objects.

    fwdgrad observes at the end of a step, with the input that was held during it: ŷ = outfcn(t, x, u, params) at the
    new t and x.

    Args:
        updfcn: ``updfcn(t, x, u, params)``, the rate of change, or without `dt` the next state. Or an object that has
            `updfcn`, `outfcn`, `params`, `ninputs`, `nstates`, `noutputs` and `dt`, as `control.nlsys` returns it.
        outfcn: ``outfcn(t, x, u, params)``; the state by default.
        state: the initial state, an array of one axis, or a function of the parameters; zeros for an object that knows
            the number of its states.
        params: initial values by name: numbers, arrays, or what `positive`, `bounded`, `fixed` and `tied` return.
            For an object they replace, or add to, its own.
        inputs: the number of inputs, known for an object; 0 by default, u is then empty.
        dt: time from one sample to the next, or the name of the input that brings it (the others are then called "u").
            None for a system in discrete time, in which t counts samples, or goes by the object's own `dt`.
        t0: the time of the initial state.
        method: integrator, "rk4" by default; see `fwdgrad.integrate`.
        declaration: further arguments of `System`, such as loss, frozen, substeps and injection.

    Returns:
        A system with the state x, or {"x": x, "t": t} if a function uses the time.

    Raises:
        DeclarationError: the declaration contradicts itself or the object's, or what `System` raises.

    Example:
        >>> import numpy as np
        >>> from fwdgrad.declare.adapters import from_control
        >>> def update(t, x, u, params):
        ...     return np.array([x[1], -params["k"] * x[0] - params.get("c", 0.1) * x[1] + u[0]])
        >>> system = from_control(update, state=np.zeros(2), params={"k": 2.0}, inputs=1, dt=0.05)
        >>> system
        System update: state 2, parameters 1 (k), input float64[1], dt=0.05 (rk4), loss SquaredError(scale=1.0)
    """
    params, period, observed = dict(params or {}), 1.0, None
    if hasattr(updfcn, "updfcn"):
        described = updfcn
        if outfcn is not None or inputs is not None:
            raise DeclarationError("from_control: outfcn and inputs are the object's own; leave them out.")
        period = _period(described.dt, dt)
        updfcn, outfcn, inputs = described.updfcn, described.outfcn, described.ninputs
        params = dict(described.params) | params
        observed = None if outfcn is not None else described.noutputs
        state = np.zeros(described.nstates) if state is None and described.nstates else state
        declaration.setdefault("name", described.name)
    elif not callable(updfcn):
        raise DeclarationError(
            f"from_control: expected a function (t, x, u, params), or an object of python-control; got {updfcn!r}."
        )
    if state is None:
        raise DeclarationError("from_control: the initial state is not known. Give state=np.zeros(n).")
    output = outfcn

    def watch(t: Any, x: Any, u: Any, theta: Mapping[str, Any]) -> Any:
        return x[:observed] if output is None else output(t, x, u, theta)

    declaration.setdefault("name", getattr(updfcn, "__name__", None))
    declaration["method"] = method
    return _declared(updfcn, watch, "x", state, params, inputs or 0, dt, t0, period, **declaration)


def _declared(
    change: Function,
    observed: Function,
    label: str,
    start: Any,
    params: dict[str, Any],
    inputs: int,
    dt: float | str | None,
    t0: float,
    period: float,
    **declaration: Any,
) -> System:
    """The system of two functions of time, with the time in its state only if it has to be."""
    x: Any = np.zeros(inputs) if inputs else None
    if isinstance(dt, str):
        x = {dt: 1.0} | ({"u": x} if inputs else {})

    def given(x: Any) -> Any:
        if not inputs:
            return np.zeros(0)
        return x["u"] if isinstance(dt, str) else x

    def F(h: Any, x: Any, theta: Mapping[str, Any]) -> Any:
        one = np.ones_like(h[TIME])
        after = one if dt is not None else h[TIME] + period * one
        return {label: change(h[TIME], h[label], given(x), theta), TIME: after}

    def Y(h: Any, x: Any, theta: Mapping[str, Any]) -> Any:
        return observed(h[TIME], h[label], given(x), theta)

    def begin(theta: Mapping[str, Any]) -> Any:
        return {label: start(theta), TIME: t0}

    state = begin if callable(start) else {label: np.asarray(start, float), TIME: t0}
    declaration |= {"params": params, "x": x, "dt": dt}
    timed = System(F, Y, state, **declaration)
    declaration["first"] = None if isinstance(dt, str) else timed.first  # a warning is said once
    if _uses_time(timed, F, Y, label):
        return timed
    return System(
        lambda h, x, theta: change(t0, h, given(x), theta),
        lambda h, x, theta: observed(t0, h, given(x), theta),
        start if callable(start) else np.asarray(start, float),
        **declaration,
    )


def _uses_time(system: System, F: Callable[..., Any], Y: Callable[..., Any], label: str) -> bool:
    """Whether F, apart from counting the time, or Y depends on it. Yes, if the functions cannot be traced."""
    inputs = flatten(system.x)
    count = 2 + len(inputs)
    example = [system.state[TIME], system.state[label], *inputs, *system.params.values()]

    def both(*arguments: Any) -> Any:
        h = {label: arguments[1], TIME: arguments[0]}
        x = unflatten(system.x, arguments[2:count])
        theta = dict(zip(system.params, arguments[count:], strict=True))
        return F(h, x, theta)[label], Y(h, x, theta)

    try:
        return 0 in trace(both, [Abstract.of(v) for v in example]).live_inputs()
    except TracingError:
        return True


def _arguments(fun: Callable[..., Any], args: Any) -> dict[str, Any]:
    """The further arguments of a function of (t, y), by name."""
    try:
        signature = inspect.signature(fun)
    except (TypeError, ValueError):
        raise DeclarationError(f"from_scipy: expected a function fun(t, y, *args), got {fun!r}.") from None
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    accepted = [p for p in signature.parameters.values() if p.kind in kinds][2:]
    needed = [p.name for p in accepted if p.default is inspect.Parameter.empty]
    names = [p.name for p in accepted]
    anything = any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in signature.parameters.values())
    if isinstance(args, Mapping):
        if anything:
            return dict(args)
        for k in args:
            if k not in names:
                raise UnknownNameError(f"from_scipy: the function has no argument {k!r}. {did_you_mean(k, names)}")
        given = [k for k in names if k in args]
        if given != names[: len(given)] or len(given) < len(needed):
            missing = next(k for k in names if k not in args)
            raise DeclarationError(f"from_scipy: args has no {missing!r}; it needs {', '.join(names)}.")
        return {k: args[k] for k in given}
    values = tuple(args) if isinstance(args, Sequence) and not isinstance(args, str) else None
    if values is None or anything or not len(needed) <= len(values) <= len(names):
        expected = "a dict, as the function takes *args" if anything else f"values of {', '.join(names) or 'nothing'}"
        raise DeclarationError(f"from_scipy(args=…): expected {expected}; got {args!r}.")
    return dict(zip(names, values, strict=False))


def _period(own: Any, dt: Any) -> float:
    """By how much the time of an object goes on in a step, given what its `dt` says and what was asked for."""
    if own is None or own == 0:
        if dt is None:
            raise DeclarationError("from_control: the system is in continuous time. Give dt, the time between samples.")
        return 1.0
    if dt is not None:
        raise DeclarationError(
            f"from_control: the system is in discrete time (dt={own!r}) and takes no dt, got {dt!r}."
        )
    return 1.0 if own is True else float(own)
