"""What the data say nothing of: combinations, entries, outputs; and two solutions that fit as well."""

import warnings

import numpy as np
import pytest

import fwdgrad as fg
from fwdgrad.errors import DeadParameterWarning, IdentifiabilityWarning, UnlearnedWarning
from fwdgrad.learning.identifiability import groups_of

# ---------------------------------------------------------------- covariances


def posterior(rows, noise=0.01):
    """The covariance of parameters with prior deviations 1, after observing some linear combinations of them."""
    rows = np.atleast_2d(np.asarray(rows, float))
    return np.linalg.inv(np.eye(rows.shape[1]) + rows.T @ rows / noise**2)


@pytest.mark.parametrize(
    ("rows", "values", "found"),
    [
        ([[1, 1]], [1.0, 1.0], [(("a", "b"), 1, "their product")]),
        ([[1, -1]], [2.0, 2.0], [(("a", "b"), 1, "their ratio")]),
        ([[1, 1]], [1.0, 50.0], [(("a", "b"), 1, "their sum")]),
        ([[1, -1]], [1.0, 50.0], [(("a", "b"), 1, "their difference")]),
        ([[1, 3]], [1.0, 50.0], [(("a", "b"), 1, "")]),
        ([[1, 1, 1]], [1.0, 1.0, 1.0], [(("a", "b", "c"), 2, "")]),
        ([[1, 1, 0], [0, 0, 1]], [1.0, 1.0, 1.0], [(("a", "b"), 1, "their product")]),
        ([[1, 1, 0, 0], [0, 0, 1, -1]], np.ones(4), [(("a", "b"), 1, "their product"), (("c", "d"), 1, "their ratio")]),
        ([[1, 0], [0, 1]], [1.0, 1.0], []),
        ([[1, 0]], [1.0, 1.0], []),  # b is not learned at all: that is another matter
        (np.zeros((1, 3)), np.ones(3), []),
        ([[1, 1], [0.05, -0.05]], [1.0, 1.0], []),  # correlated, but known well by themselves
        ([[1, 1], [0.01, -0.01]], [1.0, 1.0], [(("a", "b"), 1, "their product")]),
    ],
)
def test_flat_directions_by_hand(rows, values, found):
    values = np.asarray(values)
    groups = groups_of("abcd"[: len(values)], values, posterior(rows), np.ones(len(values)))
    assert [(g.names, g.directions, g.kept) for g in groups] == found
    text = " ".join(map(str, groups))
    assert ("cannot be told apart" in text) == bool(found)


def test_units_do_not_matter():
    scale = np.array([1e-6, 1e5])
    covariance = posterior([[1, 1]]) * scale * scale[:, None]
    (group,) = groups_of("ab", scale, covariance)
    assert (group.names, group.kept) == (("a", "b"), "their product")


# ---------------------------------------------------------------- learners


def learned(F, params, truth, *, Y=None, state=1, steps=150, noise=0.05, missing=None):
    """A learner after a run, and what was told."""
    rng = np.random.default_rng(0)
    system = fg.System(F, Y, np.zeros(state), params, np.zeros(1))
    xs = np.repeat(rng.normal(size=(steps // 3, 1)), 3, axis=0)
    ys = system.simulate(xs, params=truth).outputs
    ys = ys + noise * rng.normal(size=ys.shape)
    if missing is not None:
        ys[:, missing] = np.nan
    learner = fg.Learner(system, engine="numpy")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        learner.run(xs[:140], ys[:140])
        learner.run(xs[140:], ys[140:])  # it is told once
    return learner, [(w.category, str(w.message)) for w in caught]


@pytest.mark.covering
@pytest.mark.parametrize("declared", [fg.positive, float])
@pytest.mark.parametrize(
    ("gain", "kept"), [(lambda a, b: a * b, "product"), (lambda a, b: a / b, "ratio"), (lambda a, b: a + b, "")]
)
def test_of_two_parameters_that_act_as_one_the_combination_is_named(declared, gain, kept):
    """With deviations that stay wide, though a filter linearised at each sample becomes sure of more."""
    learner, told = learned(
        lambda h, x, p: p["c"] * h + gain(p["a"], p["b"]) * x,
        {"a": declared(1.0), "b": declared(0.5), "c": 0.3},
        {"a": 1.5, "b": 1.0, "c": 0.5},
    )
    ((category, text),) = told
    assert category is IdentifiabilityWarning
    assert "a and b cannot be told apart" in text
    assert kept in text
    assert text.split("\n")[0].split("steps ")[1] in str(learner.confidence())
    std = learner.parameter_std()
    truth = {"a": 1.5, "b": 1.0}
    assert all(abs(float(learner.params[k]) - v) < 3 * std[k] and std[k] > 0.15 for k, v in truth.items())
    assert std["c"] < 0.02


def test_parameters_that_act_by_themselves_are_not_named():
    learner, told = learned(lambda h, x, p: p["a"] * h + p["b"] * x, {"a": 0.3, "b": 0.5}, {"a": 0.7, "b": 1.0})
    assert not told
    assert not learner.confidence().groups
    assert not learner.confidence().swaps


def chain(order):
    """Two compartments one after the other, of which the second's outflow is seen: the rates may be exchanged."""

    def F(h, x, p):
        return np.stack([h[0] + x[0] - p["k1"] * h[0], h[1] + p["k1"] * h[0] - p["k2"] * h[1]])

    def Y(h, x, p):
        return (p["k2"] * h[1:] if order == "outflow" else h[1:]) + 0.0

    return F, Y


@pytest.mark.parametrize(("seen", "said"), [("outflow", True), ("content", False)])
def test_rates_that_may_be_exchanged_are_named(seen, said):
    """The outflow of the chain is the same either way round; its content is not."""
    F, Y = chain(seen)
    learner, told = learned(
        F, {"k1": fg.positive(0.3), "k2": fg.positive(0.4)}, {"k1": 0.8, "k2": 0.2}, Y=Y, state=2, noise=0.02
    )
    assert [c for c, _ in told] == [IdentifiabilityWarning] * said
    assert learner.confidence().swaps == (("k1", "k2"),) * said
    assert ("may be exchanged" in "".join(text for _, text in told)) == said
    assert ("may be exchanged" in str(learner.confidence())) == said
    if not said:
        assert abs(float(learner.params["k1"]) - 0.8) < 4 * learner.parameter_std()["k1"]


def test_entries_that_nothing_depends_on_are_named_once():
    start, truth = np.array([1.0, 2.0, 3.0]), np.array([2.0, 2.0, 3.0])
    with pytest.warns(DeadParameterWarning, match=r"\n  w\[1\], w\[2\]: "):  # when the learner is made, and not again
        _, told = learned(lambda h, x, p: 0.5 * h + p["w"][:1] * x, {"w": start}, {"w": truth})
    assert not told


@pytest.mark.parametrize(("missing", "said"), [(slice(None), "none of the 140"), (slice(1, 2), "output 1"), (None, "")])
def test_outputs_without_a_target_are_named_once(missing, said):
    _, told = learned(
        lambda h, x, p: np.stack([p["a"] * h[0] + x[0], 0.5 * h[1] + p["b"] * x[0]]),
        {"a": 0.3, "b": 0.5}, {"a": 0.6, "b": 1.0}, state=2, missing=missing,
    )  # fmt: skip
    texts = [text for category, text in told if category is UnlearnedWarning]
    assert sum(said in text for text in texts) == bool(said)
    dead = [text for category, text in told if category is DeadParameterWarning]
    assert len(texts) + len(dead) == len(told)
    assert ("in b." in "".join(dead)) == (missing == slice(1, 2))  # the parameter of that output


@pytest.mark.parametrize("optimizer", [fg.SGD(1e-3), fg.InformationFilter("full", "exact")])
def test_missing_targets_are_told_with_every_optimizer(optimizer, tmp_path):
    system = fg.System(lambda h, x, p: p["a"] * h + x, None, np.zeros(1), {"a": 0.3}, np.zeros(1))
    learner = fg.Learner(system, fg.RTRL(), optimizer, engine="numpy")
    learner.run(np.ones((30, 1)), np.full((30, 1), np.nan))
    learner.save(tmp_path / "run.npz")
    learner = fg.Learner.load(tmp_path / "run.npz", system)
    with pytest.warns(UnlearnedWarning, match="none of the 40 samples"):
        learner.run(np.ones((10, 1)), np.full((10, 1), np.nan))
    spin = fg.Learner(system, fg.RTRL(), optimizer, engine="numpy")  # where none is given, none is missed
    spin.run(zip(np.ones((40, 1)), [None] * 40, strict=True))
    spin.step(np.ones(1))
    assert not spin._told
