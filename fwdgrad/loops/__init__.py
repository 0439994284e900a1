"""Ways of going through a stream: learning at every step, at the end of windows, or of the whole sequence."""

from fwdgrad.loops.base import Loop
from fwdgrad.loops.choosing import loop_for, noise_for
from fwdgrad.loops.silent import SilentLeaves, told_dead, told_silent

__all__ = ["Loop", "SilentLeaves", "loop_for", "noise_for", "told_dead", "told_silent"]
