"""What every estimator would cost on a system: counted products with its Jacobians, and what is done with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fwdgrad.estimators import RTRL, TBPTT, UORO, Estimator, NoBackTrack, SnAp, SparseRTRL
from fwdgrad.linear import TracedModel
from fwdgrad.program import Abstract, trace
from fwdgrad.structure import MOST, Patterns
from fwdgrad.structure.closure import closed_size, kept_terms
from fwdgrad.structure.costs import multiply_adds
from fwdgrad.system import System
from fwdgrad.trees import flatten, unflatten

__all__ = ["Candidate", "Products", "candidates_for", "size_of"]


@dataclass(frozen=True)
class Candidate:
    """An estimator with what it is predicted to cost and how far it can be trusted.

    Attributes:
        label: what to call it.
        make: the estimator.
        multiply_adds: per step, everything included, with SGD as optimizer.
        nbytes: memory of the influence, in bytes.
        vjps: backward products with the transition's Jacobian per step, the gradient's own included.
        jvps: forward products likewise.
        bias: "none", or where the bias comes from. For fixed θ.
        variance: "none", or what sets it.
    """

    label: str
    make: Callable[[], Estimator]
    multiply_adds: float
    nbytes: float
    vjps: int
    jvps: int
    bias: str
    variance: str


@dataclass(frozen=True)
class Products:
    """Multiply-adds of the parts of a step, counted on their traced programs.

    Attributes:
        model: F, Y and the loss.
        observed: the same, with the gradient of the loss in the next state and in Y's parameters.
        forward: one product of the transition's Jacobian with a direction of the state.
        both: one product with a direction of state and parameters together.
        backward: one product with a cotangent, for the state and all influential parameters.
        parameters: the same for the parameters alone.
        rows: the same for the leaves of each of `Patterns.row_families`.
    """

    model: int
    observed: int
    forward: int
    both: int
    backward: int
    parameters: int
    rows: tuple[int, ...]

    @staticmethod
    def of(system: System) -> Products:
        """Trace and count them."""
        model = TracedModel(system)
        h, x, y = system.initial, flatten(system.x), flatten(system.y)
        names = list(system.params)
        like = [h, *x, *y, *system.params.values()]

        def point(flat: Sequence[Any]) -> tuple[Any, Any, Any, dict[str, Any]]:
            rest = flat[1 + len(x) + len(y) :]
            given = unflatten(system.x, flat[1 : 1 + len(x)])
            target = unflatten(system.y, flat[1 + len(x) : 1 + len(x) + len(y)])
            return flat[0], given, target, dict(zip(names, rest[: len(names)], strict=True))

        def count(function: Callable[..., Any], *extra: Any) -> int:
            inputs = [Abstract.of(a) for a in (*like, *extra)]
            return multiply_adds(trace(lambda *flat: flatten(function(*flat)), inputs))

        def observed(*flat: Any) -> Any:
            state, given, target, params = point(flat)
            seen = model.observe(model.linearize(state, given, params).value, given, target, params)
            return seen.loss, *seen.gradient()

        def product(made: Callable[[Any, Sequence[Any]], Any], *extra: Any) -> int:
            """Of a product, over what F itself takes."""

            def run(*flat: Any) -> Any:
                state, given, _, params = point(flat)
                lin = model.linearize(state, given, params)
                return lin.value, made(lin, flat[len(like) :])

            return count(run, *extra) - transition

        def backward(names: Sequence[str]) -> int:
            return product(lambda lin, extra: [lin.vjp(extra[0])[1][k] for k in names], h)

        transition = multiply_adds(model.traced.transition)
        leaves = [system.params[k] for k in model.leaves]
        return Products(
            transition + multiply_adds(model.traced.output) + multiply_adds(model.traced.loss),
            count(observed),
            product(lambda lin, extra: lin.jvp(extra[0]), h),
            product(lambda lin, extra: lin.jvp(extra[0], dict(zip(model.leaves, extra[1:], strict=True))), h, *leaves),
            product(lambda lin, extra: lin.vjp(extra[0]), h),
            backward(model.leaves),
            tuple(backward(tuple(family.leaves)) for family in model.patterns.row_families),
        )


def size_of(patterns: Patterns, leaves: Sequence[str]) -> int:
    """Number of entries of some leaves."""
    return sum(int(np.prod(patterns.shapes[k], dtype=int)) for k in leaves)


def candidates_for(patterns: Patterns, products: Products, closed: int) -> tuple[Candidate, ...]:
    """Every estimator that a user can ask for by name, cheapest kinds last.

    Args:
        patterns: of the system.
        products: their costs.
        closed: entries of the closed influence pattern.
    """
    n, p = patterns.size, size_of(patterns, patterns.influential)
    # the loss and its gradient in h', SGD's two passes over θ, and one to see that all is finite
    ends = products.observed + 3.0 * size_of(patterns, patterns.trainable) + 3 * n
    base = ends + products.backward
    families = list(zip(patterns.row_families, products.rows, strict=True))
    few = [(family, cost) for family, cost in families if family.count <= MOST]
    many = [(family, cost) for family, cost in families if family.count > MOST]
    rows, rows_few = sum(family.count for family, _ in families), sum(family.count for family, _ in few)
    columns = int(patterns.column_colours.max(initial=-1)) + 1
    # all rows of B: one product for each colour, or one for each row; their entries, which are squared and weighted
    coloured = float(sum(family.count * cost for family, cost in few))
    one_by_one = float(sum(n * cost for _, cost in many))
    entries_few = sum(family.count * size_of(patterns, list(family.leaves)) for family, _ in few)
    entries_all = entries_few + n * sum(size_of(patterns, list(family.leaves)) for family, _ in many)
    masked = columns * products.forward + coloured + one_by_one
    # A v and its norm, v and w, ‖w‖², and the pull at G̃; the scales, a fourth root of a ratio each
    reduced, scales = products.forward + 6.0 * p + 6 * n + 25, 12 * n
    by_columns = p < n
    exact = p * products.both if by_columns else n * products.backward + (n + 1.0) * n * p
    # terms of A G: every entry of G times the entries in its column of A
    S = patterns.transition.state
    users = np.bincount(S.indices, minlength=n)
    first = sum(patterns.transition.leaves[k].nnz for k in patterns.influential)
    signs = "random signs"
    return (
        Candidate(
            "RTRL",
            RTRL,
            base + exact + 3.0 * n * p,
            8.0 * n * p,
            1 if by_columns else 1 + n,
            p if by_columns else 0,
            "none",
            "none",
        ),
        Candidate(
            "SparseRTRL",
            SparseRTRL,
            base + masked + 2.0 * closed_size(S, patterns.parameter_kinds, users) + 5.0 * closed,
            8.0 * closed,
            1 + rows,
            columns,
            "none",
            "none",
        ),
        Candidate(
            "NoBackTrack",
            NoBackTrack,
            base + reduced + scales + coloured + one_by_one + 3.0 * entries_all,
            8.0 * (n + p),
            1 + rows,
            1,
            "none",
            f"{signs}, one scale per variable",
        ),
        Candidate(
            "NoBackTrack, mixed",
            lambda: NoBackTrack(scale="mixed"),
            base + reduced + scales + coloured + 3.0 * entries_few + sum(cost for _, cost in many),
            8.0 * (n + p),
            2 + rows_few,
            1,
            "none",
            f"{signs}, scales of sparse leaves",
        ),
        Candidate(
            "UORO, probe-scaled",
            lambda: UORO(scale="probe"),
            base + reduced + scales + products.parameters + products.both + p + 5.0 * n,
            8.0 * (2 * n + p),
            2,
            2,
            "none",
            f"{signs}, scales from past steps",
        ),
        Candidate(
            "UORO",
            UORO,
            base + reduced + products.parameters + 2.0 * p,
            8.0 * (n + p),
            2,
            1,
            "none",
            f"{signs}, one common scale",
        ),
        Candidate(
            "SnAp-1",
            lambda: SnAp(1),
            base + masked + 2.0 * kept_terms(S, patterns.parameter_kinds) + 5.0 * first,
            8.0 * first,
            1 + rows,
            columns,
            "none" if first == closed else "drops influence that leaves the pattern of ∂F/∂θ",
            "none",
        ),
        Candidate(
            "TBPTT(1)",
            lambda: TBPTT(1),
            ends + products.parameters,
            0.0,
            1,
            0,
            "forgets the past" if p else "none",
            "none",
        ),
    )
