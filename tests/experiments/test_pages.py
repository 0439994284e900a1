"""docs/experiments.md and docs/which-estimator.md are what the records in benchmarks/records say."""

import importlib.util
import json
import re

import pytest
from places import ROOT

import fwdgrad as fg
from fwdgrad import experiments

DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def maker():
    """docs/make_experiments.py as a module."""
    spec = importlib.util.spec_from_file_location("make_experiments", DOCS / "make_experiments.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("file", "made"), [("experiments.md", "page"), ("which-estimator.md", "which")])
def test_the_pages_are_what_the_records_say(maker, file, made):
    assert (DOCS / file).read_text(encoding="utf-8") == getattr(maker, made)(), "run docs/make_experiments.py"


def test_every_record_is_of_an_experiment_and_every_picture_is_there(maker):
    for path in maker.RECORDS.glob("*.jsonl"):
        assert path.stem in experiments.names()
        assert (DOCS / f"experiments-{path.stem}.png").read_bytes()[:4] == b"\x89PNG"
        cells = experiments.named(path.stem).cells(False, None)
        assert set(fg.Sweep.read(path).settings) == {name for cell in cells for name in cell}
    shown = re.findall(r"experiments-([\w-]+)\.png", maker.page() + maker.which())
    assert set(shown) <= {path.stem for path in maker.RECORDS.glob("*.jsonl")}


def test_another_record_makes_another_page(maker, tmp_path, monkeypatch):
    """The control: numbers come from the file."""
    lines = (maker.RECORDS / "uoro-2a.jsonl").read_text(encoding="utf-8").splitlines()
    before = maker.page()
    changed = json.loads(lines[1])
    changed["results"]["loss"] = 123.0
    (tmp_path / "uoro-2a.jsonl").write_text("\n".join([lines[0], json.dumps(changed), *lines[2:]]) + "\n")
    monkeypatch.setattr(maker, "RECORDS", tmp_path)
    after = maker.page()
    assert "123" not in before or before.count("1.2e+02") < after.count("1.2e+02")
    assert "no records yet" in after


def test_a_sentence_that_does_not_hold_is_not_written(maker):
    assert maker.said("so", True) == "- so\n"
    with pytest.raises(ValueError, match="do not say: not so"):
        maker.said("not so", False)


def test_a_page_says_no_number_that_was_typed(maker, monkeypatch):
    """What is written by hand about the table has no results in it: only names, and how it was made."""
    typed = maker.ADVICE + maker.INTRODUCTION
    assert not re.search(r"\d\.\d", typed)
