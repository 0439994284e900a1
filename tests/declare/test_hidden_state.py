"""Functions that are not functions of their arguments: state and values hidden in Python are found and named."""

from __future__ import annotations

import array
import contextlib
import itertools
import random
import subprocess
import sys
import time
import types
from collections import deque
from typing import Any

import numpy as np
import pytest

import fwdgrad as fg
from fwdgrad.errors import HiddenStateError, TracingError
from fwdgrad.outside import Captured
from fwdgrad.program import Abstract, trace_pure

N = 2


def declare(F: Any, Y: Any = None, **options: Any) -> fg.System:
    return fg.System(F, Y, np.full(N, 0.5), {"a": 0.5, "b": 0.3}, np.zeros(N), **options)


def learn(system: fg.System, engine: str) -> None:
    fg.Learner(system, fg.UORO(), engine=engine).run(np.ones((3, N)), np.ones((3, N)))


def simulate(system: fg.System, engine: str) -> None:
    system.simulate(np.ones((3, N)))


USES = [(learn, "numpy"), (learn, "eager"), (simulate, "numpy")]

# ---------------------------------------------------------------- what is remembered from call to call


class Model:
    """A model with attributes."""

    def __init__(self) -> None:
        self.line = deque([np.full(N, 1.0)] * 50, 50)
        self.count = 0
        self.before = np.zeros(N)
        self.rng = np.random.default_rng(0)
        self.gain = np.array([0.5, 0.4])

    def delays(self, h: Any, x: Any, p: Any) -> Any:
        new = p["a"] * h + p["b"] * self.line[0] + x
        self.line.append(new)
        return new

    def counts(self, h: Any, x: Any, p: Any) -> Any:
        self.count += 1
        return p["a"] * h + p["b"] * x

    def remembers(self, h: Any, x: Any, p: Any) -> Any:
        old, self.before = self.before, h
        return p["a"] * h + p["b"] * old + x

    def draws(self, h: Any, x: Any, p: Any) -> Any:
        return p["a"] * h + p["b"] * self.rng.normal(size=N) + x

    def pure(self, h: Any, x: Any, p: Any) -> Any:
        return self.gain * p["a"] * h + p["b"] * x

    def __call__(self, h: Any, x: Any, p: Any) -> Any:
        return self.counts(h, x, p)


LINE = deque([1.0] * 50, 50)
COUNTER = itertools.count()
TOTAL = 0
RNG = np.random.default_rng(0)


def global_deque(h: Any, x: Any, p: Any) -> Any:
    new = p["a"] * h + p["b"] * LINE[0] + x
    LINE.append(new[0])
    return new


def global_counter(h: Any, x: Any, p: Any) -> Any:
    return p["a"] * h + p["b"] * x * (next(COUNTER) < 1000)


def global_number(h: Any, x: Any, p: Any) -> Any:
    global TOTAL
    TOTAL += 1
    return p["a"] * h + p["b"] * x


def through_a_helper(h: Any, x: Any, p: Any) -> Any:
    return global_number(h, x, p) * 1.0


def global_generator(h: Any, x: Any, p: Any) -> Any:
    return p["a"] * h + p["b"] * RNG.normal(size=N) + x


def default_argument(h: Any, x: Any, p: Any, kept: Any = []) -> Any:  # noqa: B006
    kept.append(p["a"] * h)
    return kept[-1] + p["b"] * x


def own_attribute(h: Any, x: Any, p: Any) -> Any:
    own_attribute.calls = getattr(own_attribute, "calls", 0) + 1  # type: ignore[attr-defined]
    return p["a"] * h + p["b"] * x


def closure_list() -> Any:
    seen: list[Any] = []

    def F(h: Any, x: Any, p: Any) -> Any:
        seen.append(h)
        return p["a"] * h + p["b"] * x

    return F


def closure_dict() -> Any:
    last: dict[str, Any] = {"h": np.zeros(N)}

    def F(h: Any, x: Any, p: Any) -> Any:
        old = last["h"]
        last["h"] = h
        return p["a"] * h + p["b"] * old + x

    return F


def closure_generator() -> Any:
    def numbers() -> Any:
        total = 0.0
        while True:
            total += 1.0
            yield total

    stream = numbers()
    return lambda h, x, p: p["a"] * h + p["b"] * x * (0.0 * next(stream) + 1.0)


def closure_nonlocal() -> Any:
    turn = 0

    def F(h: Any, x: Any, p: Any) -> Any:
        nonlocal turn
        turn = (turn + 1) % 1000
        return p["a"] * h + p["b"] * x * (1.0 if turn < 500 else 2.0)

    return F


REMEMBER = {
    "a method's deque": (lambda: Model().delays, "self.line"),
    "a method's counter": (lambda: Model().counts, "self.count"),
    "a method's last value": (lambda: Model().remembers, ""),
    "a method's generator": (lambda: Model().draws, "self.rng"),
    "a callable object": (Model, "count"),
    "a global deque": (lambda: global_deque, "LINE"),
    "a global iterator": (lambda: global_counter, "COUNTER"),
    "a global number": (lambda: global_number, "TOTAL"),
    "through a helper": (lambda: through_a_helper, "TOTAL"),
    "a global generator": (lambda: global_generator, "RNG"),
    "a default argument": (lambda: default_argument, "kept"),
    "an attribute of the function": (lambda: own_attribute, ".calls"),
    "a list": (closure_list, "seen"),
    "a dict": (closure_dict, "last"),
    "a Python generator": (closure_generator, "stream"),
    "a nonlocal variable": (closure_nonlocal, "turn"),
    "np.random": (lambda: lambda h, x, p: p["a"] * h + p["b"] * np.random.normal(size=N), "np.random"),
    "random": (lambda: lambda h, x, p: p["a"] * h + p["b"] * random.random() * x, "random"),
    "the time": (lambda: lambda h, x, p: p["a"] * h + p["b"] * np.sin(1e6 * time.perf_counter()) * h, "time"),
}


@pytest.mark.parametrize(
    ("kind", "use"),
    [(kind, use) for k, kind in enumerate(REMEMBER) for use in (USES if k % 5 == 0 else USES[:1])],
    ids=lambda v: v if isinstance(v, str) else f"{v[0].__name__}, {v[1]}",
)
def test_a_memory_is_refused_by_name(kind, use):
    make, place = REMEMBER[kind]
    run, engine = use
    with pytest.raises(HiddenStateError, match=r"F(:| has a memory)") as caught:
        run(declare(make()), engine)
    assert place in str(caught.value)
    assert "state" in str(caught.value)
    assert len(str(caught.value).split("\n")) <= 5
    assert isinstance(caught.value, TracingError)


@pytest.mark.parametrize("use", USES, ids=lambda use: f"{use[0].__name__}, {use[1]}")
@pytest.mark.parametrize("where", ["Y", "loss", "init", "tied"])
def test_in_every_function(where, use):
    seen: list[float] = []

    def note() -> float:
        seen.append(1.0)
        return 1.0

    def pure(h: Any, x: Any, p: Any) -> Any:
        return p["a"] * h + p["b"] * x

    if where == "Y":
        system = declare(pure, lambda h, x, p: h * note())
    elif where == "loss":
        system = declare(pure, loss=lambda yhat, y: np.sum((yhat - y) ** 2) * note())
    elif where == "init":
        params = {"a": 0.5, "b": 0.3, "h0": np.ones(N)}
        system = fg.System(pure, None, lambda p: p["h0"] * note(), params, np.zeros(N), first="initial")
    else:
        params = {"a": 0.5, "b": fg.tied("a", lambda a: 0.5 * a * note())}
        system = fg.System(pure, None, np.ones(N), params, np.zeros(N))
    with pytest.raises(HiddenStateError, match="seen"):
        use[0](system, use[1])


@pytest.mark.parametrize("engine", ["numpy", "eager"])
def test_what_F_leaves_for_Y(engine):
    left: dict[str, Any] = {}

    def F(h: Any, x: Any, p: Any) -> Any:
        left["inner"] = np.tanh(p["a"] * h)
        return left["inner"] + p["b"] * x

    with pytest.raises(HiddenStateError, match="Y: called again"):
        learn(declare(F, lambda h, x, p: h + left["inner"]), engine)


def test_a_branch_that_cannot_be_traced():
    seen: list[Any] = []

    def F(h: Any, x: Any, p: Any) -> Any:
        seen.append(h)
        return p["a"] * h if h[0] > 0 else p["b"] * h

    with pytest.raises(HiddenStateError, match="seen"):
        learn(declare(F), "eager")


# ---------------------------------------------------------------- what is no memory


def scratch() -> Any:
    kept: dict[str, Any] = {}

    def F(h: Any, x: Any, p: Any) -> Any:
        kept["inner"] = np.tanh(p["a"] * h)
        return kept["inner"] + p["b"] * x

    return F


class Scratch:
    def F(self, h: Any, x: Any, p: Any) -> Any:
        self.inner = np.tanh(p["a"] * h)
        return self.rest(p["b"] * x)

    def rest(self, x: Any) -> Any:
        return self.inner + x


class Lazy:
    matrix: Any = None

    def F(self, h: Any, x: Any, p: Any) -> Any:
        if self.matrix is None:
            self.matrix = np.eye(N)
        return p["a"] * self.matrix @ h + p["b"] * x


def cached() -> Any:
    tables: dict[Any, Any] = {}

    def F(h: Any, x: Any, p: Any) -> Any:
        key = np.shape(h)
        if key not in tables:
            tables[key] = np.ones(key)
        return p["a"] * tables[key] * h + p["b"] * x

    return F


def recursive() -> Any:
    def F(h: Any, x: Any, p: Any) -> Any:
        def power(k: int) -> Any:
            return h if k == 0 else 0.5 * power(k - 1)

        return p["a"] * power(3) + p["b"] * x

    return F


HARMLESS = {
    "a dict that is written before it is read": scratch,
    "attributes that are written before they are read": lambda: Scratch().F,
    "an attribute that is made once": lambda: Lazy().F,
    "a cache": cached,
    "a function that calls itself": recursive,
    "constants of a method": lambda: Model().pure,
    "a module": lambda: lambda h, x, p: p["a"] * np.tanh(h) + p["b"] * x * types.SimpleNamespace(k=2.0).k,
}


@pytest.mark.parametrize("engine", ["numpy", "eager"])
@pytest.mark.parametrize("kind", list(HARMLESS))
@pytest.mark.covering
def test_what_is_no_memory_passes(kind, engine):
    system = declare(HARMLESS[kind]())
    learner = fg.Learner(system, fg.UORO(), engine=engine)
    for _ in range(3):
        learner.run(np.ones((3, N)), np.ones((3, N)))
        learner.step(np.ones(N), np.ones(N))
    system.simulate(np.ones((3, N)))


# ---------------------------------------------------------------- what changes later


class Frame:
    """Numbers behind a private slot, handed out as arrays: as a table of pandas is."""

    __slots__ = ("__values",)

    def __init__(self, values: Any) -> None:
        self.__values = np.array(values)

    def to_numpy(self) -> np.ndarray:
        return self.__values.copy()

    def put(self, place: int, value: float) -> None:
        self.__values[place] = value


def changing() -> dict[str, tuple[Any, Any, Any, str]]:
    """F, how something it uses is changed, how it is put back, and what it is called."""
    plain, table, number, model = np.array([0.5, 0.4]), {"k": [1.0, 2.0]}, [2.0], Model()
    config = types.SimpleNamespace(scale=2.0)
    buffer, frame = array.array("d", [0.5, 0.4]), Frame([0.5, 0.4])

    def default(h: Any, x: Any, p: Any, gain: Any = plain) -> Any:
        return gain * p["a"] * h + p["b"] * x

    def change(target: Any, key: Any, value: Any) -> Any:
        return lambda: target.__setitem__(key, value)

    def attribute(value: Any) -> Any:
        return lambda: setattr(model, "gain", value)

    def in_globals(value: Any) -> Any:
        return lambda: globals().__setitem__("FACTOR", value)

    return {
        "an array": (
            lambda h, x, p: plain * p["a"] * h + p["b"] * x,
            change(plain, 0, 0.9),
            change(plain, 0, 0.5),
            "plain",
        ),
        "a default argument": (default, change(plain, 0, 0.9), change(plain, 0, 0.5), "gain"),
        "a nested list": (
            lambda h, x, p: table["k"][0] * p["a"] * h + p["b"] * x,
            change(table["k"], 0, 0.9),
            change(table["k"], 0, 1.0),
            "table",
        ),
        "a number in a list": (
            lambda h, x, p: number[0] * p["a"] * h + p["b"] * x,
            change(number, 0, 0.9),
            change(number, 0, 2.0),
            "number",
        ),
        "an attribute": (model.pure, attribute(np.ones(N)), attribute(np.array([0.5, 0.4])), "self.gain"),
        "a setting": (
            lambda h, x, p: config.scale * p["a"] * h + p["b"] * x,
            lambda: setattr(config, "scale", 3.0),
            lambda: setattr(config, "scale", 2.0),
            "config.scale",
        ),
        "a buffer": (
            lambda h, x, p: buffer[0] * p["a"] * h + p["b"] * x,
            change(buffer, 0, 0.9),
            change(buffer, 0, 0.5),
            "buffer",
        ),
        "a table": (
            lambda h, x, p: frame.to_numpy() * p["a"] * h + p["b"] * x,
            lambda: frame.put(0, 0.9),
            lambda: frame.put(0, 0.5),
            "frame",
        ),
        "a global": (uses_factor, in_globals(3.0), in_globals(2.0), "FACTOR"),
    }


FACTOR = 2.0


def uses_factor(h: Any, x: Any, p: Any) -> Any:
    return FACTOR * p["a"] * h + p["b"] * x


@pytest.mark.parametrize("engine", ["numpy", "eager"])
@pytest.mark.parametrize("kind", list(changing()))
def test_what_changes_after_it_was_traced_is_named(kind, engine):
    F, change, back, place = changing()[kind]
    system = declare(F)
    learner = fg.Learner(system, fg.UORO(), engine=engine)
    xs, ys = np.ones((5, N)), np.ones((5, N))
    learner.run(xs, ys)
    system.simulate(xs)
    kept, steps = learner.params["a"], learner.steps
    change()
    try:
        for use in (lambda: learner.run(xs, ys), lambda: system.simulate(xs), lambda: fg.Learner(system)):
            with pytest.raises(HiddenStateError, match=rf"{place}.* has changed since") as caught:
                use()
            assert len(str(caught.value).split("\n")) <= 5
        declare(F).simulate(xs)  # declared again, it is another system
    finally:
        back()
    assert (learner.params["a"], learner.steps) == (kept, steps)  # nothing is lost
    learner.run(xs, ys)


@pytest.mark.parametrize("engine", ["numpy", "eager"])
def test_a_clock_outside_is_found_while_stepping(engine):
    clock = [0.0]
    system = declare(lambda h, x, p: p["a"] * h + p["b"] * (x + clock[0]))
    learner = fg.Learner(system, fg.RTRL(), engine=engine)

    def live() -> None:
        for k in range(10):
            clock[0] = float(k)
            learner.step(np.ones(N), np.ones(N))

    with pytest.raises(HiddenStateError, match="clock"):
        live()
    assert learner.steps <= 2


def test_a_change_in_the_middle_of_a_long_run():
    gain = np.ones(N)
    learner = fg.Learner(declare(lambda h, x, p: gain * p["a"] * h + p["b"] * x), fg.UORO())

    def samples() -> Any:
        for k in range(5000):
            if k == 1500:
                gain[0] = 2.0
            yield np.ones(N), np.ones(N)

    with pytest.raises(HiddenStateError, match="gain"):
        learner.run(samples())
    assert 1500 <= learner.steps <= 1500 + 1024


def test_what_is_not_used_may_change():
    other, used = np.ones(3), np.ones(N)
    model = types.SimpleNamespace(gain=np.ones(N), count=0, line=[])

    def F(h: Any, x: Any, p: Any) -> Any:
        return used * model.gain * p["a"] * h + p["b"] * x

    learner = fg.Learner(declare(F), fg.UORO())
    learner.run(np.ones((3, N)), np.ones((3, N)))
    other[0], model.count = 5.0, 7
    model.line.append(np.zeros(N))
    RNG.normal()
    learner.run(np.ones((3, N)), np.ones((3, N)))


# ---------------------------------------------------------------- two systems that differ in an array


def outputs(gain: np.ndarray, engine: str) -> tuple[np.ndarray, np.ndarray]:
    system = declare(lambda h, x, p: gain * p["a"] * h + p["b"] * x)
    learner = fg.Learner(system, fg.RTRL(), fg.SGD(1e-2), engine=engine)
    learner.run(np.ones((20, N)), np.ones((20, N)))
    return np.array(learner.state), np.array(learner.params["a"])


@pytest.mark.parametrize("engine", ["numpy", "eager", "compiled"])
def test_no_step_is_shared(engine):
    """Small arrays and large ones, one system after the other and the first again, against the eager engine."""
    if engine == "compiled":
        pytest.importorskip("llvmlite")
    one, other = np.array([0.5, 0.4]), np.array([0.5, 0.3])
    for gain in (one, other, one):
        for got, expected in zip(outputs(gain, engine), outputs(gain, "eager"), strict=True):
            np.testing.assert_allclose(got, expected, rtol=1e-12)


PROCESS = """
import sys
import numpy as np, fwdgrad as fg
gain = np.full(100, float(sys.argv[1]))
system = fg.System(lambda h, x, p: gain * p["a"] * h, None, np.ones(100), {"a": 0.5})
learner = fg.Learner(system, fg.UORO(), engine="compiled")
learner.run(steps=2)
print(float(learner.state[0]))
"""


def test_no_step_is_shared_through_the_cache_on_disk(tmp_path, monkeypatch):
    pytest.importorskip("llvmlite")
    monkeypatch.setenv("FWDGRAD_CACHE", str(tmp_path))
    for gain in (1.0, 3.0):
        made = subprocess.run([sys.executable, "-c", PROCESS, str(gain)], capture_output=True, text=True, check=True)
        assert float(made.stdout) == pytest.approx((gain * 0.5) ** 2)


# ---------------------------------------------------------------- arrays that outlive a trace

VECTOR = Abstract((3,), np.dtype(float))


def test_arrays_that_are_kept_are_refused_by_name():
    kept: list[Any] = []

    def keeps(h: Any) -> Any:
        kept.append(np.tanh(h))
        return (h,)

    with pytest.raises(HiddenStateError, match=r"test_hidden_state\.py:\d+, in keeps[\s\S]*held by a list"):
        trace_pure(keeps, [VECTOR], name="F")


def test_arrays_that_are_used_in_the_next_trace_are_refused():
    kept: list[Any] = [np.zeros(3)]

    def keeps(h: Any) -> Any:
        old, kept[0] = kept[0], h
        return (h + old,)

    with pytest.raises(HiddenStateError, match="belongs to a trace"):
        trace_pure(keeps, [VECTOR], name="F")


def test_arrays_that_every_call_writes_anew_do_no_harm():
    kept: list[Any] = [None]

    def keeps(h: Any) -> Any:
        kept[0] = np.tanh(h)
        return (kept[0],)

    assert len(trace_pure(keeps, [VECTOR], name="F").instructions) == 1


# ---------------------------------------------------------------- what is looked at


def test_equal_contents_have_equal_keys():
    def F() -> Any:
        return array, listed, mapping, nothing

    array, listed, mapping, nothing = np.ones(3), [1.0] * 20, {"k": (1, "text", None)}, float("nan")
    captured = Captured({"F": F})
    before = captured.snapshot()
    assert {"array", "listed", "mapping", "mapping['k'][1]", "nothing", "F()"} <= before.keys()
    array, listed, mapping = np.ones(3), [1.0] * 20, {"k": (1, "text", None)}
    nothing = float("nan")
    assert captured.snapshot() == before
    listed[13] = 2.0
    mapping["k"] = (1, "other", None)
    after = captured.snapshot()
    assert {k for k in before if before[k] != after[k]} == {"listed", "mapping['k'][1]"}


def test_two_variables_of_one_name():
    def inner(gain: float) -> Any:
        held = [gain]
        return lambda: held

    one, other = inner(1.0), inner(2.0)
    captured = Captured({"F": lambda: one() + other()})
    before = captured.snapshot()
    one()[0] = 5.0
    middle = captured.snapshot()
    other()[0] = 5.0
    assert before != middle != captured.snapshot()


def hidden_counter():
    """Counts its calls where nothing can look: in the frame of a generator, behind a built-in method."""
    return (k for k in itertools.count(1)).__next__


@pytest.mark.parametrize(("late", "found"), [(100, True), (10**8, False)])
def test_a_memory_that_shows_after_many_calls_is_found_in_a_run(late, found):
    """On the eager engine, which calls the function at every step: where it is asked again."""
    turn = hidden_counter()
    system = fg.System(lambda h, x, p: p["a"] * h + (0.5 if turn() > late else 0.0), None, np.ones(1), {"a": 0.5})
    learner = fg.Learner(system, fg.RTRL(), fg.SGD(1e-3), engine="eager")
    with pytest.raises(HiddenStateError, match="something else comes out") if found else contextlib.nullcontext():
        for _ in range(300):
            learner.step(y=np.zeros(1))
