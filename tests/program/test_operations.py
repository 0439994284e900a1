"""Every supported operation: values, derivatives, derivatives of derivatives, against plain NumPy and autograd."""

import dataclasses
import functools
import inspect

import numpy as np
import pytest
from program_checks import (
    autograd_jacobian,
    autograd_jvp,
    backward_jacobian,
    difference_jacobian,
    directions,
    forward_jacobian,
    moving,
    program_of,
    traced_products,
    wrongly_inferred,
)
from program_scenarios import AUTOGRAD, PLAIN, flat
from program_table_axes import TABLE as AXES
from program_table_moves import TABLE as MOVES
from program_table_pointwise import TABLE as POINTWISE

from fwdgrad.engines.numpy_engine import compile_program
from fwdgrad.program import Abstract, Linearized, trace
from fwdgrad.program import operations as ops
from fwdgrad.program.lowering import SUPPORTED, display_name
from fwdgrad.program.operations.pointwise import PARTIALS

SCENARIOS = [*POINTWISE.scenarios, *AXES.scenarios, *MOVES.scenarios]
differentiable = [s for s in SCENARIOS if moving(s.arrays)]
every_operation = pytest.mark.parametrize("operation", sorted({s.operation for s in SCENARIOS}))


def all_pass(check, operation, scenarios=SCENARIOS):
    """The check on every scenario of the operation; all that fail are named."""
    failures = []
    for scenario in scenarios:
        if scenario.operation == operation:
            try:
                check(scenario)
            except Exception as error:
                error.add_note(f"in the scenario {scenario.name}")
                failures.append(error)
    if failures:
        raise ExceptionGroup(f"{len(failures)} scenarios fail", failures)


# ---------------------------------------------------------------- values


@every_operation
def test_value(operation):
    all_pass(check_value, operation)


def check_value(scenario):
    for dtype, tolerance in ((np.float64, 1e-13), (np.float32, 3e-5)):
        arrays = scenario.cast(dtype)
        expected = [np.asarray(o) for o in scenario(PLAIN, *arrays)]
        program = program_of(scenario, dtype)
        for run in (program, compile_program(program)):
            results = [np.asarray(r) for r in run(*arrays)]
            assert [r.shape for r in results] == [e.shape for e in expected] == [o.shape for o in program.outputs]
            assert [r.dtype for r in results] == [e.dtype for e in expected] == [o.dtype for o in program.outputs]
            for result, value in zip(results, expected, strict=True):
                np.testing.assert_allclose(result, value, rtol=tolerance, atol=tolerance)
        assert wrongly_inferred(program, arrays) == []


@every_operation
@pytest.mark.filterwarnings("ignore")
def test_autograds_numpy_is_traced_too(operation):
    """Functions written with autograd.numpy, in the forms that autograd can compute at all."""
    for scenario in SCENARIOS:
        if scenario.operation == operation:
            try:
                expected = scenario(AUTOGRAD, *scenario.arrays)
            except Exception:
                continue
            program = trace(lambda *a, s=scenario: s(AUTOGRAD, *a), [Abstract.of(a) for a in scenario.arrays])
            for result, value in zip(program(*scenario.arrays), expected, strict=True):
                np.testing.assert_allclose(result, value, rtol=1e-12, atol=1e-12)


def test_values_know_a_wrong_lowering(monkeypatch):
    """Negative control: a mean that forgets to divide."""
    scenario = next(s for s in SCENARIOS if s.name == "np.mean-0")
    wrong = dataclasses.replace(SUPPORTED[np.mean], write=SUPPORTED[np.sum].write)
    monkeypatch.setitem(SUPPORTED, np.mean, wrong)
    program_of.cache_clear()
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        check_value(scenario)
    program_of.cache_clear()


def test_failures_are_gathered_and_named():
    """Negative control of the loop over scenarios."""

    def fails(scenario):
        assert scenario.name != "np.mean-0"

    with pytest.raises(ExceptionGroup, match="1 scenarios fail") as raised:
        all_pass(fails, "np.mean")
    assert raised.value.exceptions[0].__notes__[-1] == "in the scenario np.mean-0"
    all_pass(fails, "np.sum")


# ---------------------------------------------------------------- derivatives


@every_operation
def test_derivative(operation):
    all_pass(check_derivative, operation, differentiable)


def check_derivative(scenario):
    """Forward and backward products are transposes of each other, and what finite differences say."""
    linearized = Linearized(program_of(scenario), scenario.arrays)
    forward = forward_jacobian(linearized, scenario.arrays)
    np.testing.assert_allclose(forward, backward_jacobian(linearized, scenario.arrays), rtol=1e-12, atol=1e-12)
    if scenario.smooth:
        expected = difference_jacobian(lambda *a: scenario(PLAIN, *a), scenario.arrays)
        np.testing.assert_allclose(forward, expected, rtol=1e-8, atol=1e-8)


# Operations that autograd differentiates backward only.
NO_FORWARD_RULE = {
    "attributes",
    "np.astype",
    "np.hypot",
    "np.linalg.det",
    "np.linalg.inv",
    "np.linalg.solve",
    "np.var",
    *(name for name in map(display_name, SUPPORTED) if name.startswith("scipy.special")),
}


@every_operation
@pytest.mark.filterwarnings("ignore")
def test_derivative_equals_autograd(operation):
    all_pass(check_autograd, operation, differentiable)


def check_autograd(scenario):
    """Where autograd has the derivative too; the tables say where it has not, and why."""
    linearized = Linearized(program_of(scenario), scenario.arrays)
    try:
        backward = autograd_jacobian(scenario)
        np.testing.assert_allclose(forward_jacobian(linearized, scenario.arrays), backward, rtol=1e-11, atol=1e-11)
    except Exception:
        if scenario.autograd:
            return
        raise
    assert not scenario.autograd, "autograd agrees: the exception in the table is not needed"
    tangents, _ = directions(scenario)
    try:
        forward = autograd_jvp(scenario, tangents)
    except (NotImplementedError, NameError):
        assert scenario.operation in NO_FORWARD_RULE
        return
    np.testing.assert_allclose(flat(linearized.jvp(tangents)), forward, rtol=1e-11, atol=1e-11)


@every_operation
def test_traced_derivative(operation):
    all_pass(check_traced_derivative, operation, differentiable)


def check_traced_derivative(scenario):
    """Recorded into a program and compiled, the derivative is the same numbers, in the dtype of the arrays."""
    for dtype, tolerance in ((np.float64, 1e-12), (np.float32, 1e-4)):
        arrays, program = scenario.cast(dtype), program_of(scenario, dtype)
        linearized = Linearized(program, arrays)
        tangents, cotangents = directions(scenario, dtype)
        jvp, vjp = traced_products(scenario, dtype)
        cases = (
            (linearized.jvp(tangents), jvp(*arrays, *tangents.values()), program.outputs),
            (
                linearized.vjp(cotangents, moving(arrays)),
                vjp(*arrays, *(c for c in cotangents if c is not None)),
                [arrays[k] for k in moving(arrays)],
            ),
        )
        for eager, compiled, like in cases:
            for one, other, x in zip(eager, compiled, like, strict=True):
                assert np.asarray(one).dtype == np.asarray(other).dtype == x.dtype
                np.testing.assert_allclose(other, one, rtol=tolerance, atol=tolerance)


@every_operation
def test_second_derivative(operation):
    all_pass(check_second_derivative, operation, [s for s in differentiable if s.smooth and s.again])


def check_second_derivative(scenario):
    """The derivative of the traced gradient of a weighted sum of the outputs."""
    program = program_of(scenario)
    arrays = scenario.arrays
    _, cotangents = directions(scenario)
    gradient = trace(
        lambda *a: Linearized(program, a).vjp(cotangents, moving(arrays)), [Abstract.of(a) for a in arrays]
    )
    assert wrongly_inferred(gradient, arrays) == []
    linearized = Linearized(gradient, arrays)
    forward = forward_jacobian(linearized, arrays)
    np.testing.assert_allclose(forward, forward.T, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(forward, backward_jacobian(linearized, arrays), rtol=1e-10, atol=1e-10)
    run = compile_program(gradient)
    np.testing.assert_allclose(forward, difference_jacobian(run, arrays), rtol=1e-7, atol=1e-7)


# ---------------------------------------------------------------- the table is complete


def test_every_supported_operation_is_in_the_table():
    names = {display_name(f) for f in SUPPORTED}
    tested = {s.operation for s in SCENARIOS}
    assert names - tested == set()
    assert tested - names == {"operators", "ufunc methods", "indexing", "attributes"}


BY_NAME = {display_name(f): f for f in SUPPORTED}


@pytest.mark.parametrize("name", sorted(BY_NAME))
def test_scenarios_are_about_their_operation(name, monkeypatch):
    """The operation's entry is used when they are traced."""
    function = BY_NAME[name]
    reached = []

    @functools.wraps(SUPPORTED[function].write)
    def write(*arguments, **named):
        reached.append(name)
        return original(*arguments, **named)

    original = SUPPORTED[function].write
    monkeypatch.setitem(SUPPORTED, function, dataclasses.replace(SUPPORTED[function], write=write))
    for scenario in SCENARIOS:
        if scenario.operation == name:
            reached.clear()
            trace(lambda *a, s=scenario: s(PLAIN, *a), [Abstract.of(a) for a in scenario.arrays])
            assert reached, scenario.name


@pytest.mark.parametrize("function", [f for f in SUPPORTED if not isinstance(f, np.ufunc)], ids=display_name)
def test_lowerings_take_numpys_arguments(function):
    """Under NumPy's names and with NumPy's defaults."""
    try:
        theirs = inspect.signature(function).parameters
    except ValueError:
        pytest.skip("this release of NumPy does not tell")
    for name, ours in inspect.signature(SUPPORTED[function].write).parameters.items():
        if ours.kind is ours.VAR_POSITIONAL or (function, name) in OWN_DEFAULT:
            continue
        if name not in theirs:
            assert OLDER or any(p.kind is p.VAR_KEYWORD for p in theirs.values())
        elif theirs[name].default is ours.empty:
            assert OLDER or ours.default is ours.empty
        elif theirs[name].default is not np._NoValue:
            assert theirs[name].default == ours.default


OLDER = np.lib.NumpyVersion(np.__version__) < "2.3.0"  # some arguments had other names, or no defaults
# np.einsum's changes no result; np.where's stand for "not given".
OWN_DEFAULT = {(np.einsum, "optimize"), (np.where, "x"), (np.where, "y")}


@pytest.mark.parametrize("name", sorted(BY_NAME))
def test_documented_derivative(name):
    """What the documentation's table says about an operation's derivative is what the scenarios find."""
    entry = SUPPORTED[BY_NAME[name]]
    found = [
        forward_jacobian(Linearized(program_of(s), s.arrays), s.arrays).any()
        for s in differentiable
        if s.operation == name
    ]
    if name in ("np.shape", "np.ndim", "np.size", "np.result_type", "np.zeros_like", "np.ones_like", "np.empty_like"):
        assert entry.derivative == "none"  # the scenarios multiply by the answer
    else:
        assert any(found) == (entry.derivative == "yes")


# ---------------------------------------------------------------- wrong rules are found


@pytest.mark.parametrize(
    ("name", "operation", "rule"),
    [
        ("np.tanh-1", "tanh", lambda g, out, k, x: -g * (1.0 - out * out)),
        ("np.multiply-0", "multiply", lambda g, out, k, x, y: g * (y if k else x)),
        ("np.hypot-0", "hypot", lambda g, out, k, x, y: g * ((x if k else y) / out)),
    ],
)
def test_derivatives_know_a_wrong_partial(name, operation, rule, monkeypatch):
    """Negative control."""
    monkeypatch.setitem(PARTIALS, operation, rule)
    scenario = next(s for s in SCENARIOS if s.name == name)
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        check_derivative(scenario)
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        check_autograd(scenario)


def test_derivatives_know_a_scatter_that_overwrites(monkeypatch):
    """Negative control: repeated places must accumulate."""

    def evaluate(self, x, *indices, index, shape):
        out = np.zeros(shape, np.asarray(x).dtype)
        rest = iter(indices)
        out[tuple(next(rest) if e[0] == "operand" else slice(None) for e in index)] = x
        return out

    repeated = next(s for s in SCENARIOS if s.name == "indexing-20")
    monkeypatch.setattr(type(ops.scatter_add), "evaluate", evaluate)
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        check_derivative(repeated)


def test_derivatives_know_a_wrong_transpose(monkeypatch):
    """Negative control: a running sum whose backward rule runs forward."""
    monkeypatch.setattr(type(ops.cumsum), "transpose", lambda operation, values, g, params: operation(g, **params))
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        check_derivative(next(s for s in SCENARIOS if s.name == "np.cumsum-1"))
