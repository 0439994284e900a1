"""The numbers of learning rates, taken out of an optimizer and put back, so that a step can have them as inputs.

Optimizers that differ in these numbers alone share everything that is traced and compiled.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from fwdgrad.optimizers import schedules
from fwdgrad.optimizers.adagrad import AdaGrad
from fwdgrad.optimizers.adam import Adam
from fwdgrad.optimizers.adamw import AdamW
from fwdgrad.optimizers.clipped import Clipped
from fwdgrad.optimizers.momentum import Momentum
from fwdgrad.optimizers.rates import PerLeaf
from fwdgrad.optimizers.rmsprop import RMSprop
from fwdgrad.optimizers.sgd import SGD

__all__ = ["filled", "split"]

HELD: dict[type, tuple[str, ...]] = {
    SGD: ("rate",),
    Adam: ("rate",),
    AdaGrad: ("rate",),
    AdamW: ("rate", "weight_decay"),
    Momentum: ("rate",),
    RMSprop: ("rate",),
    Clipped: ("optimizer", "norm"),
    PerLeaf: ("rates",),
    schedules.Constant: ("rate",),
    schedules.InverseSqrt: ("gamma", "alpha"),
    schedules.InverseTime: ("gamma", "alpha"),
    schedules.InversePower: ("gamma",),
    schedules.ByUpdate: ("schedule",),
}
"""Where these numbers stand, or what has some. Exponents stay where they are: a power may be written as a product."""

PLACE = 1.0
"""What stands in their place."""


def split(optimizer: Any) -> tuple[Any, tuple[float, ...]]:
    """An optimizer with 1 in place of every number of its rates, and these numbers.

    Optimizers of other classes, derived ones included, have none: they may do with their rates what they like.

    Example:
        >>> from fwdgrad.optimizers import SGD, schedules
        >>> split(SGD(schedules.inverse_time(0.5, 0.1)))
        (SGD(rate=InverseTime(gamma=1.0, alpha=1.0)), (0.5, 0.1))
    """
    numbers: list[float] = []

    def taken(number: Any) -> float:
        numbers.append(number)
        return PLACE

    pattern = _walk(optimizer, taken) if type(optimizer) in HELD else optimizer
    return pattern, tuple(numbers)


def filled(pattern: Any, numbers: Any) -> Any:
    """The optimizer again; the numbers may be traced.

    Example:
        >>> from fwdgrad.optimizers import Adam
        >>> filled(*split(Adam(0.01, beta1=0.8)))
        Adam(rate=0.01, beta1=0.8, beta2=0.999, eps=1e-08)
    """
    rest: Iterator[Any] = iter(numbers)
    return _walk(pattern, lambda _: next(rest)) if type(pattern) in HELD else pattern


def _walk(value: Any, change: Any) -> Any:
    """The same with every number of its rates changed, without the checks of the classes, which are for numbers."""
    if type(value) is float:
        return change(value)
    if type(value) is tuple:
        return tuple(_walk(v, change) for v in value)
    if type(value) not in HELD:
        return value
    made = object.__new__(type(value))
    for field in fields(value):
        held = getattr(value, field.name)
        held = _walk(held, change) if field.name in HELD[type(value)] else held
        object.__setattr__(made, field.name, held)
    return made
