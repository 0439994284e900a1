"""Ways of going through a stream: learning at every step, at the end of windows, or of the whole sequence."""

from fwdgrad.learning.loops.base import Loop
from fwdgrad.learning.loops.beginnings import elsewhere
from fwdgrad.learning.loops.choosing import loop_for, noise_for, noiseless
from fwdgrad.learning.loops.deviations import normalised, quiet, remembered, robust
from fwdgrad.learning.loops.discretisation import Stretches, coarse_steps, unstable_steps
from fwdgrad.learning.loops.first import told_far, told_first
from fwdgrad.learning.loops.fitting import Fitting, Pass
from fwdgrad.learning.loops.gauss_newton import ENOUGH, GAIN, GaussNewton, Normal
from fwdgrad.learning.loops.lacking import Lack, lacking
from fwdgrad.learning.loops.lateness import beside
from fwdgrad.learning.loops.minima import alternatives, described, preferred
from fwdgrad.learning.loops.record import Record
from fwdgrad.learning.loops.scales import widened
from fwdgrad.learning.loops.secant import polished
from fwdgrad.learning.loops.silent import ENTRIES, SilentLeaves, listed_entries, told_dead, told_silent

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
    "Stretches",
    "alternatives",
    "beside",
    "coarse_steps",
    "described",
    "elsewhere",
    "lacking",
    "listed_entries",
    "loop_for",
    "noise_for",
    "noiseless",
    "normalised",
    "polished",
    "preferred",
    "quiet",
    "remembered",
    "robust",
    "told_dead",
    "told_far",
    "told_first",
    "told_silent",
    "unstable_steps",
    "widened",
]
