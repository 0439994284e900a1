"""Filters on the parameters: the information form with reduced matrices, and the covariance form."""

from fwdgrad.optimizers.information.blocks import Block, Full
from fwdgrad.optimizers.information.covariance import ParameterFilter
from fwdgrad.optimizers.information.diagonal import Diagonal
from fwdgrad.optimizers.information.filter import InformationFilter
from fwdgrad.optimizers.information.joint import BoundJointFilter, JointFilter
from fwdgrad.optimizers.information.low_rank import LowRank
from fwdgrad.optimizers.information.matrix import Form, Matrix
from fwdgrad.optimizers.information.normal_equations import NormalEquations
from fwdgrad.optimizers.information.quasi_diagonal import QuasiDiagonal

__all__ = [
    "Block",
    "BoundJointFilter",
    "Diagonal",
    "Form",
    "Full",
    "InformationFilter",
    "JointFilter",
    "LowRank",
    "Matrix",
    "NormalEquations",
    "ParameterFilter",
    "QuasiDiagonal",
]
