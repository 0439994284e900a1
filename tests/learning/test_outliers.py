"""Numbers that are hardly measurements: honest ones of many kinds are none, and a filter is not spoilt by others."""

import warnings

import numpy as np
import pytest

import fwdgrad as fg
from fwdgrad import systems
from fwdgrad.errors import CalibrationWarning, NonFiniteError, OutlierWarning
from fwdgrad.learning.outliers import FAR, Sieve, strange

SIZES = (16, 64, 512)


def honest(rng, n):
    """Columns of n numbers as measurements and inputs may be."""
    t = np.arange(n)
    switch, pulses = np.where(t % 40 < 20, 0.0, 8000.0), np.where(t % 30 == 7, 1.0, 0.0)
    return {
        "Gaussian": rng.normal(size=n),
        "Student's, 3 degrees": rng.standard_t(3, size=n),
        "exponential": rng.exponential(size=n),
        "rare counts": rng.poisson(0.1, n).astype(float),
        "clustered counts": rng.negative_binomial(0.1, 0.01, n).astype(float),
        "rain": np.where(rng.random(n) < 0.1, rng.exponential(5.0, n) ** 2, 0.0),
        "an impulse": np.where(t == n // 2, 100.0, 0.0),
        "a switch": switch,
        "a noisy switch": switch + 0.1 * rng.normal(size=n),
        "pulses": pulses + 0.01 * rng.normal(size=n),
        "large pulses": 100 * pulses + rng.uniform(-1, 1, size=n),
        "a ramp": t.astype(float),
        "growth": np.exp(0.05 * t),
        "decay": 1e6 * np.exp(-0.1 * t),
        "bursts": np.exp(8 * np.sin(0.05 * t)),
        "a walk": np.cumsum(rng.normal(size=n)),
        "per cent": rng.integers(0, 101, n).astype(float),
        "up to a thousand": rng.integers(0, 1001, n).astype(float),
        "a constant": np.full(n, 99.0),
        "a step": np.where(t < n // 2, 0.0, 1000.0) + 0.1 * rng.normal(size=n),
    }


def spiking(n):
    """FitzHugh and Nagumo's membrane, and an integrator that fires."""
    v, train = 0.0, []
    for _ in range(n):
        v = 0.0 if v > 1 else v + 0.13
        train.append(30.0 if v > 1 else v)
    neuron = systems.fitzhugh_nagumo()
    return {"fires": np.array(train), "spikes": np.ravel(neuron.simulate({"current": np.full(n, 0.5)}).outputs)[:n]}


@pytest.mark.quick("6", "16", "64")
@pytest.mark.parametrize("n", [6, *SIZES])
def test_honest_numbers_are_not_strange(n):
    """Looked at together, and as they come."""
    rng = np.random.default_rng(n)
    columns = [honest(rng, n) for _ in range(8)] + [spiking(n)]
    assert [k for made in columns for k, column in made.items() if strange(column).any()] == []
    told = []
    for made in columns:
        for k, column in made.items():
            sieve = Sieve(np.array([FAR]))
            sieve.look(column[:, None], 0)
            told += [k] * bool(sieve.found(0))
    assert told == []


def spoilt(rng, column, kind):
    """The column with what is no measurement, and where."""
    made, n = column.copy(), len(column)
    where = rng.random(n) < 0.2
    if kind == "a cell":
        where = np.arange(n) == n - 3
        made[where] = 1e6
    elif kind == "cells":
        where = np.isin(np.arange(n), [1, n // 2, n - 2])
        made[where] = [1e6, -3e5, 2e4]
    else:
        made[where] = kind
    return made, where


@pytest.mark.parametrize("kind", ["a cell", "cells", -999.0, 9999.0, -99.9, -1e30])
@pytest.mark.parametrize("n", SIZES)
def test_what_is_no_measurement_is_found(n, kind):
    """All of it together, nothing else; as it comes, nothing else, and nearly all once a range is known."""
    rng = np.random.default_rng(n)
    for _ in range(10):
        column, where = spoilt(rng, rng.normal(size=n) + np.sin(0.1 * np.arange(n)), kind)
        np.testing.assert_array_equal(strange(column), where if where.any() else False)
        aside = Sieve(np.array([FAR])).look(column[:, None], 0)[:, 0]
        assert not np.any(aside & ~where)
        late = where & (np.arange(n) >= 20)
        assert np.array_equal(aside & late, late)


@pytest.mark.parametrize("code", [-999.0, 9999.0, -99.9])
@pytest.mark.parametrize("place", [0, 3, 5])
def test_a_code_is_found_in_half_a_dozen_rows(code, place):
    column = np.array([5.01, 5.08, 5.10, 5.13, 5.21, 5.19])
    column[place] = code
    np.testing.assert_array_equal(strange(column), np.arange(6) == place)
    assert not strange(column[[place, *(k for k in range(6) if k != place)][:4]]).any()  # of three nothing is known
    wide = 20000.0 * (column - 5.0)
    wide[place] = code
    assert not strange(wide).any()  # too near to tell


@pytest.mark.parametrize("length", [1, 30])
def test_numbers_as_they_come_do_not_depend_on_how_they_are_cut(length):
    rng = np.random.default_rng(0)
    rows = np.stack([spoilt(rng, rng.normal(size=200), kind)[0] for kind in ("cells", -999.0)], axis=1)
    rows[::7, 1] = np.nan
    whole, parts = Sieve(np.full(2, FAR)), Sieve(np.full(2, FAR))
    found = whole.look(rows, 0)
    pieces = []
    for start in range(0, 200, length):
        pieces.append(parts.look(rows[start : start + length], start))
        again = Sieve(np.full(2, FAR))
        again.restore(parts.arrays())
        parts = again
    np.testing.assert_array_equal(np.concatenate(pieces), found)
    np.testing.assert_array_equal(parts.arrays()["sieve"], whole.arrays()["sieve"])


# ---------------------------------------------------------------- learners


def predators(kind, steps=300):
    """A learner with wrong parameters, after targets that are spoilt; its relative errors, and what was told."""
    system = systems.lotka_volterra()
    rng = np.random.default_rng(0)
    ys = system.simulate(steps=steps).outputs
    ys = ys + 0.3 * rng.normal(size=ys.shape)
    if kind in (5, 100, 290):
        ys[kind, 0] = 1e6
    elif kind is not None:
        ys[rng.random(len(ys)) < 0.1] = kind
    learner = fg.Learner(system)
    truth = {k: float(v) for k, v in system.params.items()}
    learner.params = {k: v * f for (k, v), f in zip(truth.items(), (0.7, 1.4, 1.3, 0.8), strict=True)}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        learner.run(ys=ys)
    errors = [abs(float(learner.params[k]) / v - 1) for k, v in truth.items()]
    return learner, max(errors), [str(w.message) for w in caught if w.category is OutlierWarning], caught


@pytest.mark.quick("-999.0")
@pytest.mark.parametrize("kind", [5, 100, 290, -999.0])
def test_the_filter_learns_as_if_they_were_missing_and_names_them(kind):
    """At the beginning, among the samples that are fitted again, and after the last fit."""
    learner, error, told, caught = predators(kind)
    assert error < 0.01
    assert len(told) == len(caught) == 1
    assert "'prey'" in told[0]
    assert ("1e+06 at sample" in told[0]) if kind > 0 else ("-999" in told[0] and "missing" in told[0])
    assert "left out" in learner.explain()
    assert "left out" in str(learner.confidence())


def test_nothing_is_told_of_honest_data():
    learner, error, told, _ = predators(None)
    assert error < 0.01
    assert not told
    assert not learner.confidence().left_out
    assert "left out" not in learner.explain()


def test_without_the_sieve_nothing_is_learned(monkeypatch):
    """Negative control: one cell among a few hundred."""
    monkeypatch.setattr(Sieve, "look", lambda self, rows, first: np.zeros(rows.shape, bool))
    monkeypatch.setattr("fwdgrad.learning.loops.sifting.strange", lambda column, far: np.zeros(len(column), bool))
    _, error, told, caught = predators(290)
    assert error > 0.1
    assert not any("left out" in text for text in told)
    assert any(w.category is CalibrationWarning for w in caught)


def lag():
    return fg.System(lambda h, x, p: p["a"] * h + p["b"] * x, None, np.zeros(1), {"a": 0.5, "b": 0.5}, np.zeros(1))


def test_single_steps_and_checkpoints_set_aside_what_a_run_does(tmp_path):
    rng = np.random.default_rng(1)
    xs = rng.normal(size=(120, 1))
    ys = lag().simulate(xs, params={"a": 0.8, "b": 1.0}).outputs + 0.1 * rng.normal(size=(120, 1))
    ys[[3, 40, 90]] = -9999.0
    made = []
    for way in ("run", "steps", "saved"):
        learner = fg.Learner(lag(), optimizer=fg.JointFilter(first=64), engine="numpy")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", OutlierWarning)
            if way == "steps":
                for x, y in zip(xs, ys, strict=True):
                    learner.step(x, y)
            elif way == "saved":
                learner.run(xs[:50], ys[:50])
                learner.save(tmp_path / "run.npz")
                learner = fg.Learner.load(tmp_path / "run.npz", lag())
                learner.run(xs[50:], ys[50:])
            else:
                learner.run(xs, ys)
        assert "-9999" in learner.explain()
        made.append(np.concatenate([*map(np.ravel, learner._loop.carry)]))
    assert np.array_equal(made[0], made[1])
    assert np.array_equal(made[0], made[2])


DECAY = """
d x/dt = b - k*x
x(0) = x0
param x0 = 3 in (0, inf)
param k = 0.3 in (0, inf)
param b = 1 in (0, inf)
dt = 0.2
method = rk4
"""


def decayed(place, value):
    """What is learned of a table of 40 rows, of which one is nonsense."""
    model = fg.from_text(DECAY)
    ys = model.simulate(steps=40, params={"x0": 8.0, "k": 0.5, "b": 1.5}).outputs
    ys = ys + 0.1 * np.random.default_rng(1).normal(size=ys.shape)
    ys[place] = value
    learner = fg.Learner(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        learner.run(ys=ys)
        return learner.params, learner.parameter_std()


def test_a_cell_among_the_first_samples_leaves_what_a_missing_one_does(monkeypatch):
    """What was learned from it before it was known for it is undone; a fit that begins anew instead goes astray."""
    params, std = decayed(1, np.nan)
    spoilt, _ = decayed(1, -999.0)
    assert all(abs(float(params[k] - spoilt[k])) < std[k] for k in std)
    fresh = "fwdgrad.learning.loops.refitting.Refitting._unspoilt"
    monkeypatch.setattr(fresh, lambda self, *_: self.execution.initial())
    spoilt, _ = decayed(1, -999.0)
    assert not all(abs(float(params[k] - spoilt[k])) < std[k] for k in std)


def test_a_process_that_goes_elsewhere_is_followed():
    """A gain that becomes 10⁴ times as large puts two samples aside, no more, and nothing is told of it."""
    rng = np.random.default_rng(2)
    xs = np.concatenate([rng.normal(size=(100, 1)), 1e4 + rng.normal(size=(60, 1))])
    ys = lag().simulate(xs, params={"a": 0.8, "b": 1.0}).outputs + 0.1 * rng.normal(size=(160, 1))
    learner = fg.Learner(lag(), optimizer=fg.JointFilter(first=64), engine="numpy")
    history = learner.run(xs, ys)
    assert np.isnan(history.loss).sum() <= 2
    assert not learner.confidence().left_out
    assert abs(float(learner.params["b"]) - 1.0) < 0.02


def test_a_fit_leaves_them_out_too():
    rng = np.random.default_rng(4)
    xs = rng.normal(size=(80, 1))
    ys = lag().simulate(xs, params={"a": 0.8, "b": 1.0}).outputs + 0.1 * rng.normal(size=(80, 1))
    found = []
    for value in (np.nan, -999.0):
        ys[::9] = value
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found.append(fg.fit(lag(), xs, ys, method="simulation").params)
        assert [w.category for w in caught] == [OutlierWarning] * (value == -999.0)
    assert all(np.array_equal(found[0][k], found[1][k]) for k in "ab")


def test_inputs_are_told_of_and_taken():
    rng = np.random.default_rng(3)
    xs = rng.normal(size=(60, 1))
    xs[20] = -99999.0
    ys = lag().simulate(xs, params={"a": 0.8, "b": 1.0}).outputs
    learner = fg.Learner(lag())
    with pytest.warns(OutlierWarning, match=r"x\[0\] is -99999 at sample 20; taken as it is"):
        learner.run(xs, ys)


def test_a_step_that_fails_blames_what_there_is():
    """A filter without a learning rate does not speak of one."""
    explosive = fg.System(lambda h, x, p: p["a"] * np.exp(h) + x, None, np.zeros(1), {"a": 0.5}, np.zeros(1))
    for optimizer, said, unsaid in ((None, "units", "learning rate"), (fg.SGD(0.1), "learning rate", "units")):
        learner = fg.Learner(explosive, "rtrl" if optimizer else "auto", optimizer)
        with pytest.raises(NonFiniteError, match=said) as caught:
            learner.run(np.full((5, 1), 300.0), np.zeros((5, 1)))
        assert unsaid not in str(caught.value)
