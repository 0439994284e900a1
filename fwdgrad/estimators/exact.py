"""Exact influence: real-time recurrent learning, dense and on its closed pattern, and its nearest approximation."""

from __future__ import annotations

from collections.abc import Iterator

from fwdgrad.errors import DeclarationError
from fwdgrad.estimators.base import Estimator
from fwdgrad.estimators.costs import Candidate, Costs
from fwdgrad.estimators.named import Named
from fwdgrad.influence import Exact, Masked
from fwdgrad.program.closure import closed_size, kept_terms
from fwdgrad.support.arguments import suggests

__all__ = ["NAMES", "RTRL", "SnAp", "SparseRTRL", "snap_row"]


def RTRL() -> Estimator:
    """Real-time recurrent learning: the exact influence matrix (Williams & Zipser 1989).

    Exact for fixed θ. Memory n·p, time O(n² p) per step for a dense system of n state variables and p parameters.
    """
    return Estimator(Exact(), name="RTRL")


def SparseRTRL() -> Estimator:
    """Real-time recurrent learning on the closed pattern of the influence matrix: what is always zero is not kept.

    Exact for fixed θ. O(p) for diagonal recurrences; `analyze` says how large the pattern is.
    """
    return Estimator(Masked(), name="SparseRTRL")


@suggests
def SnAp(order: int = 1) -> Estimator:
    """Sparse n-step approximation (Menick et al. 2021): influence that takes more than `order` steps is dropped.

    Biased, unless the pattern of `order` steps is closed.
    """
    if isinstance(order, bool) or not isinstance(order, int) or order < 1:
        raise DeclarationError(f"SnAp(order=…): expected an integer of at least 1, got {order!r}. Write SnAp(1).")
    return Estimator(Masked(order), name=f"SnAp-{order}")


def _dense(costs: Costs) -> Iterator[Candidate]:
    n, p, products = costs.size, costs.influential, costs.products
    columns = costs.by_columns
    exact = p * products.both if columns else n * products.backward + (n + 1.0) * n * p
    vjps, jvps = (1, p) if columns else (1 + n, 0)
    yield Candidate("RTRL", RTRL, costs.base + exact + 3.0 * n * p, 8.0 * n * p, vjps, jvps)


def _sparse(costs: Costs) -> Iterator[Candidate]:
    S, kinds, rows = costs.patterns.transition.state, costs.patterns.parameter_kinds, sum(costs.rows)
    # terms of A G: every entry of G times the entries in its column of A
    terms = costs.entries + 2.0 * closed_size(S, kinds, costs.users) + 5.0 * costs.closed
    yield Candidate("SparseRTRL", SparseRTRL, costs.base + terms, 8.0 * costs.closed, 1 + rows, costs.columns)


def snap_row(costs: Costs) -> Candidate:
    """That of `SnAp(1)`."""
    transition, kinds = costs.patterns.transition, costs.patterns.parameter_kinds
    first = sum(transition.leaves[k].nnz for k in costs.patterns.influential)
    terms = costs.products.kept + sum(costs.row_products) + 2.0 * kept_terms(transition.state, kinds) + 5.0 * first
    bias = "none" if first == costs.closed else "drops influence that leaves the pattern of ∂F/∂θ"
    return Candidate(
        "SnAp-1", lambda: SnAp(1), costs.base + terms, 8.0 * first, 1 + sum(costs.rows), costs.kept_columns, bias
    )


NAMES = (
    Named("rtrl", RTRL, _dense),
    Named("sparse-rtrl", SparseRTRL, _sparse),
    Named("snap", SnAp, lambda costs: [snap_row(costs)], "N", int),
)
