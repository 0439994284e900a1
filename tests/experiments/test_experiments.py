"""Experiments: what is asked of them is computed from records, runs are not made twice, wrong words are refused."""

import inspect
from dataclasses import replace

import numpy as np
import pytest

import fwdgrad as fg
from fwdgrad import experiments
from fwdgrad.cli import main
from fwdgrad.experiments import anbn, balancing
from fwdgrad.experiments.frame import Criterion, Experiment, Reproduction, carried_out
from fwdgrad.sweeps.records import Record


def swept(*rows):
    """Records made up: pairs of settings and results."""
    return fg.Sweep(tuple(Record(settings, 0, results, None, 1.0) for settings, results in rows), 0)


def marks(experiment, found):
    return [criterion.mark for criterion in Reproduction(experiment, found).criteria]


# ---- the frame


def tossed(kind, steps, rng):
    tossed.calls += 1
    return {"loss": float(kind == "b") + 0 * rng.normal()}


TOY = Experiment(
    name="toy",
    title="Coins",
    source="nobody",
    setting="none",
    deviations=("no coins",),
    learn=tossed,
    cells=lambda quick, steps: [{"kind": kind, "steps": steps or (1 if quick else 2)} for kind in "ab"],
    table=lambda found: [["kind", "loss"], *([r.settings["kind"], f"{r.results['loss']:g}"] for r in found)],
    criteria=lambda found: [
        Criterion("it is below 0.5", f"{r.results['loss']:g}", r.results["loss"] < 0.5) for r in found
    ],
    draw=lambda found, figure: figure.subplots().plot([r.results["loss"] for r in found]),
    replicas=2,
)


def test_runs_are_recorded_and_not_made_twice(tmp_path):
    tossed.calls = 0
    made = carried_out(TOY, folder=tmp_path)
    assert len(made.found) == tossed.calls == 4
    again = carried_out(TOY, folder=tmp_path, seeds=3)
    assert (len(again.found), tossed.calls) == (6, 6)
    assert carried_out(TOY, True, folder=tmp_path).found.settings["steps"] == (1,)
    assert made.verdict == "comes out in part: 2 of 4"
    for part in ("Coins", "nobody", "no coins", "it is below 0.5", "Verdict: comes out in part"):
        assert part in str(made)
    assert "in part" in made._repr_html_()
    made.plot(tmp_path / "toy.png")
    assert (tmp_path / "toy.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("holds", "verdict"),
    [
        ([True, True], "comes out"),
        ([True, None], "comes out as far as it was run: 1 of 2"),
        ([True, False, None], "comes out in part: 1 of 2"),
        ([False, None], "does not come out"),
        ([None], "these runs do not tell"),
    ],
)
def test_a_verdict_is_counted(holds, verdict):
    criteria = [Criterion("", "", h) for h in holds]
    made = Reproduction(replace(TOY, criteria=lambda found: criteria), swept(({}, {})))
    assert made.verdict == verdict


# ---- each of them


@pytest.mark.parametrize("name", experiments.names())
def test_every_experiment_declares_runs_that_its_function_takes(name):
    experiment = experiments.named(name)
    assert experiment.name == name
    full, quick = experiment.cells(False, None), experiment.cells(True, None)
    given = inspect.signature(experiment.learn).parameters
    for cell in (*full, *quick):
        assert {*cell} == {*given} - {"rng"}
    assert sum(c.get("steps", 1) for c in quick) <= sum(c.get("steps", 1) for c in full)
    assert {c["steps"] for c in experiment.cells(True, 4321) if "steps" in c} <= {4321}


@pytest.mark.parametrize("name", experiments.names())
def test_without_records_nothing_is_told(name):
    """A criterion that holds whatever was run would be none."""
    experiment = experiments.named(name)
    failed = tuple(Record(cell, 0, {}, "ValueError: no", 0.0) for cell in experiment.cells(True, None))
    made = Reproduction(experiment, fg.Sweep(failed, 0))
    assert made.verdict == "these runs do not tell"
    assert made.experiment.name in repr(made)
    assert str(made)


def balanced(**losses):
    found = []
    for cell in balancing.cells(False, None):
        estimator = cell["estimator"]
        end = losses.get(estimator.replace(":", ""), 1e9 if estimator in balancing.FAILS else 1e-20)
        found.append((cell, {"loss": end, "theta": 0.0, "steps": [1, 2], "recent": [1.0, end]}))
    return swept(*found)


def test_influence_balancing_is_judged_by_its_records():
    assert set(marks(balancing.EXPERIMENT, balanced())) == {"yes"}
    assert marks(balancing.EXPERIMENT, balanced(uoro=0.1)).count("no") == 1
    assert marks(balancing.EXPERIMENT, balanced(tbptt10=0.1)).count("no") == 1


def test_influence_balancing_is_learned():
    rng = np.random.default_rng(0)
    made = balancing.learn("uoro", 1e-3, 20_000, rng)
    lost = balancing.learn("tbptt:10", 1e-3, 20_000, rng)
    assert made["recent"][-1] < 0.1 * made["recent"][0] < lost["recent"][-1]
    assert made["steps"][-1] == 20_000


def table_one(steps, **changed):
    found = []
    for cell in anbn.cells(False, steps):
        key = (cell["estimator"], cell["unit"])
        loss = changed.get("_".join(key).replace(":", ""), anbn.PAPER[key])
        found.append((cell, {"loss": loss, "microseconds": 1.0, "steps": [1, 2], "recent": [1.0, loss]}))
    return swept(*found)


def test_the_papers_own_table_comes_out_but_for_what_contradicts_it():
    """UORO with memory 2 ends above 0.149, and below all truncation."""
    assert set(marks(anbn.EXPERIMENT, table_one(None))) == {"yes"}
    assert marks(anbn.EXPERIMENT, table_one(None, uoro_gru=0.18)).count("no") == 1
    assert marks(anbn.EXPERIMENT, table_one(1000, uoro_gru=0.18)).count("not told") >= 1


# ---- the command


def test_the_command_lists_and_refuses(capsys, tmp_path):
    assert main(["reproduce", "list"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in experiments.names())
    for words in (["uoro-5"], ["uoro-2a", "--steps", "10"], ["uoro-2a", "--to", ""], ["uoro-2a", "--seeds", "0"]):
        assert main(["reproduce", *words, *(["--to", str(tmp_path)] if "--to" not in words else [])]) == 2
        assert "expected" in (said := capsys.readouterr().err) or "Did you mean 'uoro-4'" in said


def test_the_command_writes_records_picture_and_report(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(experiments, "named", lambda name: TOY)
    tossed.calls = 0
    assert main(["reproduce", "uoro-2a", "--quick", "--quiet", "--to", str(tmp_path / "new")]) == 0
    assert {p.suffix for p in (tmp_path / "new").iterdir()} == {".jsonl", ".png", ".txt"}
    assert "Verdict: comes out in part" in capsys.readouterr().out
