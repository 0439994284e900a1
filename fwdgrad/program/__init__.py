"""The step as a program: tracing, core operations, derivatives, loops."""

from fwdgrad.program import lowering
from fwdgrad.program.array import Tracer, is_tracer
from fwdgrad.program.derivatives import Linearized
from fwdgrad.program.instructions import Abstract, Constant, Instruction, Source, Variable
from fwdgrad.program.jacobians import jacobian
from fwdgrad.program.loop_derivatives import opened
from fwdgrad.program.loops import map_rows, repeat, scan
from fwdgrad.program.open_loops import until
from fwdgrad.program.outlived import trace_pure
from fwdgrad.program.points import at_points
from fwdgrad.program.program import Program
from fwdgrad.program.roots import root
from fwdgrad.program.tracer import trace
from fwdgrad.program.whole import whole

__all__ = [
    "Abstract",
    "Constant",
    "Instruction",
    "Linearized",
    "Program",
    "Source",
    "Tracer",
    "Variable",
    "at_points",
    "is_tracer",
    "jacobian",
    "lowering",
    "map_rows",
    "opened",
    "repeat",
    "root",
    "scan",
    "trace",
    "trace_pure",
    "until",
    "whole",
]
