"""An estimator chosen by measurement: on tasks whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

import fwdgrad as fg
from fwdgrad import systems
from fwdgrad.errors import DeclarationError

CELLS = 40
ROD = """
next T = T + diff(join(flow, 0)) + heat + 0.3*(seen - T)
flow = k*diff(join(left, T))
T(0) = repeat(0, 40)
param k = repeat(0.2, 40) in (0, inf)
input left = 0
input heat = repeat(0, 40)
input seen = repeat(0, 40)
output T noise 0.1
"""


def rod(steps):
    """The heat rod of the examples, smaller: inputs, noisy temperatures, and the conductivities they are of."""
    rng = np.random.default_rng(0)
    truth = 0.2 + 0.1 * np.sin(3 * np.pi * (np.arange(CELLS) + 0.5) / CELLS)
    heat = 0.2 * np.repeat(rng.normal(size=(-(-steps // 20), CELLS)), 20, axis=0)[:steps]
    xs = {"left": np.repeat(rng.normal(size=-(-steps // 20)), 20)[:steps], "heat": heat}
    T = systems.heat_rod(cells=CELLS).simulate(xs, params={"k": truth}).outputs
    ys = T + 0.1 * rng.normal(size=T.shape)
    return xs | {"seen": np.vstack([np.zeros((1, CELLS)), ys[:-1]])}, ys, truth


def test_on_a_rod_what_is_local_is_taken_and_it_learns():
    xs, ys, truth = rod(5000)
    system = fg.from_text(ROD, name="rod")
    found = fg.choose(system, xs, ys, steps=150, replicas=4, budget=fg.Budget(ratio=15, floor=0), engine="numpy")
    assert found.label.startswith(("SnAp", "Debiased"))
    assert "SparseRTRL" in found.left_out
    assert found.errors[found.label] < found.errors["NoBackTrack"] / 3
    learner = fg.Learner(system, found.estimator, fg.Adam(lambda t: 0.02 / (1 + t / 300)), engine="numpy")
    learner.run(xs, ys)
    error = np.sqrt(np.mean((learner.params["k"] / truth - 1) ** 2))
    assert error < 0.01


def test_where_truncation_points_the_wrong_way_it_is_not_taken():
    balancing = systems.influence_balancing(23, 13)
    found = fg.choose(balancing, None, np.ones(400), replicas=4)
    assert found.label in ("RTRL", "SparseRTRL")
    assert found.errors["TBPTT(10)"] > 1
    assert "is exact" in found.reason
    tried = ["nobacktrack", "tbptt:10"]
    assert fg.choose(balancing, None, np.ones(400), tried, replicas=8, horizon=10_000).label == "NoBackTrack"


def test_where_memory_is_short_truncation_is_enough():
    rng = np.random.default_rng(0)
    system = systems.tanh_rnn(units=12, inputs=1, outputs=1)
    xs = rng.normal(size=(100, 1))
    ys = np.convolve(xs[:, 0], [0.6, 0.3])[:100, None]
    params = {"W": 0.2 * system.params["W"]}
    found = fg.choose(system, xs, ys, ["uoro", "debiased", "tbptt:10", "snap:1"], replicas=4, params=params)
    assert found.label in ("TBPTT(10)", "SnAp-1")
    assert found.errors[found.label] < 0.05


@pytest.fixture(scope="module")
def small():
    system = systems.tanh_rnn(units=6, inputs=1, outputs=1)
    xs = np.random.default_rng(1).normal(size=(120, 1))
    return fg.choose(system, xs, 0.5 * xs, ["uoro", "rtrl", "tbptt:1"], replicas=4, horizon=500)


def test_the_error_is_bias_and_what_noise_is_left(small):
    uoro, truncated = small.comparison["UORO"], small.comparison["TBPTT(1)"]
    expected = np.hypot(uoro.bias_interval[0], np.sqrt(uoro.variance * 120 / 500))
    assert small.errors == {"UORO": pytest.approx(expected), "RTRL": 0.0, "TBPTT(1)": truncated.bias}
    assert small.estimator == fg.RTRL()


def test_it_is_shown(small, tmp_path):
    shown = str(small)
    assert "→ RTRL" in shown
    assert small.reason in shown
    assert "RTRL" in small._repr_html_()
    assert small.front[-1] == "RTRL"
    pytest.importorskip("matplotlib")
    small.plot(tmp_path / "choice.png")
    assert (tmp_path / "choice.png").stat().st_size > 1000


def test_what_makes_no_sense_is_named():
    system = systems.tanh_rnn(units=2, inputs=1, outputs=1)
    with pytest.raises(DeclarationError, match="horizon"):
        fg.choose(system, np.zeros((9, 1)), np.zeros((9, 1)), horizon=0)
    with pytest.raises(DeclarationError, match=r"choose: expected a fg\.System"):
        fg.choose(3, None, np.zeros(9))
    with pytest.raises(DeclarationError, match=r"estimator=fg\.choose"):
        fg.Learner(system, "measured")
