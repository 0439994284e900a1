"""`Structure`: everything that follows from a system's dependency graph, and `analyze`, which finds it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from fwdgrad.analysis.choice import Budget, choose
from fwdgrad.analysis.findings import Findings
from fwdgrad.analysis.report import influence_graph, page, report
from fwdgrad.errors import DeclarationError
from fwdgrad.estimators import NAMED, Costs
from fwdgrad.filtering import FilteredSystem
from fwdgrad.linear.costs import Products
from fwdgrad.program.closure import delay_length, strong_components
from fwdgrad.structure import Patterns
from fwdgrad.structure.units import product_leaves, units_of
from fwdgrad.support import display
from fwdgrad.support.arguments import suggests
from fwdgrad.support.trees import flatten, leaf_names
from fwdgrad.system import System
from fwdgrad.system.tracing import traced

if TYPE_CHECKING:
    import networkx

__all__ = ["Structure", "analyze"]


@dataclass(frozen=True, eq=False)
class Structure(Findings):
    """What `analyze` found. ``print`` it for a table; `plot` it for pictures.

    Attributes:
        name: the system's.
        patterns: patterns of ∂F and ∂Y, `scipy.sparse` matrices.
        units: groups of state variables that share parameters, with their parameters and bias-like parameter.
        colors: for each influential leaf, the number of backward products that give all its rows.
        readout_only: learned parameters that only Y uses. Their gradient is exact under every estimator.
        dead: learned parameters with no path to the loss.
        product_only: matrices that enter only through products with a vector: W @ a, a @ W, or a column R[:, x].
            `KFRTRL` and `TensorNoBackTrack` take those that F uses once.
        closed: number of entries of the closed influence pattern: what exact gradients need to keep.
        delay: if the state is a delay line, the number of steps after which truncation is exact; else None.
        components: strongly connected component of each state variable, in an order in which none depends on a later.
        model_cost: multiply-adds of F, Y and the loss.
        candidates: every estimator that has a name, with its predicted costs, and why not where it does not apply.
        choice: the estimator that ``estimator="auto"`` takes.
        reason: why, in a sentence.
        variables: a name for each state variable.
    """

    variables: tuple[str, ...] = ()
    _rates: Callable[[], Patterns] | None = field(default=None, repr=False)

    @cached_property
    def drawn(self) -> Patterns:
        """The patterns that a picture shows: of the rates dh/dt, where these are integrated by more than one of them.

        A step of RK4 connects nearly everything with everything; the model does not.
        """
        return self.patterns if self._rates is None else self._rates()

    @cached_property
    def graph(self) -> networkx.DiGraph:
        """The influence graph by units: nodes ("unit", k), ("leaf", name) and "prediction".

        Nodes carry `kind` and `size` (and units their `bias`); edges carry `entries`, the number of derivatives that
        can be non-zero between the two.
        """
        return influence_graph(self)

    def __repr__(self) -> str:
        n, leaves = self.patterns.size, len(self.patterns.shapes)
        sizes = f"{display.counted(n, 'state variable')}, {display.counted(leaves, 'parameter leaf')}"
        return f"Structure of {self.name}: {sizes.replace('leafs', 'leaves')}; auto takes {self.choice.name}"

    def _repr_html_(self) -> str:
        return page(self)

    def __str__(self) -> str:
        return report(self)

    def plot(self, path: str | os.PathLike[str] | None = None) -> Any:
        """Draw the influence graph by units and the patterns of ∂F/∂h and ∂F/∂θ; a matplotlib figure.

        Args:
            path: file to write, in a format that its name ends in.

        Raises:
            DeclarationError: matplotlib is not installed, or cannot write a file of that name.
        """
        from fwdgrad.analysis.picture import draw

        return draw(self, self.graph, path, self.drawn, self.variables)


@suggests
def analyze(system: System, budget: Budget | None = None) -> Structure:
    """Find out which parameter feeds which state variable, and what follows from it.

    Structural: patterns hold for all values of state, input and parameters, and never leave out a dependence.

    Cost: memory and time of the order of the entries of the patterns; see `benchmarks/structure.py`.

    Args:
        system: the declared system; its functions must be traceable.
        budget: what exact gradients may cost; `Budget()` by default.

    Raises:
        TracingError: F or Y is not a fixed sequence of known operations.
        DeclarationError: it is given something else than a system and a budget.

    Example:
        >>> import numpy as np, fwdgrad as fg
        >>> def F(h, x, theta):
        ...     return np.tanh(theta["a"]) * h + x
        >>> system = fg.System(F, None, np.zeros(500), {"a": np.zeros(500)}, np.zeros(500))
        >>> structure = fg.analyze(system)
        >>> structure.choice.name
        'SparseRTRL'
    """
    if not isinstance(system, System):
        raise DeclarationError(f"analyze: expected a fwdgrad.System, got {system!r}. Declare one: fg.System(F, Y, …).")
    if budget is not None and not isinstance(budget, Budget):
        raise DeclarationError(f"analyze(budget=…): expected a fwdgrad.Budget, got {budget!r}. Write Budget(ratio=2).")
    programs = traced(system)
    patterns = programs.patterns
    S = patterns.transition.state
    costs = Costs(patterns, Products.of(system))
    elsewhere = {k for k in patterns.trainable if patterns.output.leaves[k].nnz}
    candidates = tuple(row for entry in NAMED.values() for row in entry.rows(costs))
    choice, reason = choose(system, patterns, costs.closed, candidates, budget or Budget())
    return Structure(
        name=system.name,
        patterns=patterns,
        units=units_of(patterns),
        colors={k: int(colours.max(initial=0)) + 1 for k, colours in patterns.row_colours.items()},
        readout_only=tuple(
            k for k in system.trainable if k not in patterns.influential and patterns.output.leaves[k].nnz
        ),
        dead=tuple(programs.paths.dead),
        product_only=tuple(
            k
            for k in product_leaves(programs.transition, programs.number)
            if k in patterns.influential
            and (k not in elsewhere or k in product_leaves(programs.output, programs.number))
        ),
        closed=costs.closed,
        delay=delay_length(S),
        components=strong_components(S),
        model_cost=costs.products.model,
        candidates=candidates,
        choice=choice,
        reason=reason,
        variables=_variables(system),
        _rates=_rates(system),
    )


def _variables(system: System) -> tuple[str, ...]:
    """A name for each state variable, such as "prey" or "h[2]"."""
    made = []
    leaves = zip(leaf_names(system.state, "h"), flatten(system.state), strict=True)
    for label, leaf in leaves:
        name = label.removeprefix("h_") if isinstance(system.state, dict) else label
        made += [name + (str(list(place)) if leaf.shape else "") for place in np.ndindex(leaf.shape)]
    return tuple(made)


def _rates(system: System) -> Callable[[], Patterns] | None:
    """Makes the patterns of one step of Euler's, which are those of the rates; None where that is what there is."""
    if system.dt is None or (system.method == "euler" and system.substeps == 1) or isinstance(system, FilteredSystem):
        return None
    return lambda: traced(system.replace(method="euler", substeps=1)).patterns
