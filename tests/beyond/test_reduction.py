"""Reductions of sums of tensor products, over every root of unity that can be drawn."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import fwdgrad as fg
from fwdgrad.errors import DeclarationError, ShapeError
from fwdgrad.influence.reduction import (
    Complex,
    combine,
    dense,
    draw_roots,
    reduce,
    roots_of_unity,
    scales,
    squared_norms,
    times,
)
from fwdgrad.program import Abstract, trace

SIZES = (3, 2, 4, 2)


def factors(order: int, terms: int, unbalanced: float = 0.0, complex_too: bool = False) -> list[Any]:
    """Random factors; the norms of different factors may differ by powers of ten."""
    rng = np.random.default_rng(order)
    made: list[Any] = []
    for j in range(order):
        a = rng.normal(size=(terms, SIZES[j])) * 10.0 ** (unbalanced * rng.normal(size=(terms, 1)))
        made.append(Complex(a, rng.normal(size=a.shape)) if complex_too and j % 2 else a)
    return made


def exact(terms: list[Any]) -> np.ndarray:
    """The real part of Σ_i a_i¹ ⊗ … ⊗ a_i^m, term by term, with NumPy's complex numbers."""
    total: Any = 0.0
    for i in range(len(plain(terms[0]))):
        product: Any = np.ones(())
        for factor in terms:
            product = np.multiply.outer(product, plain(factor)[i])
        total = total + product
    return np.real(total)


def plain(factor: Any) -> Any:
    return factor.real + 1j * factor.imag if isinstance(factor, Complex) else factor


def every(order: int, shape: tuple[int, ...]) -> list[Any]:
    """All roots."""
    numbers = itertools.product(range(order), repeat=int(np.prod(shape)))
    return [roots_of_unity(order, np.reshape(np.array(n, float), shape)) for n in numbers]


def mean(terms: list[Any], drawn: list[Any], rescale: bool = True) -> tuple[np.ndarray, float]:
    """Of all estimates; and their total variance."""
    made = np.array([dense(reduce(terms, roots, rescale)) for roots in drawn])
    return made.mean(axis=0), float(np.sum(made.var(axis=0)))


@pytest.mark.parametrize("complex_too", [False, True], ids=["real", "complex"])
@pytest.mark.parametrize("rescale", [False, True], ids=["plain", "rescaled"])
@pytest.mark.parametrize("copies", [1, 2, 3])
@pytest.mark.parametrize("order", [2, 3, 4])
@pytest.mark.quick("2-*", "3-*", "4-1-*")
def test_unbiased_over_every_root(order, copies, rescale, complex_too):
    """Of three terms; of two where there are copies, which have up to 4⁶ patterns."""
    terms = factors(order, 3 if copies == 1 else 2, complex_too=complex_too)
    shape = (len(plain(terms[0])),) if copies == 1 else (copies, len(plain(terms[0])))
    got, variance = mean(terms, every(order, shape), rescale)
    scale = max(1.0, float(np.max(np.abs(exact(terms)))))
    assert np.max(np.abs(got - exact(terms))) <= 1e-12 * scale
    assert variance > 1e-3


@pytest.mark.parametrize(("order", "wrong"), [(2, 3), (2, 4), (3, 2), (3, 4), (4, 2), (4, 3)])
def test_roots_of_the_wrong_order_are_biased(order, wrong):
    terms = factors(order, 3)
    got, _ = mean(terms, every(wrong, (3,)))
    assert np.max(np.abs(got - exact(terms))) > 0.1


def test_scales_that_look_at_the_roots_are_biased():
    terms, total = factors(3, 2), np.zeros(SIZES[:3])
    for roots in every(3, (2,)):
        seen = np.where(roots.real[0] * roots.real[1] > 0, 1.5, 1.0)  # the two terms have roots alike, or not
        total += dense(reduce([terms[0] * [[1.0], [seen]], terms[1] / [[1.0], [seen]], terms[2]], roots, False)) / 9
    assert np.max(np.abs(total - exact(terms))) > 0.1


@pytest.mark.parametrize("order", [2, 3, 4])
def test_one_root_may_be_one(order):
    """Only ratios of roots enter a product of as many factors as their order."""
    terms = factors(order, 2)
    with_one = [roots_of_unity(order, np.array([0.0, k])) for k in range(order)]
    got, variance = mean(terms, with_one)
    assert np.max(np.abs(got - exact(terms))) <= 1e-12 * max(1.0, float(np.max(np.abs(got))))
    assert variance == pytest.approx(mean(terms, every(order, (2,)))[1], rel=1e-12)


# ---------------------------------------------------------------- variance


@pytest.mark.parametrize("order", [2, 3, 4])
def test_rescaling_lowers_the_variance(order):
    """Of unbalanced terms by orders of magnitude; terms that are balanced already are not changed."""
    terms = factors(order, 3, unbalanced=1.0)
    drawn = every(order, (3,))
    assert mean(terms, drawn)[1] < 0.2 * mean(terms, drawn, rescale=False)[1]
    by = scales([squared_norms(f) for f in terms])
    even = [times(s[:, None], f) for s, f in zip(by, terms, strict=True)]
    assert mean(even, drawn, rescale=False)[1] == pytest.approx(mean(terms, drawn)[1], rel=1e-12)


@pytest.mark.parametrize("order", [2, 3])
def test_equal_norms_are_the_best_for_orthogonal_factors(order):
    """Any other scales of product 1 give more."""
    rng = np.random.default_rng(1)
    terms = [np.eye(3)[:2] * [[0.3], [4.0]] for _ in range(order)]
    terms[0] = terms[0] * [[7.0], [1.0]]
    drawn = every(order, (2,))
    best = mean(terms, drawn)[1]
    even = [times(s[:, None], f) for s, f in zip(scales([squared_norms(f) for f in terms]), terms, strict=True)]
    for _ in range(20):
        other = np.exp(0.3 * rng.normal(size=(order, 2, 1)))
        other[-1] = 1.0 / np.prod(other[:-1], axis=0)
        assert mean([o * f for o, f in zip(other, even, strict=True)], drawn, rescale=False)[1] > best


def with_signs(terms: list[Any], first: Any, second: Any) -> np.ndarray:
    """Another reduction of order 3: independent signs for two of the factors, and their product for the third."""
    by = scales([squared_norms(f) for f in terms])
    even = [times(s[:, None], f) for s, f in zip(by, terms, strict=True)]
    return dense([combine(roots, f) for roots, f in zip((first, second, first * second), even, strict=True)])


def test_cube_roots_have_half_the_variance_of_independent_signs():
    """For orthogonal factors: what taking the real part saves, at twice the memory."""
    terms = [np.eye(3) * [[1.0], [2.0], [0.5]] for _ in range(3)]
    signs = np.array(list(itertools.product((-1.0, 1.0), repeat=3)))
    made = np.array([with_signs(terms, a, b) for a in signs for b in signs])
    assert np.max(np.abs(made.mean(axis=0) - exact(terms))) < 1e-13
    assert mean(terms, every(3, (3,)))[1] == pytest.approx(np.sum(made.var(axis=0)) / 2, rel=1e-12)


def test_copies_divide_the_variance():
    terms = factors(3, 2)
    one, two = (mean(terms, every(3, shape))[1] for shape in ((2,), (2, 2)))
    assert two == pytest.approx(one / 2, rel=1e-12)


# ---------------------------------------------------------------- scales, zeros, single precision


def test_scales_have_the_product_one_and_make_norms_equal():
    rng = np.random.default_rng(2)
    squares = [np.exp(5 * rng.normal(size=4)) for _ in range(4)]
    by = scales(squares)
    assert np.allclose(np.prod(by, axis=0), 1.0, rtol=1e-13)
    norms = [s * np.sqrt(q) for s, q in zip(by, squares, strict=True)]
    assert np.allclose(norms, norms[0], rtol=1e-13)


def test_terms_with_a_zero_factor_are_dropped():
    terms = factors(3, 3)
    terms[1][0] = 0.0
    fewer = [f[1:] for f in terms]
    for roots in every(3, (3,)):
        assert np.allclose(dense(reduce(terms, roots)), dense(reduce(fewer, Complex(*(r[1:] for r in roots)))))
    nothing = reduce([np.zeros((2, 3))] * 3, roots_of_unity(3, np.zeros(2)))
    assert np.array_equal(dense(nothing), np.zeros((3, 3, 3)))


def test_extreme_norms_make_no_overflow():
    """Each squared norm can be had in single precision; their product could not."""
    for size in (1e-15, 1e15):
        terms = [np.full((2, 2), size, np.float32) for _ in range(4)]
        by = scales([squared_norms(f) for f in terms])
        assert {s.dtype for s in by} == {np.dtype("f")}
        assert np.allclose(by, 1.0, rtol=1e-4)


@pytest.mark.parametrize("kind", [int, np.uint8, bool])
def test_factors_of_whole_numbers(kind):
    """Scales are no whole numbers."""
    terms = [np.array([[1, 2], [3, 4]], kind), np.array([[3], [5]], kind)]
    for rescale in (False, True):
        got, _ = mean(terms, every(2, (2,)), rescale)
        assert np.allclose(got, exact([t.astype(float) for t in terms]), rtol=1e-13)
    assert np.allclose(scales([np.array([16]), np.array([1])]), [[0.5], [2.0]])


def test_lists_and_native_complex_numbers_are_factors():
    terms = factors(3, 2, complex_too=True)
    native = [plain(f) for f in terms]
    for roots in every(3, (2,)):
        expected = dense(reduce(terms, roots))
        assert np.allclose(dense(reduce(native, plain(roots))), expected, rtol=1e-13)
        assert np.allclose(dense(reduce([f.tolist() for f in native], roots)), expected, rtol=1e-13)
    assert np.allclose(squared_norms(native[1]), squared_norms(terms[1]), rtol=1e-14)
    assert np.allclose(plain(combine(plain(roots), native[1])), plain(combine(roots, terms[1])), rtol=1e-14)
    assert np.allclose(plain(times(native[0], native[0])), native[0] ** 2, rtol=1e-14)


@pytest.mark.parametrize(
    ("dtype", "by"), [(np.float64, 1e160), (np.float64, 1e-320), (np.float32, 1e20), (np.float32, 1e-24)]
)
def test_norms_whose_squares_no_number_holds(dtype, by):
    """Rescaling changes nothing but the balance: a factor times a number, and another one over it."""
    a, b = (f.astype(dtype) for f in factors(2, 3))
    one, other = dtype(np.sqrt(by)), dtype(1.0 / np.sqrt(by))
    for roots in every(2, (3,)):
        roots = roots.astype(dtype)
        got = reduce([a * one * one, b * other * other] if by > 1e-300 else [a * one, b * other], roots)
        expected = reduce([a, b], roots)
        for x, y in zip(got, expected, strict=True):
            assert x.dtype == dtype
            assert np.allclose(x, y, rtol=1e-4 if dtype == np.float32 else 1e-12)


def test_drawn_roots():
    rng = np.random.default_rng(3)
    cubes = draw_roots(3, (4, 500), rng)
    assert cubes.real.shape == (4, 500)
    assert np.allclose(plain(cubes) ** 3, 1.0)
    assert abs(plain(cubes).mean()) < 4 / np.sqrt(2000)
    assert set(draw_roots(2, 50, rng)) == {-1.0, 1.0}


def test_products_of_real_and_complex_numbers():
    rng = np.random.default_rng(4)
    a, b, c, d = rng.normal(size=(4, 3))
    for left, right in itertools.product((a, Complex(a, b)), (c, Complex(c, d))):
        assert np.allclose(plain(times(left, right)), plain(left) * plain(right), rtol=1e-14)
        two = np.stack([c, d]) if not isinstance(right, Complex) else Complex(np.stack([c, d]), np.stack([d, c]))
        roots = left[:2] if not isinstance(left, Complex) else Complex(a[:2], b[:2])
        assert np.allclose(plain(combine(roots, two)), plain(roots) @ plain(two), rtol=1e-14)


# ---------------------------------------------------------------- traced, public, refused


def test_traced_it_is_the_same():
    shapes = [(3, 2), (3, 4), (3, 3), (3,)]
    program = trace(
        lambda a, b, c, k: [x for f in reduce([a, Complex(b, 2.0 * b), c], roots_of_unity(3, k)) for x in f],
        [Abstract(s, np.dtype(float)) for s in shapes],
    )
    rng = np.random.default_rng(5)
    a, b, c = (rng.normal(size=s) for s in shapes[:3])
    k = np.array([2.0, 0.0, 1.0])
    expected = reduce([a, Complex(b, 2.0 * b), c], roots_of_unity(3, k))
    for got, part in zip(program(a, b, c, k), (x for f in expected for x in f), strict=True):
        assert np.allclose(got, part, rtol=1e-13)


def test_it_is_public():
    assert fg.reduction.reduce is reduce


@pytest.mark.parametrize("order", [1, 0, True, 2.0, "2"])
def test_an_order_has_to_be_an_integer(order):
    with pytest.raises(DeclarationError, match="order: expected an integer of at least 2"):
        roots_of_unity(order, np.zeros(2))


@pytest.mark.parametrize(
    "shapes", [[(3, 2)], [(3, 2), (2, 2)], [(3, 2), (3,)], [(4, 2), (4, 2)]], ids=["one", "unlike", "flat", "roots"]
)
def test_shapes_have_to_fit(shapes):
    with pytest.raises(ShapeError, match=r"expected at least 2 factors of shapes \(terms, n\)"):
        reduce([np.ones(s) for s in shapes], np.ones(3))


def test_values_that_are_no_numbers():
    for bad in (None, "ab", [[1.0], [2.0, 3.0]], np.array([["a"], ["b"]])):
        with pytest.raises(DeclarationError, match="reduction: expected numbers"):
            reduce([np.ones((2, 2)), bad], np.ones(2))


def test_numbers_of_roots():
    for numbers in ([2.0, 3.0, -1.0], np.array([0.5]), np.array([np.nan]), 2):
        with pytest.raises(DeclarationError, match="numbers: expected whole numbers from 0 to 1"):
            roots_of_unity(2, numbers)
    assert np.array_equal(roots_of_unity(2, [0, 1]), [1.0, -1.0])


@pytest.mark.parametrize("shape", [-1, 2.0, (2, -3), (2, 1.5), "3", None])
def test_shapes_of_drawn_roots(shape):
    with pytest.raises(DeclarationError, match="draw_roots: expected a shape"):
        draw_roots(3, shape, np.random.default_rng(0))


@pytest.mark.parametrize("rng", [0, None])
def test_roots_are_drawn_from_a_generator(rng):
    with pytest.raises(DeclarationError, match="draw_roots: expected a numpy Generator"):
        draw_roots(3, 3, rng)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ShapeError, match=r"combine: expected roots"):
        combine(np.ones(3), np.ones((2, 4)))
    with pytest.raises(ShapeError, match=r"combine: expected roots"):
        combine(np.ones(3), np.ones(3))
    with pytest.raises(ShapeError, match="expected at least 2 factors"):
        reduce([np.ones((3, 2))] * 2, np.ones((2, 2, 3)))
    for bad in ([], [np.ones((0, 2)), np.ones((0, 3))], [np.ones((2, 3)), np.ones((3, 3))], [np.ones(2), np.ones(())]):
        with pytest.raises(ShapeError, match="dense: expected factors"):
            dense(bad)
