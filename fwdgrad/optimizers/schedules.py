"""Learning rates as functions of t = 1, 2, …, the number of samples learned from.

t counts samples that have a target, in windows too: an update at the end of a window of T of them has the rate at T,
2T, …, so that a schedule means the same with every window. `by_update` makes one that counts updates instead.

Each is a frozen dataclass to be called with t, in plain NumPy, so that it can be traced along with the optimizer that
calls it. The lower-case names read better where a schedule is passed to an optimizer:

    >>> from fwdgrad.optimizers import SGD, schedules
    >>> SGD(schedules.inverse_sqrt(1e-3, 0.03))
    SGD(rate=InverseSqrt(gamma=0.001, alpha=0.03))

============================  =================  ==================================
call                          rate at sample t   decays
============================  =================  ==================================
``constant(rate)``            rate               never
``inverse_sqrt(gamma, a)``    γ / (1 + a √t)     like 1/√t, from about t = 1/a² on
``inverse_time(gamma, a)``    γ / (1 + a t)      like 1/t, from about t = 1/a on
``inverse_power(gamma, b)``   γ / t^b            at once; b = 1/2 unless given
``by_update(schedule)``       that of update t   as the schedule does
``fading(samples, slow)``     1/(t + slow)       at once, and is 0 from t = samples on
============================  =================  ==================================

A plain number or any callable of t serves as a rate too; see `as_schedule`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from fwdgrad.optimizers.base import declaration_error, describe, is_number, positive

__all__ = [
    "ByUpdate",
    "Constant",
    "Fading",
    "InversePower",
    "InverseSqrt",
    "InverseTime",
    "Schedule",
    "as_schedule",
    "by_update",
    "constant",
    "fading",
    "inverse_power",
    "inverse_sqrt",
    "inverse_time",
]

Schedule: TypeAlias = Callable[[Any], Any]
"""A function of the number t of samples learned from (a float64 scalar, at least 1) giving a positive scalar."""


@dataclass(frozen=True)
class Constant:
    """The same rate for every sample.

    Args:
        rate: the rate, a finite number > 0.

    Raises:
        DeclarationError: the rate is not such a number.

    Example:
        >>> from fwdgrad.optimizers import schedules
        >>> schedules.constant(0.1)(7)
        0.1
    """

    rate: float

    def __post_init__(self) -> None:
        """Check the fields."""
        object.__setattr__(self, "rate", positive("constant(rate)", self.rate, "give e.g. constant(1e-3)"))

    def __call__(self, t: Any) -> Any:
        """The rate at sample t."""
        return self.rate


@dataclass(frozen=True)
class InverseSqrt:
    """γ / (1 + α √t): nearly constant until t is about 1/α², then falling like 1/√t.

    Source: Tallec and Ollivier, "Unbiased Online Recurrent Optimization", ICLR 2018, section 6.

    Args:
        gamma: γ, a finite number > 0.
        alpha: α, a finite number ≥ 0.

    Raises:
        DeclarationError: a field is not such a number.

    Example:
        >>> from fwdgrad.optimizers import schedules
        >>> float(schedules.inverse_sqrt(1.0, 0.5)(4.0))
        0.5
    """

    gamma: float
    alpha: float

    def __post_init__(self) -> None:
        """Check the fields."""
        mend = "give e.g. inverse_sqrt(1e-3, 0.03)"
        object.__setattr__(self, "gamma", positive("inverse_sqrt(gamma)", self.gamma, mend))
        object.__setattr__(self, "alpha", positive("inverse_sqrt(alpha)", self.alpha, mend, or_zero=True))

    def __call__(self, t: Any) -> Any:
        """The rate at sample t."""
        return self.gamma / (1.0 + self.alpha * np.sqrt(t))


@dataclass(frozen=True)
class InverseTime:
    """γ / (1 + α t): nearly constant until t is about 1/α, then falling like 1/t.

    With α > 0 the rates sum to infinity and their squares do not, as Robbins and Monro ("A stochastic approximation
    method", 1951) ask.

    Args:
        gamma: γ, a finite number > 0.
        alpha: α, a finite number ≥ 0.

    Raises:
        DeclarationError: a field is not such a number.

    Example:
        >>> from fwdgrad.optimizers import schedules
        >>> schedules.inverse_time(1.0, 0.25)(4.0)
        0.5
    """

    gamma: float
    alpha: float

    def __post_init__(self) -> None:
        """Check the fields."""
        mend = "give e.g. inverse_time(1e-2, 1e-3)"
        object.__setattr__(self, "gamma", positive("inverse_time(gamma)", self.gamma, mend))
        object.__setattr__(self, "alpha", positive("inverse_time(alpha)", self.alpha, mend, or_zero=True))

    def __call__(self, t: Any) -> Any:
        """The rate at sample t."""
        return self.gamma / (1.0 + self.alpha * t)


@dataclass(frozen=True)
class InversePower:
    """γ / t^b, falling from the first step on; γ / √t unless b is given.

    For 1/2 < b ≤ 1 the rates sum to infinity and their squares do not, as Robbins and Monro (1951) ask.

    Args:
        gamma: γ, a finite number > 0.
        exponent: b, a finite number > 0.

    Raises:
        DeclarationError: a field is not such a number.

    Example:
        >>> from fwdgrad.optimizers import schedules
        >>> schedules.inverse_power(1.0)(4.0)
        0.5
    """

    gamma: float
    exponent: float = 0.5

    def __post_init__(self) -> None:
        """Check the fields."""
        mend = "give e.g. inverse_power(1e-2) for 1e-2/√t"
        object.__setattr__(self, "gamma", positive("inverse_power(gamma)", self.gamma, mend))
        object.__setattr__(self, "exponent", positive("inverse_power(exponent)", self.exponent, mend))

    def __call__(self, t: Any) -> Any:
        """The rate at sample t."""
        return self.gamma / t**self.exponent


@dataclass(frozen=True)
class ByUpdate:
    """A schedule whose t counts updates, not samples: with a window of T steps, T times slower.

    Args:
        schedule: a number, a schedule or a function of t, as `as_schedule` takes it.

    Raises:
        DeclarationError: it is neither.

    Example:
        >>> from fwdgrad.optimizers import schedules
        >>> schedules.by_update(schedules.inverse_time(1.0, 0.25))(4.0)
        0.5
    """

    schedule: Any

    def __post_init__(self) -> None:
        """Check the field."""
        object.__setattr__(self, "schedule", as_schedule(self.schedule, "by_update(schedule)"))

    def __call__(self, t: Any) -> Any:
        """The rate at update t."""
        return self.schedule(t)


@dataclass(frozen=True)
class Fading:
    """1/(t + a) for the first samples, and then 0: how fast a filter forgets what it learned far from the truth.

    As the `decay` of an `InformationFilter`, J ← (1 − γ_t) J + M counts sample s of t as (s + a)/(t + a) of one, so
    that what was linearised at wrong parameters is soon forgotten. The price is half of what is known after T samples,
    and nothing to speak of long after. With many parameters a has to be large: about a samples are remembered from
    the start.

    Args:
        samples: T, a finite number > 0.
        slow: a, a finite number > 0.

    Raises:
        DeclarationError: one of them is not.

    Example:
        >>> from fwdgrad.optimizers import schedules
        >>> rate = schedules.fading(1000)
        >>> float(rate(2.0)), float(rate(1000.0))
        (0.25, 0.0)
    """

    samples: float
    slow: float = 2.0

    def __post_init__(self) -> None:
        """Check the fields."""
        mend = "give e.g. fading(1000), or fading(1000, 20.0)"
        object.__setattr__(self, "samples", positive("fading(samples)", self.samples, mend))
        object.__setattr__(self, "slow", positive("fading(slow)", self.slow, mend))

    def __call__(self, t: Any) -> Any:
        """The rate at sample t."""
        return np.where(t < self.samples, 1.0 / (t + self.slow), 0.0)


fading = Fading
constant = Constant
inverse_sqrt = InverseSqrt
inverse_time = InverseTime
inverse_power = InversePower
by_update = ByUpdate


def as_schedule(rate: Any, subject: str = "The learning rate") -> Schedule:
    """Return a rate as a function of t, the number of samples learned from.

    Args:
        rate: a finite number > 0, a schedule of this module, or any callable of t that gives a finite positive scalar
            at t = 1 and t = 2, where it is tried. A callable is returned as it is. To be used in training it has to
            be plain NumPy: ``np.where(t < 100, 1e-2, 1e-3)``, not ``1e-2 if t < 100 else 1e-3``.
        subject: what to call the rate in an error message.

    Raises:
        DeclarationError: the rate is neither, or the callable fails or gives something else when tried.

    Example:
        >>> from fwdgrad.optimizers import schedules
        >>> schedules.as_schedule(0.1)
        Constant(rate=0.1)
        >>> schedules.as_schedule(lambda t: 1 / t)(2)
        0.5
    """
    mend = "give a number such as 1e-3, a schedule of fwdgrad.optimizers.schedules, or a function of t = 1, 2, …"
    if not callable(rate):
        return Constant(positive(subject, rate, mend))
    for t in (1.0, 2.0):
        expected = f"a finite scalar > 0 from {describe(rate)} at t = {t:g}"
        try:
            value = rate(np.array(t))
        except Exception as error:
            said = str(error).partition("\n")[0]
            raise declaration_error(subject, expected, f"{type(error).__name__}: {said}", mend) from error
        number = value.item() if isinstance(value, np.ndarray) and value.shape == () else value
        if not (is_number(number) and math.isfinite(number) and number > 0):
            raise declaration_error(subject, expected, describe(value), mend)
    return rate
