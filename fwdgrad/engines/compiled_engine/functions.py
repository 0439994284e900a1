"""exp and tanh without a call into the C library, so that loops over them are vectorised.

Both follow the Cephes library (S. L. Moshier): rational approximations after the usual reductions, within two units in
the last place. Results below 10⁻³⁰⁷ are zero.
"""

from __future__ import annotations

import numpy as np

__all__ = ["FLAGS", "bits", "double", "exp", "tanh"]

FLAGS = "contract"
"""Sums and differences with `_SHIFT` have to be taken as they are written: nothing may be rearranged."""

_SHIFT = 6755399441055744.0
"""1.5 · 2⁵²: a number plus this has its nearest integer in the lowest bits."""
_LOWEST, _HIGHEST = -707.0, 709.782712893384


def bits(x):
    """The bits of a double as an integer."""
    return np.float64(x).view(np.int64)


def double(x):
    """The double with these bits."""
    return np.int64(x).view(np.float64)


def exp(x):
    """2ᵏ eʳ with |r| ≤ ln 2 / 2."""
    inside = min(max(x, _LOWEST), _HIGHEST)
    shifted = inside * 1.4426950408889634 + _SHIFT
    k = shifted - _SHIFT
    r = inside - k * 6.93145751953125e-1
    r = r - k * 1.42860682030941723212e-6
    z = r * r
    p = r * ((1.26177193074810590878e-4 * z + 3.02994407707441961300e-2) * z + 9.99999999999999999910e-1)
    q = 3.00198505138664455042e-6 * z + 2.52448340349684104192e-3
    q = (q * z + 2.27265548208155028766e-1) * z + 2.00000000000000000005
    # k may be 1024, which is no exponent of a double
    scale = double((bits(shifted - 1.0) + 1023) * 4503599627370496)
    result = (1.0 + 2.0 * (p / (q - p))) * scale * 2.0
    result = np.inf if x > _HIGHEST else result
    result = 0.0 if x < _LOWEST else result
    return x if x != x else result


def tanh(x):
    """x + x³ P(x²)/Q(x²) near zero, 1 − 2/(e²ˣ + 1) elsewhere."""
    z = x * x
    p = (-9.64399179425052238628e-1 * z - 9.92877231001918586564e1) * z - 1.61468768441708447952e3
    q = ((z + 1.12811678491632931402e2) * z + 2.23548839060100448583e3) * z + 4.84406305325125486048e3
    near = x + x * z * (p / q)
    size = abs(x)
    far = 1.0 - 2.0 / (exp(2.0 * min(size, 30.0)) + 1.0)
    far = -far if x < 0.0 else far
    result = near if size < 0.625 else far
    return x if x != x else result
