"""llvmlite, on which numba stands: the one place that imports it."""

from llvmlite import binding, ir

__all__ = ["binding", "ir"]
