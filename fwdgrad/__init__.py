"""Train the parameters of any dynamical system online, forward in time, without storing the past."""

from typing import TYPE_CHECKING, Any

from fwdgrad import choices, errors, losses, streams
from fwdgrad._version import __version__
from fwdgrad.analysis import Budget, Structure, analyze
from fwdgrad.check import check
from fwdgrad.choices import choosing_system
from fwdgrad.compare import Comparison, Estimate, compare
from fwdgrad.declare import EquationSystem, from_control, from_scipy, from_sympy, from_text, from_toml
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
    TensorNoBackTrack,
)
from fwdgrad.fitting import Fit, Forecast, Trajectory, fit
from fwdgrad.hidden_markov import OnlineEM
from fwdgrad.history import History
from fwdgrad.influence import reduction
from fwdgrad.learner import Learner
from fwdgrad.limits import refine
from fwdgrad.optimizers import (
    SGD,
    AdaGrad,
    Adam,
    AdamW,
    Clipped,
    InformationFilter,
    JointFilter,
    Momentum,
    ParameterFilter,
    RMSprop,
    schedules,
)
from fwdgrad.parameters import bounded, fixed, positive, tied
from fwdgrad.second_order import OnlineHessian
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
    "AdamW",
    "Budget",
    "Clipped",
    "Comparison",
    "Ensemble",
    "EquationSystem",
    "Estimate",
    "Estimator",
    "Fit",
    "Forecast",
    "ForwardGradient",
    "FwdgradError",
    "History",
    "Hybrid",
    "InformationFilter",
    "JointFilter",
    "Learner",
    "Momentum",
    "NoBackTrack",
    "OnlineEM",
    "OnlineHessian",
    "ParameterFilter",
    "RMSprop",
    "Simulation",
    "SnAp",
    "SparseRTRL",
    "Structure",
    "System",
    "TensorNoBackTrack",
    "Trajectory",
    "__version__",
    "analyze",
    "bounded",
    "check",
    "choices",
    "choosing_system",
    "compare",
    "errors",
    "fit",
    "fixed",
    "from_control",
    "from_scipy",
    "from_sympy",
    "from_text",
    "from_toml",
    "losses",
    "plots",
    "positive",
    "reduction",
    "refine",
    "schedules",
    "streams",
    "systems",
    "testing",
    "tied",
]

if TYPE_CHECKING:
    from fwdgrad import plots, systems, testing
else:

    def __getattr__(name: str) -> Any:
        """The catalogue, pictures and the conformance suite are loaded when they are asked for."""
        if name in ("plots", "systems", "testing"):
            import importlib

            return importlib.import_module(f"fwdgrad.{name}")
        hint = errors.did_you_mean(name, __all__)
        raise AttributeError(
            f"module 'fwdgrad' has no attribute {name!r}." + (f" {hint}" if hint.startswith("Did") else "")
        )

    def __dir__() -> list[str]:
        """What there is, what is not loaded yet included."""
        return sorted({*globals(), *__all__})
