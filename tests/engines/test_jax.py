"""The JAX engine against the NumPy engine: operations, loops, refusals, learners, streams, several devices."""

import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from engine_checks import TOLERANCE, differences
from program_checks import program_of
from program_table_axes import TABLE as AXES
from program_table_moves import TABLE as MOVES
from program_table_pointwise import TABLE as POINTWISE
from test_agreement import ESTIMATORS, disagreements

import fwdgrad as fg
from fwdgrad import systems
from fwdgrad.cli import main
from fwdgrad.engines.numpy_engine import compile_program as reference
from fwdgrad.errors import IndexRangeError, NonFiniteError, SingularMatrixError, StepError
from fwdgrad.program import Abstract, root, scan, trace, until

pytest.importorskip("jax", reason="JAX is not installed: pip install fwdgrad[jax]")

from fwdgrad.engines.jax_engine import writing
from fwdgrad.engines.jax_engine.operations import UNSUPPORTED
from fwdgrad.engines.jax_engine.stream import compile_program

SCENARIOS = [*POINTWISE.scenarios, *AXES.scenarios, *MOVES.scenarios]
TOGETHER = 48
RNG = np.random.default_rng(0)


def runs(scenario):
    """Whether it has no operation that JAX has not."""
    return not any(ins.operation.name in UNSUPPORTED for ins in program_of(scenario, np.float64))


def compare(scenarios, dtype):
    """The scenarios that give something else than on NumPy, several in one program."""
    scenarios, found = [s for s in scenarios if runs(s)], []
    for part in (scenarios[k : k + TOGETHER] for k in range(0, len(scenarios), TOGETHER)):
        programs, given = [program_of(s, dtype) for s in part], [s.cast(dtype) for s in part]
        found += differences([s.name for s in part], programs, given, TOLERANCE[dtype], compile_program)
    return found


def some():
    """As many scenarios as it takes to have every core operation."""
    seen, kept = set(), []
    for scenario in SCENARIOS:
        found = {ins.operation.name for ins in program_of(scenario, np.float64)}
        if not found <= seen:
            seen |= found
            kept.append(scenario)
    return kept


def differs(function, *arrays, tolerance=1e-12):
    program = trace(function, [Abstract.of(a) for a in arrays])
    return differences([function.__name__], [program], [arrays], tolerance, compile_program)


# ---------------------------------------------------------------- programs


def test_every_operation():
    assert compare(some(), np.float64) == []


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("part", range(8))
def test_all_forms_of_operations(part, dtype):
    assert compare(SCENARIOS[part::8], dtype) == []


def test_an_operation_written_wrongly_is_found(monkeypatch):
    monkeypatch.setitem(writing.call.__globals__["RENAMED"], "tanh", "sinh")
    assert compare([s for s in SCENARIOS if s.operation == "np.tanh"][:2], np.float64)


def test_loops_that_wait_for_each_other_and_loops_that_do_not():
    rows, start = RNG.normal(size=(5, 3)), RNG.normal(size=3)

    def function(rows, start):
        (total,), squares = scan(
            lambda c, r: ((c[0] + np.outer(r[0], start),), (r[0] ** 2,)), [np.zeros((3, 3))], [rows]
        )
        (state,), states = scan(lambda c, r: ((np.tanh(c[0] + r[0]),), (c[0],)), [start], [rows], reverse=True)
        _, each = scan(lambda _, r: ((), (np.sin(r[0]), r[0][::-1])), (), [rows])
        return total, *squares, state, *states, *each

    assert differs(function, rows, start) == []
    text = writing.write(trace(function, [Abstract.of(rows), Abstract.of(start)]), None).text
    assert (text.count("runtime.spread("), text.count("runtime.scan(")) == (2, 1)


def test_turns_at_once_would_be_wrong_where_they_wait_for_each_other(monkeypatch):
    """Negative control."""
    monkeypatch.setattr(writing, "only_adds", lambda ins: True)

    def function(rows):
        return scan(lambda c, r: ((np.tanh(c[0] + r[0]),), ()), [np.zeros(3)], [rows])[0]

    assert differs(function, RNG.normal(size=(5, 3)))


def test_loops_that_end_by_themselves():
    def function(a):
        z = root(lambda z: z * z - a, np.ones(2))
        nothing = root(lambda z: z * z + a, np.ones(2))
        half = until(lambda z, c: (z / 2, np.stack([1.0 - z[0] / 2, 1.0])), a, -np.ones(2), 99)
        cut = until(lambda z, c: (z / 2, np.stack([-1.0, 1.0])), a, -np.ones(2), 3)
        return z, nothing, half, cut

    assert differs(function, np.array([12.0, 5.0])) == []


def refusal(run, arrays):
    with np.errstate(all="ignore"):
        try:
            run(*arrays)
        except StepError as error:
            return type(error)
    return None


def test_what_numpy_refuses_is_refused():
    table, index, matrix = np.arange(12.0).reshape(4, 3), np.array([0, 3, -4, 2]), np.array([[2.0, 1.0], [4.0, 3.0]])

    def function(table, index, by, matrix, power):
        _, looked_up = scan(lambda _, r: ((), (table[r[0] + by, 0],)), (), [index])
        unused = 0.0 * np.sum(table[index + by])
        solved = np.linalg.solve(matrix, np.ones(2)), np.linalg.inv(np.stack([np.eye(2), matrix]))
        return *looked_up, unused, *solved, index**power

    good = table, index, np.asarray(0), matrix, np.asarray(2)
    program = trace(function, [Abstract.of(a) for a in good])
    compiled = compile_program(program)
    cases = [
        (good, None),
        ((*good[:2], np.asarray(1), *good[3:]), IndexRangeError),
        ((*good[:2], np.asarray(-1), *good[3:]), IndexRangeError),
        ((*good[:3], np.ones((2, 2)), good[4]), SingularMatrixError),
        ((*good[:4], np.asarray(-1)), NonFiniteError),
    ]
    for arrays, expected in cases:
        assert [refusal(run, arrays) for run in (reference(program), compiled)] == [expected] * 2


# ---------------------------------------------------------------- learners


def learners(system, estimator=None, optimizer=None, engines=("numpy", "jax"), **options):
    given = estimator or fg.UORO(), optimizer or fg.Adam(1e-3)
    return [fg.Learner(system, *given, seed=3, engine=engine, **options) for engine in engines]


def same(one, other, tolerance=1e-9):
    assert one.steps == other.steps
    for k, v in one.params.items():
        np.testing.assert_allclose(other.params[k], v, rtol=tolerance, atol=tolerance * np.abs(v).max())


def test_runs_of_any_length_are_compiled_once():
    system = systems.tanh_rnn(units=4, inputs=2, outputs=1)
    xs, ys = RNG.normal(size=(700, 2)), RNG.normal(size=(700, 1))
    one, other = learners(system)
    at = 0
    for count in (5, 77, 1, 300, 4, 290):
        for learner in (one, other):
            learner.run(xs[at : at + count], ys[at : at + count])
        at += count
    same(one, other)
    (steps, _), *more = other._execution.stream("learn")._made.values()
    assert not more
    assert steps._cache_size() == 1


@pytest.mark.parametrize("bad", [0, 100, 300])
def test_a_step_that_is_not_finite_stops_the_run_at_its_sample(bad):
    system = fg.System(lambda h, x, p: np.sqrt(1.5 + x) * p["a"] * h + x, None, np.ones(1), {"a": 0.3}, np.zeros(1))
    xs, ys = np.sin(np.arange(400.0))[:, None], np.ones((400, 1))
    xs[bad] = -2.0
    ys[::7] = np.nan
    one, other = learners(system, fg.RTRL(), fg.SGD(1e-3))
    for learner in (one, other):
        with pytest.raises(NonFiniteError) as error:
            learner.run(xs, ys)
        assert error.value.step == bad == learner.steps
        learner.run(xs[bad + 1 :], ys[bad + 1 :])
    same(one, other)


def test_steps_are_the_same_bits_however_many_come_at_a_time():
    """A step that is refused is taken back by making those before it again, in one call."""
    system = systems.tanh_rnn(units=4, inputs=2, outputs=1)
    xs, ys = RNG.normal(size=(90, 2)), RNG.normal(size=(90, 1))
    one, other = learners(system, engines=("jax", "jax"))
    one.run(xs, ys)
    for k, part in enumerate((slice(0, 3), slice(3, 80), slice(80, 90))):
        if k == 1:
            other.run(xs[part], ys[part])
        else:
            for x, y in zip(xs[part], ys[part], strict=True):
                other.step(x, y)
    for k, v in one.params.items():
        np.testing.assert_array_equal(other.params[k], v)


def test_a_checkpoint_moves_between_engines(tmp_path):
    system = systems.tanh_rnn(units=3, symbols=2)
    text = RNG.integers(0, 2, 120)
    whole, other = learners(system)
    whole.run(text[:-1], text[1:])
    for k, engine in enumerate(("jax", "numpy", "jax")):
        part = slice(40 * k, 40 * k + 40)
        other.run(text[:-1][part], text[1:][part])
        other.save(tmp_path / "half.npz")
        other = fg.Learner.load(tmp_path / "half.npz", system, engine=engine)
    same(whole, other)


def test_what_jax_has_not_runs_on_numpy_and_is_named():
    from scipy import special

    system = fg.System(lambda h, x, p: special.j0(p["a"] * h) + x, None, np.ones(1), {"a": 0.3}, np.zeros(1))
    with pytest.warns(UserWarning, match=r"engine='jax' cannot run this step: j0: JAX has no such Bessel function"):
        learner = fg.Learner(system, fg.RTRL(), fg.SGD(1e-3), engine="jax")
    assert learner.engine == "numpy"


def test_windows():
    system = fg.System(lambda h, x, p: p["a"] * h + x, None, np.zeros(1), {"a": 0.3}, np.zeros(1))
    xs, ys = RNG.normal(size=(50, 1)), RNG.normal(size=(50, 1))
    one, other = learners(system, fg.TBPTT(4), fg.SGD(1e-2))
    for learner in (one, other):
        learner.run(xs, ys)
        learner.step(xs[0], ys[0])
        learner.finish()
    same(one, other)


def test_the_source_is_shown(capsys):
    main(["explain", "tanh-rnn", "--units", "3", "--symbols", "2", "--source", "--engine", "jax"])
    text = capsys.readouterr().out
    compile(text, "source", "exec")
    assert "jnp.tanh(" in text
    assert "lax.while_loop(" in text


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::fwdgrad.errors.BoundWarning")
@pytest.mark.filterwarnings("ignore:.*integration steps are too long:fwdgrad.errors.CalibrationWarning")
@pytest.mark.parametrize("name", systems.CATALOGUE)
def test_every_estimator_on_the_catalogue(name):
    assert not disagreements(name, ["jax"], ESTIMATORS)


@pytest.mark.slow
def test_the_conformance_suite():
    from fwdgrad.testing import check_engine

    check_engine("jax")


# ---------------------------------------------------------------- streams, and several devices

STREAMS = """
    import numpy as np, fwdgrad as fg
    rng = np.random.default_rng(0)
    params = {"W": 0.3 * rng.normal(size=(3, 3)), "a": fg.per_stream(0.5)}
    system = fg.System(lambda h, x, p: np.tanh(p["W"] @ h + p["a"] * x), None, np.zeros(3), params, np.zeros(3))
    xs, ys = rng.normal(size=(2, 60, 16, 3))
    ys[rng.random((60, 16)) < 0.2] = np.nan
    def learned(engine, estimator):
        learner = fg.Learner(system, estimator, fg.SGD(1e-2), seed=1, engine=engine, streams=16)
        learner.run(xs, ys)
        assert learner.engine == engine, learner.engine
        return learner
    def check(*estimators):
        for estimator in estimators:
            one, other = (learned(engine, estimator) for engine in ("numpy", "jax"))
            for k, v in one.params.items():
                np.testing.assert_allclose(other.params[k], v, rtol=1e-9, atol=1e-12)
        return other
"""


def test_streams_go_at_once():
    scope = {}
    exec(textwrap.dedent(STREAMS) + "made = check(fg.UORO())", scope)
    text = scope["made"]._execution.stream("learn").source
    assert "runtime.spread(" in text
    assert "runtime.scan(" not in text


def test_streams_on_eight_devices():
    """The same numbers as on one; the state of two streams on each device."""
    lines = """
        import jax
        assert len(jax.devices()) == 8
        made = check(fg.UORO())
        h = made._loop._buffers[0].value
        assert len(h.sharding.device_set) == 8 and not h.sharding.is_fully_replicated, h.sharding
    """
    run_on_eight_devices(textwrap.dedent(lines))


@pytest.mark.slow
def test_every_kind_of_window_on_eight_devices():
    run_on_eight_devices("check(fg.RTRL(), fg.UORO(window=4), fg.BPTT(), fg.NoBackTrack(rank=2))")


def run_on_eight_devices(lines):
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    script = textwrap.dedent(STREAMS) + lines
    made = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr[-2000:]
