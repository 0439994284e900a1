"""Optimizers: from gradients to updates of the parameters, as pure functions.

`SGD`, `Adam` and `AdaGrad` are frozen dataclasses; `schedules` has learning rates that change with the step number.
Any object with the two functions of `Optimizer` serves as well.
"""

from fwdgrad.optimizers import schedules
from fwdgrad.optimizers.adagrad import AdaGrad
from fwdgrad.optimizers.adam import Adam
from fwdgrad.optimizers.base import Optimizer
from fwdgrad.optimizers.sgd import SGD

__all__ = ["SGD", "AdaGrad", "Adam", "Optimizer", "schedules"]
