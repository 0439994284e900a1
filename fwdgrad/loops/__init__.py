"""Ways of going through a stream: learning at every step, at the end of windows, or of the whole sequence."""

from fwdgrad.loops.base import Loop
from fwdgrad.loops.choosing import loop_for, noise_for, noiseless
from fwdgrad.loops.deviations import quiet, remembered, robust
from fwdgrad.loops.discretisation import coarse_steps
from fwdgrad.loops.first import told_far, told_first
from fwdgrad.loops.fitting import Fitting, Pass
from fwdgrad.loops.gauss_newton import ENOUGH, GAIN, GaussNewton, Normal
from fwdgrad.loops.lacking import Lack, lacking
from fwdgrad.loops.minima import alternatives, described, preferred
from fwdgrad.loops.record import Record
from fwdgrad.loops.silent import ENTRIES, SilentLeaves, listed_entries, told_dead, told_silent

__all__ = [
    "ENOUGH",
    "ENTRIES",
    "GAIN",
    "Fitting",
    "GaussNewton",
    "Lack",
    "Loop",
    "Normal",
    "Pass",
    "Record",
    "SilentLeaves",
    "alternatives",
    "coarse_steps",
    "described",
    "lacking",
    "listed_entries",
    "loop_for",
    "noise_for",
    "noiseless",
    "preferred",
    "quiet",
    "remembered",
    "robust",
    "told_dead",
    "told_far",
    "told_first",
    "told_silent",
]
