"""The linearised step, as products with its Jacobians."""

from fwdgrad.linear.base import DenseRows, Leaves, Linearization, Model, Observation, Rows
from fwdgrad.linear.eager import EagerModel, check_repeatable
from fwdgrad.linear.traced import TracedModel
from fwdgrad.linear.window import Window

__all__ = [
    "DenseRows",
    "EagerModel",
    "Leaves",
    "Linearization",
    "Model",
    "Observation",
    "Rows",
    "TracedModel",
    "Window",
    "check_repeatable",
]
