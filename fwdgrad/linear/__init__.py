"""The linearised step, as products with its Jacobians."""

from fwdgrad.linear.backward import Segment, backpropagate, replay
from fwdgrad.linear.base import (
    Coordinates,
    DenseRows,
    Leaves,
    Linearization,
    Model,
    Observation,
    ProductTerm,
    Row,
    Rows,
)
from fwdgrad.linear.eager import EagerModel, check_repeatable
from fwdgrad.linear.traced import TracedModel
from fwdgrad.linear.window import Window

__all__ = [
    "Coordinates",
    "DenseRows",
    "EagerModel",
    "Leaves",
    "Linearization",
    "Model",
    "Observation",
    "ProductTerm",
    "Row",
    "Rows",
    "Segment",
    "TracedModel",
    "Window",
    "backpropagate",
    "check_repeatable",
    "replay",
]
