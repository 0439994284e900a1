"""Units: state variables that share parameters; and what else a parameter leaf can be."""

from __future__ import annotations

from dataclasses import dataclass

import networkx as nx
import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components

from fwdgrad.program import Program, Variable
from fwdgrad.structure.closure import reachability
from fwdgrad.structure.patterns import Patterns

__all__ = ["Units", "dead_leaves", "product_leaves", "strong_components", "units_of"]


@dataclass(frozen=True, eq=False)
class Units:
    """A grouping of the state variables, with the parameters of each group."""

    count: int
    """Number of units."""
    states: np.ndarray
    """Unit of each state variable, shape (n,)."""
    parameters: dict[str, np.ndarray]
    """Unit of each entry of each leaf, of the leaf's shape; −1 for entries that feed no unit, or several."""
    bias: list[tuple[str, int] | None]
    """For each unit its bias-like parameter (leaf, flat index): it enters additively, with a constant coefficient."""


def units_of(patterns: Patterns) -> Units:
    """Group state variables that share parameters of the sparse leaves.

    Leaves whose rows are dense (a parameter that feeds everything) do not merge units; their entries belong to none.
    """
    n = patterns.size
    sparse = patterns.sparse_leaves
    blocks = [patterns.transition.leaves[k] for k in sparse]
    if blocks:
        joint = sp.csr_array(sp.hstack(blocks, format="csr"), dtype=np.int8)
        graph = sp.block_array([[None, joint], [joint.T, None]], format="csr")
        _, label = connected_components(graph, directed=False)
        _, states = np.unique(label[:n], return_inverse=True)
    else:
        states = np.arange(n)
    count = int(states.max(initial=-1)) + 1
    parameters: dict[str, np.ndarray] = {}
    bias: list[tuple[str, int] | None] = [None] * count
    for leaf in patterns.influential:
        pattern = patterns.transition.leaves[leaf]
        parameters[leaf] = _owner(pattern, states, leaf in sparse).reshape(patterns.shapes[leaf])
        row, column = patterns.transition.constant[leaf].nonzero()
        for i, k in zip(row.tolist(), column.tolist(), strict=True):
            unit = int(states[i])
            if leaf in sparse and bias[unit] is None and parameters[leaf].ravel()[k] == unit:
                bias[unit] = (leaf, k)
    return Units(count, states, parameters, bias)


def _owner(pattern: sp.csr_array, states: np.ndarray, sparse: bool) -> np.ndarray:
    made = np.full(pattern.shape[1], -1)
    if sparse:
        row, column = pattern.nonzero()
        made[column] = states[row]
    return made


def strong_components(S: sp.csr_array) -> np.ndarray:
    """Strongly connected component of each state variable, numbered so that none depends on a later one."""
    count, label = connected_components(S, directed=True, connection="strong")
    row, column = S.nonzero()
    graph = nx.DiGraph()
    graph.add_nodes_from(range(count))
    edges = {(int(label[j]), int(label[i])) for i, j in zip(row, column, strict=True) if label[i] != label[j]}
    graph.add_edges_from(edges)
    place = np.empty(count, np.intp)
    place[list(nx.topological_sort(graph))] = np.arange(count)
    return place[label]


def dead_leaves(patterns: Patterns) -> tuple[str, ...]:
    """Learned parameters with no path to the prediction: what they change never reaches Y."""
    seen = np.asarray(patterns.output.state.sum(axis=0)).ravel() > 0
    reach = reachability(patterns.transition.state)
    matters = np.asarray(reach[seen].sum(axis=0)).ravel() > 0  # states that some observed state depends on, in time
    return tuple(
        k
        for k in patterns.trainable
        if not patterns.output.leaves[k].nnz and not patterns.transition.leaves[k][matters].nnz
    )


def product_leaves(transition: Program, number: dict[str, int]) -> tuple[str, ...]:
    """Matrices that enter the transition only as the left factor of matrix-vector products, W @ a."""
    uses: dict[Variable, list[bool]] = {}
    for ins in transition.instructions:
        for place, operand in enumerate(ins.inputs):
            if isinstance(operand, Variable):
                shapes = [len(i.shape) for i in ins.inputs]
                uses.setdefault(operand, []).append(ins.operation.name == "matmul" and place == 0 and shapes == [2, 1])
    return tuple(k for k, i in number.items() if uses.get(transition.inputs[i]) and all(uses[transition.inputs[i]]))
