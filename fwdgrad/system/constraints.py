"""Algebraic equations of a declaration: 0 = g(h, x, θ), by which some of the state variables are determined.

They hold at every stage of a method (`fwdgrad.integrate.constrained`), at the end of every step, and at the start. What
they determine is looked for from where it was before, which has no influence on it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from fwdgrad.errors import DeclarationError, TracingError
from fwdgrad.integrate import Constrained
from fwdgrad.program import Abstract, Linearized, jacobian, trace
from fwdgrad.program.roots import watched
from fwdgrad.support.trees import cut
from fwdgrad.system.checks import packed

__all__ = ["Constraint"]

SINGULAR = 1e-10
"""Of the largest singular value of ∂g/∂z, with rows of one size: less than that is no solution's."""


class Constraint:
    """The algebraic equations of a system.

    Args:
        equations: g, a function of (state, input, parameters) that returns, by the name of each algebraic state
            variable, an array of its shape that is to be zero.
        state: the declared state, a dict.
        x: an example input.
        theta: parameters as functions see them.
        dtype: of the state.

    Raises:
        DeclarationError: the state is no dict, or g returns something else than a dict with some of its names.
    """

    def __init__(self, equations: Any, state: Any, x: Any, theta: Mapping[str, Any], dtype: np.dtype) -> None:
        if not callable(equations):
            raise DeclarationError(
                f"algebraic: expected a function of (state, input, parameters), got {equations!r}.\n"
                "It returns what is to be zero, by the names of the state variables that are unknown."
            )
        if not isinstance(state, dict):
            raise DeclarationError(
                "algebraic: the state variables have no names.\n"
                "Declare the state as a dict of arrays, in which algebraic ones stand beside the others."
            )
        self.equations: Callable[[Any, Any, Any], Any] = equations
        made = equations(state, x, theta)
        names = sorted(made) if isinstance(made, dict) else []
        if not names or not set(names) < set(state):
            raise DeclarationError(
                f"algebraic: expected a dict with some of the names of the state, {sorted(state)}, got "
                f"{names or type(made).__name__}.\n"
                "Return what is to be zero, by the names of the state variables that are unknown; others have rates."
            )
        self.names = tuple(k for k in state if k in made)
        self._state, self._dtype = state, dtype
        self._unknown = {k: v for k, v in state.items() if k in made}
        self._known = {k: v for k, v in state.items() if k not in made}
        owner = np.concatenate([np.full(v.size, k in made) for k, v in state.items()])
        self.places = np.flatnonzero(owner)
        self._order = np.argsort(np.concatenate([np.flatnonzero(~owner), self.places]))

    def rate(self, F: Callable[[Any, Any, Any], Any], x: Any, theta: Any) -> Constrained:
        """The flat rates by F, for an integrator."""
        like, zeros = self._state, np.zeros(len(self.places), self._dtype)

        def unpacked(h: Any) -> Any:
            return dict(zip(like, cut(h, [v.shape for v in like.values()]), strict=True))

        def flow(h: Any) -> Any:
            made = packed(F(unpacked(h), x, theta), self._known, self._dtype, "F")
            return np.concatenate([made, zeros])[self._order]

        def equations(h: Any) -> Any:
            return packed(self.equations(unpacked(h), x, theta), self._unknown, self._dtype, "algebraic")

        return Constrained(flow, equations, self.places)

    def begun(self, F: Any, h: np.ndarray, x: Any, theta: Any) -> np.ndarray:
        """A consistent flat h from the declared one.

        Raises:
            DeclarationError: Newton's method finds none from there, or ∂g/∂z has no inverse (an index above 1).
        """
        names, rate = ", ".join(self.names), self.rate(F, x, theta)
        with watched(), np.errstate(all="ignore"):
            found = np.asarray(rate.settled(h))
            slopes = self._slopes(rate, found if np.isfinite(found).all() else h)
        size = np.abs(slopes).max(axis=1, keepdims=True)
        values = np.linalg.svd(slopes / np.where(size > 0, size, 1.0), compute_uv=False) if _finite(slopes) else [1.0]
        if values[-1] <= SINGULAR * values[0]:
            raise DeclarationError(
                f"algebraic: the equations do not determine {names}: ∂g/∂({names}) has no inverse at the start.\n"
                "Such equations have an index above 1. Differentiate those without an unknown in time, put in rates,\n"
                "and give these instead: x² + y² = L² of a pendulum twice, for its force."
            )
        if not np.isfinite(found).all():
            raise DeclarationError(
                f"algebraic: no consistent start is found: from the declared {names} Newton's method does not lead to "
                "0 = g.\nBegin nearer to a solution, or look whether there is one for the other state variables."
            )
        return found

    def _slopes(self, rate: Constrained, h: np.ndarray) -> np.ndarray:
        """∂g/∂z, by the program of g, or by differences of what cannot be traced."""
        try:
            program = trace(lambda h: [rate.equations(h)], [Abstract.of(h)], name="g")
            return np.asarray(jacobian(Linearized(program, [h])))[:, self.places]
        except TracingError:
            steps = np.diag(1e-6 * np.maximum(np.abs(h), 1.0))[self.places]
            return np.stack([(rate.equations(h + d) - rate.equations(h - d)) / (2 * d.sum()) for d in steps], axis=1)


def _finite(slopes: np.ndarray) -> bool:
    return bool(np.isfinite(slopes).all())
