"""What a user declares: transition, output, state, parameters; and the programs that tracing makes of them."""

from fwdgrad.system.declaration import FIRST, GIVEN, OWN, Simulation, System

__all__ = ["FIRST", "GIVEN", "OWN", "Simulation", "System"]
