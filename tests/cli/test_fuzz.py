"""Command lines and model texts made at random: whatever is wrong is said by name, without a traceback."""

import random
import re

import numpy as np
import pytest

import fwdgrad as fg
from fwdgrad.cli import main
from fwdgrad.errors import FwdgradError

# four samples are learned by the filter, whose deviations are said to be rough
pytestmark = pytest.mark.filterwarnings("ignore:parameter_std. after .* targets deviations are rough")


TEXT = """d x/dt = u - k*x + sin(t)*w
d v/dt = [x, 1]*k - v
w = k**2
x(0) = 1
v(0) = [1, a]
param k = 0.5 in (0, inf) : 1/s
param a = 2 fixed
param b = 2*k tied
input u = 0
output z = x noise 0.1 : m
output v noise 1
dt = 0.1
method = rk4
substeps = 2
first = next"""

TOML = """name = "m"
[state]
x = { rate = "u - k*x", start = "a", unit = "m" }
[params]
k = { value = 0.5, in = [0, "inf"] }
a = 1
b = { tied = "2*k" }
[inputs]
u = 0.0
[outputs]
z = { value = "x", noise = 0.1 }
[definitions]
w = "k*2"
[settings]
dt = 0.1
method = "heun"
substeps = 2
first = "initial"
"""

PIECES = [
    "0",
    "-1",
    "1e400",
    "9" * 600,
    "nan",
    "inf",
    "[]",
    "[1, 2]",
    "[[1], [2, 3]]",
    "()",
    "{}",
    "true",
    "1979-05-27",
    "'x'",
    '"x"',
    '"1/0"',
    '"inf"',
    '["0", "1"]',
    '"[1,2]"',
    "x",
    "k",
    "t",
    "**",
    "*",
    "/",
    "-",
    "(",
    ")",
    "[",
    "]",
    ",",
    ":",
    "=",
    "\n",
    "noise",
    "in",
    "fixed",
    "tied",
    "d x/dt",
    "next x",
    "x(0)",
    "t(0) = 1",
    "param",
    "output",
    "9**9**9",
    "exp(1e9)",
    "zeros(10**9)",
    "where(x>0,1,0)",
    "lambda: 0",
    "é",
    "\u2028",
    "\x00",
    "#",
    "...",
    "a.b",
    "x[5]",
    "k[1, 2]",
    "x[-1:]",
    "1_000",
    "0x10",
    "1j",
    "not",
]


def mutated(text, rng):
    for _ in range(rng.randint(1, 4)):
        a, piece, kind = rng.randrange(len(text) + 1), rng.choice(PIECES), rng.randrange(5)
        b = min(len(text), a + rng.randrange(1, 8))
        if kind == 3:
            lines = text.split("\n")
            lines[rng.randrange(len(lines))] = rng.choice([rng.choice(lines), ""])
            text = "\n".join(lines)
            continue
        if kind == 4:  # a whole word, text or list
            a, b = rng.choice([m.span() for m in re.finditer(r'"[^"\n]*"|\[[^\]\n]*\]|[\w.]+', text)] or [(a, b)])
        text = text[:a] + ("" if kind == 1 else piece) + text[a if kind == 0 else b :] or " "
    return text


@pytest.mark.parametrize(("read", "text"), [(fg.from_text, TEXT), (fg.from_toml, TOML)], ids=["text", "toml"])
@pytest.mark.filterwarnings("ignore")
def test_a_model_is_read_or_refused_by_name(read, text):
    read(text)
    refused = 0
    for seed in range(500):
        try:
            read(mutated(text, random.Random(seed)))
        except FwdgradError as error:
            assert len(str(error).splitlines()) <= 5  # noqa: PT017
            refused += 1
    assert 300 < refused < 500


@pytest.mark.parametrize(
    "bounds", ['["x", "y"]', '"(0, 1)"', '["[1, 2]", 1]', "[0, [1]]", "[0, " + "9" * 500 + "]", '["1j", 2]']
)
def test_bounds_that_are_no_numbers_are_refused(bounds):
    with pytest.raises(fg.errors.ModelTextError):
        fg.from_toml(TOML.replace('[0, "inf"]', bounds))


def test_a_tie_that_cannot_be_computed_is_refused():
    with pytest.raises(fg.errors.ModelTextError, match=r"line 8: .*b cannot be computed"):
        fg.from_text(TEXT.replace("2*k tied", "2*k[1, 2] tied"))


# ---- command lines

SYSTEMS = [
    "m.txt",
    "m.toml",
    "s.py:system",
    "tanh-rnn",
    "linear",
    "pendulum",
    "nosuch",
    "s.py:nothing",
    "bad.bin",
    "",
    "a" * 300 + ".py:f",
    "no.toml",
]
VALUES = [
    "",
    "x",
    "-1",
    "0",
    "3",
    "1e400",
    "nan",
    "0.1",
    "a=b",
    "x=y,u",
    "u",
    "t",
    "y",
    ",",
    "d.csv",
    "d.npz",
    "words.text",
    "m.txt",
    "bad.bin",
    "ck",
    "no/such",
    "/",
    "s.py",
    "\0",
    "é",
    "uoro:999999999",
    "uoro:2",
    "tbptt:",
    "tbptt:-1",
    "tbptt:99999999999999999999",
    "bptt",
    "artbp:nan",
    "artbp:0.1",
    "snap:0",
    "kfrtrl:",
    "rtrl",
    "hybrid:2",
    "9" * 5000,
    "out.csv",
    "sgd",
    "adam",
    "numpy",
    "eager",
]
DATA = ["--text", "--data", "--inputs", "--targets", "--observe", "--time", "--units", "--seed", "--engine"]
OPTIONS = {
    "learn": [
        *DATA,
        "--estimator",
        "--rank",
        "--optimizer",
        "--rate",
        "--decay",
        "--save",
        "--checkpoint-every",
        "--resume",
        "--sample",
        "--predictions",
    ],
    "analyze": ["--units", "--symbols", "--budget"],
    "explain": ["--units", "--symbols", "--estimator", "--optimizer", "--engine"],
    "compare": [*DATA, "--params", "--start", "--every"],
}


def command(rng):
    """A command that is done in a moment if it can be done."""
    verb, system = rng.choice(["learn"] * 6 + ["analyze", "explain", "compare"]), rng.choice(SYSTEMS)
    words = [verb, system]
    if verb == "learn":
        words += [rng.choice(["d.csv", "d.npz", "bad.bin"])] * (rng.random() < 0.7) + ["--steps", rng.choice("135")]
    if verb == "compare":
        words += [
            "--replicas",
            "2",
            "--steps",
            "3",
            "--estimators",
            rng.choice(["uoro", "tbptt:1,rtrl", ","]),
            "--quiet",
        ]
    words += ["--units", "3"] * (system == "tanh-rnn")
    words += ["--time", "t"] * (system == "m.txt" and verb in ("learn", "compare") and rng.random() < 0.7)
    for option in rng.choices(OPTIONS[verb], k=rng.randint(0, 4)):
        words += [option, rng.choice(VALUES)]
    return words


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.txt").write_text("d x/dt = u - k*x\nx(0) = 1\nparam k = 0.5 in (0, inf)\ninput u = 0\noutput x\n")
    (tmp_path / "m.toml").write_text(TOML.replace('start = "a"', "start = 1"))
    (tmp_path / "s.py").write_text(
        "import numpy as np, fwdgrad as fg\n"
        "system = fg.System(lambda h, x, p: p['a'] * h + x, None, np.zeros(1), {'a': 0.5}, np.zeros(1))\n"
    )
    (tmp_path / "words.text").write_text("abracadabra " * 5)
    rows = "".join(f"{k / 2},{k % 3},{k % 5},{k % 4},1\n" for k in range(12))
    (tmp_path / "d.csv").write_text("t,u,x,y,x0\n" + rows)
    np.savez("d.npz", t=np.arange(12) / 2, u=np.ones(12), x=np.ones(12), y=np.ones((12, 1)))
    (tmp_path / "bad.bin").write_bytes(np.random.default_rng(0).bytes(300))
    assert main(["learn", "s.py:system", "d.csv", "--inputs", "u", "--steps", "4", "--quiet", "--save", "ck"]) == 0
    return tmp_path


def status(words):
    try:
        return main(words)
    except SystemExit as end:
        return end.code


@pytest.mark.filterwarnings("ignore")
def test_a_command_is_done_or_refused_by_name(folder, capsys):
    seen = [status(command(random.Random(seed))) for seed in range(150)]
    assert set(seen) == {0, 2}
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "fragment"),
    [
        (["m.txt", "d.csv", "--time", ""], "name of a column"),
        (["\0.py:a"], "null character"),
        (["s.py:system", "d\0.csv"], "null character"),
        (["a" * 300 + ".py:f"], "no file"),
        (["s.py:system", "d.csv", "--save", "a" * 300], "cannot write"),
        (["s.py:system", "d.csv", "--plot", "/"], "picture.png"),
        (["s.py:system", "d.csv", "--estimator", "tbptt:" + "9" * 20], "at most"),
        (["s.py:system", "d.csv", "--estimator", "uoro", "--rank", "9" * 20], "at most"),
    ],
)
def test_words_that_name_nothing_are_refused(folder, capsys, words, fragment):
    inputs = ["--inputs", "u"] if words[0] == "s.py:system" else []
    assert status(["learn", *words, *inputs, "--steps", "2", "--quiet"]) == 2
    assert fragment in capsys.readouterr().err


def test_too_little_memory_is_told(folder, capsys, monkeypatch):
    def none(*_, **__):
        raise MemoryError("Unable to allocate 7 EiB")

    monkeypatch.setattr(fg.Learner, "__init__", none)
    assert main(["learn", "s.py:system", "d.csv", "--inputs", "u", "--estimator", "uoro:999999999"]) == 2
    assert "not enough memory for this (Unable to allocate 7 EiB)" in capsys.readouterr().err
