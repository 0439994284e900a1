"""Many trajectories of one system side by side, with one θ."""

from fwdgrad.panels.system import ENDED, GOES_ON, STARTS, PanelSystem

__all__ = ["ENDED", "GOES_ON", "STARTS", "PanelSystem"]
