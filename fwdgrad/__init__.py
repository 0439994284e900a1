"""Train the parameters of any dynamical system online, forward in time, without storing the past."""

from typing import TYPE_CHECKING, Any

from fwdgrad import errors, losses, streams
from fwdgrad._version import __version__
from fwdgrad.analysis import Budget, Structure, analyze
from fwdgrad.check import check
from fwdgrad.compare import Comparison, Estimate, compare
from fwdgrad.ensemble import Ensemble
from fwdgrad.errors import FwdgradError
from fwdgrad.estimators import (
    ARTBP,
    BPTT,
    KFRTRL,
    RTRL,
    TBPTT,
    UORO,
    Estimator,
    ForwardGradient,
    Hybrid,
    NoBackTrack,
    SnAp,
    SparseRTRL,
)
from fwdgrad.history import History
from fwdgrad.learner import Learner
from fwdgrad.optimizers import SGD, AdaGrad, Adam, InformationFilter, ParameterFilter, schedules
from fwdgrad.parameters import bounded, fixed, positive, tied
from fwdgrad.system import Simulation, System

__all__ = [
    "ARTBP",
    "BPTT",
    "KFRTRL",
    "RTRL",
    "SGD",
    "TBPTT",
    "UORO",
    "AdaGrad",
    "Adam",
    "Budget",
    "Comparison",
    "Ensemble",
    "Estimate",
    "Estimator",
    "ForwardGradient",
    "FwdgradError",
    "History",
    "Hybrid",
    "InformationFilter",
    "Learner",
    "NoBackTrack",
    "ParameterFilter",
    "Simulation",
    "SnAp",
    "SparseRTRL",
    "Structure",
    "System",
    "__version__",
    "analyze",
    "bounded",
    "check",
    "compare",
    "errors",
    "fixed",
    "losses",
    "positive",
    "schedules",
    "streams",
    "testing",
    "tied",
]

if TYPE_CHECKING:
    from fwdgrad import testing
else:

    def __getattr__(name: str) -> Any:
        """`testing`, which only tests need, is loaded when it is asked for."""
        if name == "testing":
            import importlib

            return importlib.import_module("fwdgrad.testing")
        raise AttributeError(f"module 'fwdgrad' has no attribute {name!r}")
