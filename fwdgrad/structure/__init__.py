"""What follows from the dependency graph of a system's programs: patterns, colourings, units, closures, costs."""

from fwdgrad.structure.colouring import MOST, Family, Owners
from fwdgrad.structure.dead import Paths, paths_to_the_loss
from fwdgrad.structure.patterns import JacobianPatterns, Patterns, patterns_of
from fwdgrad.structure.products import Product, ResultPattern, Use

__all__ = [
    "MOST",
    "Family",
    "JacobianPatterns",
    "Owners",
    "Paths",
    "Patterns",
    "Product",
    "ResultPattern",
    "Use",
    "paths_to_the_loss",
    "patterns_of",
]
