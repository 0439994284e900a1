"""What a user declares: transition, output, state, parameters; and the programs that tracing makes of them."""

from fwdgrad.system.checks import FIRST, GIVEN, OWN
from fwdgrad.system.declaration import System
from fwdgrad.system.simulation import Simulation

__all__ = ["FIRST", "GIVEN", "OWN", "Simulation", "System"]
