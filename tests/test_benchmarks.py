"""The comparison with other libraries runs, and writes its tables and nothing else."""

import os
import re
import subprocess
import sys

import pytest
from places import ROOT

MARKED = re.compile(r"(<!-- (\w+): begin[^>]*-->\n)(.*?)(<!-- \2: end -->)", re.DOTALL)


@pytest.fixture
def document(tmp_path):
    """A copy of the page without its tables."""
    text = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    copy = tmp_path / "performance.md"
    copy.write_text(MARKED.sub(r"\1\4", text), encoding="utf-8")
    return copy


def run(*arguments):
    environment = {k: v for k, v in os.environ.items() if k != "FWDGRAD_CACHE"} | {"MPLBACKEND": "Agg"}
    command = [sys.executable, "-m", "benchmarks.rivals", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)


@pytest.mark.slow
def test_a_quick_run_writes_tables_of_what_is_installed(document):
    before = document.read_text(encoding="utf-8")
    done = run("--quick", "--output", document, "--only", "stream", "single", "plain", "imports")
    assert done.returncode == 0, done.stderr
    after = document.read_text(encoding="utf-8")
    tables = {name: text for _, name, text, _ in MARKED.findall(after)}
    for name in ("stream", "single", "plain"):
        header, _, *rows = [line for line in tables[name].splitlines() if line.startswith("|")]
        assert "n = 8" in header
        assert any(row.startswith("| autograd") or row.startswith("| NumPy by hand") for row in rows)
        assert all(float(row.split("|")[2].split()[0]) > 0 for row in rows)
    assert "llvmlite, matplotlib, sympy are not imported" in tables["imports"]
    assert tables["model"] == ""  # not asked for
    assert MARKED.sub(r"\1\4", after) == before
    assert document.with_suffix(".png").read_bytes()[:4] == b"\x89PNG"


def test_every_table_has_a_place_and_every_place_a_table(document):
    places = {name for _, name, _, _ in MARKED.findall(document.read_text(encoding="utf-8"))}
    tables = re.search(r"of (.+)", run("--help").stdout.replace("\n", " "))
    for name in places - {"versions"}:
        assert name in tables[1]


def test_a_page_without_places_is_refused(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("nothing here\n", encoding="utf-8")
    done = run("--quick", "--only", "plain", "--output", page)
    assert done.returncode != 0
    assert "no place for 'plain'" in done.stderr
    assert page.read_text(encoding="utf-8") == "nothing here\n"


DIFFERENT = """
from benchmarks.rivals.by_hand import NUMPY
from benchmarks.rivals.measure import Found, difference
from benchmarks.rivals.problem import Problem

problem = Problem(8, 30)
ready = NUMPY.prepare(problem)
ready.run()
learned, references = {k: v.copy() for k, v in ready.learned().items()}, {}
difference(Found(), NUMPY, learned, references, problem)
difference(Found(), NUMPY, learned, references, problem)
try:
    start = problem.params()
    other = {k: v + 1e-4 * (v - start[k]) for k, v in learned.items()}
    difference(Found(), NUMPY, other, references, problem)
except AssertionError as error:
    print(error)
"""


def test_a_rival_that_learns_something_else_is_refused():
    done = subprocess.run([sys.executable, "-c", DIFFERENT], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "NumPy by hand: θ differs by 1.0e-04 after 30 steps, n = 8" in done.stdout
