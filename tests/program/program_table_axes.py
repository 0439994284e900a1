"""Reductions, choices, order, products and linear algebra."""

import numpy
from program_scenarios import Table, numbers

TABLE = Table()
add = TABLE.add

NO_RULE = "autograd has no derivative for it"
NO_METHOD = "autograd's arrays have no such method"
NOT_WRAPPED = "autograd does not trace through it"

S, V, M, A = numpy.asarray(0.7), numbers(4), numbers(3, 4), numbers(2, 3, 4)
POSITIVE = numbers(3, 4, low=0.3)
SQUARE = numbers(3, 3) + 3 * numpy.eye(3)
STACK = numbers(2, 3, 3) + 3 * numpy.eye(3)
FLAGS = numpy.array([[True, False, True], [True, True, True]])
INTS = numpy.array([[3, 1, 2], [5, 4, 9]], dtype=numpy.int32)

# ---------------------------------------------------------------- reductions

for _name in ("sum", "mean", "max", "min", "amax", "amin", "prod", "var", "std", "any", "all", "ptp"):
    _cases = [
        *(lambda np, x, n=_name: getattr(np, n)(x), M),
        *(lambda np, x, n=_name: getattr(np, n)(x, axis=0), M),
        *(lambda np, x, n=_name: getattr(np, n)(x, axis=-1), A),
        *(lambda np, x, n=_name: getattr(np, n)(x, axis=1, keepdims=True), A),
    ]
    _reason = NO_RULE if _name in ("ptp",) else ""
    add(f"np.{_name}", *_cases, autograd=_reason)
    if _name not in ("amax", "amin"):
        _more = [
            *(lambda np, x, n=_name: getattr(np, n)(x, axis=(0, 2)), A),
            *(lambda np, x, n=_name: getattr(np, n)(x, axis=(-1, 0), keepdims=True), A),
            *(lambda np, x, n=_name: getattr(np, n)(x, 1), M),
            *(lambda np, x, n=_name: getattr(np, n)(x), V),
        ]
        add(f"np.{_name}", *_more, autograd=_reason)
    if _name not in ("amax", "amin", "ptp"):
        add(f"np.{_name}", lambda np, x, n=_name: getattr(x, n)(axis=1, keepdims=True), M)
        add(f"np.{_name}", lambda np, x, n=_name: getattr(x, n)(), M)
for _name in ("sum", "max", "min", "prod", "any", "all"):
    add(f"np.{_name}", lambda np, x, n=_name: getattr(np, n)(x), S)
    add(f"np.{_name}", lambda np, x, n=_name: getattr(np, n)(x, axis=()), M)
for _name in ("sum", "mean", "max", "prod", "var", "any", "all"):
    _reason = NO_RULE
    add(f"np.{_name}", lambda np, x, n=_name: getattr(np, n)(x, axis=1), INTS, autograd=_reason)
    add(f"np.{_name}", lambda np, x, n=_name: getattr(np, n)(x, axis=1), FLAGS, autograd=_reason)
add(
    "np.sum",
    *(lambda np, x: np.sum(x, 0, numpy.float32), M),
    *(lambda np, x: np.sum(x, axis=1, dtype=float), M),
    smooth=False,
)
add("np.sum", lambda np, x: np.sum(x, axis=0), numpy.zeros((0, 3)))
add(
    "np.max",
    lambda np, x: np.max(x, axis=1),
    numpy.array([[1.0, 2.0, 2.0], [3.0, 3.0, 3.0]]),
    smooth=False,
    again=False,
)
add("np.min", lambda np, x: np.min(x), numpy.array([[1.0, 2.0, 1.0], [3.0, 3.0, 3.0]]), smooth=False, again=False)
add(
    "np.prod",
    *(lambda np, x: np.prod(x), numpy.array([2.0, 0.0, 3.0, 4.0, 5.0])),
    *(lambda np, x: np.prod(x), numpy.array([2.0, 0.0, 0.0, 4.0])),
    *(lambda np, x: np.prod(x, axis=0), numpy.array([[0.0, 2.0], [0.0, 0.0], [1.0, 3.0]])),
    autograd="autograd divides by the factors",
)
add(
    "np.var",
    *(lambda np, x: np.var(x, ddof=1), M),
    *(lambda np, x: np.var(x, axis=0, ddof=2), M),
)
add("np.var", lambda np, x: np.var(x, 0, None, None, 1), M, autograd="autograd's rule takes fewer arguments")
add("np.std", lambda np, x: np.std(x, ddof=1, axis=1), M)
add("np.std", lambda np, x: np.std(x), numpy.ones(3), smooth=False, again=False, autograd="autograd gives NaN")
add("np.mean", lambda np, x: np.mean(x, axis=1, dtype=float), M)
add(
    "np.average",
    *(lambda np, x: np.average(x), M),
    *(lambda np, x: np.average(x, axis=1), M),
    *(lambda np, x, w: np.average(x, weights=w), M, POSITIVE),
    *(lambda np, x, w: np.average(x, axis=0, weights=w), M, numbers(3, low=0.3)),
    *(lambda np, x, w: np.average(x, axis=(2, 0), weights=w), A, numbers(4, 2, low=0.3)),
    *(lambda np, x, w: np.average(x, axis=1, weights=w, keepdims=True), M, POSITIVE),
    autograd=NO_RULE,
)
add(
    "np.cumsum",
    *(lambda np, x: np.cumsum(x), M),
    *(lambda np, x: np.cumsum(x, axis=0), M),
    *(lambda np, x: np.cumsum(x, axis=-1), A),
    *(lambda np, x: x.cumsum(1), M),
)
add("np.cumsum", lambda np, k: np.cumsum(k, axis=1), INTS, lambda np, x: np.cumsum(x, 0, float), M, autograd=NO_RULE)
add(
    "np.linalg.norm",
    *(lambda np, x: np.linalg.norm(x), V),
    *(lambda np, x: np.linalg.norm(x), M),
    *(lambda np, x: np.linalg.norm(x), A),
    *(lambda np, x: np.linalg.norm(x, axis=1), M),
    *(lambda np, x: np.linalg.norm(x, axis=0, keepdims=True), M),
    *(lambda np, x: np.linalg.norm(x, axis=(0, 2)), A),
    *(lambda np, x: np.linalg.norm(x, "fro"), M),
    *(lambda np, x: np.linalg.norm(x, 2), V),
    *(lambda np, x: np.linalg.norm(x, ord=2, axis=-1), M),
)
add(
    "np.linalg.norm",
    *(lambda np, x: np.linalg.norm(x, 1), V),
    *(lambda np, x: np.linalg.norm(x, ord=1, axis=0), M),
    *(lambda np, x: np.linalg.norm(x, numpy.inf), V),
    *(lambda np, x: np.linalg.norm(x, numpy.inf, axis=-1), M),
    *(lambda np, k: np.linalg.norm(k), INTS),
    autograd="autograd has a rule for fewer forms",
)
add("np.linalg.norm", lambda np, x: np.linalg.norm(x), numpy.zeros(3), smooth=False, again=False, autograd="there NaN")

# ---------------------------------------------------------------- choices

add(
    "np.where",
    *(lambda np, x, y: np.where(x > y, x, y), M, numbers(3, 4, seed=4)),
    *(lambda np, x: np.where(x > 0, x, 0.0), M),
    *(lambda np, x: np.where(x > 0, 1.0, -1), M),
    *(lambda np, x: np.where(numpy.array([True, False, True, False]), x, 2 * x), M),
    *(lambda np, x: np.where(numpy.array([1.0, 0.0, 2.0, 0.0]), x, 2 * x), M),
    *(lambda np, x, y: np.where(x, y, 1.0), numpy.array([0.0, 1.0]), numbers(2)),
    *(lambda np, x: np.where(x > 0, x, 0.0), S),
)
add(
    "np.where",
    *(lambda np, x, y: np.where(x > 0, x, y), M, numbers(4, seed=4)),
    *(lambda np, x: np.where(x[:, None] > 0, x, numpy.zeros(4)), V),
    autograd="autograd does not sum over repeats",
)
add("np.where", lambda np, x: np.where(x > 0, 1, 0), M, lambda np, k: np.where(k > 2, k, 0), INTS)
add("np.where", lambda np, x: np.where(True, x, 0.0), V)
add(
    "np.clip",
    *(lambda np, x: np.clip(x, -0.5, 1.0), M),
    *(lambda np, x: np.clip(x, numpy.array([-0.5, 0.0, 0.1, 0.2]), 1.0), M),
    *(lambda np, x: np.clip(x, None, 1.0), M),
    *(lambda np, x: np.clip(x, 0.1, None), M),
)
add(
    "np.clip",
    *(lambda np, x, low, high: np.clip(x, low, high), M, numpy.asarray(-0.5), numbers(4, low=1.1)),
    *(lambda np, x: np.clip(numpy.array([-3.0, 0.1, 3.0, 0.0]), x, 2.0), V),
    autograd="autograd has a rule for constant bounds only",
)
add("np.clip", lambda np, x: x.clip(-0.5, 1.0), M)
if numpy.lib.NumpyVersion(numpy.__version__) >= "2.1.0":
    add("np.clip", lambda np, x: np.clip(x, min=0.1), M, lambda np, x: np.clip(x, max=0.1), M, autograd=NO_RULE)
add(
    "np.clip",
    lambda np, x: np.clip(x, 0.0, 1.0),
    numpy.array([0.0, 1.0, 0.5]),
    smooth=False,
    again=False,
    autograd="0 there",
)
add(
    "np.select",
    *(lambda np, x: np.select([x > 1, x > 0], [x * x, 2 * x], 0.5), M),
    *(lambda np, x: np.select([x > 1, x > 0], [x, 1.0]), M),
    autograd=NOT_WRAPPED,
)
add("np.select", lambda np, x: np.select([x > 1, x > 0], [1.0, 2], default=x), M)
for _name in ("maximum", "minimum", "fmax", "fmin"):
    _tie = numpy.array([1.0, -1.0, 0.0, 2.0])
    _case = (lambda np, x, y, n=_name: getattr(np, n)(x, y), _tie, numpy.array([1.0, 2.0, 0.0, -1.0]))
    add(f"np.{_name}", *_case, smooth=False, again=False)
    add(f"np.{_name}", lambda np, x, n=_name: getattr(np, n)(x, 0.0), _tie, smooth=False, again=False)
add("np.absolute", lambda np, x: np.absolute(x), numpy.array([0.0, 1.0]), smooth=False, again=False)
add("np.fabs", lambda np, x: np.fabs(x), numpy.array([0.0, -1.0]), smooth=False, again=False)
add("np.hypot", lambda np, x: np.hypot(x, x), numpy.zeros(2), smooth=False, again=False, autograd="autograd gives NaN")

# ---------------------------------------------------------------- order

for _name in ("argsort", "sort"):
    _cases = [
        *(lambda np, x, n=_name: getattr(np, n)(x), M),
        *(lambda np, x, n=_name: getattr(np, n)(x, axis=0), M),
        *(lambda np, x, n=_name: getattr(np, n)(x, axis=1), A),
    ]
    _reason = "" if _name == "argsort" else "autograd has a rule for vectors only"
    add(f"np.{_name}", *_cases, autograd=_reason)
    add(f"np.{_name}", lambda np, x, n=_name: getattr(np, n)(x), V)
    add(f"np.{_name}", lambda np, x, n=_name: getattr(np, n)(x, axis=None), M, autograd=_reason)
    add(f"np.{_name}", lambda np, x, n=_name: getattr(np, n)(x, kind="stable"), V)
add("np.argsort", lambda np, x: x.argsort(axis=0), M)
for _name in ("argmax", "argmin"):
    add(
        f"np.{_name}",
        *(lambda np, x, n=_name: getattr(np, n)(x), M),
        *(lambda np, x, n=_name: getattr(np, n)(x, axis=0), M),
        *(lambda np, x, n=_name: getattr(np, n)(x, axis=-1), A),
        *(lambda np, x, n=_name: getattr(np, n)(x, axis=1, keepdims=True), A),
        *(lambda np, x, n=_name: getattr(np, n)(x, keepdims=True), M),
        *(lambda np, x, n=_name: getattr(x, n)(1), M),
    )
add(
    "np.searchsorted",
    *(lambda np, x: np.searchsorted(numpy.array([-1.0, 0.0, 1.0]), x), M),
    *(lambda np, x: np.searchsorted(numpy.array([-1.0, 0.0, 1.0]), x, side="right"), M),
    *(lambda np, x: np.searchsorted(np.sort(x), 0.3), V),
    *(lambda np, x: np.searchsorted(x, 0.5), numpy.array([0.0, 0.5, 0.5, 2.0])),
    *(lambda np, x: np.searchsorted(x, 0.5, "right"), numpy.array([0.0, 0.5, 0.5, 2.0])),
)

# ---------------------------------------------------------------- products

W = numbers(4, 3, seed=7)
add(
    "np.matmul",
    *(lambda np, a, b: np.matmul(a, b), M, W),
    *(lambda np, a, b: a @ b, M, V),
    *(lambda np, a, b: a @ b, V, W),
    *(lambda np, a, b: a @ b, V, numbers(4, seed=8)),
    *(lambda np, a, b: a @ b, A, W),
    *(lambda np, a, b: a @ b, M, numbers(2, 4, 3, seed=9)),
    *(lambda np, a, b: a @ b, A, V),
    *(lambda np, a, b: a @ b, V, numbers(2, 4, 3, seed=9)),
    *(lambda np, a, b: a @ b, A, numbers(2, 4, 3, seed=9)),
    *(lambda np, a, b: a @ b, numbers(2, 1, 3, 4), numbers(3, 4, 2, seed=9)),
    *(lambda np, a: numpy.array([[1.0, 2.0, 3.0]]) @ a, M),
    *(lambda np, a: a @ [1.0, 2.0, 3.0, 4.0], M),
    *(lambda np, a: a @ a, V),
)
add("np.vecdot", lambda np, a, b: np.vecdot(a, b), M, V, lambda np, a: np.vecdot(a, a), A, autograd=NO_RULE)
add(
    "np.dot",
    *(lambda np, a, b: np.dot(a, b), M, W),
    *(lambda np, a, b: np.dot(a, b), M, V),
    *(lambda np, a, b: np.dot(a, b), V, numbers(4, seed=8)),
    *(lambda np, a, b: np.dot(a, b), S, M),
    *(lambda np, a, b: np.dot(a, b), A, V),
    *(lambda np, a, b: np.dot(a, b), A, W),
    *(lambda np, a, b: np.dot(a, b), M, numbers(2, 4, 3, seed=9)),
    *(lambda np, a: np.dot(2.0, a), M),
)
add("np.dot", lambda np, a, b: a.dot(b), M, W, autograd=NO_METHOD)
add("np.dot", lambda np, a: np.dot(a, [1.0, 2.0, 3.0, 4.0]), M, autograd="autograd's rule needs arrays")
add(
    "np.inner",
    *(lambda np, a, b: np.inner(a, b), M, numbers(2, 4)),
    *(lambda np, a, b: np.inner(a, b), V, numbers(4, seed=8)),
    *(lambda np, a, b: np.inner(a, b), A, numbers(2, 4)),
    *(lambda np, a, b: np.inner(a, b), S, V),
)
add(
    "np.vdot",
    lambda np, a, b: np.vdot(a, b),
    M,
    numbers(3, 4, seed=8),
    lambda np, a: np.vdot(a, a),
    V,
    autograd=NO_RULE,
)
add(
    "np.outer",
    *(lambda np, a, b: np.outer(a, b), V, numbers(3)),
    *(lambda np, a, b: np.outer(a, b), S, V),
)
add(
    "np.outer",
    *(lambda np, a, b: np.outer(a, b), M, numbers(2)),
    *(lambda np, a: np.outer(a, [1.0, 2.0]), V),
    autograd="autograd's rule needs vectors",
)
add(
    "np.tensordot",
    *(lambda np, a, b: np.tensordot(a, b), A, numbers(3, 4, 2, seed=3)),
    *(lambda np, a, b: np.tensordot(a, b, axes=1), M, W),
    *(lambda np, a, b: np.tensordot(a, b, 0), V, numbers(2)),
    *(lambda np, a, b: np.tensordot(a, b, axes=([1, 2], [0, 1])), A, numbers(3, 4, 2, seed=3)),
    *(lambda np, a, b: np.tensordot(a, b, axes=([2, 0], [0, 1])), A, numbers(4, 2, seed=3)),
    *(lambda np, a, b: np.tensordot(a, b, axes=(-1, 0)), A, W),
)
add(
    "np.kron",
    *(lambda np, a, b: np.kron(a, b), numbers(2, 3), numbers(2, 2)),
    *(lambda np, a, b: np.kron(a, b), V, numbers(2)),
    *(lambda np, a, b: np.kron(a, b), numbers(2, 2), numbers(3)),
)
add(
    "np.cross",
    *(lambda np, a, b: np.cross(a, b), numbers(3), numbers(3, seed=3)),
    *(lambda np, a, b: np.cross(a, b), numbers(2, 3), numbers(2, 3, seed=3)),
    *(lambda np, a: np.cross(a, [1.0, 2.0, 3.0]), numbers(3)),
)
add(
    "np.cross",
    lambda np, a, b: np.cross(a, b),
    numbers(2, 3),
    numbers(3),
    autograd="autograd does not sum over repeats",
)
add(
    "np.einsum",
    *(lambda np, a, b: np.einsum("ij,j->i", a, b), M, V),
    *(lambda np, a, b: np.einsum("ij,jk->ik", a, b), M, W),
    *(lambda np, a, b: np.einsum("ij,jk", a, b), M, W),
    *(lambda np, a, b: np.einsum("i,j->ij", a, b), V, numbers(3)),
    *(lambda np, a, b: np.einsum("i,j->ji", a, b), V, numbers(3)),
    *(lambda np, a, b: np.einsum("bij,jk->bik", a, b), A, W),
    *(lambda np, a, b: np.einsum("...ij,jk->...ik", a, b), A, W),
    *(lambda np, a, b: np.einsum("i,i->", a, b), V, numbers(4, seed=3)),
    *(lambda np, a: np.einsum("ij->ji", a), M),
    *(lambda np, a: np.einsum("ij->j", a), M),
    *(lambda np, a: np.einsum("ij->", a), M),
    *(lambda np, a: np.einsum("ij", a), M),
    *(lambda np, a: np.einsum("...j->...", a), A),
    *(lambda np, a, b, c: np.einsum("ij,jk,k->i", a, b, c), M, W, numbers(3)),
    *(lambda np, a, b, c: np.einsum("ij,jk,k->i", a, b, c, optimize=True), M, W, numbers(3)),
    *(lambda np, a, b: np.einsum("ij,kl->k", a, b), M, W),
    *(lambda np, a, b: np.einsum(" i j , j -> i ", a, b), M, V),
    *(lambda np, a: np.einsum("ij,j->i", a, [1.0, 2.0, 3.0, 4.0]), M),
)
add(
    "np.einsum",
    *(lambda np, a: np.einsum("ii->i", a), SQUARE),
    *(lambda np, a: np.einsum("ii", a), SQUARE),
    *(lambda np, a: np.einsum("iij->j", a), numbers(3, 3, 2)),
    *(lambda np, a: np.einsum("iii->i", a), numbers(2, 2, 2)),
    *(lambda np, a, b: np.einsum("ii,ij->j", a, b), SQUARE, M),
    *(lambda np, a, b: np.einsum("ij,ij->i", a, b), numbers(3, 1), M),
    autograd="autograd has no rule for repeated letters",
)
add(
    "np.einsum",
    *(lambda np, a, b: np.einsum("...,...->...", a, b), A, M),
    *(lambda np, a, b: np.einsum("...i,...i", a, b), A, numbers(3, 4, seed=5)),
    *(lambda np, a, b: np.einsum("ij,ij->ij", a, b), numbers(3, 1), M),
    *(lambda np, a, b: np.einsum(",i->i", a, b), S, V),
)

# ---------------------------------------------------------------- linear algebra

add("np.linalg.inv", lambda np, a: np.linalg.inv(a), SQUARE, lambda np, a: np.linalg.inv(a), STACK)
add("np.linalg.det", lambda np, a: np.linalg.det(a), SQUARE, lambda np, a: np.linalg.det(a), STACK)
add(
    "np.linalg.solve",
    *(lambda np, a, b: np.linalg.solve(a, b), SQUARE, numbers(3)),
    *(lambda np, a, b: np.linalg.solve(a, b), SQUARE, numbers(3, 2)),
    *(lambda np, a, b: np.linalg.solve(a, b), STACK, numbers(2, 3, 2)),
    *(lambda np, b: np.linalg.solve(numpy.diag([2.0, 3.0, 4.0]), b), numbers(3)),
    *(lambda np, a: np.linalg.solve(a, [1.0, 2.0, 3.0]), SQUARE),
)
add(
    "np.linalg.solve",
    *(lambda np, a, b: np.linalg.solve(a, b), STACK, numbers(3)),
    *(lambda np, a, b: np.linalg.solve(a, b), SQUARE, numbers(2, 3, 2)),
    *(lambda np, a, b: np.linalg.solve(a, b), STACK, numbers(3, 2)),
    autograd="autograd does not sum over repeats",
)
add(
    "np.linalg.matrix_power",
    *(lambda np, a: np.linalg.matrix_power(a, 0), SQUARE),
    *(lambda np, a: np.linalg.matrix_power(a, 1), SQUARE),
    *(lambda np, a: np.linalg.matrix_power(a, 5), SQUARE / 3),
    *(lambda np, a: np.linalg.matrix_power(a, -2), SQUARE),
    *(lambda np, a: np.linalg.matrix_power(a, 3), STACK / 3),
    autograd=NO_RULE,
)
