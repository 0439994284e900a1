"""Products of vectors, matrices and tensors, and linear algebra."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp

from fwdgrad.program import operations as ops
from fwdgrad.program.lowering.registry import as_array, axis_of, lowers, static, unsupported
from fwdgrad.program.sources import refuse


def _size(sizes: Sequence[int]) -> int:
    return int(np.prod(sizes, dtype=int))


@lowers(np.matmul, note="either factor may be a constant scipy.sparse matrix: only its entries are multiplied")
def _matmul(a: Any, b: Any) -> Any:
    if sp.issparse(b):
        return np.transpose(_sparse_product(b.T, np.transpose(as_array(a))))
    if sp.issparse(a):
        return _sparse_product(a, as_array(b))
    return ops.matmul(as_array(a), as_array(b))


def _sparse_product(matrix: Any, x: Any) -> Any:
    """A constant sparse matrix times a vector or a matrix: entry by entry, each result the sum of its row's terms."""
    matrix = sp.coo_array(matrix)
    matrix.sum_duplicates()
    if x.ndim not in (1, 2) or x.shape[0] != matrix.shape[1]:
        refuse(f"A sparse matrix of shape {matrix.shape} is multiplied with shape {x.shape}", "Check these shapes.")
    row, column = (c.astype(np.intp) for c in matrix.coords)
    rest = (("slice", None, None, None),) * (x.ndim - 1)
    terms = matrix.data.reshape(-1, *(1,) * (x.ndim - 1)) * x[column]
    shape = (matrix.shape[0], *x.shape[1:])
    return ops.scatter_add(terms, row, index=(("operand",), *rest), shape=shape)


@lowers(np.vecdot)
def _vecdot(a: Any, b: Any) -> Any:
    a, b = as_array(a), as_array(b)
    if not a.shape or not b.shape or a.shape[-1] != b.shape[-1]:
        refuse(f"np.vecdot of shapes {a.shape} and {b.shape}", "The last axes have to be equally long.")
    return np.sum(a * b, axis=-1)


@lowers(np.dot)
def _dot(a: Any, b: Any) -> Any:
    a, b = as_array(a), as_array(b)
    if a.ndim == 0 or b.ndim == 0:
        return a * b
    if b.ndim <= 2:
        return ops.matmul(a, b)
    return _tensordot(a, b, ([a.ndim - 1], [b.ndim - 2]))


@lowers(np.inner)
def _inner(a: Any, b: Any) -> Any:
    a, b = as_array(a), as_array(b)
    if a.ndim == 0 or b.ndim == 0:
        return a * b
    return _tensordot(a, b, ([a.ndim - 1], [b.ndim - 1]))


@lowers(np.vdot)
def _vdot(a: Any, b: Any) -> Any:
    return ops.matmul(np.ravel(as_array(a)), np.ravel(as_array(b)))


@lowers(np.outer)
def _outer(a: Any, b: Any) -> Any:
    a, b = as_array(a), as_array(b)
    return np.reshape(a, (_size(a.shape), 1)) * np.reshape(b, (1, _size(b.shape)))


@lowers(np.tensordot)
def _tensordot(a: Any, b: Any, axes: Any = 2) -> Any:
    a, b = as_array(a), as_array(b)
    if isinstance(axes, (int, np.integer)):
        left, right = list(range(a.ndim - int(axes), a.ndim)), list(range(int(axes)))
    else:
        left, right = (list(x) if isinstance(x, (list, tuple)) else [x] for x in axes)
    left, right = [axis_of(a.ndim, k) for k in left], [axis_of(b.ndim, k) for k in right]
    sizes = [a.shape[k] for k in left]
    if sizes != [b.shape[k] for k in right]:
        refuse(
            f"np.tensordot of shapes {a.shape} and {b.shape} sums over axes {left} and {right}",
            "Axes that are summed together have to be equally long.",
        )
    free_a = [k for k in range(a.ndim) if k not in left]
    free_b = [k for k in range(b.ndim) if k not in right]
    shape_a, shape_b = tuple(a.shape[k] for k in free_a), tuple(b.shape[k] for k in free_b)
    rows = np.reshape(np.transpose(a, free_a + left), (_size(shape_a), _size(sizes)))
    columns = np.reshape(np.transpose(b, right + free_b), (_size(sizes), _size(shape_b)))
    return np.reshape(ops.matmul(rows, columns), shape_a + shape_b)


@lowers(np.kron)
def _kron(a: Any, b: Any) -> Any:
    a, b = as_array(a), as_array(b)
    ndim = max(a.ndim, b.ndim)
    sa = (1,) * (ndim - a.ndim) + a.shape
    sb = (1,) * (ndim - b.ndim) + b.shape
    left = np.reshape(a, tuple(s for k in range(ndim) for s in (sa[k], 1)))
    right = np.reshape(b, tuple(s for k in range(ndim) for s in (1, sb[k])))
    return np.reshape(left * right, tuple(x * y for x, y in zip(sa, sb, strict=True)))


@lowers(np.cross, note="of vectors of length 3, along the last axis")
def _cross(a: Any, b: Any) -> Any:
    a, b = as_array(a), as_array(b)
    if a.shape[-1:] != (3,) or b.shape[-1:] != (3,):
        return unsupported(f"np.cross of shapes {a.shape} and {b.shape} (vectors of length 3 are)")
    rolled = [1, 2, 0]
    return (a * b[..., rolled] - a[..., rolled] * b)[..., rolled]


# ---------------------------------------------------------------- Einstein summation


@lowers(np.einsum, note="subscripts as a string, ellipses included; `optimize` is ignored")
def _einsum(*operands: Any, optimize: Any = None) -> Any:
    """Reduced to the form of `operations.einsum`: axes are summed or dropped where one operand alone has them."""
    if not isinstance(operands[0], str):
        refuse("np.einsum is called with lists of axes", "Write the subscripts as a string, such as 'ij,j->i'.")
    subscripts, *arrays = operands
    arrays = [as_array(a) for a in arrays]
    inputs, output = _explicit(subscripts, [a.ndim for a in arrays])
    sizes: dict[str, int] = {}
    for letters, a in zip(inputs, arrays, strict=True):
        for letter, size in zip(letters, a.shape, strict=True):
            if size not in (sizes.setdefault(letter, size), 1) and sizes[letter] != 1:
                refuse(
                    f"np.einsum({subscripts!r}) of shapes {[a.shape for a in arrays]}: axis {letter!r} is both "
                    f"{sizes[letter]} and {size} long",
                    "Axes with one letter have to be equally long.",
                )
            sizes[letter] = max(size, sizes[letter])
    for k, letters in enumerate(inputs):
        for letter in dict.fromkeys(letters):
            while inputs[k].count(letter) > 1:  # twice in one operand: a diagonal
                first = inputs[k].index(letter)
                second = inputs[k].index(letter, first + 1)
                arrays[k] = np.diagonal(arrays[k], axis1=first, axis2=second)
                inputs[k] = "".join(c for j, c in enumerate(inputs[k]) if j not in (first, second)) + letter
        repeated = [
            j for j, c in enumerate(inputs[k]) if arrays[k].shape[j] < sizes[c]
        ]  # size 1, where others have more
        arrays[k] = np.squeeze(arrays[k], axis=tuple(repeated))
        inputs[k] = "".join(c for j, c in enumerate(inputs[k]) if j not in repeated)
    for k, letters in enumerate(inputs):
        others = output + "".join(inputs[:k] + inputs[k + 1 :])
        lonely = tuple(j for j, c in enumerate(letters) if c not in others)
        arrays[k] = np.sum(arrays[k], axis=lonely)
        inputs[k] = "".join(c for c in letters if c in others)
    if len(arrays) == 1:
        return np.transpose(arrays[0], [inputs[0].index(c) for c in output])
    return ops.einsum(*arrays, subscripts=",".join(inputs) + "->" + output)


def _explicit(subscripts: str, ndims: list[int]) -> tuple[list[str], str]:
    """Input and output letters, ellipses written out, of an einsum string."""
    subscripts = subscripts.replace(" ", "")
    left, arrow, output = subscripts.partition("->")
    inputs = left.split(",")
    if len(inputs) != len(ndims):
        refuse(
            f"np.einsum({subscripts!r}) names {len(inputs)} operands, got {len(ndims)}", "Give one array per operand."
        )
    unused = [c for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" if c not in subscripts]
    hidden = [n - len(i.replace("...", "")) for i, n in zip(inputs, ndims, strict=True)]
    if any(h < 0 or (h > 0 and "..." not in i) for i, h in zip(inputs, hidden, strict=True)):
        refuse(f"np.einsum({subscripts!r}) of arrays with {ndims} axes", "Give every axis a letter, or use '...'.")
    width = max(hidden)
    spread = "".join(unused[:width])
    inputs = [i.replace("...", spread[width - h :]) for i, h in zip(inputs, hidden, strict=True)]
    if not arrow:
        letters = "".join(inputs)
        output = ("..." if "..." in left else "") + "".join(
            sorted(c for c in set(letters) if letters.count(c) == 1 and c not in spread)
        )
    elif spread and "..." not in output:
        refuse(f"np.einsum({subscripts!r}) drops the axes of '...'", "Write '...' in the output too.")
    return inputs, output.replace("...", spread)


# ---------------------------------------------------------------- linear algebra


_REFUSED = "one that has no inverse refuses the step"


@lowers(np.linalg.inv, note=f"of one or a stack of matrices; {_REFUSED}")
def _inv(a: Any) -> Any:
    return ops.inv(as_array(a))


@lowers(np.linalg.det, note="of one or a stack of matrices; of more than 8 rows, the derivative needs the inverse")
def _det(a: Any) -> Any:
    return ops.det(as_array(a))


@lowers(np.linalg.solve, note=f"of one or a stack of matrices; {_REFUSED}")
def _solve(a: Any, b: Any) -> Any:
    return ops.solve(as_array(a), as_array(b))


@lowers(np.linalg.matrix_power, note="a negative power needs an inverse, as np.linalg.inv does")
def _matrix_power(a: Any, n: int) -> Any:
    a = as_array(a)
    if a.ndim < 2 or a.shape[-1] != a.shape[-2]:
        refuse(f"np.linalg.matrix_power of shape {a.shape}", "Pass square matrices.")
    n = int(static(n, "the power of a matrix"))
    if n == 0:
        return np.broadcast_to(np.eye(a.shape[-1], dtype=a.dtype), a.shape)
    if n < 0:
        a, n = ops.inv(a), -n
    result = None
    while n:
        if n % 2:
            result = a if result is None else ops.matmul(result, a)
        n //= 2
        if n:
            a = ops.matmul(a, a)
    return result
