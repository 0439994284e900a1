"""What follows from the dependency graph of a system's programs: patterns, colourings, units, closures, costs."""

from fwdgrad.structure.colouring import MOST, Family, Owners
from fwdgrad.structure.patterns import JacobianPatterns, Patterns, patterns_of
from fwdgrad.structure.products import Product, ResultPattern, Use

__all__ = [
    "MOST",
    "Family",
    "JacobianPatterns",
    "Owners",
    "Patterns",
    "Product",
    "ResultPattern",
    "Use",
    "patterns_of",
]
