"""`check`: does a system say what its author means, and are its derivatives right? To be asked before a long run.

Every derivative that a learner will use is compared with central differences of the plain functions, along random
directions, one for each array of the state and each learned parameter: a wrong rule, a hidden dependence or a function
that computes something else when it is traced shows up as a number that is too large.
"""

from __future__ import annotations

from fwdgrad.checks.report import CheckReport, CheckRow
from fwdgrad.checks.run import check

__all__ = ["CheckReport", "CheckRow", "check"]
