"""Declaring a system by its equations (SymPy, equation text, TOML, SBML), or from functions made for other packages."""

from fwdgrad.declare.adapters import from_control, from_scipy
from fwdgrad.declare.equations import EquationSystem
from fwdgrad.declare.sbml import from_sbml, sbml_text
from fwdgrad.declare.symbols import from_sympy
from fwdgrad.declare.tables import from_toml
from fwdgrad.declare.text import from_text

__all__ = [
    "EquationSystem",
    "from_control",
    "from_sbml",
    "from_scipy",
    "from_sympy",
    "from_text",
    "from_toml",
    "sbml_text",
]
