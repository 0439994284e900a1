"""Ways of going through a stream: learning at every step, at the end of windows, or of the whole sequence."""

from fwdgrad.loops.base import Loop
from fwdgrad.loops.choosing import loop_for, noise_for, noiseless
from fwdgrad.loops.discretisation import coarse_steps
from fwdgrad.loops.first import told_first
from fwdgrad.loops.fitting import Fitting, Pass
from fwdgrad.loops.gauss_newton import GaussNewton, Normal
from fwdgrad.loops.minima import alternatives, described, preferred
from fwdgrad.loops.record import Record
from fwdgrad.loops.silent import SilentLeaves, told_dead, told_silent

__all__ = [
    "Fitting",
    "GaussNewton",
    "Loop",
    "Normal",
    "Pass",
    "Record",
    "SilentLeaves",
    "alternatives",
    "coarse_steps",
    "described",
    "loop_for",
    "noise_for",
    "noiseless",
    "preferred",
    "told_dead",
    "told_first",
    "told_silent",
]
