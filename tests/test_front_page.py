"""The promise of the front page: from a table with dates and gaps to a forecast, in a few lines or commands."""

import csv
import shlex

import numpy as np
import pytest
from places import ROOT
from test_doctests import python_blocks

from fwdgrad.cli import main

README = (ROOT / "README.md").read_text(encoding="utf-8")
LINES, COMMANDS = 15, 3


def test_few_lines():
    """`test_doctests` runs them."""
    (code,) = (block.code for block in python_blocks(README) if "lakes.csv" in block.code)
    lines = [line for line in code.splitlines() if line.strip()]
    assert len(lines) <= LINES
    assert all(word in code for word in ("fg.fit", ".forecast(", ".plot(", "to_csv"))


def test_few_commands(tmp_path, monkeypatch, capsys):
    blocks = [part.split("```")[0] for part in README.split("```sh\n")[1:]]
    (block,) = (block for block in blocks if "lakes.csv" in block)
    commands = block.strip().splitlines()
    assert 1 + len(commands) <= COMMANDS  # with `pip install`
    monkeypatch.chdir(tmp_path)
    for name in ("lakes.csv", "lakes.txt"):
        (tmp_path / name).write_bytes((ROOT / "examples" / "data" / name).read_bytes())
    for command in commands:
        program, *words = shlex.split(command)
        assert program == "fwdgrad"
        assert main(words) == 0
    assert "10 of 120 dates are not in the table" in capsys.readouterr().out
    assert (tmp_path / "lakes.png").stat().st_size > 10_000
    rows = list(csv.DictReader((tmp_path / "forecast.csv").read_text(encoding="utf-8").splitlines()))
    assert (rows[0]["time"], rows[-1]["time"], len(rows)) == ("2022-03-01", "2024-12-10", 146)
    assert np.isfinite([float(row["lower_std"]) for row in rows]).all()
    assert [row["time"] for row in rows[:120] if not any(row[k] for k in ("upper", "middle", "lower"))]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--time", "date"], "--unit days"),
        (["--unit", "days"], "--unit: expected --time COLUMN"),
        (["--time", "upper", "--unit", "days"], "expected a date such as 2024-01-31"),
    ],
)
def test_what_is_said_of_dates(words, told, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT / "examples" / "data")
    assert main(["fit", "lakes.txt", "lakes.csv", *words]) == 2
    assert told in capsys.readouterr().err


def test_clock_times_and_zones(tmp_path):
    from fwdgrad.cli.dates import read_dates

    path = tmp_path / "t.csv"
    path.write_text("t,y\n2024-01-31T23:00:00+01:00,1\n2024-02-01 01:00:00+01:00,2\n2024-02-01T05:00+00:00,3\n")
    dates = read_dates(path, "t", "hours")
    np.testing.assert_array_equal(dates.times, [0, 2, 7])
    assert dates.calendar is None
    np.testing.assert_allclose(read_dates(path, "t", "days").times, np.array([0, 2, 7]) / 24)
