"""`fwdgrad init` and `fwdgrad completion`."""

import shutil
import subprocess
import sys

import numpy as np
import pytest
from fwdgrad.systems import CATALOGUE

import fwdgrad as fg
from fwdgrad.cli import main
from fwdgrad.cli.completion import SHELLS


def test_the_template_is_a_model_that_can_be_fitted(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["init"]) == 0
    assert "wrote model.txt" in capsys.readouterr().out
    model = fg.from_text(tmp_path / "model.txt")
    assert model.output_names == ("upper_level", "lower_level")
    assert set(model.params) == {"k_upper", "k_lower", "inflow", "upper0"}
    simulation = model.simulate(steps=3)
    assert np.all(np.isfinite(simulation.outputs))


def test_nothing_is_written_over(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tank.txt").write_text("mine")
    assert main(["init", "tank.txt"]) == 2
    assert "is there already" in capsys.readouterr().err
    assert (tmp_path / "tank.txt").read_text() == "mine"
    assert main(["init", "tank.toml"]) == 2
    assert "ends in .txt" in capsys.readouterr().err
    assert main(["init", "nowhere/tank.txt"]) == 2
    assert "there is no folder" in capsys.readouterr().err


def completed(text, *words):
    """What bash offers for the last of some words."""
    line = " ".join(f"'{word}'" for word in words)
    script = f"{text}\nCOMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; _fwdgrad; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert not done.stderr
    return set(done.stdout.split())


@pytest.fixture
def bash(capsys):
    if shutil.which("bash") is None or sys.platform == "win32":
        pytest.skip("there is no bash")
    assert main(["completion", "bash"]) == 0
    return capsys.readouterr().out


def test_bash_completes(bash, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tank.txt").write_text("")
    assert {"learn", "fit", "export", "completion"} <= completed(bash, "fwdgrad", "")
    assert completed(bash, "fwdgrad", "sys") == {"systems"}
    assert "--forecast" in completed(bash, "fwdgrad", "fit", "x.txt", "--fo")
    assert "--forecast" not in completed(bash, "fwdgrad", "learn", "x.txt", "--fo")
    assert {"simulation", "filter"} <= completed(bash, "fwdgrad", "fit", "x.txt", "--method", "")
    assert completed(bash, "fwdgrad", "learn", "lotka") == {"lotka-volterra"}
    assert completed(bash, "fwdgrad", "fit", "tan") == {"tank.txt", *(n for n in CATALOGUE if n.startswith("tan"))}


@pytest.mark.parametrize("shell", SHELLS)
def test_shells_know_every_command(shell, capsys):
    assert main(["completion", shell]) == 0
    text = capsys.readouterr().out
    assert all(word in text for word in ("learn", "forecast", "lotka-volterra"))
    if program := shutil.which(shell):
        assert subprocess.run([program, "-n"], input=text, text=True, capture_output=True).returncode == 0
