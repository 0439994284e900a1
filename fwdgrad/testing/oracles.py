"""What estimates are held to: derivatives of the whole unrolled sequence, for fixed parameters."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import autograd
import autograd.numpy as anp
import numpy as np

from fwdgrad.linear import Model
from fwdgrad.support.types import Leaves
from fwdgrad.testing.problems import Problem, model_of

__all__ = ["AfterStep", "Observer", "exact", "exact_gradients", "forgotten"]


class AfterStep(NamedTuple):
    """After a step: G = ∂h/∂θ, arrays (n, *leaf shape), and g = ∂ℓ/∂θ of the step's loss; zeros without a target."""

    influence: Leaves
    gradient: Leaves


class Observer:
    """An optimizer that changes nothing: its state is the sum of the gradients so far, and the last of them."""

    def init(self, params: Leaves) -> tuple[Leaves, Leaves]:
        """Zeros."""
        zeros = {k: np.zeros(p.shape, p.dtype) for k, p in params.items()}
        return zeros, dict(zeros)

    def update(self, grads: Leaves, state: Any, params: Leaves) -> tuple[Leaves, Any]:
        """No updates."""
        return {}, ({k: state[0][k] + g for k, g in grads.items()}, dict(grads))


def exact(problem: Problem) -> list[AfterStep]:
    """G and g after every step of a problem.

    By autograd through the unrolled sequence; where autograd lacks an operation, by G' = A G + B with the Jacobians of
    the traced program, which `check_system` compares with finite differences.
    """
    model = model_of(problem.system)
    try:
        return [_unrolled(problem, model, t) for t in range(len(problem.xs))]
    except Exception:  # whatever autograd cannot differentiate
        return _recursion(problem, model)


def exact_gradients(problem: Problem) -> list[Leaves]:
    """g of every step, by autograd alone.

    Raises:
        Exception: whatever autograd raises for an operation that it lacks.
    """
    model = model_of(problem.system)
    return [_gradient(problem, model, t) for t in range(len(problem.xs))]


def forgotten(problem: Problem) -> float:
    """How far the last step's own ∂F/∂θ is from G, relative to G: what is lost by forgetting the past."""
    model, h, params = model_of(problem.system), problem.system.initial, problem.system.coordinates
    for x in problem.xs[:-1]:
        h, _ = model.advance(h, x, params)
    _, B = model.linearize(h, problem.xs[-1], params).jacobians()
    G = exact(problem)[-1].influence
    largest = max(float(np.max(np.abs(G[k]), initial=0.0)) for k in B)
    return max(float(np.max(np.abs(G[k] - B[k]), initial=0.0)) for k in B) / largest if largest else 0.0


def _slope(problem: Problem, model: Model, t: int) -> Any:
    """∂ℓ_t/∂ŷ at the prediction that the plain functions make."""
    system, y = problem.system, problem.ys[t]
    h = system.initial
    for x in problem.xs[: t + 1]:
        h = np.asarray(system.transition(h, x, system.coordinates))
    prediction = np.asarray(system.output(h, problem.xs[t], system.coordinates))
    slope = system.loss.gradient(prediction, y)
    if slope is None:
        slope = autograd.grad(lambda yhat: system.loss.value(yhat, y))(prediction)
    return np.asarray(slope)


def _state(problem: Problem, t: int, theta: Leaves) -> Any:
    h = problem.system.initial
    for x in problem.xs[: t + 1]:
        h = problem.system.transition(h, x, theta)
    return h


def _gradient(problem: Problem, model: Model, t: int) -> Leaves:
    system = problem.system
    trained = {k: system.coordinates[k] for k in system.trainable}
    if problem.ys[t] is None:
        return {k: np.zeros_like(v) for k, v in trained.items()}
    slope = _slope(problem, model, t)

    def along(theta: Leaves) -> Any:
        given = {**system.coordinates, **theta}
        return anp.sum(slope * system.output(_state(problem, t, given), problem.xs[t], given))

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Output seems independent of input")
        return autograd.grad(along)(trained)


def _unrolled(problem: Problem, model: Model, t: int) -> AfterStep:
    system = problem.system
    influence: Leaves = {}
    for k in model.leaves:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Output seems independent of input")
            influence[k] = autograd.jacobian(lambda v, k=k: _state(problem, t, {**system.coordinates, k: v}))(
                system.coordinates[k]
            )
    return AfterStep(influence, _gradient(problem, model, t))


def _recursion(problem: Problem, model: Model) -> list[AfterStep]:
    system, params = problem.system, problem.system.coordinates
    h, made = system.initial, []
    G: Leaves = {k: np.zeros((system.size, *params[k].shape)) for k in model.leaves}
    for x, y in zip(problem.xs, problem.ys, strict=True):
        lin = model.linearize(h, x, params)
        A, B = lin.jacobians()
        G = {k: np.tensordot(A, G[k], axes=1) + B[k] for k in G}
        h = lin.value
        g: Leaves = {k: np.zeros_like(params[k]) for k in system.trainable}
        if y is not None:
            c, direct = model.observe(h, x, y, params).gradient()
            g = g | dict(direct)
            g = g | {k: g[k] + np.tensordot(c, G[k], axes=1) for k in G}
        made.append(AfterStep(G, g))
    return made
