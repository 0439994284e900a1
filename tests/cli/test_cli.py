"""The command line: what it learns is what the library learns, it resumes bit for bit, and it refuses politely."""

import csv
import os
import random
import signal
import subprocess
import sys
import time
from inspect import signature

import numpy as np
import pytest

import fwdgrad as fg
from fwdgrad import systems
from fwdgrad.cli import main
from fwdgrad.cli.builders import Builder
from fwdgrad.cli.curve import MOST, Curve
from fwdgrad.cli.data import read_columns
from fwdgrad.cli.loop import run as loop
from fwdgrad.cli.report import generate
from fwdgrad.cli.simulated import SimulatedJob
from fwdgrad.learning.checkpoint import read

# short tables are learned here by the filter, whose deviations are said to be rough
pytestmark = pytest.mark.filterwarnings("ignore:parameter_std. after .* targets deviations are rough")

TEXT = "to be, or not to be: that is the question.\nwhether 'tis nobler in the mind to suffer\n" * 8

MODEL = """
import numpy as np
import fwdgrad as fg

def step(h, x, p):
    return p["a"] * h + p["b"] * x

def build(seed=0):
    return fg.System(step, None, np.zeros(1), {"a": 0.1, "b": 0.2}, np.zeros(1), name="filter")

system = build()

def parts():
    def move(h, x, p):
        return p["k"] * h + x["u"] + 0.5 * x["wind"][0]
    return fg.System(move, lambda h, x, p: h[0], np.zeros(1), {"k": 0.3}, {"u": 0.0, "wind": np.zeros(2)})

def wide(units=3):
    def move(h, x, p):
        return np.tanh(p["W"] @ h + x)
    return fg.System(move, None, np.zeros(units), {"W": np.eye(units), "c": 1.0}, np.zeros(units), frozen="c")

def reader(symbols, units=4, seed=0):
    rng = np.random.default_rng(seed)
    params = {"W": np.eye(units), "U": rng.normal(size=(symbols, units)), "V": np.zeros((symbols, units))}
    return fg.System(
        lambda h, x, p: np.tanh(p["W"] @ h + p["U"][x]),
        lambda h, x, p: p["V"] @ h,
        np.zeros(units),
        params,
        x=0,
        loss=fg.losses.CrossEntropy(),
    )

number = 7

def wrong():
    return number

def breaks():
    return 1 / (number - 7)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with a text, a model and data from y' = 0.8 y + 0.5 u."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text(TEXT)
    (tmp_path / "model.py").write_text(MODEL)
    rng = np.random.default_rng(0)
    u, y, h = rng.normal(size=600), [], 0.0
    for value in u:
        h = 0.8 * h + 0.5 * value
        y.append(h)
    y = np.array(y)
    y[::7] = np.nan
    with open("run.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["day", "u", "y"])
        rows.writerows(
            ["Mon", repr(float(a)), "" if np.isnan(b) else repr(float(b))] for a, b in zip(u, y, strict=True)
        )
    np.savez("run.npz", x=u, y=y)
    return tmp_path


def learned(path):
    """The arrays of a checkpoint."""
    return read(path)[0]


def same(a, b):
    return a.keys() == b.keys() and all(
        np.array_equal(a[k], b[k], equal_nan=np.asarray(a[k]).dtype.kind == "f") for k in a
    )


TINY = ["learn", "tanh-rnn", "--text", "text.txt", "--units", "8", "--quiet"]


# ---- the catalogue, versions, help


def test_systems_lists_the_catalogue(capsys):
    assert main(["systems"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(systems.CATALOGUE)
    assert all(text in line for line, (_, text) in zip(lines, systems.describe(), strict=True))


@pytest.mark.parametrize("argv", [["--version"], ["--help"], ["learn", "--help"], ["systems", "--help"]])
def test_version_and_help(argv, capsys):
    with pytest.raises(SystemExit) as stop:
        main(argv)
    assert stop.value.code == 0
    out = capsys.readouterr().out
    assert fg.__version__ in out if argv == ["--version"] else "usage: fwdgrad" in out


def test_the_module_runs():
    done = subprocess.run([sys.executable, "-m", "fwdgrad", "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, f"fwdgrad {fg.__version__}")


@pytest.mark.skipif(os.name != "posix", reason="pipes")
def test_a_reader_that_has_seen_enough_is_no_error():
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = subprocess.run([sys.executable, "-m", "fwdgrad", "systems"], stdout=write_end, stderr=subprocess.PIPE)
    os.close(write_end)
    assert (done.returncode, done.stderr) == (1, b"")


# ---- text


def test_a_text_is_learned_as_the_library_learns_it(folder, capsys):
    assert (
        main([*TINY, "--steps", "200", "--estimator", "uoro:3", "--rate", "0.004", "--seed", "5", "--save", "s"]) == 0
    )
    xs, ys, alphabet = fg.streams.text_stream(TEXT)
    system = systems.tanh_rnn(units=8, symbols=len(alphabet), seed=5)
    learner = fg.Learner(system, fg.UORO(window=3), fg.Adam(0.004), seed=5)
    history = learner.run(xs, ys, steps=200)
    restored = fg.Learner.load("s", system)
    assert same(restored.params, learner.params)
    assert restored.steps == 200

    out = capsys.readouterr().out
    assert f"loss over the whole run {history.loss.mean():.3f}".split() == row(out, "loss over the whole run")
    assert row(out, "loss over the last 10%")[-1] == f"{history.recent(20):.3f}"
    for name, bits in fg.streams.references(TEXT[:201]).items():
        assert row(out, name)[-1] == f"{bits:.3f}"


def row(out, start):
    """The words of the line that starts so."""
    (line,) = [line for line in out.splitlines() if line.startswith(start)]
    return line.split()


def test_another_seed_gives_another_result(folder):
    for seed in ("1", "2"):
        assert main([*TINY, "--steps", "50", "--seed", seed, "--save", seed]) == 0
    assert not same(learned("1"), learned("2"))


@pytest.mark.parametrize(
    ("options", "estimator", "optimizer"),
    [
        (["--estimator", "rtrl", "--optimizer", "sgd", "--rate", "0.1"], fg.RTRL(), fg.SGD(0.1)),
        (["--estimator", "tbptt:4", "--optimizer", "adagrad"], fg.TBPTT(4), fg.AdaGrad(0.01)),
        (["--estimator", "auto"], None, fg.Adam(3e-4)),
        (["--estimator", "uoro", "--rank", "2", "--engine", "eager"], fg.UORO(rank=2), fg.Adam(3e-4)),
        (
            ["--estimator", "nobacktrack", "--rate", "0.01", "--decay", "0.5"],
            fg.NoBackTrack(),
            fg.Adam(fg.schedules.inverse_sqrt(0.01, 0.5)),
        ),
    ],
)
def test_options_reach_the_learner(folder, options, estimator, optimizer):
    assert main([*TINY, "--steps", "20", "--sample", "0", "--save", "s", *options]) == 0
    system = systems.tanh_rnn(units=8, symbols=len(set(TEXT)))
    learner = fg.Learner.load("s", system, estimator=estimator, optimizer=optimizer)  # refuses any other
    assert learner.engine == ("eager" if "eager" in options else "numpy")


def test_a_text_that_is_too_short_is_read_again(folder, capsys):
    assert main([*TINY, "--steps", "1500", "--save", "s"]) == 0
    out = capsys.readouterr().out
    xs, ys, alphabet = fg.streams.text_stream(TEXT)
    around = np.arange(1500) % len(xs)
    system = systems.tanh_rnn(units=8, symbols=len(alphabet))
    learner = fg.Learner(system, fg.UORO(window=16), fg.Adam(2e-3))
    learner.run(xs[around], ys[around])
    assert same(fg.Learner.load("s", system).params, learner.params)
    assert f"{1500 / len(xs):.3g} times" in out


def test_a_text_is_read_once_by_default(folder, capsys):
    assert main([*TINY, "--save", "s"]) == 0
    assert read("s")[1]["steps"] == len(TEXT) - 1
    assert "times" not in capsys.readouterr().out


def test_the_sample_is_of_the_length_and_seed_asked_for(folder, capsys):
    def sample(*options):
        assert main([*TINY, "--steps", "100", *options]) == 0
        return capsys.readouterr().out.partition("from there:\n\n")[2].removesuffix("\n")

    assert len(sample()) == 300
    assert len(sample("--sample", "70")) == 70
    assert set(sample()) <= set(TEXT)
    assert sample() == sample()
    assert sample("--sample", "0") == ""


@pytest.mark.parametrize("estimator", [fg.UORO(), fg.UORO(window=4)])
def test_text_is_generated_from_what_the_learner_predicts(estimator):
    # Oracle: a copy that goes on without targets, and the same draws from the softmax of what it predicts.
    xs, ys, alphabet = fg.streams.text_stream(TEXT)
    # weights large enough that predictions depend on the symbol
    system = systems.gru(units=6, symbols=len(alphabet), init="normal")
    learner, twin = (fg.Learner(system, estimator, fg.Adam(0.01)) for _ in range(2))
    for each in (learner, twin):
        each.run(xs, ys, steps=42)
    made = generate(learner, int(xs[42]), 30, np.random.default_rng(3))
    rng, symbol, expected = np.random.default_rng(3), int(xs[42]), []
    for _ in range(30):
        scores = np.exp(twin.predict(symbol))
        twin.step(symbol, None)
        symbol = int(np.sum(np.cumsum(scores) / np.sum(scores) <= rng.random()))
        expected.append(symbol)
    if estimator.window == fg.UORO().window:  # at the end of a window θ may change
        assert made == expected
    assert made[:2] == expected[:2]
    assert made != generate(learner, int(xs[41]), 30, np.random.default_rng(3))
    assert learner.steps == 42


def test_it_beats_the_unigram_entropy(capsys):
    assert main(["learn", "tanh-rnn", "--steps", "8000", "--sample", "0", "--quiet"]) == 0
    out = capsys.readouterr().out
    assert float(row(out, "loss over the last 10%")[-1]) < float(row(out, "unigram")[-1]) - 0.4


@pytest.mark.slow
def test_the_default_job_beats_the_unigram_entropy_clearly(capsys):
    assert main(["learn", "tanh-rnn", "--quiet"]) == 0
    out = capsys.readouterr().out
    assert float(row(out, "loss over the last 10%")[-1]) < float(row(out, "unigram")[-1]) - 1.5


# ---- stopping and going on


@pytest.mark.quick("uoro:7", "rtrl")
@pytest.mark.parametrize("estimator", ["uoro", "uoro:7", "tbptt:5", "rtrl"])
def test_resuming_changes_no_bit(folder, estimator, capsys):
    job = [*TINY, "--estimator", estimator]
    assert main([*job, "--steps", "600", "--save", "whole"]) == 0
    whole = capsys.readouterr().out
    assert main([*job, "--steps", "223", "--save", "part", "--checkpoint-every", "50"]) == 0
    capsys.readouterr()
    assert main(["learn", "tanh-rnn", "--resume", "part", "--steps", "600", "--quiet"]) == 0
    assert same(learned("part"), learned("whole"))
    resumed = capsys.readouterr().out
    assert resumed.partition("\n\n")[2] == whole.partition("\n\n")[2]  # all that follows the heading
    # Negative control: one step more is something else.
    assert main(["learn", "tanh-rnn", "--resume", "part", "--steps", "601", "--quiet", "--save", "more"]) == 0
    assert not same(learned("more"), learned("whole"))
    assert same(learned("part"), learned("whole"))


KILLED = """
import os, signal, sys, threading, time
from fwdgrad.cli import main

def stamp():
    return os.stat("kept.npz").st_mtime_ns if os.path.exists("kept.npz") else None

def kill(before, later):
    while stamp() == before:
        time.sleep(0.001)
    time.sleep(later)
    os.kill(os.getpid(), signal.SIGKILL)

threading.Thread(target=kill, args=(stamp(), float(sys.argv[1])), daemon=True).start()
main(sys.argv[2:])
"""


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_a_run_that_is_killed_again_and_again_ends_as_the_unbroken_one(folder):
    """At any moment after it has written one checkpoint, often while it writes another."""
    job = ["--steps", "3000", "--checkpoint-every", "100", "--sample", "0"]
    assert main([*TINY, *job, "--estimator", "uoro:3", "--save", "whole"]) == 0
    first = [*TINY, *job, "--estimator", "uoro:3", "--save", "kept.npz"]
    again = ["learn", "tanh-rnn", "--resume", "kept.npz"]
    chance = random.Random(0)
    for words in (first, again):
        later = str(chance.uniform(0, 0.05))
        done = subprocess.run([sys.executable, "-c", KILLED, later, *words], stdout=subprocess.DEVNULL)
        assert done.returncode == -signal.SIGKILL
    assert read("kept.npz")[1]["steps"] < 3000
    assert main([*again, "--quiet"]) == 0
    assert same(learned("kept.npz"), learned("whole"))


def stamp(path):
    return os.stat(path).st_mtime_ns if os.path.exists(path) else None


@pytest.mark.skipif(os.name != "posix", reason="SIGINT")
@pytest.mark.parametrize("saving", [True, False])
def test_ctrl_c_saves_and_says_so(folder, saving):
    tiny = [*TINY, "--engine", "numpy"]  # left to itself, a run of so many steps is compiled, and a short one is not
    job = [*tiny, "--steps", "100000000"]
    options = ["--save", "kept.npz", "--checkpoint-every", "100"] if saving else ["--predictions", "none"]
    if not saving:
        job, options = (
            ["learn", "model.py:system", "--data", "run.npz", "--steps", "100000000"],
            ["--predictions", "p.csv"],
        )
    process = subprocess.Popen([sys.executable, "-m", "fwdgrad", *job, *options], stderr=subprocess.PIPE, text=True)
    watched = "kept.npz" if saving else "p.csv"
    before = stamp(watched)
    while process.poll() is None and (stamp(watched) in (None, before) or not os.path.getsize(watched)):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    said = process.communicate()[1]
    assert process.returncode == 130
    assert "Traceback" not in said
    if not saving:
        assert "nothing was saved" in said
        return
    assert "saved to kept.npz; --resume kept.npz continues" in said
    steps = read("kept.npz")[1]["steps"]
    assert f"interrupted after {steps} of" in said
    assert main([*tiny, "--steps", str(steps + 10), "--save", "whole"]) == 0
    assert main(["learn", "tanh-rnn", "--resume", "kept.npz", "--steps", str(steps + 10)]) == 0
    assert same(learned("kept.npz"), learned("whole"))


def test_a_second_ctrl_c_is_not_waited_for(folder, monkeypatch, capsys):
    class Stuck:
        steps = 0

        def run(self, *_, **__):
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    class Job:
        unit = ""
        again = False

        def __len__(self):
            return 10

        def slice(self, start, count):
            return None, None

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        loop(Stuck(), Job(), 10, Curve(), quiet=True)
    assert signal.getsignal(signal.SIGINT) is before
    monkeypatch.setattr("fwdgrad.cli.loop.run", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    assert main([*TINY]) == 130
    assert capsys.readouterr().err == "fwdgrad: interrupted\n"


@pytest.fixture
def checkpoint(folder):
    assert main([*TINY, "--steps", "30", "--sample", "0", "--save", "s"]) == 0
    return folder


@pytest.mark.parametrize(
    ("argv", "fragments"),
    [
        (["tanh-rnn", "--units", "9"], ["--units 8", "not with 9"]),
        (["tanh-rnn", "--seed", "1"], ["--seed 0"]),
        (["tanh-rnn", "--estimator", "rtrl"], ["--estimator uoro:16", "not with rtrl"]),
        (["gru"], ["tanh-rnn", "gru"]),
        (["tanh-rnn", "--text", "other.txt"], ["other samples", "other.txt"]),
        (["tanh-rnn", "--steps", "29"], ["30 steps already"]),
        (["model.py:system", "--data", "run.npz"], ["--text and --data"]),
    ],
)
def test_a_checkpoint_continues_only_what_it_was_made_from(checkpoint, argv, fragments, capsys):
    (checkpoint / "other.txt").write_text(TEXT[::-1])  # the same alphabet
    capsys.readouterr()
    assert main(["learn", *argv, "--resume", "s"]) == 2
    said = capsys.readouterr().err
    assert all(fragment in said for fragment in fragments), said


def test_options_that_agree_with_the_checkpoint_may_be_repeated(checkpoint):
    said = ["--estimator", "uoro:16", "--rank", "1", "--optimizer", "adam", "--rate", "0.002", "--seed", "0"]
    assert main([*TINY, *said, "--steps", "40", "--resume", "s", "--sample", "0"]) == 0


def test_a_changed_model_is_refused(folder, capsys):
    job = ["learn", "model.py:system", "--data", "run.npz"]
    assert main([*job, "--steps", "50", "--save", "s", *GRADIENTS]) == 0
    (folder / "model.py").write_text(MODEL.replace('p["a"] * h', 'p["a"] * h * h'))
    capsys.readouterr()
    assert main([*job, "--resume", "s"]) == 2
    assert "another system" in capsys.readouterr().err


def test_a_checkpoint_of_the_library_is_refused(folder, capsys):
    fg.Learner(systems.tanh_rnn(units=8, symbols=3)).save("s")
    assert main(["learn", "tanh-rnn", "--resume", "s"]) == 2
    assert "not written by `fwdgrad learn`" in capsys.readouterr().err


# ---- a system and data of one's own


@pytest.mark.covering
@pytest.mark.parametrize("data", [["run.csv", "--inputs", "u"], ["run.npz"]])
@pytest.mark.parametrize("name", ["system", "build"])
def test_a_system_of_ones_own_is_learned_as_the_library_learns_it(folder, data, name, capsys):
    job = ["learn", f"model.py:{name}", "--data", *data, "--estimator", "rtrl", "--steps", "3000", "--quiet"]
    assert main([*job, "--save", "s", "--predictions", "p.csv"]) == 0
    stored = np.load("run.npz")
    around = np.arange(3000) % 600
    scope = {}
    exec(MODEL, scope)
    learner = fg.Learner(scope["system"], fg.RTRL(), fg.AdaGrad(0.05))
    history = learner.run(stored["x"][around][:, None], stored["y"][around][:, None], keep_predictions=True)
    assert same(fg.Learner.load("s", scope["system"]).params, learner.params)

    out = capsys.readouterr().out
    assert row(out, "loss over the whole run")[-1] == f"{np.nanmean(history.loss):.4g}"
    assert row(out, "a ") == ["a", "number", "0.1", f"{learner.params['a']:.6g}"]
    assert abs(learner.params["a"] - 0.8) < 0.02
    with open("p.csv", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["step", "y"]
    assert [int(r[0]) for r in rows] == list(range(3000))
    assert np.array_equal([float(r[1]) for r in rows], history.predictions[:, 0])


def test_an_estimator_that_is_measured_is_told_learns_and_is_kept(folder, capsys):
    """Which one it is depends on what steps take on this machine, too; see test_choosing.py."""
    job = ["learn", "model.py:system", "--data", "run.npz", "--estimator", "measured", "--quiet"]
    assert main([*job, "--steps", "400", "--save", "s"]) == 0
    table, told = capsys.readouterr().out.split("\n\n")[:2]
    scope = {}
    exec(MODEL, scope)
    learner = fg.Learner.load("s", scope["system"])
    assert learner.estimator.name in table
    assert learner.estimator.name in told
    assert main([*job, "--steps", "600", "--resume", "s"]) == 0
    resumed = fg.Learner.load("s", scope["system"])
    assert (resumed.estimator, resumed.steps) == (learner.estimator, 600)
    assert main([*job, "--rank", "2"]) != 0
    assert "--rank needs an estimator" in capsys.readouterr().err


def test_resuming_data_changes_no_bit(folder, capsys):
    job = ["learn", "model.py:system", "--data", "run.csv", "--inputs", "u", "--quiet", "--engine", "numpy"]
    assert main([*job, "--save", "whole", "--predictions", "whole.csv", "--steps", "200"]) == 0
    whole = capsys.readouterr().out.partition("\n\n")[2]
    assert main([*job, "--save", "part", "--steps", "77"]) == 0
    capsys.readouterr()
    assert main(["learn", "model.py:system", "--resume", "part", "--steps", "200", "--predictions", "p.csv"]) == 0
    assert same(learned("whole"), learned("part"))
    assert capsys.readouterr().out.partition("\n\n")[2] == whole
    assert (folder / "p.csv").read_text().splitlines()[1:] == (folder / "whole.csv").read_text().splitlines()[78:]


def test_dicts_take_the_columns_named_like_their_keys(folder, capsys):
    with open("d.csv", "w") as file:
        file.write("w1;wind;u;y;w0\n" + "".join(f"{k};{k};{-k};0.5;{k}\n" for k in range(5)))
    # wind has two numbers, so its columns have to be named
    assert main(["learn", "model.py:parts", "--data", "d.csv"]) == 2
    assert "3 numbers in the inputs" in capsys.readouterr().err
    assert main(["learn", "model.py:parts", "--data", "d.csv", "--inputs", "u,w0,w1", "--predictions", "p.csv"]) == 0
    rng = np.random.default_rng(0)
    np.savez("d.npz", wind=rng.normal(size=(50, 2)), u=rng.normal(size=50), y=rng.normal(size=50))
    assert main(["learn", "model.py:parts", "--data", "d.npz", "--predictions", "p.csv"]) == 0
    assert (folder / "p.csv").read_text().splitlines()[0] == "step,y"


GRADIENTS = ["--optimizer", "adagrad"]


def test_large_and_frozen_parameters_are_summed_up(folder, capsys):
    np.savez("w.npz", x=np.ones((40, 3)), y=np.ones((40, 3)))
    assert (
        main(["learn", "model.py:wide", "--data", "w.npz", "--units", "3", "--predictions", "p.csv", *GRADIENTS]) == 0
    )
    out = capsys.readouterr().out
    assert row(out, "W ")[:4] == ["W", "3×3", "r.m.s.", "0.5774"]
    assert row(out, "c ") == ["c", "(frozen)", "number", "1", "1"]
    assert (folder / "p.csv").read_text().splitlines()[0] == "step,y0,y1,y2"


def test_networks_of_the_catalogue_take_the_sizes_of_the_data(folder, capsys):
    np.savez("w.npz", x=np.ones((40, 3)), y=np.ones((40, 2)))
    assert main(["learn", "gru", "--data", "w.npz", "--units", "4", "--save", "s"]) == 0
    fg.Learner.load("s", systems.gru(units=4, inputs=3, outputs=2))


def test_an_autonomous_system_needs_targets_only(folder, capsys):
    np.savez("w.npz", y=np.ones(400))
    assert main(["learn", "influence-balancing", "--data", "w.npz", *GRADIENTS]) == 0
    assert row(capsys.readouterr().out, "theta")[1:3] == ["number", "0.5"]


def test_a_network_of_ones_own_reads_text_and_its_loss_is_told_in_bits(folder, capsys):
    assert main(["learn", "model.py:reader", "--text", "text.txt", "--steps", "1", "--sample", "9", "--quiet"]) == 0
    out = capsys.readouterr().out
    assert row(out, "loss over the whole run")[-1] == f"{np.log2(len(set(TEXT))):.3f}"  # it cannot know better yet
    assert main(["learn", "model.py:system", "--text", "text.txt"]) == 2


# ---- errors


@pytest.mark.parametrize(
    ("argv", "fragments"),
    [
        (["tanh-rn"], ["no system 'tanh-rn'", "Did you mean 'tanh-rnn'", "FILE.py:NAME"]),
        (["tanh-rnn", "--text", "none.txt"], ["none.txt"]),
        (["tanh-rnn", "--text", "text.txt", "--units", "0"], ["units", "at least 1"]),
        (["tanh-rnn", "--estimator", "rtl"], ["estimator 'rtl'"]),
        (["tanh-rnn", "--estimator", "uoro", "--rank", "0"], ["rank"]),
        (["linear", "--data", "run.npz", "--rank", "2"], ["--rank needs"]),
        (["tanh-rnn", "--rate", "-1"], ["rate"]),
        (["tanh-rnn", "--save", "none/s"], ["no folder 'none'"]),
        (["tanh-rnn", "--save", "."], ["is a folder"]),
        (["tanh-rnn", "--plot", "none/p.png"], ["no folder 'none'"]),
        (["tanh-rnn", "--plot", "p.doc"], [".png"]),
        (["tanh-rnn", "--checkpoint-every", "5"], ["--save"]),
        (["tanh-rnn", "--predictions", "p"], ["--predictions", "text"]),
        (["tanh-rnn", "--inputs", "a"], ["--inputs", "text"]),
        (["linear", "--data", "run.npz", "--sample", "5"], ["--sample", "data"]),
        (["linear", "--inputs", "u"], ["needs data", "--data"]),
        (["model.py:system"], ["needs data", "--data"]),
        (["linear", "--text", "text.txt"], ["does not read text"]),
        (["tanh-rnn", "--resume", "none"], ["no checkpoint none"]),
        (["tanh-rnn", "--resume", "text.txt"], ["cannot be read"]),
        (["model.py"], ["model.py:NAME"]),
        (["none.py:system"], ["no file none.py"]),
        (["model.py:sistem", "--data", "run.npz"], ["Did you mean 'system'"]),
        (["model.py:number", "--data", "run.npz"], ["a System or a function", "7"]),
        (["model.py:wrong", "--data", "run.npz"], ["returns a System", "7"]),
        (
            ["model.py:breaks", "--data", "run.npz"],
            ["ZeroDivisionError", f"line {MODEL[: MODEL.index('1 / ')].count(chr(10)) + 1}"],
        ),
        (["broken.py:system", "--data", "run.npz"], ["SyntaxError", "line 2"]),
        (["model.py:system", "--data", "run.npz", "--units", "3"], ["no option --units"]),
        (["model.py:system", "--data", "none.csv"], ["none.csv"]),
        (["model.py:system", "--data", "run.csv"], ["1 number in the inputs", "--inputs"]),
        (["model.py:system", "--data", "run.csv", "--inputs", "v"], ["no column 'v'"]),
        (["model.py:system", "--data", "run.csv", "--inputs", "day"], ["line 2", "'day'", "'Mon'"]),
        (["model.py:system", "--data", "run.csv", "--inputs", "y"], ["line 2", "'y'", "empty cell"]),
    ],
)
def test_errors_are_told_without_a_traceback(folder, argv, fragments, capsys):
    (folder / "broken.py").write_text("x = 1\ny = = 2\n")
    assert main(["learn", *argv]) == 2
    said = capsys.readouterr()
    assert said.err.startswith("fwdgrad: error: ")
    assert "Traceback" not in said.err
    assert len(said.err.splitlines()) <= 5
    assert all(fragment in said.err for fragment in fragments), said.err


def test_a_loss_that_explodes_is_told(folder, capsys):
    job = ["learn", "model.py:system", "--data", "run.npz", "--optimizer", "sgd", "--rate", "1e9"]
    with np.errstate(all="ignore"):
        assert main(job) == 2
    assert "is not finite at step" in capsys.readouterr().err


def test_debug_shows_the_traceback(folder):
    with pytest.raises(fg.errors.UnknownNameError):
        main(["learn", "tanh-rn", "--debug"])


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["lern"],
        ["learn"],
        ["learn", "gru", "--steps", "0"],
        ["learn", "gru", "--rate", "a"],
        ["learn", "gru", "--seed", "-1"],
    ],
)
def test_wrong_usage_is_status_2(argv, capsys):
    with pytest.raises(SystemExit) as stop:
        main(argv)
    assert stop.value.code == 2
    assert "usage: fwdgrad" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["learn", "tanh-rnn", "--stpes", "3"], "Did you mean '--steps'?"),
        (["learn", "tanh-rnn", "--optimiser=adam"], "Did you mean '--optimizer'?"),
        (["lern", "tanh-rnn"], "Did you mean 'learn'?"),
        (["learn", "tanh-rnn", "--engine", "comiled"], "Did you mean 'compiled'?"),
        (["learn", "tanh-rnn", "--estimator", "nobacktrak"], "Did you mean 'nobacktrack'?"),
    ],
)
def test_misspelt_words_of_the_command_line(words, meant, capsys):
    """The option, command, choice or estimator that was probably meant, and nothing for what is far from all."""
    for given, said in ((words, True), ([w.replace("--stpes", "--zzzzz") for w in words], "--stpes" not in words)):
        try:
            status = main(given)
        except SystemExit as end:
            status = end.code
        assert status == 2
        assert (meant in capsys.readouterr().err) == said


# ---- samples of the system's own


def test_a_system_of_the_catalogue_without_data_learns_from_a_simulation(tmp_path, monkeypatch, capsys):
    """It says so, shows the truth, gets nearer to it, and goes on from a checkpoint with the same samples."""
    monkeypatch.chdir(tmp_path)
    job = ["learn", "mass-spring-damper", "--quiet", "--engine", "numpy"]
    assert main([*job, "--steps", "100", "--save", "s", "--predictions", "p.csv"]) == 0
    said = capsys.readouterr().out
    assert "a simulation by mass-spring-damper itself (no --data)" in said
    assert "noise of 5%" in said
    head, *rows = [line.split() for line in said[said.index("parameter ") :].splitlines()]
    assert head[:6] == ["parameter", "shape", "start", "end", "std", "truth"]
    moved = [[float(row[k]) for k in (2, 3, 5)] for row in rows if "(frozen)" not in row]
    assert moved
    assert sum(abs(end - truth) for _, end, truth in moved) < 0.5 * sum(abs(start - truth) for start, _, truth in moved)
    assert main(["learn", "mass-spring-damper", "--quiet", "--resume", "s", "--steps", "110"]) == 0
    assert main(["learn", "mass-spring-damper", "--quiet", "--resume", "s", "--steps", "2100"]) == 2
    assert "a filter goes through them once" in capsys.readouterr().err
    assert "p.csv" in {path.name for path in tmp_path.iterdir()}
    capsys.readouterr()
    assert main([*job, "--seed", "1", "--steps", "3"]) == 0
    assert said[said.index("parameter ") :] != (other := capsys.readouterr().out)[other.index("parameter ") :]


def test_compare_simulates_as_well(capsys):
    assert (
        main(["compare", "linear", "--steps", "40", "--replicas", "2", "--quiet", "--estimators", "rtrl,tbptt:2"]) == 0
    )
    assert "Gradients of linear over 40 steps" in capsys.readouterr().out


@pytest.mark.quick("linear", "influence-balancing", "lotka-volterra", "pendulum", "heat-rod")
@pytest.mark.parametrize(
    "name", [name for name, make in systems.CATALOGUE.items() if "symbols" not in signature(make).parameters]
)
def test_every_system_that_reads_no_symbols_has_a_simulation(name):
    """Finite, noisy, with moved parameters; the same from the same seed."""
    made = [SimulatedJob(Builder(name), {"units": None, "seed": seed}) for seed in (0, 0, 1)]
    assert np.isfinite(made[0].ys).all()
    assert len(made[0]) == 2000
    assert made[0].identity == made[1].identity != made[2].identity
    assert len(made[0].names) == made[0].system.prediction.size
    for k, v in made[0].truth.items():
        assert not np.array_equal(v, made[0].system.params[k])
    exact = made[0].system.simulate(made[0].xs, steps=None if made[0].xs is not None else 2000, params=made[0].truth)
    noise = np.std(made[0].ys - exact.outputs, axis=0) / np.std(exact.outputs, axis=0)
    np.testing.assert_allclose(noise, 0.05, rtol=0.1)


# ---- files of samples


def columns(folder, text, **options):
    path = folder / "file.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_columns(path, **options)


@pytest.mark.parametrize(
    ("text", "x", "y"),
    [
        ("x,y\n1,2\n3,4\n", {"x": [1, 3]}, {"y": [2, 4]}),
        ("y,x,z\r\n1,2,no\r\n,4,no\r\n", {"x": [2, 4]}, {"y": [1, np.nan]}),
        ("\ufeffx;y\n1;2\n\n3;NaN\n", {"x": [1, 3]}, {"y": [2, np.nan]}),
        ("x0\tx1\ty_0\n1\t2\t 3 \n", {"x0": [1], "x1": [2]}, {"y_0": [3]}),
        ('"x","y"\n"1e-3","-2.5"\n', {"x": [1e-3]}, {"y": [-2.5]}),
        ("y\n1\n\n3\n", {}, {"y": [1, np.nan, 3]}),
        ("y,xy\n1,2\n", {}, {"y": [1]}),
        ("x,y\n1,NA\n2,n/a\n3,<NA>\n4,Null\n5,6\n", {"x": [1, 2, 3, 4, 5]}, {"y": [np.nan] * 4 + [6]}),
        ("x;y\n1,5;2\n-,25;3,0e1\n", {"x": [1.5, -0.25]}, {"y": [2, 30]}),
        ('x,y\n"0,125","1,125"\n', {"x": [0.125]}, {"y": [1.125]}),
        ("x;y\n1,234;0,5\n", {"x": [1.234]}, {"y": [0.5]}),
    ],
)
def test_csv_files_are_read(tmp_path, text, x, y):
    made = columns(tmp_path, text)
    assert list(made.inputs) == list(x)
    assert list(made.targets) == list(y)
    for name, values in (x | y).items():
        np.testing.assert_array_equal((made.inputs | made.targets)[name], values)


def test_a_column_may_be_input_and_target(tmp_path):
    made = columns(tmp_path, "a,b\n1,2\n3,4\n", inputs=["b", "a"], targets=["a"])
    assert list(made.inputs) == ["b", "a"]
    np.testing.assert_array_equal(made.targets["a"], [1, 3])


def test_numbers_are_read_to_the_last_bit(tmp_path):
    values = np.random.default_rng(0).normal(size=100) * 10.0 ** np.random.default_rng(1).integers(-30, 30, size=100)
    made = columns(tmp_path, "y\n" + "\n".join(map(repr, values.tolist())))
    assert np.array_equal(made.targets["y"], values)


@pytest.mark.parametrize(
    ("text", "fragments"),
    [
        ("x,y\n1,2\n1,two\n", ["line 3", "'y'", "'two'"]),
        ("x,y\n1,2\n,3\n", ["line 3", "'x'", "an empty cell"]),
        ("x,y\n1,2\nnan,3\n", ["line 3", "'x'", "'nan'"]),
        ("x,y\n1,inf\n", ["line 2", "'y'", "finite", "'inf'"]),
        ("x,y\n1,1_0\n", ["'1_0'"]),
        ("x,y\n1,2\n1\n", ["line 3", "expected 2 cells", "got 1"]),
        ("x,y\n1,2,3\n", ["line 2", "got 3"]),
        ("x,y,y\n1,2,3\n", ["'y' is there twice"]),
        ("a,b\n1,2\n", ["targets", "a, b"]),
        ("x,y\n", ["at least one sample"]),
        ("", ["no columns"]),
        ("x,y\n1,\n2,nan\n", ["every target is missing"]),
        (b"x,y\n1,\xff\n", ["0xFF"]),
        ('x,y\n1,"2\n', ["line 2"]),
        ('x,y\n1,"2"3\n', ["line 2"]),
        ("x,y\nNA,2\n", ["line 2", "'x'", "only targets may be missing", "'NA'"]),
        ("x,y\n2024-03-01T12:30:00,2\n", ["line 2", "'x'", "unit of time", "pd.Timedelta"]),
        ("x,y\n2024-03-01 12:30,2\n", ["write times as numbers"]),
        ("x,y\n12:30,2\n", ["write times as numbers"]),
        ("x;y\n1,234;5\n", ["line 2", "'x'", "may be 1234 or 1.234", "decimal point"]),
        ("x;y\n1,5;2.5\n", ["line 2", "'x'", "a decimal point, as in line 2, '2.5'", "'1,5'"]),
        ("x;y\n1.5;2\n1,5;2\n", ["line 3", "as in line 2, '1.5'"]),
        ("x;y\n1,234,567;2\n", ["line 2", "separators of thousands"]),
        ("x;y\n1 234;2\n", ["separators of thousands"]),
        ("x;y\n1.234,5;2\n", ["separators of thousands"]),
    ],
)
def test_what_is_wrong_in_a_csv_file_is_told_with_its_place(tmp_path, text, fragments):
    with pytest.raises(fg.errors.DataError) as error:
        columns(tmp_path, text)
    assert all(fragment in str(error.value) for fragment in ["file.csv", *fragments]), error.value


def test_archives_are_read(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.arange(6).reshape(3, 2), y=np.array([1.0, np.nan, 3.0]), t=np.array(["a"]))
    made = read_columns(tmp_path / "a.npz")
    np.testing.assert_array_equal(made.inputs["x"], [[0, 1], [2, 3], [4, 5]])
    np.testing.assert_array_equal(made.targets["y"], [1, np.nan, 3])
    assert (len(made), made.width("inputs"), made.width("targets")) == (3, 2, 1)
    assert made.digest() != read_columns(tmp_path / "a.npz", inputs=[]).digest()


@pytest.mark.parametrize(
    ("arrays", "fragments"),
    [
        ({"x": np.ones(3), "y": np.ones(4)}, ["different lengths"]),
        ({"x": np.array([1, np.nan]), "y": np.ones(2)}, ["'x'", "row 1", "nan"]),
        ({"x": np.ones(2), "y": np.array([np.inf, 1])}, ["'y'", "row 0", "inf"]),
        ({"x": np.array(["a"]), "y": np.ones(1)}, ["'x'", "<U1"]),
        ({"x": np.ones(1), "y": np.ones(1) * 1j}, ["'y'", "complex"]),
        ({"x": np.ones(1), "y": np.array(1.0)}, ["'y'", "single number"]),
        ({"x": np.ones(1), "y": np.array([None])}, ["a.npz"]),
        ({"a": np.ones(1)}, ["targets", "there are a"]),
        ({"x": np.ones(0), "y": np.ones(0)}, ["at least one sample"]),
    ],
)
def test_what_is_wrong_in_an_archive_is_told(tmp_path, arrays, fragments):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(fg.errors.DataError) as error:
        read_columns(tmp_path / "a.npz")
    assert all(fragment in str(error.value) for fragment in ["a.npz", *fragments]), error.value


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"x,y\n1,2\n"])
def test_a_file_that_is_no_archive_is_refused(tmp_path, content):
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(fg.errors.DataError, match=r"a\.npz"):
        read_columns(tmp_path / "a.npz")


def test_a_single_array_is_no_archive(tmp_path):
    with open(tmp_path / "a.npz", "wb") as file:
        np.save(file, np.ones(3))
    with pytest.raises(fg.errors.DataError, match=r"a\.npz"):
        read_columns(tmp_path / "a.npz")


# ---- the losses kept


@pytest.mark.parametrize("count", [1, MOST - 1, MOST, MOST + 1, 5 * MOST + 3])
def test_losses_are_kept_in_bins(count):
    losses = np.random.default_rng(0).normal(size=count)
    losses[1::3] = np.nan
    curve, pieces = Curve(), Curve()
    curve.add(losses)
    for piece in np.array_split(losses, 7):
        pieces.add(piece)
        pieces = Curve.from_note(pieces.note())
    for made in (curve, pieces):
        history = made.history()
        assert (made.steps, history.first) == (count, 0)
        assert len(history) <= MOST
        for k in range(count // history.every):
            bin_ = losses[k * history.every : (k + 1) * history.every]
            expected = np.nan if np.all(np.isnan(bin_)) else np.nanmean(bin_)
            assert history.loss[k] == pytest.approx(expected, nan_ok=True)
        assert made.mean() == pytest.approx(np.nanmean(losses))
        start = int(count * 0.9) // made.every * made.every
        tail = losses[start:]
        assert made.mean(0.1) == pytest.approx(np.nanmean(tail) if not np.all(np.isnan(tail)) else np.nan, nan_ok=True)


def test_no_loss_has_no_mean():
    curve = Curve()
    curve.add(np.full(10, np.nan))
    assert np.isnan(curve.mean())


# ---- comparing estimators


def test_estimators_are_compared_as_the_library_compares_them(folder, capsys):
    job = ["compare", "model.py:system", "--data", "run.npz", "--estimators", "uoro,tbptt:4,rtrl", "--replicas", "4"]
    assert main([*job, "--steps", "50", "--start", "10", "--seed", "3", "--plot", "p.png", "--quiet"]) == 0
    out = capsys.readouterr().out
    assert (folder / "p.png").stat().st_size > 1000
    stored, scope = np.load("run.npz"), {}
    exec(MODEL, scope)
    xs, ys = stored["x"][:50, None], stored["y"][:50, None]
    found = fg.compare(scope["system"], xs, ys, ["uoro", "tbptt:4", "rtrl"], 4, start=10, seed=3, costs=False)
    assert "steps 10 to 50; 4 replicas, seed 3" in out
    for label in found.estimates:
        cells = [line for line in out.splitlines() if line.startswith(f"  {label} ")]
        assert len(cells) == 2  # the table, and what is said
        assert cells[1].split(maxsplit=1)[1] in f"{found.reading(label)} "


@pytest.mark.parametrize("system", ["reader", "wide"])
def test_estimators_are_compared_on_text_and_data_in_several_processes(folder, system, capsys):
    np.savez("w.npz", x=np.ones((40, 3)), y=np.ones((40, 3)))
    data = ["--text", "text.txt", "--steps", "40"] if system == "reader" else ["--data", "w.npz"]
    tables = []
    for jobs in ("1", "2"):  # functions of a file go to other processes, too
        chosen = ["--estimators", "nobacktrack,tbptt:2", "--replicas", "12", "--jobs", jobs, "--quiet"]
        params = ["--params", "s"] if system == "reader" else []
        if params:  # the readout is zero at first
            assert main(["learn", f"model.py:{system}", *data, "--save", "s", "--sample", "0", "--quiet"]) == 0
        capsys.readouterr()
        assert main(["compare", f"model.py:{system}", *data, *chosen, *params]) == 0
        out = capsys.readouterr().out
        tables.append([line.split("×")[0] for line in out.splitlines() if "the model " not in line])
    assert tables[0] == tables[1]
    assert any("NoBackTrack" in line for line in tables[0])


@pytest.mark.parametrize(
    ("argv", "fragments"),
    [
        (["tanh-rnn", "--text", "text.txt", "--estimators", "uro"], ["'uro'"]),
        (["tanh-rnn", "--text", "text.txt", "--estimators", ""], ["at least one estimator"]),
        (["tanh-rnn", "--text", "text.txt", "--replicas", "1"], ["NoBackTrack is random", "at least 2"]),
        (["tanh-rnn", "--text", "text.txt", "--jobs", "0"], ["n_jobs", "0"]),
        (["tanh-rnn", "--text", "text.txt", "--plot", "p.doc"], [".png"]),
        (["tanh-rnn", "--text", "text.txt", "--params", "none"], ["no checkpoint none"]),
        (["model.py:system"], ["needs data"]),
        (["model.py:system", "--data", "run.npz", "--steps", "601"], ["600 samples", "--steps 601"]),
        (["model.py:reader", "--text", "text.txt", "--steps", "9"], ["is zero"]),
    ],
)
def test_comparisons_that_cannot_be_made_are_told(folder, argv, fragments, capsys):
    assert main(["compare", *argv]) == 2
    said = capsys.readouterr().err
    assert said.startswith("fwdgrad: error: ")
    assert all(fragment in said for fragment in fragments), said
    assert len(said.splitlines()) <= 5


def test_a_catalogue_system_is_compared_on_the_text_that_comes_with_python(capsys):
    assert main(["compare", "tanh-rnn", "--units", "4", "--steps", "20", "--replicas", "2", "--quiet"]) == 0
    out = capsys.readouterr().out
    assert all(label in out for label in ("NoBackTrack", "UORO", "TBPTT(1)", "TBPTT(10)"))


# ---- model files

GROWTH = """\
name = "growth"
[state]
x = { rate = "a*x*(1 - x/K) - u*x", start = "x0", unit = "g" }
[params]
a = { value = 0.6, in = [0, inf], unit = "1/day" }
K = { value = 8, in = [0, inf], unit = "g" }
x0 = { value = 1.5, unit = "g" }
twice = { tied = "2*a" }
[inputs]
u = 0.0
[outputs]
mass = { value = "x", noise = 0.1 }
light = { value = "x/2", noise = 0.1 }
[settings]
method = "heun"
"""

DECAY = "d x/dt = -k*x + 0*t\nx(0) = 2\nparam k = 0.3\noutput x\n"


@pytest.fixture
def culture(folder):
    """Models, and data of a culture: every half day, with gaps; and the same at uneven times, without."""
    (folder / "growth.toml").write_text(GROWTH)
    (folder / "decay.txt").write_text(DECAY)
    rng = np.random.default_rng(0)
    days, drain = 100 + 0.5 * np.arange(40), 0.1 * rng.random(40)
    mass = 7 / (1 + 6 * np.exp(-0.8 * (days - 100))) + 0.05 * rng.normal(size=40)
    mass[5:8] = np.nan
    with open("even.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["who", "day", "weighed", "drain"])
        rows.writerows(
            ["me", repr(float(d)), "" if np.isnan(m) else repr(float(m)), repr(float(u))]
            for d, m, u in zip(days, mass, drain, strict=True)
        )
    uneven = np.cumsum(rng.random(30))
    np.savez("uneven.npz", time=uneven, x=2 * np.exp(-0.5 * (uneven - uneven[0])))
    return folder, drain, mass


EVEN = ["growth.toml", "even.csv", "--time", "day", "--observe", "mass=weighed", "--inputs", "u=drain"]


def passes(system, xs, ys, count, rate=0.05):
    """What the library learns in so many passes, each a trajectory."""
    learner = fg.Learner(system, optimizer=fg.AdaGrad(rate))
    losses = []
    for k in range(count):
        if k:
            learner.reset_state()
        losses.append(learner.run(xs, ys).loss)
    return learner, losses


@pytest.mark.filterwarnings("ignore:of the .* targets so far all are missing:fwdgrad.errors.UnlearnedWarning")
def test_a_model_file_is_learned_as_the_library_learns_it(culture, capsys):
    folder, drain, mass = culture
    assert main(["learn", *EVEN, "--steps", "200", "--quiet", "--save", "s", "--predictions", "p.csv"]) == 0
    out = capsys.readouterr().out
    system = fg.from_toml(folder / "growth.toml", dt=0.5)
    learner, losses = passes(system, {"u": drain}, np.stack([mass, np.full(40, np.nan)], axis=1), 5)
    assert same(fg.Learner.load("s", system).params, learner.params)
    assert row(out, "loss over the first pass")[-1] == f"{np.nanmean(losses[0]):.4g}"
    assert row(out, "loss over the last pass")[-1] == f"{np.nanmean(losses[-1]):.4g}"
    assert np.nanmean(losses[-1]) < 0.5 * np.nanmean(losses[0])
    assert row(out, "parameter") == ["parameter", "shape", "start", "end", "unit"]
    assert row(out, "a ") == ["a", "number", "0.6", f"{learner.params['a']:.6g}", "1/day"]
    assert row(out, "twice") == ["twice", "(tied)", "number", "1.2", f"{learner.params['twice']:.6g}"]
    assert (folder / "p.csv").read_text().splitlines()[0] == "step,mass,light"


def test_a_short_series_is_gone_through_until_2000_samples(culture, capsys):
    assert main(["learn", *EVEN, "--quiet", *GRADIENTS]) == 0
    assert "50 times through the 40 in even.csv" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore:after .*integration steps are too long")
def test_a_small_model_is_filtered_once(culture, capsys):
    """By default, and with the standard deviations that the library gives."""
    folder, drain, mass = culture
    assert main(["learn", *EVEN, "--quiet", "--engine", "numpy"]) == 0
    out = capsys.readouterr().out
    learner = fg.Learner(fg.from_toml(folder / "growth.toml", dt=0.5), engine="numpy")
    with pytest.warns(fg.errors.UnlearnedWarning, match="light"):  # which the command was told not to look at
        learner.run({"u": drain}, np.stack([mass, np.full(40, np.nan)], axis=1))
    std = learner.parameter_std()["a"]
    assert row(out, "a ") == ["a", "number", "0.6", f"{learner.params['a']:.6g}", f"{std:.6g}", "1/day"]
    assert "fwdgrad fit" in out


@pytest.mark.parametrize("option", [["--rate", "0.1"], ["--decay", "0.1"], ["--estimator", "rtrl"]])
def test_a_filter_has_no_rate(culture, capsys, option):
    assert main(["learn", *EVEN, "--quiet", "--optimizer", "joint", *option]) == 2
    assert "the joint filter has none" in capsys.readouterr().err


def test_resuming_a_model_changes_no_bit(culture, capsys):
    assert main(["learn", *EVEN, "--quiet", "--steps", "200", "--save", "whole"]) == 0
    for steps in ("120", "133"):  # at the end of a pass, and within one
        assert main(["learn", *EVEN, "--quiet", "--steps", steps, "--save", "part"]) == 0
        assert main(["learn", "growth.toml", "--quiet", "--resume", "part", "--steps", "200"]) == 0
        assert same(learned("whole"), learned("part"))


@pytest.mark.filterwarnings("ignore::fwdgrad.errors.FirstSampleWarning")
def test_uneven_times_are_steps_and_the_start_is_at_the_first_of_them(culture, capsys):
    job = ["learn", "decay.txt", "uneven.npz", "--time", "time", "--quiet", "--steps", "60", "--save", "s"]
    assert main(job) == 0
    stored = np.load("uneven.npz")
    elapsed = np.diff(stored["time"], prepend=stored["time"][0])
    system = fg.from_text(DECAY + f"t(0) = {float(stored['time'][0])!r}", dt="elapsed")
    learner, losses = passes(system, {"elapsed": elapsed}, stored["x"][:, None], 2)
    assert losses[0][0] == 0.0
    assert same(fg.Learner.load("s", system).params, learner.params)
    assert float(learner.state["t"]) == pytest.approx(stored["time"][-1])


def test_a_step_in_the_model_is_held_against_the_times(culture, capsys):
    folder, _, _ = culture
    (folder / "growth.toml").write_text(GROWTH + "dt = 0.5\n")
    assert main(["learn", *EVEN, "--quiet", "--steps", "40"]) == 0
    timeless = [word for word in EVEN if word not in ("--time", "day")]
    assert main(["learn", *timeless, "--quiet", "--steps", "40"]) == 0
    assert capsys.readouterr().err == ""
    (folder / "growth.toml").write_text(GROWTH + "dt = 0.25\n")
    assert main(["learn", *EVEN]) == 2
    assert "the samples are 0.5 apart" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["analyze"], ["explain", "--estimator", "rtrl"]])
def test_a_model_file_is_a_system_for_other_commands(culture, command, capsys):
    assert main([command[0], "growth.toml", *command[1:]]) == 0
    assert main([command[0], "decay.txt", *command[1:]]) == 0
    assert capsys.readouterr().out


def test_analyze_says_of_a_model_what_the_library_says(culture, capsys):
    folder, _, _ = culture
    assert main(["analyze", "growth.toml"]) == 0
    assert capsys.readouterr().out == f"{fg.analyze(fg.from_toml(folder / 'growth.toml', dt='elapsed'))}\n"


def test_estimators_are_compared_on_a_model(culture, capsys):
    data = ["growth.toml", "--data", "even.csv", *EVEN[2:]]
    assert main(["compare", *data, "--estimators", "uoro", "--replicas", "2", "--quiet"]) == 0
    assert "UORO" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "fragments"),
    [
        (["growth.toml"], ["needs data"]),
        (["none.toml"], ["none.toml", "cannot be read"]),
        (["broken.txt", "even.csv"], ["broken.txt, line 2: 'y' is not declared"]),
        ([*EVEN, "--data", "even.csv"], ["give one of them"]),
        ([*EVEN, "--targets", "weighed"], ["--observe"]),
        (["growth.toml", "--text", "text.txt"], ["does not read text"]),
        ([*EVEN, "--units", "3"], ["no option --units"]),
        ([*EVEN, "--time", "hour"], ["no column 'hour'"]),
        ([*EVEN, "--time", "who"], ["line 2, column 'who'", "expected a number"]),
        ([*EVEN, "--observe", "mas=weighed"], ["no 'mas'", "Did you mean 'mass'"]),
        ([*EVEN, "--observe", "mass=weighted"], ["no column 'weighted'", "Did you mean 'weighed'"]),
        ([*EVEN, "--observe", "mass=weighed,mass=day"], ["twice"]),
        ([*EVEN, "--inputs", "v=drain"], ["no 'v'"]),
        ([*EVEN, "--inputs", ""], ["also needs u"]),
        (["growth.toml", "even.csv", "--time", "day"], ["no column 'u'"]),
        (["growth.toml", "even.csv", "--observe", "mass=weighed", "--inputs", "u=drain"], ["--time COLUMN"]),
        (["decay.txt", "back.npz", "--time", "time"], ["sample 2 is at 1"]),
        (["decay.txt", "back.npz", "--time", "pairs"], ["one number a sample"]),
        (["decay.txt", "back.npz", "--time", "x", "--observe", "x=pairs"], ["2 numbers"]),
        (["model.py:system", "run.npz", "--time", "day"], ["--time", "model.py:system is not"]),
        (["tanh-rnn", "--text", "text.txt", "--observe", "a=b"], ["--observe"]),
    ],
)
@pytest.mark.filterwarnings("ignore::fwdgrad.errors.FirstSampleWarning")
def test_wrong_words_about_a_model_are_refused(culture, argv, fragments, capsys):
    folder, _, _ = culture
    (folder / "broken.txt").write_text("# a slip\nd x/dt = y\nx(0) = 1\ndt = 1\n")
    np.savez("back.npz", time=[0.0, 2.0, 1.0], x=[1.0, 2.0, 3.0], pairs=np.ones((3, 2)))
    assert main(["learn", *argv]) == 2
    said = capsys.readouterr().err
    assert all(fragment in said for fragment in fragments), said
