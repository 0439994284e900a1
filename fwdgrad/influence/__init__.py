"""Ways to keep the influence matrix G = ∂h/∂θ from one step to the next."""

from fwdgrad.influence.averaged import Averaged
from fwdgrad.influence.base import (
    Dropped,
    ExplicitRow,
    Influence,
    Layout,
    NoiseSpec,
    Row,
    is_random,
    keeps_nothing,
    parts_of,
    refuses_window,
)
from fwdgrad.influence.debiased import Debiased
from fwdgrad.influence.decayed import Decayed
from fwdgrad.influence.directional import Directional
from fwdgrad.influence.exact import Exact
from fwdgrad.influence.kronecker import Kronecker
from fwdgrad.influence.kronecker_sum import KroneckerSum
from fwdgrad.influence.masked import Masked
from fwdgrad.influence.none import NoInfluence
from fwdgrad.influence.rank_one import RankOne
from fwdgrad.influence.split import Selective, Split
from fwdgrad.influence.tensor import TensorProduct

__all__ = [
    "Averaged",
    "Debiased",
    "Decayed",
    "Directional",
    "Dropped",
    "Exact",
    "ExplicitRow",
    "Influence",
    "Kronecker",
    "KroneckerSum",
    "Layout",
    "Masked",
    "NoInfluence",
    "NoiseSpec",
    "RankOne",
    "Row",
    "Selective",
    "Split",
    "TensorProduct",
    "is_random",
    "keeps_nothing",
    "parts_of",
    "refuses_window",
]

Coordinates = ExplicitRow  # its former name
