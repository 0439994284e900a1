"""`--json`: what a command has found, for programs."""

import json
from pathlib import Path

import numpy as np
import pytest
from places import EXAMPLES

from fwdgrad.cli import main

DATA = EXAMPLES / "data"
MODEL = "d x/dt = -k*x\nx(0) = 1\nparam k = 1 in (0, inf)\noutput level = x\ndt = 0.1\nmethod = rk4\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("tank.txt").write_text(MODEL)
    noise = 0.003 * np.random.default_rng(0).normal(size=25)
    rows = [f"2024-01-{k + 1:02},{0.9**k + noise[k]:.6f}" for k in range(25) if k != 9]
    Path("tank.csv").write_text("\n".join(["date,level", *rows, ""]))
    return tmp_path


def test_a_fit(folder, capsys):
    words = ["fit", "tank.txt", "tank.csv", "--time", "date", "--unit", "days", "--forecast", "2", "--json"]
    Path("tank.txt").write_text(MODEL.replace("dt = 0.1", "dt = 1").replace("k = 1", "k = 0.2"))
    assert main([*words, "--engine", "numpy"]) == 0
    made = json.loads(capsys.readouterr().out)
    k = made["parameters"]["k"]
    assert k["low"] < k["value"] < k["high"]
    assert abs(k["value"] - 0.105) < 0.01
    assert made["observations"] == 24
    assert [row["time"] for row in made["forecast"]] == ["2024-01-26", "2024-01-27"]
    assert made["forecast"][0]["level"]["std"] > 0
    assert any("1 of 25 dates" in remark for remark in made["remarks"])


def test_a_comparison(folder, capsys):
    words = ["compare", "lotka-volterra", "--estimators", "rtrl,uoro", "--steps", "8", "--replicas", "2", "--json"]
    assert main([*words, "--engine", "numpy"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert set(made) == {"RTRL", "UORO"}
    assert made["RTRL"]["projection"] == pytest.approx(1.0)
