"""`fwdgrad learn - --follow`: predictions leave line by line, and a follower that was killed goes on where it was."""

import io
import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

import fwdgrad as fg
from fwdgrad.cli import main

MODEL = (
    "d x/dt = -k*x + u\nx(0) = 1\nparam k = 0.5 in (0, inf)\ninput u = 0\noutput level = x\ndt = 0.1\nmethod = rk4\n"
)
HOW = ["--estimator", "rtrl", "--optimizer", "sgd", "--rate", "0.01"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tank.txt").write_text(MODEL)
    return tmp_path


def lines(count=30):
    rng = np.random.default_rng(0)
    return [f"{u!r},{'' if k % 7 == 3 else repr(y)}" for k, (u, y) in enumerate(rng.normal(size=(count, 2)).tolist())]


def follow(text, monkeypatch, capsys, *words):
    """What it prints for a stream that ends."""
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    status = main(["learn", "tank.txt", "-", "--follow", *words])
    said = capsys.readouterr()
    return status, said.out.splitlines(), said.err


def test_predictions_are_a_learners(folder, monkeypatch, capsys):
    rows = lines()
    status, out, _ = follow("\n".join(["u,level", *rows]), monkeypatch, capsys, *HOW)
    learner = fg.Learner(fg.from_text(MODEL), fg.RTRL(), fg.SGD(0.01))
    assert (status, out[0], len(out)) == (0, "line,level", 31)
    for k, (row, told) in enumerate(zip(rows, out[1:], strict=True), 1):
        u, y = row.split(",")
        number, value = told.split(",")
        assert (int(number), float(value)) == (k, float(learner.predict({"u": np.array(float(u))})[0]))
        learner.step({"u": np.array(float(u))}, np.array([float(y) if y else np.nan]))


def test_json_and_deviations(folder, monkeypatch, capsys):
    given = "".join(json.dumps({"u": 0.1, "h": None if k == 1 else 1.0, "more": "x"}) + "\n" for k in range(4))
    status, out, _ = follow(given, monkeypatch, capsys, "--json", "--observe", "level=h")
    made = [json.loads(line) for line in out]
    assert status == 0
    assert [list(m) for m in made] == [["line", "level", "level_std"]] * 4
    assert all(m["level_std"] > 0 for m in made)


def test_a_stream_in_parts_is_the_stream(folder, monkeypatch, capsys):
    """Bit for bit, with what comes next, and with the stream from its first line again."""
    rows = lines()
    whole = follow("\n".join(["u,level", *rows]), monkeypatch, capsys, *HOW)[1]
    first = follow("\n".join(["u,level", *rows[:11]]), monkeypatch, capsys, *HOW, "--save", "a.npz")
    assert "saved at line 11" in first[2]
    (folder / "b.npz").write_bytes((folder / "a.npz").read_bytes())
    rest = follow("\n".join(["u,level", *rows[11:]]), monkeypatch, capsys, "--resume", "a.npz")[1]
    again = follow("\n".join(["u,level", *rows]), monkeypatch, capsys, "--resume", "b.npz", "--again")[1]
    assert first[1] + rest[1:] == whole
    assert again == rest


def test_what_cannot_be_taken_is_said_with_its_line_and_the_rest_is_kept(folder, monkeypatch, capsys):
    for bad, told in (
        ("0.1,oops", "line 3, column 'level'"),
        (",1.0", "line 3: the input 'u'"),
        ("1", "expected 2 cells"),
    ):
        status, out, err = follow(f"u,level\n0.1,1\n0.2,1\n{bad}\n", monkeypatch, capsys, *HOW, "--save", "c.npz")
        assert (status, len(out)) == (2, 3)
        assert told in err
        assert "saved at line 2" in err
    assert "no column 'level'" in follow("u,y\n1,2\n", monkeypatch, capsys, *HOW)[2]
    assert "expected an object of JSON" in follow('{"u": 1', monkeypatch, capsys, *HOW)[2]
    assert "go with --follow" in (main(["learn", "tank.txt", "-"]), capsys.readouterr().err)[1]
    assert "has no meaning with --follow" in follow("u,level\n", monkeypatch, capsys, "--steps", "9")[2]


def started(folder, *words):
    code = "import sys; from fwdgrad.cli import main; sys.exit(main())"
    return subprocess.Popen(
        [sys.executable, "-c", code, "learn", "tank.txt", "-", "--follow", *words],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder,
        env=os.environ | {"PYTHONUNBUFFERED": ""},
    )  # fmt: skip


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGTERM to wait for")
def test_predictions_leave_before_the_next_line_and_sigterm_saves(folder, monkeypatch, capsys):
    rows = lines(12)
    whole = follow("\n".join(["u,level", *rows]), monkeypatch, capsys, *HOW)[1]
    running = started(folder, *HOW, "--save", "d.npz")
    running.stdin.write("u,level\n")
    seen = [running.stdout.readline().strip()]
    for row in rows[:5]:
        running.stdin.write(f"{row}\n")
        running.stdin.flush()
        seen.append(running.stdout.readline().strip())  # it is there while nothing more has been written
    running.send_signal(signal.SIGTERM)  # while it waits for a line
    out, err = running.communicate(timeout=600)
    assert (running.returncode, out) == (0, "")
    assert "ended after line 5" in err
    rest = follow("\n".join(["u,level", *rows[5:]]), monkeypatch, capsys, "--resume", "d.npz")[1]
    assert seen + rest[1:] == whole


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_what_was_acknowledged_is_neither_lost_nor_repeated(folder, monkeypatch, capsys):
    rows = lines(12)
    whole = follow("\n".join(["u,level", *rows]), monkeypatch, capsys, *HOW)[1]
    running = started(folder, *HOW, "--save", "e.npz", "--checkpoint-every", "4")
    running.stdin.write("\n".join(["u,level", *rows[:10], ""]))
    running.stdin.flush()
    for _ in range(11):
        running.stdout.readline()
    said: list[str] = []
    while len(said) < 2:
        said += [line for line in [running.stderr.readline()] if "saved" in line]
    running.kill()
    running.communicate(timeout=600)
    assert [line.split()[-1] for line in said] == ["4", "8"]
    rest = follow("\n".join(["u,level", *rows]), monkeypatch, capsys, "--resume", "e.npz", "--again")[1]
    assert rest[1:] == whole[9:]  # from line 9 on
