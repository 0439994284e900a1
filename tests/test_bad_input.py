"""Bad input: each a named error that says the object, what was expected, what came, and how to mend it."""

import math

import numpy as np
import pytest

import fwdgrad as fg
from fwdgrad.errors import (
    AlphabetError,
    DataError,
    DeclarationError,
    FwdgradError,
    ShapeError,
    TracingError,
    UnknownNameError,
)

n = 3


def F(h, x, theta):
    return theta["W"] @ h + x


def Y(h, x, theta):
    return theta["V"] @ h


def assigns(h, x, theta):
    h[0] = 1.0
    return h


def declare(**changes):
    options = {
        "F": F,
        "Y": Y,
        "state": np.zeros(n),
        "params": {"W": np.eye(n), "V": np.ones((2, n))},
        "x": np.zeros(n),
    }
    return fg.System(**{**options, **changes})


def symbols():
    return fg.System(
        lambda h, x, t: np.tanh(t["R"][:, x]) + 0.5 * h,
        lambda h, x, t: t["V"] @ h,
        np.zeros(n),
        {"R": np.ones((n, 4)), "V": np.ones((5, n))},
        0,
        fg.losses.CrossEntropy(),
    )


DECLARATIONS = {
    # what: (changes, class, words that the message must have)
    "F is no function": ({"F": 3}, DeclarationError, "F must be a function"),
    "Y is no function": ({"Y": "y"}, DeclarationError, "Y must be a function"),
    "state empty": ({"state": {}}, DeclarationError, "state is empty"),
    "state of text": ({"state": ["a"]}, DeclarationError, r"state: expected numbers"),
    "state complex": ({"state": np.zeros(n, complex)}, DeclarationError, "real"),
    "state not finite": ({"state": np.full(n, np.nan)}, DeclarationError, "finite"),
    "state half precision": ({"state": np.zeros(n, np.float16)}, DeclarationError, "float32 or float64"),
    "state ragged": ({"state": [[1], [1, 2]]}, DeclarationError, "state: expected an array"),
    "params no dict": ({"params": [1, 2]}, DeclarationError, "params must be a dict"),
    "params empty": ({"params": {}, "F": lambda h, x, t: h, "Y": None}, DeclarationError, "no parameter to learn"),
    "param of text": ({"params": {"W": "w"}}, DeclarationError, r"params\['W'\]: expected numbers"),
    "param infinite": ({"params": {"W": np.inf}}, DeclarationError, "finite"),
    "frozen unknown": ({"frozen": ["w"]}, UnknownNameError, r"no parameter 'w'. Did you mean 'W'"),
    "all frozen": ({"frozen": ["W", "V"]}, DeclarationError, "all of it is frozen"),
    "x of text": ({"x": "a"}, DeclarationError, "x: expected an example input"),
    "dt negative": ({"dt": -1.0}, DeclarationError, "dt: expected a positive step"),
    "dt zero": ({"dt": 0}, DeclarationError, "positive"),
    "dt NaN": ({"dt": math.nan}, DeclarationError, "positive"),
    "method": ({"dt": 0.1, "method": "eular"}, DeclarationError, "Did you mean 'euler'"),
    "loss": ({"loss": 3}, DeclarationError, "loss: expected a loss or a function"),
    "loss class": ({"loss": fg.losses.SquaredError}, DeclarationError, "SquaredError()"),
    "F shape": ({"F": lambda h, x, t: np.zeros(n + 1)}, ShapeError, r"F: expected shape \(3,\).*got \(4,\)"),
    "F scalar": ({"F": lambda h, x, t: h.sum()}, ShapeError, r"got \(\)"),
    "F none": ({"F": lambda h, x, t: None}, ShapeError, "F: expected.*got None"),
    "F dtype": ({"F": lambda h, x, t: np.zeros(n, int)}, ShapeError, "expected dtype float64.*got int64"),
    "F complex": ({"F": lambda h, x, t: h + 1j}, ShapeError, "real numbers"),
    "F float32": ({"F": lambda h, x, t: np.zeros(n, np.float32)}, ShapeError, "got float32"),
    "F keys": (
        {"state": {"a": np.zeros(n), "b": 0.0}, "F": lambda h, x, t: {"a": h["a"]}, "Y": None},
        ShapeError,
        r"keys of the state, \['a', 'b'\]; got \['a'\]",
    ),
    "Y integers": ({"Y": lambda h, x, t: np.zeros(2, int)}, ShapeError, "Y: expected real floating-point"),
    "cross entropy of a matrix": (
        {"Y": lambda h, x, t: np.zeros((2, 2)), "loss": fg.losses.CrossEntropy()},
        ShapeError,
        "one score per symbol",
    ),
    "state size": (
        {"state": np.zeros(4)},
        DeclarationError,
        r"F fails .*test_bad_input\.py:\d+.*given state \[\[4\]\]",
    ),
    "state of size 0": ({"state": np.zeros(0)}, DeclarationError, "state is empty"),
    "param shape": ({"params": {"W": np.eye(5), "V": np.ones((2, n))}}, DeclarationError, r"F fails.*W \[5, 5\]"),
    "param missing": ({"params": {"W": np.eye(n)}}, DeclarationError, "Y fails.*KeyError: 'V'"),
    "x missing": ({"x": None}, DeclarationError, "F fails.*x None"),
    "F takes two": ({"F": lambda h, x: h}, DeclarationError, r"take \(state, input, parameters\)"),
    "Y divides by zero": ({"Y": lambda h, x, t: 1 / 0}, DeclarationError, "Y fails.*ZeroDivisionError"),
    "F assigns": ({"F": assigns}, DeclarationError, "It assigns to what it is given"),
    "F dict": ({"F": lambda h, x, t: {"h": h}}, ShapeError, "got a dict with the keys"),
    "frozen number": ({"frozen": 3}, DeclarationError, "frozen: expected names"),
    "scale": ({"loss": lambda: fg.losses.SquaredError(0.0)}, DeclarationError, "positive number"),
    "base": ({"loss": lambda: fg.losses.CrossEntropy(1)}, DeclarationError, "above 1"),
}


@pytest.mark.parametrize("case", DECLARATIONS)
def test_declarations(case):
    changes, kind, words = DECLARATIONS[case]
    if case in ("scale", "base"):
        make = changes["loss"]
    elif words.endswith(("no parameter to learn", "all of it is frozen")):  # it may be simulated

        def make():
            return fg.Learner(declare(**changes))

    else:

        def make():
            return declare(**changes)

    with pytest.raises(kind, match=f"(?s){words}") as caught:
        make()
    assert isinstance(caught.value, FwdgradError)
    assert len(str(caught.value).splitlines()) <= 5


def test_a_loss_that_is_no_scalar():
    with pytest.raises(ShapeError, match=r"loss: expected a scalar, got shape \(2,\)"):
        fg.Learner(declare(loss=lambda yhat, y: (yhat - y) ** 2), fg.UORO())


SAMPLES = {
    "x shape": ((np.zeros(2), np.zeros(2)), ShapeError, r"x: expected shape \(3,\).*got \(2,\)"),
    "x scalar": ((1.0, np.zeros(2)), ShapeError, "got one number"),
    "x none": ((None, np.zeros(2)), DataError, "Inputs cannot be missing"),
    "x NaN": ((np.array([0, np.nan, 0]), np.zeros(2)), DataError, "x: expected finite numbers.*at step"),
    "x text": ((np.array(["a", "b", "c"]), np.zeros(2)), ShapeError, "expected numbers"),
    "x complex": ((np.zeros(3, complex), np.zeros(2)), ShapeError, "real numbers"),
    "x dict": (({"a": 1}, np.zeros(2)), (ShapeError, DataError), "x: expected"),
    "y shape": ((np.zeros(3), np.zeros(3)), ShapeError, r"y: expected shape \(2,\).*got \(3,\)"),
    "y infinite": ((np.zeros(3), np.array([np.inf, 0])), DataError, "y: expected numbers or NaN"),
    "y text": ((np.zeros(3), "no"), ShapeError, "y: expected"),
}


@pytest.mark.parametrize("case", SAMPLES)
@pytest.mark.parametrize("how", ["step", "run"])
def test_samples(case, how):
    (x, y), kind, words = SAMPLES[case]
    learner = fg.Learner(declare(), fg.RTRL())
    learner.step(np.ones(3), np.ones(2))
    before = learner.params
    good = (np.zeros(3), np.zeros(2))
    call = learner.step if how == "step" else lambda x, y: learner.run([good, (x, y)])
    with pytest.raises(kind, match=words):
        call(x, y)
    if how == "step":
        assert all(np.array_equal(before[k], learner.params[k]) for k in before)
    assert learner.steps == (1 if how == "step" else 2)  # what came before is kept


def test_symbols_outside_their_range():
    learner = fg.Learner(symbols(), fg.UORO())
    for x, y, words in [
        (4, 0, "x: expected a symbol from 0 to 3, got 4 at step 0"),
        (-1, 0, "got -1"),
        (0, 5, "y: expected a symbol from 0 to 4, got 5"),
        (0, -1, "got -1"),
    ]:
        with pytest.raises(DataError, match=words):
            learner.step(x, y)
    with pytest.raises(DataError, match="got 4 at step 2"):
        learner.run([0, 1, 4, 0], [0, 0, 0, 0])
    with pytest.raises(ShapeError, match="expected an integer"):
        learner.step(0.5, 0)
    with pytest.raises(ShapeError, match="expected an integer"):
        learner.step(0, 1.5)
    with pytest.raises(DataError, match="expected a symbol from 0 to 4"):
        fg.Learner(symbols(), fg.UORO(), engine="eager").step(0, 7)
    assert learner.steps == 0


def test_streams_that_are_no_streams():
    learner = fg.Learner(declare(), fg.UORO())
    for call, words in [
        (lambda: learner.run(np.zeros((0, 3)), np.zeros((0, 2))), "the stream is empty"),
        (lambda: learner.run(iter([])), "the stream is empty"),
        (lambda: learner.run(np.zeros((4, 3)), np.zeros((5, 2))), r"different lengths \[4, 5\]"),
        (lambda: learner.run(None, np.zeros((4, 2))), "expected inputs xs, got None"),
        (lambda: learner.run(3), "expected arrays or an iterable"),
        (lambda: learner.run(iter(np.zeros((2, 3))), iter(np.zeros((1, 2)))), "1 targets but more inputs"),
        (lambda: learner.run([1, 2]), r"iterable of pairs \(x, y\); item 0 is 1"),
    ]:
        with pytest.raises(DataError, match=words):
            call()


def test_options_that_make_no_sense():
    system = declare()
    for call, words in [
        (lambda: fg.Learner(system, fg.UORO), "Call it"),
        (lambda: fg.Learner(3), "expected a fwdgrad.System"),
        (lambda: fg.Learner(system, "bptt?"), "not known"),
        (lambda: fg.Learner(system, 3), "expected an estimator"),
        (lambda: fg.Learner(system, fg.UORO(), fg.Adam), "expected an optimizer"),
        (lambda: fg.Learner(system, fg.UORO(), seed=-1), "seed"),
        (lambda: fg.Learner(system, fg.UORO(), seed="x"), "seed"),
        (lambda: fg.Learner(system, fg.UORO(), engine="cuda"), "engine='cuda'"),
        (lambda: fg.UORO(rank=0), "rank"),
        (lambda: fg.UORO(window=0), "window"),
        (lambda: fg.UORO(scale="unit"), "scale"),
        (lambda: fg.NoBackTrack(signs="coin"), "signs"),
        (lambda: fg.TBPTT(1.5), "window"),
        (lambda: fg.SnAp(0), "order"),
        (lambda: fg.Estimator(fg.RTRL().influence, rank=2), "all the same"),
        (lambda: fg.Learner(system, fg.UORO()).run(np.zeros((2, 3)), np.zeros((2, 2)), record=0), "record"),
        (lambda: fg.Learner(system, fg.UORO()).run(np.zeros((2, 3)), checkpoint_every=5), "needs a file"),
    ]:
        with pytest.raises(DeclarationError, match=words):
            call()


def test_an_autonomous_system_takes_no_input():
    system = fg.System(lambda h, x, t: t["a"] * h, None, np.ones(1), {"a": 0.5})
    learner = fg.Learner(system, fg.RTRL())
    with pytest.raises(ShapeError, match="takes no input"):
        learner.step(1.0, np.zeros(1))
    with pytest.raises(ShapeError, match="takes no input"):
        learner.run(np.zeros((3, 1)), np.zeros((3, 1)))


def test_partly_missing_targets_need_a_loss_that_knows_them():
    system = declare(loss=lambda yhat, y: np.sum((yhat - y) ** 4))
    with pytest.raises(DataError, match="partly NaN"):
        fg.Learner(system, fg.UORO()).step(np.zeros(3), np.array([0.0, np.nan]))


def test_functions_that_cannot_be_traced():
    def branches(h, x, theta):
        if h[0] > 0:
            return theta["W"] @ h + x
        return theta["W"] @ h - x

    with pytest.raises(TracingError, match=r"test_bad_input\.py:\d+, in branches[\s\S]*np\.where[\s\S]*eager"):
        fg.Learner(declare(F=branches), fg.UORO())
    learner = fg.Learner(declare(F=branches), fg.UORO(), engine="eager")
    learner.run(np.ones((5, 3)), np.ones((5, 2)))
    assert np.all(np.isfinite(learner.params["W"]))


def test_functions_that_depend_on_something_else():
    rng = np.random.default_rng(0)
    with pytest.raises(TracingError, match="a call changes rng"):
        fg.Learner(declare(F=lambda h, x, t: t["W"] @ h + rng.normal(size=n)), fg.UORO())


def test_the_eager_engine_refuses_what_the_traced_one_does():
    def eager(**changes):
        return fg.Learner(declare(**changes), fg.UORO(), engine="eager")

    rng = np.random.default_rng(0)
    with pytest.raises(TracingError, match="a call changes rng"):
        eager(F=lambda h, x, t: t["W"] @ h + rng.normal(size=n))
    with pytest.raises(TracingError, match="autograd cannot differentiate"):
        eager(F=lambda h, x, t: np.linalg.svd(t["W"])[1] + h).step(np.ones(n), np.ones(2))
    learner = fg.Learner(symbols(), fg.UORO(), engine="eager")
    for x in (-1, 4):
        with pytest.raises(DataError, match="x: expected a symbol from 0 to 3"):
            learner.step(x, 0)
        with pytest.raises(DataError, match="x: expected a symbol from 0 to 3"):
            learner.predict(x)


def test_text_outside_the_alphabet():
    with pytest.raises(AlphabetError, match=r"'z'"):
        fg.streams.Alphabet("ab").encode("abz")


@pytest.mark.parametrize(
    ("make", "meant"),
    [
        (lambda: fg.Learner(SMALL, "nobacktrak"), "Did you mean 'nobacktrack'"),
        (lambda: fg.Learner(SMALL, "tbtt:4"), "Did you mean 'tbptt'"),
        (lambda: fg.Learner(SMALL, "rtrl", engine="nunpy"), "Did you mean 'numpy'"),
        (lambda: fg.UORO(scale="prob"), "Did you mean 'probe'"),
        (lambda: fg.InformationFilter("quasidiagonal"), "Did you mean 'quasi-diagonal'"),
        (lambda: fg.System(lambda h, x, p: -p["a"] * h, None, np.ones(1), {"a": 1.0}, dt=0.1, method="rk5"), "'rk4'"),
        (lambda: fg.SGD({"A": 0.1}).init({"a": np.ones(1)}), "Did you mean 'a'"),
    ],
)
def test_misspelt_words(make, meant):
    with pytest.raises(FwdgradError, match=meant) as error:
        make()
    assert str(error.value).count("\n") < 5


SMALL = fg.System(lambda h, x, p: p["a"] * h, None, np.ones(1), {"a": np.ones(1)})


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("parm b = 1.1", "param"),
        ("inptu u = 0", "input"),
        ("outptu x", "output"),
        ("output x nosie 0.1", "noise"),
        ("param b = 1 fxied", "fixed"),
        ("methd = rk4", "method"),
        ("substep = 3", "substeps"),
        ("nxt y = 3", "next"),
    ],
)
def test_misspelt_words_of_a_model(line, meant):
    """None is taken for a definition that nothing uses; one that is used is (negative control)."""
    text = "d x/dt = -a*x\nx(0) = 1\nparam a = 1\ndt = 0.1\n"
    with pytest.raises(fg.errors.ModelTextError, match=f"line 5: .*Did you mean '{meant}'"):
        fg.from_text(text + line)
    assert fg.from_text(text.replace("-a*x", "-a*x*substep") + "substep = 3").dt == 0.1
