"""Optimizers and schedules against textbook loops, closed forms, and the rules of their contract."""

from __future__ import annotations

import copy
import dataclasses
import json
import math

import numpy as np
import pytest
from numpy.lib.mixins import NDArrayOperatorsMixin

import fwdgrad as fg
from fwdgrad.errors import DeclarationError, ShapeError, UnknownNameError
from fwdgrad.learning.checkpoint import describe, rebuild
from fwdgrad.optimizers import (
    SGD,
    AdaGrad,
    Adam,
    AdamW,
    Clipped,
    InformationFilter,
    Momentum,
    Optimizer,
    ParameterFilter,
    PerLeaf,
    RMSprop,
    schedules,
)
from fwdgrad.optimizers.schedules import as_schedule

ALL = [
    SGD(0.1),
    SGD(schedules.inverse_sqrt(1e-3, 0.03)),
    SGD(lambda t: np.where(t < 2, 0.1, 0.01)),
    Adam(),
    Adam(schedules.inverse_power(0.1), beta1=0.0, beta2=0.0),
    AdaGrad(0.1),
    AdaGrad(schedules.inverse_time(0.1, 0.5)),
    Momentum(0.02),
    Momentum(schedules.inverse_time(0.02, 0.5), 0.8, nesterov=True),
    RMSprop(0.01),
    RMSprop({"W": 0.01, "b": 0.02, "a": schedules.by_update(0.03)}, beta=0.0, eps=0.1),
    AdamW(),
    AdamW([0.01, schedules.inverse_power(0.1), 0.02], weight_decay=0.5),
    Clipped(SGD(0.1), 0.5),
    Clipped(Adam(schedules.inverse_time(0.1, 0.5))),
    SGD([0.1, schedules.inverse_time(0.1, 0.5), 0.02]),
    Adam({"W": 0.1, "b": schedules.by_update(0.02), "a": 0.03}),
    AdaGrad({"a": 0.1, "W": schedules.by_update(schedules.inverse_power(0.2)), "b": 0.03}),
]
EVERY = pytest.mark.parametrize("opt", ALL, ids=lambda opt: repr(opt).split(" at 0x")[0])  # the same every time


def problem(dtype=np.float64, steps=30, seed=0):
    """Parameters of three shapes, and a gradient for each at every step (some of them zero)."""
    rng = np.random.default_rng(seed)
    shapes = {"W": (3, 4), "b": (4,), "a": ()}
    params = {k: np.array(rng.normal(size=s), dtype=dtype) for k, s in shapes.items()}
    grads = [
        {k: np.array(rng.normal(size=s) * (rng.random(size=s) < 0.8), dtype=dtype) for k, s in shapes.items()}
        for _ in range(steps)
    ]
    return params, grads


def run(opt, params, grads):
    """Parameters after each update."""
    state, path = opt.init(params), []
    for g in grads:
        updates, state = opt.update(g, state, params)
        params = {k: params[k] + updates[k] for k in params}
        path.append(params)
    assert float(state.t) == len(grads)
    return path


def gap(path, other):
    """Largest difference between two paths, relative to the values where these exceed 1."""
    return max(
        float(np.max(np.abs(p[k] - q[k]) / (1 + np.abs(q[k])))) for p, q in zip(path, other, strict=True) for k in p
    )


def literal_adam(params, grads, rate, beta1, beta2, eps, *, correct=True, correct_eps=True):
    """Kingma and Ba (2015), Algorithm 1, number by number; the flags break it for the negative controls."""
    path = []
    theta = {k: p.ravel().tolist() for k, p in params.items()}
    m = {k: [0.0] * p.size for k, p in params.items()}
    v = {k: [0.0] * p.size for k, p in params.items()}
    for t, gs in enumerate(grads, start=1):
        for k, g_array in gs.items():
            for i, g in enumerate(g_array.ravel().tolist()):
                m[k][i] = beta1 * m[k][i] + (1 - beta1) * g
                v[k][i] = beta2 * v[k][i] + (1 - beta2) * g**2
                m_hat = m[k][i] / (1 - beta1**t) if correct else m[k][i]
                v_hat = v[k][i] / (1 - beta2**t) if correct else v[k][i]
                e = eps if correct_eps else eps / math.sqrt(1 - beta2**t)
                theta[k][i] -= rate(t) * m_hat / (math.sqrt(v_hat) + e)
        path.append({k: np.reshape(theta[k], p.shape) for k, p in params.items()})
    return path


@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.5, 0.6), (0.0, 0.9), (0.9, 0.0), (0.0, 0.0)])
@pytest.mark.parametrize("eps", [1e-8, 0.3])
def test_adam_is_algorithm_1(betas, eps):
    """Folding the bias corrections into scalars changes nothing but the rounding."""
    params, grads = problem()
    path = run(Adam(0.01, *betas, eps), params, grads)
    assert gap(path, literal_adam(params, grads, lambda t: 0.01, *betas, eps)) < 1e-13


def test_adam_with_a_schedule_is_algorithm_1():
    """The rate of step t is the schedule at t, from t = 1 on."""
    params, grads = problem()
    path = run(Adam(schedules.inverse_time(0.1, 0.5)), params, grads)
    assert gap(path, literal_adam(params, grads, lambda t: 0.1 / (1 + 0.5 * t), 0.9, 0.999, 1e-8)) < 1e-13
    late = literal_adam(params, grads, lambda t: 0.1 / (1 + 0.5 * (t - 1)), 0.9, 0.999, 1e-8)
    assert gap(path, late) > 1e-3  # negative control: off by one step


def test_adam_oracle_sees_missing_corrections():
    """Negative controls: without bias correction, or with the uncorrected eps, the paths part."""
    params, grads = problem()
    path = run(Adam(0.01, eps=0.3), params, grads)
    args = (params, grads, lambda t: 0.01, 0.9, 0.999, 0.3)
    assert gap(path, literal_adam(*args)) < 1e-13
    assert gap(path, literal_adam(*args, correct=False)) > 1e-3
    assert gap(path, literal_adam(*args, correct_eps=False)) > 1e-3


def test_adagrad_is_duchi_et_al():
    """Figure 1 of Duchi et al. (2011): s_i is the norm of the whole gradient history of coordinate i."""
    params, grads = problem()
    for rate, eps in [(0.1, 1e-10), (0.1, 0.5)]:
        path = run(AdaGrad(rate, eps), params, grads)
        theta = {k: p.astype(np.float64) for k, p in params.items()}
        for t in range(len(grads)):
            for k in theta:
                history = np.stack([g[k] for g in grads[: t + 1]])
                theta[k] = theta[k] - rate * grads[t][k] / (eps + np.linalg.norm(history, axis=0))
            assert gap([theta], [path[t]]) < 1e-13


def test_adagrad_on_a_constant_gradient():
    """With g constant the steps are η/√t, whatever the size of g."""
    params = {"w": np.zeros(2)}
    path = run(AdaGrad(0.5), params, [{"w": np.array([3.0, -1e-3])}] * 50)
    total = 0.5 * sum(1 / math.sqrt(t) for t in range(1, 51))
    np.testing.assert_allclose(path[-1]["w"], [-total, total], rtol=1e-6)


def literal_momentum(params, grads, rate, mu, nesterov):
    """Polyak (1964) and Sutskever et al. (2013) in velocities: v ← μ v − η g, then θ + v, or θ + μ v − η g."""
    theta, v = {k: p.copy() for k, p in params.items()}, {k: np.zeros_like(p) for k, p in params.items()}
    path = []
    for g in grads:
        for k in theta:
            v[k] = mu * v[k] - rate * g[k]
            theta[k] = theta[k] + (mu * v[k] - rate * g[k] if nesterov else v[k])
        path.append(dict(theta))
    return path


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("mu", [0.0, 0.5, 0.9])
def test_momentum_is_polyak_and_nesterov(mu, nesterov):
    params, grads = problem()
    path = run(Momentum(0.02, mu, nesterov), params, grads)
    assert gap(path, literal_momentum(params, grads, 0.02, mu, nesterov)) < 1e-13
    if mu:  # negative control: the other of the two
        assert gap(path, literal_momentum(params, grads, 0.02, mu, not nesterov)) > 1e-3


def test_momentum_zero_is_sgd():
    params, grads = problem()
    assert gap(run(Momentum(0.1, 0.0), params, grads), run(SGD(0.1), params, grads)) == 0.0


def test_nesterov_is_faster_than_the_ball_is_faster_than_descent():
    """On a quadratic with condition 100, at the rate 1/L."""

    def left(opt):
        params, curvature = {"w": np.ones(2)}, np.array([1.0, 0.01])
        state = opt.init(params)
        for _ in range(150):
            updates, state = opt.update({"w": curvature * params["w"]}, state, params)
            params = {"w": params["w"] + updates["w"]}
        return float(np.linalg.norm(params["w"]))

    assert left(Momentum(1.0, 0.8, nesterov=True)) < 0.2 * left(SGD(1.0))
    assert left(Momentum(1.0, 0.8)) < 0.2 * left(SGD(1.0))


@pytest.mark.parametrize(("beta", "eps"), [(0.9, 1e-8), (0.0, 0.3), (0.5, 1e-3)])
def test_rmsprop_is_a_weighted_mean_of_squares(beta, eps):
    """v_t = (1 − β) Σ β^(t−s) g_s², summed up anew at every step."""
    params, grads = problem()
    path = run(RMSprop(0.02, beta, eps), params, grads)
    theta = {k: p.copy() for k, p in params.items()}
    for t in range(len(grads)):
        for k in theta:
            v = (1 - beta) * sum((beta ** (t - s)) * grads[s][k] ** 2 for s in range(t + 1))
            theta[k] = theta[k] - 0.02 * grads[t][k] / (np.sqrt(v) + eps)
        assert gap([theta], [path[t]]) < 1e-13


def test_adamw_is_algorithm_2():
    """θ ← θ − η λ θ at the old θ, and Adam's step; a penalty in the gradient is another thing."""
    params, grads = problem()
    path = run(AdamW(0.01, weight_decay=0.3), params, grads)
    expected, state, plain = {k: p.copy() for k, p in params.items()}, Adam(0.01).init(params), Adam(0.01)
    penalised, other = {k: p.copy() for k, p in params.items()}, Adam(0.01).init(params)
    for t, g in enumerate(grads):
        step, state = plain.update(g, state, expected)
        expected = {k: p - 0.01 * 0.3 * p + step[k] for k, p in expected.items()}
        step, other = plain.update({k: g[k] + 0.3 * p for k, p in penalised.items()}, other, penalised)
        penalised = {k: p + step[k] for k, p in penalised.items()}
        assert gap([expected], [path[t]]) < 1e-13
    assert gap([penalised], [path[-1]]) > 1e-3  # negative control


def test_adamw_without_decay_is_adam():
    params, grads = problem()
    assert gap(run(AdamW(0.01, weight_decay=0.0), params, grads), run(Adam(0.01), params, grads)) == 0.0


def test_clipped_is_by_the_norm_of_all_leaves():
    """Pascanu et al. (2013), Algorithm 1: long gradients get the norm c and keep their direction, others stay."""
    params, grads = problem()
    opt = Clipped(SGD(1.0), 2.0)
    lengths = [math.sqrt(sum(float(np.sum(g**2)) for g in gs.values())) for gs in grads]
    assert max(lengths) > 2.0
    for gs, length in zip(grads, lengths, strict=True):
        updates, _ = opt.update(gs, opt.init(params), params)
        for k, g in gs.items():
            np.testing.assert_allclose(updates[k], -g * min(1.0, 2.0 / length), rtol=1e-14)
    small = {k: 1e-3 * g for k, g in grads[0].items()}
    updates, _ = opt.update(small, opt.init(params), params)
    assert all(np.array_equal(updates[k], -g) for k, g in small.items())


def test_clipped_never_drops_a_gradient_without_a_word():
    """A gradient whose square overflows makes no step of length 0: what is not finite refuses the step."""
    params = {"w": np.zeros(2)}
    with np.errstate(over="ignore"):
        updates, _ = Clipped(SGD(1.0)).update({"w": np.array([1e200, 0.0])}, SGD(1.0).init(params), params)
    assert np.isnan(updates["w"][0])
    zero, _ = Clipped(SGD(1.0)).update({"w": np.zeros(2)}, SGD(1.0).init(params), params)
    assert np.array_equal(zero["w"], np.zeros(2))


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: Momentum(0.1, 1.0), r"Momentum\(momentum\)"),
        (lambda: Momentum(0.1, 0.9, "yes"), r"Momentum\(nesterov\)"),
        (lambda: Momentum(-0.1), r"Momentum\(rate\)"),
        (lambda: RMSprop(0.1, beta=-0.1), r"RMSprop\(beta\)"),
        (lambda: RMSprop(0.1, eps=0.0), r"RMSprop\(eps\)"),
        (lambda: AdamW(0.1, weight_decay=-1.0), r"AdamW\(weight_decay\)"),
        (lambda: AdamW(beta1=2.0), r"AdamW\(beta1\)"),
        (lambda: Clipped(SGD(0.1), 0.0), r"Clipped\(norm\)"),
        (lambda: Clipped(SGD), r"Clipped\(optimizer\)"),
        (lambda: Clipped(InformationFilter()), "a filter weighs samples"),
    ],
)
def test_what_makes_no_sense_is_named(make, expected):
    with pytest.raises(DeclarationError, match=expected):
        make()


@pytest.mark.parametrize(
    ("rate", "formula"),
    [
        (0.2, lambda t: 0.2),
        (schedules.constant(0.2), lambda t: 0.2),
        (schedules.inverse_time(0.2, 0.3), lambda t: 0.2 / (1 + 0.3 * t)),
        (schedules.inverse_sqrt(0.2, 0.3), lambda t: 0.2 / (1 + 0.3 * math.sqrt(t))),
        (schedules.inverse_power(0.2), lambda t: 0.2 / math.sqrt(t)),
        (schedules.inverse_power(0.2, 1), lambda t: 0.2 / t),
        (lambda t: 1 / (t + 1), lambda t: 1 / (t + 1)),
    ],
)
def test_sgd_on_a_constant_gradient(rate, formula):
    """The path is the sum of the rates at t = 1, 2, …, times the gradient."""
    params = {"w": np.array([1.0, -2.0])}
    g = np.array([3.0, 0.5])
    path = run(SGD(rate), params, [{"w": g}] * 40)
    total = math.fsum(formula(t) for t in range(1, 41))
    np.testing.assert_allclose(path[-1]["w"], params["w"] - total * g, rtol=1e-13)


def leaves(tree):
    """Arrays of a state or a dict, in order."""
    if isinstance(tree, dict):
        return [x for value in tree.values() for x in leaves(value)]
    return [x for value in tree for x in leaves(value)] if isinstance(tree, tuple) else [tree]


@EVERY
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtype_and_shape_are_kept(opt, dtype):
    """Updates and the parameter-sized state have the parameters' dtype, even for gradients of another; t is float64."""
    params, grads = problem(dtype, steps=3)
    other = {k: g.astype(np.float64) for k, g in grads[0].items()}
    state = opt.init(params)
    for g in (*grads, other):
        updates, state = opt.update(g, state, params)
        assert list(updates) == list(params)
        for k, p in params.items():
            assert updates[k].dtype == dtype
            assert updates[k].shape == p.shape
        for counted in (state.t, state.samples):
            assert counted.dtype == np.float64
            assert counted.shape == ()
        for tree in state[2:]:
            assert all(tree[k].dtype == dtype and tree[k].shape == p.shape for k, p in params.items())


@EVERY
def test_float32_follows_float64(opt):
    """The same path in both precisions, up to float32 rounding."""
    params, grads = problem(np.float32)
    wide = [{k: x.astype(np.float64) for k, x in d.items()} for d in [params, *grads]]
    assert gap(run(opt, params, grads), run(opt, wide[0], wide[1:])) < 1e-4


@EVERY
def test_update_is_pure(opt):
    """Arguments stay as they were, results share no memory with them, and a repetition gives the same again."""
    params, grads = problem(steps=2)
    _, state = opt.update(grads[0], opt.init(params), params)
    before = copy.deepcopy((grads[1], state, params))
    first = opt.update(grads[1], state, params)
    for x, y in zip(leaves((grads[1], state, params)), leaves(before), strict=True):
        np.testing.assert_array_equal(x, y)
    assert not any(np.shares_memory(x, y) for x in leaves(first) for y in leaves((grads[1], state, params)))
    for x, y in zip(leaves(opt.update(grads[1], state, params)), leaves(first), strict=True):
        np.testing.assert_array_equal(x, y)


class _Opaque(NDArrayOperatorsMixin):
    """Stands for a tracer: has a shape and a dtype, can be computed with, and never shows its value."""

    ops = 0

    def __init__(self, value):
        self.value = np.asarray(value)

    shape = property(lambda self: self.value.shape)
    dtype = property(lambda self: self.value.dtype)

    def astype(self, dtype):
        return _Opaque(self.value.astype(dtype))

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        assert method == "__call__", method
        assert not kwargs, kwargs  # an `out` would be an in-place operation
        result = _Opaque(ufunc(*(x.value if isinstance(x, _Opaque) else x for x in inputs)))
        _Opaque.ops += result.shape != ()
        return result

    def __array_function__(self, func, types, args, kwargs):
        assert func in (np.where, np.sum), func
        return _Opaque(func(*(x.value if isinstance(x, _Opaque) else x for x in args), **kwargs))

    def hidden(self, *args, **kwargs):
        raise TypeError("a tracer has no value")

    __bool__ = __float__ = __int__ = __index__ = __array__ = __iter__ = __len__ = __getitem__ = __setitem__ = hidden


def hide(tree):
    """The same tree with every array made opaque."""
    if isinstance(tree, dict):
        return {k: hide(x) for k, x in tree.items()}
    return type(tree)(*map(hide, tree)) if isinstance(tree, tuple) else _Opaque(tree)


@EVERY
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_update_can_be_traced(opt, dtype):
    """On values it cannot see, update computes the very same."""
    params, grads = problem(dtype, steps=2)
    _, state = opt.update(grads[0], opt.init(params), params)
    real = leaves(opt.update(grads[1], state, params))
    traced = leaves(opt.update(hide(grads[1]), hide(state), hide(params)))
    for x, y in zip(real, traced, strict=True):
        assert isinstance(y, _Opaque)
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(x, y.value)


def test_a_tracer_sees_a_branch():
    """Negative control of the stand-in: a rate that branches on t cannot be traced."""
    params, grads = problem(steps=1)
    opt = SGD(lambda t: 0.1 if t < 2 else 0.01)
    with pytest.raises(TypeError, match="no value"):
        opt.update(hide(grads[0]), hide(opt.init(params)), hide(params))


@pytest.mark.parametrize(("opt", "operations"), [(SGD(0.1), 1), (Adam(), 11), (AdaGrad(0.1), 6)], ids=repr)
def test_operations_on_parameter_sized_arrays(opt, operations):
    """No more elementwise operations per leaf than the formulas need; the corrections are scalars."""
    params = {"w": np.ones(3)}
    _Opaque.ops = 0
    opt.update(hide({"w": np.ones(3)}), hide(opt.init(params)), hide(params))
    assert _Opaque.ops == operations


@EVERY
def test_optimizer_protocol(opt):
    """Each fulfils the protocol, is frozen, and works for a system without parameters, if it has no rates by leaf."""
    assert isinstance(opt, Optimizer)
    assert not isinstance(object(), Optimizer)
    with pytest.raises(dataclasses.FrozenInstanceError):
        opt.rate = 1.0
    if not isinstance(getattr(opt, "rate", None), PerLeaf):
        assert opt.update({}, opt.init({}), {})[0] == {}


def test_configuration_is_plain():
    """Fields become Python floats, so they go to JSON, are equal when equal, and leave float32 alone."""
    opt = Adam(np.float32(0.5), beta1=0, beta2=np.float64(0.9), eps=1)
    assert opt == Adam(0.5, 0.0, 0.9, 1.0)
    assert json.loads(json.dumps(dataclasses.asdict(opt))) == {"rate": 0.5, "beta1": 0, "beta2": 0.9, "eps": 1}
    assert {type(x) for x in dataclasses.astuple(opt)} == {float}
    nested = SGD(schedules.inverse_sqrt(1e-3, 0.03))
    assert nested == copy.deepcopy(nested)
    assert json.dumps(dataclasses.asdict(nested)) == '{"rate": {"gamma": 0.001, "alpha": 0.03}}'


def four_lines(error, *words):
    """The message names the object, what was expected, what came and how to mend it."""
    lines = str(error.value).splitlines()
    assert [line.split(":")[0] for line in lines[1:]] == ["Expected", "Got", "Mend"]
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize(
    ("make", "subject", "got"),
    [
        (lambda: SGD(0), "SGD(rate)", "0 (int)"),
        (lambda: SGD(-0.1), "SGD(rate)", "-0.1"),
        (lambda: SGD(math.nan), "SGD(rate)", "nan"),
        (lambda: SGD(math.inf), "SGD(rate)", "inf"),
        (lambda: SGD("0.1"), "SGD(rate)", "'0.1' (str)"),
        (lambda: SGD(True), "SGD(rate)", "True (bool)"),
        (lambda: SGD(None), "SGD(rate)", "NoneType"),
        (lambda: SGD(np.ones(2)), "SGD(rate)", "ndarray"),
        (lambda: Adam(0.1, beta1=1), "Adam(beta1)", "1 (int)"),
        (lambda: Adam(0.1, beta2=1.5), "Adam(beta2)", "1.5"),
        (lambda: Adam(0.1, beta1=-0.1), "Adam(beta1)", "-0.1"),
        (lambda: Adam(0.1, beta2=math.nan), "Adam(beta2)", "nan"),
        (lambda: Adam(0.1, beta1="0.9"), "Adam(beta1)", "'0.9'"),
        (lambda: Adam(0.1, eps=0), "Adam(eps)", "0"),
        (lambda: Adam(-1), "Adam(rate)", "-1"),
        (lambda: AdaGrad(0), "AdaGrad(rate)", "0"),
        (lambda: AdaGrad(0.1, eps=math.inf), "AdaGrad(eps)", "inf"),
        (lambda: schedules.constant(0), "constant(rate)", "0"),
        (lambda: schedules.inverse_sqrt(0, 1), "inverse_sqrt(gamma)", "0"),
        (lambda: schedules.inverse_sqrt(1, -1), "inverse_sqrt(alpha)", "-1"),
        (lambda: schedules.inverse_time(math.nan, 1), "inverse_time(gamma)", "nan"),
        (lambda: schedules.inverse_time(1, "x"), "inverse_time(alpha)", "'x'"),
        (lambda: schedules.inverse_power(1, 0), "inverse_power(exponent)", "0"),
        (lambda: SGD(lambda t: -1.0), "SGD(rate)", "-1.0"),
        (lambda: SGD(lambda t: 2.0 - t), "SGD(rate)", "t = 2"),
        (lambda: SGD(lambda t: t - 1.0), "SGD(rate)", "t = 1"),
        (lambda: SGD(lambda t: math.nan), "SGD(rate)", "nan"),
        (lambda: SGD(lambda t: np.ones(1)), "SGD(rate)", "ndarray"),
        (lambda: SGD(lambda t: "fast"), "SGD(rate)", "'fast'"),
        (lambda: SGD(lambda t: 1j), "SGD(rate)", "1j"),
        (lambda: SGD(lambda: 0.1), "SGD(rate)", "TypeError"),
        (lambda: SGD(schedules.Constant), "SGD(rate)", "DeclarationError"),
        (lambda: as_schedule(-1), "The learning rate", "-1"),
    ],
)
def test_bad_hyperparameters(make, subject, got):
    """Each is refused when declared."""
    with pytest.raises(DeclarationError) as error:
        make()
    assert str(error.value).startswith(subject)
    four_lines(error, got)


# ---- rates by leaf

RATES = {"W": 0.1, "b": schedules.inverse_time(0.2, 0.5), "a": 0.03}


@pytest.mark.parametrize("rates", [RATES, dict(reversed(RATES.items())), list(RATES.values()), tuple(RATES.values())])
@pytest.mark.parametrize("kind", [SGD, Adam, AdaGrad])
def test_rates_by_leaf_are_those_of_an_optimizer_for_each_leaf(kind, rates):
    """As each leaf alone would learn with its rate; with two rates exchanged (negative control) it would not."""
    params, grads = problem()
    path = run(kind(rates), params, grads)

    def alone(rates):
        paths = [run(kind(r), {k: params[k]}, [{k: g[k]} for g in grads]) for k, r in rates.items()]
        return [{k: v for leaf in step for k, v in leaf.items()} for step in zip(*paths, strict=True)]

    assert gap(path, alone(RATES)) == 0
    assert gap(path, alone({**RATES, "W": RATES["a"], "a": RATES["W"]})) > 1e-3


@pytest.mark.parametrize("kind", [SGD, Adam, AdaGrad])
def test_rates_by_leaf_are_held_to_the_leaves(kind):
    """A leaf too many, too few or misspelt, and a rate that is none, are refused by name."""
    params = problem()[0]
    for rates, expected, got in (
        ({"W": 1.0, "b": 1.0}, "every learned leaf", "none for a"),
        ([1.0, 1.0], "3 rates, one for each learned leaf", "Got: 2"),
        ([], "3 rates", "Got: 0"),
        ({}, "every learned leaf", "none for W, b, a"),
    ):
        with pytest.raises(DeclarationError, match=expected) as error:
            kind(rates).init(params)
        four_lines(error, got)
    with pytest.raises(UnknownNameError, match=r"no learned leaf 'V'"):
        kind({"W": 1.0, "b": 1.0, "V": 1.0}).init(params)
    with pytest.raises(UnknownNameError, match=r"Did you mean 'W'"):
        kind({"w": 1.0, "b": 1.0, "a": 1.0}).init(params)
    for rates, subject in (({"W": -1.0}, rf"{kind.__name__}\(rate\['W'\]\)"), ([0.1, "x"], r"\(rate\[1\]\)")):
        with pytest.raises(DeclarationError, match=subject):
            kind(rates)


def test_rates_by_leaf_are_written_to_a_checkpoint():
    """A file holds them, unless a schedule is a function of the user's."""
    for rates in (RATES, list(RATES.values()), {"W": schedules.by_update(0.1), "b": 1, "a": 1}):
        assert rebuild(json.loads(json.dumps(describe(Adam(rates)))), "optimizer") == Adam(rates)
    assert "repr" in str(describe(SGD({"W": lambda t: 1 / t})))


@pytest.mark.parametrize("opt", [SGD(0.1), Adam(), AdaGrad(0.1)], ids=repr)
def test_bad_arrays(opt):
    """Parameters that cannot be trained, and gradients that are not the parameters', are refused."""
    name = type(opt).__name__
    for bad in (np.arange(3), np.ones(2, dtype=complex), [1.0, 2.0], 1.0):
        with pytest.raises(DeclarationError) as error:
            opt.init({"w": bad})
        four_lines(error, f"{name}.init", "'w'")
    params = {"w": np.ones((2, 3))}
    state = opt.init(params)
    for bad in ({}, {"u": np.ones((2, 3))}, {"w": np.ones((2, 3)), "u": np.ones(2)}):
        with pytest.raises(DeclarationError) as error:
            opt.update(bad, state, params)
        four_lines(error, f"{name}.update")
    with pytest.raises(ShapeError) as error:
        opt.update({"w": np.ones(3)}, state, params)
    four_lines(error, f"{name}.update", "'w'", "(2, 3)", "(3,)")


@pytest.mark.parametrize(
    ("opt", "dtype"), [(Adam(), np.float16), (AdaGrad(0.1), np.float16), (Adam(eps=1e-45), np.float32)]
)
def test_eps_that_vanishes(opt, dtype):
    """An eps that is zero in the parameters' dtype would give 0/0 at a zero gradient."""
    with pytest.raises(DeclarationError, match="eps") as error:
        opt.init({"w": np.ones(2, dtype=dtype)})
    four_lines(error, np.dtype(dtype).name)


@EVERY
def test_zero_gradient_gives_zero_update(opt):
    """0/ε, never 0/0; what decays by itself goes on doing so."""
    params = problem(np.float32)[0]
    if isinstance(opt, AdamW):
        opt = dataclasses.replace(opt, weight_decay=0.0)
    updates, _ = opt.update({k: np.zeros_like(p) for k, p in params.items()}, opt.init(params), params)
    for update in updates.values():
        np.testing.assert_array_equal(update, 0)


def test_as_schedule():
    """Numbers become constants, callables stay what they are."""
    assert as_schedule(0.1) == schedules.constant(0.1)
    s = schedules.inverse_sqrt(1e-3, 0.03)
    assert as_schedule(s) is s
    assert as_schedule(lambda t: np.float32(0.5))(3) == 0.5


@pytest.mark.parametrize("kind", [int, np.uint8, np.float32, lambda x: np.array(x, dtype=np.int64)])
def test_rates_of_other_types(kind):
    """A schedule may return any kind of real scalar; the update is the same."""
    params, grads = problem(np.float32, steps=1)
    for make in (SGD, Adam, AdaGrad):
        assert gap(run(make(lambda t: kind(2)), params, grads), run(make(2.0), params, grads)) < 1e-6


# ---- what t counts


def test_a_schedule_counts_samples_and_one_by_update_updates():
    """`count` moves t on for samples without an update, and leaves the corrections of Adam as they are."""
    params, grads = problem()
    rates = schedules.inverse_time(0.1, 0.5)

    def windows_of(opt, samples):
        state, theta, path = opt.init(params), params, []
        for g in grads:
            updates, state = opt.update(g, opt.count(state, samples - 1.0), theta)
            theta = {k: theta[k] + updates[k] for k in theta}
            path.append(theta)
        return path

    betas = (0.9, 0.999, 1e-8)
    path = windows_of(Adam(rates), 4)
    assert gap(path, literal_adam(params, grads, lambda t: float(rates(4.0 * t)), *betas)) < 1e-13
    assert gap(path, literal_adam(params, grads, lambda t: float(rates(t)), *betas)) > 1e-3  # negative control
    path = windows_of(Adam(schedules.by_update(rates)), 4)
    assert gap(path, literal_adam(params, grads, lambda t: float(rates(t)), *betas)) < 1e-13
    for kind in (SGD, AdaGrad):
        quick = schedules.inverse_time(0.1, 2.0)
        assert gap(windows_of(kind(rates), 4), run(kind(quick), params, grads)) < 1e-13


@pytest.mark.parametrize("kind", [lambda prior: InformationFilter("full", prior=prior), ParameterFilter])
def test_filters_take_numbers_by_leaf(kind):
    """A list in order of declaration is the dict; one of another length, or with something else in it, is refused."""
    shapes = {"W": np.eye(2) * 0.5, "b": np.zeros(2)}
    system = fg.System(lambda h, x, p: np.tanh(p["W"] @ h + p["b"]), None, np.ones(2), shapes)

    def learned(numbers):
        learner = fg.Learner(system, fg.RTRL(), kind(numbers))
        learner.run(ys=np.ones((4, 2)))
        return np.concatenate([v.ravel() for v in learner.params.values()])

    np.testing.assert_array_equal(learned([1.0, 20.0]), learned({"b": 20.0, "W": 1.0}))
    assert not np.allclose(learned([1.0, 20.0]), learned([20.0, 1.0]))
    for wrong in ([1.0], [1.0, 2.0, 3.0], {"W": 1.0}, [1.0, "x"], [1.0, -2.0]):
        with pytest.raises(DeclarationError):
            learned(wrong)
    assert rebuild(json.loads(json.dumps(describe(kind([1.0, 2.0])))), "optimizer") == kind([1.0, 2.0])
