"""What results show of themselves: a short `repr`, and HTML for notebooks. New results are found by themselves."""

import importlib
import inspect
import pkgutil
import re
import sys
from functools import cache
from html.parser import HTMLParser

import numpy as np
import pytest

import fwdgrad as fg
from fwdgrad import limits
from fwdgrad.beyond.hidden_markov import Parameters, Statistics
from fwdgrad.checks.report import CheckReport, CheckRow
from fwdgrad.comparison.choosing import Choice
from fwdgrad.comparison.cost import Cost
from fwdgrad.declare.symbolic import Sparsity
from fwdgrad.learning.bias import GradientBias
from fwdgrad.learning.confidence import Confidence, Verdict
from fwdgrad.learning.identifiability import Group
from fwdgrad.learning.report import Report
from fwdgrad.limits.brownian import BrownianPath
from fwdgrad.limits.diffusion import Limit
from fwdgrad.limits.learning import Law
from fwdgrad.limits.multilevel import Multilevel
from fwdgrad.limits.report import Refined, Refinement
from fwdgrad.support import display
from fwdgrad.support.frames import Calendar
from fwdgrad.sweeps.records import Record
from fwdgrad.sweeps.summaries import Summary

NO_RESULTS = (
    "engines", "errors", "estimators", "filtering.noise", "influence", "integrate", "linear", "losses", "optimizers",
    "program", "structure", "system.parameters",
)  # fmt: skip
"""Rooms whose classes a user writes down, or which are inside of what is shown."""
INSIDE = ("fwdgrad.cli", "fwdgrad.__main__", "fwdgrad.testing", "fwdgrad.adapters")
"""Modules that are not looked through."""
DECLARED = {fg.Budget, *(getattr(sys.modules["fwdgrad.estimators"], n) for n in ("Candidate", "Costs"))}
HARMLESS = {"div", "strong", "table", "tr", "th", "td", "ul", "li", "svg", "polyline", "polygon", "circle"}
LONGEST = 300
"""Characters of a `repr`, at most."""


@cache
def results() -> frozenset[type]:
    """Every class of the package that a public function, method or property returns, and the public ones."""
    for found in pkgutil.walk_packages(fg.__path__, "fwdgrad."):
        if not found.name.startswith(INSIDE):
            try:
                importlib.import_module(found.name)
            except ModuleNotFoundError as error:  # of a package that need not be there
                if str(error.name).startswith("fwdgrad"):
                    raise
    modules = [module for name, module in sys.modules.items() if name.startswith("fwdgrad.")]
    classes: dict[str, list[type]] = {}
    for module in modules:
        for name, found in vars(module).items():
            if inspect.isclass(found) and found.__module__ == module.__name__:
                classes.setdefault(name, []).append(found)
    made: set[type] = set()
    todo = [getattr(fg, name) for name in fg.__all__] + [getattr(limits, name) for name in limits.__all__]
    while todo:
        one = todo.pop()
        if not inspect.isclass(one):
            todo += named(one, classes) if callable(one) else []
        elif not any(one.__module__.startswith(f"fwdgrad.{room}") for room in NO_RESULTS) and one not in made:
            made.add(one)
            for key, value in vars(one).items():
                if not key.startswith("_") or key == "__getitem__":
                    inner = value.fget if isinstance(value, property) else getattr(value, "func", value)
                    todo += named(inner, classes)
            fields = {k: v for k, v in inspect.get_annotations(one).items() if not k.startswith("_")}
            todo += meant(fields.values(), one.__module__, classes)
    return frozenset(made - DECLARED)


def named(function, classes):
    told = getattr(function, "__annotations__", {}).get("return", "") if callable(function) else ""
    return meant([told], getattr(function, "__module__", ""), classes)


def meant(annotations, module, classes):
    """The classes of the package in annotations: those that the module knows by that name, or else the only one."""
    there = vars(sys.modules.get(module, sys))
    made = []
    for word in {word for annotation in annotations for word in re.findall(r"\w+", str(annotation))}:
        known = [there[word]] if inspect.isclass(there.get(word)) else classes.get(word, [])
        made += known if len(known) == 1 and known[0].__module__.startswith("fwdgrad.") else []
    return made


TEXT = "d x/dt = -k*x + u\nx(0) = 1\nparam k = 0.5 in (0, inf)\ninput u = 0\noutput level = x\ndt = 0.1\nmethod = rk4"
XS = {"u": np.sin(np.arange(60) / 5)}


@cache
def examples() -> dict[type, object]:
    """One of each."""
    model = fg.from_text(TEXT)
    simulation = model.simulate(XS, params={"k": 0.8})
    ys = simulation.outputs + 0.01 * np.random.default_rng(0).normal(size=simulation.outputs.shape)
    learner = fg.Learner(model, engine="numpy")
    history = learner.run(XS, ys, keep_predictions=True)
    fit = fg.fit(model, XS, ys, engine="numpy")
    plain = fg.System(lambda h, x, p: p["a"] * h + x, None, np.zeros(1), {"a": 0.5}, np.zeros(1))
    rate = fg.System(lambda h, x, p: -p["k"] * h, None, np.ones(1), {"k": 0.5}, dt=0.1)
    comparison = fg.compare(plain, np.ones((8, 1)), np.ones((8, 1)), ["uoro", "rtrl"], replicas=2, engine="numpy")
    refinement = limits.refine(rate, None, 0.4, [0.2, 0.1], ["uoro"], replicas=4, engine="numpy", n_jobs=1)
    zero = lambda t: np.zeros(1)  # noqa: E731
    timed = {"engine": "numpy", "n_jobs": 1}
    law = limits.learning(rate, None, zero, 0.4, [0.2, 0.1], replicas=2, **timed)
    levels = limits.multilevel(rate, None, zero, 0.4, [0.2, 0.1], lambda p: p["k"], 1.0, pilot=4, **timed)
    em = fg.OnlineEM(np.eye(2), np.full((2, 3), 1 / 3))
    check = (
        fg.check(plain, engines=["numpy"]) if "engines" in inspect.signature(fg.check).parameters else fg.check(plain)
    )
    confidence = learner.confidence()
    exported = fg.Export("m", ("m.c", "m.h"), 100, 200, {"learn": 10}, {"learn": 1}, ("a note",))
    sweep = fg.sweep(lambda rate: rate, {"rate": [0.1, 0.2]}, n_jobs=1)
    return {
        fg.Comparison: comparison, fg.Estimate: comparison["UORO"], Cost: comparison["UORO"].cost,
        fg.Ensemble: fg.Ensemble(plain, seeds=2), fg.EquationSystem: model,
        fg.FilteredSystem: fg.filtered(plain, 0.1, 0.1),
        fg.Fit: fit, fg.Forecast: fit.forecast(xs={"u": np.zeros(20)}), fg.History: history, fg.Learner: learner,
        fg.OnlineEM: em, Statistics: em.statistics, Parameters: em.averaged, fg.OnlineHessian: fg.OnlineHessian(plain),
        fg.Simulation: simulation, fg.Structure: fg.analyze(plain), fg.System: plain,
        fg.Trajectory: fg.Trajectory(XS, ys),
        CheckReport: check, CheckRow: check.rows[0], Confidence: confidence, Verdict: confidence.verdict,
        Group: Group(("a", "b"), 1, "their product", True), Law: law, Multilevel: levels, Refinement: refinement,
        Refined: refinement["UORO"], Report: learner.report(), fg.Sweep: sweep,
        Choice: Choice("UORO", 100, {"UORO": 0.1, "RTRL": 0.0}, {"BPTT": "too dear"}, comparison),
        GradientBias: GradientBias("SnAp-1", 9, 0.1, np.array([0.0, 0.2]), {"a": np.ones(1)}, {"a": np.ones(1)}),
        fg.Export: exported, Calendar: Calendar(0, 1, np.arange(3)), Record: sweep.records[0],
        Summary: sweep.summary()[0],
        Limit: Limit(np.ones((4, 2)), np.ones((4, 3))),
        BrownianPath: BrownianPath(0.1, np.ones((4, 2))), Sparsity: model.sparsity(),
    }  # fmt: skip


def test_every_result_shows_itself():
    """New results are found here; one in `examples` is looked at, too."""
    assert not [c.__name__ for c in results() if not hasattr(c, "_repr_html_")]
    assert {c.__name__ for c in examples()} <= {c.__name__ for c in results()}
    assert len(examples()) > 0.9 * len(results())


class Strict(HTMLParser):
    """Tags have to be closed in order, and to be of the harmless ones."""

    def __init__(self):
        super().__init__()
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag, attributes):
        assert tag in {
            "div",
            "strong",
            "table",
            "tr",
            "th",
            "td",
            "ul",
            "li",
            "svg",
            "polyline",
            "polygon",
            "circle",
        }, tag
        assert not any(key.startswith("on") or key in ("href", "src") for key, _ in attributes)
        for key, value in attributes:
            if key in ("style", "fill", "stroke"):
                assert not re.search(r"#[0-9a-f]{3}|black|white(?!-space)", value), "a colour that is not the page's"
        self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def looked_at(html: str) -> Strict:
    seen = Strict()
    seen.feed(html)
    seen.close()
    assert not seen.open
    assert "nan" not in html.split("<svg")[-1]
    return seen


@pytest.mark.parametrize("kind", sorted(results(), key=lambda c: c.__name__), ids=lambda c: c.__name__)
def test_results_show_themselves(kind):
    if kind not in examples():
        return  # test_every_result_shows_itself
    made = examples()[kind]
    assert len(repr(made)) <= LONGEST
    assert "array(" not in repr(made)
    assert looked_at(made._repr_html_()).text.strip()


def test_a_wrong_page_is_found():
    for wrong in ("<div>", "<script></script>", '<div style="color:#000000"></div>', '<div onclick="f()"></div>'):
        with pytest.raises(AssertionError):
            looked_at(wrong)


def test_tables_are_the_ones_of_the_text():
    fit = examples()[fg.Fit]
    shown = looked_at(fit._repr_html_()).text
    for line in str(fit).splitlines()[1:]:
        assert all(word in shown for word in line.removeprefix("! ").split()), line
    assert "level" in shown
    assert fit._repr_html_().count("<svg") == 1


def test_names_are_not_markup():
    assert "&lt;b&gt;" in display.page("<b>", display.table([("<b>",)], head=False))


def test_curves():
    gap = np.array([0.0, 1.0, np.nan, 2.0, 3.0])
    assert display.curve(gap).count("<polyline") == 2  # the gap stays one
    assert display.curve(np.full(3, np.nan)) == ""
    assert display.curve(np.zeros(3)).count("<polyline") == 1
    assert display.curve([1.0]).count("<polyline") == 1
    banded = display.curve(np.arange(5.0), std=np.ones(5), data=gap)
    assert (banded.count("<polygon"), banded.count("<circle")) == (1, 4)
    assert len(display.curve(np.random.default_rng(0).normal(size=100_000))) < 10_000


def test_long_tables_are_cut():
    html = display.table([("k",), *((str(k),) for k in range(1000))])
    assert html.count("<tr") == display.LONG + 2
    assert "…" in html
