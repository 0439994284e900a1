"""What equation text means: every kind of line and every function, arrays, time, initial values, labels, LaTeX."""

import pickle

import numpy as np
import pytest
import scipy.special
from places import DOCS

import fwdgrad as fg
from fwdgrad.declare.functions import FUNCTIONS, OPERATORS
from fwdgrad.errors import DataError, DeclarationError, ModelTextError
from fwdgrad.system.tracing import traced

rng = np.random.default_rng(0)


def value(expression, **values):
    """The value of an expression, as the output of a system that has these parameters."""
    lines = ["next state = state*unused", "state(0) = 1", "param unused = 1"]
    lines += [f"param {k} = {np.asarray(v).tolist()}" for k, v in values.items()]
    system = fg.from_text("\n".join([*lines, f"output z = {expression}"]))
    (program,) = traced(system).output(*traced(system).example())
    plain = system.Y(system.state, None, system.params)
    # NumPy has other loops for scalars than for arrays, which may differ in the last bit
    assert np.allclose(program, plain, rtol=1e-15, atol=0.0, equal_nan=True)
    return plain if plain.size > 1 else plain[0]


A, B = 0.7, 0.4
V, W = np.array([1.0, -2.0, 3.0, 0.5]), np.array([0.2, 0.4, -0.6, 2.0])
M = np.arange(8.0).reshape(2, 4)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("1 + 2*3 - 4/8", 6.5),
        ("a - b - 1", A - B - 1),
        ("a/b/2", A / B / 2),
        ("-a**2", -(A**2)),
        ("(-a)**2", A**2),
        ("a**-b", A**-B),
        ("2**b**a", 2 ** (B**A)),
        ("a % 0.3", A % 0.3),
        ("-a % 0.3", -A % 0.3),
        ("+a", A),
        ("1e-3*.5 + 2.", 2.0005),
        ("2*pi", 2 * np.pi),
        ("1 if a > b else 2", 1.0),
        ("1 if a < b else 2 if b < 0 else 3", 3.0),
        ("where(0 < a < 1 and not b > 1 or b >= 7, 5, 6)", 5.0),
        ("where(a <= b or a > 1, 5, 6)", 6.0),
        ("max(a, b, 0.5)", A),
        ("min(a, b, 0.5)", B),
        ("clip(a, 0, b)", B),
        ("heaviside(a - b) + heaviside(0) + 10*heaviside(0, 1)", 11.5),
        ("hypot(a, b)", np.hypot(A, B)),
        ("arctan2(a, b)", np.arctan2(A, B)),
        ("besselj(1, a) + besseli(2, b)", scipy.special.jv(1, A) + scipy.special.iv(2, B)),
        ("v", V),
        ("a*v + w*v**2 - 1", A * V + W * V**2 - 1),
        ("exp(v)[1]", np.exp(-2.0)),
        ("v[1:-1]", V[1:-1]),
        ("v[::-1]", V[::-1]),
        ("v[-1] + v[0]", V[-1] + V[0]),
        ("m[1, 2]", M[1, 2]),
        ("m[:, 1]", M[:, 1]),
        ("[a, b, 1]", [A, B, 1]),
        ("[[a, b], [1, 2]] @ [1, 10]", [A + 10 * B, 21]),
        ("m @ v", M @ V),
        ("dot(v, w)", V @ W),
        ("transpose(m) @ [1, 2]", M.T @ [1, 2]),
        ("sum(v*w) + mean(w)", np.sum(V * W) + np.mean(W)),
        ("cumsum(v)", np.cumsum(V)),
        ("diff(v)", np.diff(V)),
        ("join(a, v, 0)", [A, *V, 0]),
        ("left(v)", [V[0], *V[:-1]]),
        ("right(v)", [*V[1:], V[-1]]),
        ("left(v, a)", [A, *V[:-1]]),
        ("right(v, a)", [*V[1:], A]),
        ("roll(v, 1)", np.roll(V, 1)),
        ("roll(v, -2)", np.roll(V, -2)),
        ("reverse(v)", V[::-1]),
        ("repeat(a, 3)", [A, A, A]),
        ("linspace(0, a, 5)", np.linspace(0, A, 5)),
        ("v*where(v > w, 1, 0)", V * (V > W)),
        ("sigmoid(a)", scipy.special.expit(A)),
        ("softplus(b)", np.log1p(np.exp(B))),
        ("digamma(a)", scipy.special.psi(A)),
        ("loggamma(a) + gamma(b)", scipy.special.gammaln(A) + scipy.special.gamma(B)),
        ("i0(a) + i1(a) + j0(a) + j1(a)", sum(getattr(scipy.special, f)(A) for f in ("i0", "i1", "j0", "j1"))),
        ("erf(a) + erfc(b)", scipy.special.erf(A) + scipy.special.erfc(B)),
        ("arccosh(1 + a)", np.arccosh(1 + A)),
    ],
)
def test_expressions(expression, expected):
    assert np.allclose(value(expression, a=A, b=B, v=V, w=W, m=M), expected, rtol=1e-15, atol=1e-15)


NUMPYS = [
    "abs",
    "arccos",
    "arcsin",
    "arcsinh",
    "arctan",
    "arctanh",
    "cbrt",
    "ceil",
    "cos",
    "cosh",
    "exp",
    "expm1",
    "floor",
]
NUMPYS += ["log", "log10", "log1p", "log2", "sign", "sin", "sinh", "sqrt", "tan", "tanh"]


@pytest.mark.parametrize("name", NUMPYS)
def test_functions_of_numpy_are_numpys(name):
    assert value(f"{name}(a)", a=A) == getattr(np, name)(A)


def test_every_function_is_tested():
    import pathlib

    text = pathlib.Path(__file__).read_text()
    assert not [k for k in FUNCTIONS if k not in OPERATORS and k not in NUMPYS and f"{k}(" not in text]


def test_every_function_is_in_the_documentation():

    page = (DOCS / "equations.md").read_text()
    assert not [k for k in FUNCTIONS if k not in OPERATORS and f"`{k}" not in page]


# ---- kinds of lines

PLAIN = """
d x/dt = -k*x + u
x(0) = 2
param k = 0.5
input u = 0
dt = 0.1
"""


def test_rates_inputs_and_outputs_by_default():
    system = fg.from_text(PLAIN)
    states, outputs = system.simulate({"u": np.array([0.0, 1.0])})
    assert np.allclose(states["x"], [2, 2 * 0.95 + 0.1])
    assert np.array_equal(outputs[:, 0], states["x"])
    assert system.output_names == ("x",)


def test_arguments_go_before_the_text():
    system = fg.from_text(PLAIN, dt=0.2, method="heun", substeps=3, name="tank", loss=fg.losses.SquaredError(2.0))
    assert (system.dt, system.method, system.substeps, system.name) == (0.2, "heun", 3, "tank")
    assert system.loss.scale == 2.0


def test_the_order_of_lines_does_not_matter_but_is_kept():
    lines = [line for line in PLAIN.splitlines() if line]
    assert np.array_equal(
        fg.from_text("\n".join(lines[::-1])).simulate({"u": np.ones(9)}).outputs,
        fg.from_text(PLAIN).simulate({"u": np.ones(9)}).outputs,
    )
    params = [f"param p{n}  = {n}" for n in (3, 1, 2)]
    assert list(fg.from_text("\n".join([*lines, *params])).params) == ["k", "p3", "p1", "p2"]


def test_spelling_is_free_where_nothing_is_lost():
    system = fg.from_text(
        "dx / dt=-k*x#comment\n\n\t x ( 0 )= 2 : m\r\nparam  k=0.5 in(0,inf)\rdt=0.1\ny=(k\n + 1)\noutput  y"
    )
    assert system.simulate(steps=2).outputs[1] == pytest.approx(1.5)
    assert system.units == {"x": "m"}


def test_a_file_is_read(tmp_path):
    path = tmp_path / "tank.txt"
    path.write_text(PLAIN, encoding="utf-8-sig")
    assert fg.from_text(path).name == "tank.txt"
    path.write_text(PLAIN.replace("k*x", "q*x"))
    with pytest.raises(ModelTextError, match=r"^tank.txt, line 2: 'q' is not declared"):
        fg.from_text(path)
    with pytest.raises(DataError, match="cannot be read"):
        fg.from_text(tmp_path / "no.txt")
    with pytest.raises(DeclarationError, match="taken as text"):
        fg.from_text("tank.txt")
    with pytest.raises(DeclarationError, match="expected the text"):
        fg.from_text(3)


def test_bounds_fixed_and_tied_parameters():
    text = "next x = a + b + c + d + e + f\nx(0) = 0\nparam a = 1 in (0, inf)\nparam b = [1, 2][1] in (-1, 1 + 2)\n"
    text += "param c = 3 in (-inf, 4)\nparam d = 4 fixed\nparam e = 5 in (0, inf) fixed\nparam f = sqrt(a) tied : kg"
    system = fg.from_text(text)
    assert system.trainable == ("a", "b", "c")
    assert {k: float(v) for k, v in system.params.items()} == {"a": 1, "b": 2, "c": 3, "d": 4, "e": 5, "f": 1}
    assert float(system.coordinates["a"]) == 0.0  # the logarithm
    assert system.natural(system.coordinates | {"a": np.log(4.0)})["f"] == pytest.approx(2.0)
    assert system.units["f"] == "kg"


def test_noise_is_the_scale_of_the_loss():
    text = PLAIN + "output a = x noise 1/2\noutput b = [x, x] noise 3"
    assert fg.from_text(text).loss == fg.losses.SquaredError((0.5, 3.0, 3.0))
    assert fg.from_text(PLAIN + "output x noise 0.5").loss == fg.losses.SquaredError(0.5)
    assert fg.from_text(PLAIN).loss == fg.losses.SquaredError()


def test_names_of_python_and_sympy_are_free():
    names = ["S", "N", "I", "E", "Q", "beta", "gamma", "zeta", "lambda_", "exp", "sum", "d", "list", "print", "θ", "e"]
    system = fg.from_text("\n".join(["next x = x*" + "*".join(names), "x(0) = 1", *(f"param {n} = 2" for n in names)]))
    assert system.simulate(steps=1).outputs == 2.0 ** len(names)
    assert (
        fg.from_text("next x = exp(exp)*gamma(gamma)\nx(0)=1\nparam exp=0\nparam gamma=3").simulate(steps=1).outputs
        == 2
    )
    fg.Learner(system, "rtrl", engine="numpy").step(None, [1.0])
    assert fg.from_text("next x = pi\nx(0) = 1\nparam pi = 3").simulate(steps=1).outputs == 3  # declared


# ---- time


def test_time_is_a_state_variable_if_it_is_used():
    system = fg.from_text("d x/dt = k*t\nx(0) = 0\nparam k = 2\ndt = 0.5\nmethod = heun")
    assert list(system.state) == ["x", "t"]
    states, outputs = system.simulate(steps=4)
    assert np.allclose(states["t"], [0, 0.5, 1, 1.5])
    assert np.allclose(outputs[:, 0], states["t"] ** 2)  # exact for Heun
    assert system.output_names == ("x",)
    assert list(fg.from_text(PLAIN).state) == ["x"]


def test_time_begins_where_it_is_said_and_counts_steps_in_discrete_time():
    system = fg.from_text("next x = x + k*t\nx(0) = 0\nt(0) = 10\nparam k = 1\noutput t")
    assert np.array_equal(system.simulate(steps=3).outputs[:, 0], [11, 12, 13])
    assert system.simulate(steps=3).states["x"][-1] == 10 + 11 + 12


def test_time_is_used_through_a_definition():
    assert "t" in fg.from_text(PLAIN + "wave = sin(t)\noutput y = wave").state
    assert "t" not in fg.from_text(PLAIN + "wave = sin(t)").state


def test_time_is_not_corrected_by_what_is_seen():
    system = fg.from_text(PLAIN + "output y = x + t*0", injection=[[0.5]])
    assert np.array_equal(system.injection, [[0.5], [0.0]])


# ---- initial values and steps


def test_a_learned_start_is_seen_by_the_first_sample():
    text = "d x/dt = -k*x\nx(0) = a**2\nparam k = 1\nparam a = 3\ndt = 0.1\nmethod = euler"
    system = fg.from_text(text)
    assert np.allclose(system.simulate(steps=2).outputs[:, 0], [9.0, 8.1])
    learner = fg.Learner(system, "rtrl", fg.SGD(1e-9), engine="numpy")
    learner.step(None, [9.5])
    assert np.allclose(learner.influence_matrix(), [[0.0, 6.0]])
    given = fg.from_text(text.replace("a**2", "3**2"))
    assert given.init is None
    assert np.array_equal(given.simulate(steps=2).outputs, system.simulate(steps=2).outputs)


@pytest.mark.parametrize("declared", ["input h = 0.1\ndt = h", "dt = h", None])
def test_the_step_is_an_input(declared):
    text = PLAIN.replace("dt = 0.1", declared or "")
    system = fg.from_text(text, dt=None if declared else "h", method="euler")
    assert set(system.x) == {"u", "h"}
    steps = np.array([0.0, 0.1, 0.3])
    states, _ = system.simulate({"u": np.zeros(3), "h": steps})
    assert np.allclose(states["x"], [2, 2 * 0.95, 2 * 0.95 * 0.85])
    with pytest.raises(DeclarationError, match="no input has that name"):
        fg.from_text(PLAIN, dt="k")


# ---- arrays

ROD = """
d T/dt = diff(join(0, k*diff(T), 0))/dx**2      # insulated ends
T(0) = sin(linspace(0, pi, 1000))
param k = repeat(1, 999) in (0, inf)
param dx = 0.1 fixed
output seen = T[::100] noise 0.1
dt = 0.001
method = euler
"""


def test_a_rod_of_1000_cells_is_a_few_operations():
    system = fg.from_text(ROD)
    assert system.size == 1000
    assert len(traced(system).transition.instructions) < 30
    assert system.output_names == tuple(f"seen[{n}]" for n in range(10))
    h, k = np.asarray(system.state["T"]), np.asarray(system.params["k"])
    expected = h.copy()
    for cell in range(1000):
        flow = 0.0
        if cell > 0:
            flow += k[cell - 1] * (h[cell - 1] - h[cell])
        if cell < 999:
            flow += k[cell] * (h[cell + 1] - h[cell])
        expected[cell] += 0.001 * flow / 0.1**2
    assert np.allclose(system.simulate(steps=2).states["T"][1], expected, rtol=1e-12, atol=1e-14)
    pattern = fg.analyze(system).patterns.transition
    assert pattern.state.nnz == 3 * 1000 - 2
    assert pattern.leaves["k"].nnz == 2 * 999


def test_a_single_rate_holds_for_every_entry():
    system = fg.from_text("d v/dt = k\nv(0) = [1, 2]\nparam k = 1\ndt = 0.5")
    assert np.array_equal(system.simulate(steps=2).outputs, [[1, 2], [1.5, 2.5]])
    assert system.output_names == ("v[0]", "v[1]")


def test_entries_of_different_arrays_are_not_stretched():
    with pytest.raises(ModelTextError, match=r"line 1: .*\(2, 1\) and \(2,\) do not go together"):
        fg.from_text("next v = v + [[1], [2]]*v\nv(0) = [1, 2]\nparam k = 1")


# ---- what a system from equations has besides


def test_latex_is_what_was_written():
    system = fg.from_text(
        """
        d prey/dt = beta*prey*(1 - prey/K_max) - meals
        d x_1/dt = -(x_1 - 2)**2/lambda_ + where(x_1 > 0 and t < 3, 1e-7, sqrt(2*x_1))*2
        meals = a*prey**2/(1 + prey) - -3*abs(a)
        prey(0) = 1
        x_1(0) = [0, 1][0]
        param beta = 1
        param K_max = 2
        param lambda_ = 3
        param a = 4
        output prey
        output z = max(prey, 1) % 2 - (prey - x_1)
        dt = 0.1
        """
    )
    assert system.latex().splitlines() == [
        r"\begin{aligned}",
        r"\frac{\mathrm{d} \mathit{prey}}{\mathrm{d} t} &= \beta \, \mathit{prey} \, "
        r"\left(1 - \frac{\mathit{prey}}{K_{max}}\right) - \mathit{meals} \\",
        r"\frac{\mathrm{d} x_{1}}{\mathrm{d} t} &= \frac{-\left(x_{1} - 2\right)^{2}}{\lambda} + "
        r"\begin{cases} 1 \cdot 10^{-7} & x_{1} > 0 \wedge t < 3 \\ \sqrt{2 \, x_{1}} & \text{otherwise} \end{cases} "
        r"\cdot 2 \\",
        r"\mathit{meals} &= \frac{a \, \mathit{prey}^{2}}{1 + \mathit{prey}} - \left(-3 \, \left|a\right|\right) \\",
        r"z &= \max\left(\mathit{prey}, 1\right) \bmod 2 - \left(\mathit{prey} - x_{1}\right)",
        r"\end{aligned}",
    ]
    assert system._repr_latex_() == f"$\\displaystyle {system.latex()}$"


def test_discrete_time_has_primes():
    assert r"x' &= k \, x" in fg.from_text("next x = k*x\nx(0) = 1\nparam k = 1").latex()


def test_changed_and_copied_systems_keep_their_equations():
    system = fg.from_text(PLAIN)
    assert system.replace(dt=0.05).latex() == system.latex()
    assert system.astype(np.float32).dtype == np.float32
    assert system.astype(np.float32).units == system.units
    copy = pickle.loads(pickle.dumps(system))
    assert np.array_equal(copy.simulate({"u": np.ones(5)}).outputs, system.simulate({"u": np.ones(5)}).outputs)


@pytest.mark.filterwarnings("ignore::fwdgrad.errors.DeadParameterWarning")  # one output is a constant
@pytest.mark.parametrize(
    "text",
    [
        ROD.replace("T[::100]", "T[::100]*exp(2)"),
        PLAIN.replace("= -k*x + u", "= k + exp(2)*t + sum(linspace(0, 1, 3))").replace("x(0) = 2", "x(0) = k"),
        "next v = [1, v[0]*k, t]\nv(0) = [1, 2, 3]\nparam k = 2\noutput m = [1, 2]\n",
        "next v = [1, 2]\nv(0) = [1, 2]\nparam k = 2\noutput v\noutput k",
        "d v/dt = join(1, 2)\nv(0) = [k, 1]\nparam k = 2\ndt=0.1",
    ],
)
@pytest.mark.parametrize("engine", ["numpy", "eager"])
@pytest.mark.covering
def test_single_precision_stays_single(text, engine):
    double = fg.from_text(text)
    system = double.astype(np.float32)
    xs = {"u": np.ones(3)} if system.x else None
    found = [s.simulate(xs, steps=None if xs else 3).outputs for s in (double, system)]
    assert np.allclose(*found, rtol=1e-5)
    assert system.prediction.dtype == np.float32
    learner = fg.Learner(system, "rtrl", fg.SGD(1e-9), engine=engine)
    learner.run(xs, np.ones((3, system.prediction.size)))
    assert all(v.dtype == np.float32 for v in learner.state.values())


def test_replicas_in_other_processes_take_it():
    system = fg.from_text(PLAIN)
    found = fg.compare(system, {"u": np.ones(20)}, np.ones((20, 1)), ["uoro"], replicas=2, n_jobs=2)
    assert "UORO" in str(found)


@pytest.mark.parametrize("engine", ["compiled", "eager"])
def test_other_engines_learn_the_same(engine):
    text = ROD.replace("1000", "10").replace("999", "9").replace("T[::100]", "sin(T[::5])")
    results = {}
    for name in ("numpy", engine):
        learner = fg.Learner(fg.from_text(text), "rtrl", fg.SGD(1e-3), engine=name)
        learner.run(None, np.ones((20, 2)))
        results[name] = learner.params["k"]
    assert np.allclose(results["numpy"], results[engine], rtol=1e-12)
    assert not np.allclose(results["numpy"], 1.0, rtol=1e-6)


def test_text_is_read_without_sympy():
    import subprocess
    import sys

    code = f"import sys, fwdgrad as fg; s = fg.from_text({PLAIN!r}); fg.analyze(s); print('sympy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr


RELAXING = "d x/dt = u - k*x + sin(t)\nx(0) = 1\nparam k = 0.5\ninput u = 1\noutput x noise 0.1\ndt = 0.1"


def test_other_settings_keep_the_equations():
    system = fg.from_text(RELAXING, name="relaxing")
    for other in (system.replace(method="rk4", dt=0.2), system.astype(np.float32), system.replace(injection=[[0.5]])):
        assert other.latex() == system.latex()
        assert other.output_names == ("x",)
        assert other.loss == system.loss
    assert system.replace(method="rk4").method == "rk4"
    assert system.astype(np.float32).dtype == np.float32
    assert system.replace(injection=[[0.5]]).injection.shape == (2, 1)  # time is not corrected
    assert not hasattr(system.replace(F=system.F), "latex")


def test_a_learned_gain_leaves_time_alone():
    system = fg.from_text(RELAXING, name="relaxing")
    seen, h = {"x": system.x, "y": np.array([2.0])}, system.pack(system.state)
    moved = []
    for injection in ([[0.5]], lambda theta: np.array([0.5]), lambda theta: np.array([[0.5], [0.0]])):
        followed = system.replace(injection=injection)
        given = followed.given | {"start": np.zeros(()), "seen": seen}
        moved.append(followed.transition(h, given, followed.coordinates))
    np.testing.assert_array_equal(moved[1], moved[0])
    np.testing.assert_array_equal(moved[2], moved[0])
    free = system.transition(h, system.given | {"start": np.zeros(())}, system.coordinates)
    assert moved[0][0] != free[0]
    assert moved[0][1] == free[1]


@pytest.mark.parametrize(("name", "ours"), [("ln", "log"), ("atan", "arctan"), ("sgn", "sign")])
def test_what_a_function_is_called_here(name, ours):
    with pytest.raises(ModelTextError, match=f"there is no function '{name}'.* Write {ours}"):
        fg.from_text(f"d x/dt = -k*{name}(x)\nx(0) = 1\nparam k = 0.5\ndt = 0.1")


def test_a_byte_order_mark_is_no_part_of_a_model():
    assert fg.from_text("\ufeff" + RELAXING).latex() == fg.from_text(RELAXING).latex()


# ---- the innovations form

FOLLOWED = """
d x/dt = -k*x + u
x(0) = 1
input u = 0
param k = 0.5 in (0, inf)
param K = 0.2
output x
dt = 0.1
"""


def test_the_gain_of_an_observer_is_a_line_of_the_text():
    """A parameter, which is learned, or numbers: the same system as by the argument; without the line another one."""
    by_line, by_argument = fg.from_text(FOLLOWED + "injection = K"), fg.from_text(FOLLOWED, injection="K")
    plain = fg.from_text(FOLLOWED.replace("param K = 0.2\n", ""))
    xs, ys = {"u": np.ones(20)}, np.linspace(1.0, 2.0, 20)[:, None]
    losses = [
        fg.Learner(s, fg.RTRL(), fg.SGD(0.1), engine="numpy").run(xs, ys).loss for s in (by_line, by_argument, plain)
    ]
    np.testing.assert_array_equal(losses[0], losses[1])
    assert np.max(np.abs(losses[0] - losses[2])) > 1e-3
    assert by_line.injection == "K"
    assert "K" in by_line.trainable
    np.testing.assert_array_equal(fg.from_text(FOLLOWED + "injection = [[1/4]]").injection, [[0.25]])
    np.testing.assert_array_equal(fg.from_text(FOLLOWED + "injection = K", injection=[[0.5]]).injection, [[0.5]])


@pytest.mark.parametrize(
    ("line", "match"),
    [
        ("injection = L", "'L' is no parameter. Known: k, K"),
        ("injection = x", "'x' is no parameter.*call it injection_"),
        ("injection = 2*u", "injection is the gain of an observer.*call it injection_"),
        ("injection = K\ninjection = K", "injection is there twice"),
    ],
)
def test_what_is_no_gain_is_named_with_its_line(line, match):
    with pytest.raises(ModelTextError, match=f"(?s)line 9.*{match}|line 10.*{match}"):
        fg.from_text(FOLLOWED + line)
