"""Tables in Markdown, and their places in a document."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from benchmarks.rivals.measure import Found


def three(value: float) -> str:
    """Three digits, without an exponent."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def paces(found: Found, base: str) -> str:
    """µs per step by units; in brackets how many times that of `base`."""
    rows = []
    for name in found.names:
        cells = [name]
        for n in found.units:
            pace, ratio = found.pace(name, n), found.ratio(name, base, n)
            bracket = "" if ratio is None or name == base else f" ({three(ratio)}×)"
            cells.append("–" if pace is None else three(pace * 1e6) + bracket)
        rows.append([*cells, f"{found.build[name]:.1f}" if found.build[name] >= 0.05 else "–"])
    made = table(["µs per step", *(f"n = {n}" for n in found.units), "build, s"], rows)
    apart = max((v for v in found.apart.values()), default=0.0)
    notes = [f"Largest relative difference in what was learned: {apart:.0e}."] if found.apart else []
    notes += [f"{name}: {why}." for name, why in found.missing.items()]
    return "\n\n".join([made, " ".join(notes)]) if notes else made


def target(what: str, values: dict[str, float], bound: float, least: bool) -> str:
    """A line that says whether a target is met, and by what."""
    sign = "≥" if least else "≤"
    if not values:
        return f"- {what}: {sign} {bound:g}: not measured"
    worst = min(values, key=values.__getitem__) if least else max(values, key=values.__getitem__)
    at = f" at worst ({worst})" if len(values) > 1 else ""
    met = values[worst] >= bound if least else values[worst] <= bound
    return f"- {what}: {sign} {bound:g}: **{'met' if met else 'missed'}**, {three(values[worst])}{at}"


def ratios(found: Found, name: str, base: str, units: Sequence[int] | None = None) -> dict[str, float]:
    """How many times slower `name` is than `base`, by "n = …"."""
    given = {n: found.ratio(name, base, n) for n in (units or found.units)}
    return {f"n = {n}": r for n, r in given.items() if r is not None}


def replace(path: Path, name: str, text: str) -> None:
    """Put a text between the markers called `name`."""
    document = path.read_text(encoding="utf-8")
    pattern = re.compile(f"(<!-- {name}: begin[^>]*-->\n).*?(<!-- {name}: end -->)", re.DOTALL)
    if not pattern.search(document):
        raise SystemExit(f"{path} has no place for {name!r}: expected <!-- {name}: begin --> … <!-- {name}: end -->")
    path.write_text(pattern.sub(lambda m: f"{m[1]}\n{text}\n\n{m[2]}", document), encoding="utf-8")


def between(document: str, name: str) -> str:
    """The text between the markers called `name`."""
    found = re.search(f"<!-- {name}: begin[^>]*-->(.*?)<!-- {name}: end -->", document, re.DOTALL)
    return found[1] if found else ""
