"""Windows as steps of a compiled stream: what the NumPy engine makes sample by sample, however the samples come."""

import gc
import mmap
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import fwdgrad as fg
from fwdgrad import systems
from fwdgrad.errors import IndexRangeError, NonFiniteError
from fwdgrad.estimators.windows import Sliding
from fwdgrad.learning.loops.compiled_windows import CompiledWindows
from fwdgrad.learning.loops.sequence import CompiledSequence
from fwdgrad.learning.loops.walking import Walking

ESTIMATORS = {
    "TBPTT": fg.TBPTT(4),
    "TBPTT, sliding": fg.TBPTT(6, 2),
    "UORO": fg.UORO(window=4),
    "UORO, sliding": replace(fg.UORO(), window=Sliding(6, 3)),
    "BPTT": fg.BPTT(),
    "BPTT, checkpoints": fg.BPTT(checkpoints=True),
    "ARTBP": fg.ARTBP(0.2),
}
FIXED = ["TBPTT", "TBPTT, sliding", "UORO", "UORO, sliding"]
STEPS = 120
RNG = np.random.default_rng(0)
SYSTEM = fg.System(
    lambda h, x, p: np.tanh(p["W"] @ h + p["U"][x["k"]] * x["u"]),
    lambda h, x, p: p["V"] @ h,
    np.zeros(3),
    {"W": RNG.normal(size=(3, 3)) / 2, "U": RNG.normal(size=(5, 3)), "V": RNG.normal(size=(2, 3))},
    {"k": 0, "u": 0.0},
)
XS = {"k": RNG.integers(5, size=STEPS), "u": RNG.normal(size=STEPS)}
YS = RNG.normal(size=(STEPS, 2))
YS[RNG.random(STEPS) < 0.3] = np.nan  # also a whole window now and then
YS[40:60] = np.nan


def learner(name, engine, system=SYSTEM):
    return fg.Learner(system, ESTIMATORS[name], fg.Adam(1e-2), seed=3, engine=engine)


def part(a, b, xs=XS, ys=YS):
    return {k: v[a:b] for k, v in xs.items()}, ys[a:b]


def sample(t, xs=XS, ys=YS):
    return {k: v[t] for k, v in xs.items()}, ys[t]


def go(one, a, b, single, ys=YS):
    """Through samples a … b − 1, one by one or together."""
    if single:
        for t in range(a, b):
            one.step(*sample(t, ys=ys))
    else:
        one.run(*part(a, b, ys=ys), finish=False)


def carry(one):
    return [np.array(a) for a in one._loop.carry]


def assert_close(ours, theirs):
    for mine, there in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine, there, rtol=1e-11, atol=1e-13)


@pytest.fixture(
    params=[pytest.param(n, marks=pytest.mark.slow) if n in ("TBPTT, sliding", "UORO") else n for n in ESTIMATORS]
)
def name(request):
    return request.param


def test_pieces_of_every_length(name):
    """The same losses, predictions and carries, wherever a run is cut, and with samples one by one."""
    here, there = learner(name, "compiled"), learner(name, "numpy")
    assert isinstance(here._loop, CompiledWindows if name in FIXED else CompiledSequence)
    cuts = [0, 1, 3, 8, 9, 30, 31, 33, 34, 77, 90, 91, STEPS]
    for a, b in pairwise(cuts):
        ours, theirs = (one.run(*part(a, b), keep_predictions=True, finish=False) for one in (here, there))
        np.testing.assert_allclose(ours.loss, theirs.loss, rtol=1e-12)
        np.testing.assert_allclose(ours.predictions, theirs.predictions, rtol=1e-12, atol=1e-14)
        assert_close(carry(here), carry(there))
        assert here.steps == there.steps == b
    for t in range(30):
        np.testing.assert_allclose(here.step(*sample(t)), there.step(*sample(t)), rtol=1e-12)
    assert_close(carry(here), carry(there))
    assert here._loop.noise.state() == there._loop.noise.state()


def test_what_is_learned_does_not_depend_on_how_samples_come(name):
    """Bit for bit."""
    together, single, mixed = (learner(name, "compiled") for _ in range(3))
    together.run(*part(0, STEPS), finish=False)
    for t in range(STEPS):
        single.step(*sample(t))
    for a, b in ((0, 7), (7, 50), (50, 51), (51, STEPS)):
        mixed.run(*part(a, b), finish=False)
    for other in (single, mixed):
        for mine, theirs in zip(carry(together), carry(other), strict=True):
            np.testing.assert_array_equal(mine, theirs)


def test_steps_that_stay_are_handed_on(monkeypatch):
    """A negative control: without them, overlapping windows are not what they are on NumPy."""
    monkeypatch.setattr(CompiledWindows, "_take_older", lambda self: None)
    here, there = learner("TBPTT, sliding", "compiled"), learner("TBPTT, sliding", "numpy")
    for one in (here, there):
        one.run(*part(0, 30), finish=False)
    with pytest.raises(AssertionError, match="Not equal"):
        assert_close(carry(here), carry(there))


def test_trajectories_that_end_in_the_middle_of_a_window(name):
    here, there = learner(name, "compiled"), learner(name, "numpy")
    start = 0
    for length in (5, 1, 13, 2, 40, 11, 3):
        for one in (here, there):
            one.run(*part(start, start + length), finish=False)
            one.reset_state()
        assert_close(carry(here), carry(there))
        start += length
    here.finish()  # nothing is open
    assert_close(carry(here), carry(there))


@pytest.mark.covering
@pytest.mark.parametrize("bad", [0, 2, 5, 38, 72, 75])
@pytest.mark.parametrize("single", [False, True], ids=["run", "steps"])
def test_the_sample_that_is_refused(name, bad, single):
    """The same one as on NumPy, whatever its place in the window; nothing has happened to it, and learning goes on."""
    ys = YS.copy()
    ys[bad] = 1e200
    here, there = learner(name, "compiled"), learner(name, "numpy")
    for one in (here, there):
        with pytest.raises(NonFiniteError, match=f"the loss is not finite at step {bad}"):
            go(one, 0, STEPS, single, ys)
        assert one.steps == bad
    assert_close(carry(here), carry(there))
    for one in (here, there):
        one.run(*part(bad, STEPS), finish=False)
        one.finish()
    assert_close(carry(here), carry(there))


@pytest.mark.parametrize("bad", [3, 29])
def test_an_update_that_is_refused(name, bad):
    """The loss is finite, its derivative times the learning rate is not: the last sample of the window is refused."""
    ys = YS.copy()
    ys[bad - 1 : bad + 1] = 1e154
    here, there = learner(name, "compiled"), learner(name, "numpy")
    steps = []
    for one in (here, there):
        with pytest.raises(NonFiniteError):
            one.run(XS, ys)
        steps.append(one.steps)
    assert steps[0] == steps[1] >= bad - 1
    assert_close(carry(here), carry(there))
    with pytest.raises(NonFiniteError):
        here.run(*part(steps[0], STEPS, ys=ys), finish=False)
    assert_close(carry(here), carry(there))


def test_an_index_out_of_range(name):
    system = SYSTEM.replace(F=lambda h, x, p: np.tanh(p["W"] @ h + p["U"][x["k"] + 0] * x["u"]))
    xs = {**XS, "k": XS["k"].copy()}
    xs["k"][37] = 7
    here, there = (learner(name, e, system) for e in ("compiled", "numpy"))
    for one in (here, there):
        with pytest.raises(IndexRangeError):
            one.run(xs, YS)
        assert one.steps == 37
    assert_close(carry(here), carry(there))


def test_a_checkpoint_in_the_middle_of_a_window_changes_engines(name, tmp_path):
    learners = [learner(name, "compiled"), learner(name, "numpy")]
    for one, path in zip(learners, ("compiled.npz", "numpy.npz"), strict=True):
        one.run(*part(0, 33), finish=False)
        one.save(tmp_path / path)
    made = [
        fg.Learner.load(tmp_path / path, SYSTEM, engine=engine)
        for path in ("compiled.npz", "numpy.npz")
        for engine in ("compiled", "numpy")
    ]
    for one in made:
        one.run(*part(33, 100), finish=False)
        one.finish()
    for one in made:
        assert_close(carry(one), carry(made[-1]))


@pytest.mark.covering
@pytest.mark.parametrize("single", [False, True], ids=["run", "steps"])
@pytest.mark.parametrize("method", ["_make", "_walked"])
def test_ctrl_c_when_a_call_returns(name, method, single, monkeypatch):
    """All of a call counts, or nothing."""
    owner = Walking if method == "_walked" else CompiledWindows
    if name not in FIXED and method == "_make":
        pytest.skip("it makes no windows at once")
    here, there = learner(name, "compiled"), learner(name, "compiled")
    for one in (here, there):
        one.run(*part(0, 17), finish=False)
    with monkeypatch.context() as patch:
        make = getattr(owner, method)

        def interrupted(*arguments):
            make(*arguments)
            patch.setattr(owner, method, make)
            raise KeyboardInterrupt

        patch.setattr(owner, method, interrupted)
        with pytest.raises(KeyboardInterrupt):
            go(here, 17, 60, single)
    for t in range(17, here.steps):
        there.step(*sample(t))
    assert here.steps < 60
    assert_close(carry(here), carry(there))
    for one in (here, there):
        one.run(*part(one.steps, STEPS), finish=False)
        one.finish()
    assert_close(carry(here), carry(there))


def test_parameters_that_are_set_in_the_middle_of_a_window(name):
    here, there = learner(name, "compiled"), learner(name, "numpy")
    for one in (here, there):
        one.run(*part(0, 21), finish=False)
        one.params = {**one.params, "W": 0.5 * one.params["W"]}
        one.run(*part(21, 70), finish=False)
        one.finish()
    assert_close(carry(here), carry(there))


@pytest.mark.slow
@pytest.mark.parametrize("estimator", [fg.TBPTT(16), fg.UORO(window=16)], ids=["TBPTT", "UORO"])
def test_ten_million_steps_take_the_memory_of_the_first(estimator):
    """And the time of the first, but for a factor that says nothing of a machine that is busy."""
    status = Path("/proc/self/statm")
    if not status.exists():
        pytest.skip("the system does not tell how much memory is used")
    rng = np.random.default_rng(0)
    xs, ys = rng.integers(4, size=(2, 100_000))
    one = fg.Learner(systems.build("tanh-rnn", units=4, symbols=4), estimator, fg.SGD(1e-4), seed=0, engine="compiled")
    pages, spent = [], []
    for _ in range(100):
        start = time.process_time()
        one.run(xs, ys, record=100_000)
        spent.append(time.process_time() - start)
        gc.collect()
        pages.append(int(status.read_text().split()[1]))
    assert one.steps == 10**7
    assert (max(pages[50:]) - max(pages[:10])) * mmap.PAGESIZE < 2**20
    assert min(spent[50:]) < 2 * min(spent[:10])
