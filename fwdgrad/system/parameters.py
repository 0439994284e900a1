"""How a parameter is declared: as a plain value, within bounds, fixed, or tied to another one.

What is learned of a bounded parameter is a coordinate u without bounds, from which its value θ(u) follows smoothly. An
optimizer moves u; F and Y see θ.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol

import numpy as np

from fwdgrad.errors import DeclarationError
from fwdgrad.support.arguments import suggests

__all__ = [
    "Above",
    "Below",
    "Between",
    "Coordinate",
    "Free",
    "Parameter",
    "Tied",
    "bounded",
    "fixed",
    "per_stream",
    "positive",
    "tied",
]


ONE_SIDED, TWO_SIDED = 1e-6, 1e-3
"""Distances from a bound, relative to that at the start, from which a parameter is at it. With one bound a distance may
well be far smaller than was thought; between two it has little room."""


class Coordinate(Protocol):
    """A smooth, increasing or decreasing map between a number without bounds and a parameter's value; elementwise.

    `bounded` says whether θ has a bound; a change of u by 1 is then one of order one wherever θ is.
    """

    bounded: ClassVar[bool]

    def natural(self, u: Any) -> Any:
        """θ(u); traceable."""

    def learned(self, theta: np.ndarray) -> np.ndarray:
        """u(θ); NaN or infinite outside the bounds, and on them."""

    def slope(self, u: np.ndarray) -> np.ndarray:
        """dθ/du."""

    def at_bound(self, u: np.ndarray, start: np.ndarray, times: float = 1.0) -> np.ndarray:
        """Whether θ has come to a bound, by its distance now and at the `start`: in effect on it.

        Args:
            u: the coordinate now.
            start: as it was declared.
            times: so many times as far from the bound will do.
        """


@dataclass(frozen=True)
class Free:
    """θ = u: no bounds."""

    bounded: ClassVar[bool] = False

    def natural(self, u: Any) -> Any:
        """u itself."""
        return u

    def learned(self, theta: np.ndarray) -> np.ndarray:
        """θ itself."""
        return theta

    def slope(self, u: np.ndarray) -> np.ndarray:
        """1."""
        return np.ones_like(u)

    def at_bound(self, u: np.ndarray, start: np.ndarray, times: float = 1.0) -> np.ndarray:
        """Never."""
        return np.zeros(np.shape(u), bool)


@dataclass(frozen=True)
class Above:
    """θ = low + exp(u)."""

    bounded: ClassVar[bool] = True

    low: float

    def natural(self, u: Any) -> Any:
        """low + exp(u)."""
        return np.exp(u) if self.low == 0 else self.low + np.exp(u)

    def learned(self, theta: np.ndarray) -> np.ndarray:
        """log(θ − low)."""
        return np.log(theta - self.low)

    def slope(self, u: np.ndarray) -> np.ndarray:
        """exp(u)."""
        return np.exp(u)

    def at_bound(self, u: np.ndarray, start: np.ndarray, times: float = 1.0) -> np.ndarray:
        """From a millionth of the distance at the start on."""
        return np.asarray(u - start < np.log(times * ONE_SIDED))


@dataclass(frozen=True)
class Below:
    """θ = high − exp(−u)."""

    bounded: ClassVar[bool] = True

    high: float

    def natural(self, u: Any) -> Any:
        """high − exp(−u)."""
        return self.high - np.exp(-u)

    def learned(self, theta: np.ndarray) -> np.ndarray:
        """−log(high − θ)."""
        return -np.log(self.high - theta)

    def slope(self, u: np.ndarray) -> np.ndarray:
        """exp(−u)."""
        return np.exp(-u)

    def at_bound(self, u: np.ndarray, start: np.ndarray, times: float = 1.0) -> np.ndarray:
        """From a millionth of the distance at the start on."""
        return np.asarray(start - u < np.log(times * ONE_SIDED))


@dataclass(frozen=True)
class Between:
    """θ = low + (high − low) σ(u), σ(u) = 1/(1 + exp(−u))."""

    bounded: ClassVar[bool] = True

    low: float
    high: float

    def natural(self, u: Any) -> Any:
        """low + (high − low) (1 + tanh(u/2))/2: the same, without overflow."""
        return 0.5 * (self.low + self.high) + (0.5 * (self.high - self.low)) * np.tanh(0.5 * u)

    def learned(self, theta: np.ndarray) -> np.ndarray:
        """log((θ − low)/(high − θ))."""
        return np.log(theta - self.low) - np.log(self.high - theta)

    def slope(self, u: np.ndarray) -> np.ndarray:
        """(high − low) σ(u) (1 − σ(u))."""
        return (0.25 * (self.high - self.low)) / np.cosh(0.5 * u) ** 2

    def at_bound(self, u: np.ndarray, start: np.ndarray, times: float = 1.0) -> np.ndarray:
        """From a thousandth of the distance at the start on, at either end."""
        low = np.logaddexp(0.0, -start) - np.logaddexp(0.0, -u)
        high = np.logaddexp(0.0, start) - np.logaddexp(0.0, u)
        return np.asarray(np.minimum(low, high) < np.log(times * TWO_SIDED))


@dataclass(frozen=True, eq=False)
class Parameter:
    """A declared parameter: its initial value and coordinate, whether it is learned, and whether by stream."""

    value: Any
    coordinate: Coordinate = Free()
    learn: bool = True
    per_stream: bool = False


@dataclass(frozen=True, eq=False)
class Tied:
    """A parameter that follows from another one and is not learned by itself."""

    name: str
    function: Callable[[Any], Any] | None = None

    def value(self, other: Any) -> Any:
        """This parameter's value, from the other's."""
        return other if self.function is None else self.function(other)


def positive(value: Any) -> Parameter:
    """A parameter that stays above zero: log θ is learned.

    A step of an optimizer is then a factor, the same for rates of 0.01 and of 100.

    Args:
        value: the initial value, a positive number or an array of these.

    Raises:
        DeclarationError: a value is not above zero.

    Example:
        >>> import numpy as np, fwdgrad as fg
        >>> system = fg.System(lambda h, x, p: -p["k"] * h, None, np.ones(1), {"k": fg.positive(2.0)}, dt=0.1)
        >>> float(system.params["k"]), round(float(system.coordinates["k"]), 3)
        (2.0, 0.693)
    """
    return bounded(value, 0.0, math.inf)


@suggests
def bounded(value: Any, low: float = -math.inf, high: float = math.inf) -> Parameter:
    """A parameter that stays strictly between two bounds, learned in a coordinate without any.

    Between finite bounds that is the logit u = log((θ − low)/(high − θ)); with one bound the logarithm of the distance
    to it. Near a bound a parameter moves slowly, and it never reaches it.

    Args:
        value: the initial value, a number or an array, strictly between the bounds.
        low: the lower bound, in the unit of the parameter; may be infinite.
        high: the upper one, likewise.

    Raises:
        DeclarationError: the bounds are not in order, or a value is not between them.

    Example:
        >>> import fwdgrad as fg
        >>> fg.bounded(0.5, 0, 1).coordinate
        Between(low=0.0, high=1.0)
    """
    for label, bound in (("low", low), ("high", high)):
        if isinstance(bound, bool) or not isinstance(bound, (int, float, np.number)) or math.isnan(bound):
            raise DeclarationError(f"bounded({label}=…): expected a number, got {bound!r}.")
    if not low < high:
        raise DeclarationError(f"bounded: expected low < high, got low={low!r} and high={high!r}.")
    try:
        array = np.asarray(value, float)
    except (TypeError, ValueError):
        raise DeclarationError(f"bounded: expected a number or an array of numbers, got {value!r}.") from None
    if not np.all((array > low) & (array < high)):
        raise DeclarationError(
            f"bounded: expected initial values strictly between {low:g} and {high:g}, got {value!r}.\n"
            "Start inside the bounds: on a bound, nothing can be learned."
        )
    low, high = float(low), float(high)
    if math.isinf(low) and math.isinf(high):
        return Parameter(value)
    if math.isinf(high):
        return Parameter(value, Above(low))
    return Parameter(value, Below(high) if math.isinf(low) else Between(low, high))


def fixed(value: Any) -> Parameter:
    """A parameter that is given and not learned: the same as naming it in `System(frozen=…)`.

    Args:
        value: a number or an array, or what `positive` or `bounded` returns.

    Example:
        >>> import numpy as np, fwdgrad as fg
        >>> params = {"k": 2.0, "g": fg.fixed(9.81)}
        >>> system = fg.System(lambda h, x, p: p["g"] - p["k"] * h, None, np.ones(1), params, dt=0.1)
        >>> system.trainable
        ('k',)
    """
    if isinstance(value, Tied):
        raise DeclarationError("fixed: a tied parameter follows from another one; fix that one.")
    held = value if isinstance(value, Parameter) else Parameter(value)
    return replace(held, learn=False)


def per_stream(value: Any) -> Parameter:
    """A parameter that has a value for each stream of a learner (`Learner(streams=…)`), beside those that are shared.

    A patient's own rate, say. Its gradient comes from its stream alone. Without streams it is like any other parameter.

    Args:
        value: the initial value, the same for all: a number or an array, or what `positive` or `bounded` returns.

    Example:
        >>> import numpy as np, fwdgrad as fg
        >>> params = {"a": 0.5, "b": fg.per_stream(1.0)}
        >>> system = fg.System(lambda h, x, p: p["a"] * h + p["b"], None, np.zeros(1), params)
        >>> fg.Learner(system, "rtrl", fg.SGD(0.1), streams=3).params["b"]
        array([1., 1., 1.])
    """
    if isinstance(value, Tied):
        raise DeclarationError("per_stream: a tied parameter follows from another one; let that one be per stream.")
    held = value if isinstance(value, Parameter) else Parameter(value)
    return replace(held, per_stream=True)


@suggests
def tied(name: str, function: Callable[[Any], Any] | None = None) -> Tied:
    """A parameter that follows from another one, and is learned through it.

    Args:
        name: of the other parameter, which is not tied itself.
        function: this parameter's value from the other's, plain NumPy; by default they are equal.

    Example:
        >>> import numpy as np, fwdgrad as fg
        >>> params = {"k": 2.0, "half": fg.tied("k", lambda k: k / 2)}
        >>> system = fg.System(lambda h, x, p: p["half"] - p["k"] * h, None, np.ones(1), params, dt=0.1)
        >>> system.trainable, float(system.params["half"])
        (('k',), 1.0)
    """
    if not isinstance(name, str):
        raise DeclarationError(f"tied: expected the name of a parameter, got {name!r}.")
    if function is not None and not callable(function):
        raise DeclarationError(f"tied(function=…): expected a function of one parameter, got {function!r}.")
    return Tied(name, function)
