"""The filters against closed forms: recursive least squares, a textbook Kalman filter, dense matrices at every step."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest

import fwdgrad as fg
from fwdgrad.optimizers import Block, Diagonal, Full, InformationFilter, LowRank, ParameterFilter, QuasiDiagonal
from fwdgrad.optimizers.informed import Evidence, Setting

STEPS = 1000

# what is learned here is often not of the noise that is claimed
pytestmark = pytest.mark.filterwarnings("ignore::fwdgrad.errors.CalibrationWarning")


def regression(outputs: int = 2, width: int = 3, scale: float = 0.7, loss: bool = True) -> fg.System:
    """ŷ = Θ h', with h' = 0.5 h + x: Gaussian, and linear in Θ, which the dynamics do not use."""

    def F(h, x, theta):
        return 0.5 * h + x

    def Y(h, x, theta):
        return theta["theta"] @ h

    return fg.System(
        F,
        Y,
        np.zeros(width),
        {"theta": np.zeros((outputs, width))},
        np.zeros(width),
        fg.losses.SquaredError(scale) if loss else None,
    )


def driven(scale: float = 0.5) -> fg.System:
    """h' = a h + b x + c, observed: its influence matrix is exact, and linear in (b, c) for fixed a."""

    def F(h, x, theta):
        return 0.9 * h + theta["b"] * x + theta["c"]

    return fg.System(F, None, np.zeros(2), {"b": np.zeros(2), "c": np.zeros(2)}, 0.0, fg.losses.SquaredError(scale))


def samples(outputs: int, width: int, steps: int = STEPS, seed: int = 0):
    """Inputs, states and noisy outputs of a known Θ."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(outputs, width))
    xs = rng.normal(size=(steps, width))
    h, states = np.zeros(width), []
    for x in xs:
        h = 0.5 * h + x
        states.append(h)
    H = np.array(states)
    return xs, H, H @ truth.T + 0.7 * rng.normal(size=(steps, outputs)), truth


class Kalman:
    """The textbook filter on θ, with plain matrices: predict, gain, update (Joseph form)."""

    def __init__(self, size: int, covariance: np.ndarray, R: np.ndarray, Q: float = 0.0) -> None:
        self.mean, self.P, self.R, self.Q = np.zeros(size), np.array(covariance), R, Q * np.eye(size)

    def predict(self) -> None:
        self.P = self.P + self.Q

    def update(self, H: np.ndarray, y: np.ndarray) -> None:
        K = self.P @ H.T @ np.linalg.inv(H @ self.P @ H.T + self.R)
        self.mean = self.mean + K @ (y - H @ self.mean)
        left = np.eye(len(self.mean)) - K @ H
        self.P = left @ self.P @ left.T + K @ self.R @ K.T


def least_squares(H: np.ndarray, ys: np.ndarray, prior: float, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Θ and the covariance of each of its rows, from all data at once."""
    precision = H.T @ H / scale**2 + prior * np.eye(H.shape[1])
    return np.linalg.solve(precision, H.T @ ys / scale**2).T, np.linalg.inv(precision)


def relative(a, b) -> float:
    return float(np.max(np.abs(np.asarray(a) - b)) / np.max(np.abs(b)))


# ---------------------------------------------------------------- recursive least squares and Kalman


@pytest.mark.parametrize("engine", ["numpy", "eager"])
@pytest.mark.parametrize("prior", [1e-8, 0.3])
def test_the_full_matrix_is_recursive_least_squares(engine, prior):
    """At every tenth of 1000 steps, closed form; the covariance too."""
    xs, H, ys, _ = samples(2, 3)
    steps = STEPS if engine == "numpy" else 100
    learner = fg.Learner(regression(), fg.RTRL(), InformationFilter("full", "exact", prior=prior), engine=engine)
    for t in range(0, steps, 10):
        learner.run(xs[t : t + 10], ys[t : t + 10])
        theta, covariance = least_squares(H[: t + 10], ys[: t + 10], prior, 0.7)
        assert relative(learner.params["theta"], theta) < 1e-10
        std = np.broadcast_to(np.sqrt(np.diagonal(covariance)), (2, 3))
        assert relative(learner.parameter_std()["theta"], std) < 1e-10


def test_least_squares_sees_a_wrong_scale_and_a_wrong_fisher():
    """Negative controls: another noise, the outer product, and decay are all seen."""
    xs, H, ys, _ = samples(2, 3, 100)
    theta, _ = least_squares(H, ys, 0.3, 0.7)
    for system, filter_ in (
        (regression(scale=0.71), InformationFilter("full", "exact", prior=0.3)),
        (regression(), InformationFilter("full", "outer", prior=0.3)),
        (regression(), InformationFilter("full", "exact", prior=0.3, decay=1e-3)),
        (regression(), InformationFilter("diagonal", "exact", prior=0.3)),
    ):
        learner = fg.Learner(system, fg.RTRL(), filter_)
        learner.run(xs, ys)
        assert relative(learner.params["theta"], theta) > 1e-5


@pytest.mark.parametrize("kind", ["information", "covariance"])
def test_both_forms_are_a_textbook_kalman_filter_through_the_influence(kind):
    """Parameters of the transition: Ĵ comes through an exact influence; 1000 steps, some of them half observed."""
    rng = np.random.default_rng(1)
    xs = rng.normal(size=STEPS)
    h, G, ys, Hs = np.zeros(2), np.zeros((2, 4)), [], []
    for x in xs:
        h = 0.9 * h + np.array([0.5, -1.0]) * x + np.array([0.1, 0.2])
        G = 0.9 * G + np.hstack([x * np.eye(2), np.eye(2)])
        ys.append(h + 0.5 * rng.normal(size=2))
        Hs.append(G)
    ys = np.array(ys)
    ys[::7, 0] = np.nan
    ys[::11] = np.nan
    kalman = Kalman(4, np.eye(4) / 0.01, 0.25 * np.eye(2))
    filter_ = (
        InformationFilter("full", "exact", prior=0.01)
        if kind == "information"
        else ParameterFilter(initial_covariance=100.0, observation_noise=0.25)
    )
    learner = fg.Learner(driven(), fg.RTRL(), filter_)
    for t in range(STEPS):
        before = learner.predict(xs[t])
        learner.step(xs[t], ys[t])
        seen = ~np.isnan(ys[t])
        if seen.any():
            # the state was made with the θ of the past: the innovation is that of the prediction made
            H = Hs[t][seen]
            K = kalman.P @ H.T @ np.linalg.inv(H @ kalman.P @ H.T + kalman.R[np.ix_(seen, seen)])
            kalman.mean = kalman.mean + K @ (ys[t] - before)[seen]
            kalman.P = kalman.P - K @ H @ kalman.P
        got = np.concatenate([learner.params["b"], learner.params["c"]])
        assert relative(got, kalman.mean) < 1e-10 if t else True
    std = np.concatenate([learner.parameter_std()["b"], learner.parameter_std()["c"]])
    assert relative(std, np.sqrt(np.diagonal(kalman.P))) < 1e-10


def test_the_covariance_form_with_process_noise_is_a_textbook_kalman_filter():
    """Parameters wander at every step; a third of the samples have no target."""
    xs, H, ys, _ = samples(2, 3)
    ys[::3] = np.nan
    filter_ = ParameterFilter(initial_covariance=2.0, process_noise=1e-2, observation_noise=0.49)
    learner = fg.Learner(regression(), fg.RTRL(), filter_)
    kalman, still, late = (Kalman(6, 2.0 * np.eye(6), 0.49 * np.eye(2), Q=q) for q in (1e-2, 0.0, 1e-2))
    for t in range(STEPS):
        J = np.kron(np.eye(2), H[t])
        kalman.predict()
        _, std = learner.predict(xs[t], return_std=True)
        assert relative(std, np.sqrt(np.diagonal(J @ kalman.P @ J.T))) < 1e-10
        learner.step(xs[t], ys[t])
        if t % 3:
            for one in (kalman, still, late):
                one.update(J, ys[t])
            late.predict()
        assert relative(learner.parameter_std()["theta"].ravel(), np.sqrt(np.diagonal(kalman.P))) < 1e-10
        if t:
            assert relative(learner.params["theta"].ravel(), kalman.mean) < 1e-10
    # negative controls: without process noise, and with parameters that stand still while they are not seen
    assert relative(still.mean, kalman.mean) > 1e-2
    assert relative(late.mean, kalman.mean) > 1e-3


@pytest.mark.parametrize("kind", ["information", "covariance", "process noise"])
def test_filterpy_comes_to_the_same(kind):
    """A Kalman filter of another library on θ, over 1000 steps, a third of them without a target."""
    filterpy = pytest.importorskip("filterpy.kalman")
    xs, H, ys, _ = samples(2, 3)
    ys[::3] = np.nan
    Q = 1e-2 if kind == "process noise" else 0.0
    filter_ = (
        InformationFilter("full", "exact", prior=0.5)
        if kind == "information"
        else ParameterFilter(initial_covariance=2.0, process_noise=Q, observation_noise=0.49)
    )
    learner = fg.Learner(regression(), fg.RTRL(), filter_)
    other = filterpy.KalmanFilter(dim_x=6, dim_z=2)
    other.x, other.P, other.Q, other.R = np.zeros((6, 1)), 2.0 * np.eye(6), Q * np.eye(6), 0.49 * np.eye(2)
    for t in range(STEPS):
        learner.step(xs[t], ys[t])
        other.predict()
        other.update(ys[t].reshape(2, 1) if t % 3 else None, H=np.kron(np.eye(2), H[t]))
        if t:
            assert relative(learner.params["theta"].ravel(), other.x[:, 0]) < 1e-10
        assert relative(learner.parameter_std()["theta"].ravel(), np.sqrt(np.diagonal(other.P))) < 1e-10


def test_the_covariance_form_without_process_noise_is_the_information_form():
    xs, _, ys, _ = samples(2, 3, 300)
    made = []
    for filter_ in (
        InformationFilter(Full(joint=True), "exact", prior=0.5),
        ParameterFilter(initial_covariance=2.0, observation_noise=0.49),
    ):
        learner = fg.Learner(regression(), fg.RTRL(), filter_)
        learner.run(xs, ys)
        made.append(
            (learner.params["theta"], learner.parameter_std()["theta"], *learner.predict(xs[0], return_std=True))
        )
    for a, b in zip(*made, strict=True):
        assert relative(a, b) < 1e-10


def test_adaptive_observation_noise_finds_the_noise():
    """The standard deviation of the data's noise is 0.7 and the filter begins with 10; its band follows."""
    xs, _, ys, _ = samples(2, 3, 4000)
    filter_ = ParameterFilter(observation_noise="adaptive", initial_noise=100.0, memory=0.998)
    learner = fg.Learner(regression(), fg.RTRL(), filter_)
    learner.run(xs, ys)
    state = learner._unpacked.optimizer
    np.testing.assert_allclose(np.sqrt(state.noise), 0.7, rtol=0.12)
    fixed = fg.Learner(regression(), fg.RTRL(), ParameterFilter(observation_noise=100.0))
    fixed.run(xs, ys)
    np.testing.assert_array_equal(fixed._unpacked.optimizer.noise, 100.0)  # negative control


def test_each_prediction_may_have_its_own_observation_noise():
    """Both forms with two noises; exchanged they come to something else, and three do not fit."""
    xs, _, ys, _ = samples(2, 3, 100)
    made = []
    for filter_, scale in (
        (InformationFilter(Full(joint=True), "exact", prior=0.5), (0.7, 0.2)),
        (ParameterFilter(2.0, observation_noise=np.array([0.49, 0.04])), 1.0),
        (ParameterFilter(2.0, observation_noise=[0.04, 0.49]), 1.0),
    ):
        learner = fg.Learner(regression(scale=scale), fg.RTRL(), filter_)
        learner.run(xs, ys)
        made.append(np.concatenate([np.ravel(learner.params["theta"]), np.ravel(learner.parameter_std()["theta"])]))
    assert relative(made[1], made[0]) < 1e-10
    assert relative(made[2], made[0]) > 1e-3
    with pytest.raises(fg.errors.DeclarationError, match=r"observation_noise.*\n.*2 predictions"):
        fg.Learner(regression(), fg.RTRL(), ParameterFilter(observation_noise=np.ones(3)))
    hash(ParameterFilter(observation_noise=np.ones(3)))


# ---------------------------------------------------------------- how far apart prior and data may be


def plane(dtype=float, scale=1.0) -> fg.System:
    """ŷ = a·x without dynamics."""

    def Y(h, x, theta):
        return np.reshape(theta["a"] @ x, (1,))

    zero = np.zeros(2, dtype)
    return fg.System(lambda h, x, theta: h, Y, zero[:1], {"a": zero}, zero, fg.losses.SquaredError(scale))


def rational(xs, ys, covariance: float, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviations of a in exact arithmetic."""
    S, v = [[1 / Fraction(covariance), Fraction(0)], [Fraction(0), 1 / Fraction(covariance)]], [Fraction(0)] * 2
    for x, y in zip(xs, ys[:, 0], strict=True):
        for i, j in itertools.product(range(2), repeat=2):
            S[i][j] += Fraction(float(x[i])) * Fraction(float(x[j])) / Fraction(noise)
        for i in range(2):
            v[i] += Fraction(float(x[i])) * Fraction(float(y)) / Fraction(noise)
    determinant = S[0][0] * S[1][1] - S[0][1] ** 2
    inverse = [[S[1][1] / determinant, -S[0][1] / determinant], [-S[0][1] / determinant, S[0][0] / determinant]]
    mean = [float(row[0] * v[0] + row[1] * v[1]) for row in inverse]
    return np.array(mean), np.sqrt([float(inverse[0][0]), float(inverse[1][1])])


EXTREMES = [  # initial covariance, R, and whether double precision can hold both
    (1e4, 1e-4, True),
    (1e12, 1e-8, True),
    (1e-150, 1e-152, True),
    (1e150, 1e148, True),
    (1e10, 1e-12, True),
    (1e16, 1e-16, False),
    (1e20, 1e-12, False),
    (1e150, 1.0, False),
    (1e200, 1.0, False),
    (1.0, 1e-300, False),
]


@pytest.mark.parametrize("engine", ["numpy", "eager"])
@pytest.mark.parametrize("kind", ["information", "covariance"])
@pytest.mark.parametrize(("covariance", "noise", "held"), EXTREMES)
def test_a_prior_too_far_from_the_data_is_refused(kind, covariance, noise, held, engine):
    """Right to 1e-3 or refused at the first step: nothing in between is silent."""
    xs = np.random.default_rng(0).normal(size=(3, 2))
    ys = (xs @ np.array([1.0, 2.0]))[:, None]
    filter_ = (
        InformationFilter("full", "exact", prior=1 / covariance)
        if kind == "information"
        else ParameterFilter(covariance, observation_noise=noise)
    )
    learner = fg.Learner(plane(scale=np.sqrt(noise)), fg.RTRL(), filter_, engine=engine)
    if held:
        learner.run(xs, ys)
        mean, std = rational(xs, ys, covariance, noise)
        variances = learner._execution.steps.informed.variances(learner._unpacked.optimizer)
        assert relative(np.sqrt(variances["a"]), std) < 1e-3  # what is shown is more: the data contradict the prior
        assert np.all(np.abs(learner.params["a"] - mean) < 1e-3 * (np.abs(mean) + std))
    else:
        with pytest.raises(fg.errors.NonFiniteError, match="too far"):
            learner.step(xs[0], ys[0])
        np.testing.assert_array_equal(learner.params["a"], 0.0)


@pytest.mark.parametrize("filter_", [ParameterFilter(1e16), InformationFilter("full", "exact", prior=1e-16)], ids=repr)
def test_how_far_is_measured_in_the_units_of_the_prediction(filter_):
    """A parameter of 1e8 with inputs of 1e-8 is as good as one of 1, which inputs of 1e8 are not."""
    xs = np.random.default_rng(0).normal(size=(3, 2))
    learner = fg.Learner(plane(), fg.RTRL(), filter_)
    learner.run(1e-8 * xs, (xs @ np.array([1.0, 2.0]))[:, None])
    again = fg.Learner(plane(), fg.RTRL(), filter_)
    with pytest.raises(fg.errors.NonFiniteError, match="too far"):
        again.step(1e8 * xs[0], np.ones(1))


def test_what_the_precision_of_the_parameters_does_not_hold_is_refused():
    """1e-60 is 0 in single precision, and 1e60 infinite."""
    for value in (1e-60, 1e60):
        for filter_ in (
            ParameterFilter(value),
            ParameterFilter(process_noise={"a": value}),
            ParameterFilter(observation_noise=value),
            ParameterFilter(observation_noise="adaptive", initial_noise=value),
            InformationFilter("full", prior=value),
            InformationFilter("diagonal", prior={"a": value}),
        ):
            with pytest.raises(fg.errors.DeclarationError, match="float32"):
                fg.Learner(plane(np.float32), fg.RTRL(), filter_)
            fg.Learner(plane(), fg.RTRL(), filter_)


def test_the_std_of_a_prediction_is_that_of_least_squares():
    xs, H, ys, _ = samples(2, 3, 200)
    learner = fg.Learner(regression(), fg.RTRL(), InformationFilter("full", "exact", prior=0.3))
    learner.run(xs[:-1], ys[:-1])
    prediction, std = learner.predict(xs[-1], return_std=True)
    np.testing.assert_array_equal(prediction, learner.predict(xs[-1]))
    _, covariance = least_squares(H[:-1], ys[:-1], 0.3, 0.7)
    assert relative(std, np.full(2, np.sqrt(H[-1] @ covariance @ H[-1]))) < 1e-10
    with pytest.raises(fg.errors.DeclarationError, match="expected a filter"):
        fg.Learner(regression(), fg.RTRL()).predict(xs[0], return_std=True)
    with pytest.raises(fg.errors.DeclarationError, match="expected a filter"):
        fg.Learner(regression(), fg.RTRL()).parameter_std()


# ---------------------------------------------------------------- matrices against dense ones

SHAPES = {"W": (3, 4), "b": (3,), "s": (2,), "V": (2, 3), "c": (2,)}
GROUPS = [{"W": 0, "b": 0}, {"V": 0, "c": 0}]
SETTING = Setting(SHAPES, np.dtype(float), ("W", "b", "s"))
PRIOR = {"W": 0.5, "b": 2.0, "s": 1.0, "V": 0.3, "c": 1e-3}


def flat(leaves) -> np.ndarray:
    return np.concatenate([np.ravel(leaves[k]) for k in SHAPES])


def units() -> tuple[np.ndarray, np.ndarray]:
    """For every parameter its unit (−1 for none), and whether it is a bias."""
    unit, bias, count = {}, {}, 0
    for group, b in zip(GROUPS, ("b", "c"), strict=True):
        for k in group:
            unit[k] = np.broadcast_to(
                np.reshape(np.arange(SHAPES[k][0]), (-1,) + (1,) * (len(SHAPES[k]) - 1)), SHAPES[k]
            )
            unit[k] = unit[k] + count
            bias[k] = np.full(SHAPES[k], k == b)
        count += SHAPES[b][0]
    unit["s"], bias["s"] = np.full(2, -1), np.zeros(2, bool)
    return flat(unit), flat(bias)


def kept(matrix) -> np.ndarray:
    """Which entries of the full matrix a form keeps."""
    unit, bias = units()
    size = len(unit)
    same = (unit[:, None] == unit[None, :]) & (unit >= 0)[:, None]
    group = flat({k: np.full(s, k in ("V", "c")) for k, s in SHAPES.items()})
    masks = {
        "Full": group[:, None] == group[None, :],
        "Joint": np.ones((size, size), bool),
        "Diagonal": np.eye(size, dtype=bool),
        "Block": same | np.eye(size, dtype=bool),
        "QuasiDiagonal": (same & (bias[:, None] | bias[None, :])) | np.eye(size, dtype=bool),
    }
    return masks["Joint" if getattr(matrix, "joint", False) else type(matrix).__name__]


def completed(matrix, S: np.ndarray) -> np.ndarray:
    """What the form stands for: the kept entries, and zeros, or S_0i S_0j / S_00 in the units of QuasiDiagonal."""
    mask = kept(matrix)
    made = np.where(mask, S, 0.0)
    if isinstance(matrix, QuasiDiagonal):
        unit, bias = units()
        for u in range(unit.max() + 1):
            here = np.flatnonzero(unit == u)
            (zero,) = [i for i in here if bias[i]]
            for i in here:
                for j in here:
                    if not mask[i, j]:
                        made[i, j] = S[zero, i] * S[zero, j] / S[zero, zero]
    return made


FORMS = [
    Full(),
    Full(joint=True),
    Diagonal(),
    Block(units=GROUPS),
    QuasiDiagonal(units=GROUPS, biases=("b", "c")),
]


@pytest.mark.parametrize("matrix", FORMS, ids=repr)
@pytest.mark.parametrize("rank", [1, 3])
@pytest.mark.parametrize(("decay", "inflation"), [(0.0, 0.0), (0.05, 0.0), (0.0, 0.02), (0.1, 0.02), ("sqrt", 0.0)])
def test_a_matrix_is_the_reduction_of_the_full_one(matrix, rank, decay, inflation):
    """At every step: entries kept are those of the full matrix, the solve is the dense one, and so is the metric."""
    rng = np.random.default_rng(0)
    schedule = fg.schedules.inverse_power(1.0) if decay == "sqrt" else decay
    declared = InformationFilter(matrix, "outer", schedule, tuple(PRIOR.items()), inflation)
    bound = declared.bind(SETTING)
    params = {k: rng.normal(size=s) for k, s in SHAPES.items()}
    state = bound.init(params)
    prior = flat({k: np.full(s, PRIOR[k]) for k, s in SHAPES.items()})
    J, weight = np.zeros((len(prior), len(prior))), 1.0
    wrong = 0.0
    for t in range(1, 16):
        rows = {k: rng.normal(size=(rank, *s)) for k, s in SHAPES.items()}
        grads = {k: rng.normal(size=s) for k, s in SHAPES.items()}
        updates, state = bound.update(grads, state, params, Evidence(rows))
        gamma = 1 / np.sqrt(t) if decay == "sqrt" else decay
        U = np.array([flat({k: r[i] for k, r in rows.items()}) for i in range(rank)])
        J = (1 - gamma) / (1 + inflation) * J + U.T @ U
        weight /= 1 + inflation
        S = J + weight * np.diag(prior)
        dense = bound.form.dense(state.matrix)
        assert relative(dense, completed(matrix, S)) < 1e-12
        np.testing.assert_allclose(dense[kept(matrix)], S[kept(matrix)], rtol=1e-10, atol=1e-13)
        solution = np.linalg.solve(completed(matrix, S), flat(grads))
        assert relative(-flat(updates), solution) < 1e-9
        norm = flat(grads) @ solution
        metric = bound.metric(state)
        assert abs(metric.squared_norm(grads) - norm) < 1e-9 * norm
        partial = {k: grads[k] for k in ("W", "b")}
        alone = flat({k: grads[k] if k in partial else np.zeros(s) for k, s in SHAPES.items()})
        assert abs(metric.squared_norm(partial) - alone @ np.linalg.solve(completed(matrix, S), alone)) < 1e-9 * norm
        inverse = np.linalg.inv(completed(matrix, S))
        assert relative(flat(bound.variances(state)), np.diagonal(inverse)) < 1e-9
        wrong = max(wrong, relative(solution, np.linalg.solve(S, flat(grads))))
    assert wrong > 1e-2 or getattr(matrix, "joint", False)  # negative control: a reduction is not the full matrix


def test_quasi_diagonal_with_one_weight_is_the_full_two_by_two():
    """A unit of one weight and a bias: nothing is left out, so it is the full matrix."""
    shapes = {"w": (1,), "b": (1,)}
    setting = Setting(shapes, np.dtype(float), ("w", "b"))
    two = [QuasiDiagonal(units=[{"w": 0, "b": 0}], biases=["b"]), Full()]
    for other in (Full(), Diagonal()):
        filters = [InformationFilter(m, decay=0.03, prior=0.2).bind(setting) for m in (two[0], other)]
        rng = np.random.default_rng(0)
        params = {k: np.zeros(s) for k, s in shapes.items()}
        states = [f.init(params) for f in filters]
        worst = 0.0
        for _ in range(50):
            g = {k: rng.normal(size=s) + 1.0 for k, s in shapes.items()}
            made = [f.update(g, s, params) for f, s in zip(filters, states, strict=True)]
            states = [s for _, s in made]
            worst = max(worst, max(relative(made[0][0][k], made[1][0][k]) for k in shapes))
        assert worst < 1e-10 if isinstance(other, Full) else worst > 1e-2


def test_low_rank_has_the_mean_it_says():
    """Over all signs, E S = Λ + J on the diagonal and (1 − β) J off it; the solve and the metric are dense ones."""
    shapes = {"w": (3,), "v": (2,)}
    setting = Setting(shapes, np.dtype(float), ("w",))
    for beta, discount in ((0.5, 0.0), (0.2, 0.1)):
        bound = InformationFilter(LowRank(2, beta), decay=discount, prior=0.5).bind(setting)
        rng = np.random.default_rng(0)
        params = {k: np.zeros(s) for k, s in shapes.items()}
        grads = [{k: rng.normal(size=s) for k, s in shapes.items()} for _ in range(2)]
        mean, count, spread = np.zeros((5, 5)), 0, []
        for signs in itertools.product((-1.0, 1.0), repeat=8):
            state = bound.init(params)
            for t, g in enumerate(grads):
                mine = np.reshape(signs[4 * t : 4 * t + 4], (2, 2, 1))
                updates, state = bound.update(g, state, params, Evidence(noise=(mine[0], mine[1])))
            S = bound.form.dense(state.matrix)
            mean, count = mean + S, count + 1
            spread.append(S)
            g = np.concatenate([grads[1]["w"], grads[1]["v"]])
            solved = np.linalg.solve(S, g)
            assert relative(-np.concatenate([updates["w"], updates["v"]]), solved) < 1e-12
            assert abs(bound.metric(state).squared_norm(grads[1]) - g @ solved) < 1e-12
            inverse = np.diagonal(np.linalg.inv(S))
            assert relative(np.concatenate([*bound.variances(state).values()]), inverse) < 1e-12
        J = np.zeros((5, 5))
        for g in grads:
            u = np.concatenate([g["w"], g["v"]])
            J = (1 - discount) * J + np.outer(u, u)
        J[:3, 3:] = J[3:, :3] = 0.0
        expected = (1 - beta) * J + beta * np.diag(np.diagonal(J)) + 0.5 * np.eye(5)
        assert relative(mean / count, expected) < 1e-12
        assert relative(mean / count, J + 0.5 * np.eye(5)) > 1e-2  # negative control: without shrinking
        assert np.std(spread, axis=0).max() > 0.1  # it is random


# ---------------------------------------------------------------- units that the analyzer finds


def network(symbols: int = 3, units_: int = 4) -> fg.System:
    from fwdgrad import systems

    return systems.tanh_rnn(units=units_, symbols=symbols)


@pytest.mark.parametrize("name", ["block", "quasi-diagonal"])
def test_units_of_the_analyzer_are_those_given_by_hand(name):
    xs, ys = fg.streams.next_symbol([0, 1, 2, 1] * 20)
    groups = [{"W": 0, "R": 0, "b": 0}, {"V": 0, "c": 0}]
    hand = Block(groups) if name == "block" else QuasiDiagonal(groups, ("b", "c"))
    paths = []
    for matrix in (name, hand, "diagonal"):
        learner = fg.Learner(network(), fg.RTRL(), InformationFilter(matrix, decay=0.01))
        learner.run(xs, ys)
        paths.append(np.concatenate([np.ravel(v) for v in learner.params.values()]))
    assert relative(paths[0], paths[1]) < 1e-9
    assert relative(paths[0], paths[2]) > 1e-3  # negative control


# ---------------------------------------------------------------- invariance


TINY = 1e-14
"""A prior that takes part in the change of variables only where a test says so; what it adds is far below 1e-8."""


def trained(system, matrix, prior, xs, ys, begin=None, estimator=None) -> dict[str, np.ndarray]:
    """Parameters after every step; `begin` replaces the state of the matrix before the first."""
    learner = fg.Learner(system, estimator or fg.RTRL(), InformationFilter(matrix, "outer", 0.01, prior))
    if begin is not None:
        carry = learner._unpacked
        optimizer = carry.optimizer._replace(matrix=begin(carry.optimizer.matrix))
        learner._loop.carry = learner._execution.pack(carry._replace(optimizer=optimizer))
    path = []
    for x, y in zip(xs, ys, strict=True):
        learner.step(x, y)
        path.append({k: v.copy() for k, v in learner.params.items()})
    return {k: np.array([p[k] for p in path]) for k in path[0]}


def test_the_full_matrix_does_not_see_a_linear_reparametrisation():
    """θ = M φ: φ learns what θ learns, for any invertible M, from J₀ that is the same matrix in both."""
    rng = np.random.default_rng(3)
    M = rng.normal(size=(3, 3)) + 2 * np.eye(3)
    start = np.array([0.5, -0.3, 0.2])

    def build(matrix):
        def F(h, x, theta):
            t = matrix @ theta["t"]
            return np.tanh(np.stack([t[0] * h[1] + x, t[1] * h[0] + t[2]]))

        return fg.System(F, None, np.zeros(2), {"t": np.linalg.solve(matrix, start)}, 0.0)

    def seeded(matrix):
        factor = np.linalg.cholesky(matrix.T @ matrix).T
        return lambda state: state._replace(factors=(factor[None],))

    xs, ys = rng.normal(size=300), rng.normal(size=(300, 2))
    one = trained(build(np.eye(3)), "full", TINY, xs, ys, seeded(np.eye(3)))["t"]
    other = trained(build(M), "full", TINY, xs, ys, seeded(M))["t"]
    assert np.max(np.abs(one[-1] - start)) > 0.1  # it has learned something
    assert np.max(np.abs(other @ M.T - one)) < 1e-8
    control = trained(build(M), "full", TINY, xs, ys, seeded(np.eye(3)))["t"]  # negative control: another J₀
    assert np.max(np.abs(control @ M.T - one)) > 1e-3
    scaled = [trained(build(m), "diagonal", 1.0, xs, ys)["t"] for m in (np.eye(3), M)]
    assert np.max(np.abs(scaled[1] @ M.T - scaled[0])) > 1e-3  # negative control: another matrix


@pytest.mark.filterwarnings("ignore::fwdgrad.errors.DeadParameterWarning")  # the control saturates the unit of b
def test_the_diagonal_does_not_see_a_rescaling():
    rng = np.random.default_rng(4)
    scales = np.array([1e-3, 1.0, 40.0])
    start = np.array([0.5, -0.3, 0.2])

    def build(scale, first):
        def F(h, x, theta):
            t = scale * theta["t"]
            return np.tanh(np.stack([t[0] * h[1] + x, t[1] * h[0] + t[2]]))

        def split(h, x, theta):
            return F(h, x, {"t": np.concatenate([theta["a"], theta["b"], theta["c"]])})

        return fg.System(split, None, np.zeros(2), {k: first[i : i + 1] for i, k in enumerate("abc")}, 0.0)

    xs, ys = rng.normal(size=300), rng.normal(size=(300, 2))
    plain = trained(build(np.ones(3), start), "diagonal", 0.5, xs, ys)
    priors = {k: 0.5 * s**2 for k, s in zip("abc", scales, strict=True)}
    other = trained(build(scales, start / scales), "diagonal", priors, xs, ys)
    for i, k in enumerate("abc"):
        assert np.max(np.abs(other[k] * scales[i] - plain[k])) < 1e-8
    euclid = [fg.Learner(s, fg.RTRL(), fg.SGD(0.01)) for s in (build(np.ones(3), start), build(scales, start / scales))]
    for learner in euclid:
        learner.run(xs, ys)
    assert abs(float(euclid[1].params["c"][0]) * scales[2] - float(euclid[0].params["c"][0])) > 1e-3  # control


def test_the_quasi_diagonal_does_not_see_an_affine_change_of_a_units_inputs():
    """tanh networks fed with a, or with α a + β: the same function, and the same whole trajectory of learning."""
    rng = np.random.default_rng(5)
    n, alpha, beta = 3, np.array([2.0, 0.3, 5.0]), np.array([0.7, -1.5, 3.0])
    W, b = rng.normal(size=(n, n)) * 0.5, rng.normal(size=n)

    def build(scale, shift, weights, biases):
        def F(h, x, theta):
            return theta["W"] @ (scale * np.tanh(h) + shift) + theta["b"] + x

        return fg.System(F, None, np.zeros(n), {"W": weights, "b": biases}, np.zeros(n))

    xs, ys = rng.normal(size=(300, n)), rng.normal(size=(300, n))
    weights, biases = W / alpha, b - (W / alpha) @ beta
    plain = (build(np.ones(n), np.zeros(n), W, b), "W", TINY)

    def back(path):
        """Weights and biases of the first network from those of the second."""
        return path["W"] * alpha, path["b"] + path["W"] @ beta

    def seeded(scale, shift):
        """J₀ = Id for the first; the second has u_ij' = α_j u_ij + β_j u_i0."""
        ones = np.ones((n, n))
        return lambda state: state._replace(
            bias=(np.ones(n),), column={"W": shift * ones}, pivot={"W": scale**2 * ones}
        )

    one = trained(plain[0], "quasi-diagonal", TINY, xs, ys, seeded(np.ones(n), np.zeros(n)))
    other = trained(build(alpha, beta, weights, biases), "quasi-diagonal", TINY, xs, ys, seeded(alpha, beta))
    gaps = [np.max(np.abs(x - one[k])) for k, x in zip("Wb", back(other), strict=True)]
    assert max(gaps) < 1e-8
    assert np.max(np.abs(one["W"][-1] - W)) > 0.1  # it has learned something
    # negative control: the diagonal sees it, though it is given the same J₀ on its diagonal
    ends = []
    for scale, shift, first in ((np.ones(n), np.zeros(n), (W, b)), (alpha, beta, (weights, biases))):
        begin = {"W": (scale**2 + shift**2) * np.ones((n, n)), "b": np.ones(n)}
        ends.append(trained(build(scale, shift, *first), "diagonal", TINY, xs, ys, lambda _, begin=begin: begin))
    assert np.max(np.abs(back(ends[1])[0] - ends[0]["W"])) > 1e-2
