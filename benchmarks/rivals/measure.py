"""Measuring in turns: A B C, A B C, …, in seconds of processor time, of which the least counts."""

from __future__ import annotations

import gc
import importlib.util
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from benchmarks.rivals.problem import Problem, Rival

AGREE = 1e-6
"""Largest difference in θ between those that compute the same, relative to how far θ has moved."""


@dataclass(frozen=True)
class Effort:
    """How much is spent on a number.

    Args:
        repeats: rounds.
        seconds: of one run, about.
        check: steps after which θ is compared.
    """

    repeats: int = 7
    seconds: float = 0.3
    check: int = 300


@dataclass
class Found:
    """Times of some rivals at some numbers of units, and what was left out."""

    paces: dict[tuple[str, int], list[float]] = field(default_factory=dict)
    """Seconds per step by name and units, a number a round."""
    build: dict[str, float] = field(default_factory=dict)
    """Seconds to trace and compile, the longest over the sizes."""
    apart: dict[str, float] = field(default_factory=dict)
    """Largest relative difference in θ to the first of its kind."""
    missing: dict[str, str] = field(default_factory=dict)
    """What could not be measured, and why."""

    def pace(self, name: str, units: int) -> float | None:
        """Seconds per step: the least, as whatever else the machine does only adds to it."""
        times = self.paces.get((name, units))
        return None if times is None else min(times)

    def ratio(self, name: str, base: str, units: int) -> float | None:
        """How many times slower than `base`."""
        a, b = self.pace(name, units), self.pace(base, units)
        return None if a is None or b is None else a / b

    @property
    def units(self) -> list[int]:
        return sorted({n for _, n in self.paces})

    @property
    def names(self) -> list[str]:
        return list(dict.fromkeys(name for name, _ in self.paces))


def rounds(runs: Sequence[Callable[[], float]], repeats: int) -> list[list[float]]:
    """What each of some functions returns in every round, one after the other within a round."""
    gc.collect()
    gc.disable()
    try:
        made = [[run() for run in runs] for _ in range(repeats)]
    finally:
        gc.enable()
    return [list(column) for column in zip(*made, strict=True)]


def absent(rival: Rival) -> str:
    """The modules it needs that are not installed; empty if all are."""
    return ", ".join(m for m in rival.needs if importlib.util.find_spec(m) is None)


def compete(rivals: Sequence[Rival], units: Sequence[int], effort: Effort) -> Found:
    """Check that they compute the same, then time them in turns, at every number of units."""
    found = Found()
    for n in units:
        ready, references = {}, {}
        for rival in rivals:
            if absent(rival):
                found.missing[rival.name] = f"not installed ({absent(rival)})"
                continue
            if n > rival.most:
                continue
            say(f"{n}: {rival.name}")
            problem = Problem(n, effort.check if n <= rival.easy else max(effort.check // 10, 10))
            trial = rival.prepare(problem)
            trial.run()
            pace = trial.run()
            if rival.like:
                difference(found, rival, dict(trial.learned()), references, problem)
            found.build[rival.name] = max(trial.build, found.build.get(rival.name, 0.0))
            steps = int(np.clip(effort.seconds / pace, 10, 100_000))
            prepared = rival.prepare(problem.of(steps))
            prepared.run()
            ready[rival.name] = prepared.run
        for name, times in zip(ready, rounds(list(ready.values()), effort.repeats), strict=True):
            found.paces[name, n] = times
        shown = ", ".join(f"{name} {min(found.paces[name, n]) * 1e6:.3g}" for name in ready)
        say(f"{n}: µs per step: {shown}")
    return found


def difference(found: Found, rival: Rival, learned: dict, references: dict, problem: Problem) -> None:
    """Compare what was learned with the first rival of its kind.

    Raises:
        AssertionError: it is something else.
    """
    reference = references.setdefault(rival.like, learned)
    if reference is learned:
        return
    start = problem.params()
    moved = max(float(np.abs(reference[k] - start[k]).max()) for k in start)
    apart = max(float(np.abs(learned[k] - reference[k]).max()) for k in start) / moved
    found.apart[rival.name] = max(apart, found.apart.get(rival.name, 0.0))
    assert apart < AGREE, f"{rival.name}: θ differs by {apart:.1e} after {problem.steps} steps, n = {problem.units}"


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
