"""What is printed: tables, and generated text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fwdgrad.cli.curve import Curve
from fwdgrad.cli.jobs import Job, ModelJob, TextJob
from fwdgrad.estimators.windows import Sliding
from fwdgrad.learning.learner import Learner
from fwdgrad.optimizers import JointFilter

__all__ = ["generate", "heading", "losses", "parameters", "sample", "table"]

SMALL = 4
"""Parameters of at most so many numbers are printed in full, larger ones by their root mean square."""


def table(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """Rows of text in columns, two spaces apart.

    Args:
        rows: of equally many cells.
        right: the columns to align to the right.

    Example:
        >>> print(table([("loss", "2.5"), ("entropy", "11.0")], right=[1]))
        loss      2.5
        entropy  11.0
    """
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [c.rjust(w) if k in right else c.ljust(w) for k, (c, w) in enumerate(zip(row, widths, strict=True))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def heading(learner: Learner, job: Job, seed: int, steps: int) -> str:
    """What is about to be done: the system, the samples, the algorithm."""
    system, estimator = learner.system, learner.estimator
    count = sum(p.size for p in system.params.values())
    things = "characters" if isinstance(job, TextJob) else "samples"
    through = f"{steps / len(job):.3g} times through the " * (steps > len(job))
    through += f"the first {steps} of " * (steps < len(job))
    extras = [f"window {estimator.window}"] * (estimator.window != Sliding(1))
    extras += [f"rank {estimator.rank}"] * (estimator.rank > 1)
    rows = [
        ("system", f"{system.name}: state {system.size}, parameters {count}"),
        (things, f"{through}{len(job)} in {job.source}"),
        *([] if isinstance(job, TextJob) else [("first sample", job.first)]),
        ("estimator", ", ".join([estimator.name, *extras])),
        ("optimizer", f"{learner.optimizer!r}"),
        ("engine", f"{learner.engine}, seed {seed}"),
    ]
    if learner.steps:
        rows.append(("resumed", f"at step {learner.steps} of {steps}"))
    return table(rows)


def losses(job: Job, curve: Curve, references: dict[str, float]) -> str:
    """The loss at the end and over the whole run, beside what the text itself says."""
    rows = [("", job.unit if isinstance(job, TextJob) else "mean loss")]
    if isinstance(job, ModelJob):
        passes = curve.steps > len(job)
        part = len(job) if passes else max(curve.steps // 10, 1)
        what = "pass through the data" if passes else "10% of the steps"
        rows.append((f"loss over the first {what}", job.show(curve.first(part))))
        rows.append((f"loss over the last {what}", job.show(curve.mean(part / curve.steps))))
    else:
        rows.append(("loss over the last 10% of the steps", job.show(curve.mean(0.1))))
    rows += [
        ("loss over the whole run", job.show(curve.mean())),
        *((name, f"{bits:.3f}") for name, bits in references.items()),
    ]
    return table(rows, right=[1])


def parameters(learner: Learner, truth: Mapping[str, Any] | None = None) -> str:
    """Every parameter, before and after, with the truth where it is known, and its unit if it has one."""
    truth = truth or {}
    units = getattr(learner.system, "units", {})
    std = learner.parameter_std() if isinstance(learner.optimizer, JointFilter) else {}
    head = [*(["std"] if std else []), *(["truth"] if truth else []), *(["unit"] if units else [])]
    rows = [("parameter", "shape", "start", "end", *head)]
    for name, end in learner.params.items():
        start = learner.system.params[name]
        note = " (frozen)" if name in learner.system.frozen else ""
        note = note if name in learner.system.coordinates else " (tied)"
        shape = "×".join(str(k) for k in end.shape) or "number"
        known = [_numbers(np.asarray(truth.get(name, start)))] if truth else []
        unit = [units.get(name, "")] if units else []
        deviation = [_numbers(np.asarray(std[name])) if name in std else ""] if std else []
        rows.append((name + note, shape, _numbers(start), _numbers(end), *deviation, *known, *unit))
    return table(rows)


def _numbers(values: np.ndarray) -> str:
    if values.size <= SMALL:
        return " ".join(f"{v:.6g}" for v in values.ravel())
    return f"r.m.s. {np.sqrt(np.mean(values**2)):.4g}"


def generate(learner: Learner, symbol: int, count: int, rng: np.random.Generator) -> list[int]:
    """Symbols drawn one after the other from what the learner predicts. It goes on from its state, and is not changed.

    Args:
        learner: of a system that scores symbols.
        symbol: the last one known; it is not part of the result.
        count: how many to draw.
        rng: source of the draws.
    """
    system, params = learner.system, learner.params
    h, made = np.asarray(system.pack(learner.state)), []
    for _ in range(count):
        h = system.transition(h, symbol, params)
        scores = np.asarray(system.output(h, symbol, params), dtype=np.float64)
        chances = np.cumsum(np.exp(scores - scores.max()))
        symbol = min(int(np.searchsorted(chances, rng.random() * chances[-1], side="right")), len(chances) - 1)
        made.append(symbol)
    return made


def sample(learner: Learner, job: TextJob, count: int, rng: np.random.Generator) -> str:
    """Text generated from where the learner is in its own text. Control characters appear by their numbers."""
    symbols = generate(learner, int(job.xs[learner.steps % len(job)]), count, rng)
    text = job.alphabet.decode(np.array(symbols, dtype=np.int64))
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)
