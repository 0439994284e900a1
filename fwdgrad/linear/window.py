"""Several consecutive steps as one map."""

from __future__ import annotations

from typing import Any

import numpy as np

from fwdgrad.errors import DeclarationError
from fwdgrad.linear.base import Leaves, Linearization, MaterialisedJacobians, Model, ProductTerm, restricted
from fwdgrad.program import scan
from fwdgrad.structure import Patterns
from fwdgrad.support.trees import flatten, unflatten

__all__ = ["Window"]


class Window(MaterialisedJacobians):
    """T consecutive steps as one map, at fixed parameters: h ↦ F(… F(F(h, x₁, θ), x₂, θ) …, x_T, θ).

    Args:
        model: the system.
        states: state before each step, shape (T, n).
        inputs: inputs of each step, in the containers of the system's x, with a leading axis T.
        value: the state after the last step.
        params: θ.
        alive: 1.0 for a step, 0.0 for a filling behind the last one, shape (T,); None if all are steps.

    Forward and backward products go through the stored states once: O(T) steps, O(T n) memory.
    """

    def __init__(self, model: Model, states: Any, inputs: Any, value: Any, params: Leaves, alive: Any = None) -> None:
        self._model, self._params, self.value = model, params, value
        self._states, self._inputs = states, flatten(inputs)
        self._alive = () if alive is None else (alive,)
        self.leaves = model.leaves

    @property
    def patterns(self) -> Patterns | None:
        """Those of a single step."""
        return restricted(self._model.patterns, self.leaves)

    @property
    def _rows(self) -> tuple[Any, ...]:
        return (*self._alive, self._states, *self._inputs)

    def _step(self, row: tuple[Any, ...]) -> Linearization:
        h, *x = row[len(self._alive) :]
        return self._model.linearize(h, unflatten(self._model.system.given, x), self._params)

    def jvp(self, direction: Any, leaves: Leaves | None = None) -> Any:
        """Forward through the T steps."""

        def turn(carry: tuple[Any, ...], row: tuple[Any, ...]) -> tuple[Any, Any]:
            after = self._step(row).jvp(carry[0], leaves)
            return (np.where(row[0] > 0, after, carry[0]) if self._alive else after,), ()

        return scan(turn, (direction,), self._rows)[0][0]

    def vjp(self, cotangent: Any) -> tuple[Any, Leaves]:
        """Backward through the T steps."""
        names = self.leaves

        def turn(carry: tuple[Any, ...], row: tuple[Any, ...]) -> tuple[Any, Any]:
            c, *sums = carry
            through, leaves = self._step(row).only(names).vjp(row[0] * c if self._alive else c)
            c = through + (1.0 - row[0]) * c if self._alive else through
            return (c, *(s + leaves[k] for k, s in zip(names, sums, strict=True))), ()

        zeros = [np.zeros(self._params[k].shape, self._params[k].dtype) for k in names]
        (c, *sums), _ = scan(turn, (cotangent, *zeros), self._rows, reverse=True)
        return c, dict(zip(names, sums, strict=True))

    def products(self) -> dict[str, ProductTerm]:
        """There are none.

        Raises:
            DeclarationError: always.
        """
        raise DeclarationError(
            f"A window of {self._states.shape[0]} steps uses each matrix as often, so that its derivative is not that "
            "of one\nproduct W @ a. Use window=1."
        )
