"""The text that is compiled: readable, and refused where there is none."""

import ast
import itertools
import subprocess
import sys

import numpy as np
import pytest
from engine_checks import differences

import fwdgrad as fg
from fwdgrad import systems
from fwdgrad.engines.compiled_engine import UnsupportedOperation, compile_program, source, sums
from fwdgrad.errors import TracingError
from fwdgrad.learning.execution import Execution
from fwdgrad.program import Abstract, Constant, Instruction, Program, Variable, trace
from fwdgrad.program.operations import POINTWISE, Operation


@pytest.fixture(scope="module")
def text():
    execution = Execution(systems.build("tanh-rnn", units=64), fg.UORO(), fg.SGD(1e-3), "numpy")
    return source(execution.program("learn"), len(execution.initial()))


def test_it_is_python_with_the_users_names(text):
    tree = ast.parse(text)
    functions = {node.name: [a.arg for a in node.args.args] for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert list(functions) == ["learn"]
    assert {"h", "b", "R", "W", "V", "c", "v", "w_W", "x_rows", "y_rows", "noise0_rows"} <= {*functions["learn"]}
    assert "tanh1_i = functions.tanh(h[i])" in text
    assert max(map(len, text.split("\n"))) <= 120
    assert not any(line != line.rstrip() for line in text.split("\n"))


def test_it_is_the_same_every_time(text):
    execution = Execution(systems.build("tanh-rnn", units=64), fg.UORO(), fg.SGD(1e-3), "numpy")
    assert source(execution.program("learn"), len(execution.initial())) == text


def test_no_square_of_an_outer_product_is_gone_through(text):
    """‖ε tanh(h)ᵀ‖² is a product of two sums over vectors."""
    assert "matmul14 = matmul12 * matmul14_sum2" in text


def test_names_that_mean_something_in_the_source():
    names = ["i", "t", "np", "math", "runtime", "start", "stop", "special", "for", "θ", "x_rows", "x"]
    shapes = [Abstract.of(np.zeros(2))] * len(names)
    program = trace(lambda *a: tuple(2.0 * x + y for x, y in itertools.pairwise(a)), shapes, names=names)
    arguments = [np.arange(2.0) + k for k in range(len(names))]
    assert differences(["names"], [program], [arguments], 1e-12) == []


def test_a_program_without_inputs_or_operations():
    program = Program("nothing", (), (), (Constant(np.arange(3)), Constant(2.5)))
    first, second = compile_program(program)()
    assert (first.tolist(), float(second)) == ([0, 1, 2], 2.5)


def test_an_unknown_operation_is_refused_by_name():
    strange = Operation("strange")
    x = Variable((), np.dtype(float), "x")
    program = Program("odd", (x,), (Instruction(strange, (x,), {}, (Variable((), np.dtype(float)),)),), (x,))
    with pytest.raises(UnsupportedOperation, match="strange: there is no loop for it") as caught:
        source(program)
    assert isinstance(caught.value, TracingError)
    assert caught.value.operation == "strange"


def test_a_form_of_an_operation_is_refused_by_name():
    program = trace(lambda n, x: (POINTWISE["polygamma"](n, x),), [Abstract.of(np.ones(2)), Abstract.of(np.ones(2))])
    with pytest.raises(UnsupportedOperation, match="polygamma: its order has to be"):
        source(program)


def test_a_sum_that_is_taken_apart_wrongly_is_found(monkeypatch):
    program = trace(lambda a, b: (np.sum(np.outer(a, b) ** 2),), [Abstract.of(np.zeros(3))] * 2)
    arguments = [np.array([1.0, 2.0, 3.0]), np.array([0.5, 0.2, 0.1])]
    assert differences(["sum"], [program], [arguments], 1e-12) == []
    groups = sums._groups
    monkeypatch.setattr(sums, "_groups", lambda parts, rest: groups(parts, rest)[:1])
    assert differences(["sum"], [program], [arguments], 1e-12)


def test_llvm_is_loaded_only_by_the_engine():
    code = "import sys, fwdgrad, fwdgrad.engines.numpy_engine; print('llvmlite' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
