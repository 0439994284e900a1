"""The limit without noise: the variational equations, and the gradient flow, solved by scipy at tight tolerance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fwdgrad.engines.numpy_engine import compile_program
from fwdgrad.errors import DataError, NonFiniteError
from fwdgrad.limits.timed import Timed
from fwdgrad.linear import TracedModel
from fwdgrad.program import Abstract, trace
from fwdgrad.support.trees import cut, flatten, unflatten

__all__ = ["Flow", "Solution", "gradient_flow", "tangent", "variational"]

TOLERANCE = 1e-12
"""Relative, of one step of the solver; in the end there are about eleven digits."""


MOST = 300_000
"""Evaluations of a right-hand side after which a solver is said to be stuck."""


class Solution(NamedTuple):
    """Of the variational equations, at K times."""

    times: np.ndarray
    states: np.ndarray
    """h, shape (K, n)."""
    influence: np.ndarray
    """G = ∂h/∂θ, shape (K, n, p)."""


class Flow(NamedTuple):
    """Of the gradient flow, at K times."""

    times: np.ndarray
    states: np.ndarray
    influence: np.ndarray
    params: dict[str, np.ndarray]
    """θ by name, in the coordinates that are learned, arrays (K, *leaf shape)."""


def tangent(timed: Timed) -> Callable[[Any, Any, Any], tuple[Any, Any, Any]]:
    """(h, x, θ) ↦ f, J = ∂f/∂h and b = ∂f/∂θ, of shapes (n,), (n, n) and (n, p).

    The columns of b are the parameters that the rate uses and that are learned, in declaration order.

    Raises:
        DataError: there are none.
    """
    system = timed.rate
    model = TracedModel(system)
    names, count = list(system.coordinates), len(flatten(system.given))
    if not model.leaves:
        raise DataError(
            f"{timed.who}: no learned parameter is in the rate of {system.name}, so ∂h/∂θ is zero at all times.\n"
            "What the output alone depends on has an exact gradient without any influence, for every δt."
        )

    def derivatives(h: Any, *rest: Any) -> Any:
        lin = model.linearize(h, unflatten(system.given, rest[:count]), dict(zip(names, rest[count:], strict=True)))
        J, b = lin.jacobians()
        return lin.value, J, np.concatenate([np.reshape(b[k], (system.size, -1)) for k in model.leaves], axis=1)

    example = [system.initial, *flatten(system.given), *system.coordinates.values()]
    function = compile_program(trace(derivatives, [Abstract.of(a) for a in example], name="tangent"))
    return lambda h, x, params: function(h, *flatten(x), *(params[k] for k in names))


def variational(timed: Timed, times: Any) -> Solution:
    """dh/dt = f, dG/dt = J G + b, from h(0) and G = 0.

    Raises:
        NonFiniteError: the solution ends before the last of the times.

    Example:
        >>> import numpy as np, fwdgrad as fg
        >>> system = fg.System(lambda h, x, p: p["a"] * np.ones(1) - h, None, np.zeros(1), {"a": 2.0}, dt=0.1)
        >>> found = variational(Timed(system), [1.0])  # h = a (1 − e⁻ᵗ)
        >>> print(f"{found.influence[0, 0, 0]:.10f} {1 - np.exp(-1):.10f}")
        0.6321205588 0.6321205588
    """
    timed = timed.precise()
    n, function = timed.map.size, tangent(timed)
    start = np.zeros((n, 1 + sum(timed.params[k].size for k in timed.leaves)))
    start[:, 0] = timed.map.initial

    def slope(t: float, flat: np.ndarray) -> np.ndarray:
        table = flat.reshape(start.shape)
        f, J, b = function(table[:, 0], timed.x(t), timed.params)
        return np.concatenate([f[:, None], J @ table[:, 1:] + b], axis=1).ravel()

    made = _solved(timed, slope, start.ravel(), times).reshape(-1, *start.shape)
    return Solution(np.asarray(times, float), made[:, :, 0], made[:, :, 1:])


def gradient_flow(timed: Timed, rate: Callable[[float], float], times: Any) -> Flow:
    """dθ/dt = −η(t) g along the trajectory, with g = c G + d of the loss at that time, and dG/dt = J G + b.

    It is what learning with the exact influence becomes for δt → 0: J and b are those at the θ of the moment, as for
    RTRL. Arguments and errors as in `variational`.
    """
    timed = timed.precise()
    n, function, model = timed.map.size, tangent(timed), TracedModel(timed.map)
    params = timed.params
    learned = timed.map.trainable
    p = sum(params[k].size for k in model.leaves)
    sizes = [params[k].size for k in learned]
    pull = _slope_of_loss(timed, model)

    def split(flat: np.ndarray) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
        theta = np.split(flat[n + n * p :], np.cumsum(sizes)[:-1])
        made = {k: v.reshape(params[k].shape) for k, v in zip(learned, theta, strict=True)}
        return flat[:n], flat[n : n + n * p].reshape(n, p), {**params, **made}

    def slope(t: float, flat: np.ndarray) -> np.ndarray:
        h, G, theta = split(flat)
        f, J, b = function(h, timed.x(t), theta)
        c, direct = pull(h, timed, t, theta)
        gradient = {k: np.array(direct.get(k, np.zeros(params[k].shape))) for k in learned}
        through = cut(c @ G, [params[k].shape for k in model.leaves])
        for k, part in zip(model.leaves, through, strict=True):
            gradient[k] = gradient[k] + part
        steps = [-rate(t) * gradient[k].ravel() for k in learned]
        return np.concatenate([f, (J @ G + b).ravel(), *steps])

    start = np.concatenate([timed.map.initial, np.zeros(n * p), *(params[k].ravel() for k in learned)])
    made = [split(flat) for flat in _solved(timed, slope, start, times)]
    thetas = {k: np.stack([theta[k] for *_, theta in made]) for k in params}
    return Flow(np.asarray(times, float), np.stack([h for h, *_ in made]), np.stack([G for _, G, _ in made]), thetas)


def _slope_of_loss(timed: Timed, model: TracedModel) -> Callable[..., tuple[np.ndarray, dict[str, Any]]]:
    """(h, timed, t, θ) ↦ c = ∂ℓ/∂h and the direct term ∂ℓ/∂θ."""
    system = timed.map
    names, count, targets = list(system.coordinates), len(flatten(system.given)), len(flatten(system.y))

    def derivatives(h: Any, *rest: Any) -> Any:
        given, y = unflatten(system.given, rest[:count]), unflatten(system.y, rest[count : count + targets])
        c, direct = model.observe(h, given, y, dict(zip(names, rest[count + targets :], strict=True))).gradient()
        return (c, *(direct[k] for k in model.readout))

    example = [system.initial, *flatten(system.given), *flatten(system.y), *system.coordinates.values()]
    function = compile_program(trace(derivatives, [Abstract.of(a) for a in example], name="slope"))

    def pull(h: Any, timed: Timed, t: float, theta: dict[str, Any]) -> tuple[np.ndarray, dict[str, Any]]:
        ends = [row[0] for row in timed.given(t)]
        c, *direct = function(h, *ends, *timed.y(t), *(theta[k] for k in names))
        return c, dict(zip(model.readout, direct, strict=True))

    return pull


def _solved(
    timed: Timed, slope: Callable[[float, np.ndarray], np.ndarray], start: np.ndarray, times: Any
) -> np.ndarray:
    from scipy.integrate import solve_ivp  # takes long to load

    times, reached, asked = np.asarray(times, float), 0.0, 0

    def followed(t: float, flat: np.ndarray) -> np.ndarray:
        nonlocal reached, asked
        reached, asked = max(reached, t), asked + 1
        if asked > MOST:
            raise NonFiniteError(
                f"{timed.who}: the solver has not come further than t = {reached:g} after {MOST:,} evaluations.\n"
                "Usual causes: a learning rate that is too large, or a system that is stiff. Take a smaller rate, or a "
                "shorter horizon.",
                step=asked,
                quantity="the state",
            )
        return slope(t, flat)

    with np.errstate(all="ignore"):
        found = solve_ivp(
            followed,
            (0.0, times[-1]),
            start,
            "DOP853",
            times,
            rtol=TOLERANCE,
            atol=TOLERANCE * max(1.0, np.max(abs(start))),
        )
    if not found.success or not np.all(np.isfinite(found.y)):
        raise NonFiniteError(
            f"{timed.who}: the solution of the differential equations ends at t = {reached:g}: {found.message}\n"
            "Usual cause: a state that diverges. Take a shorter horizon, or other params.",
            step=len(found.t),
            quantity="the state",
        )
    return found.y.T
