"""Train the parameters of any dynamical system online, forward in time, without storing the past."""

from fwdgrad import errors, losses, streams
from fwdgrad._version import __version__
from fwdgrad.errors import FwdgradError
from fwdgrad.estimators import RTRL, TBPTT, UORO, Estimator, NoBackTrack
from fwdgrad.learner import History, Learner
from fwdgrad.optimizers import SGD, AdaGrad, Adam, schedules
from fwdgrad.system import System

__all__ = [
    "RTRL",
    "SGD",
    "TBPTT",
    "UORO",
    "AdaGrad",
    "Adam",
    "Estimator",
    "FwdgradError",
    "History",
    "Learner",
    "NoBackTrack",
    "System",
    "__version__",
    "errors",
    "losses",
    "schedules",
    "streams",
]
