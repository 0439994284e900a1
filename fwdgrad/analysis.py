"""`analyze`: everything that follows from a system's structure, and which estimator to take because of it."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from fwdgrad.errors import DeclarationError
from fwdgrad.estimators import RTRL, TBPTT, UORO, Estimator, NoBackTrack, SnAp, SparseRTRL
from fwdgrad.structure import MOST, Patterns
from fwdgrad.structure.closure import closed_size, delay_length
from fwdgrad.structure.costs import multiply_adds
from fwdgrad.structure.units import Units, dead_leaves, product_leaves, strong_components, units_of
from fwdgrad.system import System
from fwdgrad.tracing import TracedSystem

if TYPE_CHECKING:
    import networkx

__all__ = ["Budget", "Candidate", "Structure", "analyze"]

FEW = 4
"""NoBackTrack is taken if the rows of ∂F/∂θ cost at most this many backward products."""


@dataclass(frozen=True)
class Budget:
    """What exact gradients may cost before a random estimate is preferred.

    Args:
        ratio: multiply-adds per step, as a multiple of those of one-step truncation (which every estimator contains).
        floor: multiply-adds per step that are always allowed: below it, a step costs more in overhead than in numbers.
        nbytes: memory of the influence.
    """

    ratio: float = 4.0
    floor: float = 20_000.0
    nbytes: float = 1e9

    def __post_init__(self) -> None:
        for label in ("ratio", "floor", "nbytes"):
            value = getattr(self, label)
            if not isinstance(value, (int, float)) or isinstance(value, bool) or not value >= 0:
                raise DeclarationError(f"Budget({label}=…): expected a number of at least 0, got {value!r}.")


@dataclass(frozen=True)
class Candidate:
    """An estimator with what it is predicted to cost and how far it can be trusted.

    Attributes:
        label: what to call it.
        make: the estimator.
        multiply_adds: per step, everything included.
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


@dataclass(frozen=True, eq=False)
class Structure:
    """What `analyze` found. ``print`` it for a table; `plot` it for pictures.

    Attributes:
        name: the system's.
        patterns: patterns of ∂F and ∂Y, `scipy.sparse` matrices.
        units: groups of state variables that share parameters, with their parameters and bias-like parameter.
        colors: for each influential leaf, the number of backward products that give all its rows.
        readout_only: learned parameters that only Y uses. Their gradient is exact under every estimator.
        dead: learned parameters with no path to the loss.
        product_only: matrices that enter only as W @ a.
        closed: number of entries of the closed influence pattern: what exact gradients need to keep.
        delay: if the state is a delay line, the number of steps after which truncation is exact; else None.
        components: strongly connected component of each state variable, in an order in which none depends on a later.
        candidates: every estimator, with its predicted costs.
        choice: the estimator that ``estimator="auto"`` takes.
        reason: why, in a sentence.
    """

    name: str
    patterns: Patterns
    units: Units
    colors: dict[str, int]
    readout_only: tuple[str, ...]
    dead: tuple[str, ...]
    product_only: tuple[str, ...]
    closed: int
    delay: int | None
    components: np.ndarray
    model_cost: int
    candidates: tuple[Candidate, ...]
    choice: Estimator
    reason: str

    @property
    def backward_products(self) -> int:
        """Backward products that give all rows of ∂F/∂θ."""
        return sum(family.count for family in self.patterns.row_families)

    @cached_property
    def graph(self) -> networkx.DiGraph:
        """The influence graph by units: nodes ("unit", k), ("leaf", name) and "prediction".

        Nodes carry `kind` and `size` (and units their `bias`); edges carry `entries`, the number of derivatives that
        can be non-zero between the two.
        """
        return _graph(self)

    def __str__(self) -> str:
        return _report(self)

    def plot(self, path: str | os.PathLike[str] | None = None) -> Any:
        """Draw the influence graph by units and the patterns of ∂F/∂h and ∂F/∂θ; a matplotlib figure."""
        from fwdgrad.plots import plot_structure

        return plot_structure(self, path)


def analyze(system: System, budget: Budget | None = None) -> Structure:
    """Find out which parameter feeds which state variable, and what follows from it.

    Structural: patterns hold for all values of state, input and parameters, and never leave out a dependence.

    Args:
        system: the declared system; its functions must be traceable.
        budget: what exact gradients may cost; `Budget()` by default.

    Raises:
        TracingError: F or Y is not a fixed sequence of known operations.

    Example:
        >>> import numpy as np, fwdgrad as fg
        >>> def F(h, x, theta):
        ...     return np.tanh(theta["a"]) * h + x
        >>> system = fg.System(F, None, np.zeros(500), {"a": np.zeros(500)}, np.zeros(500))
        >>> structure = fg.analyze(system)
        >>> structure.choice.name
        'SparseRTRL'
    """
    return _analyze(TracedSystem(system), budget or Budget())


def _analyze(traced: TracedSystem, budget: Budget) -> Structure:
    system, patterns = traced.system, traced.patterns
    S = patterns.transition.state
    colors = {k: family.count for family in patterns.row_families for k in family.leaves}
    colors = {k: _own_colours(patterns, k, colors[k]) for k in patterns.influential}
    closed = sum(closed_size(S, patterns.transition.leaves[k]) for k in patterns.influential)
    cost = multiply_adds(traced.transition), multiply_adds(traced.output) + multiply_adds(traced.loss)
    candidates = _candidates(patterns, closed, *cost)
    choice, reason = _choose(system, patterns, closed, {c.label: c for c in candidates}, budget)
    return Structure(
        name=system.name,
        patterns=patterns,
        units=units_of(patterns),
        colors=colors,
        readout_only=tuple(
            k for k in system.trainable if k not in patterns.influential and patterns.output.leaves[k].nnz
        ),
        dead=dead_leaves(patterns),
        product_only=tuple(k for k in product_leaves(traced.transition, traced.number) if k in patterns.influential),
        closed=closed,
        delay=delay_length(S),
        components=strong_components(S),
        model_cost=sum(cost),
        candidates=candidates,
        choice=choice,
        reason=reason,
    )


def _own_colours(patterns: Patterns, leaf: str, shared: int) -> int:
    """Colours that the leaf itself needs (it may be served by a colouring made for another one)."""
    from fwdgrad.structure.colouring import colour_rows

    return shared if shared > MOST else int(colour_rows(patterns.transition.leaves[leaf]).max(initial=0)) + 1


def _candidates(patterns: Patterns, closed: int, f: int, y: int) -> tuple[Candidate, ...]:
    n = patterns.size
    sizes = {k: int(np.prod(patterns.shapes[k], dtype=int)) for k in patterns.influential}
    p, everything = sum(sizes.values()), sum(int(np.prod(patterns.shapes[k], dtype=int)) for k in patterns.trainable)
    rows = sum(family.count for family in patterns.row_families)
    few = sum(family.count for family in patterns.row_families if family.count <= MOST)
    columns = int(patterns.column_colours.max(initial=-1)) + 1
    degree = patterns.transition.state.nnz / max(n, 1)
    first = sum(patterns.transition.leaves[k].nnz for k in patterns.influential)
    forward, backward = f, 2 * f
    base = f + 3 * y + backward + 2 * everything
    exact = min(n * backward + float(n) * n * p, p * forward) + 2.0 * n * p
    noise = "random signs"
    return (
        Candidate(
            "RTRL", RTRL, base + exact, 8.0 * n * p, 1 + (n if p >= n else 0), 0 if p >= n else p, "none", "none"
        ),
        Candidate(
            "SparseRTRL",
            SparseRTRL,
            base + columns * forward + rows * backward + 2.0 * closed * max(degree, 1.0),
            8.0 * closed,
            1 + rows,
            columns,
            "none",
            "none",
        ),
        Candidate(
            "NoBackTrack",
            NoBackTrack,
            base + forward + rows * backward + 6.0 * p,
            8.0 * (n + p),
            1 + rows,
            1,
            "none",
            f"{noise}, one scale per state variable",
        ),
        Candidate(
            "NoBackTrack, mixed",
            lambda: NoBackTrack(scale="mixed"),
            base + forward + (few + 1) * backward + 6.0 * p,
            8.0 * (n + p),
            2 + few,
            1,
            "none",
            f"{noise}, scales from the sparse leaves",
        ),
        Candidate(
            "UORO, probe-scaled",
            lambda: UORO(scale="probe"),
            base + 2 * forward + backward + 7.0 * p,
            8.0 * (2 * n + p),
            2,
            2,
            "none",
            f"{noise}, scales learned from past steps",
        ),
        Candidate(
            "UORO", UORO, base + forward + backward + 6.0 * p, 8.0 * (n + p), 2, 1, "none", f"{noise}, one common scale"
        ),
        Candidate(
            "SnAp-1",
            lambda: SnAp(1),
            base + columns * forward + rows * backward + 2.0 * first,
            8.0 * first,
            1 + rows,
            columns,
            "none" if first == closed else "drops influence off its pattern",
            "none",
        ),
        Candidate("TBPTT(1)", lambda: TBPTT(1), base, 0.0, 1, 0, "none" if not p else "forgets the past", "none"),
    )


def _choose(
    system: System, patterns: Patterns, closed: int, by: dict[str, Candidate], budget: Budget
) -> tuple[Estimator, str]:
    n, p = patterns.size, sum(int(np.prod(patterns.shapes[k], dtype=int)) for k in patterns.influential)
    if not p:
        return TBPTT(1), "no learned parameter feeds the state, so the direct gradient is all there is."
    allowed = max(budget.ratio * by["TBPTT(1)"].multiply_adds, budget.floor)
    exact = min((by["RTRL"], by["SparseRTRL"]), key=lambda c: c.multiply_adds if closed < n * p else c.label != "RTRL")
    if exact.multiply_adds <= allowed and exact.nbytes <= budget.nbytes:
        where = "" if exact.label == "RTRL" else f" on its closed pattern ({closed:,} of {n * p:,} entries)"
        return (
            exact.make(),
            f"exact gradients{where} cost {_short(exact.multiply_adds)} multiply-adds a step, "
            f"within the budget of {_short(allowed)}.",
        )
    rows = sum(family.count for family in patterns.row_families)
    refused = (
        f"exact gradients would cost {_short(exact.multiply_adds)} multiply-adds a step (budget {_short(allowed)})"
        if exact.multiply_adds > allowed
        else f"exact gradients would keep {_short(exact.nbytes)} bytes (budget {_short(budget.nbytes)})"
    )
    if rows <= FEW:
        products = "one backward product gives" if rows == 1 else f"{rows} backward products give"
        return NoBackTrack(), f"{refused}; {products} all rows of ∂F/∂θ, so every state variable has its own scale."
    sparse = sum(int(np.prod(patterns.shapes[k], dtype=int)) for k in patterns.sparse_leaves)
    dense = [k for k in patterns.influential if k not in patterns.sparse_leaves]
    if 2 * sparse > p:
        return (
            NoBackTrack(scale="mixed"),
            f"{refused}; {', '.join(dense)} feed too many state variables each, but the other leaves "
            f"({100 * sparse // p} % of the parameters) give every state variable its scale.",
        )
    why = f"{refused}; each entry of {', '.join(dense)} feeds many state variables"
    if system.dt is not None:
        return UORO(scale="probe"), f"{why}, and state variables of a differential equation have unlike scales."
    return UORO(), f"{why}, so only black-box products are cheap."


def _short(number: float) -> str:
    """A count in a few characters: 950, 12.3k, 4.5M."""
    for limit, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")):
        if number >= limit:
            return f"{number / (limit if unit != 'k' else 1e3):.3g}{unit}"
    return f"{number:.0f}" if math.isfinite(number) else "∞"


# ---------------------------------------------------------------- showing it


def _report(s: Structure) -> str:
    patterns, units = s.patterns, s.units
    n = patterns.size
    S = patterns.transition.state
    sizes = np.bincount(s.components)
    p = sum(int(np.prod(patterns.shapes[k], dtype=int)) for k in patterns.influential)
    biases = sum(b is not None for b in units.bias)
    lines = [
        f"Structure of {s.name}",
        f"  state        {n} variables, {S.nnz:,} dependences, {len(sizes)} strongly connected "
        f"component{'s' * (len(sizes) != 1)} (largest {sizes.max()})",
        f"  units        {units.count}" + (f", {biases} with a bias-like parameter" if biases else ""),
        f"  influence    {p:,} parameters; closed pattern {s.closed:,} of {n * p:,} entries",
        f"  model        {_short(s.model_cost)} multiply-adds a step",
    ]
    if s.delay is not None:
        lines.append(f"  delay line   forgets its past after {s.delay} steps: TBPTT({s.delay}) is exact at its end")
    lines += ["", f"  {'parameter':<14}{'shape':<14}{'feeds':<10}{'colours':>8}  notes"]
    for k in patterns.shapes:
        feeds = [f for f, part in (("F", patterns.transition), ("Y", patterns.output)) if part.leaves[k].nnz]
        notes = []
        if k not in patterns.trainable:
            notes.append("frozen")
        if k in s.readout_only:
            notes.append("readout only")
        if k in s.dead:
            notes.append("dead: no path to the loss")
        if k in s.product_only:
            notes.append("product only")
        if any(b is not None and b[0] == k for b in units.bias):
            notes.append("bias-like")
        colours = str(s.colors[k]) if k in s.colors else "–"
        lines.append(
            f"  {k:<14.14}{patterns.shapes[k]!s:<14}{', '.join(feeds) or 'nothing':<10}{colours:>8}  {', '.join(notes)}"
        )
    lines += [
        "",
        f"  {'estimator':<20}{'mult-adds':>10}{'bytes':>9}{'VJPs':>6}{'JVPs':>6}  {'bias':<12.12}  variance",
    ]
    for c in s.candidates:
        mark = "→" if _is_choice(c, s.choice) else " "
        bias = c.bias if c.bias == "none" else "biased"
        lines.append(
            f"{mark} {c.label:<20}{_short(c.multiply_adds):>10}{_short(c.nbytes):>9}{c.vjps:>6}{c.jvps:>6}"
            f"  {bias:<12}  {c.variance}"
        )
    biased = [f"  {c.label}: {c.bias}" for c in s.candidates if c.bias != "none"]
    if biased:
        lines += ["", "  bias, for fixed θ", *("  " + b for b in biased)]
    if patterns.without_rule:
        lines += ["", f"  taken as dense, for want of a rule: {', '.join(patterns.without_rule)}"]
    lines += ["", *_wrapped(f"auto: {_choice_label(s)}, because {s.reason}")]
    return "\n".join(lines)


def _is_choice(candidate: Candidate, choice: Estimator) -> bool:
    return candidate.make() == choice


def _choice_label(s: Structure) -> str:
    return next((c.label for c in s.candidates if _is_choice(c, s.choice)), s.choice.name)


def _wrapped(text: str) -> list[str]:
    import textwrap

    return textwrap.wrap(text, 96, initial_indent="  ", subsequent_indent="    ")


def _graph(s: Structure) -> networkx.DiGraph:
    import networkx as nx

    patterns, units = s.patterns, s.units
    graph = nx.DiGraph(name=s.name)
    for k in range(units.count):
        graph.add_node(("unit", k), kind="unit", size=int(np.sum(units.states == k)), bias=units.bias[k])
    graph.add_node("prediction", kind="prediction", size=patterns.output.state.shape[0])

    def count(pairs: Any) -> None:
        for pair in pairs:
            if graph.has_edge(*pair):
                graph.edges[pair]["entries"] += 1
            else:
                graph.add_edge(*pair, entries=1)

    row, column = patterns.transition.state.nonzero()
    count((("unit", int(a)), ("unit", int(b))) for a, b in zip(units.states[column], units.states[row], strict=True))
    for column_ in patterns.output.state.nonzero()[1]:
        count([(("unit", int(units.states[column_])), "prediction")])
    for leaf in patterns.trainable:
        graph.add_node(("leaf", leaf), kind="leaf", size=int(np.prod(patterns.shapes[leaf], dtype=int)))
        rows = patterns.transition.leaves[leaf].nonzero()[0]
        per_unit = np.bincount(units.states[rows], minlength=units.count)
        for unit in np.flatnonzero(per_unit):
            graph.add_edge(("leaf", leaf), ("unit", int(unit)), entries=int(per_unit[unit]))
        if patterns.output.leaves[leaf].nnz:
            graph.add_edge(("leaf", leaf), "prediction", entries=patterns.output.leaves[leaf].nnz)
    return graph
