"""Train the parameters of any dynamical system online, forward in time, without storing the past."""

from fwdgrad import errors, losses, streams
from fwdgrad._version import __version__
from fwdgrad.analysis import Budget, Structure, analyze
from fwdgrad.check import check
from fwdgrad.errors import FwdgradError
from fwdgrad.estimators import ARTBP, BPTT, RTRL, TBPTT, UORO, Estimator, Hybrid, NoBackTrack, SnAp, SparseRTRL
from fwdgrad.history import History
from fwdgrad.learner import Learner
from fwdgrad.optimizers import SGD, AdaGrad, Adam, schedules
from fwdgrad.system import System

__all__ = [
    "ARTBP",
    "BPTT",
    "RTRL",
    "SGD",
    "TBPTT",
    "UORO",
    "AdaGrad",
    "Adam",
    "Budget",
    "Estimator",
    "FwdgradError",
    "History",
    "Hybrid",
    "Learner",
    "NoBackTrack",
    "SnAp",
    "SparseRTRL",
    "Structure",
    "System",
    "__version__",
    "analyze",
    "check",
    "errors",
    "losses",
    "schedules",
    "streams",
]
