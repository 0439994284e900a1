"""What the information filter is for: identification with intervals, and Kalman against Euclidean NoBackTrack."""

from __future__ import annotations

import importlib.util
from types import SimpleNamespace

import numpy as np
import pytest
from places import EXAMPLES

import fwdgrad as fg
from fwdgrad.learning.step import Steps


def loaded(name):
    """An example, as a module."""
    pytest.importorskip("matplotlib").use("Agg")
    spec = importlib.util.spec_from_file_location(f"{name}_example", EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def oscillator():
    return loaded("oscillator")


def runs(module, count):
    made = [module.errors(seed) for seed in range(count)]
    return tuple(np.array(part) for part in zip(*made, strict=True))


@pytest.mark.slow
def test_an_oscillator_is_identified(oscillator):
    """Within 2 % in 2000 samples, with intervals that hold the truth; the whole claim is the slow test below."""
    relative, scores = runs(oscillator, 12)
    assert np.max(np.abs(relative)) < 0.02
    assert np.mean(np.abs(scores) < 1.96) > 0.85


@pytest.mark.filterwarnings("ignore::fwdgrad.errors.CalibrationWarning")
@pytest.mark.slow
def test_an_oscillator_is_not_identified_with_a_state_that_stays_behind(oscillator, monkeypatch):
    """Negative control: the same filter on a state that the parameters of the past have made, without decay."""
    monkeypatch.setattr(oscillator, "FILTER", fg.InformationFilter("full", "exact", prior=100.0))
    monkeypatch.setattr(Steps, "_followed", lambda self, h, *_: h)
    relative, _ = runs(oscillator, 6)
    assert np.max(np.abs(relative)) > 0.02


@pytest.mark.slow
def test_intervals_cover_the_truth_in_two_hundred_runs(oscillator):
    relative, scores = runs(oscillator, 200)
    assert np.max(np.abs(relative)) < 0.02
    held = np.mean(np.abs(scores) < 1.96, axis=0)
    assert np.all((held >= 0.90) & (held <= 0.99)), held
    narrow = np.mean(np.abs(scores) < 1.0, axis=0)  # negative control: intervals of half the width
    assert np.all(narrow < 0.90)


def characters(units, count, factors, seeds, engine):
    """For each optimizer and factor the means so far, shape (seeds, 100), by the example."""
    module = loaded("characters")
    xs, ys, alphabet = fg.streams.text_stream(fg.streams.python_text(count + 1))
    options = SimpleNamespace(units=units, inputs=5, engine=engine)
    return {
        (name, factor): module.so_far(
            np.array([module.curve(optimizer, xs, ys, len(alphabet), options, seed) for seed in seeds])
        )
        for factor in factors
        for name, optimizer in module.optimizers(units, factor).items()
        if name != "readout only"
    }


@pytest.mark.slow
def test_kalman_nobacktrack_is_below_euclidean_on_characters():
    """Ollivier et al. 2015, figure 1, the beginning of it, with the paper's settings."""
    found = characters(100, 4000, (1.0,), (0,), "numpy")
    assert found["Kalman", 1.0][0, -1] < found["Euclidean", 1.0][0, -1] - 0.08


@pytest.mark.slow
def test_kalman_nobacktrack_is_clearly_below_euclidean_with_a_hundred_units():
    """At every number of characters from 1000 to 10⁵ with the paper's settings; and with the best factor for each."""
    pytest.importorskip("llvmlite")
    found = characters(100, 100_000, (1.0, 0.3, 0.1), (0, 1), "compiled")
    assert np.all(found["Kalman", 1.0] < found["Euclidean", 1.0])
    assert np.all(found["Kalman", 1.0][:, -1] < found["Euclidean", 1.0][:, -1] - 0.3)
    best = {name: min(m[:, -1].mean() for (n, _), m in found.items() if n == name) for name in ("Kalman", "Euclidean")}
    assert best["Kalman"] < best["Euclidean"] - 0.2
