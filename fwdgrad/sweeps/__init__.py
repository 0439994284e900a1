"""One function, called with every combination of some settings: rates, estimators, seeds, systems."""

from fwdgrad.sweeps.records import Record
from fwdgrad.sweeps.report import Summary, Sweep
from fwdgrad.sweeps.run import sweep

__all__ = ["Record", "Summary", "Sweep", "sweep"]
