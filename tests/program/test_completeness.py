"""Every core operation has every rule, or stands in a list of deliberate omissions, with the reason."""

import numpy as np
import pytest

from fwdgrad.engines import numpy_source
from fwdgrad.engines.compiled_engine import building
from fwdgrad.engines.compiled_engine import pointwise as compiled_pointwise
from fwdgrad.program import operations
from fwdgrad.program.derivatives import PRODUCTS
from fwdgrad.program.instructions import Operation
from fwdgrad.program.loops import SCAN
from fwdgrad.program.operations.base import Flat
from fwdgrad.program.operations.pointwise import PARTIALS, POINTWISE, Pointwise, _autograd_rule
from fwdgrad.program.roots import ROOT
from fwdgrad.program.rules import HOLDING

CORE = {o.name: o for o in (*vars(operations).values(), *POINTWISE.values(), SCAN, ROOT) if isinstance(o, Operation)}

HOLDS = "it holds a program: all its products are made at once"
FOLLOWED = "it holds a program, which is followed where programs are followed"
BY_ENGINE = "engines write loops themselves"
INSIDE = "algorithms use it, and no function of users comes to it: a derivative is refused"
OMITTED = {
    ("scan", "forward"): HOLDS,
    ("scan", "backward"): HOLDS,
    ("root", "forward"): HOLDS,
    ("root", "backward"): HOLDS,
    ("scan", "pattern"): FOLLOWED,
    ("root", "pattern"): FOLLOWED,
    ("scan", "numpy source"): BY_ENGINE,
    ("singular", "forward"): INSIDE,
    ("singular", "backward"): INSIDE,
}
"""What an operation does without, and why."""


def own(operation, method):
    """Whether a class of the operation's, not that of all operations, says how."""
    return getattr(type(operation), method) is not getattr(Operation, method)


def has_partials(operation):
    """Whether there is a rule for the derivative of a pointwise operation."""
    if not operation.differentiable or operation.name in PARTIALS:
        return True
    try:
        return _autograd_rule(operation) is not None
    except NotImplementedError:
        return False


def has_numpy_source(operation):
    return operation.name in numpy_source.SOURCE or isinstance(operation, Pointwise)


def is_compiled(operation):
    if not isinstance(operation, Pointwise):
        return operation.name in ("scan", "stop_gradient") or hasattr(building._Builder, f"_{operation.name}")
    names = {n for table in vars(compiled_pointwise).values() if isinstance(table, dict) for n in table}
    others = {"astype", "where", "power", "invert", "signbit", "logical_not", *compiled_pointwise._ROUNDING}
    return operation.name in names | others


RULES = {
    "value": lambda o: own(o, "evaluate"),
    "shape": lambda o: own(o, "infer"),
    "forward": lambda o: has_partials(o) if isinstance(o, Pointwise) else own(o, "forward"),
    "backward": lambda o: has_partials(o) if isinstance(o, Pointwise) else own(o, "backward"),
    "pattern": lambda o: own(o, "follow"),
    "cost": lambda o: own(o, "multiply_adds") or isinstance(o, (Pointwise, Flat, *COUNTED)),
    "numpy source": has_numpy_source,
    "compiled": is_compiled,
}

COUNTED = tuple(type(getattr(operations, name)) for name in ("reduce_sum", "reduce_max", "cumsum", "scatter_add"))
"""Operations that look at each entry once, which is what is counted where nothing else is said."""


def lacking(core):
    return {(name, rule) for name, operation in core.items() for rule, has in RULES.items() if not has(operation)}


def test_every_operation_has_every_rule_or_a_reason():
    assert len(CORE) > 100
    assert lacking(CORE) == set(OMITTED)


def test_what_is_omitted_is_done_elsewhere():
    assert {"scan", "root", "until"} == {*PRODUCTS} == {*HOLDING}


class Halved(Operation):
    """x/2, with a value and a shape, and nothing else."""

    def evaluate(self, x):
        return x / 2

    def infer(self, inputs, params):
        return (inputs[0],)


def test_an_operation_without_rules_is_found():
    found = lacking({**CORE, "halved": Halved("halved")}) - set(OMITTED)
    assert found == {("halved", rule) for rule in RULES} - {("halved", "value"), ("halved", "shape")}


@pytest.mark.parametrize("name", sorted(CORE))
def test_what_is_said_of_an_operation_goes_together(name):
    operation = CORE[name]
    if isinstance(operation, Pointwise):
        assert not (operation.tame and (operation.loose or operation.steep)), "tame derivatives are finite"
        assert operation.differentiable or not (operation.steep or operation.additive)
    assert not operation.kink or operation.name in ("absolute", "hypot", "max", "min"), "`alive.cut` has to know it"
    assert operation.linear_in(0) or not operation.additive


def test_an_operation_without_source_runs_on_numpy_as_it_is_executed():
    from fwdgrad.engines.numpy_engine import compile_program, source
    from fwdgrad.program import Abstract, trace

    halved = Halved("halved")
    program = trace(lambda x: (halved(x),), [Abstract((2,), np.dtype(float))])
    assert "evaluate_halved(" in source(program)[0]
    np.testing.assert_array_equal(compile_program(program)(np.array([2.0, 4.0]))[0], [1.0, 2.0])
