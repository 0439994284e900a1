"""What holds for all tests: one thread for linear algebra, and which cases of a test are quick ones."""

import os
import random
from collections.abc import Generator
from fnmatch import fnmatchcase
from typing import Any

import pytest
from hypothesis import settings

from fwdgrad.support import notice

# Several threads get in each other's way; on busy machines they wait for each other ten times as long as they compute.
for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

settings.register_profile("repeatable", derandomize=True, deadline=None)  # neither chance nor other processes decide
settings.load_profile("repeatable")

notice.PATIENCE = 1e6  # on a busy machine anything takes long; nobody is told of it here


@pytest.hookimpl(wrapper=True)
def pytest_pycollect_makeitem(collector: pytest.Collector) -> Generator[None, Any, Any]:
    """Of a test marked `covering` or `quick` the cases that are left out are marked slow."""
    made = yield
    functions = [f for f in made if isinstance(f, pytest.Function)] if isinstance(made, list) else []
    cases = [case for case in functions if not case.get_closest_marker("slow")]
    if cases:
        quick = cases[0].get_closest_marker("quick")
        if quick:
            kept = matching(cases, quick.args, collector)
        elif cases[0].get_closest_marker("covering"):
            kept = covering(cases)
        else:
            kept = cases
        for case in cases:
            if case not in kept:
                case.add_marker("slow")
    return made


def matching(cases: list[Any], patterns: tuple[str, ...], collector: pytest.Collector) -> list[Any]:
    """The cases whose id matches a pattern, each of which has to match one."""
    found = {pattern: [c for c in cases if fnmatchcase(c.callspec.id, pattern)] for pattern in patterns}
    idle = [pattern for pattern, its in found.items() if not its]
    if idle:
        raise collector.CollectError(
            f"{cases[0].originalname}: no case has an id like {idle}; there are {[c.callspec.id for c in cases]}"
        )
    return [case for its in found.values() for case in its]


def covering(cases: list[Any]) -> list[Any]:
    """So many cases, taken in random order, that each value of each parameter occurs."""
    kept = []
    covered: set[tuple[str, int]] = set()
    for case in random.Random(0).sample(cases, len(cases)):
        values = {(name, id(value)) for name, value in case.callspec.params.items()}
        if not values <= covered:
            kept.append(case)
        covered |= values
    return kept
