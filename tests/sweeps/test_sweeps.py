"""Sweeps: the same records however they are made, a killed one resumes, and what is asked for is checked."""

import json
import math
import os
import signal
import subprocess
import sys
import textwrap

import joblib
import numpy as np
import pytest

import fwdgrad as fg
from fwdgrad.errors import DataError, DeclarationError, StaleRecordWarning, UnknownNameError

GRID = {"rate": [0.1, 0.2], "kind": ["a", "b"]}


def noisy(rate, kind, rng):
    """Random, fails for one cell, and is not finite in another."""
    if (rate, kind) == (0.2, "b"):
        raise ValueError("no good\nand more")
    drawn = rng.normal()
    return {"loss": rate + 0.01 * drawn if kind == "a" else math.inf, "drawn": drawn, "kind of": kind}


def counting(folder, fail=()):
    """A function that leaves a file for each call."""

    def learn(k):
        (folder / f"{k}-{len(list(folder.iterdir()))}").touch()
        if k in fail:
            raise ValueError("fails")
        return float(k)

    return learn


def test_every_cell_is_a_record_in_the_order_of_the_grid():
    found = fg.sweep(noisy, GRID, replicas=2)
    cells = [(r.settings["rate"], r.settings["kind"], r.replica) for r in found]
    assert cells == [(rate, kind, r) for rate in (0.1, 0.2) for kind in "ab" for r in (0, 1)]
    assert [r.error for r in found.failed] == ["ValueError: no good"] * 2
    assert found.results == ("loss", "drawn", "kind of")


def test_a_generator_depends_on_seed_and_replica_alone():
    found = fg.sweep(noisy, GRID, replicas=2, seed=7)
    for record in found:
        if record.error is None:
            expected = np.random.default_rng(np.random.SeedSequence(7, spawn_key=(record.replica,))).normal()
            assert record.results["drawn"] == expected
    other = fg.sweep(noisy, GRID, replicas=2, seed=8)
    assert other.records != found.records  # the control


def test_processes_and_a_cluster_make_the_same_records(tmp_path):
    distributed = pytest.importorskip("distributed")
    here = fg.sweep(noisy, GRID, replicas=2)
    assert fg.sweep(noisy, GRID, replicas=2, n_jobs=2).records == here.records
    with (
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=False,
            dashboard_address=None,
            local_directory=str(tmp_path),
        ) as cluster,
        distributed.Client(cluster),
        joblib.parallel_config(backend="dask"),
    ):
        assert fg.sweep(noisy, GRID, replicas=2, path=tmp_path / "s.jsonl").records == here.records


def test_a_killed_sweep_resumes_at_the_cells_that_are_missing(tmp_path):
    script = tmp_path / "study.py"
    script.write_text(
        textwrap.dedent(
            """
            import os, signal, sys
            from pathlib import Path
            import fwdgrad as fg

            calls = Path(sys.argv[1])

            def learn(k, rng):
                made = len(list(calls.iterdir()))
                if made == int(sys.argv[2]):
                    os.kill(os.getpid(), signal.SIGKILL)
                (calls / f"{made} {k}").touch()
                return k + rng.normal()

            found = fg.sweep(learn, {"k": list(range(40))}, path=sys.argv[3])
            print(len(found), sum(r.results["loss"] for r in found))
            """
        )
    )

    def run(calls, kill, path):
        calls.mkdir(exist_ok=True)
        command = [sys.executable, str(script), str(calls), str(kill), str(path)]
        return subprocess.run(command, capture_output=True, text=True, timeout=600)

    killed = run(tmp_path / "calls", 17, tmp_path / "s.jsonl")
    assert killed.returncode == -signal.SIGKILL
    with open(tmp_path / "s.jsonl", "a") as file:
        file.write('{"settings": {"k": 17}, "rep')  # as if killed in the middle of a line
    resumed = run(tmp_path / "calls", -1, tmp_path / "s.jsonl")
    whole = run(tmp_path / "others", -1, tmp_path / "t.jsonl")
    assert resumed.returncode == 0, resumed.stderr
    assert resumed.stdout == whole.stdout
    called = sorted(int(name.split()[1]) for name in os.listdir(tmp_path / "calls"))
    assert called == list(range(40))  # each once


def test_values_that_are_added_leave_the_others_as_they_are(tmp_path):
    calls = tmp_path / "calls"
    calls.mkdir()
    learn = counting(calls, fail={1})
    first = fg.sweep(learn, {"k": [0, 1]}, path=tmp_path / "s.jsonl")
    more = fg.sweep(learn, {"k": [0, 1, 2]}, path=tmp_path / "s.jsonl")
    assert more.records[:2] == first.records
    assert more.records[2].results == {"loss": 2.0}
    assert len(list(calls.iterdir())) == 3
    mended = fg.sweep(counting(calls), {"k": [0, 1, 2]}, path=tmp_path / "s.jsonl", retry=True)
    assert not mended.failed
    assert len(list(calls.iterdir())) == 4
    again = fg.sweep(counting(calls), {"k": [0, 1, 2]}, path=tmp_path / "s.jsonl")  # the last line of a cell counts
    assert again.records == mended.records
    assert len(list(calls.iterdir())) == 4


def test_what_is_not_finite_is_valid_json_and_comes_back(tmp_path):
    def learn(k):
        return {"a": (math.nan, math.inf, -math.inf, np.float32(1.5))[k], "b": 1}

    path = tmp_path / "s.jsonl"
    fg.sweep(learn, {"k": [0, 1, 2, 3]}, path=path)

    def refuse(word):
        raise AssertionError(word)

    for line in path.read_text().splitlines():
        json.loads(line, parse_constant=refuse)
    found = [record.results["a"] for record in fg.sweep(learn, {"k": [0, 1, 2, 3]}, path=path)]
    assert math.isnan(found[0])
    assert found[1:] == [math.inf, -math.inf, 1.5]


def test_records_of_a_function_that_has_changed_are_told(tmp_path):
    path = tmp_path / "s.jsonl"
    fg.sweep(lambda k: k + 1.0, {"k": [0]}, path=path)
    with pytest.warns(StaleRecordWarning, match="1 cells"):
        found = fg.sweep(lambda k: k + 2.0, {"k": [0, 1]}, path=path)
    assert [r.results["loss"] for r in found] == [1.0, 3.0]


def test_a_file_of_something_else_is_refused(tmp_path):
    path = tmp_path / "s.jsonl"

    def learn(k=0, j=0):
        return k + j

    fg.sweep(learn, {"k": [0]}, path=path, seed=1)
    kept = path.read_text()
    for grid, seed in (({"j": [0]}, 1), ({"k": [0]}, 2)):
        with pytest.raises(DeclarationError, match="another file"):
            fg.sweep(learn, grid, path=path, seed=seed)
    assert path.read_text() == kept
    for text in ("hello\n", "{}\n", kept + "oops\n", kept + '{"settings": 1}\n', kept.replace("{", "[", 1)):
        path.write_text(text)
        with pytest.raises(DataError):
            fg.sweep(learn, {"k": [0]}, path=path, seed=1)
    path.write_bytes(b"\xff\xfe\n")
    with pytest.raises(DataError):
        fg.sweep(learn, {"k": [0]}, path=path)
    with pytest.raises(DataError, match="cannot use"):
        fg.sweep(learn, {"k": [0]}, path=tmp_path / "nowhere" / "s.jsonl")


@pytest.mark.parametrize(
    ("grid", "said"),
    [
        ({}, "at least one"),
        ([], "at least one"),
        ({"k": []}, "at least one"),
        ({"k": 3}, "list of values"),
        ({"k": "abc"}, "list of values"),
        (3, "dict of lists"),
        ([3], "dict of settings"),
        ({"kk": [1]}, "Did you mean 'k'"),
        ({"k": [object()]}, "give it a name"),
        ({"k": [math.nan]}, "finite"),
        ({"k": [1, 1]}, "twice"),
        ({"rng": [1]}, "taken"),
        ({"j": [1]}, "needs its argument 'k'"),
    ],
)
def test_a_grid_that_does_not_fit_is_refused_before_anything_is_called(grid, said):
    def learn(k, j=0):
        raise AssertionError("called")

    with pytest.raises(DeclarationError, match=said):
        fg.sweep(learn, grid)


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_what_cannot_be_recorded_is_refused(n_jobs):
    for returned in (None, {}, [1.0], {"a": np.zeros((2, 2))}, {"a": ["text"]}):
        with pytest.raises(DeclarationError, match="return a number"):
            fg.sweep(lambda k, returned=returned: returned, {"k": [1, 2]}, n_jobs=n_jobs)


def test_rows_of_numbers_are_kept_and_read_again(tmp_path):
    def learn(rate):
        return {"loss": rate, "curve": np.array([rate, math.inf]), "steps": (1, 2), "nothing": []}

    path = tmp_path / "sweep.jsonl"
    found = fg.sweep(learn, {"rate": [0.5]}, path=path)
    assert found.records[0].results == {"loss": 0.5, "curve": [0.5, math.inf], "steps": [1, 2], "nothing": []}
    assert fg.sweep(learn, {"rate": [0.5]}, path=path) == found == fg.Sweep.read(path)
    assert [s.mean for s in found.summary()] == [0.5]
    assert "2 numbers" in found.records[0]._repr_html_()
    (tmp_path / "other").write_text("{}\n")
    for name in ("other", "not there"):
        with pytest.raises(DataError, match=name):
            fg.Sweep.read(tmp_path / name)


def test_a_sweep_all_of_whose_cells_fail_is_an_error():
    def learn(k):
        raise ZeroDivisionError(k)

    with pytest.raises(DeclarationError, match=r"all of 2 cells failed.*ZeroDivisionError: 1"):
        fg.sweep(learn, {"k": [1, 2]})


def test_the_best_is_always_finite():
    def learn(rate, kind, rng):
        loss = {"a": rate, "b": 2 * rate}[kind]
        return loss if rng.normal() > 0.1 or rate > 0.15 else math.nan  # replica 0 draws 0.6, replica 1 −1.1

    found = fg.sweep(learn, {"rate": [0.1, 0.2, 0.3], "kind": ["a", "b"]}, replicas=2, seed=3)
    draws = [np.random.default_rng(np.random.SeedSequence(3, spawn_key=(r,))).normal() for r in (0, 1)]
    assert min(draws) < 0.1  # so that the lowest rate is lost in one replica
    assert found.best().settings == {"rate": 0.2, "kind": "a"}
    assert found.best(kind="b").mean == 0.4
    with pytest.raises(DataError):
        found.best(rate=0.1)
    with pytest.raises(UnknownNameError):
        found.best(kid="b")
    with pytest.raises(UnknownNameError):
        found.best("los")


def test_tables_and_pictures(tmp_path):
    found = fg.sweep(noisy, {"rate": [0.001, 0.1, 0.2], "kind": ["a", "b"]}, replicas=2)
    lines = str(found).splitlines()
    assert lines[0].split() == ["rate", "kind", "loss", "lowest", "highest"]
    assert "best" in lines[1]
    assert "2 of 2 failed" in lines[6]
    assert "2 of 12 cells failed" in lines[7]
    assert len(repr(found)) < 100
    frame = found.to_frame()
    assert list(frame.columns) == ["rate", "kind", "replica", "loss", "drawn", "kind of", "error", "seconds"]
    found.to_csv(tmp_path / "s.csv")
    assert (tmp_path / "s.csv").read_text().count("\n") == 13
    figure = found.plot(tmp_path / "s.png")
    (ax,) = figure.axes
    assert ax.get_xscale() == "log"
    assert ax.get_xlabel() == "rate"
    assert (tmp_path / "s.png").stat().st_size > 5000
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["a", "b"]
    assert found.plot(x="kind").axes[0].get_xlabel() == "kind"
    with pytest.raises(UnknownNameError, match="rate"):
        found.plot(x="rates")


def test_values_by_name():
    found = fg.sweep(lambda f, k: f(k), {"f": {"double": lambda k: 2.0 * k, "square": np.square}, "k": [3]}, n_jobs=2)
    assert [(r.settings["f"], r.results["loss"]) for r in found] == [("double", 6.0), ("square", 9)]


def test_progress_counts_the_cells_that_were_there(tmp_path):
    told = []
    for _ in range(2):
        fg.sweep(
            lambda k: k, {"k": [1, 2]}, path=tmp_path / "s", progress=lambda done, total: told.append((done, total))
        )
    assert told == [(0, 2), (1, 2), (2, 2), (2, 2)]


def test_the_command_line(tmp_path, capsys, monkeypatch):
    from fwdgrad.cli import main

    monkeypatch.chdir(tmp_path)
    words = "sweep tanh-rnn --units 4 --steps 60 --estimators tbptt:2 --rates 0.01,0.1 --engine numpy --quiet"
    words = [*words.split(), "--records", "s.jsonl", "--csv", "s.csv", "--plot"]
    assert main(words) == 0
    first = capsys.readouterr().out
    assert "bits per character" in first
    assert "best" in first
    assert (tmp_path / "sweep.png").exists()
    assert main(words) == 0
    assert capsys.readouterr().out == first
    assert len((tmp_path / "s.jsonl").read_text().splitlines()) == 3
    assert main([*words, "--steps", "70"]) == 0  # other runs, in the same file
    assert len((tmp_path / "s.jsonl").read_text().splitlines()) == 5
    capsys.readouterr()
    for wrong, said in (
        (["--estimators", "utoro"], "uoro"),
        (["--optimizers", "adamm"], "adam"),
        (["--steps", "0"], "--steps 0"),
        (["--records", "nowhere/s"], "nowhere"),
    ):
        assert main([*words, *wrong]) == 2
        assert said in capsys.readouterr().err
