"""Fitting a finite record: the parameters that explain it best, and what they are worth."""

from fwdgrad.fitting.result import Fit, Forecast
from fwdgrad.fitting.search import fit
from fwdgrad.fitting.trajectory import Trajectory

__all__ = ["Fit", "Forecast", "Trajectory", "fit"]
