"""The Jacobian of a program in its first input, as an array: column by column where that is short, else by a loop."""

from __future__ import annotations

from typing import Any

import numpy as np

from fwdgrad.program.derivatives import Linearized
from fwdgrad.program.loops import map_rows
from fwdgrad.program.tracer import active_graph

__all__ = ["jacobian"]

UNROLLED = 8
"""Inputs up to which the columns of the Jacobian are computed one beside the other, and not in a loop …"""
SPARSE = 2
"""… and of more inputs too where that takes at most so many operations for each one of the program."""


def jacobian(linearized: Linearized) -> Any:
    """∂(output 0)/∂(input 0) of vectors of m and n numbers, shape (m, n).

    Example:
        >>> import numpy as np
        >>> from fwdgrad.program import Abstract, Linearized, jacobian, trace
        >>> program = trace(lambda h: [np.stack([h[0] * h[1], h[1], h[0]])], [Abstract((2,), np.dtype(float))])
        >>> jacobian(Linearized(program, [np.array([2.0, 3.0])]))
        array([[3., 2.],
               [0., 1.],
               [1., 0.]])
    """
    (size,) = linearized.program.inputs[0].shape
    columns = _columns(linearized, size)
    if columns is not None:
        return np.stack(columns, axis=1)
    basis = np.eye(size, dtype=linearized.program.inputs[0].dtype)
    return np.transpose(map_rows(lambda row: [linearized.jvp({0: row})[0]], basis)[0])


def _columns(linearized: Linearized, size: int) -> list[Any] | None:
    """The columns of the Jacobian, each recorded by itself; None if that makes the program long.

    Where equations are written entry by entry, and each unknown is in a few of them, all columns together take little
    more than one product with any vector.
    """
    before, most = _recorded(), SPARSE * len(linearized.program.instructions)
    columns = []
    for entry in range(size):
        columns.append(linearized.column(0, entry)[0])
        if size > UNROLLED and _recorded() - before > most:
            return None
    return columns


def _recorded() -> int:
    """Operations in the program that is being written, and in those around it."""
    graph, count = active_graph(), 0
    while graph is not None:
        count += len(graph.instructions)
        graph = graph.parent
    return count
