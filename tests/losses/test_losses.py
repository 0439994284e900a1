"""Losses of noise that is not Gaussian: densities of scipy, gradients, Fisher matrices, and what is found with them."""

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import minimize

import fwdgrad as fg
from fwdgrad.errors import DeclarationError, NonFiniteError, OutlierWarning
from fwdgrad.losses import Bernoulli, NegativeBinomial, Poisson, SquaredError, StudentT

MEANS = np.array([0.3, 2.0, 11.0])
COUNTS = np.array([0.0, 3.0, 7.0])
CASES = [
    (StudentT(0.7, 5.0), MEANS, COUNTS, lambda m, y: stats.t.logpdf((y - m) / 0.7, 5.0)),
    (StudentT((0.7, 1.0, 2.0), 3.0), MEANS, COUNTS, lambda m, y: stats.t.logpdf((y - m) / [0.7, 1.0, 2.0], 3.0)),
    (Poisson(), MEANS, COUNTS, lambda m, y: stats.poisson.logpmf(y, m)),
    (NegativeBinomial(4.0), MEANS, COUNTS, lambda m, y: stats.nbinom.logpmf(y, 4.0, 4.0 / (4.0 + m))),
    (Bernoulli(), MEANS - 1.0, np.array([0.0, 1.0, 1.0]), lambda m, y: stats.bernoulli.logpmf(y, 1 / (1 + np.exp(-m)))),
]

NAMES = ["t", "t with scales", "poisson", "negative binomial", "bernoulli"]


@pytest.mark.parametrize(("loss", "prediction", "y", "density"), CASES, ids=NAMES)
def test_differences_of_values_are_those_of_logarithms_of_the_density(loss, prediction, y, density):
    other = prediction * 1.3 + 0.1
    ours = float(loss.value(prediction, y) - loss.value(other, y))
    assert ours == pytest.approx(-np.sum(density(prediction, y) - density(other, y)), rel=1e-9)


@pytest.mark.parametrize(("loss", "prediction", "y", "density"), CASES, ids=NAMES)
def test_gradients_are_those_of_the_value(loss, prediction, y, density):
    numeric = [
        (loss.value(prediction + step, y) - loss.value(prediction - step, y)) / 2e-6 for step in 1e-6 * np.eye(3)
    ]
    np.testing.assert_allclose(loss.gradient(prediction, y), numeric, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    ("loss", "m", "values", "weights"),
    [
        (Poisson(), 2.5, np.arange(60.0), lambda y: stats.poisson.pmf(y, 2.5)),
        (NegativeBinomial(3.0), 2.5, np.arange(400.0), lambda y: stats.nbinom.pmf(y, 3.0, 3.0 / 5.5)),
        (Bernoulli(), 0.4, np.arange(2.0), lambda y: stats.bernoulli.pmf(y, 1 / (1 + np.exp(-0.4)))),
        (
            StudentT(0.7, 5.0), 2.5, 2.5 + np.linspace(-200, 200, 400_001),
            lambda y: stats.t.pdf((y - 2.5) / 0.7, 5.0) / 0.7 * 1e-3,
        ),
    ],
    ids=["poisson", "negative binomial", "bernoulli", "t"],
)  # fmt: skip
def test_fisher_is_the_mean_square_of_the_gradient(loss, m, values, weights):
    gradients = np.array(
        [loss.gradient(np.array([m]), np.array([y]))[0] for y in values[:: max(1, len(values) // 4000)]]
    )
    chances = weights(values[:: max(1, len(values) // 4000)])
    mean = np.sum(gradients**2 * chances) / np.sum(chances)
    assert loss.fisher(np.array([m]))[0, 0] == pytest.approx(mean, rel=1e-3)


@pytest.mark.parametrize(("loss", "prediction", "y", "density"), CASES, ids=NAMES)
def test_components_that_are_nan_are_left_out(loss, prediction, y, density):
    gap = np.where(np.arange(3) == 1, np.nan, y)
    kept = [0, 2]
    if isinstance(getattr(loss, "scale", None), tuple):
        return
    assert float(loss.value(prediction, gap)) == pytest.approx(float(loss.value(prediction[kept], y[kept])))
    assert loss.gradient(prediction, gap)[1] == 0.0


def test_student_goes_over_into_gauss():
    ours, gauss = StudentT(0.7, 1e7), SquaredError(0.7)
    assert float(ours.value(MEANS, COUNTS)) == pytest.approx(float(gauss.value(MEANS, COUNTS)), rel=1e-4)


def test_bad_fields():
    for make in (lambda: StudentT(1.0, 2.0), lambda: StudentT(-1.0), lambda: NegativeBinomial(0.0)):
        with pytest.raises(DeclarationError):
            make()


def test_a_mean_that_is_not_positive_is_refused():
    system = fg.System(lambda h, x, p: h - p["a"], None, np.ones(1), {"a": 0.4}, loss=Poisson())
    learner = fg.Learner(system, fg.RTRL(), fg.SGD(1e-9))
    with pytest.raises(NonFiniteError, match="step 2"):
        learner.run(ys=np.ones((5, 1)))


# ---- what is found with them


def growth(loss):
    """An epidemic's first weeks: h' = (1 + r) h, and a part of it is counted."""
    return fg.System(
        lambda h, x, p: (1.0 + p["r"]) * h, lambda h, x, p: p["c"] * h, np.ones(1),
        {"r": 0.05, "c": fg.positive(2.0)}, loss=loss,
    )  # fmt: skip


@pytest.mark.parametrize("loss", [Poisson(), NegativeBinomial(5.0)], ids=repr)
def test_counts_are_fitted_by_their_likelihood(loss):
    rng = np.random.default_rng(1)
    mean = 3.0 * 1.1 ** np.arange(1, 31)
    ys = rng.poisson(mean) if isinstance(loss, Poisson) else rng.negative_binomial(5.0, 5.0 / (5.0 + mean))
    made = fg.fit(growth(loss), ys=ys[:, None].astype(float))
    loss = made.system.loss  # with the size that was found
    t = np.arange(1, 31)

    def objective(u):
        return float(loss.value(np.exp(u[1]) * (1 + u[0]) ** t, ys.astype(float)))

    best = minimize(objective, [0.1, 1.0], method="BFGS", options={"gtol": 1e-8})
    np.testing.assert_allclose([made.params["r"], np.log(made.params["c"])], best.x, atol=5e-3)
    fitted = np.exp(best.x[1]) * (1 + best.x[0]) ** t
    rows = np.stack([t * fitted / (1 + best.x[0]), fitted], axis=1)  # in r, and in log c
    information = sum(
        np.outer(row, row) * loss.fisher(np.array([m]))[0, 0] for row, m in zip(rows, fitted, strict=True)
    )
    np.testing.assert_allclose(made.std["r"], np.sqrt(np.linalg.inv(information)[0, 0]), rtol=0.02)
    assert made.noise is None
    assert made.residuals.shape == (30, 1)


def test_counts_that_scatter_more_are_told_of():
    rng = np.random.default_rng(2)
    mean = 20.0 * 1.05 ** np.arange(1, 61)
    ys = rng.negative_binomial(3.0, 3.0 / (3.0 + mean))[:, None].astype(float)
    with pytest.warns(fg.errors.CalibrationWarning, match="squared residuals"):
        wrong = fg.fit(growth(Poisson()), ys=ys)
    right = fg.fit(growth(NegativeBinomial(3.0)), ys=ys)
    assert not any("squared residuals" in remark for remark in right.remarks)
    assert 0.5 < wrong.std["r"] / right.std["r"] < 2.0  # made larger by what they scatter


def test_yes_and_no():
    rng = np.random.default_rng(3)
    u = rng.normal(size=(300, 1))
    system = fg.System(
        lambda h, x, p: x,
        lambda h, x, p: p["a"] * h + p["b"],
        np.zeros(1),
        {"a": 0.0, "b": 0.0},
        np.zeros(1),
        Bernoulli(),
    )
    ys = (rng.uniform(size=(300, 1)) < 1 / (1 + np.exp(-(1.5 * u - 0.5)))).astype(float)
    made = fg.fit(system, u, ys)
    best = minimize(lambda p: float(Bernoulli().value(p[0] * u[:, 0] + p[1], ys[:, 0])), [0, 0], method="BFGS")
    np.testing.assert_allclose([made.params["a"], made.params["b"]], best.x, atol=0.01)
    np.testing.assert_allclose([made.std["a"], made.std["b"]], np.sqrt(np.diag(best.hess_inv)), rtol=0.1)


@pytest.fixture(scope="module")
def spoiled():
    """h' = a h + u, with noise of 0.05 and every twentieth number somewhere else."""
    rng = np.random.default_rng(4)
    u = rng.normal(size=(400, 1))
    clean = fg.System(lambda h, x, p: p["a"] * h + x, None, np.zeros(1), {"a": 0.8}, np.zeros(1)).simulate(u).outputs
    ys = clean + 0.05 * rng.normal(size=clean.shape)
    ys[::20] = 50.0 * rng.normal(size=(20, 1)) + 30.0
    return u, ys


def lag(loss):
    return fg.System(lambda h, x, p: p["a"] * h + x, None, np.zeros(1), {"a": 0.3}, np.zeros(1), loss)


def test_outliers_tell_little(spoiled):
    u, ys = spoiled
    robust = fg.fit(lag(StudentT(freedom=3.0)), u, ys)
    assert abs(robust.params["a"] - 0.8) < min(4 * robust.std["a"], 0.02)
    best = minimize(
        lambda z: -np.sum(stats.t.logpdf((ys[:, 0] - simulated(z[0], u)) / np.exp(z[1]), 3.0) - z[1]), [0.7, -2.0],
        method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-8},
    )  # fmt: skip
    assert abs(robust.params["a"] - best.x[0]) < 0.3 * robust.std["a"]
    np.testing.assert_allclose(robust.noise[0], np.exp(best.x[1]) * np.sqrt(3.0), rtol=0.05)
    plain = fg.fit(lag(SquaredError()), u, ys)
    assert plain.std["a"] > 20 * robust.std["a"]  # the control: what a squared error makes of it


def simulated(a, u):
    h, made = 0.0, []
    for x in u[:, 0]:
        h = a * h + x
        made.append(h)
    return np.array(made)


def test_a_filter_with_heavy_tails_is_not_pulled_away(spoiled):
    u, ys = spoiled
    robust = fg.Learner(lag(StudentT(freedom=3.0)), optimizer=fg.JointFilter(first=64))
    robust.run(u, ys)
    assert abs(robust.params["a"] - 0.8) < min(4 * robust.parameter_std()["a"], 0.02)
    plain = fg.Learner(lag(SquaredError()), optimizer=fg.JointFilter(first=64))
    with pytest.warns(OutlierWarning, match="StudentT") as told:
        plain.run(u, ys)
    assert not any("begin in another state" in str(w.message) for w in told)  # which could be bent to a few of them
    assert plain._unpacked.optimizer.noise[0] > 1e3 * robust._unpacked.optimizer.noise[0]


def test_it_is_the_default_for_heavy_tails_and_counts_too():
    """Not for a loss that is a function, of which no Fisher matrix is known."""
    assert isinstance(fg.Learner(lag(StudentT())).optimizer, fg.JointFilter)
    assert isinstance(fg.Learner(growth(Poisson())).optimizer, fg.JointFilter)
    own = growth(lambda prediction, y: np.sum((prediction - y) ** 2))
    assert not isinstance(fg.Learner(own).optimizer, fg.JointFilter)


@pytest.mark.parametrize("given", ["squared_error", "SquaredEror", fg.losses.SquaredError])
def test_a_loss_by_a_name_says_what_was_meant(given):
    with pytest.raises(DeclarationError, match=r"Did you mean fg\.losses\.SquaredError\(\)\?"):
        fg.System(lambda h, x, p: p["a"] * h, None, np.ones(1), {"a": 1.0}, loss=given)


def test_a_misspelt_loss_says_what_was_meant():
    with pytest.raises(AttributeError, match="Did you mean 'SquaredError'"):
        _ = fg.losses.SquaredEror
    with pytest.raises(AttributeError, match=r"no attribute 'Zebra'\.$"):
        _ = fg.losses.Zebra
