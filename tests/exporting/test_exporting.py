"""Learners in C: compiled by the system's compiler without a warning, and equal to NumPy's steps."""

import ctypes
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import fwdgrad as fg
from fwdgrad import systems
from fwdgrad.cli import main
from fwdgrad.engines.compiled_engine.c_language import c_name, c_number
from fwdgrad.errors import DeclarationError

COMPILER = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
STRICT = ["-std=c99", "-Wall", "-Wextra", "-pedantic", "-Werror", "-O1"]
pytestmark = pytest.mark.skipif(COMPILER is None, reason="there is no C compiler")

TEXT = """
d x/dt = -k*x + u
x(0) = x0
param k = 0.5 in (0, inf)
param x0 = 1
input u = 0
output level = x
dt = 0.1
method = rk4
"""
STIFF = """
d x/dt = -50*(x - cos(t)) + k*y
d y/dt = -a*y*x
x(0) = 1
y(0) = 1
param a = 1 in (0, 5)
param k = 0.1
dt = 0.1
method = sdirk2
"""


def linear():
    rng = np.random.default_rng(0)
    A = 0.9 * np.linalg.qr(rng.normal(size=(4, 4)))[0]
    params = {"A": A, "B": rng.normal(size=(4, 2)), "C": rng.normal(size=(1, 4))}
    return fg.System(
        lambda h, x, p: p["A"] @ h + p["B"] @ x, lambda h, x, p: p["C"] @ h, np.zeros(4), params, np.zeros(2),
        name="linear",
    )  # fmt: skip


def gru():
    return systems.gru(units=16, symbols=8)


def oscillators():
    def F(h, x, p):
        return p["w"] + p["k"] * (np.cos(h) * np.sin(h).sum() - np.sin(h) * np.cos(h).sum())

    params = {"w": np.array([1.0, 1.3, 0.8, 1.1, 0.9]), "k": 0.1}
    return fg.System(F, lambda h, x, p: np.cos(h), np.arange(5.0), params, dt=0.05, name="oscillators")


def rod():
    def F(h, x, p):
        return p["k"] * (np.concatenate([np.ones(1), h[:-1]]) - 2 * h + np.concatenate([h[1:], h[-1:]])) - p["c"] * h**3

    return fg.System(F, None, np.zeros(18), {"k": 2.0, "c": 0.1}, dt=0.5, method="sdirk2", name="rod")


SPIKES = """
d v/dt = (2 - v)/tau
v(0) = 0.9
when v > limit: v = 0
param limit = 1 in (0, inf)
param tau = 1 in (0, inf)
dt = 0.2
method = rk4
"""
LATE = "d x/dt = -delay(x, tau)\nx(0) = 1\nparam tau = 1.07 in (0.1, 1.5)\ndt = 0.5"
LEARNERS = {
    "linear": lambda: fg.Learner(linear(), fg.RTRL(), fg.SGD(1e-3)),
    "lotka-volterra": lambda: fg.Learner(systems.lotka_volterra(), fg.RTRL(), fg.SGD(1e-7)),
    "gru, uoro": lambda: fg.Learner(gru(), fg.UORO(), fg.SGD(1e-2)),
    "gru, snap": lambda: fg.Learner(gru(), fg.SnAp(1), fg.Adam(1e-3)),
}
MORE = {
    "learned start": lambda: fg.Learner(fg.from_text(TEXT), fg.RTRL(), fg.Adam(1e-2)),
    "implicit": lambda: fg.Learner(fg.from_text(STIFF), fg.RTRL(), fg.SGD(1e-3)),
    "implicit, a band": lambda: fg.Learner(rod(), fg.RTRL(), fg.SGD(1e-3)),
    "events": lambda: fg.Learner(fg.from_text(SPIKES), fg.RTRL(), fg.SGD(1e-3)),
    "delays": lambda: fg.Learner(fg.from_text(LATE), fg.RTRL(), fg.SGD(1e-3)),
    "sines of arrays": lambda: fg.Learner(oscillators(), fg.RTRL(), fg.SGD(1e-3)),
    "joint filter": lambda: fg.Learner(fg.from_text(TEXT)),
    "single precision": lambda: fg.Learner(
        systems.gru(units=2, symbols=3).astype(np.float32), fg.NoBackTrack(), fg.Momentum(1e-3)
    ),
}


def compiled(folder, name, *options):
    files = [folder / f"{name}.c"] + ([] if "-shared" in options else [folder / f"{name}_test.c"])
    out = folder / name
    done = subprocess.run(
        [COMPILER, *STRICT, *options, *map(str, files), "-o", str(out), "-lm"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[:2000]
    assert not done.stderr
    return out


def compared(made, folder):
    program = compiled(folder, made.name)
    with open(made.files[3]) as samples:
        return subprocess.run([str(program)], stdin=samples, capture_output=True, text=True)


@pytest.mark.quick(
    "linear", "learned start", "implicit, a band", "events", "sines of arrays", "joint filter", "single precision"
)
@pytest.mark.parametrize("name", [*LEARNERS, *MORE])
def test_steps_in_c_are_numpys(name, tmp_path):
    made = fg.export((LEARNERS | MORE)[name](), tmp_path, samples=20)
    done = compared(made, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("20 steps, largest difference")


@pytest.mark.slow
@pytest.mark.parametrize("name", LEARNERS)
def test_a_thousand_steps(name, tmp_path):
    done = compared(fg.export(LEARNERS[name](), tmp_path, samples=1000), tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("1000 steps")


def test_a_difference_is_found(tmp_path):
    """The negative control: one number of the samples is another one."""
    made = fg.export(LEARNERS["linear"](), tmp_path, samples=5)
    path = Path(made.files[3])
    *lines, last, end = path.read_text().split("\n")
    path.write_text("\n".join([*lines, str(float(last) + 1e-9), end]))
    assert compared(made, tmp_path).returncode == 1


class InC:
    """The functions of an exported model, called from Python."""

    def __init__(self, learner, folder):
        made = fg.export(learner, folder, name="m", samples=1)
        self.library = ctypes.CDLL(str(compiled(folder, "m", "-shared", "-fPIC")))
        self.model = ctypes.create_string_buffer(made.state_bytes + made.work_bytes + 4096)
        self.library.m_init(self.model)

    def call(self, name, *given):
        arrays = [np.atleast_1d(np.asarray(g, float)) for g in given]
        loss, prediction = np.zeros(1), np.zeros(1)
        made = [loss, prediction] if name == "learn" else [prediction]
        pointers = [a.ctypes.data_as(ctypes.c_void_p) for a in (*arrays, *made)]
        refused = getattr(self.library, f"m_{name}")(self.model, *pointers)
        return refused, *(float(a[0]) for a in made)


def test_trajectories_gaps_and_refused_steps(tmp_path):
    """All of it against a learner: a learned initial state, missing targets, a new trajectory, what is refused."""
    learner = fg.Learner(fg.from_text(TEXT), fg.RTRL(), fg.Adam(1e-2), engine="numpy")
    model = InC(learner, tmp_path)
    rng = np.random.default_rng(0)
    for k in range(12):
        u, y = rng.normal(), np.nan if k in (2, 7) else rng.normal()
        if k == 6:
            learner.reset_state()
            model.library.m_reset(model.model)
        if k == 9:
            before = model.model.raw
            assert model.call("learn", np.inf, y)[0] == 1  # refused: nothing has changed but the memory to work in
            assert model.model.raw[:104] == before[:104]
        predicted = float(learner.predict({"u": np.array(u)})[0])
        assert model.call("predict", u) == (0, pytest.approx(predicted, rel=1e-13))
        loss = learner.step({"u": np.array(u)}, np.array([y]))
        refused, found, prediction = model.call("learn", u, y)
        assert (refused, prediction) == (0, pytest.approx(predicted, rel=1e-13))
        assert found == pytest.approx(loss, rel=1e-12, nan_ok=True)


def test_noise_is_drawn(tmp_path):
    learner = fg.Learner(gru(), fg.UORO(), fg.SGD(1e-2))
    model = InC(learner, tmp_path)
    seed, noise = ctypes.c_uint64(1), np.zeros(16)
    drawn = []
    for _ in range(500):
        model.library.m_noise0(ctypes.byref(seed), noise.ctypes.data_as(ctypes.c_void_p))
        drawn.append(noise.copy())
    assert set(np.unique(drawn)) == {-1.0, 1.0}
    assert abs(np.mean(drawn)) < 5 / np.sqrt(8000)
    products = np.mean([np.outer(d, d) for d in drawn], axis=0)
    assert np.abs(products - np.eye(16)).max() < 5 / np.sqrt(500)


def test_what_cannot_be_exported_is_said(tmp_path):
    for estimator in (fg.TBPTT(5), fg.ForwardGradient()):
        with pytest.raises(DeclarationError, match="export: "):
            fg.export(fg.Learner(linear(), estimator, fg.SGD(1e-3)), tmp_path)
    with pytest.raises(DeclarationError, match="expected 'c'"):
        fg.export(linear(), tmp_path, to="rust")
    with pytest.raises(DeclarationError, match="letters, digits"):
        fg.export(linear(), tmp_path, name="a b")
    from scipy.special import j0

    bessel = fg.System(lambda h, x, p: p["a"] * j0(h), None, np.ones(1), {"a": 0.5})
    with pytest.raises(DeclarationError, match="export: j0 cannot be written in C: C99 has no such function"):
        fg.export(fg.Learner(bessel, fg.RTRL(), fg.SGD(1e-3)), tmp_path)
    assert not list(tmp_path.iterdir())


def test_names_and_numbers():
    assert [c_name(n) for n in ("θ", "int", "y1", "a_b", "2x")] == ["u3b8", "int_", "y1_", "a_b", "n2x"]
    for value in (0.1, 1e-300, -0.0, 2.0**60):
        assert float(c_number(value, np.dtype(float))) == value
    assert c_number(0.1, np.dtype(np.float32)).endswith("f")
    assert [c_number(v, np.dtype(float)) for v in (np.inf, -np.inf, np.nan)] == ["INFINITY", "-INFINITY", "NAN"]


def test_at_the_shell(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("tank.txt").write_text(TEXT)
    assert main(["export", "tank.txt", "--estimator", "rtrl", "--optimizer", "adam", "--out", "device"]) == 0
    assert "floating-point operations" in capsys.readouterr().out
    assert {p.name for p in Path("device").iterdir()} == {
        f"tank{end}" for end in (".c", ".h", "_test.c", "_samples.txt")
    }
    assert main(["export", "tank.txt", "--estimator", "tbptt:5"]) == 2
    assert "learns in windows" in capsys.readouterr().err
