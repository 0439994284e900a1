"""A parameter whose influence changes sign with time."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

import fwdgrad as fg

from ._parts import whole

__all__ = ["influence_balancing"]


def influence_balancing(
    units: int = 23, minus: int = 13, *, theta: float = 0.5, dtype: npt.DTypeLike = np.float64
) -> fg.System:
    """One parameter that helps at first and harms in the long run: what truncation gets wrong.

    A chain of n units, each fed by the next one, and one parameter θ that pushes the first p = n − minus units up and
    the last `minus` units down:

        s'_i = ½ s_i + ½ s_{i+1} + θ  for i ≤ p,      s'_i = ½ s_i + ½ s_{i+1} − θ  for i > p,      s_{n+1} = 0
        ŷ = s'_1,      ℓ = ½ (s'_1 − 1)²  with the target 1

    At rest s_1 = 2 (n − 2·minus) θ. With more minus than plus signs, θ lowers s_1 in the long run, but raises it for as
    long as the lower units have not been heard. Gradients truncated before that have the wrong sign, and θ runs away.

    Source: Tallec and Ollivier 2018, section 6, eqs. 19 and 20; 23 units, 13 minus signs there. The learning rates in
    the paper are η/(1 + √t).

    Args:
        units: n, the length of s, at least 2.
        minus: how many of the last units get −θ, from 0 to n.
        theta: the initial θ.
        dtype: float64 or float32.

    Returns:
        An autonomous system (x is None) with the parameter theta (a number). s(0) is zero. The target is 1 at every
        step: ``run(None, np.ones(steps))``. A step costs O(n²).

    Raises:
        DeclarationError: a size is out of range.

    Example:
        Three units, the last two with a minus sign: θ = −½ at the optimum.

        >>> import numpy as np, fwdgrad as fg
        >>> from fwdgrad import systems
        >>> system = systems.influence_balancing(units=3, minus=2)
        >>> learner = fg.Learner(system, fg.UORO(), fg.SGD(fg.schedules.inverse_sqrt(0.1, 1)))
        >>> history = learner.run(None, np.ones(2000))
        >>> round(float(learner.params["theta"]), 4)
        -0.5
    """
    n = whole("influence_balancing", "units", units, least=2)
    if whole("influence_balancing", "minus", minus, least=0) > n:
        raise fg.errors.DeclarationError(
            f"influence_balancing(minus=…): expected at most the number of units, {n}, got {minus}.\n"
            f"Give both, such as units={n}, minus={n // 2 + 1}."
        )
    A = (0.5 * np.eye(n) + 0.5 * np.eye(n, k=1)).astype(dtype)
    signs = np.where(np.arange(n) < n - minus, 1.0, -1.0).astype(dtype)

    def F(s: Any, x: Any, parameters: Any) -> Any:
        return A @ s + parameters["theta"] * signs

    def Y(s: Any, x: Any, parameters: Any) -> Any:
        return s[0]

    loss = fg.losses.SquaredError()
    return fg.System(F, Y, np.zeros(n, dtype), {"theta": theta}, None, loss, name="influence-balancing")
