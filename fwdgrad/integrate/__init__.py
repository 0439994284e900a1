"""From a rate dh/dt = F(h, x, θ) and a step δt to a transition map h ↦ h(t + δt).

A method is a function (rate, h, δt) ↦ h' of traceable NumPy calls, so that its derivatives, and with them the influence
of the parameters, are those of the map that is executed. It takes one step of fixed size; or, if it is one of the
embedded pairs, as many as its tolerances ask for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fwdgrad.errors import DeclarationError, did_you_mean
from fwdgrad.integrate.adaptive import Clock, Pair, adaptive
from fwdgrad.integrate.constrained import Constrained
from fwdgrad.integrate.delays import BEFORE, Delay, Past
from fwdgrad.integrate.dopri import DOPRI5
from fwdgrad.integrate.esdirk import ESDIRK4
from fwdgrad.integrate.events import MOMENTS, At, When, located, scheduled, softened
from fwdgrad.integrate.explicit import euler, heun, rk4
from fwdgrad.integrate.implicit import sdirk2
from fwdgrad.support.arguments import suggests

__all__ = [
    "BEFORE",
    "DEFAULT",
    "METHODS",
    "MOMENTS",
    "PAIRS",
    "Adaptive",
    "At",
    "Clock",
    "Constrained",
    "Delay",
    "Past",
    "When",
    "euler",
    "heun",
    "located",
    "rk4",
    "scheduled",
    "sdirk2",
    "softened",
    "step_map",
]

Method = Callable[[Callable[[Any], Any], Any, Any], Any]

PAIRS: dict[str, Pair] = {"dopri5": DOPRI5, "esdirk4": ESDIRK4}
"""Embedded pairs, by name."""


@suggests
@dataclass(frozen=True)
class Adaptive:
    """A method that chooses its steps between two samples by the error of each, for `System(method=…)`.

    Args:
        name: "dopri5", explicit, of order 5; or "esdirk4", implicit, of order 4, for stiff systems.
        rtol: relative tolerance of a step, from 10 units of rounding up.
        atol: absolute tolerance, positive: one number, or one for each number of the state, in its order.
        max_steps: steps that are tried between two samples, at most. A run that asks for more stops with a
            NonFiniteError, which says where.

    Raises:
        DeclarationError: there is no method of that name, or a tolerance makes no sense.

    Example:
        >>> import numpy as np, fwdgrad as fg
        >>> method = fg.Adaptive("dopri5", rtol=1e-9)
        >>> system = fg.System(lambda h, x, p: -p["k"] * h, None, np.ones(1), {"k": 1.0}, dt=2.0, method=method)
        >>> print(f"{system.simulate(steps=1).outputs[0, 0]:.9f} {np.exp(-2.0):.9f}")
        0.135335283 0.135335283
    """

    name: str
    rtol: float = 1e-6
    atol: float | tuple[float, ...] = 1e-9
    max_steps: int = 10_000

    def __post_init__(self) -> None:
        if self.name not in PAIRS:
            raise DeclarationError(
                f"Adaptive({self.name!r}): no method of this name chooses its steps. {did_you_mean(self.name, PAIRS)}"
            )
        absolute = np.array(self.atol, dtype=float)
        if absolute.ndim > 1 or not np.all((absolute > 0) & np.isfinite(absolute)):
            raise DeclarationError(
                f"Adaptive(atol=…): expected a positive number, or one for each number of the state, got {self.atol!r}"
                ".\n"
                "Without an absolute tolerance no step is short enough for a state that passes through 0."
            )
        object.__setattr__(self, "atol", float(absolute) if absolute.ndim == 0 else tuple(absolute.tolist()))
        if isinstance(self.rtol, bool) or not 10 * np.finfo(float).eps <= self.rtol < 1:
            raise DeclarationError(f"Adaptive(rtol=…): expected a number between 2.3e-15 and 1, got {self.rtol!r}.")
        if isinstance(self.max_steps, bool) or not isinstance(self.max_steps, int) or self.max_steps < 1:
            raise DeclarationError(f"Adaptive(max_steps=…): expected an integer from 1, got {self.max_steps!r}.")

    def __str__(self) -> str:
        return self.name if self == Adaptive(self.name) else f"{self.name}, rtol {self.rtol:g}, atol {self.atol}"

    def __call__(self, rate: Callable[[Any], Any], h: Any, dt: Any) -> Any:
        """h(t + δt)."""
        atol = np.array(self.atol) if isinstance(self.atol, tuple) else self.atol
        return adaptive(PAIRS[self.name], rate, h, dt, self.rtol, atol, self.max_steps)

    def check(self, size: int) -> None:
        """Refuse another number of tolerances than of state variables.

        Raises:
            DeclarationError: there is.
        """
        if isinstance(self.atol, tuple) and len(self.atol) != size:
            raise DeclarationError(
                f"Adaptive(atol=…): expected one number, or one for each of {size} numbers of the state; got "
                f"{len(self.atol)}."
            )

    @property
    def stiff(self) -> bool:
        """Whether steps need not follow what decays fast."""
        return PAIRS[self.name].stiff

    def tighter(self, factor: float) -> Adaptive:
        """The same with smaller tolerances."""
        atol = tuple(a / factor for a in self.atol) if isinstance(self.atol, tuple) else self.atol / factor
        return Adaptive(self.name, max(self.rtol / factor, 1e-13), atol, 10 * self.max_steps)


METHODS: dict[str, Method] = {
    **{method.__name__: method for method in (euler, heun, rk4, sdirk2)},
    **{name: Adaptive(name) for name in PAIRS},
}
"""Every integrator, by name."""
DEFAULT = "rk4"
"""Where nothing is said. At the step of the samples, the error of Euler's is rarely below theirs."""


def step_map(method: str | Adaptive) -> Method:
    """The integrator called `method`, or that itself.

    Raises:
        DeclarationError: there is none of that name.

    Example:
        >>> import numpy as np
        >>> step_map("rk4")(lambda h: -h, np.array([1.0]), 0.1)
        array([0.9048375])
    """
    if isinstance(method, Adaptive):
        return method
    if method not in METHODS:
        raise DeclarationError(f"method={method!r} is not an integrator. {did_you_mean(method, METHODS)}")
    return METHODS[method]
