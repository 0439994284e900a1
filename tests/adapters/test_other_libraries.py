"""Adapters to river and scikit-learn, held to these libraries' own checks, where they are installed."""

import copy
import pickle

import numpy as np
import pytest

import fwdgrad as fg

MODEL = fg.from_text(
    "d x/dt = u - k*x\nx(0) = 0\nparam k = 0.5 in (0, inf)\ninput u = 0\noutput level = x\ndt = 0.5\nmethod = rk4"
)


def record(count=200):
    rng = np.random.default_rng(0)
    us = rng.normal(size=count)
    return us, MODEL.simulate({"u": us}, params={"k": 0.8}).outputs[:, 0] + 0.01 * rng.normal(size=count)


@pytest.mark.filterwarnings("ignore")  # some of their streams have no features
def test_river_checks():
    checks = pytest.importorskip("river.checks")
    from fwdgrad.adapters.river import Regressor

    model = Regressor(units=4)
    for check in checks.yield_checks(model):
        check(model.clone())


def test_river_learns_a_model_by_the_names_of_its_inputs():
    pytest.importorskip("river")
    from fwdgrad.adapters.river import Regressor

    model = Regressor(MODEL)
    us, ys = record()
    for u, y in zip(us, ys, strict=True):
        model.learn_one({"colour": "red", "u": u, "more": 7.0}, y)
    assert abs(float(model.learner.params["k"]) - 0.8) < 0.01
    assert model.predict_one({"u": 0.3}) == pytest.approx(float(model.learner.predict({"u": np.array(0.3)})[0]))


def test_river_goes_on_from_a_pickle():
    pytest.importorskip("river")
    from fwdgrad.adapters.river import Regressor

    one = Regressor(units=3, estimator="uoro")
    rng = np.random.default_rng(1)
    samples = [({"a": a, "b": b}, a - b) for a, b in rng.normal(size=(20, 2))]
    for x, y in samples[:10]:
        one.learn_one(x, y)
    other = pickle.loads(pickle.dumps(one))
    third = copy.deepcopy(one)
    for x, y in samples[10:]:
        for model in (one, other, third):
            model.learn_one(x, y)
    assert one.predict_one(samples[0][0]) == other.predict_one(samples[0][0]) == third.predict_one(samples[0][0])


def test_sklearn_checks():
    checks = pytest.importorskip("sklearn.utils.estimator_checks")
    from fwdgrad.adapters.sklearn import NOT_APPLICABLE, SystemRegressor

    found = checks.check_estimator(
        SystemRegressor(units=4), expected_failed_checks=NOT_APPLICABLE, on_fail=None, on_skip=None
    )
    failed = [(row["check_name"], row["exception"]) for row in found if row["status"] == "failed"]
    assert not failed
    assert {row["check_name"] for row in found if row["status"] == "xfail"} == set(NOT_APPLICABLE)
    assert sum(row["status"] == "passed" for row in found) > 40


def test_sklearn_fits_and_goes_on():
    pytest.importorskip("sklearn")
    from fwdgrad.adapters.sklearn import SystemRegressor

    us, ys = record()
    whole = SystemRegressor(MODEL).fit(us[:, None], ys)
    assert whole.score(us[:, None], ys) > 0.99
    parts = SystemRegressor(MODEL)
    for part in (slice(0, 50), slice(50, 200)):
        parts.partial_fit(us[part, None], ys[part])
    np.testing.assert_allclose(parts.learner_.params["k"], whole.learner_.params["k"], rtol=1e-10)
    several = SystemRegressor(units=3).fit(us[:, None], np.stack([ys, -ys], axis=1))
    assert several.predict(us[:, None]).shape == (200, 2)


def test_what_is_no_system_is_refused():
    pytest.importorskip("sklearn")
    from fwdgrad.adapters.sklearn import SystemRegressor

    with pytest.raises(fg.errors.DeclarationError, match=r"expected a fwdgrad\.System"):
        SystemRegressor("network").fit(np.zeros((9, 1)), np.zeros(9))
