"""A structure as text, at most 100 characters wide, and as a graph."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from fwdgrad.analysis.choice import short
from fwdgrad.analysis.findings import Findings
from fwdgrad.estimators import Candidate, size_of
from fwdgrad.support import display

if TYPE_CHECKING:
    import networkx

__all__ = ["influence_graph", "page", "report"]

WIDTH = 98
MANY = 24
"""More parameter leaves than this are listed by what they have in common."""


def report(s: Findings) -> str:
    """What ``print(structure)`` shows."""
    return "\n".join([*_head(s), "", *_leaves(s), "", *_estimators(s), "", *_conclusion(s)])


def page(s: Findings) -> str:
    """What a notebook shows."""
    title, *head = _head(s)
    leaves = [("parameter", "shape", "feeds", "colours", "notes"), *_leaf_rows(s)]
    rows: list[tuple[str, ...]] = [("estimator", "multiply-adds", "bytes", "VJPs", "JVPs", "bias", "variance")]
    marked: list[int] = []
    for k, c in enumerate(s.candidates):
        numbers = [short(c.multiply_adds), short(c.nbytes), f"{c.vjps}", f"{c.jvps}", c.bias, c.variance]
        rows.append((c.label, *(["–"] * 4 + [c.why_not, ""] if c.why_not else numbers)))
        marked += [k] * _is_choice(c, s)
    return display.page(
        title,
        display.paragraph("\n".join(" ".join(line.split()) for line in head)),
        display.table(leaves, left=5),
        display.table(rows, marked=marked),
        display.paragraph("\n".join(" ".join(line.split()) for line in _conclusion(s))),
    )


def _head(s: Findings) -> list[str]:
    patterns, units = s.patterns, s.units
    n, p = patterns.size, size_of(patterns, patterns.influential)
    sizes = np.bincount(s.components)
    biases = sum(b is not None for b in units.bias)
    lines = [
        f"Structure of {_cut(s.name, WIDTH - 13)}",
        f"  state        {_plural(n, 'variable')}, {_plural(patterns.transition.state.nnz, 'dependence')}, "
        f"{_plural(len(sizes), 'strongly connected component')} (largest {sizes.max():,})",
        f"  units        {units.count:,}" + (f", {biases:,} with a bias-like parameter" if biases else ""),
        f"  influence    {_plural(p, 'parameter')}; closed pattern {s.closed:,} of {n * p:,} entries",
        f"  model        {short(s.model_cost)} multiply-adds a step",
    ]
    if s.delay is not None:
        steps = f"{s.delay} step{'s' * (s.delay > 1)}"
        lines.append(f"  delay line   forgets its past after {steps}: TBPTT({s.delay}) is exact at its end")
    return lines


def _leaves(s: Findings) -> list[str]:
    rows = _leaf_rows(s)
    wide = min(max([9, *(len(row[0]) for row in rows)]), 26) + 2
    lines = [f"  {'parameter':<{wide}}{'shape':<16}{'feeds':<9}{'colours':>7}  notes"]
    for name, size, feeds, colours, notes in rows:
        lines.append(f"  {_cut(name, wide - 2):<{wide}}{size:<16}{feeds:<9}{colours:>7}  {notes}".rstrip())
    return lines


def _leaf_rows(s: Findings) -> list[tuple[str, ...]]:
    """(name, shape, feeds, colours, notes) of each parameter; of those that are alike together, if there are many."""
    rows: list[tuple[str, tuple[str, str, str, str]]] = []
    for k, shape in s.patterns.shapes.items():
        parts = (("F", s.patterns.transition), ("Y", s.patterns.output))
        feeds = ", ".join(label for label, part in parts if part.leaves[k].nnz) or "nothing"
        rows.append((k, (_shape(shape), feeds, str(s.colors.get(k, "–")), ", ".join(_notes(s, k)))))
    if len(rows) > MANY:  # leaves that differ in nothing but their name share a line
        alike: dict[tuple[str, str, str, str], list[str]] = {}
        for name, rest in rows:
            alike.setdefault(rest, []).append(name)
        rows = [(_first(names), rest) for rest, names in alike.items()]
    return [(name, *rest) for name, rest in rows]


def _notes(s: Findings, leaf: str) -> Iterable[str]:
    if leaf not in s.patterns.trainable:
        yield "frozen"
    if leaf in s.readout_only:
        yield "readout only"
    if leaf in s.dead:
        yield "dead: no path to the loss"
    if leaf in s.product_only:
        yield "product only"
    if any(b is not None and b[0] == leaf for b in s.units.bias):
        yield "bias-like"


def _estimators(s: Findings) -> list[str]:
    lines = [f"  {'estimator':<19}{'mult-adds':>10}{'bytes':>8}{'VJPs':>7}{'JVPs':>7}  {'bias':<8}variance"]
    for c in s.candidates:
        if c.why_not:
            lines.append(f"  {c.label:<19}{'–':>10}{'–':>8}{'–':>7}{'–':>7}  {c.why_not}")
            continue
        mark = "→" if _is_choice(c, s) else " "
        bias = c.bias if c.bias == "none" else "biased"
        lines.append(
            f"{mark} {c.label:<19}{short(c.multiply_adds):>10}{short(c.nbytes):>8}{c.vjps:>7}{c.jvps:>7}"
            f"  {bias:<8}{c.variance}"
        )
    return lines


def _conclusion(s: Findings) -> list[str]:
    lines = [f"  {c.label} is biased: it {c.bias}." for c in s.candidates if c.bias not in ("none", "")]
    if s.patterns.without_rule:
        names = ", ".join(s.patterns.without_rule)
        lines += _wrapped(f"Every output was taken to depend on every input, for want of a rule, of: {names}.")
    chosen = next((c.label for c in s.candidates if _is_choice(c, s)), s.choice.name)
    return [*lines, *_wrapped(f"auto: {chosen}, because {s.reason}")]


def _is_choice(candidate: Candidate, s: Findings) -> bool:
    return candidate.make() == s.choice


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent="  ", subsequent_indent="    ")


def _cut(text: str, width: int) -> str:
    """`text`, without its middle if it is longer than `width`."""
    if len(text) <= width:
        return text
    left = (width - 1) // 2
    return f"{text[:left]}…{text[len(text) - (width - 1 - left) :]}"


def _first(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{_cut(names[0], 16)} + {len(names) - 1} alike"


def _shape(shape: tuple[int, ...]) -> str:
    return _cut(str(shape), 15) if shape else "scalar"


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s' * (count != 1)}"


def influence_graph(s: Findings) -> networkx.DiGraph:
    """See `Structure.graph`."""
    import networkx as nx

    patterns, units = s.patterns, s.units
    graph = nx.DiGraph(name=s.name)
    sizes = np.bincount(units.states, minlength=units.count)
    for k in range(units.count):
        graph.add_node(("unit", k), kind="unit", size=int(sizes[k]), bias=units.bias[k])
    graph.add_node("prediction", kind="prediction", size=patterns.output.state.shape[0])
    row, column = patterns.transition.state.nonzero()
    pairs, entries = np.unique(units.states[column] * units.count + units.states[row], return_counts=True)
    for pair, count in zip(pairs.tolist(), entries.tolist(), strict=True):
        source, user = divmod(pair, units.count)
        graph.add_edge(("unit", source), ("unit", user), entries=count)
    _connect(graph, "unit", np.bincount(units.states[patterns.output.state.nonzero()[1]], minlength=units.count))
    for leaf in patterns.trainable:
        graph.add_node(("leaf", leaf), kind="leaf", size=size_of(patterns, [leaf]))
        fed = units.states[patterns.transition.leaves[leaf].nonzero()[0]]
        for unit, count in zip(*(a.tolist() for a in np.unique(fed, return_counts=True)), strict=True):
            graph.add_edge(("leaf", leaf), ("unit", unit), entries=count)
        if patterns.output.leaves[leaf].nnz:
            graph.add_edge(("leaf", leaf), "prediction", entries=patterns.output.leaves[leaf].nnz)
    return graph


def _connect(graph: Any, kind: str, entries: np.ndarray) -> None:
    for k in np.flatnonzero(entries).tolist():
        graph.add_edge((kind, k), "prediction", entries=int(entries[k]))
