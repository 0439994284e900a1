"""The largest eigenvalue of ∂h'/∂h of a large system, by products, against all eigenvalues."""

import numpy as np
import pytest

import fwdgrad as fg
from fwdgrad.system import causes
from fwdgrad.system.tracing import traced


def ring(n, k):
    """Cells that pass on to both neighbours, and one that grows."""
    grows = np.zeros(n)
    grows[n // 3] = k

    def F(h, x, p):
        return 0.5 * h + p["a"] * (np.roll(h, 1) - 0.5 * np.roll(h, -1)) + grows * h

    return fg.System(F, None, np.ones(n), {"a": 0.2})


@pytest.mark.parametrize("grows", [0.8, 0.42])
def test_the_largest_eigenvalue_by_products(grows, monkeypatch):
    system = ring(300, grows)
    program, arguments = traced(system).transition, traced(system).arguments(system.initial, None, system.coordinates)
    found, told = causes.radius(program, arguments), causes.unstable(program, arguments, system.initial + 1.0)
    monkeypatch.setattr(causes, "LARGE", 1000)
    assert abs(found - causes.radius(program, arguments)) < 1e-6
    assert (told is None) == (found < 1)
    assert (grows > 0.5) == (found > 1)


def test_where_the_jacobian_is_another_one_nothing_is_said():
    system = ring(300, 0.8).replace(F=lambda h, x, p: 2.0 * h + p["a"] * h**3)
    program, arguments = traced(system).transition, traced(system).arguments(system.initial, None, system.coordinates)
    assert causes.unstable(program, arguments) is not None
    assert causes.unstable(program, arguments, system.initial + 1.0) is None
