"""What a learner does by default finds parameters whatever the loss, and whatever size those without bounds have."""

import warnings

import numpy as np
import pytest

import fwdgrad as fg
from fwdgrad import losses
from fwdgrad.errors import NonFiniteError
from fwdgrad.optimizers import JointFilter

LAWS = {
    "counts": (losses.Poisson(), lambda rng, v: rng.poisson(v), 100),
    "scattered counts": (losses.NegativeBinomial(8.0), lambda rng, v: rng.negative_binomial(8, 8 / (8 + v)), 150),
    "yes and no": (losses.Bernoulli(), lambda rng, v: rng.uniform(size=v.shape) < 1 / (1 + np.exp(-v)), 400),
}


def store(loss):
    """An inflow, seen by its logarithm."""
    plain = isinstance(loss, losses.Bernoulli)
    return fg.System(
        lambda h, x, p: p["g"] * x - p["k"] * h,
        (lambda h, x, p: 2.0 * h + p["c"]) if plain else (lambda h, x, p: np.exp(h + p["c"])),
        np.zeros(1), {"g": fg.positive(0.6), "k": fg.positive(1.2), "c": 0.3}, np.zeros(1), dt=0.2, method="rk4",
        loss=loss,
    )  # fmt: skip


TRUTH = {"g": 1.2, "k": 0.6, "c": 1.0}


def learned(law, seed, optimizer=None):
    loss, draw, size = LAWS[law]
    system, rng = store(loss), np.random.default_rng(seed)
    xs = np.repeat(rng.normal(size=size // 10), 10)[:, None]
    ys = draw(rng, system.simulate(xs, params=TRUTH).outputs).astype(float)
    learner = fg.Learner(system, fg.RTRL() if optimizer else "auto", optimizer)
    learner.run(xs, ys)
    return learner, xs, ys


@pytest.mark.quick("counts", "yes and no")
@pytest.mark.parametrize("law", LAWS)
def test_what_is_no_gaussian_noise_is_filtered_and_fitted_too(law):
    """Within four deviations, which are those of a fit, and nothing is said of a right model."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        learner, xs, ys = learned(law, 0)
        made = fg.fit(learner.system, xs, ys)
    std = learner.parameter_std()
    for k, v in TRUTH.items():
        assert abs(float(learner.params[k]) - v) < 4 * float(std[k]) < 2 * v
        assert 0.7 < float(std[k]) / float(made.std[k]) < 1.4
    assert "by the Fisher matrix" in learner.explain()
    assert "noise" not in str(learner.report())
    if law != "yes and no":  # of a target, with the scatter of counts
        mean, deviation = learner.predict(xs[-1], return_std=True)
        assert deviation[0] >= mean[0] ** 0.5


def test_by_gradients_it_is_not_found():
    """Negative control: the default before, one pass of gradient descent."""
    learner, _, _ = learned("counts", 0, fg.SGD(1e-2))
    assert max(abs(float(learner.params[k]) / v - 1) for k, v in TRUTH.items()) > 0.3


def test_one_target_is_filtered_as_scoring_does():
    """The oracle: the mode of a prior and a Poisson target, by one step of scoring from the prior's mean."""
    system = fg.System(
        lambda h, x, p: h, lambda h, x, p: np.exp(p["c"]) + 0 * h, np.zeros(1), {"c": 0.5}, loss=losses.Poisson()
    )
    learner = fg.Learner(system, optimizer=JointFilter(first=0, process_noise=0.0, initial_std=0.0))
    learner.run(ys=np.array([[4.0]]))
    mean, width = np.exp(0.5), 0.5
    information = width**-2 + mean  # (∂ŷ/∂c)²/ŷ
    assert float(learner.params["c"]) == pytest.approx(0.5 + (4.0 - mean) / information, rel=1e-9)
    assert float(learner.parameter_std()["c"]) == pytest.approx(information**-0.5, rel=1e-9)


def test_a_gain_is_learned_with_the_rest():
    """injection="K": by the recursive prediction error method, with the first samples fitted."""
    rng, truth, gain = np.random.default_rng(1), {"a": 0.8, "b": 1.5}, 0.5
    xs, noise = rng.normal(size=(300, 1)), 0.2 * rng.normal(size=(300, 1))
    h, ys = np.zeros(1), []
    for x, e in zip(xs, noise, strict=True):
        h = truth["a"] * h + truth["b"] * x
        ys.append(h + e)
        h = h + gain * e
    system = fg.System(
        lambda h, x, p: p["a"] * h + p["b"] * x, None, np.zeros(1),
        {"a": fg.bounded(0.4, 0, 1), "b": fg.positive(0.7), "K": np.full((1, 1), 0.1)}, np.zeros(1), injection="K",
    )  # fmt: skip
    learner = fg.Learner(system)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        learner.run(xs, np.array(ys))
    std = learner.parameter_std()
    for k, v in (truth | {"K": gain}).items():
        assert np.all(np.abs(learner.params[k] - v) < 4 * std[k]), k
        assert np.all(std[k] < 0.3 * v), k
    assert "prediction error" in learner.explain()


# ---------------------------------------------------------------- parameters without bounds


def seen_through(gain, offset, seed=0):
    system = fg.System(
        lambda h, x, p: x - p["k"] * h, lambda h, x, p: p["gain"] * h + p["offset"], np.zeros(1),
        {"k": fg.positive(0.5), "gain": 1.0, "offset": 1.0}, np.zeros(1), dt=0.2, method="rk4",
    )  # fmt: skip
    rng, truth = np.random.default_rng(seed), {"k": 0.8, "gain": gain, "offset": offset}
    xs = np.repeat(rng.normal(size=10), 10)[:, None]
    ys = system.simulate(xs, params=truth).outputs
    return system, xs, ys + 0.05 * ys.std() * rng.normal(size=ys.shape), truth


@pytest.mark.covering
@pytest.mark.parametrize("by", ["fit", "learner"])
@pytest.mark.parametrize(("gain", "offset"), [(200.0, -30.0), (-30.0, 3000.0), (1.2, 0.7)])
def test_a_prior_by_declared_sizes_does_not_keep_from_others(gain, offset, by):
    system, xs, ys, truth = seen_through(gain, offset)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = fg.fit(system, xs, ys) if by == "fit" else fg.Learner(system, engine="numpy")
        if by == "learner":
            made.run(xs, ys)
    std = made.std if by == "fit" else made.parameter_std()
    assert all(abs(float(made.params[k]) - v) < 4 * float(std[k]) < 0.5 * abs(v) for k, v in truth.items())


def test_with_that_prior_they_are_not_found(monkeypatch):
    """Negative control."""
    monkeypatch.setattr(
        "fwdgrad.learning.loops.fitting.widened", lambda r, n, found, c, prior, units, *_: (found, units)
    )
    system, xs, ys, truth = seen_through(200.0, -30.0)
    learner = fg.Learner(system)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        learner.run(xs, ys)
    assert abs(float(learner.params["gain"]) / truth["gain"] - 1) > 0.5


# ---------------------------------------------------------------- steps that are refused while a filter finds its way


def refusing(learner, monkeypatch, at):
    """As if the filter had led to where one sample cannot be made, until samples are fitted."""
    inner, fits = learner._loop.inner, []
    run, fit = inner.run, type(learner._loop)._fit

    def refused(chunk):
        k = at - inner.steps
        if fits or not 0 <= k < len(chunk.observed):
            return run(chunk)
        return run(chunk.part(0, k))._replace(error=NonFiniteError("the state is not finite", step=at))

    def fitted(self, record, fitting):
        fits.append(record.seen) if self.steps == at else None
        fit(self, record, fitting)

    monkeypatch.setattr(inner, "run", refused)
    monkeypatch.setattr(type(learner._loop), "_fit", fitted)
    return fits


@pytest.mark.parametrize("single", [False, True])
def test_a_refused_step_is_made_from_a_fit_of_the_samples_before(single, monkeypatch):
    system, xs, ys, truth = seen_through(1.2, 0.7)
    learner = fg.Learner(system, engine="numpy")
    fits = refusing(learner, monkeypatch, 40)
    pairs = zip(xs, ys, strict=True)
    losses = np.array([learner.step(x, y) for x, y in pairs] if single else learner.run(xs, ys).loss)
    assert fits == [40]
    assert learner.steps == len(losses) == len(xs)
    assert np.isfinite(losses).all()
    assert all(abs(float(learner.params[k]) - v) < 4 * float(learner.parameter_std()[k]) for k, v in truth.items())


def test_a_step_that_no_fit_helps_is_refused_and_changes_nothing():
    """Negative control: a count that is none."""
    loss, draw, _ = LAWS["counts"]
    system, rng = store(loss), np.random.default_rng(0)
    xs = rng.normal(size=(40, 1))
    ys = draw(rng, system.simulate(xs, params=TRUTH).outputs).astype(float)
    ys[30] = -1.0
    learner = fg.Learner(system)
    learner.run(xs[:30], ys[:30])
    before, state = learner.params, learner.state
    with pytest.raises(NonFiniteError, match="step 30"):
        learner.run(xs[30:], ys[30:])
    assert learner.steps == 30
    assert {k: float(v) for k, v in learner.params.items()} == {k: float(v) for k, v in before.items()}
    assert np.array_equal(learner.state, state)
