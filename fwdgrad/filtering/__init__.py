"""Filters as systems: state and covariance carried by an extended Kalman filter, with everything in it a parameter."""

from fwdgrad.filtering.noise import cholesky
from fwdgrad.filtering.system import FilteredSystem, filtered

__all__ = ["FilteredSystem", "cholesky", "filtered"]
