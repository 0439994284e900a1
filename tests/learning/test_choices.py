"""Systems that choose: gradients in the mean over every choice, against the derivative of the expected loss."""

from __future__ import annotations

import itertools
from typing import Any

import autograd
import autograd.numpy as anp
import numpy as np
import pytest
from oracles import Observer, assert_close

import fwdgrad as fg
from fwdgrad.beyond.choices import ScoreFunction, choosing_system, drawn
from fwdgrad.errors import DataError, DeclarationError, NonFiniteError, UnknownNameError
from fwdgrad.learning.execution import Execution
from fwdgrad.learning.step.kinds import LEARN
from fwdgrad.losses import Custom, SquaredError
from fwdgrad.testing.noise import every


class Problem:
    """Two units that choose one of three actions each step, which moves them; parameters are in all three functions."""

    def __init__(self, loss: Any = None, steps: int = 3) -> None:
        rng = np.random.default_rng(0)
        self.loss = loss
        shapes = {"W": (2, 2), "P": (3, 2), "push": (2, 3), "a": (), "V": (1, 2)}
        self.params = {k: 0.5 * rng.normal(size=s) for k, s in shapes.items()}
        self.params["W"] = self.params["W"] + np.eye(2)
        self.params["V"] = np.array([[2.0, -2.0]])
        self.xs, self.ys = rng.normal(size=(steps, 2)), rng.normal(size=(steps, 1))

    @staticmethod
    def F(h: Any, x: Any, p: Any, z: Any) -> Any:
        return anp.tanh(p["W"] @ h + p["a"] * x + p["push"][:, z])

    @staticmethod
    def Y(h: Any, x: Any, p: Any) -> Any:
        return p["V"] @ h

    @staticmethod
    def scores(h: Any, x: Any, p: Any) -> Any:
        return p["P"] @ h + p["a"]

    def system(self, **options: Any) -> fg.System:
        plain = {
            "F": lambda h, x, p, z: np.tanh(p["W"] @ h + p["a"] * x + p["push"][:, z]),
            "choice": lambda h, x, p: p["P"] @ h + p["a"] * np.array([1.0, 0.0, -1.0]),
        }
        return choosing_system(
            plain["F"], self.Y, plain["choice"], np.full(2, 0.3), self.params, np.zeros(2), self.loss, **options
        )

    def path(self, theta: Any, choices: Any) -> tuple[Any, list[Any]]:
        """Probability of each choice in turn, as it is made, and losses."""
        h, probabilities, losses = np.full(2, 0.3), [], []
        for x, y, z in zip(self.xs, self.ys, choices, strict=False):
            scores = theta["P"] @ h + theta["a"] * np.array([1.0, 0.0, -1.0])
            weights = anp.exp(scores)
            probabilities.append(weights / anp.sum(weights))
            h = self.F(h, x, theta, z)
            error = theta["V"] @ h - y
            losses.append(0.5 * anp.sum(error**2) if self.loss is None else anp.sum(anp.log(anp.cosh(error))))
        return probabilities, losses

    def expected(self, t: int) -> Any:
        """∂/∂θ of the expected loss of step t, with all paths in one function."""

        def loss(theta: Any) -> Any:
            total = 0.0
            for choices in itertools.product(range(3), repeat=t + 1):
                probabilities, losses = self.path(theta, choices)
                chance = 1.0
                for p, z in zip(probabilities, choices, strict=True):
                    chance = chance * p[z]
                total = total + chance * losses[t]
            return total

        return autograd.grad(loss)(self.params)

    def mean(self, estimator: fg.Estimator, engine: str = "numpy", **options: Any) -> list[Any]:
        """Mean gradient of each step over all choices (and over all signs of an estimator)."""
        system = self.system(**{"baseline": 0.4, **options})
        run = Execution(system, estimator, Observer(), engine)
        weights, noises = every(run.specs, "step", 2, float)
        carries, chances, made = [(run.initial(), ())], [1.0], []
        for t in range(len(self.xs)):
            after, shares, total = [], [], {k: 0.0 for k in self.params}
            for (carry, past), chance in zip(carries, chances, strict=True):
                probabilities = self.path(self.params, (*past, 0))[0][t]
                edges = np.concatenate([[0.0], np.cumsum(probabilities)])
                for z, probability in enumerate(probabilities):
                    u = 0.5 * (edges[z] + edges[z + 1])
                    for weight, noise in zip(weights, noises, strict=True):
                        out = run.make(LEARN, carry, [self.xs[t], np.array(u)], [self.ys[t]], noise)[:-3]
                        gradient = run.unpack(tuple(out)).optimizer
                        share = chance * probability * weight
                        total = {k: total[k] + share * gradient[k] for k in total}
                        after.append((tuple(out), (*past, z)))
                        shares.append(share)
            carries, chances = after, shares
            made.append(total)
        return made


# ---------------------------------------------------------------- unbiased, over every choice


@pytest.mark.parametrize("engine", ["numpy", "eager"])
def test_the_mean_gradient_is_that_of_the_expected_loss(engine):
    problem = Problem()
    for t, mean in enumerate(problem.mean(fg.RTRL(), engine)):
        assert_close(mean, problem.expected(t), 1e-10, f"step {t}")


def test_with_a_loss_whose_gradient_is_derived():
    problem = Problem(lambda yhat, y: np.sum(np.log(np.cosh(yhat - y))))
    for t, mean in enumerate(problem.mean(fg.RTRL())):
        assert_close(mean, problem.expected(t), 1e-10, f"step {t}")


def test_with_a_random_influence():
    """Over all choices and all signs."""
    problem = Problem(steps=2)
    for t, mean in enumerate(problem.mean(fg.UORO())):
        assert_close(mean, problem.expected(t), 1e-10, f"step {t}")


def test_any_baseline_will_do():
    """As long as it does not know what is chosen."""
    problem = Problem()
    one = problem.mean(fg.RTRL())
    assert_close(problem.mean(fg.RTRL(), baseline=-7.0)[2], one[2], 1e-10)


@pytest.mark.parametrize("fault", ["no trace", "decay", "half of the past"])
def test_a_fault_is_seen(fault, monkeypatch):
    """Negative controls: nothing for the choices; old choices forgotten; the state behind the probabilities fixed."""
    problem, options, estimator = Problem(), {}, fg.RTRL()
    if fault == "no trace":
        right = ScoreFunction.gradient

        def wrong(self: Any, prediction: Any, y: Any) -> Any:
            slope = right(self, prediction, y)
            return np.concatenate([slope[:-2], 0.0 * slope[-2:]])

        monkeypatch.setattr(ScoreFunction, "gradient", wrong)
    elif fault == "decay":
        options = {"decay": 0.5}
    else:
        estimator = fg.TBPTT(1)
    mean = problem.mean(estimator, **options)[2]
    with pytest.raises(AssertionError):
        assert_close(mean, problem.expected(2), 1e-3)


def test_choices_have_the_probabilities_that_are_said():
    """Over a grid of numbers, and at both ends."""
    system = choosing_system(
        lambda h, x, p, z: 0.0 * h + z,
        lambda h, x, p: h,
        lambda h, x, p: p["s"],
        np.zeros(1),
        {"s": np.log(np.array([0.2, 0.5, 0.3]))},
    )
    found = []
    for u in [0.0, *((np.arange(1000) + 0.5) / 1000), np.nextafter(1.0, 0.0)]:
        after = system.transition(system.initial, {"draw": np.array(u)}, system.params)
        z = int(after[0])
        found.append(z)
        assert after[1] == pytest.approx(np.log([0.2, 0.5, 0.3][z]))
    assert [found.count(k) for k in range(3)] == [201, 500, 301]


# ---------------------------------------------------------------- learning


def coin(decay: float) -> fg.System:
    """What a coin has shown lately; the only parameter sets its bias."""
    return choosing_system(
        lambda h, x, theta, z: 0.9 * h + 0.1 * z,
        lambda h, x, theta: h,
        lambda h, x, theta: np.stack([0.0, theta["odds"]]),
        np.full(1, 0.7),
        {"odds": -0.5},
        decay=decay,
        baseline=0.03,
    )


def best(decay: float) -> float:
    """The bias at which the mean gradient is zero: (h − 0.7)²/2, where choice s has weight 0.1·0.9^(t−s) in h."""
    first, second = 0.1 / (1 - 0.9 * decay), 0.01 / (1 - 0.81 * decay)
    return (0.7 * first - 0.5 * second) / (first - second)


def test_a_coin_learns_its_bias():
    decay = 0.95
    assert best(1.0) == pytest.approx(0.7 + 0.2 / 18)  # least bias squared plus variance
    learner = fg.Learner(coin(decay), fg.RTRL(), fg.SGD(fg.schedules.inverse_sqrt(1.5, 0.02)), seed=0, engine="numpy")
    rng, tail = np.random.default_rng(1), []
    for k in range(40):
        learner.run(drawn(None, rng, 500), np.full((500, 1), 0.7))
        tail += [1 / (1 + np.exp(-float(learner.params["odds"])))] * (k >= 15)
    assert np.mean(tail) == pytest.approx(best(decay), abs=0.02)
    assert float(learner.params["baseline"]) < 0.03


def test_engines_learn_the_same():
    us = np.random.default_rng(2).random(200)

    def learned(engine: str) -> Any:
        learner = fg.Learner(coin(0.9), fg.UORO(), fg.SGD(0.5), seed=3, engine=engine)
        learner.run({"draw": us}, np.full((200, 1), 0.7))
        return learner.params

    assert_close(learned("eager"), learned("numpy"), 1e-10)


# ---------------------------------------------------------------- inputs, predictions, refusals


def test_drawn_inputs():
    rng = np.random.default_rng(0)
    assert drawn(None, rng, 4)["draw"].shape == (4,)
    made = drawn({"u": np.zeros((3, 2)), "s": np.zeros(3, int)}, rng)
    assert set(made["x"]) == {"u", "s"}
    assert made["draw"].shape == (3,)
    singles = list(drawn(iter([1, 2]), rng))
    assert [s["x"] for s in singles] == [1, 2]
    assert all(0 <= s["draw"] < 1 for s in singles)
    for xs, steps in ((None, None), (np.zeros(3), 3)):
        with pytest.raises(DeclarationError, match="expected inputs, or None and steps"):
            drawn(xs, rng, steps)


def test_a_stream_of_inputs():
    problem = Problem()
    learner = fg.Learner(problem.system(), fg.RTRL(), fg.SGD(0.01))
    for x, y in zip(drawn(iter(problem.xs), np.random.default_rng(0)), problem.ys, strict=True):
        learner.step(x, y)
    learner.step(x, None)
    prediction = learner.predict(x)
    assert prediction.shape == (3,)
    assert prediction[1] < 0  # log-probability of what was chosen


def test_refusals():
    def make(**options: Any) -> fg.System:
        given = {"choice": lambda h, x, p: p["s"], "state": np.zeros(1), "params": {"s": np.zeros(2)}} | options
        return choosing_system(lambda h, x, p, z: h + z, lambda h, x, p: h, **given)

    for options, error in (
        ({"dt": 0.1}, "expected no dt"),
        ({"decay": 1.5}, "expected a number from 0 to 1"),
        ({"state": lambda p: p["s"][:1]}, "initial state that is not learned"),
        ({"choice": lambda h, x, p: p["s"][0]}, r"an array of shape \(K,\)"),
    ):
        with pytest.raises(DeclarationError, match=error):
            make(**options)
    with pytest.raises(UnknownNameError, match="'baseline' is taken"):
        make(params={"s": np.zeros(2), "baseline": 0.0})


def test_the_loss_by_itself():
    loss = ScoreFunction(SquaredError(), (2,))
    prediction, y = np.array([1.0, 3.0, -5.0, 0.5]), np.array([0.0, 1.0])
    assert loss.value(prediction, y) == 2.5
    assert np.array_equal(loss.gradient(prediction, y), [1.0, 2.0, 2.0, -2.0])
    assert loss.fisher(prediction) is None
    assert loss.target(prediction).shape == (2,)
    custom = ScoreFunction(Custom(lambda yhat, y: 0.5 * np.sum((yhat - y) ** 2)), (2,))
    assert np.allclose(custom.gradient(prediction, y), [1.0, 2.0, 2.0, -2.0])


def test_it_is_public():
    assert fg.choosing_system is choosing_system
    assert fg.choices.drawn is drawn


# ---------------------------------------------------------------- states, outputs and scores of all kinds


def path_of(system: fg.System, us: Any) -> list[np.ndarray]:
    h, made = system.initial, []
    for u in us:
        h = system.transition(h, {"draw": np.array(u)}, system.params)
        made.append(h)
    return made


def test_a_state_of_several_arrays():
    """The same learning as with one array."""
    us = np.random.default_rng(4).random(50)

    def learned(system: fg.System) -> Any:
        learner = fg.Learner(system, fg.RTRL(), fg.SGD(0.5), engine="numpy")
        learner.run({"draw": us}, np.full((50, 1), 0.7))
        return learner.params

    def choice(h: Any, x: Any, p: Any) -> Any:
        return np.stack([0.0, p["odds"]])

    params = {"odds": -0.5}
    one = choosing_system(
        lambda h, x, p, z: np.stack([0.9 * h[0] + 0.1 * z, 0.5 * h[1] + h[0]]),
        lambda h, x, p: h[1:],
        choice,
        np.array([0.7, 0.1]),
        params,
    )
    several = choosing_system(
        lambda h, x, p, z: {"lately": 0.9 * h["lately"] + 0.1 * z, "sum": 0.5 * h["sum"] + h["lately"]},
        lambda h, x, p: h["sum"],
        choice,
        {"lately": np.full(1, 0.7), "sum": np.full(1, 0.1)},
        params,
    )
    assert list(several.state) == ["lately", "sum", "score"]
    assert_close(learned(several), learned(one), 1e-12)
    with pytest.raises(UnknownNameError, match="'score' is taken"):
        choosing_system(lambda h, x, p, z: h, None, choice, {"score": np.zeros(1)}, params)


def test_without_an_output_the_state_is_seen():
    """In one vector, whatever the containers."""

    def choice(h: Any, x: Any, p: Any) -> Any:
        return np.stack([0.0, p["odds"]])

    for state, count in ((np.zeros(2), 2), ({"a": np.zeros(2), "b": np.zeros((1, 2))}, 4)):
        system = choosing_system(
            lambda h, x, p, z: {k: v + z for k, v in h.items()} if isinstance(h, dict) else h + z,
            None,
            choice,
            state,
            {"odds": 0.3},
        )
        after = path_of(system, [0.99])[0]
        assert np.allclose(system.output(after, {"draw": np.array(0.99)}, system.params), [*after, 0.0])
        learner = fg.Learner(system, fg.RTRL(), fg.SGD(0.1), engine="numpy")
        assert np.isfinite(learner.step({"draw": 0.2}, np.ones(state.shape if count == 2 else count)))


def test_scores_that_are_constant():
    """Actions of known probabilities, which nothing is learned about."""
    system = choosing_system(
        lambda h, x, p, z: p["a"] * h + z, lambda h, x, p: h, lambda h, x, p: np.zeros(2), np.zeros(1), {"a": 0.5}
    )
    learner = fg.Learner(system, fg.RTRL(), fg.SGD(0.1), engine="numpy")
    learner.run(drawn(None, np.random.default_rng(0), 20), np.ones((20, 1)))
    assert float(learner.predict({"draw": 0.1})[-2]) == pytest.approx(21 * np.log(0.5))


@pytest.mark.parametrize("engine", ["numpy", "eager"])
@pytest.mark.parametrize("u", [-0.1, 1.5])
def test_a_number_that_is_not_from_zero_to_one_stops_learning(u, engine):
    learner = fg.Learner(coin(0.9), fg.RTRL(), fg.SGD(0.1), engine=engine)
    learner.step({"draw": 1.0 - 1e-9}, np.ones(1))
    with pytest.raises(NonFiniteError):
        learner.step({"draw": u}, np.ones(1))


def test_options_that_there_are_not():
    for option in ({"foo": 1}, {"method": "rk4"}, {"substeps": 3}, {"injection": np.zeros((1, 1))}):
        with pytest.raises(UnknownNameError, match=f"choosing_system: there is no option '{next(iter(option))}'"):
            choosing_system(
                lambda h, x, p, z: h + z, None, lambda h, x, p: p["s"], np.zeros(1), {"s": np.zeros(2)}, **option
            )


def test_what_nothing_can_be_drawn_for():
    rng = np.random.default_rng(0)
    for steps in (-1, 1.5, True, "3"):
        with pytest.raises(DeclarationError, match=r"drawn\(steps=…\): expected"):
            drawn(None, rng, steps)
    with pytest.raises(DeclarationError, match="drawn: expected a numpy Generator"):
        drawn(np.zeros(3), 0)
    with pytest.raises(DataError, match="drawn: expected inputs one after the other"):
        drawn(3, rng)
    for xs in ({"a": np.zeros(3), "b": np.zeros(4)}, np.zeros(()), {}):
        with pytest.raises(DataError, match="drawn: expected arrays with time along axis 0"):
            drawn(xs, rng)
