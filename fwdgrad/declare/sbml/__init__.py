"""SBML files, as equation text."""

from fwdgrad.declare.sbml.files import from_sbml, sbml_text

__all__ = ["from_sbml", "sbml_text"]
