"""Records that two sets of parameters explain: the better one is taken, and what explains as well is told."""

import warnings
from types import SimpleNamespace

import numpy as np
import pytest

import fwdgrad as fg
from fwdgrad.errors import IdentifiabilityWarning
from fwdgrad.fitting.filtering import louder
from fwdgrad.learning.loops import Normal, Pass
from fwdgrad.learning.loops.minima import _relabelled, preferred


def tanks():
    """Two tanks one above the other: nearly as good the other way round."""

    def F(h, x, p):
        out = np.sqrt(np.maximum(h, 1e-3))
        upper = p["k1"] * out[0]
        return np.stack([h[0] + p["b"] * x - upper, h[1] + p["c"] * upper - p["k2"] * out[1]])

    params = {k: fg.positive(v) for k, v in {"k1": 0.12, "k2": 0.37, "b": 0.16, "c": 3.7}.items()}
    rng = np.random.default_rng(1)
    u = np.repeat(rng.uniform(0, 4, size=12), 25)[:128]
    system = fg.System(F, lambda h, x, p: h[1:], np.array([4.0, 4.0]), params, 1.0)
    truth = {"k1": 0.24, "k2": 0.16, "b": 0.25, "c": 1.0}
    return system, u, system.simulate(u, params=truth).outputs + 0.1 * rng.normal(size=(128, 1)), truth


def test_stages_that_are_found_the_wrong_way_round_are_put_right():
    system, u, ys, truth = tanks()
    fit = fg.fit(system, u, ys, method="simulation", engine="numpy")
    assert all(abs(fit.params[k] - v) < 4 * fit.std[k] for k, v in truth.items())


def test_without_another_look_they_are_not(monkeypatch):
    """Negative control: the same start leads elsewhere, and nothing shows it."""
    monkeypatch.setattr("fwdgrad.fitting.search.alternatives", lambda *_: [])
    system, u, ys, truth = tanks()
    fit = fg.fit(system, u, ys, method="simulation", engine="numpy")
    assert all(abs(fit.params[k] - v) > 10 * fit.std[k] for k, v in truth.items())
    assert fit.white


def chain(gain):
    """Two compartments in a row of nearly the same rates: the other way round with another gain it is the same."""

    def F(h, x, p):
        return np.stack([h[0] + x[0] - p["k1"] * h[0], h[1] + p["k1"] * h[0] - p["k2"] * h[1]])

    rng = np.random.default_rng(0)
    u = np.repeat(rng.uniform(0, 1, size=(10, 1)), 14, 0)
    params = {"k1": fg.positive(0.3), "k2": fg.positive(0.24), "g": gain}
    system = fg.System(F, lambda h, x, p: p["g"] * h[1:], np.zeros(2), params, np.zeros(1))
    return system, u, system.simulate(u).outputs + 0.01 * rng.normal(size=(140, 1))


@pytest.mark.parametrize(("gain", "said"), [(fg.positive(1.0), True), (fg.fixed(1.0), False)])
def test_a_learner_tells_of_another_solution(gain, said, tmp_path):
    system, u, ys = chain(gain)
    learner = fg.Learner(system, engine="numpy")
    learner.params = {"k1": 0.25, "k2": 0.3}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        learner.run(u, ys)
    (told,) = [str(w.message) for w in caught if w.category is IdentifiabilityWarning] or [""]
    assert ("another solution explains the data as well" in told) == said
    learner.save(tmp_path / "run.npz")
    for known in (learner, fg.Learner.load(tmp_path / "run.npz", system)):
        assert ("another solution explains the data as well" in str(known.report())) == said


def epidemic():
    """Infected only, seen for a hundred days: incubation and recovery exchanged leave another minimum."""
    model = fg.from_text("""
        d S/dt = -new
        d E/dt = new - sigma*E
        d I/dt = sigma*E - gamma*I
        new = (b1 if t < 20 else b2)*S*I/1000
        S(0) = 990
        E(0) = 5
        I(0) = 5
        param b1 = 1 in (0, inf)
        param b2 = 0.12 in (0, inf)
        param sigma = 0.15 in (0, inf)
        param gamma = 0.09 in (0, inf)
        output I
        dt = 1
        method = rk4
        """)
    truth = {"b1": 0.6, "b2": 0.2, "sigma": 0.25, "gamma": 0.15}
    ys = model.simulate(steps=100, params=truth).outputs
    return model, ys + 3 * np.random.default_rng(104).normal(size=ys.shape), truth


@pytest.mark.slow
@pytest.mark.parametrize("makes_up", [True, False])
def test_what_is_exchanged_is_made_up_for_by_other_parameters_first(makes_up, monkeypatch):
    """Negative control: from the bare exchange the search leads back to where it was, more than ten deviations off."""
    if not makes_up:
        monkeypatch.setattr("fwdgrad.learning.loops.minima._made_up", lambda *_: None)
    model, ys, truth = epidemic()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = fg.fit(model, ys=ys, method="simulation")
    far = max(abs(fit.params[k] - v) / fit.std[k] for k, v in truth.items())
    assert far < 4 if makes_up else far > 10


@pytest.mark.parametrize(("searched", "taken"), [(5.0, "given"), (-9.0, "searched")])
def test_a_search_for_noises_returns_nothing_less_likely_than_what_it_was_given(searched, taken):
    """As in chaos: with noises that are small from the first sample on a filter may lose a state that it had."""
    carry = SimpleNamespace(optimizer=SimpleNamespace(noise=np.ones(1)))
    given = Pass(-1.0, "given", (0.1, 0.1))
    fitting = SimpleNamespace(
        filter=SimpleNamespace(size=1, outputs=1, learns_noise=True),
        learns_level=(True, True),
        execution=SimpleNamespace(unpack=lambda _: carry),
        settled=lambda *_: None,
        once=lambda _, __, level, ___: Pass(searched, "searched", level),
    )
    record = SimpleNamespace(spread=np.ones)
    assert louder(record, fitting, given).carry == taken


def test_values_of_two_labels_are_exchanged_together():
    """Of parameters named alike, and entries of leaves; not of one alone, which is a pair, or of what is equal."""
    params = {"R1": fg.positive(1.0), "C1": fg.positive(2.0), "R2": fg.positive(3.0), "C2": fg.positive(4.0), "R0": 5.0}
    system = fg.System(lambda h, x, p: p["R1"] * p["R2"] * h + p["C1"] * p["C2"] + p["R0"], None, np.zeros(1), params)
    point = np.concatenate([np.ravel(system.coordinates[k]) for k in system.trainable])
    (made,) = _relabelled(system, point)
    found = {k: float(v) for k, v in system.params_at(made).items()}
    assert found == pytest.approx({"R1": 3.0, "C1": 4.0, "R2": 1.0, "C2": 2.0, "R0": 5.0})
    alike = system.starting_at({"R2": 1.0, "C2": 2.0})
    assert not _relabelled(alike, np.concatenate([np.ravel(alike.coordinates[k]) for k in alike.trainable]))
    rows = {"tau": fg.positive([1.0, 2.0]), "gain": fg.positive([3.0, 4.0])}
    leaves = fg.System(lambda h, x, p: p["tau"] * h + p["gain"], None, np.zeros(2), rows)
    (made,) = _relabelled(leaves, np.concatenate([leaves.coordinates[k] for k in leaves.trainable]))
    np.testing.assert_allclose(leaves.params_at(made)["gain"], [4.0, 3.0])


@pytest.mark.parametrize(("by_data", "told"), [(0.0, 1), (3.0, 0)])
def test_a_prior_chooses_between_solutions_and_hides_none(by_data, told):
    """One that is less likely by the prior about the start only explains the data as well; by the data, it does not."""
    prior = np.ones(2)

    def found(point, cost):
        point = np.array(point)
        objective = cost + 0.5 * float(point @ point)
        return Normal(objective, point, 1e4 * np.eye(2), *(np.zeros(2),) * 4, None)

    best, other = found([0.0, 1.0], 50.0), found([2.5, 0.0], 50.0 + by_data)
    assert other.objective > best.objective + 2
    taken, others = preferred(other, [best], np.zeros(2), prior)
    assert taken is best
    assert len(others) == told
