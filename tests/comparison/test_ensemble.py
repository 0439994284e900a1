"""Replicas side by side are replicas one after the other."""

from __future__ import annotations

import numpy as np
import pytest

import fwdgrad as fg
from fwdgrad import systems
from fwdgrad.errors import DeclarationError, NonFiniteError

ENGINES = pytest.mark.parametrize("engine", ["numpy", "compiled"])


def network() -> fg.System:
    return systems.build("tanh-rnn", units=5, symbols=4, seed=0)


def stream(length: int) -> np.ndarray:
    return np.random.default_rng(0).integers(4, size=(2, length))


@ENGINES
def test_each_replica_is_a_learner_by_itself(engine):
    xs, ys = stream(300)
    system = network()
    ensemble = fg.Ensemble(system, fg.UORO(), fg.SGD(0.01), seeds=[3, 4, 5], engine=engine)
    histories = ensemble.run(xs, ys, jobs=2)
    for seed, replica, history in zip([3, 4, 5], ensemble.learners, histories, strict=True):
        alone = fg.Learner(system, fg.UORO(), fg.SGD(0.01), seed=seed, engine=engine)
        assert np.array_equal(alone.run(xs, ys).loss, history.loss)
        assert all(np.array_equal(alone.params[k], replica.params[k]) for k in alone.params)
    assert not np.array_equal(histories[0].loss, histories[1].loss)
    assert ensemble.params["W"].shape == (3, 5, 5)


@ENGINES
def test_the_number_of_jobs_changes_nothing(engine):
    xs, ys = stream(200)
    runs = []
    for jobs in (1, 2, 4):
        ensemble = fg.Ensemble(network(), fg.UORO(), fg.SGD(0.01), seeds=5, seed=1, engine=engine)
        ensemble.run(xs, ys, jobs=jobs)
        runs.append(ensemble.params["W"])
    assert np.array_equal(runs[0], runs[1])
    assert np.array_equal(runs[0], runs[2])
    assert len(np.unique(runs[0][:, 0, 0])) == 5


def test_parameter_sets():
    system = network()
    starts = [{"c": np.full(4, float(k))} for k in range(3)]
    ensemble = fg.Ensemble(system, fg.RTRL(), fg.SGD(0.01), seeds=3, params=starts)
    assert np.array_equal(ensemble.params["c"], [[k] * 4 for k in range(3)])
    assert np.array_equal(ensemble.params["W"][1], system.params["W"])


@ENGINES
def test_one_that_diverges_is_named_and_the_others_arrive(engine):
    system = fg.System(lambda h, x, p: p["a"] * h + x, None, np.zeros(1), {"a": 0.5}, np.zeros(1))
    ensemble = fg.Ensemble(
        system, fg.RTRL(), fg.SGD(1e-9), seeds=3, params=[{"a": 0.1}, {"a": 1e9}, {"a": 0.2}], engine=engine
    )
    with pytest.raises(NonFiniteError) as refusal:
        ensemble.run(np.ones((200, 1)), np.ones((200, 1)))
    assert "replica 1 of 3" in refusal.value.__notes__[0]
    assert [learner.steps == 200 for learner in ensemble.learners] == [True, False, True]


def test_what_cannot_be():
    with pytest.raises(DeclarationError, match="one seed or more"):
        fg.Ensemble(network(), seeds=0)
    for wrong in (2.5, True, "three"):
        with pytest.raises(DeclarationError, match="how many"):
            fg.Ensemble(network(), seeds=wrong)
    with pytest.raises(DeclarationError, match="2 parameter sets"):
        fg.Ensemble(network(), seeds=3, params=[{}, {}])
    with pytest.raises(DeclarationError, match="iterator"):
        fg.Ensemble(network(), seeds=2).run(iter([(0, 0)]))
