# The public names, and where they are from: each is loaded when it is asked for.

from . import errors, losses, plots, streams, systems, testing
from ._version import __version__
from .analysis import Budget, Structure, analyze
from .beyond import choices
from .beyond.choices import choosing_system
from .beyond.hidden_markov import OnlineEM
from .beyond.second_order import OnlineHessian
from .checks import check
from .comparison import Choice, Comparison, Estimate, choose, compare
from .declare import EquationSystem, from_control, from_sbml, from_scipy, from_sympy, from_text, from_toml, sbml_text
from .errors import FwdgradError
from .estimators import (
    ARTBP,
    BPTT,
    KFRTRL,
    OK,
    RTRL,
    TBPTT,
    UORO,
    Debiased,
    Decayed,
    Estimator,
    ForwardGradient,
    Hybrid,
    NoBackTrack,
    SnAp,
    SparseRTRL,
    TensorNoBackTrack,
)
from .exporting import Export, export
from .filtering import FilteredSystem, cholesky, filtered
from .fitting import Fit, Forecast, Trajectory, fit
from .influence import reduction
from .integrate import Adaptive, At, Delay, When
from .learning.ensemble import Ensemble
from .learning.history import History
from .learning.learner import Learner
from .limits import refine
from .optimizers import (
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
from .sweeps import Sweep, sweep
from .system import Simulation, System
from .system.parameters import bounded, fixed, per_stream, positive, tied

__all__ = [
    "ARTBP",
    "BPTT",
    "KFRTRL",
    "OK",
    "RTRL",
    "SGD",
    "TBPTT",
    "UORO",
    "AdaGrad",
    "Adam",
    "AdamW",
    "Adaptive",
    "At",
    "Budget",
    "Choice",
    "Clipped",
    "Comparison",
    "Debiased",
    "Decayed",
    "Delay",
    "Ensemble",
    "EquationSystem",
    "Estimate",
    "Estimator",
    "Export",
    "FilteredSystem",
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
    "Sweep",
    "System",
    "TensorNoBackTrack",
    "Trajectory",
    "When",
    "__version__",
    "analyze",
    "bounded",
    "check",
    "choices",
    "cholesky",
    "choose",
    "choosing_system",
    "compare",
    "errors",
    "export",
    "filtered",
    "fit",
    "fixed",
    "from_control",
    "from_sbml",
    "from_scipy",
    "from_sympy",
    "from_text",
    "from_toml",
    "losses",
    "per_stream",
    "plots",
    "positive",
    "reduction",
    "refine",
    "sbml_text",
    "schedules",
    "streams",
    "sweep",
    "systems",
    "testing",
    "tied",
]
