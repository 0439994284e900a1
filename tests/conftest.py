"""What holds for all tests: one thread for linear algebra, and which cases of a test are quick ones."""

import os
import random

import pytest

# Several threads get in each other's way; on busy machines they wait for each other ten times as long as they compute.
for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")


@pytest.hookimpl(tryfirst=True)  # before cases are left out for their marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of a test marked `covering`, so many cases stay that each value of each parameter occurs; the others are slow."""
    tests: dict[object, list[pytest.Item]] = {}
    for item in items:
        if item.get_closest_marker("covering") and not item.get_closest_marker("slow"):
            tests.setdefault((item.path, item.originalname), []).append(item)
    for cases in tests.values():
        covered: set[tuple[str, int]] = set()
        for case in random.Random(0).sample(cases, len(cases)):
            values = {(name, id(value)) for name, value in case.callspec.params.items()}
            if values <= covered:
                case.add_marker("slow")
            covered |= values
