"""What a parameter reaches in time: closed patterns, cycles, delay lines, and the states that matter for the output."""

from __future__ import annotations

import networkx as nx
import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components

__all__ = ["closed_pattern", "closed_size", "delay_length", "reachability", "reached_pattern", "state_graph"]


def reached_pattern(S: sp.csr_array, B: sp.csr_array, steps: int) -> sp.csr_array:
    """Pattern of Σ_{j<steps} Sʲ B: which entries of G are non-zero after so many steps."""
    M = B
    for _ in range(steps - 1):
        grown = _pattern(B + _pattern(S @ M))
        if grown.nnz == M.nnz:
            break
        M = grown
    return M


def closed_pattern(S: sp.csr_array, B: sp.csr_array) -> sp.csr_array:
    """The smallest pattern that contains B's and that S maps into itself: pattern of G after any number of steps."""
    return _pattern(reachability(S) @ B)


def closed_size(S: sp.csr_array, B: sp.csr_array) -> int:
    """Number of entries of the closed pattern, without building it: Σ over parameters of the states it reaches."""
    label, reached = _condensed(S)
    sizes = np.bincount(label)
    block = sp.csr_array((np.ones(len(label)), (label, np.arange(len(label)))), dtype=np.float64)
    touched = _pattern(block @ B)  # components × parameters
    columns = sp.csc_array(touched)
    columns.sort_indices()
    reached = sp.csc_array(reached)
    total, known = 0, {}
    for k in range(columns.shape[1]):
        parts = columns.indices[columns.indptr[k] : columns.indptr[k + 1]]
        key = parts.tobytes()
        if key not in known:
            known[key] = int(sizes[np.unique(reached[:, parts].indices)].sum()) if len(parts) else 0
        total += known[key]
    return total


def reachability(S: sp.csr_array) -> sp.csr_array:
    """Pattern of Σ_{j≥0} Sʲ: entry (i, j) if state i depends on state j after any number of steps (0 included)."""
    label, reached = _condensed(S)
    return _pattern(reached[label][:, label])


def _condensed(S: sp.csr_array) -> tuple[np.ndarray, sp.csr_array]:
    """Strongly connected components of the states, and which one depends on which, directly or not."""
    count, label = connected_components(S, directed=True, connection="strong")
    label = label.astype(np.int64)
    row, column = S.nonzero()
    edges = np.unique(label[row] * count + label[column])
    i, j = np.divmod(edges, count)
    if np.all(i == j):  # no component depends on another
        return label, sp.csr_array(sp.eye_array(count, dtype=bool, format="csr"))
    graph = nx.DiGraph()
    graph.add_nodes_from(range(count))
    graph.add_edges_from((int(b), int(a)) for a, b in zip(i, j, strict=True) if a != b)  # from source to user
    reached = np.eye(count, dtype=bool)
    for node in nx.topological_sort(graph):
        for source in graph.predecessors(node):
            reached[node] |= reached[source]
    return label, sp.csr_array(reached)


def state_graph(S: sp.csr_array) -> nx.DiGraph:
    """The graph of the states: an edge from j to i where h'_i depends on h_j."""
    row, column = S.nonzero()
    graph = nx.DiGraph()
    graph.add_nodes_from(range(S.shape[0]))
    graph.add_edges_from(zip(column.tolist(), row.tolist(), strict=True))
    return graph


def delay_length(S: sp.csr_array) -> int | None:
    """Steps after which the state no longer depends on where it started; None if it always may.

    A state without cycles is a delay line: the pattern S is nilpotent, S^L = 0, and truncation after L steps is exact.
    """
    count, _ = connected_components(S, directed=True, connection="strong")
    if count < S.shape[0] or S.diagonal().any():
        return None
    return int(nx.dag_longest_path_length(state_graph(S), default_weight=1)) + 1


def _pattern(matrix: sp.sparray) -> sp.csr_array:
    made = sp.csr_array(matrix, dtype=bool)
    made.eliminate_zeros()
    made.sort_indices()
    return made
