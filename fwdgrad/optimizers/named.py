"""The optimizers that take a rate and nothing else, under the names that the command line knows."""

from __future__ import annotations

from typing import Any

from fwdgrad.optimizers.adagrad import AdaGrad
from fwdgrad.optimizers.adam import Adam
from fwdgrad.optimizers.adamw import AdamW
from fwdgrad.optimizers.momentum import Momentum
from fwdgrad.optimizers.rmsprop import RMSprop
from fwdgrad.optimizers.sgd import SGD

__all__ = ["NAMED"]

NAMED: dict[str, Any] = {
    "sgd": SGD,
    "momentum": Momentum,
    "adam": Adam,
    "adamw": AdamW,
    "rmsprop": RMSprop,
    "adagrad": AdaGrad,
}
"""Name → class; the first argument is the rate."""
