"""One online step as pure functions: by gradient, influence and optimizer, or by a filter on state and parameters."""

from fwdgrad.learning.step.gradient import Carry, Outcome, Steps
from fwdgrad.learning.step.joint import JOINT, JointSteps, steps_for
from fwdgrad.learning.step.windowed import Older, Samples, walk, window

__all__ = ["JOINT", "Carry", "JointSteps", "Older", "Outcome", "Samples", "Steps", "steps_for", "walk", "window"]
