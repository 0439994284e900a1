"""`Program`: its listing, names, graph, fingerprint, live inputs and index bounds."""

import keyword
import subprocess
import sys
import textwrap

import networkx as nx
import numpy as np
import pytest
import scipy.special
from hypothesis import given, settings
from hypothesis import strategies as st

from fwdgrad.engines.numpy_engine import compile_program, source
from fwdgrad.program import Abstract, Linearized, Program, scan, trace
from fwdgrad.program.program import identifier

H, X = np.array([0.3, -1.2, 0.7]), np.arange(6.0).reshape(2, 3)
VECTOR = Abstract((3,), np.dtype(float))


def example(h, w, x):
    return np.tanh(w @ h)[x] * 2.0, h + np.ones(3)


INPUTS = [VECTOR, Abstract((3, 3), np.dtype(float)), Abstract((), np.dtype(int))]


# ---------------------------------------------------------------- listing and graph


def test_listing():
    text = str(trace(example, INPUTS, names=["h", "W", "x"], name="F"))
    line = example.__code__.co_firstlineno + 1
    where = f"  # {__file__}:{line}, in example"
    assert text.split("\n") == [
        "F(h: float64[3], W: float64[3, 3], x: int64[]):",
        f"    matmul1: float64[3] = matmul(W, h){where}",
        f"    tanh1: float64[3] = tanh(matmul1){where}",
        f"    getitem1: float64[] = getitem(tanh1, x, index=(('operand',),)){where}",
        f"    multiply1: float64[] = multiply(getitem1, 2.0){where}",
        f"    add1: float64[3] = add(h, <float64[3]>){where}",
        "    return multiply1, add1",
    ]


def test_graph():
    graph = trace(example, INPUTS, names=["h", "W", "x"], name="F").graph()
    assert nx.is_directed_acyclic_graph(graph)
    assert set(graph.edges) == {
        ("W", "matmul1"),
        ("h", "matmul1"),
        ("matmul1", "tanh1"),
        ("tanh1", "getitem1"),
        ("x", "getitem1"),
        ("getitem1", "multiply1"),
        ("h", "add1"),
    }
    assert graph.nodes["W"] == {"operation": "input", "shape": (3, 3), "dtype": np.dtype(float)}
    assert graph.nodes["tanh1"]["operation"] == "tanh"
    assert graph.nodes["tanh1"]["source"].line == example.__code__.co_firstlineno + 1


def test_graph_of_a_program_with_a_loop():
    program = trace(lambda x, h: scan(lambda c, r: ([c[0] + r[0]], [c[0]]), [h], [x])[1], [Abstract.of(X), VECTOR])
    graph = program.graph()
    assert nx.is_directed_acyclic_graph(graph)
    assert set(graph.predecessors("scan2")) == {"outer", "outer1"}


# ---------------------------------------------------------------- inputs


def test_live_inputs():
    def function(a, b, c, d):
        unused = b * 2  # noqa: F841
        return a + 1, d

    assert trace(function, [VECTOR] * 4).live_inputs() == (0, 3)
    assert trace(lambda a: (np.ones(3),), [VECTOR]).live_inputs() == ()


def test_index_bounds():
    def function(h, w, x, y, z):
        return h[x] + w[y, x] + w[z + 1, 0], w[:, y]

    index = Abstract((), np.dtype(int))
    program = trace(function, [VECTOR, Abstract((4, 5), np.dtype(float)), index, index, index])
    assert program.index_bounds == {2: 3, 3: 4}
    gradient = trace(
        lambda *a: Linearized(program, a).vjp([1.0, np.ones(4)], [0, 1]),
        [Abstract(v.shape, v.dtype) for v in program.inputs],
    )
    assert gradient.index_bounds == {2: 3, 3: 4}


def test_wrong_arguments():
    program = trace(example, INPUTS, names=["h", "W", "x"], name="F")
    with pytest.raises(TypeError, match="takes 3 arguments, got 1"):
        program(H)
    with pytest.raises(ValueError, match=r"input h of shape \(3,\), got \(4,\)"):
        program(np.ones(4), np.eye(3), np.array(0))


def test_python_numbers_as_arguments():
    program = trace(lambda a: (a * 2,), [Abstract((), np.dtype(float))])
    assert program(1.5) == (3.0,)
    assert Linearized(program, (1.5,)).jvp({0: 1.0}) == (2.0,)


# ---------------------------------------------------------------- fingerprint


def test_fingerprint_is_about_what_is_computed():
    def renamed(state, weights, place):
        return np.tanh(weights @ state)[place] * 2.0, state + np.ones(3)

    one = trace(example, INPUTS, names=["h", "W", "x"], name="F").fingerprint()
    assert one == trace(example, INPUTS).fingerprint() == trace(renamed, INPUTS, name="G").fingerprint()
    assert len(one) == 16


DIFFERENT = [
    (lambda h: (h + 1.0,), VECTOR),
    (lambda h: (h + 2.0,), VECTOR),
    (lambda h: (h + 1,), VECTOR),
    (lambda h: (h + np.array(1.0),), VECTOR),
    (lambda h: (h + np.array([1.0]),), VECTOR),
    (lambda h: (h + np.array([[1.0]]),), VECTOR),
    (lambda h: (h + np.float32(1.0),), VECTOR),
    (lambda h: (h - 1.0,), VECTOR),
    (lambda h: (1.0 - h,), VECTOR),
    (lambda h: (h + 1.0, h + 1.0), VECTOR),
    (lambda h: (h + 1.0, h), VECTOR),
    (lambda h: (h, h + 1.0), VECTOR),
    (lambda h: (h + 1.0,), Abstract((4,), np.dtype(float))),
    (lambda h: (h + 1.0,), Abstract((3,), np.dtype(np.float32))),
    (lambda h: (np.sum(h) + 1.0,), VECTOR),
    (lambda h: (h[0] + 1.0,), VECTOR),
    (lambda h: (h[1] + 1.0,), VECTOR),
    (lambda h: (h[::-1] + 1.0,), VECTOR),
    (lambda h: (h.astype(np.float32) + 1.0,), VECTOR),
    (lambda h: (h.astype(np.float16) + 1.0,), VECTOR),
]


def test_fingerprints_of_different_programs_differ():
    assert len({trace(f, [a]).fingerprint() for f, a in DIFFERENT}) == len(DIFFERENT)


def test_fingerprint_is_the_same_in_every_process():
    code = textwrap.dedent("""
        import numpy as np
        from fwdgrad.program import Abstract, Linearized, scan, trace
        vector = Abstract((3,), np.dtype(float))

        def function(h, w, x):
            (last,), (out,) = scan(lambda c, r: ([c[0] * r[0] + np.arange(3.0)], [c[0][x]]), [h], [w])
            padded = np.pad(h, 1)[1:-1] * np.float32(2.5)
            return np.einsum("...i,ij->j", last, w) + padded, out, np.expand_dims(h, (0, 2))

        program = trace(function, [vector, Abstract((3, 3), np.dtype(float)), Abstract((), np.dtype(int))])
        print(program.fingerprint())
    """)
    found = set()
    for seed in ("1", "77"):
        run = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(p for p in sys.path if p)},
        )
        found.add(run.stdout)
    assert len(found) == 1


# ---------------------------------------------------------------- names

# What emitted source uses itself, what Python reserves, and what is no identifier.
AWKWARD = [
    *(
        "np",
        "special",
        "scatter",
        "scatter_add",
        "k",
        "range",
        "len",
        "float",
        "sum",
        "print",
        "__debug__",
        "__import__",
    ),
    *(
        "body",
        "body_0",
        "body_3",
        "body_3_constant_1",
        "constant_1",
        "program",
        "out",
        "self",
        "tanh1",
        "add1",
        "scan1",
    ),
    *("lambda", "def", "None", "True", "class", "match", "_", "__", "async", "with"),
    *("θ", "h'", "W in", "W_in", "2nd", "v2nd", "", " ", "x²", "x2", "ﬁ", "fi", "µ", "μ", "a.b", "a_b", "λ̇", "½"),
    *("x", "x", "x1", "x_1", "np_", "lambda_", "naïve", "naïve", "状態", "🙂"),
]


def uses_everything(*arguments):
    """A program that needs every helper of emitted source: constants, loops, scatters, special functions."""
    total = sum(arguments[1:], arguments[0])
    table = np.arange(3.0)
    k = np.argmax(total)
    linear = trace(lambda h: (h[:2] * table[:2], h[[0, 0, 2]] * table), [VECTOR])
    (gradient,) = Linearized(linear, (total,)).vjp([np.ones(2), total], [0])
    (last,), (out,) = scan(
        lambda c, r: ([c[0] * table + r[0]], [scipy.special.expit(c[0])]), [total], [np.stack([total, gradient])]
    )
    return last, out, total[k], np.where(total > np.inf, 1.0, -np.inf) * 0 + np.tanh(total)


def check_names(names):
    program = trace(uses_everything, [VECTOR] * len(names), names=names, name="np")
    arguments = [H * (1 + 0.1 * k) for k in range(len(names))]
    with np.errstate(all="ignore"):
        expected, found = program(*arguments), compile_program(program)(*arguments)
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_array_equal(one, other)
    given_names = list(program.names().values())
    assert len(set(given_names)) == len(given_names)
    assert all(n.isidentifier() and not keyword.iskeyword(n) for n in given_names)


def test_awkward_names_together():
    check_names(AWKWARD)


@pytest.mark.parametrize("name", AWKWARD)
def test_awkward_name(name):
    check_names([name])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(max_size=4), min_size=1, max_size=4))
def test_any_names(names):
    check_names(names)


def test_readable_names_stay():
    program = trace(example, INPUTS, names=["h", "W", "θ"])
    assert list(program.names().values()) == ["h", "W", "θ", "matmul1", "tanh1", "getitem1", "multiply1", "add1"]


@pytest.mark.parametrize("name", ["np", "lambda", "special", "k", "F", "2nd", "a b", "constant_0", "body_0"])
def test_awkward_program_names(name):
    program = trace(uses_everything, [VECTOR], names=["h"], name=name)
    text, scope = source(program)
    assert f"def {identifier(name)}(h):" in text
    assert identifier(name) not in scope
    with np.errstate(all="ignore"):
        for one, other in zip(program(H), compile_program(program)(H), strict=True):
            np.testing.assert_array_equal(one, other)


def test_emitted_source_is_readable():
    text, _ = source(trace(lambda h, w: (np.tanh(w @ h) + 1,), INPUTS[:2], names=["h", "W"], name="F"))
    lines = text.strip().split("\n")
    assert lines[0] == "def F(h, W):"
    assert lines[-1] == "    return (add1, )"
    assert len(lines) == 5


def test_programs_are_data():
    program = trace(example, INPUTS)
    assert isinstance(program, Program)
    assert [i.operation.name for i in program] == ["matmul", "tanh", "getitem", "multiply", "add"]
    assert repr(program.instructions[0].operation) == "matmul"
