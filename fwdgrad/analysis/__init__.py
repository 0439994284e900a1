"""`analyze`: everything that follows from a system's structure, and which estimator to take because of it."""

from fwdgrad.analysis.choice import Budget
from fwdgrad.analysis.structure import Structure, analyze
from fwdgrad.estimators import Candidate

__all__ = ["Budget", "Candidate", "Structure", "analyze"]
