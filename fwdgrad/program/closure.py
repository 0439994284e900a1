"""What a parameter reaches in time: closed patterns, cycles, delay lines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import breadth_first_order, connected_components

from fwdgrad.program.columns import Columns, distinct_columns
from fwdgrad.program.dependence import distinct

if TYPE_CHECKING:
    import networkx

__all__ = [
    "closed_pattern",
    "closed_size",
    "delay_length",
    "kept_entries",
    "kept_terms",
    "reached_pattern",
    "state_graph",
    "strong_components",
]


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
    kind, columns = distinct_columns([B])
    if not columns.nnz:
        return _pattern(B)
    count, label = connected_components(S, directed=True, connection="strong")
    members = np.argsort(label, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(label, minlength=count))])
    parts = [
        np.sort(np.concatenate([members[starts[c] : starts[c + 1]] for c in reached] or [members[:0]]))
        for reached in _reached(S, label, count, columns)
    ]
    pointer = np.concatenate([[0], np.cumsum([len(p) for p in parts])])
    rows = np.concatenate(parts)
    distinct_ones = sp.csc_array((np.ones(len(rows), bool), rows, pointer), shape=columns.shape)
    return _pattern(distinct_ones[:, kind])


def kept_entries(S: sp.csr_array, blocks: Iterable[sp.csr_array]) -> np.ndarray:
    """Numbers of the entries (i, j) of S that take an entry of a pattern to another of it: M_jk and M_ik for some k.

    Args:
        S: pattern of A, with m entries.
        blocks: patterns M of the influence of leaves, each with a row per row of S.
    """
    user, source = S.nonzero()
    order = sp.csr_array((np.arange(1, S.nnz + 1), (user, source)), shape=S.shape)
    found = np.zeros(S.nnz, bool)
    for M in blocks:
        kept = sp.csr_array(M, dtype=np.int64)
        shared = np.bincount(kept.indices, minlength=1).astype(float)
        if np.diff(kept.indptr)[user].sum() < np.sum(shared * shared):  # row by row, where columns are long
            found |= np.asarray(kept[user].multiply(kept[source]).sum(axis=1)).ravel() > 0
            continue
        pairs = kept @ kept.T
        found[order.multiply(pairs.astype(bool)).tocsr().data.astype(np.int64) - 1] = True
    return np.flatnonzero(found)


def closed_size(S: sp.csr_array, columns: Columns, weights: np.ndarray | None = None) -> int:
    """Number of entries of the closed pattern, without building it: Σ over parameters of the states it reaches.

    Args:
        S: pattern of A.
        columns: those of the pattern of B.
        weights: what an entry in each row counts, integers of shape (n,); 1 unless given.
    """
    count, label = connected_components(S, directed=True, connection="strong")
    sizes = np.zeros(count, np.int64)
    np.add.at(sizes, label, 1 if weights is None else weights)
    reach = [int(sizes[reached].sum()) for reached in _reached(S, label, count, columns.pattern)]
    return int(np.dot(columns.copies, np.array(reach, dtype=np.int64)))


def kept_terms(S: sp.csr_array, columns: Columns) -> int:
    """Number of terms A_ij G_jk for which both (j, k) and (i, k) are in the pattern of B, which G is kept on."""
    kept = sp.csc_array(columns.pattern, dtype=np.int64)
    terms = (sp.csr_array(S, dtype=np.int64) @ kept).multiply(kept).sum(axis=0)
    return int(np.dot(columns.copies, np.asarray(terms).ravel()))


def _reached(S: sp.csr_array, label: np.ndarray, count: int, columns: sp.csc_array) -> Iterator[np.ndarray]:
    """For each column the strongly connected components that its entries reach, by a search from a node of its own."""
    kinds = columns.shape[1]
    edges = component_edges(S, label, count)
    touched = distinct(np.repeat(np.arange(kinds), np.diff(columns.indptr)) * count + label[columns.indices])
    column, component = np.divmod(touched, count)
    first = np.searchsorted(column, np.arange(kinds + 1))
    if not len(edges):  # no component depends on another
        for k in range(kinds):
            yield component[first[k] : first[k + 1]]
        return
    user, source = np.divmod(edges, count)
    start, end = np.concatenate([source, count + column]), np.concatenate([user, component])
    graph = sp.csr_array((np.ones(len(start)), (start, end)), shape=(count + kinds, count + kinds))
    for k in range(kinds):
        yield breadth_first_order(graph, count + k, return_predecessors=False)[1:]


def component_edges(S: sp.csr_array, label: np.ndarray, count: int) -> np.ndarray:
    """user · count + source, for each pair of different components of which one depends directly on the other."""
    user, source = label[np.repeat(np.arange(S.shape[0]), np.diff(S.indptr))], label[S.indices]
    across = user != source
    return distinct(user[across].astype(np.int64) * count + source[across])


def strong_components(S: sp.csr_array) -> np.ndarray:
    """Strongly connected component of each state variable, numbered so that none depends on a later one."""
    import networkx as nx  # takes as long to load as NumPy

    count, label = connected_components(S, directed=True, connection="strong")
    user, source = np.divmod(component_edges(S, label, count), count)
    graph = nx.DiGraph()
    graph.add_nodes_from(range(count))
    graph.add_edges_from(zip(source.tolist(), user.tolist(), strict=True))
    place = np.empty(count, np.intp)
    place[list(nx.topological_sort(graph))] = np.arange(count)
    return place[label]


def state_graph(S: sp.csr_array) -> networkx.DiGraph:
    """The graph of the states: an edge from j to i where h'_i depends on h_j."""
    import networkx as nx

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
    import networkx as nx

    return int(nx.dag_longest_path_length(state_graph(S), default_weight=1)) + 1


def _pattern(matrix: sp.sparray) -> sp.csr_array:
    made = sp.csr_array(matrix, dtype=bool)
    made.eliminate_zeros()
    made.sort_indices()
    return made
