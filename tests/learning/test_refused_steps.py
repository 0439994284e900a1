"""Indices out of range and matrices without an inverse: the same named error on every engine, and nothing is lost."""

import pickle

import numpy as np
import pytest

import fwdgrad as fg
from fwdgrad.errors import FwdgradError, IndexRangeError, NonFiniteError, SingularMatrixError, StepError

ENGINES = ("eager", "numpy", "compiled")
GOOD = {"k": 1, "shift": -2, "scale": 1.0}


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FWDGRAD_CACHE", str(tmp_path_factory.mktemp("compiled")))
        yield


def transition(h, x, p):
    """An index that is computed, and a system of equations whose solution is kept small."""
    row = p["table"][x["k"] + x["shift"]]
    solved = np.linalg.solve(x["scale"] * p["A"], np.ones(2))
    return 0.5 * h + row + 0.1 * np.tanh(solved)


def output(h, x, p):
    """An index of a value that is not used."""
    return h * p["gain"] + 0.0 * p["table"][x["k"] - x["shift"] - 1]


SYSTEM = fg.System(
    transition,
    output,
    np.zeros(2),
    {"table": np.arange(8.0).reshape(4, 2) / 8, "A": np.array([[2.0, 1.0], [1.0, 3.0]]), "gain": np.ones(2)},
    x=GOOD,
)


def learner(engine, estimator=None):
    return fg.Learner(SYSTEM, estimator or fg.RTRL(), fg.SGD(0.05), engine=engine)


def held(one):
    """All that a learner remembers."""
    return [np.array(a) for a in one._loop.carry]


BAD = {
    "index in F": ({"k": 3, "shift": 1}, IndexRangeError),
    "index in F, from the end": ({"k": 1, "shift": -6}, IndexRangeError),
    "index in Y, whose value is not used": ({"k": 3, "shift": -3}, IndexRangeError),
    "singular": ({"scale": 0.0}, SingularMatrixError),
}


COMPUTED = {
    "a number": lambda h, x, p: p["table"][(h[0] * x).astype(int)],
    "a floor": lambda h, x, p: p["table"][np.floor(h[0] * x).astype(np.int64)],
    "a parameter": lambda h, x, p: p["table"][(p["table"][0] * x).astype("int32")],
    "an array": lambda h, x, p: p["table"][(h * x).astype(int)][0],
    "of the state": lambda h, x, p: h[(h[0] * x).astype(int)] * p["table"][0],
}


@pytest.mark.filterwarnings("ignore::fwdgrad.errors.DeadParameterWarning")
@pytest.mark.parametrize("what", COMPUTED)
@pytest.mark.parametrize("engine", ["eager", "numpy"])
def test_an_index_that_is_computed_counts_from_the_end_or_is_refused(what, engine):
    """By its name on every engine, as NumPy takes it."""
    table = np.array([1.0, 2.0, 3.0, 4.0])
    system = fg.System(lambda h, x, p: h + COMPUTED[what](h, x, p), None, np.ones(4), {"table": table}, 0.0)
    for x in (1.0, -2.0):
        learner = fg.Learner(system, fg.RTRL(), fg.SGD(0.1), engine=engine)
        learner.step(x, np.zeros(4))
        np.testing.assert_array_equal(learner.state, 1 + COMPUTED[what](np.ones(4), np.float64(x), {"table": table}))
    for x in (-7.0, 7.0):
        with pytest.raises(IndexRangeError, match="out of range"):
            fg.Learner(system, fg.RTRL(), fg.SGD(0.1), engine=engine).step(x, np.zeros(4))


@pytest.mark.parametrize("engine", ENGINES)
def test_a_step_that_cannot_be_made(engine):
    one, other = learner(engine), learner(engine)
    for n in range(3):
        assert one.step(GOOD, np.ones(2) * n) == other.step(GOOD, np.ones(2) * n)
    for change, expected in BAD.values():
        for y in (np.ones(2), None):
            before = held(one)
            with pytest.raises(expected, match=f"at {__file__}:[0-9]+, in (transition|output)") as caught:
                one.step(GOOD | change, y)
            assert isinstance(caught.value, FwdgradError)
            assert caught.value.step == one.steps == 3
            assert "at step 3" in str(caught.value)
            assert str(caught.value).count("\n") < 5
            for a, b in zip(before, held(one), strict=True):
                np.testing.assert_array_equal(a, b)
        with pytest.raises(expected, match=r"in (transition|output)"):
            one.predict(GOOD | change)
    for n in range(3):
        assert one.step(GOOD, np.ones(2) * n) == other.step(GOOD, np.ones(2) * n)


def test_that_numpy_raises_the_same():
    """What is refused is what NumPy refuses, and built-in exceptions of the same meaning catch it."""
    for change, expected in BAD.values():
        x = {k: np.asarray(v) for k, v in (GOOD | change).items()}
        kind = IndexError if expected is IndexRangeError else np.linalg.LinAlgError
        with pytest.raises(kind):
            output(transition(np.zeros(2), x, SYSTEM.params), x, SYSTEM.params)
        assert issubclass(expected, kind)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("label", BAD)
def test_a_run_ends_at_the_last_good_step(engine, label):
    change, expected = BAD[label]
    xs = {k: np.array([v] * 10) for k, v in GOOD.items()}
    for k, v in change.items():
        xs[k][7] = v
    ys = np.random.default_rng(0).normal(size=(10, 2))
    one, other = learner(engine), learner(engine)
    with pytest.raises(expected) as caught:
        one.run(xs, ys)
    recorded = other.run({k: v[:7] for k, v in xs.items()}, ys[:7])
    assert caught.value.step == one.steps == 7
    np.testing.assert_array_equal(caught.value.history.loss, recorded.loss)
    for a, b in zip(held(one), held(other), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("estimator", [fg.TBPTT(3), fg.BPTT()], ids=lambda e: e.name)
@pytest.mark.parametrize("engine", ["eager", "numpy"])
def test_inside_a_window(engine, estimator):
    one = learner(engine, estimator)
    for _ in range(4):
        one.step(GOOD, np.ones(2))
    before = held(one), one._loop.arrays()
    with pytest.raises(IndexRangeError, match="at step 4"):
        one.step(GOOD | {"k": 9}, np.ones(2))
    for a, b in zip(before[0], held(one), strict=True):
        np.testing.assert_array_equal(a, b)
    assert all(np.array_equal(v, one._loop.arrays()[k]) for k, v in before[1].items())


@pytest.mark.parametrize("engine", ENGINES)
def test_counting_from_the_end(engine):
    """−1 is the last, as in NumPy: the same loss as by the index from the front."""
    one, other = learner(engine), learner(engine)
    assert one.step({**GOOD, "k": 1, "shift": -3}, np.ones(2)) == other.step({**GOOD, "k": 2, "shift": 0}, np.ones(2))


@pytest.mark.parametrize("engine", ["eager", "numpy"])
def test_an_interrupted_run_keeps_the_sample_before(engine):
    """A system that is given the sample before: after a refusal it is still that of the last good step."""

    def made():
        system = fg.System(
            lambda h, x, p: 0.5 * h + p["table"][x["k"] + x["shift"]],
            None,
            np.zeros(2),
            {"table": np.eye(4)[:, :2]},
            x={"k": 0, "shift": 0},
            injection=0.3 * np.eye(2),
        )
        return fg.Learner(system, fg.RTRL(), fg.SGD(0.1), engine=engine)

    xs = {"k": np.array([0, 1, 2, 9, 1]), "shift": np.zeros(5, int)}
    ys = np.arange(10.0).reshape(5, 2)
    one, other = made(), made()
    with pytest.raises(IndexRangeError):
        one.run(xs, ys)
    other.run({k: v[:3] for k, v in xs.items()}, ys[:3])
    for a, b in zip(one._loop.feed.row, other._loop.feed.row, strict=True):
        np.testing.assert_array_equal(a, b)


def test_simulating():
    xs = {k: np.array([v] * 4) for k, v in GOOD.items()}
    xs["k"][2] = 50
    with pytest.raises(IndexRangeError, match="at step 2"):
        SYSTEM.simulate(xs)


def test_errors_go_from_process_to_process():
    error = NonFiniteError("the state is not finite", step=3, quantity="the state")
    error.history = [1.0]
    for one in (error, IndexRangeError("outside"), SingularMatrixError("singular", step=2)):
        again = pickle.loads(pickle.dumps(one))
        assert isinstance(again, StepError)
        assert (type(again), str(again), again.__dict__) == (type(one), str(one), one.__dict__)


def test_random_points_outside_of_an_array_are_no_fault():
    """Where the function is compared with its trace, and where it is checked, it may be given an index too large."""

    def F(h, x, p):
        return 0.5 * h + 0.1 * p["table"][(h + 0.999).astype(int)] + 0.1 * p["table"][x["k"] + x["shift"]]

    system = fg.System(F, None, np.full(1, 0.999), {"table": np.arange(1.0, 3.0)}, x={"k": 0, "shift": 0})
    fg.Learner(system, fg.RTRL(), fg.SGD(0.1), engine="numpy").step({"k": 0, "shift": 1}, np.ones(1))
    report = fg.check(system)
    assert next(r for r in report.rows if r.what == "F, Y, loss: as traced").verdict == "ok", str(report)


def test_a_start_that_cannot_be_simulated_is_named_and_nothing_else_is_said():
    """No warning of NumPy's besides, in tests an error: nothing is known of a parameter then, not even that it is 0."""
    system = fg.System(
        lambda h, x, p: np.sqrt(h - p["c"]), None, np.array([2.0]), {"c": 3.0}, dt=0.1, method="euler"
    )  # at c = 3 the root of a negative number
    with pytest.raises(NonFiniteError, match="outside its domain"):
        fg.Learner(system, engine="numpy").run(ys=np.full((40, 1), 2.0))
