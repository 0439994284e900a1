"""Several consecutive steps as one map."""

from __future__ import annotations

from typing import Any

import numpy as np

from fwdgrad.linear.base import Leaves, Linearization, MaterialisedJacobians, Model
from fwdgrad.program import scan
from fwdgrad.structure import Patterns
from fwdgrad.trees import flatten, unflatten

__all__ = ["Window"]


class Window(MaterialisedJacobians):
    """T consecutive steps as one map, at fixed parameters, with the sum of their losses.

    Args:
        model: the system.
        states: state before each step, shape (T, n).
        inputs: inputs of each step, in the containers of the system's x, with a leading axis T.
        targets: targets likewise; what stands at unobserved steps is not used (but must be finite).
        observed: 1.0 where a step has a target, else 0.0, shape (T,).
        value: the state after the last step.
        params: θ.

    Forward and backward products go through the stored states once: O(T) steps, O(T n) memory.
    """

    def __init__(
        self, model: Model, states: Any, inputs: Any, targets: Any, observed: Any, value: Any, params: Leaves
    ) -> None:
        self._model, self._params, self.value = model, params, value
        self._states, self._observed = states, observed
        self._x, self._y = flatten(inputs), flatten(targets)

    @property
    def patterns(self) -> Patterns | None:
        """Those of a single step."""
        return self._model.patterns

    def _step(self, h: Any, rows: tuple[Any, ...]) -> tuple[Linearization, Any]:
        system = self._model.system
        x = unflatten(system.x, rows[: len(self._x)])
        return self._model.linearize(h, x, self._params), x

    def jvp(self, direction: Any, leaves: Leaves | None = None) -> Any:
        """Forward through the T steps."""

        def turn(carry: tuple[Any, ...], row: tuple[Any, ...]) -> tuple[Any, Any]:
            lin, _ = self._step(row[0], row[1:])
            return (lin.jvp(carry[0], leaves),), ()

        return scan(turn, (direction,), (self._states, *self._x))[0][0]

    def vjp(self, cotangent: Any) -> tuple[Any, Leaves]:
        """Backward through the T steps."""
        return self._backward(cotangent, losses=False)

    def loss_gradient(self) -> tuple[Any, Leaves]:
        """Gradient of the window's loss in the state it started from, and in θ at fixed starting state."""
        return self._backward(np.zeros(self.value.shape, self.value.dtype), losses=True)

    def _backward(self, cotangent: Any, losses: bool) -> tuple[Any, Leaves]:
        model = self._model
        names = model.system.trainable if losses else model.leaves
        zeros = [np.zeros(self._params[k].shape, self._params[k].dtype) for k in names]

        def turn(carry: tuple[Any, ...], row: tuple[Any, ...]) -> tuple[Any, Any]:
            c, *sums = carry
            total = dict(zip(names, sums, strict=True))
            h, seen, *rest = row
            lin, x = self._step(h, tuple(rest))
            if losses:
                y = unflatten(model.system.y, rest[len(self._x) :])
                slope, direct = model.observe(lin.value, x, y, self._params).gradient()
                c = c + seen * slope
                total = total | {k: total[k] + seen * d for k, d in direct.items()}
            c, leaves = lin.vjp(c)
            total = total | {k: total[k] + g for k, g in leaves.items()}
            return (c, *total.values()), ()

        rows = (self._states, self._observed, *self._x, *(self._y if losses else ()))
        (c, *sums), _ = scan(turn, (cotangent, *zeros), rows, reverse=True)
        return c, dict(zip(names, sums, strict=True))
