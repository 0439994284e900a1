"""The linearised step, as products with its Jacobians."""

from fwdgrad.linear.backward import Segment, backpropagate, replay
from fwdgrad.linear.base import (
    EUCLIDEAN,
    DenseRows,
    ExplicitRow,
    Leaves,
    Linearization,
    Metric,
    Model,
    Observation,
    ProductTerm,
    Row,
    Rows,
)
from fwdgrad.linear.eager import NOT_TRACED, EagerModel
from fwdgrad.linear.traced import TracedModel
from fwdgrad.linear.window import Window

__all__ = [
    "EUCLIDEAN",
    "NOT_TRACED",
    "DenseRows",
    "EagerModel",
    "ExplicitRow",
    "Leaves",
    "Linearization",
    "Metric",
    "Model",
    "Observation",
    "ProductTerm",
    "Row",
    "Rows",
    "Segment",
    "TracedModel",
    "Window",
    "backpropagate",
    "replay",
]
