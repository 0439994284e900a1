"""`from_sympy`: every function it takes, matrices, what it refuses, and the sparsity that SymPy's derivatives have."""

import numpy as np
import pytest
import sympy as sp
from declare.test_four_ways import lotka_volterra, pendulum, sir

import fwdgrad as fg
from fwdgrad.errors import DeclarationError
from fwdgrad.system.tracing import traced

x, y, k, t = sp.symbols("x y k t")

EXPRESSIONS = [
    sp.Integer(3),
    sp.Rational(-1, 3) * x / (y**2 + 1),
    -x * y + k * (x - y) ** 3,
    sp.exp(-(x**2) / 2) / sp.sqrt(2 * sp.pi),
    sp.E**x * sp.E + sp.GoldenRatio,
    x ** sp.Rational(2, 3) + 1 / sp.sqrt(y),
    x**k + 2**x + y**-2,
    sp.Piecewise((x, x > 0.9), (k * y, sp.And(x < 0.8, sp.Not(y > 1))), (x * y * k, True)),
    sp.Piecewise((x, x >= 0.9), (2 * x, sp.Or(y <= 0.1, x < 0.1)), (k * x, True))
    * sp.Piecewise((y, x > 0.9), (3, True)),
    sp.Piecewise((1, sp.Eq(x, 0)), (sp.sin(x) / x, True)) + sp.Piecewise((1, sp.Ne(y, 0)), (2, True)),
    sp.Max(x, y, k) + sp.Min(x, 2, k) + sp.Max(0, x - 5),
    sp.Abs(x - y) + sp.sign(x - 2) * x,
    sp.Heaviside(x - 1) * k + sp.Heaviside(x) * k,
    sp.floor(9 * x) * y + sp.ceiling(y) * k,
    sp.Mod(x, 0.3) + sp.Mod(x, k),
    sp.sin(x) + sp.cos(y) * sp.tan(x * k),
    sp.asin(x) + sp.acos(y) + sp.atan(k) + sp.atan2(y, x + 2),
    sp.sinh(x) + sp.cosh(y) * sp.tanh(x) ** 3,
    sp.asinh(x) + sp.acosh(x + 1) + sp.atanh(y),
    sp.sec(x) + sp.csc(x) + sp.cot(x) + sp.sech(x) + sp.csch(y) + sp.coth(x),
    sp.log(x + 5) + sp.log(k, 10),
    sp.erf(x) + sp.erfc(y) + sp.gamma(y + 3) + sp.loggamma(x + 3) + sp.digamma(k),
    sp.besselj(0, x) + sp.besseli(1, y) + sp.besselj(2, k),
    sp.sin(2 * sp.pi * t) * x + t * k,
    sp.Sum(x ** sp.Symbol("n") / sp.factorial(sp.Symbol("n")), (sp.Symbol("n"), 0, 4)),
    sp.Derivative(sp.sin(x) * y, x),
]

POINT = {x: 0.7, y: 0.3, k: 1.3, t: 0.4}


def declared(expression, **options):
    """x' = expression, y' = −y, with the time beginning where `POINT` says."""
    state = {x: POINT[x], y: POINT[y], **({t: POINT[t]} if expression.doit().has(t) else {})}
    options = {"params": {k: POINT[k]}, "dt": 0.1, "method": "euler", "first": "next"} | options
    return fg.from_sympy(rates={x: expression, y: -y + k}, state=state, **options)


def at_point(expression, more=0):
    """The value to 50 digits, with so much more for k."""
    point = {symbol: sp.Rational(str(value)) for symbol, value in POINT.items()}
    return sp.N(expression.doit().subs(point | {k: point[k] + more}), 50)


# Their numbers name the cases: how SymPy prints a sum changes from one process to the next.
@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_an_expression_and_its_derivative_have_sympys_values(expression):
    system = declared(expression)
    learner = fg.Learner(system, "rtrl", fg.SGD(1e-9), engine="numpy")
    learner.step(None, np.zeros(2))
    value = float(at_point(expression))
    assert float(learner.state["x"]) == pytest.approx(0.7 + 0.1 * value, rel=1e-13)
    step = sp.Rational(1, 10**15)
    slope = float((at_point(expression, step) - at_point(expression, -step)) / (2 * step))
    assert learner.influence_matrix()[0, 0] == pytest.approx(0.1 * slope, rel=1e-11, abs=1e-14)


def test_a_wrong_value_would_be_seen():
    system = declared(sp.sin(x) * k)
    assert float(system.simulate(steps=1).states["x"][0]) != pytest.approx(0.7 + 0.1 * 1.3 * np.cos(0.7), rel=1e-3)


def test_what_expressions_share_is_computed_once():
    shared = sp.exp(x * y) * sp.cos(x + k)
    system = fg.from_sympy(
        rates={x: shared + 1, y: shared * 2},
        outputs=[shared**2],
        state={x: 1, y: 2},
        params={k: 1},
        dt=0.1,
        method="euler",
    )
    operations = [i.operation.name for i in traced(system).transition.instructions]
    assert operations.count("exp") == 1
    assert operations.count("cos") == 1
    assert "shared" not in system.latex()
    assert all("shared" not in str(e) for e in system.to_sympy().values())


def test_nothing_is_simplified():
    system = fg.from_sympy(rates={x: sp.sin(x) ** 2 + sp.cos(x) ** 2 + k}, state={x: 1}, params={k: 1}, dt=0.1)
    assert {"sin", "cos"} <= {i.operation.name for i in traced(system).transition.instructions}


# ---- ways to declare


def test_state_parameters_and_outputs_keep_their_order():
    names = [f"p{(7 * n) % 10}" for n in range(10)]
    params = {sp.Symbol(name): n for n, name in enumerate(names)}
    system = fg.from_sympy(
        rates={y: y, x: x * sum(params)},
        state={x: 1, y: 2},
        params=params,
        outputs={"b": y, "a": x},
        dt=0.1,
        method="euler",
    )
    assert list(system.params) == names
    assert list(system.state) == ["x", "y"]
    assert system.output_names == ("b", "a")
    assert np.array_equal(system.simulate(steps=2).outputs, [[2, 1], [2.2, 1 + 0.1 * 45]])


def simulated(system):
    return system.simulate(steps=20).outputs


def test_matrices_of_symbols_of_expressions_and_matrix_symbols_are_the_same_system():
    n = 3
    rng = np.random.default_rng(0)
    weights, start = rng.normal(size=(n, n)), rng.normal(size=n)
    X, W = sp.Matrix(sp.symbols(f"x:{n}")), sp.Matrix(n, n, sp.symbols(f"w:{n}:{n}"))
    plain = fg.System(lambda h, _, p: -h + np.tanh(p["W"] @ h), None, start, {"W": weights}, dt=0.1, first="initial")
    right = -X + (W * X).applyfunc(sp.tanh)
    rows = fg.from_sympy(
        rates={X.as_immutable(): right}, state={X.as_immutable(): start}, params={W.as_immutable(): weights}, dt=0.1
    )
    listed = fg.from_sympy(rates=right, state=list(zip(X, start, strict=True)), params=[(W, weights)], dt=0.1)
    assert rows.params.keys() == {f"w{i}{j}" for i in range(n) for j in range(n)}
    v, M = sp.MatrixSymbol("v", n, 1), sp.MatrixSymbol("M", n, n)
    whole = fg.from_sympy(
        rates={v: -v + (M * v).as_explicit().applyfunc(sp.tanh)}, state={v: start}, params={M: weights}, dt=0.1
    )
    assert whole.params["M"].shape == (n, n)
    assert whole.state["v"].shape == (n,)
    for system in (rows, listed, whole):
        assert np.allclose(simulated(system), simulated(plain), rtol=1e-13)


def test_arrays_may_be_lists_and_elements_of_products():
    v, M = sp.MatrixSymbol("v", 2, 1), sp.MatrixSymbol("M", 2, 2)
    system = fg.from_sympy(
        updates={v: [v[1], (M * v)[0]]},
        state={v: [1, 2]},
        params={M: [[3, 4], [5, 6]]},
        outputs={"a": np.array([v[0], v[1]]), "b": [[v[0], 1], [2, v[1]]], "c": (v.T * v)[0, 0], "d": v},
    )
    assert system.output_names == ("a[0]", "a[1]", "b[0]", "b[1]", "b[2]", "b[3]", "c", "d[0]", "d[1]")
    assert np.array_equal(system.simulate(steps=1).outputs[0], [2, 11, 2, 1, 2, 11, 125, 2, 11])


def test_string_keys_functions_of_time_and_symbols_are_one():
    position = sp.Function("x")(t)
    by_name = fg.from_sympy(rates={"x": k * x}, state={"x": 1}, params={"k": 0.5}, dt=0.1)
    of_time = fg.from_sympy(rates={position: k * position}, state={position: 1}, params={k: 0.5}, dt=0.1)
    assert np.array_equal(simulated(by_name), simulated(of_time))
    assert list(of_time.state) == ["x"]


def test_definitions_tied_parameters_and_a_learned_start():
    rate, start = sp.symbols("rate start")
    system = fg.from_sympy(
        rates={x: -rate * x},
        definitions={rate: 2 * k},
        state={x: start**2},
        params={k: fg.positive(0.5), start: 3 * k, y: fg.fixed(2)},
        dt=0.1,
        method="euler",
    )
    assert system.init is not None
    assert system.trainable == ("k",)
    assert float(system.params["start"]) == 1.5
    assert np.allclose(simulated(system)[:2, 0], [2.25, 2.25 * 0.9])  # the first sample is seen at the start


def test_the_step_may_be_an_input():
    system = fg.from_sympy(rates={x: -k * x}, state={x: 1}, params={k: 1}, dt="elapsed", method="euler")
    assert np.allclose(system.simulate({"elapsed": np.array([0.0, 0.5])}).outputs[:, 0], [1, 0.5])


def test_strange_names_are_names():
    odd = sp.Symbol(r"\dot{q}_{1}"), sp.Symbol("k'"), sp.Symbol("lambda"), sp.Symbol("x y")
    system = fg.from_sympy(
        rates={odd[0]: -odd[1] * odd[0] + odd[2] * odd[3]},
        state={odd[0]: 1},
        params={odd[1]: 1, odd[2]: 2},
        inputs={odd[3]: 0},
        dt=0.1,
    )
    for engine in ("numpy", "compiled"):
        fg.Learner(system, "rtrl", engine=engine).run({"x y": np.ones(5)}, np.ones((5, 1)))


# ---- what is refused


@pytest.mark.parametrize(
    ("arguments", "fragment"),
    [
        ({"rates": None}, "one of them"),
        ({"updates": {x: x}}, "one of them"),
        ({"rates": {x: k * y}}, "'y' is not declared"),
        ({"rates": {y: k}}, "no initial value"),
        ({"rates": {x: k, y: k}}, "no initial value"),
        ({"rates": []}, "expected 1 expressions"),
        ({"rates": {}}, "expected 1 expressions|none for 'x'"),
        ({"rates": {x: "k*x"}}, "expected an expression"),
        ({"rates": {x: sp.I * x}}, "complex"),
        ({"rates": {x: sp.zoo * x}}, "not a finite|complex"),
        ({"rates": {x: sp.oo}}, "not a finite"),
        ({"rates": {x: sp.nan}}, "not a finite"),
        ({"rates": {x: sp.Integer(10) ** 400}}, "not a finite"),
        ({"rates": {x: sp.LambertW(x)}}, "LambertW"),
        ({"rates": {x: sp.Function("f")(x)}}, "unknown function"),
        ({"rates": {x: sp.Integral(sp.exp(-(x**3)), x)}}, "no counterpart"),
        ({"rates": {x: sp.Piecewise((x, x > 0))}}, "elsewhere"),
        ({"rates": {x: x > 0}}, "true or false"),
        ({"rates": {x: sp.Symbol("x", positive=True)}}, "two different symbols called x"),
        ({"rates": {x: sp.Matrix([x, k])}}, "shape"),
        ({"state": {x: "1"}}, "expected a number"),
        ({"state": {x: np.nan}}, "finite"),
        ({"state": {x: y}}, "parameters alone|not declared"),
        ({"state": {x: 1, y: 2}}, "none for 'y'"),
        ({"state": [1, 2]}, "expected a dict"),
        ({"state": {2 * x: 1}}, "expected a symbol"),
        ({"params": {k: None}}, "finite"),
        ({"params": {k: 1, x: 1}}, "twice"),
        ({"params": {k: x}}, "no parameter"),
        ({"params": {k: 1, y: k * sp.Symbol("z")}}, "one other parameter"),
        ({"params": {}}, "'k' is not declared"),
        ({"inputs": {k: 1}}, "twice"),
        ({"definitions": {y: sp.Symbol("z"), sp.Symbol("z"): y}}, "circle"),
        ({"outputs": [x, x]}, "twice"),
        ({"outputs": [y]}, "'y' is not declared"),
        ({"outputs": {"z": [x, [x, k]]}}, "lists of one length"),
        ({"outputs": {"z": []}}, "lists of one length"),
        ({"outputs": {"z": sp.MatrixSymbol("k", 2, 2)}}, "two different symbols called k"),
        ({"outputs": {"z": sp.MatrixSymbol("m", 2, 2)[sp.Symbol("i"), 0]}}, "no number"),
        ({"rates": {x: [x, k]}}, "shape"),
        ({"dt": None}, "a step is needed"),
        ({"dt": "k"}, "name of an input"),
        ({"params": {k: 1, t: 2}}, "t is time"),
    ],
)
def test_what_does_not_make_sense_is_refused(arguments, fragment):
    good = {"rates": {x: -k * x}, "state": {x: 1}, "params": {k: 1}, "dt": 0.1}
    fg.from_sympy(**good)
    with pytest.raises(DeclarationError) as refused:
        fg.from_sympy(**(good | arguments))
    assert any(part in str(refused.value) for part in fragment.split("|")), str(refused.value)


# ---- sparsity

ROD = """
d T/dt = (flow[:-1] - flow[1:])/capacity     # what flows in less what flows out
flow = join(u, -k*diff(T), 0)
T(0) = sin(linspace(0, pi, 12))
param k = repeat(1, 11) in (0, inf)
param capacity = linspace(1, 2, 12)
param scale = 2
input u = 0
output seen = T[::4]
output total = sum(T*capacity)*scale
dt = 0.01
method = euler
"""

NEIGHBOURS = """
next v = roll(v, 2)*a + left(v) - right(v, 0)*c[0] + [w, 0, sin(t), 0, 1][:5]*v[0]
next w = dot(a[1:], c[::-1]) + max(w, v[1]) + where(v[2] > 0, c[1], 0)*mean(v[3:]) + cumsum(c)[1]
v(0) = [1, 2, 3, 4, 5]
w(0) = 1
param a = [1, 2, 3, 4, 5]
param c = [1, 2, 3, 4]
param b = a*2 tied
"""
NEIGHBOURS = NEIGHBOURS.replace("w(0) = 1", "w(0) = 1\noutput w")


def patterns_agree(system):
    """The sparsity by SymPy, of the map of one Euler step, is that of the traced program."""
    found = fg.analyze(system).patterns.transition
    exact = system.sparsity()
    state = exact.state.toarray() | (np.eye(system.size, dtype=bool) if system.dt else False)
    leaves = [np.array_equal(found.leaves[k].toarray(), exact.params[k].toarray()) for k in exact.params]
    return (
        bool(np.array_equal(found.state.toarray(), state))
        and all(leaves)
        and exact.params.keys() == found.leaves.keys()
    )


@pytest.mark.parametrize("model", [lotka_volterra, pendulum, sir], ids=lambda f: f.__name__)
@pytest.mark.parametrize("way", ["sympy", "text", "toml"])
def test_the_sparsity_of_expressions_is_what_the_analyzer_finds(model, way):
    system = model()[0][way]
    system = system if system.dt is None else system.replace(method="euler", substeps=1)
    if system.init is not None:  # a learned start has a part in the derivatives by parameters
        fixed = {key: value for key, value in system.state.items()}
        system = system.replace(state=fixed)
    assert patterns_agree(system)


@pytest.mark.parametrize("expression", [e for e in EXPRESSIONS if not e.has(sp.floor, sp.ceiling, sp.sign)])
def test_the_sparsity_of_every_function_is_what_the_analyzer_finds(expression):
    assert patterns_agree(declared(expression))


@pytest.mark.parametrize("text", [ROD, NEIGHBOURS], ids=["rod", "neighbours"])
def test_the_sparsity_of_arrays_is_what_the_analyzer_finds(text):
    system = fg.from_text(text)
    assert patterns_agree(system)
    assert 0 < system.sparsity().state.nnz < system.size**2


def test_another_sparsity_is_seen():
    rod = fg.from_text(ROD)
    other = fg.from_text(ROD.replace("-k*diff(T)", "-k*diff(T)*T[0]"))
    rod.model = other.model
    assert not patterns_agree(rod)


def test_a_system_in_sympy_and_back_is_the_same():
    text = fg.from_text("d x/dt = -k*where(x > 1, x**2, hypot(x, y))\nd y/dt = y*softplus(x) - t\nx(0)=2\ny(0)=1\n"
                        "param k=0.5\ndt=0.1")  # fmt: skip
    back = fg.from_sympy(rates=text.to_sympy(), state={"x": 2, "y": 1}, params={"k": 0.5}, dt=0.1)
    assert np.allclose(simulated(back), simulated(text), rtol=1e-12)


def test_a_python_function_cannot_be_seen_into():
    system = fg.from_sympy(rates={x: -k * x + y}, state={x: 1}, params={k: 1, y: fg.tied("k", lambda v: v**2)}, dt=0.1)
    with pytest.raises(DeclarationError, match="cannot see into"):
        system.sparsity()
