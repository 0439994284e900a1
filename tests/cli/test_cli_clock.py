"""What the command line learns depends on neither the speed of the machine nor on how often it saves."""

import itertools

import numpy as np
import pytest

import fwdgrad as fg
from fwdgrad.cli import main
from fwdgrad.cli.curve import MOST, Curve
from fwdgrad.learning import checkpoint

MODEL = "d x/dt = u - k*x\nx(0) = 1\nparam k = 0.5\ninput u = 0\ndt = 0.1\n"
SYSTEM = """
import numpy as np, fwdgrad as fg
system = fg.System(lambda h, x, p: np.tanh(p["a"] * h + x), None, np.zeros(1), {"a": 0.5}, np.zeros(1))
"""
LENGTH, STEPS = 60, 150


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.txt").write_text(MODEL)
    (tmp_path / "system.py").write_text(SYSTEM)
    rng = np.random.default_rng(0)
    np.savez("d.npz", u=rng.normal(size=LENGTH), x=rng.normal(size=LENGTH), y=rng.normal(size=LENGTH))
    return tmp_path


def clock(monkeypatch, seconds):
    """Every look at the clock of the loop is so many seconds after the one before."""
    ticks = itertools.count()
    monkeypatch.setattr("fwdgrad.cli.loop.time.perf_counter", lambda: next(ticks) * seconds)


def learned(job, *words):
    assert main(["learn", *job, "--steps", str(STEPS), "--quiet", "--rate", "0.01", "--save", "s", *words]) == 0
    arrays, description = checkpoint.read("s")
    return arrays, description["note"]["fwdgrad learn"]["curve"]


JOBS = {"model": ["model.txt", "d.npz"], "system": ["system.py:system", "d.npz", "--inputs", "u", "--targets", "y"]}


@pytest.mark.covering
@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize("estimator", ["bptt", "tbptt:8", "uoro:4", "artbp:0.2", "rtrl"])
def test_what_is_learned_does_not_depend_on_the_clock_or_on_saving(folder, monkeypatch, job, estimator):
    found = []
    for seconds, words in (
        (0.0, []),
        (1.0, []),
        (0.0, ["--checkpoint-every", "7"]),
        (0.1, ["--checkpoint-every", "50"]),
    ):
        clock(monkeypatch, seconds)
        found.append(learned(JOBS[job], "--estimator", estimator, *words))
    for arrays, curve in found[1:]:
        assert arrays.keys() == found[0][0].keys()
        for k, v in found[0][0].items():
            np.testing.assert_array_equal(arrays[k], v)
        assert curve == found[0][1]


def test_a_sequence_ends_with_a_pass_and_with_the_run(folder, monkeypatch):
    clock(monkeypatch, 1.0)
    learned(JOBS["system"], "--estimator", "bptt", "--optimizer", "sgd")
    table = np.load("d.npz")
    namespace = {}
    exec(SYSTEM, namespace)
    learner = fg.Learner(namespace["system"], fg.BPTT(), fg.SGD(0.01))
    for start in range(0, STEPS, LENGTH):
        part = slice(0, min(LENGTH, STEPS - start))
        learner.run(table["u"][part, None], table["y"][part, None])
    assert fg.Learner.load("s", namespace["system"]).params == learner.params
    assert learner.params["a"] != 0.5


@pytest.mark.parametrize("at", [20, 60, 77])
def test_a_run_that_was_cut_off_anywhere_ends_as_the_unbroken_one(folder, monkeypatch, at):
    words = ["--estimator", "bptt", "--checkpoint-every", str(at)]
    clock(monkeypatch, 0.0)
    whole, _ = learned(JOBS["model"], *words)
    saves, save = itertools.count(), fg.Learner.save

    def cut(learner, path):
        save(learner, path)
        if next(saves) == 0:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(fg.Learner, "save", cut)
        assert (
            main(["learn", *JOBS["model"], "--steps", str(STEPS), "--quiet", "--rate", "0.01", "--save", "p", *words])
            == 130
        )
    assert checkpoint.read("p")[1]["steps"] == at
    assert main(["learn", "model.txt", "--quiet", "--resume", "p"]) == 0
    arrays, _ = checkpoint.read("p")
    for k, v in whole.items():
        np.testing.assert_array_equal(arrays[k], v)


def test_a_curve_does_not_depend_on_how_losses_come():
    losses = np.random.default_rng(0).normal(size=5 * MOST + 3) ** 2
    whole, parts = Curve(), Curve()
    whole.add(losses)
    for start in range(0, len(losses), 97):
        parts.add(losses[start : start + 97])
    assert whole.note() == parts.note()
    assert whole.mean() == pytest.approx(losses.mean())


def test_a_part_of_a_sequence_is_left_open():
    system = fg.System(lambda h, x, p: p["a"] * h + x, None, np.zeros(1), {"a": 0.5}, np.zeros(1))
    xs, ys = np.random.default_rng(0).normal(size=(2, 30, 1))
    whole, parts = (fg.Learner(system, fg.BPTT(), fg.SGD(0.01)) for _ in range(2))
    whole.run(xs, ys)
    parts.run(xs[:11], ys[:11], finish=False)
    assert parts.params["a"] == 0.5
    parts.run(xs[11:], ys[11:])
    assert parts.params == whole.params
