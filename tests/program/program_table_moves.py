"""Shapes, joining, splitting, indexing, and functions sampled at points."""

import numpy
from program_scenarios import Table, numbers

TABLE = Table()
add = TABLE.add

NO_RULE = "autograd has no derivative for it"
NO_METHOD = "autograd's arrays have no such method"
SPLIT = "autograd takes the parts for one array"
NOT_WRAPPED = "autograd does not trace through it"

S, V, M, A = numpy.asarray(0.7), numbers(4), numbers(3, 4), numbers(2, 3, 4)
INTS = numpy.array([[3, 1, 2], [5, 4, 9]], dtype=numpy.int32)

# ---------------------------------------------------------------- questions

add("np.shape", lambda np, x: x * np.shape(x)[0], M)
add("np.ndim", lambda np, x: x * np.ndim(x), M)
add("np.size", lambda np, x: x * np.size(x), M, lambda np, x: x / np.size(x, 1), M, lambda np, x: x * np.size(x, -1), A)
add("np.result_type", lambda np, x: x * np.ones(4, np.result_type(x, 1.0)), M)
add("np.zeros_like", lambda np, x: np.zeros_like(x) + x, M, lambda np, x: np.zeros_like(x, dtype=int), M)
add("np.zeros_like", lambda np, x: np.zeros_like(x, shape=(2,)), M)
add("np.ones_like", lambda np, x: np.ones_like(x) * x, M, lambda np, x: np.ones_like(x), S)
add("np.empty_like", lambda np, x: np.empty_like(x).shape[1] * x, M)
add("np.full_like", lambda np, x: np.full_like(x, 2.5) * x, M)
add(
    "np.full_like",
    *(lambda np, x, y: np.full_like(x, y), M, S),
    *(lambda np, x, y: np.full_like(x, y, shape=(2, 4)), M, V),
    autograd="autograd takes it for a constant",
)
add("np.full_like", lambda np, x: np.full_like(x, 1.5, dtype=int), M)
add(
    "attributes",
    *(lambda np, x: x * x.shape[1] + x.size + len(x) + x.ndim, M),
    *(lambda np, x: x.T, M),
    *(lambda np, x: x.T, A),
    *(lambda np, x: x.T, V),
    *(lambda np, x: x.astype(int), M),
    *(lambda np, x: x.dtype.type(2.0) * x, M),
    *(lambda np, x: (x > 0).astype(float) * x, M),
    *(lambda np, k: k.astype(float) * 1.5, INTS),
)
add(
    "attributes",
    *(lambda np, x: x.mT, A),
    *(lambda np, x: x.real + x.imag, M),
    *(lambda np, x: x * (x.itemsize * x.size == x.nbytes), M),
    *(lambda np, x: np.stack([2 * v for v in x.flat]), M),
    *(lambda np, x: x.copy().astype(np.float64), M),
    *(lambda np, x: x.conj() + x.conjugate(), M),
    autograd=NO_METHOD,
)

# ---------------------------------------------------------------- shapes

add(
    "np.reshape",
    *(lambda np, x: np.reshape(x, (4, 3)), M),
    *(lambda np, x: np.reshape(x, -1), A),
    *(lambda np, x: np.reshape(x, (2, -1, 2)), M),
    *(lambda np, x: np.reshape(x, [6, 4]), A),
    *(lambda np, x: np.reshape(x, ()), numpy.array([[0.3]])),
    *(lambda np, x: np.reshape(x, (1, 1)), S),
    *(lambda np, x: x.reshape(4, 3), M),
    *(lambda np, x: x.reshape((2, 6)), M),
    *(lambda np, x: x.reshape(-1), M),
)
add("np.ravel", lambda np, x: np.ravel(x), A, lambda np, x: np.ravel(x), S, lambda np, x: x.ravel(), M)
add("np.ravel", lambda np, x: x.flatten(), M)
add(
    "np.expand_dims",
    *(lambda np, x: np.expand_dims(x, 0), M),
    *(lambda np, x: np.expand_dims(x, -1), M),
    *(lambda np, x: np.expand_dims(x, (0, 2)), M),
)
add(
    "np.squeeze",
    *(lambda np, x: np.squeeze(x), numbers(1, 3, 1)),
    *(lambda np, x: np.squeeze(x, axis=0), numbers(1, 3, 1)),
    *(lambda np, x: np.squeeze(x, axis=(0, -1)), numbers(1, 3, 1)),
    *(lambda np, x: x.squeeze(), numbers(1, 3, 1)),
)
for _n in (1, 2, 3):
    add(
        f"np.atleast_{_n}d",
        *(c for x in (S, V, M, A) for c in (lambda np, y, n=_n: getattr(np, f"atleast_{n}d")(y), x)),
    )
    _two = lambda np, x, y, n=_n: getattr(np, f"atleast_{n}d")(x, y)  # noqa: E731
    add(f"np.atleast_{_n}d", _two, V, M, autograd=NOT_WRAPPED)
add(
    "np.transpose",
    *(lambda np, x: np.transpose(x), A),
    *(lambda np, x: np.transpose(x, (1, 2, 0)), A),
    *(lambda np, x: np.transpose(x), V),
    *(lambda np, x: x.transpose(), A),
    *(lambda np, x: x.transpose((2, 0, 1)), A),
    *(lambda np, x: x.transpose(None), M),
)
add("np.transpose", lambda np, x: np.transpose(x, axes=(0, -1, 1)), A, autograd="autograd's rule errs on negative axes")
add("np.transpose", lambda np, x: x.transpose(2, 0, 1), A, autograd=NO_METHOD)
add("np.matrix_transpose", lambda np, x: np.matrix_transpose(x), A, autograd=NO_RULE)
add("np.swapaxes", lambda np, x: np.swapaxes(x, 0, 2), A, lambda np, x: x.swapaxes(-1, 0), A)
add(
    "np.moveaxis",
    *(lambda np, x: np.moveaxis(x, 0, -1), A),
    *(lambda np, x: np.moveaxis(x, [0, 1], [-1, 0]), A),
    *(lambda np, x: np.moveaxis(x, (2, 0), (0, 1)), A),
)
add("np.rollaxis", lambda np, x: np.rollaxis(x, 2), A, lambda np, x: np.rollaxis(x, 0, 2), A)
add("np.rollaxis", lambda np, x: np.rollaxis(x, 1, 3), A)
add("np.rollaxis", lambda np, x: np.rollaxis(x, -1, -2), A, autograd=NO_RULE)
add(
    "np.broadcast_to",
    *(lambda np, x: np.broadcast_to(x, (2, 3, 4)), M),
    *(lambda np, x: np.broadcast_to(x, (2, 4)), S),
    *(lambda np, x: np.broadcast_to(x, 3), S),
    autograd="autograd has no rule for new axes",
)
add("np.broadcast_to", lambda np, x: np.broadcast_to(x, (3, 5)), numbers(3, 1))
add("np.broadcast_arrays", lambda np, x, y: np.broadcast_arrays(x, y, 2.0), numbers(3, 1), V, autograd=NO_RULE)
add(
    "np.meshgrid",
    *(lambda np, x, y: np.meshgrid(x, y), numbers(2), numbers(3)),
    *(lambda np, x, y: np.meshgrid(x, y, indexing="ij"), numbers(2), numbers(3)),
    *(lambda np, x, y, z: np.meshgrid(x, y, z), numbers(2), numbers(3), numbers(4)),
    *(lambda np, x: np.meshgrid(x), numbers(2)),
    autograd=NO_RULE,
)

# ---------------------------------------------------------------- joining

R = numbers(2, 4, seed=3)
add(
    "np.concatenate",
    *(lambda np, x, y: np.concatenate([x, y]), M, R),
    *(lambda np, x, y: np.concatenate((x, y), axis=1), M, numbers(3, 2)),
    *(lambda np, x, y: np.concatenate([x, y], axis=-1), A, numbers(2, 3, 1)),
    *(lambda np, x: np.concatenate([x, x]), V),
    *(lambda np, x: np.concatenate([x, numpy.ones(2)]), V),
    *(lambda np, x: np.concatenate([x, [1.0, 2.0]]), V),
    *(lambda np, x: np.concatenate([x[:1], x[2:]]), V),
)
add("np.concatenate", lambda np, x, y: np.concatenate([x, y], axis=None), M, V, autograd=NO_RULE)
add("np.concatenate", lambda np, x: np.concatenate([x, numpy.array([1, 2])]), V)
add("np.concatenate", lambda np, x: np.concatenate([x, x], dtype=float), V, autograd=NOT_WRAPPED)
add("np.concatenate", lambda np, x: np.concatenate(x), A)
add(
    "np.stack",
    *(lambda np, x, y: np.stack([x, y]), M, numbers(3, 4, seed=3)),
    *(lambda np, x, y: np.stack([x, y], axis=-1), M, numbers(3, 4, seed=3)),
    *(lambda np, x, y: np.stack((x, y), axis=1), M, numbers(3, 4, seed=3)),
    *(lambda np, x: np.stack([x[0], 2.0, x[1] * x[2]]), V),
)
add(
    "np.hstack",
    *(lambda np, x, y: np.hstack([x, y]), V, numbers(2)),
    *(lambda np, x, y: np.hstack([x, y]), M, numbers(3, 2)),
    *(lambda np, x: np.hstack([x[0], 1.0, x]), V),
)
add(
    "np.vstack",
    *(lambda np, x, y: np.vstack([x, y]), V, M),
    *(lambda np, x, y: np.vstack([x, y]), M, R),
    *(lambda np, x: np.vstack(x), M),
)
add(
    "np.dstack",
    lambda np, x, y: np.dstack([x, y]),
    M,
    numbers(3, 4, seed=3),
    lambda np, x: np.dstack([x, x]),
    V,
    autograd=NO_RULE,
)
add(
    "np.column_stack", lambda np, x, y: np.column_stack([x, y]), M, numbers(3), lambda np, x: np.column_stack([x, x]), V
)
add("np.append", lambda np, x, y: np.append(x, y), M, V, lambda np, x: np.append(x, 2.0), V)
add("np.append", lambda np, x, y: np.append(x, y, axis=0), M, R)
add(
    "np.block",
    *(lambda np, x, y: np.block([[x, x], [y, y]]), M, R),
    *(lambda np, x: np.block([x, x, 1.0]), V),
    *(lambda np, x: np.block([[x, numpy.zeros((3, 1))], [numpy.ones((1, 4)), 2.0]]), M),
    *(lambda np, x: np.block([x[0], x[1]]), V),
    autograd=NOT_WRAPPED,
)

# ---------------------------------------------------------------- splitting and repeating

for _name in ("split", "array_split"):
    add(
        f"np.{_name}",
        *(lambda np, x, n=_name: getattr(np, n)(x, 2), V),
        *(lambda np, x, n=_name: getattr(np, n)(x, [1, 3]), V),
        *(lambda np, x, n=_name: getattr(np, n)(x, 2, axis=1), M),
        *(lambda np, x, n=_name: getattr(np, n)(x, (1,), -1), M),
        autograd=SPLIT,
    )
add("np.array_split", lambda np, x: np.array_split(x, 3), V, autograd=SPLIT)
add("np.hsplit", lambda np, x: np.hsplit(x, 2), M, lambda np, x: np.hsplit(x, [1]), V, autograd=SPLIT)
add("np.vsplit", lambda np, x: np.vsplit(x, 3), M, autograd=SPLIT)
add("np.dsplit", lambda np, x: np.dsplit(x, 2), A, autograd=SPLIT)
add(
    "np.tile",
    *(lambda np, x: np.tile(x, 2), V),
    *(lambda np, x: np.tile(x, (2, 3)), M),
    *(lambda np, x: np.tile(x, (2, 1, 3)), M),
    *(lambda np, x: np.tile(x, 3), S),
)
add(
    "np.tile",
    lambda np, x: np.tile(x, 2),
    M,
    lambda np, x: np.tile(x, (2,)),
    A,
    autograd="autograd needs equal lengths",
)
add(
    "np.repeat",
    *(lambda np, x: np.repeat(x, 2), V),
    *(lambda np, x: np.repeat(x, 2, axis=1), M),
    *(lambda np, x: np.repeat(x, 3), M),
    *(lambda np, x: x.repeat(2, axis=0), M),
)
add("np.repeat", lambda np, x: np.repeat(x, [1, 0, 2], axis=0), M, autograd="autograd has no rule for several counts")
add(
    "np.flip",
    lambda np, x: np.flip(x),
    A,
    lambda np, x: np.flip(x, 1),
    A,
    lambda np, x: np.flip(x, (0, -1)),
    A,
    autograd=NO_RULE,
)
add("np.flipud", lambda np, x: np.flipud(x), M)
add("np.fliplr", lambda np, x: np.fliplr(x), M)
for _k in (-1, 0, 1, 2, 3, 5):
    add("np.rot90", lambda np, x, k=_k: np.rot90(x, k), M)
add("np.rot90", lambda np, x: np.rot90(x, axes=(2, 1)), A, lambda np, x: np.rot90(x, 1, (0, 2)), A, autograd=NO_RULE)
add(
    "np.roll",
    *(lambda np, x: np.roll(x, 1), V),
    *(lambda np, x: np.roll(x, -1), M),
    *(lambda np, x: np.roll(x, 2, axis=1), M),
    *(lambda np, x: np.roll(x, 7, axis=0), M),
    *(lambda np, x: np.roll(x, 0, axis=0), M),
    *(lambda np, x: np.roll(x, 1, axis=(0, 1)), M),
)
add(
    "np.roll",
    *(lambda np, x: np.roll(x, (1, 2), axis=(0, 1)), M),
    *(lambda np, x: np.roll(x, (1, 2), axis=1), M),
    autograd="autograd negates the shift, which must be a number",
)
add("np.pad", lambda np, x: np.pad(x, 1), M, autograd="autograd's rule needs the mode")
add("np.pad", lambda np, x: np.pad(x, ((1, 2), (0, 3)), "constant"), M)
add(
    "np.pad",
    *(lambda np, x: np.pad(x, (2, 1), constant_values=1.5), V),
    *(lambda np, x: np.pad(x, ((0, 0), (1, 0))), M),
    *(lambda np, x: np.pad(x, 0), M),
    *(lambda np, x: np.pad(x, (1, 2), mode="edge"), V),
    *(lambda np, x: np.pad(x, 2, mode="reflect"), M),
    *(lambda np, x: np.pad(x, 3, mode="symmetric"), M),
    *(lambda np, x: np.pad(x, ((1, 2), (3, 0)), mode="wrap"), M),
    autograd=NO_RULE,
)
add("np.pad", lambda np, x, y: np.pad(x, 1, constant_values=y), M, S, autograd=NO_RULE)

# ---------------------------------------------------------------- indexing

I1, I2 = numpy.array([2, 0, 2]), numpy.array([[1, 0], [3, 3]])
MASK = numpy.array([True, False, True])
add(
    "indexing",
    *(lambda np, x: x[1], M),
    *(lambda np, x: x[-1], M),
    *(lambda np, x: x[numpy.int64(1)], M),
    *(lambda np, x: x[1, 2], M),
    *(lambda np, x: x[1][2], M),
    *(lambda np, x: x[1:], M),
    *(lambda np, x: x[:-1, ::2], M),
    *(lambda np, x: x[::-1, 3:0:-2], M),
    *(lambda np, x: x[5:], M),
    *(lambda np, x: x[:, 1], M),
    *(lambda np, x: x[..., 1], A),
    *(lambda np, x: x[1, ...], A),
    *(lambda np, x: x[0, ..., 1:3], A),
    *(lambda np, x: x[...], A),
    *(lambda np, x: x[()], S),
    *(lambda np, x: x[None], S),
    *(lambda np, x: x[:, None], V),
    *(lambda np, x: x[None, 1, :, None], M),
    *(lambda np, x: x[:, np.newaxis, 1:], M),
    *(lambda np, x: x[[0, 2]], V),
    *(lambda np, x: x[[0, 2, 0]], M),
    *(lambda np, x: x[I1], M),
    *(lambda np, x: x[:, I2], M),
    *(lambda np, x: x[I1, 1], M),
    *(lambda np, x: x[I1, I1 + 1], M),
    *(lambda np, x: x[I1[:, None], [0, 3]], M),
    *(lambda np, x: x[1, :, I1], A),
    *(lambda np, x: x[[0, 1], :, [3, 2]], A),
    *(lambda np, x: x[:, [0, 1], [3, 2]], A),
    *(lambda np, x: x[-I1], M),
    *(lambda np, x: x[MASK], M),
    *(lambda np, x: x[:, MASK], A),
    *(lambda np, x: x[..., MASK, 1], A),
    *(lambda np, x: x[numpy.array([[True, False, True, True]] * 3)], M),
    *(lambda np, x: x[np.ix_([0, 2], [1, 3])], M),
    *(lambda np, x: x[[]], M),
    *(lambda np, x: x[slice(None), 0], M),
    *(lambda np, x: [r * 2 for r in x], M),
    *(lambda np, x: x[0] + x[2], M),
    *(lambda np, x: list(reversed(x)), M),
)
K0, K1 = numpy.asarray(2), numpy.array([2, 0, 2])
add(
    "indexing",
    *(lambda np, x, k: x[k], M, K0),
    *(lambda np, x, k: x[:, k], M, K0),
    *(lambda np, x, k: x[k, 1:], M, K0),
    *(lambda np, x, k: x[k], M, K1),
    *(lambda np, x, k: x[:, k], M, K1),
    *(lambda np, x, k: x[k, k + 1], M, K1),
    *(lambda np, x, k: x[k, [0, 1, 1]], M, K1),
    *(lambda np, x, k: x[0, :, k], A, K1),
    *(lambda np, x, k: x[k % 2, :, k], A, K1),
    *(lambda np, x, k: x[..., k, None], A, K0),
    *(lambda np, x, k: x[-k], V, K1),
    *(lambda np, x, k: x[k[0]] + x[k[1]], M, K1),
    *(lambda np, x: x[np.argmax(x)], V),
    *(lambda np, x: x[np.argsort(x)], V),
)
add("indexing", lambda np, x, k: x[[k[0], k[1], 1]], M, K1)
add("indexing", lambda np, x: x[[True, False, True]], M, autograd="autograd takes the list for places")
add(
    "np.take",
    *(lambda np, x: np.take(x, [0, 2]), V),
    *(lambda np, x: np.take(x, 1, axis=0), M),
    *(lambda np, x: np.take(x, I2, axis=1), M),
    *(lambda np, x: np.take(x, [0, 5]), M),
    *(lambda np, x, k: np.take(x, k, axis=-1), M, K1),
    *(lambda np, x, k: np.take(x, k, axis=0), M, K0),
    *(lambda np, x: np.take(x, [-3, 1, 9], mode="clip"), V),
    *(lambda np, x: np.take(x, [-3, 1, 9], mode="wrap"), V),
    *(lambda np, x, k: np.take(x, k + 3, mode="clip"), V, K1),
    *(lambda np, x, k: np.take(x, k + 3, mode="wrap"), V, K1),
    *(lambda np, x: x.take([1, 1], axis=1), M),
    autograd=NO_RULE,
)
add(
    "np.take_along_axis",
    *(lambda np, x: np.take_along_axis(x, np.argsort(x, axis=1), axis=1), M),
    *(lambda np, x: np.take_along_axis(x, np.argsort(x, axis=0), axis=0), M),
    *(lambda np, x: np.take_along_axis(x, numpy.array([[1], [0], [2]]), axis=1), M),
    *(lambda np, x: np.take_along_axis(x, numpy.array([[1, 0, 2]]), axis=1), M),
    *(lambda np, x: np.take_along_axis(x, numpy.array([1, 0, 2]), axis=None), M),
    autograd=NO_RULE,
)
for _k in (-1, 0, 2):
    add("np.diag", lambda np, x, k=_k: np.diag(x, k), V, lambda np, x, k=_k: np.diag(x, k), M[:, :3])
add("np.diag", lambda np, x: np.diag(x, 1), M, autograd="autograd needs square matrices")
add("np.diagflat", lambda np, x: np.diagflat(x, 1), numbers(2, 2), autograd=NO_RULE)
add("np.diagonal", lambda np, x: np.diagonal(x, 9), M)
add("np.diagonal", lambda np, x: np.diagonal(x), M[:, :3], autograd="autograd needs the last two axes")
add(
    "np.diagonal",
    lambda np, x: np.diagonal(x, 1),
    M,
    lambda np, x: np.diagonal(x, -1),
    M,
    autograd="autograd needs squares",
)
add(
    "np.diagonal",
    *(lambda np, x: np.diagonal(x, axis1=2, axis2=0), A),
    *(lambda np, x: np.diagonal(x, 1, 1, 2), A),
    *(lambda np, x: x.diagonal(1), M),
    autograd="autograd needs squares",
)
add("np.trace", lambda np, x: np.trace(x), M, lambda np, x: np.trace(x, 1), M)
add("np.trace", lambda np, x: x.trace(), M)
add("np.trace", lambda np, x: np.trace(x, axis1=1, axis2=2), A, autograd=NO_RULE)
for _name in ("triu", "tril"):
    add(f"np.{_name}", lambda np, x, n=_name: getattr(np, n)(x), M, lambda np, x, n=_name: getattr(np, n)(x, 1), M)
    add(f"np.{_name}", lambda np, x, n=_name: getattr(np, n)(x, k=-1), A)
    add(f"np.{_name}", lambda np, x, n=_name: getattr(np, n)(x), V, autograd="autograd's rule keeps the shape")

# ---------------------------------------------------------------- sampled functions

add(
    "np.diff",
    *(lambda np, x: np.diff(x), M),
    *(lambda np, x: np.diff(x, 2), M),
    *(lambda np, x: np.diff(x, axis=0), M),
    *(lambda np, x: np.diff(x, 0), M),
)
add(
    "np.diff",
    *(lambda np, x: np.diff(x, prepend=0.5), M),
    *(lambda np, x: np.diff(x, append=x[:, :2]), M),
    *(lambda np, x: np.diff(x, axis=0, prepend=x[:1], append=1.0), M),
    *(lambda np, k: np.diff(k), INTS),
    autograd=NO_RULE,
)
add("np.gradient", lambda np, x: np.gradient(x), numbers(6), lambda np, x: np.gradient(x, axis=0), numbers(6, 2))
add(
    "np.gradient",
    *(lambda np, x: np.gradient(x, 0.5), V),
    *(lambda np, x: np.gradient(x, 0.5, numpy.float64(2.0)), M),
    *(lambda np, x: np.gradient(x), M),
    *(lambda np, x: np.gradient(x, axis=(1, 0)), M),
    *(lambda np, x: np.gradient(x, 2.0, axis=-1), A),
    *(lambda np, x: np.gradient(x), numbers(2)),
    *(lambda np, k: np.gradient(k, axis=1), INTS),
    *(lambda np, x, dx: np.gradient(x, dx), V, S),
    autograd="autograd has a rule for fewer forms",
)
add(
    "np.trapezoid",
    *(lambda np, y: np.trapezoid(y), M),
    *(lambda np, y: np.trapezoid(y, dx=0.5, axis=0), M),
    *(lambda np, y, x: np.trapezoid(y, x), M, numpy.sort(V)),
    *(lambda np, y, x: np.trapezoid(y, x, axis=0), A, numbers(2)),
    *(lambda np, y, x: np.trapezoid(y, x, axis=1), A, numbers(2, 3, 4, seed=3)),
    autograd=NO_RULE,
)
add(
    "np.linspace",
    *(lambda np, a: np.linspace(a, 2.0, 5), S),
    *(lambda np, a, b: np.linspace(a, b, 4), S, numpy.asarray(-1.0)),
    *(lambda np, a: np.linspace(a, 1, 1), S),
)
add(
    "np.linspace",
    *(lambda np, a, b: np.linspace(a, b, 4, endpoint=False), S, numpy.asarray(-1.0)),
    *(lambda np, a, b: np.linspace(a, b, num=3), V, S),
    *(lambda np, a, b: np.linspace(a, b, num=3, axis=-1), V, numbers(4, seed=3)),
    *(lambda np, a: np.linspace(0, a), S),
    autograd="autograd's rule is for numbers and its defaults",
)
XP, FP = numpy.array([-1.5, -0.5, 0.5, 1.0]), numpy.array([1.0, -2.0, 0.5, 3.0])
add(
    "np.interp",
    *(lambda np, x: np.interp(x, XP, FP), numpy.array([-2.0, -1.2, 0.1, 0.7, 3.0])),
    *(lambda np, x, fp: np.interp(x, XP, fp), numpy.array([[-2.0, -1.2], [0.1, 3.0]]), FP),
    *(lambda np, x, xp, fp: np.interp(x, xp, fp), S, XP, FP),
    *(lambda np, xp: np.interp(0.3, xp, [1.0, -2.0, 0.5, 3.0]), XP),
    autograd=NO_RULE,
)
add("np.interp", lambda np, x: np.interp(x, XP, FP), XP, smooth=False, again=False, autograd=NO_RULE)
for _mode in ("full", "same", "valid"):
    for _n, _m in ((5, 3), (5, 2), (2, 5), (4, 4), (3, 1)):
        add(
            "np.convolve",
            *(lambda np, a, v, m=_mode: np.convolve(a, v, m), numbers(_n), numbers(_m, seed=3)),
            autograd=NO_RULE,
        )
add("np.convolve", lambda np, a: np.convolve(a, [1.0, 2.0]), V, lambda np, a: np.convolve(a, V), S, autograd=NO_RULE)
add(
    "np.polyval",
    *(lambda np, p, x: np.polyval(p, x), numbers(3), M),
    *(lambda np, x: np.polyval([1.0, 2, 3], x), V),
    *(lambda np, p: np.polyval(p, 0.5), V),
    *(lambda np, p: np.polyval(p, V), numbers(1)),
    autograd="autograd's arrays end up as entries of NumPy's",
)
