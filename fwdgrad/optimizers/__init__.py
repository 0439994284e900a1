"""Optimizers: from gradients to updates of the parameters, as pure functions.

`SGD`, `Momentum`, `Adam`, `AdamW`, `RMSprop`, `AdaGrad`, `InformationFilter` and `ParameterFilter` are frozen
dataclasses; `Clipped` bounds the gradients of another one; `schedules` has learning rates that change with the number
of samples. Any object with the two functions of `Optimizer` serves as well. One that has `bind` besides is told what it
is going to learn, and may ask for more than a gradient: see `Informed`.
"""

from fwdgrad.optimizers import schedules
from fwdgrad.optimizers.adagrad import AdaGrad
from fwdgrad.optimizers.adam import Adam
from fwdgrad.optimizers.adamw import AdamW
from fwdgrad.optimizers.base import Optimizer
from fwdgrad.optimizers.clipped import Clipped
from fwdgrad.optimizers.constants import filled, split
from fwdgrad.optimizers.information import (
    Block,
    BoundJointFilter,
    Diagonal,
    Full,
    InformationFilter,
    JointFilter,
    LowRank,
    NormalEquations,
    ParameterFilter,
    QuasiDiagonal,
)
from fwdgrad.optimizers.informed import Binding, Evidence, Informed, Setting
from fwdgrad.optimizers.momentum import Momentum
from fwdgrad.optimizers.named import NAMED
from fwdgrad.optimizers.rates import PerLeaf
from fwdgrad.optimizers.rmsprop import RMSprop
from fwdgrad.optimizers.sgd import SGD

__all__ = [
    "NAMED",
    "SGD",
    "AdaGrad",
    "Adam",
    "AdamW",
    "Binding",
    "Block",
    "BoundJointFilter",
    "Clipped",
    "Diagonal",
    "Evidence",
    "Full",
    "InformationFilter",
    "Informed",
    "JointFilter",
    "LowRank",
    "Momentum",
    "NormalEquations",
    "Optimizer",
    "ParameterFilter",
    "PerLeaf",
    "QuasiDiagonal",
    "RMSprop",
    "Setting",
    "filled",
    "schedules",
    "split",
]
