"""Random reduction of a sum of tensor products Σ_i a_i¹ ⊗ … ⊗ a_i^m to one product, or to k of them; any order m ≥ 2.

Let ω_i be drawn independently and evenly from the m-th roots of unity. Then

    (Σ_i ω_i a_i¹) ⊗ … ⊗ (Σ_i ω_i a_i^m)    has mean    Σ_i a_i¹ ⊗ … ⊗ a_i^m

since E ω^j = 0 for 0 < j < m and ω^m = 1: of the products of m roots that the left side expands into, only those of
m equal ones have a mean other than 0. For m = 2 the roots are the signs ±1 (NoBackTrack paper, Prop. 1). For m ≥ 3 they
are complex, and the real part of the left side is the estimate (Ollivier 2015, slides, "Extends to tensors of arbitrary
order").

The factors of a term may be multiplied by positive numbers whose product is 1. If factors of different terms are
orthogonal, the expected square of the left side is Π_j Σ_i ‖a_i^j‖², which is least where all factors of a term have
the same norm: log Σ_i e^(u_i) is convex. That is what `scales` gives. It must not look at the roots.

Nothing here knows of dynamics. All of it is plain NumPy that can be traced. Engines have no complex numbers, so a
complex array is a pair of real ones, `Complex`; where a factor is expected, both a real array and a pair will do. So
will lists, whole numbers and NumPy's complex numbers: floating-point arrays or pairs are made of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fwdgrad.errors import DeclarationError, ShapeError

__all__ = ["Complex", "combine", "dense", "draw_roots", "reduce", "roots_of_unity", "scales", "squared_norms", "times"]


class Complex(NamedTuple):
    """Complex numbers as two real arrays of one shape."""

    real: Any
    imag: Any


def roots_of_unity(order: int, numbers: Any) -> Any:
    """e^(2πi k/m) for k in `numbers`, an array of whole numbers from 0 to m − 1.

    Args:
        order: m.
        numbers: which roots; of any shape, whole numbers of any dtype.

    Returns:
        For m = 2 a real array of ±1, else a `Complex`, of the shape of `numbers`.

    Raises:
        DeclarationError: `order` is not an integer of at least 2, or `numbers` has other numbers. While tracing there
            are none to look at.

    Example:
        >>> import numpy as np
        >>> roots_of_unity(2, np.array([0.0, 1.0]))
        array([ 1., -1.])
        >>> np.round(roots_of_unity(3, np.arange(3.0)).real, 12)
        array([ 1. , -0.5, -0.5])
    """
    if isinstance(order, bool) or not isinstance(order, (int, np.integer)) or order < 2:
        raise DeclarationError(f"order: expected an integer of at least 2, the number of factors; got {order!r}.")
    if isinstance(numbers, (np.ndarray, np.generic, int, float, list, tuple)):  # not while tracing
        given, numbers = numbers, _floating(numbers)
        if isinstance(numbers, Complex) or not np.all(np.isin(numbers, np.arange(order))):
            raise DeclarationError(f"numbers: expected whole numbers from 0 to {order - 1}, got {given!r}.")
    if order == 2:
        return 1.0 - 2.0 * numbers
    angle = (2.0 * np.pi / int(order)) * numbers
    return Complex(np.cos(angle), np.sin(angle))


def draw_roots(order: int, shape: int | tuple[int, ...], rng: np.random.Generator) -> Any:
    """Independent random roots, in an array of that shape.

    Args:
        order: m, the number of factors of each term.
        shape: (terms,), or (copies, terms).
        rng: where the randomness comes from.

    Raises:
        DeclarationError: `shape` is not a shape, or `rng` is not a Generator.
    """
    if not isinstance(rng, np.random.Generator):
        raise DeclarationError(f"draw_roots: expected a numpy Generator, got {rng!r}. Give np.random.default_rng(0).")
    sizes = shape if isinstance(shape, (tuple, list)) else (shape,)
    if not all(isinstance(s, (int, np.integer)) and s >= 0 for s in sizes):
        raise DeclarationError(f"draw_roots: expected a shape, integers of at least 0; got {shape!r}.")
    return roots_of_unity(order, np.asarray(rng.integers(order, size=shape), float))


def times(a: Any, b: Any) -> Any:
    """The product, entry by entry; each may be real or `Complex`, and so is the result."""
    a, b = _floating(a), _floating(b)
    if not isinstance(a, Complex) and not isinstance(b, Complex):
        return a * b
    if not isinstance(a, Complex):
        return Complex(a * b.real, a * b.imag)
    if not isinstance(b, Complex):
        return Complex(a.real * b, a.imag * b)
    return Complex(a.real * b.real - a.imag * b.imag, a.real * b.imag + a.imag * b.real)


def squared_norms(factor: Any) -> Any:
    """‖a_i‖² for each row of a factor of shape (terms, n): an array of shape (terms,)."""
    factor = _floating(factor)
    if isinstance(factor, Complex):
        return squared_norms(factor.real) + squared_norms(factor.imag)
    return np.sum(factor * factor, axis=-1)


def scales(squares: Sequence[Any]) -> list[Any]:
    """Positive numbers of product 1 that give all factors of a term the same norm, (Π_j ‖a^j‖)^(1/m).

    Args:
        squares: ‖a_i^j‖² for each factor j, m arrays of one shape; finite.

    Returns:
        m arrays of that shape. All are 0 for a term with a factor 0: it contributes nothing, and without it there is
        less noise.

    Example:
        >>> [s.tolist() for s in scales([np.array([16.0, 1.0]), np.array([1.0, 0.0])])]
        [[0.5, 0.0], [2.0, 0.0]]
    """
    squares = [_floating(s) for s in squares]
    live = squares[0] > 0
    for s in squares[1:]:
        live = live & (s > 0)
    filled = [np.where(live, s, 1.0).astype(s.dtype) for s in squares]
    common: Any = 1.0
    for s in filled:  # roots before the product, which could overflow
        common = common * s ** (0.5 / len(filled))
    return [np.where(live, common / np.sqrt(s), 0.0).astype(s.dtype) for s in filled]


def combine(roots: Any, factor: Any) -> Any:
    """Σ_i ω_i a_i.

    Args:
        roots: shape (terms,) or (copies, terms).
        factor: shape (terms, n).

    Returns:
        An array, or a `Complex` if one of the two is one, of shape (n,) or (copies, n). Cost: terms · n for each copy.

    Raises:
        ShapeError: there is not one root for each term.
    """
    roots, factor = _floating(roots), _floating(factor)
    shapes = np.shape(_real(roots)), np.shape(_real(factor))
    if len(shapes[0]) not in (1, 2) or len(shapes[1]) != 2 or shapes[0][-1] != shapes[1][0]:
        raise ShapeError(
            f"combine: expected roots of shape (terms,) or (copies, terms) and a factor of shape (terms, n), "
            f"got {shapes[0]} and {shapes[1]}."
        )
    if not isinstance(roots, Complex) and not isinstance(factor, Complex):
        return roots @ factor
    if not isinstance(roots, Complex):
        return Complex(roots @ factor.real, roots @ factor.imag)
    if not isinstance(factor, Complex):
        return Complex(roots.real @ factor, roots.imag @ factor)
    return Complex(
        roots.real @ factor.real - roots.imag @ factor.imag, roots.real @ factor.imag + roots.imag @ factor.real
    )


def reduce(factors: Sequence[Any], roots: Any, rescale: bool = True) -> list[Any]:
    """One product whose mean over the roots is Σ_i a_i¹ ⊗ … ⊗ a_i^m; or k of them, whose average has that mean.

    Args:
        factors: m arrays (or `Complex`) of shapes (terms, n_1) … (terms, n_m): a_i^j is row i of number j.
        roots: of order m, one for each term: shape (terms,); or (k, terms) for k independent copies.
        rescale: give all factors of a term the same norm first, which is the least variance.

    Returns:
        m factors of shapes (n_j,), or (k, n_j). Their product is `dense`. Cost: k · terms · Σ n_j.

    Raises:
        ShapeError: the factors have different numbers of terms, there is only one, or the roots are not one each.
        DeclarationError: a factor is not made of numbers.

    Unbiased for roots of order m, the number of factors, and for no other roots.

    Example:
        >>> import numpy as np
        >>> a = [np.array([[1.0, 2.0], [0.0, 1.0]]), np.array([[1.0], [3.0]]), np.array([[2.0, 1.0], [1.0, 0.0]])]
        >>> exact = np.einsum("ti,tj,tk->ijk", *a)
        >>> every = [roots_of_unity(3, np.array([i, j], float)) for i in range(3) for j in range(3)]
        >>> np.allclose(np.mean([dense(reduce(a, roots)) for roots in every], axis=0), exact, atol=1e-14)
        True
    """
    factors, roots = [_floating(f) for f in factors], _floating(roots)
    shapes, drawn = [np.shape(_real(f)) for f in factors], np.shape(_real(roots))
    if (
        len(shapes) < 2
        or len(drawn) not in (1, 2)
        or any(len(s) != 2 or s[0] != drawn[-1] or s[1] == 0 for s in shapes)
    ):
        raise ShapeError(
            f"reduce: expected at least 2 factors of shapes (terms, n) and a root for each term, "
            f"got factors {shapes} and roots {drawn}."
        )
    return [combine(roots, f) for f in (_balanced(factors) if rescale else factors)]


def _balanced(factors: list[Any]) -> list[Any]:
    """The factors with `scales`. Those make rows equal that have 1 as their largest number, lest squares overflow."""
    largest = [_largest(f) for f in factors]
    by = scales([squared_norms(_divided(f, x)) for f, x in zip(factors, largest, strict=True)])
    common: Any = 1.0
    for x in largest:
        common = common * x ** (1.0 / len(factors))
    return [times(np.expand_dims(s * common, -1), _divided(f, x)) for s, f, x in zip(by, factors, largest, strict=True)]


def dense(factors: Sequence[Any]) -> np.ndarray:
    """The real part of a¹ ⊗ … ⊗ a^m in full; of k copies, their average. For values, not for tracing.

    Args:
        factors: m factors of shapes (n_j,), or (k, n_j).

    Returns:
        An array (n_1, …, n_m).

    Raises:
        ShapeError: there is no factor or no copy, or the factors have different numbers of copies.
    """
    factors = [_floating(f) for f in factors]
    shapes = [np.shape(_real(f)) for f in factors]
    copies = {s[:-1] for s in shapes}
    if len(copies) != 1 or any(len(s) not in (1, 2) or (len(s) == 2 and s[0] == 0) for s in shapes):
        raise ShapeError(f"dense: expected factors of shapes (n,), or (copies, n) with copies alike; got {shapes}.")
    made: Any = np.ones(1)
    for factor in factors:
        rows = factor.real + 1j * factor.imag if isinstance(factor, Complex) else factor
        rows = np.reshape(rows, (-1, rows.shape[-1]))
        made = made[..., None] * np.reshape(rows, (rows.shape[0],) + (1,) * (np.ndim(made) - 1) + rows.shape[1:])
    return np.mean(np.real(made), axis=0)


def _real(factor: Any) -> Any:
    return factor.real if isinstance(factor, Complex) else factor


def _floating(value: Any) -> Any:
    """A floating-point array, or a `Complex` of two; what is one already, or traced, as it is."""
    if isinstance(value, Complex):
        return Complex(_floating(value.real), _floating(value.imag))
    kind = getattr(getattr(value, "dtype", None), "kind", None)
    if kind == "f":
        return value
    if kind is None:
        try:
            value = np.asarray(value)
            kind = value.dtype.kind
        except ValueError:  # lists of different lengths
            kind = "O"
    if kind == "c":
        return Complex(value.real, value.imag)
    if kind not in "fiub":
        raise DeclarationError(f"reduction: expected numbers, got {value!r}.")
    return value.astype(float)


def _largest(factor: Any) -> Any:
    """The largest absolute value of each row, of real and imaginary parts; 1 for a row of zeros."""
    if isinstance(factor, Complex):
        largest = np.maximum(np.max(np.abs(factor.real), axis=-1), np.max(np.abs(factor.imag), axis=-1))
    else:
        largest = np.max(np.abs(factor), axis=-1)
    return np.where(largest > 0, largest, 1.0).astype(largest.dtype)


def _divided(factor: Any, by: Any) -> Any:
    """Every row by a number."""
    by = np.expand_dims(by, -1)
    return Complex(factor.real / by, factor.imag / by) if isinstance(factor, Complex) else factor / by
