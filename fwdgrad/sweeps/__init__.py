"""One function, called with every combination of some settings: rates, estimators, seeds, systems."""

from fwdgrad.sweeps.records import Record
from fwdgrad.sweeps.report import Sweep
from fwdgrad.sweeps.run import sweep
from fwdgrad.sweeps.summaries import Summary

__all__ = ["Record", "Summary", "Sweep", "sweep"]
