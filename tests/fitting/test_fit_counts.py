"""Fits of counts, of yes and no, and of models that follow the data: how they scatter, bands and forecasts."""

import math
import warnings

import numpy as np
import pytest
from scipy import stats

import fwdgrad as fg
from fwdgrad.errors import DeclarationError
from fwdgrad.fitting.draws import predictive
from fwdgrad.fitting.scatter import size_of
from fwdgrad.learning.counted import counted
from fwdgrad.losses import Bernoulli, NegativeBinomial, Poisson, SquaredError

TRUTH = {"a": 0.8, "c": 2.0}


def growing(loss):
    """Counts whose logarithm follows an input with a lag."""
    return fg.System(
        lambda h, x, p: p["a"] * h + x, lambda h, x, p: np.exp(p["c"] + h), np.zeros(1), {"a": 0.5, "c": 1.0},
        np.zeros(1), loss,
    )  # fmt: skip


def counts(size, length=200, seed=1):
    rng = np.random.default_rng(seed)
    xs = 0.5 * rng.normal(size=(length, 1))
    mean = growing(Poisson()).simulate(xs, params=TRUTH).outputs
    drawn = rng.poisson(mean) if size is None else rng.negative_binomial(size, size / (size + mean))
    return xs, drawn.astype(float), mean


@pytest.fixture(scope="module")
def scattered():
    """A fit of counts of size 4, started at 10."""
    xs, ys, _ = counts(4.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return xs, ys, fg.fit(growing(NegativeBinomial()), xs, ys, engine="compiled")


def test_the_size_of_counts_is_found_with_the_parameters(scattered):
    """As by the likelihood of scipy's distribution; the size that the search began with is another one."""
    _, ys, fit = scattered
    size, width = fit.size
    assert abs(math.log(size / 4.0)) < 3 * width < 0.6
    assert fit.system.loss.size == pytest.approx(size, rel=0.02)
    for k, v in TRUTH.items():
        assert abs(fit.params[k] - v) < 3 * fit.std[k]

    def likelihood(k):
        return stats.nbinom(k, k / (k + fit.outputs)).logpmf(ys).sum()

    assert likelihood(size) > max(likelihood(size * 1.05), likelihood(size / 1.05))
    assert likelihood(size) > likelihood(10.0) + 5.0
    assert "negative binomial of size" in str(fit)


def test_deviations_are_those_of_counts_that_scatter(scattered):
    """With the wrong size, held, they are too small, and it is told; counts like Poisson's are told to be so."""
    xs, ys, fit = scattered
    with pytest.warns(fg.errors.CalibrationWarning, match="larger than claimed|times"):
        fg.fit(growing(Poisson()), xs, ys, engine="compiled")
    calm, _, _ = counts(None)
    tame = fg.fit(growing(NegativeBinomial()), calm, counts(None)[1], engine="compiled")
    assert tame.size[1] == math.inf
    assert "no more than Poisson" in str(tame)
    assert tame.std["a"] < 0.7 * fit.std["a"]


def test_the_size_has_the_deviation_that_it_claims():
    """Over 300 draws; the control claims half of it."""
    rng, mean = np.random.default_rng(0), np.full((150, 1), 8.0)
    made = [size_of(rng.negative_binomial(3.0, 3.0 / (3.0 + mean)).astype(float), mean) for _ in range(300)]
    z = np.array([(math.log(size) - math.log(3.0)) / width for size, width in made])
    assert 0.85 < np.std(z) < 1.15
    assert not 0.85 < np.std(2 * z) < 1.15


# ---- what is expected of observations


def test_bands_and_forecasts_of_counts_are_quantiles(scattered):
    xs, _, fit = scattered
    low = fit.limits[0]
    assert 0.92 < fit.coverage[0] <= 0.99
    assert np.all(low == np.floor(low))
    assert np.all(low >= 0)
    ahead = fit.forecast(xs=np.ones((3, 1)))
    assert ahead.mean.shape == ahead.low.shape == (3, 1)
    np.testing.assert_array_less(ahead.low, ahead.mean)
    np.testing.assert_array_less(ahead.mean, ahead.high)
    mean = growing(Poisson()).simulate(np.concatenate([xs, np.ones((3, 1))]), params=fit.params).outputs[-3:]
    np.testing.assert_allclose(ahead.mean, mean, rtol=0.05)
    # what is not known of the parameters, by difference quotients
    moved = [
        growing(Poisson()).simulate(xs, params=dict(fit.params) | {k: fit.params[k] + 1e-5}).outputs[-1] / 1e-5
        for k in ("a", "c")
    ]
    slope = np.ravel(moved) - fit.outputs[-1] / 1e-5
    drawn = fit._going.draws._along[0][:, -1, 0]
    assert np.std(drawn) == pytest.approx(np.sqrt(slope @ fit.covariance @ slope), rel=0.15)
    with pytest.raises(DeclarationError, match="learner: the model cannot be filtered"):
        fit.learner()


@pytest.mark.parametrize("loss", [Poisson(), NegativeBinomial(3.0)], ids=str)
def test_quantiles_are_those_of_the_mixture(loss):
    """By drawing from it; those of its mean alone are narrower."""
    rng = np.random.default_rng(0)
    means = rng.gamma(4.0, 5.0, size=(200, 1, 1))
    made = predictive(loss, means, np.ones(1))
    each = np.repeat(means[:, 0, 0], 2000)
    drawn = rng.poisson(each) if isinstance(loss, Poisson) else rng.negative_binomial(3.0, 3.0 / (3.0 + each))
    np.testing.assert_allclose([made.low[0, 0], made.high[0, 0]], np.quantile(drawn, [0.025, 0.975]), atol=1)
    assert made.mean[0, 0] == pytest.approx(drawn.mean(), rel=0.02)
    assert made.std[0, 0] == pytest.approx(drawn.std(), rel=0.02)
    alone = predictive(loss, means.mean(axis=0, keepdims=True), np.ones(1))
    assert alone.high[0, 0] < made.high[0, 0] - 3


def test_yes_and_no_are_told_by_their_probability():
    made = predictive(Bernoulli(), np.array([0.0, 1.0, -1.0])[:, None, None], np.ones(1))
    assert made.mean[0, 0] == pytest.approx(0.5)
    assert made.std[0, 0] == pytest.approx(0.5)
    assert 0.26 < made.low[0, 0] < 0.5 < made.high[0, 0] < 0.74


def test_a_model_that_follows_the_data_has_bands_and_a_forecast():
    """The innovations form: its forecast gets as uncertain as its own noise makes it, in closed form."""
    rng, h, e, ys = np.random.default_rng(0), 0.0, 0.0, []
    for _ in range(300):
        h, e = 0.9 * (h + 0.4 * e), 0.5 * rng.normal()
        ys.append([h + e])
    system = fg.System(lambda h, x, p: p["a"] * h, None, np.zeros(1), {"a": 0.5, "K": 0.3}, injection="K")
    fit = fg.fit(system, ys=np.array(ys), engine="compiled")
    assert 0.92 < fit.coverage[0] < 0.98
    ahead = fit.forecast(40)
    a, K, R = float(fit.params["a"]), float(fit.params["K"]), float(fit.noise[0] ** 2)
    far = np.sqrt(R * (1 + (a * K) ** 2 * np.sum(a ** (2 * np.arange(39)))))
    assert ahead.std[0, 0] == pytest.approx(np.sqrt(R), rel=0.05)
    assert np.mean(ahead.std[-10:, 0]) == pytest.approx(far, rel=0.12)
    assert far > 1.2 * np.sqrt(R)  # a forecast without noise in what it follows would stay there
    spread = predictive(SquaredError(), np.zeros((4, 1, 1)), np.full(1, 4.0), 7.0)
    assert spread.high[0, 0] == pytest.approx(2.0 * stats.t.ppf(0.975, 7))


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("counts", "a: whole numbers, none negative, look like counts"),
        ("yes and no", "a: whole numbers, none negative, look like yes and no"),
        ("rounded", None),
        ("negative", None),
        ("fractions", None),
    ],
)
def test_whole_numbers_with_gaussian_noise_are_told_of(kind, told):
    """Not those whose noise is the same everywhere, as that of measurements that were rounded, and no other numbers."""
    rng, mean = np.random.default_rng(0), np.linspace(1, 30, 200)
    ys = {
        "counts": rng.poisson(mean).astype(float),
        "yes and no": (rng.uniform(size=200) < mean / 31).astype(float),
        "rounded": np.round(mean + 20 + 2 * rng.normal(size=200)),
        "negative": rng.poisson(mean) - 40.0,
        "fractions": rng.poisson(mean) / 7.0,
    }[kind]
    means = {"yes and no": mean / 31, "rounded": mean + 20, "negative": mean - 40, "fractions": mean / 7}
    shown = counted(SquaredError(), ["a"], ys[:, None], means.get(kind, mean)[:, None])
    assert [text.partition(", whose")[0] for text in shown] == ([] if told is None else [told])
    assert counted(Poisson(), ["a"], ys[:, None], mean[:, None]) == []
