"""Online EM against forward–backward smoothing, over every sign, and on streams of known models."""

from __future__ import annotations

import copy
import importlib.util
import itertools
import pickle
import tracemalloc
from typing import Any

import numpy as np
import pytest
from places import EXAMPLES

import fwdgrad as fg
from fwdgrad.beyond.hidden_markov import OnlineEM
from fwdgrad.errors import DataError, DeclarationError, ShapeError

Q = np.array([[0.95, 0.05], [0.1, 0.9]])
G = np.array([[0.5, 0.4, 0.05, 0.05], [0.05, 0.05, 0.3, 0.6]])
START_Q = [[0.6, 0.4], [0.4, 0.6]]
START_G = [[0.4, 0.3, 0.2, 0.1], [0.1, 0.2, 0.3, 0.4]]


def model(n: int, m: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.ones(n), n), rng.dirichlet(np.ones(m), n), rng.dirichlet(np.ones(n))


def stream(q: np.ndarray, g: np.ndarray, length: int, seed: int) -> list[int]:
    rng, x, made = np.random.default_rng(seed), 0, []
    for a, b in rng.random((length, 2)):
        x = int(np.searchsorted(np.cumsum(q[x])[:-1], a, side="right"))
        made.append(int(np.searchsorted(np.cumsum(g[x])[:-1], b, side="right")))
    return made


def mean_rate(t: Any) -> Any:
    return 1.0 / t


def smoothed(q: np.ndarray, g: np.ndarray, first: np.ndarray, ys: list[int]) -> tuple[np.ndarray, np.ndarray, float]:
    """Mean expected transitions and symbols after the first, and the log-likelihood, by forward and backward passes."""
    forward, backward = [first * g[:, ys[0]]], [np.ones(len(q))]
    for y in ys[1:]:
        forward.append((forward[-1] @ q) * g[:, y])
    for y in reversed(ys[1:]):
        backward.append(q @ (g[:, y] * backward[-1]))
    backward.reverse()
    total = forward[-1].sum()
    transitions, symbols = np.zeros_like(q), np.zeros_like(g)
    for t in range(1, len(ys)):
        transitions += forward[t - 1][:, None] * q * (g[:, ys[t]] * backward[t]) / total
        symbols[:, ys[t]] += forward[t] * backward[t] / total
    return transitions / (len(ys) - 1), symbols / (len(ys) - 1), float(np.log(total))


# ---------------------------------------------------------------- exact


@pytest.mark.parametrize(("n", "m"), [(1, 2), (2, 4), (4, 3)])
def test_exact_statistics_are_those_of_smoothing(n, m):
    """With frozen parameters and γ = 1/t, at several times; and the likelihood."""
    q, g, first = model(n, m)
    ys = stream(q, g, 60, 1)
    em, losses = OnlineEM(q, g, first, rate=mean_rate, start=None), []
    for t, y in enumerate(ys):
        losses.append(em.learn_one(y))
        if t in (1, 2, 10, 59):
            transitions, symbols, likelihood = smoothed(q, g, first, ys[: t + 1])
            assert np.max(np.abs(em.statistics.transition - transitions)) < 1e-10
            assert np.max(np.abs(em.statistics.emission - symbols)) < 1e-10
            assert -sum(losses) == pytest.approx(likelihood, rel=1e-12)
    assert np.array_equal(em.transition, q)


def test_a_filter_in_place_of_the_smoother_is_seen():
    """Without the deviations, what comes later does not correct what was thought before."""
    q, g, first = model(3, 3)
    ys = stream(q, g, 30, 1)
    em = OnlineEM(q, g, first, rate=mean_rate, start=None)
    for y in ys:
        em._kept._D[:] = 0.0
        em.learn_one(y)
    assert np.max(np.abs(em.statistics.transition - smoothed(q, g, first, ys)[0])) > 1e-3


def test_statistics_are_distributions():
    """For any rates, whatever the parameters do."""
    em = OnlineEM(START_Q, START_G, rate=0.05)
    em._sums, ys = np.full((2, 6), 0.25), stream(Q, G, 300, 2)
    em.run(ys)
    assert em.statistics.transition.sum() == pytest.approx(1.0, abs=1e-6)
    assert em.transition.sum(axis=1) == pytest.approx(1.0)
    assert em.emission.sum(axis=1) == pytest.approx(1.0)
    assert em.filter.sum() == pytest.approx(1.0)


def test_one_step_of_batch_em_is_what_the_statistics_say():
    """Rows divided by their sums."""
    q, g, first = model(2, 3)
    ys = stream(q, g, 40, 3)
    em = OnlineEM(q, g, first, rate=mean_rate, start=39)
    em.run(ys)
    transitions, symbols, _ = smoothed(q, g, first, ys)
    assert np.allclose(em.transition, transitions / transitions.sum(axis=1, keepdims=True), atol=1e-9)
    assert np.allclose(em.emission, symbols / symbols.sum(axis=1, keepdims=True), atol=1e-9)


# ---------------------------------------------------------------- reduced


class Chosen:
    """Signs of our choice in place of random ones."""

    def __init__(self, pattern: Any) -> None:
        self.pattern = list(pattern)

    def choice(self, values: Any, shape: tuple[int, ...]) -> np.ndarray:
        taken, self.pattern = self.pattern[: int(np.prod(shape))], self.pattern[int(np.prod(shape)) :]
        return np.reshape(taken, shape).astype(float)


def over_all_signs(n: int, m: int, steps: int, copies: int = 1, patterns: Any = None) -> tuple[Any, Any, float]:
    """Exact statistics, the mean of the reduced ones, and their spread."""
    q, g, first = model(n, m, 4)
    q = 0.3 * q + 0.7 * np.eye(n)  # the past matters
    ys = stream(q, g, steps + 1, 5)
    exact = OnlineEM(q, g, first, rate=lambda t: t**-0.7, start=None)
    exact.run(ys)
    found = []
    for signs in patterns or itertools.product((-1.0, 1.0), repeat=n * copies * steps):
        em = OnlineEM(q, g, first, rate=lambda t: t**-0.7, start=None, exact=False, copies=copies)
        em._rng = Chosen(signs)
        em.run(ys)
        found.append(em._sums)
    return exact._sums, np.mean(found, axis=0), float(np.max(np.std(found, axis=0)))


@pytest.mark.quick("3-2-3-1", "2-2-2-2", "1-2-3-1")
@pytest.mark.parametrize(("n", "m", "steps", "copies"), [(2, 3, 5, 1), (3, 2, 3, 1), (2, 2, 2, 2), (1, 2, 3, 1)])
def test_reduced_is_unbiased_over_every_sign(n, m, steps, copies):
    exact, mean, spread = over_all_signs(n, m, steps, copies)
    assert np.max(np.abs(mean - exact)) < 1e-12
    assert spread > 1e-3 or n == 1 or steps < 3


def test_signs_that_are_not_random_are_biased():
    exact, mean, _ = over_all_signs(2, 3, 5, patterns=[[1.0] * 10, [-1.0] * 10])
    assert np.max(np.abs(mean - exact)) > 1e-3


def test_scales_that_look_at_the_signs_are_biased(monkeypatch):
    import fwdgrad.beyond.hidden_markov as module

    right = module._RandomDeviations.reduced

    def wrong(self: Any, backward: Any, after: Any, symbol: int, gamma: float, signs: Any) -> Any:
        return right(self, backward, after, symbol, gamma, signs * np.where(signs[:, :1] * signs[:, 1:2] > 0, 1.5, 1.0))

    monkeypatch.setattr(module._RandomDeviations, "reduced", wrong)
    exact, mean, _ = over_all_signs(2, 3, 5)
    assert np.max(np.abs(mean - exact)) > 1e-4


def spread_at(rate: float, length: int = 200) -> float:
    """Standard deviation of the reduced statistics around the exact ones, of one long stream."""
    q, g, first = model(3, 3, 6)
    ys = stream(q, g, 20 * length, 7)
    exact = OnlineEM(q, g, first, rate=lambda t: np.maximum(1.0 / t, rate), start=None)
    reduced = OnlineEM(q, g, first, rate=lambda t: np.maximum(1.0 / t, rate), start=None, exact=False, seed=8)
    errors = []
    for t, y in enumerate(ys):
        exact.learn_one(y)
        reduced.learn_one(y)
        if t > 4 * length:
            errors.append(reduced._sums - exact._sums)
    return float(np.sqrt(np.mean(np.square(errors))))


@pytest.mark.slow
def test_noise_vanishes_with_the_rate():
    """Like its root: the noise of a step is of size γ, and there are 1/γ of them."""
    coarse, fine = spread_at(0.1), spread_at(0.1 / 16)
    assert 2.0 < coarse / fine < 8.0


def test_less_memory():
    """For 60 states; and no step makes anything as large as what is exact."""
    n, m = 60, 10
    q, g, first = model(n, m)
    exact, reduced = OnlineEM(q, g, first), OnlineEM(q, g, first, exact=False)
    assert exact.nbytes == 8 * (n + (n + 1) * n * (n + m))
    assert reduced.nbytes == 8 * (2 * n + 2 * n * (n + m))

    def peak(em: OnlineEM) -> int:
        em.run([0, 1, 2])
        tracemalloc.start()
        em.run([3, 4])
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    assert peak(reduced) < 12 * 8 * n * (n + m)
    assert peak(exact) > 8 * n * n * (n + m)


# ---------------------------------------------------------------- learning


@pytest.mark.quick("True")
@pytest.mark.parametrize("exact", [True, False])
def test_it_learns_a_chain(exact):
    """A tenth of the stream below, to a few hundredths, from a start that is far off; and what is averaged."""
    em, seen = OnlineEM(START_Q, START_G, exact=exact, average=9_998, seed=1), []
    assert em.averaged.transition is em._q
    losses = []
    for y in stream(Q, G, 10_000, 9):
        losses.append(em.learn_one(y))
        seen.append(em.transition)
    assert np.max(np.abs(em.transition - Q)) < (0.01 if exact else 0.08)
    assert np.max(np.abs(em.emission - G)) < 0.05
    assert np.allclose(em.averaged.transition, (seen[-1] + seen[-2]) / 2, rtol=1e-13)
    losses = np.array(losses)
    assert losses[-2000:].mean() < losses[:200].mean() - 0.05


def test_without_the_deviations_it_learns_something_else():
    """Negative control: statistics of the filter alone."""
    em = OnlineEM(START_Q, START_G)
    for y in stream(Q, G, 10_000, 9):
        em._kept._D[:] = 0.0
        em.learn_one(y)
    assert np.max(np.abs(em.transition - Q)) > 0.06


@pytest.mark.slow
@pytest.mark.parametrize("exact", [True, False])
def test_it_learns_a_chain_to_a_hundredth(exact):
    """Two states, four symbols, 10⁵ symbols."""
    em = OnlineEM(START_Q, START_G, exact=exact, average=20_000, seed=1)
    em.run(stream(Q, G, 100_000, 10))
    q, g = em.averaged
    assert np.max(np.abs(q - Q)) < 0.01
    assert np.max(np.abs(g - G)) < 0.01


@pytest.fixture(scope="module")
def example():
    """The example, as a module."""
    path = EXAMPLES / "hidden_markov.py"
    spec = importlib.util.spec_from_file_location("hidden_markov_example", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_example_runs(example, capsys):
    example.main(["--letters", "600", "--states", "3"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines[::4]] == ["exact", "reduced"]
    assert sorted("".join(line.split(": ")[1] for line in lines[1:4])) == sorted(example.ALPHABET.replace(" ", "_"))


@pytest.mark.slow
@pytest.mark.parametrize("exact", [True, False])
def test_the_example_finds_the_vowels(example, exact):
    em, bits = example.learned(example.letters(60_000), 2, exact, 1)
    vowels = next(group for group in example.groups(em) if "a" in group)
    assert set("_aeiou") <= set(vowels)
    assert not set("tsnrlcdmfbxwvkqz") & set(vowels)
    assert bits < 3.95


def test_seeds_make_the_same_numbers():
    ys = stream(Q, G, 50, 11)
    one, two, other = (OnlineEM(START_Q, START_G, exact=False, seed=s) for s in (3, 3, 4))
    for em in (one, two, other):
        em.run(ys)
    assert np.array_equal(one.transition, two.transition)
    assert not np.array_equal(one.transition, other.transition)


# ---------------------------------------------------------------- refused


@pytest.mark.parametrize("y", [-1, 4, 1.0, True, None, "a"])
def test_what_is_no_symbol_changes_nothing(y):
    em = OnlineEM(START_Q, START_G)
    em.run([0, 1])
    before = copy.deepcopy(vars(em))
    with pytest.raises(DataError, match="expected a symbol, an integer from 0 to 3"):
        em.learn_one(y)
    assert np.array_equal(before["_filter"], em.filter)
    assert before["_seen"] == 2


def test_an_impossible_symbol():
    em = OnlineEM([[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [0.5, 0.5]], [1.0, 0.0], start=None)
    em.learn_one(0)
    with pytest.raises(DataError, match="symbol 1 has probability 0 after"):
        em.learn_one(1)


def test_refusals():
    for q, g, first, error in (
        ([[0.5, 0.6], [0.5, 0.5]], START_G, None, "transition: expected probabilities that sum to 1"),
        (START_Q, [[-0.1, 1.1], [0.5, 0.5]], None, "emission: expected probabilities"),
        (START_Q, START_G, [0.5, 0.6], "initial: expected probabilities"),
    ):
        with pytest.raises(DeclarationError, match=error):
            OnlineEM(q, g, first)
    for q, g, first, error in (
        ([0.5, 0.5], START_G, None, "transition: expected an array"),
        (np.zeros((0, 0)), np.zeros((0, 2)), None, "transition: expected an array"),
        ([[1.0]], START_G, None, r"expected transition \(N, N\) and emission \(N, M\)"),
        (START_Q, START_G, [1.0], r"expected initial of shape \(2,\)"),
    ):
        with pytest.raises(ShapeError, match=error):
            OnlineEM(q, g, first)
    for options, error in (
        ({"copies": 0}, r"copies=…\): expected"),
        ({"copies": 2}, "1 with exact=True"),
        ({"start": 0}, r"start=…\): expected"),
        ({"average": 0}, r"average=…\): expected"),
        ({"rate": -1.0}, r"OnlineEM\(rate=…\): expected"),
        ({"rate": 1.5}, r"OnlineEM\(rate=…\): expected"),
        ({"rate": np.nan}, r"OnlineEM\(rate=…\): expected"),
        ({"rate": "x"}, r"OnlineEM\(rate=…\): expected"),
        ({"rate": True}, r"OnlineEM\(rate=…\): expected"),
        ({"least": -0.1}, r"OnlineEM\(least=…\): expected"),
        ({"least": 0.25}, r"OnlineEM\(least=…\): expected"),
        ({"least": np.nan}, r"OnlineEM\(least=…\): expected"),
        ({"least": "x"}, r"OnlineEM\(least=…\): expected"),
        ({"least": 0.0, "exact": False}, r"OnlineEM\(least=…\): expected"),
        ({"seed": -1}, r"OnlineEM\(seed=…\): expected"),
        ({"seed": "x"}, r"OnlineEM\(seed=…\): expected"),
    ):
        with pytest.raises(DeclarationError, match=error):
            OnlineEM(START_Q, START_G, **options)


def test_it_is_public():
    assert fg.OnlineEM is OnlineEM


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("rate", [1.5, 0.0, -0.1, np.nan, np.inf, None, "x", [0.1, 0.2]])
def test_a_rate_that_goes_wrong_later_changes_nothing(rate, exact):
    em = OnlineEM(START_Q, START_G, rate=lambda t: 1.0 / t if t < 30 else rate, exact=exact)
    em.run([0, 1, 2] * 10)
    before = copy.deepcopy(vars(em))
    with pytest.raises(DeclarationError, match=r"OnlineEM\(rate=…\): expected .* at t = 30"):
        em.learn_one(1)
    assert np.array_equal(before["_filter"], em.filter)
    assert np.array_equal(before["_sums"], em._sums)
    assert np.array_equal(before["_q"], em.transition)
    assert before["_seen"] == em._seen == 30


def test_a_state_that_is_never_visited_keeps_its_rows():
    """Without a least probability its sums are 0."""
    q, g = [[1.0, 0.0], [0.3, 0.7]], [[0.5, 0.5], [0.2, 0.8]]
    em = OnlineEM(q, g, [1.0, 0.0], least=0.0)
    em.run([0, 1, 0] * 20)
    assert np.array_equal(em.transition, q)
    assert np.allclose(em.emission, [[2 / 3, 1 / 3], g[1]], atol=0.05)


@pytest.mark.parametrize("ys", [3, None, np.array(3)])
def test_a_stream_has_to_be_one(ys):
    with pytest.raises(DataError, match="run: expected symbols one after the other"):
        OnlineEM(START_Q, START_G).run(ys)


def test_it_can_be_kept():
    """By pickle, with its random numbers; it then learns on as if nothing had been."""
    em, ys = OnlineEM(START_Q, START_G, exact=False, rate=0.1, average=5), stream(Q, G, 60, 12)
    em.run(ys[:30])
    kept = pickle.loads(pickle.dumps(em))
    assert np.array_equal(em.run(ys[30:]), kept.run(ys[30:]))
    assert np.array_equal(em.averaged.emission, kept.averaged.emission)
