"""Ties, zeros and bounds: the derivatives that the documentation promises, on every engine."""

from collections import Counter

import numpy as np
import pytest
import scipy.special
from edge_programs import Chain, Made, difference, eager, outcome, products

from fwdgrad.engines.numpy_engine import compile_program
from fwdgrad.errors import TracingError
from fwdgrad.linear import autodiff
from fwdgrad.program import Abstract, Linearized, trace
from fwdgrad.program.lowering import SUPPORTED, display_name
from fwdgrad.program.operations.pointwise import PARTIALS

INF, NAN = np.inf, np.nan
HALF = np.eye(3) / 2
SINGULAR = np.array([[1.0, 2.0], [2.0, 4.0]])
"""Of rank one: its cofactors are [[4, −2], [−2, 1]]."""
THREE = np.array([[1.0, 2.0, 0.0], [1.0, 2.0, 0.0], [0.0, 0.0, 0.0]])
"""Of rank one: all its cofactors are zero."""
TIED = [1.0, 1.0, 0.0]

# name, function of arrays, arrays, the derivative of all results in all numbers of all arrays
CONVENTIONS = [
    ("np.absolute", np.absolute, [[0.0, -1.0, 2.0]], np.diag([0.0, -1.0, 1.0])),
    ("np.fabs", np.fabs, [[0.0, -1.0, 2.0]], np.diag([0.0, -1.0, 1.0])),
    *(
        (f"np.{n}", getattr(np, n), [TIED, TIED], np.hstack([HALF, HALF]))
        for n in ("maximum", "minimum", "fmax", "fmin")
    ),
    (
        "np.clip",
        lambda a, low, high: np.clip(a, low, high),
        [[1.0, -1.0], -1.0, 1.0],
        [[0.5, 0, 0, 0.5], [0, 0.5, 0.5, 0]],
    ),
    ("np.clip", lambda a: np.clip(a, -1.0, 1.0), [[1.0, -1.0, 0.0, 3.0]], np.diag([0.5, 0.5, 1.0, 0.0])),
    *((f"np.{n}", getattr(np, n), [TIED], [[0.5, 0.5, 0.0]]) for n in ("max", "amax")),
    *((f"np.{n}", getattr(np, n), [[1.0, 0.0, 0.0]], [[0.0, 0.5, 0.5]]) for n in ("min", "amin")),
    ("np.ptp", np.ptp, [[1.0, 1.0]], [[0.0, 0.0]]),
    ("np.sort", np.sort, [[2.0, 1.0, 1.0]], [[0, 1, 0], [0, 0, 1], [1, 0, 0]]),
    ("np.hypot", np.hypot, [0.0, 0.0], [[0.0, 0.0]]),
    ("np.hypot", np.hypot, [3.0, 0.0], [[1.0, 0.0]]),
    ("np.arctan2", np.arctan2, [0.0, 0.0], [[0.0, 0.0]]),
    ("np.arctan2", np.arctan2, [0.0, 2.0], [[0.5, 0.0]]),
    ("np.linalg.norm", np.linalg.norm, [np.zeros(3)], np.zeros((1, 3))),
    ("np.linalg.norm", np.linalg.norm, [np.zeros((2, 2))], np.zeros((1, 4))),
    ("np.linalg.norm", lambda x: np.linalg.norm(x, 1), [[0.0, -2.0]], [[0.0, -1.0]]),
    ("np.linalg.norm", lambda x: np.linalg.norm(x, np.inf), [[2.0, -2.0, 1.0]], [[0.5, -0.5, 0.0]]),
    ("np.linalg.norm", lambda x: np.linalg.norm(x, np.inf), [[0.0, 0.0]], [[0.0, 0.0]]),
    ("np.std", np.std, [[3.0, 3.0]], [[0.0, 0.0]]),
    ("np.std", lambda x: np.std(x, axis=0), [np.ones((2, 2))], np.zeros((2, 4))),
    ("np.var", np.var, [[3.0, 3.0]], [[0.0, 0.0]]),
    ("np.prod", np.prod, [[0.0, 2.0, 3.0]], [[6.0, 0.0, 0.0]]),
    ("np.prod", np.prod, [[0.0, 0.0, 3.0]], [[0.0, 0.0, 0.0]]),
    ("np.prod", np.prod, [np.zeros(0)], np.zeros((1, 0))),
    ("np.power", lambda x: x**0.0, [0.0], [[0.0]]),
    ("np.power", lambda x: x**1.0, [[0.0, -1.0]], np.eye(2)),
    ("np.power", lambda x: x**2, [[0.0, -1.0]], np.diag([0.0, -2.0])),
    ("np.power", lambda x: x**0.5, [0.0], [[INF]]),
    ("np.power", np.power, [0.0, 2.0], [[0.0, 0.0]]),
    ("np.power", np.power, [0.0, 0.0], [[0.0, 0.0]]),
    ("np.power", lambda y: np.power(-1.0, y), [2.0], [[NAN]]),
    ("np.float_power", np.float_power, [0.0, 2.0], [[0.0, 0.0]]),
    ("np.sqrt", np.sqrt, [0.0], [[INF]]),
    ("np.cbrt", np.cbrt, [0.0], [[INF]]),
    ("np.arcsin", np.arcsin, [[1.0, -1.0]], np.diag([INF, INF])),
    ("np.arccos", np.arccos, [[1.0, -1.0]], np.diag([-INF, -INF])),
    ("np.arccosh", np.arccosh, [1.0], [[INF]]),
    ("np.remainder", np.remainder, [2.0, 1.0], [[1.0, -2.0]]),
    ("np.divmod", lambda x, y: np.divmod(x, y)[1], [2.0, 1.0], [[1.0, -2.0]]),
    ("np.heaviside", np.heaviside, [0.0, 0.5], [[0.0, 1.0]]),
    ("np.copysign", np.copysign, [[0.0, 2.0], [-1.0, -1.0]], np.hstack([np.diag([0.0, -1.0]), np.zeros((2, 2))])),
    ("np.nan_to_num", np.nan_to_num, [[NAN, INF, 1.0]], np.diag([0.0, 0.0, 1.0])),
    ("np.where", lambda x: np.where(x >= 0.0, x, 3.0 * x), [[0.0, -1.0]], np.diag([1.0, 3.0])),
    (
        "np.select",
        lambda x: np.select([x > 0.0, x >= 0.0], [x, 2.0 * x], 5.0),
        [[0.0, 1.0, -1.0]],
        np.diag([2.0, 1.0, 0.0]),
    ),
    (
        "np.interp",
        lambda x: np.interp(x, [0.0, 1.0, 2.0], [0.0, 1.0, 4.0]),
        [[-1.0, 0.0, 1.0, 2.0, 3.0]],
        np.diag([0.0, 1.0, 3.0, 3.0, 0.0]),
    ),
    ("np.interp", lambda xp: np.interp(0.5, xp, [1.0, 2.0]), [[0.5, 0.5]], [[0.0, 0.0]]),
    ("np.linalg.det", np.linalg.det, [SINGULAR], [[4.0, -2.0, -2.0, 1.0]]),
    ("np.linalg.det", np.linalg.det, [THREE], np.zeros((1, 9))),
    ("np.linalg.det", np.linalg.det, [[[3.0]]], [[1.0]]),
    ("np.linalg.matrix_power", lambda a: np.linalg.matrix_power(a, 1), [SINGULAR], np.eye(4)),
    ("scipy.special.gammaln", scipy.special.gammaln, [1.0], [[-np.euler_gamma]]),
    ("scipy.special.i1", scipy.special.i1, [0.0], [[0.5]]),
    ("scipy.special.j1", scipy.special.j1, [0.0], [[0.5]]),
    ("scipy.special.jv", lambda x: scipy.special.jv(2, x), [0.0], [[0.0]]),
    ("scipy.special.iv", lambda x: scipy.special.iv(2, x), [0.0], [[0.0]]),
]

SMOOTH = """
add subtract multiply negative positive square real conjugate exp exp2 expm1 sin cos tan sinh cosh tanh arctan arcsinh
degrees radians deg2rad rad2deg logaddexp logaddexp2 sum mean average cumsum matmul dot vdot vecdot inner outer
tensordot kron cross einsum gradient trapezoid linspace convolve polyval diff astype copy full_like
atleast_1d atleast_2d atleast_3d broadcast_arrays broadcast_to expand_dims matrix_transpose meshgrid moveaxis ravel
reshape rollaxis squeeze swapaxes transpose append array_split block column_stack concatenate dsplit dstack flip fliplr
flipud hsplit hstack pad repeat roll rot90 split stack tile vsplit vstack diag diagflat diagonal trace tril triu
"""
"""Functions of np that have a derivative wherever they have a finite value: nothing is to be agreed on."""
POLES = "divide reciprocal log log2 log10 log1p arctanh"
"""Functions of np whose value is infinite, or NaN, where they have no derivative: the step is refused."""
SPECIAL = "erf erfc expit gamma i0 j0 logit psi"
"""The same of scipy.special."""
REFUSED = "np.linalg.inv np.linalg.solve np.take np.take_along_axis"
"""Functions that refuse the step (test_refused_values.py)."""


def jacobians(function, arrays):
    """Outputs × inputs on each engine, forward and backward."""
    arrays = [np.asarray(a, float) for a in arrays]
    program = trace(lambda *a: (function(*a),), [Abstract.of(a) for a in arrays])
    (out,) = program.outputs
    sizes = [a.size for a in arrays]
    rows, columns = np.eye(int(np.prod(out.shape, dtype=int))), np.eye(sum(sizes))

    def shaped(column):
        parts = np.split(column, np.cumsum(sizes)[:-1])
        return [p.reshape(a.shape) for p, a in zip(parts, arrays, strict=True)]

    def joined(parts):
        return np.concatenate([np.ravel(p) for p in parts])

    point = Linearized(program, arrays)
    made = {
        "traced, forward": np.array([joined(point.jvp(dict(enumerate(shaped(c))))) for c in columns]).T,
        "traced, backward": np.array([joined(point.vjp([r.reshape(out.shape)], range(len(arrays)))) for r in rows]),
    }
    pull, value = autodiff.make_vjp(lambda z: function(*z), tuple(arrays))
    push = autodiff.make_jvp(lambda z: function(*z), tuple(arrays))
    made["eager, backward"] = np.array([joined(pull(r.reshape(np.shape(value)))) for r in rows])
    made["eager, forward"] = np.array([np.ravel(push(tuple(shaped(c)))[1]) for c in columns]).T
    return made


@pytest.fixture(autouse=True)
def quiet():
    with np.errstate(all="ignore"):
        yield


@pytest.mark.parametrize(
    ("function", "arrays", "expected"),
    [c[1:] for c in CONVENTIONS],
    ids=[f"{k}-{c[0]}" for k, c in enumerate(CONVENTIONS)],
)
def test_convention(function, arrays, expected):
    expected = np.asarray(expected, float)
    for label, found in jacobians(function, arrays).items():
        found = found.reshape(expected.shape)
        if np.isfinite(expected).all():
            np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-15, err_msg=label)
        else:
            finite = np.isfinite(expected)
            np.testing.assert_allclose(found[finite], expected[finite], err_msg=label)
            assert not np.isfinite(found[~finite]).any(), label


def test_every_operation_has_a_convention_or_needs_none():
    listed = {name for name, *_ in CONVENTIONS} | set(REFUSED.split())
    listed |= {f"np.{n}" for n in (SMOOTH + POLES).split()} | {f"scipy.special.{n}" for n in SPECIAL.split()}
    assert {display_name(f) for f, entry in SUPPORTED.items() if entry.derivative == "yes"} == listed


@pytest.mark.parametrize(
    ("operation", "rule"),
    [
        ("maximum", lambda g, out, k, x, y: PARTIALS["where"](g, out, 2 if k else 1, x >= y, x, y)),
        ("absolute", lambda g, out, k, x: g * np.where(x >= 0, 1.0, -1.0)),
        ("hypot", lambda g, out, k, x, y: g * ((y if k else x) / out)),
    ],
)
def test_another_convention_is_found(operation, rule, monkeypatch):
    """Negative control: a rule that is as right elsewhere."""
    monkeypatch.setitem(PARTIALS, operation, rule)
    case = next(c for c in CONVENTIONS if c[0] == f"np.{operation}")
    with pytest.raises(AssertionError, match="traced"):
        test_convention(*case[1:])


def test_autograds_own_conventions_are_found(monkeypatch):
    """Negative control: without the rules of our own."""
    monkeypatch.setattr(autodiff, "_call_of", lambda *_: None)
    wrong = set()
    for name, function, arrays, expected in CONVENTIONS:
        try:
            test_convention(function, arrays, expected)
        except Exception:
            wrong.add(name)
    assert {"np.clip", "np.linalg.norm", "np.prod", "np.std", "np.hypot"} <= wrong


# ---------------------------------------------------------------- random programs

TOGETHER = 50


def compared(numbers):
    """What the engines disagree in, and how many programs came to what."""
    from interpreted import interpreted

    found, count = [], Counter()
    for number in numbers:
        chain = Chain(number)
        try:
            program = products(chain)
        except TracingError:  # of an array that depends on nothing, at an index that is traced
            count["not traced"] += 1
            continue
        one = outcome(chain, compile_program(program))
        count[one if isinstance(one, str) else "values" if one.values else "NonFiniteError"] += 1
        made = {"compiled": outcome(chain, interpreted(program)), "eager": eager(chain)}
        if made["eager"] == "TracingError":  # autograd has no such method or index, and says so
            count["not eager"] += 1
            del made["eager"]
        for engine, other in made.items():
            text = difference(one, other)
            if text is not None:
                found.append(f"{engine}, {chain}: {text}")
    return found, count


@pytest.mark.quick("0", "50")
@pytest.mark.parametrize("first", range(0, 300, TOGETHER))
def test_random_programs(first):
    pytest.importorskip("llvmlite")
    found, count = compared(range(first, first + TOGETHER))
    assert found == []
    assert count["values"] > 0.8 * TOGETHER
    assert count["not eager"] < 0.1 * TOGETHER


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, 10_000, 1000))
def test_many_random_programs(first):
    pytest.importorskip("llvmlite")
    found, count = compared(range(first, first + 1000))
    assert found == []
    assert count["not traced"] < 3


def test_a_disagreement_is_found(monkeypatch):
    """Negative control: with autograd's own rules, and with a tie that goes to the first in compiled source."""
    pytest.importorskip("llvmlite")
    from fwdgrad.engines.compiled_engine import pointwise

    with monkeypatch.context() as patch:
        patch.setattr(autodiff, "_call_of", lambda *_: None)
        assert any(text.startswith("eager") for text in compared([41, 50, 75])[0])
    monkeypatch.setitem(pointwise._COMPARE, "equal", "<")
    assert any(text.startswith("compiled") for text in compared(range(20))[0])


def merged(chains):
    """The products of several programs in one compilation: what differs from the NumPy engine."""
    from engine_checks import merged as joined

    from fwdgrad.engines.compiled_engine import compile_program as compiled

    programs = [products(c) for c in chains]
    made = iter(compiled(joined(programs))(*(a for c in chains for a in c.arguments)))
    found = []
    for chain, program in zip(chains, programs, strict=True):
        results = [next(made) for _ in program.outputs]
        text = difference(outcome(chain, compile_program(program)), outcome(chain, lambda *_, r=results: r))
        found += [] if text is None else [f"{chain}: {text}"]
    return found


def unrefused(numbers):
    """Those of the programs that no engine refuses for an index or a pivot: they may be compiled together."""
    chains = [Chain(n) for n in numbers]
    return [c for c in chains if isinstance(outcome(c, compile_program(products(c))), Made)]


def small(numbers):
    """Those of the programs that have few operations: compiling takes the square of their number."""
    return [c for c in unrefused(numbers) if len(products(c).instructions) <= 25]


def test_compiled_random_programs(tmp_path, monkeypatch):
    """Machine code, too."""
    pytest.importorskip("llvmlite")
    monkeypatch.setenv("FWDGRAD_CACHE", str(tmp_path))
    assert merged(small(range(12))[:4]) == []


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, 400, 10))
def test_many_compiled_random_programs(first, tmp_path, monkeypatch):
    pytest.importorskip("llvmlite")
    monkeypatch.setenv("FWDGRAD_CACHE", str(tmp_path))
    assert merged(small(range(first, first + 10))) == []
