"""Wrong structures whose residuals are white: what the residuals ask for is named, and deviations count it."""

import re
import warnings

import numpy as np
import pytest

import fwdgrad as fg
from fwdgrad import systems
from fwdgrad.errors import CalibrationWarning, OutlierWarning
from fwdgrad.learning.loops.lacking import Lacking, _asked, _changes, _perhaps, products

# ---------------------------------------------------------------- the test, on linear regressions


def regression(rng, beside, size=200):
    """Scores and information of y = x θ + Σ_k w_k γ_k + e at the least squares fit with γ = 0, and the data."""
    x = rng.normal(size=(size, 2))
    w = np.stack([x[:, 0] ** 2, x[:, 0] * x[:, 1], x[:, 0] + 0.5 * rng.normal(size=size), x[:, 1]], axis=1)
    y = x @ [1.0, -2.0] + beside * w[:, 2] + rng.normal(size=size)
    residual = y - x @ np.linalg.lstsq(x, y, rcond=None)[0]
    both = np.concatenate([x, w], axis=1)
    return both * residual[:, None], both.T @ both, x, w, y


def test_a_term_moves_parameters_by_what_taking_it_in_does():
    """The oracle is the regression with one more column; a column that is there already is not asked about."""
    scores, matrix, x, w, y = regression(np.random.default_rng(0), 1.0)
    covariance = np.linalg.inv(matrix[:2, :2])
    asked = _asked(scores, matrix, covariance)
    short = np.linalg.lstsq(x, y, rcond=None)[0]
    for k in range(3):
        long = np.linalg.lstsq(np.c_[x, w[:, k]], y, rcond=None)[0]
        np.testing.assert_allclose(asked.moved[:, k], (long[:2] - short) / np.sqrt(np.diag(covariance)), atol=1e-8)
        np.testing.assert_allclose(
            asked.change(np.array([k]))[[0, 1, 2 + k]], [*(long[:2] - short), long[2]], atol=1e-8
        )
    assert asked.sure[3] == 0.0
    assert asked.told(1.0)[0] == 2
    assert not len(asked.told(1e3))


def test_right_regressions_are_asked_for_nothing():
    """At most 1 % of them, though one of the terms is correlated with a parameter."""
    rng = np.random.default_rng(1)
    told = 0
    for _ in range(400):
        scores, matrix, *_ = regression(rng, 0.0)
        told += bool(len(_asked(scores, matrix, np.linalg.inv(matrix[:2, :2])).told(1.0)))
    assert told <= 8  # 4 are expected at most; nine or more in one of fifty runs


def changing(rng, by, size=300):
    """Scores and covariance of y = x θ + e at the least squares fit; θ₁ changes behind two fifths of the samples."""
    x = rng.normal(size=(size, 2)) * np.linspace(0.5, 2.0, size)[:, None]
    later = np.arange(size) >= 2 * size // 5
    y = x @ [1.0, -2.0] + by * later * x[:, 0] + rng.normal(size=size)
    parts = [np.linalg.lstsq(x[where], y[where], rcond=None)[0] for where in (slice(None), ~later, later)]
    return x * (y - x @ parts[0])[:, None], np.linalg.inv(x.T @ x), parts[2] - parts[1]


def test_parameters_that_change_are_found_and_how_far():
    """The oracle is two regressions, one for each part of the samples."""
    scores, covariance, difference = changing(np.random.default_rng(2), 1.0)
    most = max(_changes(scores, covariance, 1.0), key=lambda change: change.statistic)
    assert most.told()
    assert abs(most.place - 120) < 15
    assert 0.5 < most.moved[0] * covariance[0, 0] ** 0.5 / difference[0] < 1.2
    assert not any(change.told() for change in _changes(scores, covariance, 1e3))


def test_parameters_that_stay_are_not_said_to_change():
    """In one of 300 regressions at most, in the mean, though later samples tell more; larger noise is none either."""
    rng = np.random.default_rng(3)
    told = 0
    for k in range(300):
        scores, covariance, _ = changing(rng, 0.0)
        told += any(change.told() for change in _changes(scores * (1 + k % 2), covariance, 1.0))
    assert told <= 4


def test_what_is_likely_but_not_sure_makes_deviations_larger():
    """By what a mean over the models with it and without makes of it; of a model that is right nothing."""
    rng, none, some = np.random.default_rng(4), [], []
    for beside, made in ((0.0, none), (0.4, some)):
        for _ in range(200):
            scores, matrix, x, _, y = regression(rng, beside)
            covariance = np.linalg.inv(matrix[:2, :2])
            asked = _asked(scores, matrix, covariance)
            far = np.hypot(1.0, _perhaps(asked, [], 1.0, len(y)))
            error = np.linalg.lstsq(x, y, rcond=None)[0] - [1.0, -2.0]
            z = error / np.sqrt(np.diag(covariance))
            made.append([far[0], abs(z[0]), abs(z[0]) / far[0], len(asked.told(1.0))])
    none, some = np.array(none), np.array(some)
    assert np.mean(none[:, 0] > 1.0) < 0.1
    assert np.mean(none[:, 0]) < 1.2
    silent = some[some[:, 3] == 0]
    assert np.mean(silent[:, 1] > 3.0) > 0.5  # negative control: without it
    assert np.mean(silent[:, 2] > 3.0) < 0.6 * np.mean(silent[:, 1] > 3.0)


def test_products_are_all_that_there_are():
    made = {tuple(sorted(row)) for row in products(3, 3).tolist()}
    assert len(made) == len(products(3, 3)) == 20


# ---------------------------------------------------------------- models

STIFF = {"k": fg.positive(1.5), "c": fg.positive(0.2)}


def oscillator(force=None, sensor=None):
    def F(h, x, p):
        return np.stack([h[1], x[0] - p["k"] * h[0] - p["c"] * h[1] + (force(h[1]) if force else 0.0)])

    return fg.System(F, sensor or (lambda h, x, p: h[:1]), np.zeros(2), STIFF, np.zeros(1), dt=0.1, method="rk4")


def lag(sensor=None):
    params = {"k": fg.positive(0.5), "g": fg.positive(1.0)}
    return fg.System(
        lambda h, x, p: p["g"] * x - p["k"] * h, sensor, np.zeros(1), params, np.zeros(1), dt=0.1, method="rk4"
    )


KINDS = {
    "a friction": (lambda: oscillator(lambda v: -0.15 * np.tanh(v / 0.02)), oscillator, {"k": 2.0, "c": 0.3}, 0.1),
    "a sensor": (lambda: lag(lambda h, x, p: 1.5 * np.tanh(h / 1.5)), lag, {"k": 0.8, "g": 1.2}, 0.2),
}


def data(kind, right, seed=0, steps=300):
    made, model, truth, noise = KINDS[kind]
    rng = np.random.default_rng(seed)
    system = model() if right else made()
    xs = np.repeat(rng.normal(size=steps // 10), 10)[:, None]
    ys = system.simulate(xs, params=truth).outputs
    return model(), truth, xs, ys + noise * rng.normal(size=ys.shape)


def learned(kind, right, by):
    """The largest error in deviations that are shown, and what was warned of."""
    model, truth, xs, ys = data(kind, right)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if by == "fit":
            made = fg.fit(model, xs, ys, method="simulation")
            params, std = made.params, made.std
        else:
            made = fg.Learner(model)
            made.run(xs, ys)
            params, std = made.params, made.parameter_std()
    told = [str(w.message) for w in caught if issubclass(w.category, CalibrationWarning)]
    return made, max(abs(float(params[k]) - v) / float(std[k]) for k, v in truth.items()), told


@pytest.mark.quick("a friction-learner", "a sensor-fit")
@pytest.mark.parametrize("by", ["fit", "learner"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_structure_is_told_of_and_deviations_are_larger(kind, by):
    made, error, told = learned(kind, False, by)
    assert any("the model lacks something" in text for text in told)
    assert error < 4
    if by == "fit":
        assert made.lacks[0] in str(made)
        assert not made.white


@pytest.mark.quick("a friction-learner", "a sensor-fit")
@pytest.mark.parametrize("by", ["fit", "learner"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_right_one_is_not(kind, by):
    _, error, told = learned(kind, True, by)
    assert not told
    assert error < 4


@pytest.mark.quick("learner")
@pytest.mark.parametrize("by", ["fit", "learner"])
def test_without_the_test_a_friction_is_missed(by, monkeypatch):
    """Negative control: the deviation that is shown is less than a tenth of the error."""
    monkeypatch.setattr("fwdgrad.fitting.simulation.lacking", lambda *_: Lacking([], 1.0, np.zeros(2), ""))
    monkeypatch.setattr("fwdgrad.learning.loops.refitting.lacking", lambda *_: Lacking([], 1.0, np.zeros(2), ""))
    _, error, _ = learned("a friction", False, by)
    assert error > 10


def late(monkeypatch, more):
    """Learned from more samples than at the last fit, and what was told of them."""
    model, truth, xs, ys = data("a sensor", False, seed=2)
    monkeypatch.setattr("fwdgrad.learning.loops.refitting.MORE", more)
    learner = fg.Learner(model, engine="numpy")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        learner.run(xs, ys)
        std = learner.parameter_std()
    error = max(abs(float(learner.params[k]) - v) / float(std[k]) for k, v in truth.items())
    return learner, error, any("the model lacks something" in str(w.message) for w in caught)


def test_what_the_samples_since_the_last_fit_say_is_asked_too(monkeypatch):
    """At the end of a run, which changes nothing of what goes on from there."""
    learner, error, told = late(monkeypatch, 1.1)
    assert told
    assert error < 3
    other, before, told = late(monkeypatch, 1e9)  # negative control
    assert not told
    assert before > 1.5 * error
    for one in (learner, other):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            one.run(*data("a sensor", False, seed=3, steps=30)[2:])
    assert all(np.array_equal(a, b) for a, b in zip(learner._loop.carry, other._loop.carry, strict=True))


@pytest.mark.parametrize("far", [0.0, 10.0])
def test_residuals_that_are_far_off_are_told_of_by_a_learner(far):
    model, _, xs, ys = data("a sensor", True)
    rng = np.random.default_rng(5)
    ys = ys + np.where(rng.random(ys.shape) < 0.05, far * 0.2 * rng.choice([-1.0, 1.0], ys.shape), 0.0)
    learner = fg.Learner(model, engine="numpy")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        learner.run(xs, ys)
    told = [str(w.message) for w in caught if w.category is OutlierWarning]
    assert len(told) == (far > 0)
    assert all("StudentT" in text for text in told)
    assert any("StudentT" in text for text in learner.report().remarks) == (far > 0)


def test_what_is_lacking_goes_through_a_checkpoint(tmp_path):
    made, _, _ = learned("a friction", False, "learner")
    made.save(tmp_path / "run.npz")
    again = fg.Learner.load(tmp_path / "run.npz", made.system)
    assert str(again.confidence()) == str(made.confidence())
    assert again.confidence().factor["c"] == made.confidence().factor["c"] > 5


# ---------------------------------------------------------------- targets beside their inputs


def store():
    return fg.System(
        lambda h, x, p: p["a"] * h + p["b"] * x,
        None,
        np.zeros(1),
        {"a": fg.bounded(0.5, 0, 1), "b": fg.positive(1.0)},
        np.zeros(1),
    )


def rows_off(rows, seed=0, size=140):
    """A store with white inputs, and its outputs so many rows late."""
    rng, truth = np.random.default_rng(seed), {"a": 0.4, "b": 1.5}
    xs = rng.normal(size=(size + 8, 1))
    ys = store().simulate(xs, params=truth).outputs
    ys = ys + 0.2 * ys.std() * rng.normal(size=ys.shape)
    return xs[4:-4], ys[4 - rows : len(ys) - 4 - rows], truth


@pytest.mark.quick("fit-0", "fit-1", "learner-*")
@pytest.mark.parametrize(
    ("by", "rows"), [("fit", 0), ("fit", 1), ("fit", -1), ("fit", 3), ("learner", 0), ("learner", 1), ("learner", -1)]
)
def test_targets_that_stand_beside_their_inputs_are_told_of(by, rows):
    """How many rows, and which way; deviations count it; and nothing is said of those in their places."""
    xs, ys, truth = rows_off(rows)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        made = fg.fit(store(), xs, ys) if by == "fit" else fg.Learner(store())
        if by == "learner":
            made.run(xs, ys)
        params, std = made.params, made.std if by == "fit" else made.parameter_std()
    told = " ".join(str(w.message) for w in caught)
    if not rows:
        assert not told
        return
    count = f"{abs(rows)} row{'s' if abs(rows) > 1 else ''} {'later' if rows > 0 else 'earlier'}"
    assert f"targets answer inputs {count} than in the model" in told
    assert ("ys[1:]" in told) == (rows == 1)
    assert all(abs(float(params[k]) - v) < 3 * float(std[k]) for k, v in truth.items())


def test_without_it_parameters_are_off_without_a_word(monkeypatch):
    """Negative control: by more than four of the deviations that are claimed."""
    monkeypatch.setattr("fwdgrad.fitting.simulation.beside", lambda *_: None)
    xs, ys, truth = rows_off(-1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = fg.fit(store(), xs, ys)
    assert max(abs(float(made.params[k]) - v) / float(made.std[k]) for k, v in truth.items()) > 4


def test_a_table_without_inputs_that_begins_a_row_later_is_told_of():
    system = systems.lotka_volterra()
    ys = system.simulate(steps=301).outputs
    ys = ys + 0.02 * ys.std(0) * np.random.default_rng(0).normal(size=ys.shape)
    for rows in (0, 1):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            fg.fit(system, ys=ys[rows:][:300], method="simulation")
        assert any("targets stand 1 row earlier than the model has them" in str(w.message) for w in caught) == (
            rows == 1
        )


def swung(start):
    """A pendulum for small angles, begun somewhere."""
    return fg.System(
        lambda h, x, p: np.stack([h[1], -p["k"] * h[0] - p["c"] * h[1]]), lambda h, x, p: h[:1],
        np.array([start, 0.0]), {"k": fg.positive(4.0), "c": fg.positive(0.3)}, dt=0.1, method="rk4", first="initial",
    )  # fmt: skip


def swinging():
    """Samples of one that begins at 1."""
    ys = swung(1.0).simulate(steps=100).outputs
    return ys + 0.03 * ys.std() * np.random.default_rng(3).normal(size=ys.shape)


@pytest.mark.quick("learner")
@pytest.mark.parametrize("by", ["learner", "fit"])
def test_a_start_elsewhere_is_named(by):
    """By the state variable and what it should be."""
    model = swung(-1.0).starting_at({"k": 5.2, "c": 0.4})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if by == "fit":
            told = fg.fit(model, ys=swinging(), engine="numpy").remarks
        else:
            learner = fg.Learner(model, engine="numpy")
            learner.run(ys=swinging())
            told = learner.report().remarks
    named = [said for said in told if "begin in another state" in said]
    assert len(named) == 1, told
    found = re.search(r"h\[0\] = ([0-9.]+) ± ([0-9.]+) in place of -1", named[0])
    assert found is not None, named
    assert abs(float(found[1]) - 1.0) < 3 * float(found[2]) < 0.3


@pytest.mark.slow
def test_a_friction_that_is_missing_is_no_start_elsewhere():
    """Another start explains a part of it, and leaves residuals with a memory."""
    model = swung(1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        still = model.replace(params=model.declared | {"c": fg.fixed(0.0)})
        told = fg.fit(still, ys=swinging(), engine="numpy", method="simulation").remarks
    assert told
    assert not any("another state" in said for said in told)
