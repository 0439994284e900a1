"""exp, log, tanh, sin and cos without a call into the C library, so that loops over them are vectorised.

exp, log and tanh follow the Cephes library (S. L. Moshier): rational approximations after the usual reductions, within
two units in the last place, for every double. sin and cos follow fdlibm (Sun Microsystems): polynomials after a
reduction by multiples of π/2 in the manner of Cody and Waite, to the same precision for |x| < `NEAR`.
"""

from __future__ import annotations

import numpy as np

__all__ = ["FLAGS", "NEAR", "bits", "cos", "double", "exp", "log", "sin", "tanh"]

FLAGS = "contract"
"""Sums and differences with `_SHIFT` have to be taken as they are written: nothing may be rearranged."""

_SHIFT = 6755399441055744.0
"""1.5 · 2⁵²: a number plus this has its nearest integer in the lowest bits."""
_LOWEST, _HIGHEST = -746.0, 709.782712893384
_EXPONENT = 4503599627370496
"""2⁵²: the lowest bit of the exponent among the bits of a double."""
_ROOT = 4604544271217802189
"""The bits of √½."""
NEAR = 1048576.0
"""2²⁰: up to here a multiple of 33 bits of π/2 is exact."""


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
    # in two factors: k may be 1024, or −1075, which are no exponents of a double
    half = k * 0.5 + _SHIFT
    first = double((bits(half) + 1023) * _EXPONENT)
    second = double((bits(k - (half - _SHIFT) + _SHIFT) + 1023) * _EXPONENT)
    result = (1.0 + 2.0 * (p / (q - p))) * first * second
    result = np.inf if x > _HIGHEST else result
    return x if x != x else result


def log(x):
    """k ln 2 + ln m, with √½ ≤ m < √2."""
    tiny = x < 2.2250738585072014e-308
    scaled = x * 18014398509481984.0 if tiny else x
    k_bits = (bits(scaled) - _ROOT) & -_EXPONENT
    f = double(bits(scaled) - k_bits) - 1.0
    k = double(np.int64(np.right_shift(np.uint64(k_bits), np.uint64(52)) ^ np.uint64(2048)) + 4841369599423283200)
    k = k - 4503599627372544.0 - (54.0 if tiny else 0.0)
    p = ((1.01875663804580931796e-4 * f + 4.97494994976747001425e-1) * f + 4.70579119878881725854) * f
    p = ((p + 1.44989225341610930846e1) * f + 1.79368678507819816313e1) * f + 7.70838733755885391666
    q = ((f + 1.12873587189167450590e1) * f + 4.52279145837532221105e1) * f + 8.29875266912776603211e1
    q = (q * f + 7.11544750618563894466e1) * f + 2.31251620126765340583e1
    z = f * f
    y = f * (z * (p / q)) - k * 2.121944400546905827679e-4 - 0.5 * z
    result = f + y + k * 0.693359375
    result = x if x == np.inf else result
    result = -np.inf if x == 0.0 else result
    return result if x >= 0.0 else np.nan


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


def sin(x):
    """Of x − k π/2: its sine for an even k, its cosine for an odd one; with the other sign for k = 2, 3 modulo 4."""
    result = _turned(x, 0)
    return x if abs(x) < 7.450580596923828e-09 else result


def cos(x):
    """The sine a quarter of a turn further on."""
    return _turned(x, 1)


def _turned(x, quarters):
    """sin(x + quarters · π/2), by polynomials on |x − k π/2| ≤ π/4."""
    shifted = x * 0.6366197723675814 + _SHIFT
    k = shifted - _SHIFT
    # π/2 in three parts of 33 bits and a rest; r + rest is x − k π/2, of which the lowest bits count where it is small
    a = x - k * 1.5707963267341256
    w = k * 6.077100506303966e-11
    b = a - w
    back = b - a
    lost = (a - (b - back)) - (w + back)
    w = k * 2.0222662487111665e-21
    c = b - w
    back = c - b
    lost = lost + ((b - (c - back)) - (w + back))
    lost = lost - k * 8.4784276603689e-32
    r = c + lost
    rest = (c - r) + lost
    z = r * r
    v = z * r
    p = (1.58969099521155010221e-10 * z - 2.50507602534068634195e-08) * z + 2.75573137070700676789e-06
    p = (p * z - 1.98412698298579493134e-04) * z + 8.33333333332248946124e-03
    sine = r - ((z * (0.5 * rest - v * p) - rest) + v * 1.66666666666666324348e-01)
    q = (2.08757232129817482790e-09 - 1.13596475577881948265e-11 * z) * z - 2.75573143513906633035e-07
    q = ((q * z + 2.48015872894767294178e-05) * z - 1.38888888888741095749e-03) * z + 4.16666666666666019037e-02
    half = 0.5 * z
    w = 1.0 - half
    cosine = w + (((1.0 - w) - half) + (z * (z * q) - r * rest))
    quarter = bits(shifted) + quarters
    result = cosine if (quarter & 1) == 1 else sine
    return -result if (quarter & 2) == 2 else result
