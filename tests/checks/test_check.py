"""`check` passes what is right, on every kind of system, and names what is wrong."""

from __future__ import annotations

import contextlib
import inspect
import math
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
import oracles
import pytest

import fwdgrad as fg
from fwdgrad import systems
from fwdgrad.checks import CheckReport, check
from fwdgrad.checks.compare import Tally, sign_table
from fwdgrad.errors import DeclarationError
from fwdgrad.influence import Exact, RankOne
from fwdgrad.losses import SquaredError
from fwdgrad.program import operations, roots
from fwdgrad.program.operations.pointwise import PARTIALS


def verdicts(report: CheckReport) -> dict[str, str]:
    return {row.what: row.verdict for row in report.rows if not row.what.startswith("δt")}  # see test_discretisation.py


def failed(report: CheckReport) -> set[str]:
    return {what for what, verdict in verdicts(report).items() if verdict == "FAILED"}


FORWARD, BACKWARD, ADJOINT = "F: forward products", "F: backward products", "F: forward against backward"
TWICE, TRACED, LOSS = "F, Y, loss: called twice", "F, Y, loss: as traced", "loss: gradient in h' and θ"
INFLUENCE, GRADIENTS = "influence of θ after 3 steps", "RTRL: gradients of 3 steps"
UORO, NOBACKTRACK = "UORO: mean of a reduction", "NoBackTrack: mean of a reduction"


# ---------------------------------------------------------------- what is right


@pytest.mark.quick(
    "tanh-rnn-3",
    "symbol-rnn",
    "gru-reset-after",
    "linear",
    "lotka-volterra",
    "heat",
    "vehicle",
    "grid",
    "silent",
    "forgetful",
    "ring",
    "diagonal",
)
@pytest.mark.parametrize("case", oracles.every_case(), ids=repr)
def test_a_right_system_passes(case):
    """Every comparison, with errors far below what is allowed."""
    report = check(case.system)
    assert report.ok, str(report)
    assert set(verdicts(report).values()) == {"ok"}, str(report)
    assert report.engine != "eager"
    assert report.reason == ""
    assert max(row.error for row in report.rows if not row.what.startswith("δt")) < 1e-7
    assert max(row.error for row in report.rows if "mean" in row.what or "against" in row.what) < 1e-14
    report.raise_if_failed()


@pytest.mark.quick("tanh-rnn", "gru", "diagonal", "influence-balancing", "lotka-volterra", "sir", "lorenz", "heat-rod")
@pytest.mark.parametrize("name", list(systems.CATALOGUE))
def test_the_catalogue_passes(name):
    small = {"units": 4} if "symbols" in inspect.signature(systems.CATALOGUE[name]).parameters else {}
    report = check(systems.build(name, **small))
    assert report.ok, str(report)
    assert set(verdicts(report).values()) <= {"ok", "skipped"}, str(report)


@pytest.mark.parametrize("seed", range(5))
def test_kinks_raise_no_alarm(seed):
    """Maxima, absolute values, branches and clipping, near whose kinks differences are wrong."""
    W = np.random.default_rng(seed).normal(size=(5, 5))

    def F(h: Any, x: Any, p: Any) -> Any:
        bent = np.abs(p["W"] @ h + p["b"]) + np.where(h > 0, h, 0.2 * h)
        return 0.3 * bent + np.maximum(p["b"] + x, 0.0) + np.clip(h, -0.1, 0.1)

    system = fg.System(
        F, lambda h, x, p: np.stack([np.max(h), np.min(h)]), np.zeros(5), {"W": W, "b": np.zeros(5)}, np.zeros(5)
    )
    report = check(system, seed=seed)
    assert report.ok, str(report)


def test_unlike_units_raise_no_alarm():
    """State variables of sizes 1e-9 and 1e5, parameters of sizes 1e-9 and 1."""

    def F(h: Any, x: Any, p: Any) -> Any:
        return np.array([-p["a"] * h[0] * 1e9 + h[1] * 1e-6, h[0] * 1e14 * p["b"] - h[1]])

    report = check(fg.System(F, None, np.array([1e-9, 1e5]), {"a": 1e-9, "b": 1.0}, dt=1e-3))
    assert set(verdicts(report).values()) == {"ok"}, str(report)


def test_an_error_in_the_small_variable_is_seen(monkeypatch):
    """Negative control of the same: differences are relative, number by number."""
    monkeypatch.setitem(PARTIALS, "sqrt", lambda g, out, k, x: g * (0.5 / out) * (1 + 1e-4))

    def F(h: Any, x: Any, p: Any) -> Any:
        return np.array([1e-9 * np.sqrt(h[0] * 1e9), h[1] * p["b"]])

    assert FORWARD in failed(check(fg.System(F, None, np.array([1e-9, 1e5]), {"b": 1.0})))


def test_a_state_at_the_edge_of_its_domain():
    """√h at h = 0 and log x: points are drawn where the functions are finite."""

    def F(h: Any, x: Any, p: Any) -> Any:
        return -p["drain"] * np.sqrt(h) + np.log(x) + p["inflow"]

    report = check(fg.System(F, None, np.array([1.0, 0.0]), {"drain": 0.1, "inflow": 3.0}, np.ones(2), dt=1e-3))
    assert set(verdicts(report).values()) == {"ok"}, str(report)


@pytest.mark.quick("tanh-rnn-3", "heat")
@pytest.mark.parametrize("case", [oracles.tanh_rnn(), oracles.gru(True), oracles.heat()], ids=repr)
def test_single_precision_passes(case):
    """Derivatives in float32 against differences in float64."""
    system = case.system
    params = {k: v.astype(np.float32) for k, v in system.params.items()}
    single = fg.System(system.F, system.Y, system.state.astype(np.float32), params, system.x, dt=system.dt)
    report = check(single)
    assert set(verdicts(report).values()) == {"ok"}, str(report)
    assert max(row.error for row in report.rows if not row.what.startswith("δt")) < 1e-4


def branching(h: Any, x: Any, p: Any) -> Any:
    if h[0] > 0:
        return p["a"] * h + x
    return np.tanh(p["a"] * h) + p["b"] * x


def test_what_cannot_be_traced_is_checked_eagerly():
    report = check(fg.System(branching, None, np.ones(2), {"a": 0.5, "b": 0.2}, np.zeros(2)))
    assert report.engine == "eager"
    assert "branch" in report.reason
    assert "branching" in report.reason
    assert set(verdicts(report).values()) == {"ok"}, str(report)
    assert TRACED not in verdicts(report)
    assert "Not traceable" in str(report)


def test_readout_parameters_have_no_influence_to_check():
    system = fg.System(
        lambda h, x, p: 0.5 * h + x, lambda h, x, p: p["V"] @ h, np.ones(2), {"V": np.ones((1, 2))}, np.zeros(2)
    )
    found = verdicts(check(system))
    assert {w for w, v in found.items() if v == "skipped"} == {INFLUENCE, UORO, NOBACKTRACK}
    assert found[GRADIENTS] == "ok"


def test_many_state_variables():
    """Beyond n = 8 a table of signs takes the place of all patterns, and still finds a wrong reduction."""

    def F(h: Any, x: Any, p: Any) -> Any:
        return np.tanh(p["d"] * h + 0.1 * np.roll(h, 1) + p["s"] * x)

    system = fg.System(F, None, np.zeros(37), {"d": np.full(37, 0.5), "s": 0.3}, np.zeros(37))
    assert set(verdicts(check(system)).values()) == {"ok"}


def test_longer_trajectories():
    report = check(oracles.lotka_volterra().system, steps=40)
    assert verdicts(report)["influence of θ after 40 steps"] == "ok"
    assert report.ok, str(report)


def stiff() -> fg.System:
    """Three reactions in a row, by the implicit method: F solves equations."""
    return fg.from_text(
        """
        d s1/dt = - fast*s1/(1 + s1)
        d s2/dt = fast*s1/(1 + s1) - middle*s2**2
        d s3/dt = middle*s2**2 - slow*s3
        s1(0) = 1.0
        s2(0) = 0.1
        s3(0) = 0.1
        param fast = 1000.0 in (0, inf)
        param middle = 1.0 in (0, inf)
        param slow = 0.01 in (0, inf)
        """,
        dt=0.1,
        method="sdirk2",
        substeps=2,
    )


@pytest.mark.slow
def test_differences_of_a_step_that_solves_equations_are_taken_at_all_points_at_once(monkeypatch):
    """One evaluation, whatever number of parameters, or as many as the memory asks for: the same report."""
    run, calls = sys.modules["fwdgrad.checks.run"], []
    right = run.at_points
    monkeypatch.setattr(run, "at_points", lambda *given: calls.append(given[2]) or right(*given))
    report = check(stiff())
    assert set(verdicts(report).values()) == {"ok"}, str(report)
    ladder, states, params = 17, 3, 3
    once = [1, ladder * (states + params)] * run.POINTS + [ladder * params] * 6
    assert calls == once
    monkeypatch.setattr(run, "NUMBERS", 20 * (states**2 + params))
    calls.clear()
    again = check(stiff())
    assert max(calls) == 20
    assert sum(calls) == sum(once)
    assert verdicts(again) == verdicts(report)
    np.testing.assert_allclose([r.error for r in again.rows], [r.error for r in report.rows], rtol=0.1, atol=1e-12)


# ---------------------------------------------------------------- what is wrong


def test_a_wrong_derivative_of_a_solution_is_found(monkeypatch):
    """The inverse is that of another matrix by 1e-4: forward and backward agree, differences do not."""
    right = roots.ops.inv
    monkeypatch.setattr(roots.ops, "inv", lambda a: right(a) * (1 + 1e-4))
    assert failed(check(stiff())) == {FORWARD, BACKWARD, INFLUENCE, GRADIENTS}


@pytest.mark.parametrize("size", [1e-1, 1e-5])
def test_a_wrong_rule_is_found(monkeypatch, size):
    """The same mistake forward and backward: they agree with one another, not with the function."""
    monkeypatch.setitem(PARTIALS, "tanh", lambda g, out, k, x: g * (1.0 - out * out) * (1 + size))
    report = check(oracles.tanh_rnn().system)
    assert failed(report) == {FORWARD, BACKWARD, INFLUENCE, GRADIENTS}
    assert not report.ok
    with pytest.raises(DeclarationError, match="F: forward products"):
        report.raise_if_failed()


def test_a_wrong_backward_rule_is_found(monkeypatch):
    """A transpose forgotten: forward and backward products part."""
    matmul = type(operations.matmul)
    right = matmul.backward

    def wrong(self: Any, values: Any, out: Any, g: Any, number: int, params: Any) -> Any:
        return right(self, [values[0].T, values[1]] if number else values, out, g, number, params)

    monkeypatch.setattr(matmul, "backward", wrong)
    W = np.random.default_rng(0).normal(size=(3, 3))
    found = failed(check(fg.System(lambda h, x, p: np.tanh(p["W"] @ h), None, np.ones(3), {"W": W})))
    assert {BACKWARD, ADJOINT} <= found
    assert FORWARD not in found


def test_a_wrong_loss_is_found():
    @dataclass(frozen=True)
    class Doubled(SquaredError):
        def gradient(self, prediction: Any, y: Any) -> Any:
            return 2.0 * super().gradient(prediction, y)

    system = oracles.linear().system
    report = check(fg.System(system.F, system.Y, system.state, system.params, system.x, Doubled()))
    assert failed(report) == {LOSS, GRADIENTS}


def test_a_wrong_influence_is_found(monkeypatch):
    """RTRL with a dropped term fails there and nowhere else."""
    right = Exact.advance

    def wrong(self: Any, state: Any, lin: Any, noise: Any) -> Any:
        return state._replace(G={k: 0.999 * g for k, g in right(self, state, lin, noise).G.items()})

    monkeypatch.setattr(Exact, "advance", wrong)
    assert failed(check(oracles.tanh_rnn().system)) == {GRADIENTS}


@pytest.mark.parametrize("units", [3, 11])
def test_a_biased_reduction_is_found(monkeypatch, units):
    right = RankOne.advance

    def wrong(self: Any, state: Any, lin: Any, noise: Any) -> Any:
        (signs,) = noise
        made = right(self, state, lin, noise)
        return made._replace(v=made.v * (1.0 + 1e-3 * signs))  # a scale that looks at the signs

    monkeypatch.setattr(RankOne, "advance", wrong)
    assert failed(check(oracles.tanh_rnn(units).system)) == {UORO, NOBACKTRACK}


def system_of(F: Any) -> fg.System:
    return fg.System(F, None, np.ones(2), {"a": 0.5})


def test_random_numbers_are_found():
    report = check(system_of(lambda h, x, p: p["a"] * h + 0.01 * np.random.normal(size=2)))
    assert failed(report) == {TWICE}
    assert "np.random" in report.rows[0].note


def test_hidden_state_is_found():
    seen: list[int] = []

    def F(h: Any, x: Any, p: Any) -> Any:
        seen.append(1)
        return p["a"] * h + 1e-6 * len(seen)

    assert TWICE in failed(check(system_of(F)))


def test_hidden_state_is_found_where_nothing_is_traced():
    seen: list[int] = []

    def F(h: Any, x: Any, p: Any) -> Any:
        seen.append(1)
        return p["a"] * h + 1e-6 * len(seen) if h[0] > 0 else p["a"] * h

    report = check(system_of(F))
    assert report.engine == "eager"
    assert TWICE in failed(report)
    assert TRACED not in verdicts(report)


def test_a_function_that_sees_the_tracer_is_found():
    """It repeats itself, and is another function when it is traced."""
    report = check(system_of(lambda h, x, p: p["a"] * h if isinstance(h, np.ndarray) else 2 * p["a"] * h))
    assert TRACED in failed(report)
    assert TWICE not in failed(report)


def test_what_autograd_cannot_do_is_said():
    """Neither traceable nor differentiable: the rows that need derivatives fail and say why."""

    def F(h: Any, x: Any, p: Any) -> Any:
        return p["a"] * h * math.cos(float(h[0]))

    report = check(system_of(F))
    assert not report.ok
    row = next(row for row in report.rows if row.what.startswith("F: "))
    assert row.verdict == "FAILED"
    assert "autograd" in row.note


# ---------------------------------------------------------------- the report


def test_the_table_fits_a_terminal():
    for report in (
        check(oracles.lstm().system),
        check(system_of(branching_without_input)),
        check(system_of(lambda h, x, p: p["a"] * h + np.random.normal())),
    ):
        lines = str(report).split("\n")
        assert max(len(line) for line in lines) <= 79
        assert lines[-1] == ("Nothing failed." if report.ok else "Something is wrong.")
        assert sum(row.what in str(report) for row in report.rows) == len(report.rows)


def branching_without_input(h: Any, x: Any, p: Any) -> Any:
    return p["a"] * h if h[0] > 0 else h


def test_one_seed_is_one_report():
    case = oracles.lotka_volterra()
    assert check(case.system, seed=3).rows == check(case.system, seed=3).rows
    assert check(case.system, seed=3).rows != check(case.system, seed=4).rows


def test_progress_is_told():
    """One for the tracing, one for each comparison: also where one of them fails."""
    seen: list[tuple[int, int]] = []
    check(oracles.linear().system, progress=lambda *done: seen.append(done))
    assert seen == [(k, 11) for k in range(1, 12)]
    again: list[tuple[int, int]] = []
    check(system_of(lambda h, x, p: p["a"] * h * math.cos(float(h[0]))), progress=lambda *done: again.append(done))
    assert again == seen


def test_the_bar_says_what_is_going_on(capsys, monkeypatch):
    """It stands before anything is called."""
    system, before = oracles.linear().system, []
    confirm = fg.System.confirm
    monkeypatch.setattr(fg.System, "confirm", lambda self: before.append(capsys.readouterr().err) or confirm(self))
    check(system, progress=True)
    assert "0/11" in before[0]
    shown = "".join(before) + capsys.readouterr().err
    assert "11/11" in shown
    assert "NoBackTrack" in shown


def test_without_a_bar_there_are_lines_for_what_takes_long(monkeypatch):
    said: list[str] = []
    monkeypatch.setattr("fwdgrad.support.notice.slow", lambda what: said.append(what) or contextlib.nullcontext())
    check(oracles.linear().system)
    assert said[0] == "checking that it can be traced"
    assert f"checking {TRACED}" in said
    assert len(said) == 11
    check(oracles.linear().system, progress=True)
    assert len(said) == 11


def test_nothing_is_changed():
    system = oracles.vehicle().system
    before = {k: v.copy() for k, v in system.params.items()}
    check(system)
    assert all(np.array_equal(before[k], v) for k, v in system.params.items())


def test_what_is_too_large_is_skipped(monkeypatch):
    monkeypatch.setattr(sys.modules["fwdgrad.checks.trajectories"], "LARGEST", 10)
    found = verdicts(check(oracles.tanh_rnn().system))
    assert {w for w, v in found.items() if v == "skipped"} == {GRADIENTS, UORO, NOBACKTRACK}
    assert found[INFLUENCE] == "ok"


def test_a_tolerance_of_ones_own():
    report = check(oracles.tanh_rnn().system, rtol=1e-15)
    assert not failed(report) - {FORWARD, BACKWARD, LOSS, INFLUENCE, GRADIENTS, "Y: forward products"}
    assert {row.tolerance for row in report.rows if row.what == FORWARD} == {1e-15}


@pytest.mark.parametrize("options", [{"steps": 0}, {"steps": 2.5}, {"rtol": 0.0}, {"rtol": -1}, {"progress": 3}])
def test_bad_arguments_are_refused(options):
    with pytest.raises(DeclarationError, match=next(iter(options))):
        check(oracles.linear().system, **options)
    with pytest.raises(DeclarationError, match=r"fg\.System"):
        check(oracles.linear())


def test_a_system_that_is_not_finite_is_refused():
    with pytest.raises(DeclarationError, match="not finite"):
        check(fg.System(lambda h, x, p: np.log(p["a"] - h - 10.0), None, np.ones(2), {"a": 0.5}))


@pytest.mark.parametrize("n", [1, 2, 3, 8, 9, 16, 17, 40])
def test_the_table_of_signs_has_the_moments_of_independent_ones(n):
    table = sign_table(n)
    assert set(np.unique(table)) == {-1.0, 1.0}
    assert np.array_equal(np.mean(table, axis=0), np.zeros(n))
    assert np.array_equal(table.T @ table / len(table), np.eye(n))
    assert len(table) == (2**n if n <= 8 else 2 * 2 ** math.ceil(math.log2(n)))


def test_what_differences_cannot_tell_is_unclear():
    """Within a large uncertainty nothing is alleged, and nothing is vouched for."""
    tally = Tally("something", 1e-6)
    tally.compare([1.0, 2.0], [1.3, 2.0], "here", slack=0.5)
    assert tally.row().verdict == "unclear"
    tally.compare([1.0], [1.6], "there", slack=0.5)
    assert tally.row().verdict == "FAILED"
    assert tally.row().note == "Largest there."


def test_a_derivative_that_is_zero_but_for_rounding_is_zero_both_ways():
    """That of a/‖a‖, of one number."""
    report = check(
        fg.System(lambda h, x, p: p["a"] / np.linalg.norm(p["a"]) * h, None, np.ones(1), {"a": np.array([0.5])})
    )
    assert report.ok, str(report)
