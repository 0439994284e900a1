"""What compiled steps call: the functions that are no single expression.

They are never called by Python: `translating` makes machine code of them, as of the step, and knows as little of the
language. They take and return single numbers, or take flat arrays in C order, to write to or to work in.
"""

from __future__ import annotations

import math

import numpy as np

from fwdgrad.engines.compiled_engine import functions

FLAGS = ""
"""Nothing in here may be rearranged."""


# ---- single numbers


def sign(x):
    """−1, 0 or 1; NaN of NaN."""
    return x if x != x else type(x)((x > 0) - (x < 0))


def signbit(x):
    """Whether the sign is set, of −0 too."""
    return math.copysign(1.0, x) < 0


def expit(x):
    """1 / (1 + e⁻ˣ), as eˣ / (1 + eˣ) where x < 0."""
    e = functions.exp(-abs(np.float64(x)))
    return type(x)((1.0 if x >= 0 else e) / (1.0 + e))


def logit(x):
    """log(x / (1 − x))."""
    return math.log(x / (type(x)(1) - x))


def gamma(x):
    """Γ(x), NaN at its poles on the left."""
    return type(x)(np.nan) if x < 0 and x == math.floor(x) else math.gamma(x)


def gammaln(x):
    """log |Γ(x)|."""
    return math.lgamma(x)


def logaddexp(a, b):
    """log(eᵃ + eᵇ)."""
    if a == b:
        return a + type(a)(math.log(2.0))
    return a + math.log1p(math.exp(b - a)) if a > b else b + math.log1p(math.exp(a - b)) if a <= b else a - b


def logaddexp2(a, b):
    """log₂(2ᵃ + 2ᵇ)."""
    if a == b:
        return a + type(a)(1)
    scale = type(a)(1.0 / math.log(2.0))
    if a > b:
        return a + scale * math.log1p(np.exp2(b - a))
    return b + scale * math.log1p(np.exp2(a - b)) if a <= b else a - b


def mod(a, b):
    """The remainder with the sign of b."""
    rest = np.fmod(a, b)
    if b == 0 or rest != rest:
        return rest
    if rest == 0:
        return math.copysign(rest, b)
    return rest + b if (b < 0) != (rest < 0) else rest


def floor_divide(a, b):
    """The quotient that goes with `mod`."""
    if b == 0:
        return a / b
    rest = np.fmod(a, b)
    whole = (a - rest) / b
    if rest != 0 and (b < 0) != (rest < 0):
        whole -= type(a)(1)
    if whole == 0 or whole != whole:
        return math.copysign(type(a)(0), a / b) if whole == 0 else whole
    low = np.floor(whole)
    return low + type(a)(1) if whole - low > type(a)(0.5) else low


def integer_mod(a, b):
    """The same of integers; 0 if b is 0."""
    return type(a)(0) if b == 0 or _is_minus_one(b) else a % b


def integer_floor_divide(a, b):
    """The same of integers; 0 if b is 0."""
    return type(b)(0) if b == 0 else -a if _is_minus_one(b) else a // b


def _is_minus_one(b):
    """By which the lowest integer cannot be divided: the quotient has no such integer."""
    return b < 0 and b + type(b)(1) == 0


def integer_power(base, exponent):
    """By repeated squaring; overflow wraps around."""
    result = type(base)(1)
    while exponent > 0:
        if exponent % 2 == 1:
            result *= base
        base *= base
        exponent //= 2
    return result


# ---- whole arrays


def _copy(out, x):
    """The same numbers, in the type of `out`."""
    for k in range(out.size):
        out[k] = x[k]


def _fill(out, value):
    """One number everywhere."""
    for k in range(out.size):
        out[k] = value


def _after(a, b):
    """Whether a stands after b in sorted order: NaN stands last."""
    return a > b or (a != a and b == b)


def sines(out, x):
    """The sine of every number. Those that are far from zero, infinite or none, are left to the C library."""
    far = False
    for k in range(x.size):
        out[k] = functions.sin(np.float64(x[k]))
        far |= not abs(x[k]) < functions.NEAR
    if far:
        for k in range(x.size):
            if not abs(x[k]) < functions.NEAR:
                out[k] = math.sin(np.float64(x[k]))


def cosines(out, x):
    """The cosine of every number, likewise."""
    far = False
    for k in range(x.size):
        out[k] = functions.cos(np.float64(x[k]))
        far |= not abs(x[k]) < functions.NEAR
    if far:
        for k in range(x.size):
            if not abs(x[k]) < functions.NEAR:
                out[k] = math.cos(np.float64(x[k]))


def argsort(out, x, columns, spare):
    """Stable order of every row: merging of runs."""
    for start in range(0, x.size, max(columns, 1)):
        for k in range(columns):
            out[start + k] = k
        width = 1
        while width < columns:
            for low in range(0, columns, 2 * width):
                middle, high = min(low + width, columns), min(low + 2 * width, columns)
                a = low
                b = middle
                for k in range(low, high):
                    take = b >= high
                    if not take and a < middle:
                        take = not _after(x[start + out[start + a]], x[start + out[start + b]])
                    if take:
                        spare[k] = out[start + a]
                        a += 1
                    else:
                        spare[k] = out[start + b]
                        b += 1
            for k in range(columns):
                out[start + k] = spare[k]
            width *= 2


def searchsorted(out, table, x):
    """The number of entries of the sorted table that are not greater than each x."""
    for k in range(x.size):
        low, high = 0, table.size
        while low < high:
            middle = (low + high) // 2
            if _after(table[middle], x[k]):
                high = middle
            else:
                low = middle + 1
        out[k] = low


def _eliminate(a, b, n, columns):
    """Gauss–Jordan elimination with row exchanges: b becomes a⁻¹ b. Returns det a.

    Of the diagonal that it leaves in a, an entry is 0 exactly if a has no inverse.
    """
    determinant = a.dtype.type(1)
    for k in range(n):
        pivot = k
        for i in range(k + 1, n):
            if abs(a[i * n + k]) > abs(a[pivot * n + k]):
                pivot = i
        if pivot != k:
            determinant = -determinant
            for j in range(n):
                a[k * n + j], a[pivot * n + j] = a[pivot * n + j], a[k * n + j]
            for j in range(columns):
                b[k * columns + j], b[pivot * columns + j] = b[pivot * columns + j], b[k * columns + j]
        determinant *= a[k * n + k]
        if columns == 0 and a[k * n + k] == 0:
            break
        for i in range(n):
            if i != k and (columns > 0 or i > k):
                factor = a[i * n + k] / a[k * n + k]
                for j in range(k, n):
                    a[i * n + j] -= factor * a[k * n + j]
                for j in range(columns):
                    b[i * columns + j] -= factor * b[k * columns + j]
    for k in range(n):
        for j in range(columns):
            b[k * columns + j] /= a[k * n + k]
    return determinant


def _singular(a, n):
    """Whether a matrix that has been eliminated had no inverse."""
    singular = False
    for k in range(n):
        singular |= a[k * n + k] == 0
    return singular


def inv(out, a, n, reduced):
    """The inverse of every matrix. Whether one has none."""
    singular = False
    for start in range(0, a.size, max(n * n, 1)):
        inverse = out[start : start + n * n]
        _copy(reduced, a[start : start + n * n])
        _fill(inverse, 0.0)
        for k in range(n):
            inverse[k * n + k] = 1.0
        _eliminate(reduced, inverse, n, n)
        singular |= _singular(reduced, n)
    return singular


def det(out, a, n, reduced):
    """The determinant of every matrix."""
    for k in range(out.size):
        _copy(reduced, a[k * n * n : (k + 1) * n * n])
        out[k] = _eliminate(reduced, out[:0], n, 0)


def solve(out, a, b, n, columns, reduced):
    """a⁻¹ b for every pair of matrices. Whether one has none."""
    _copy(out, b)
    singular = False
    for k in range(a.size // max(n * n, 1)):
        part = out[k * n * columns : (k + 1) * n * columns]
        _copy(reduced, a[k * n * n : (k + 1) * n * n])
        _eliminate(reduced, part, n, columns)
        singular |= _singular(reduced, n)
    return singular


def cholesky_update(out, r, b, n, rows, below, seen):
    """The upper triangular factor of RᵀR + BᵀB for every pair, by a reflection for each column.

    The reflection that takes (R_kk, B_k) = y ‖·‖ to −‖·‖ e₀, and a change of sign: with c = y₀ ≥ 0 nothing cancels.
    """
    _copy(out, r)
    _copy(below, b)
    for one in range(out.size // max(n * n, 1)):
        R, B = out[one * n * n : (one + 1) * n * n], below[one * rows * n : (one + 1) * rows * n]
        for k in range(n):
            if R[k * n + k] < 0:
                for j in range(k, n):
                    R[k * n + j] = -R[k * n + j]
            scale = out.dtype.type(0)
            for i in range(rows):
                scale += abs(B[i * n + k])
            if scale < np.finfo(out.dtype).tiny:  # nothing, or what is lost beside anything: 1/scale is no number
                continue
            square = out.dtype.type(0)
            for i in range(rows):
                square += (B[i * n + k] / scale) ** 2
            norm = math.hypot(R[k * n + k], scale * math.sqrt(square))
            c = R[k * n + k] / norm
            for j in range(k + 1, n):
                seen[j] = c * R[k * n + j]
            for i in range(rows):
                B[i * n + k] /= norm
                for j in range(k + 1, n):
                    seen[j] += B[i * n + k] * B[i * n + j]
            for i in range(rows):
                part = B[i * n + k] / (1 + c)
                for j in range(k + 1, n):
                    B[i * n + j] -= part * (R[k * n + j] + seen[j])
            R[k * n + k] = norm
            for j in range(k + 1, n):
                R[k * n + j] = seen[j]


def solve_triangular(out, r, b, n, columns, transposed):
    """R⁻¹ b, or R⁻ᵀ b, for every pair; NaN if a number on the diagonal is zero."""
    _copy(out, b)
    for one in range(r.size // max(n * n, 1)):
        R, x = r[one * n * n : (one + 1) * n * n], out[one * n * columns : (one + 1) * n * columns]
        for turn in range(n):
            k = turn if transposed else n - 1 - turn
            if not transposed:
                for i in range(k + 1, n):
                    for j in range(columns):
                        x[k * columns + j] -= R[k * n + i] * x[i * columns + j]
            for j in range(columns):
                x[k * columns + j] /= R[k * n + k]
            if transposed:
                for i in range(k + 1, n):
                    for j in range(columns):
                        x[i * columns + j] -= R[k * n + i] * x[k * columns + j]
        for k in range(n):
            if R[k * n + k] == 0:
                _fill(x, np.nan)


def _eliminate_band(a, pivots, n, lower, upper):
    """Elimination of a band with row exchanges, in its place (LAPACK's gbtf2); a column of the matrix is a row of `a`.

    An entry of the diagonal is 0 exactly if the matrix has no inverse.
    """
    above = lower + upper
    width, last = above + lower + 1, 0
    for j in range(n):
        at, below = j * width + above, min(lower, n - 1 - j)
        pivot = 0
        for i in range(1, below + 1):
            if abs(a[at + i]) > abs(a[at + pivot]):
                pivot = i
        pivots[j] = pivot
        last = max(last, min(j + upper + pivot, n - 1))
        if pivot != 0:
            for k in range(j, last + 1):
                to = k * width + above + j - k
                a[to], a[to + pivot] = a[to + pivot], a[to]
        for i in range(1, below + 1):
            a[at + i] /= a[at]
        for k in range(j + 1, last + 1):
            to = k * width + above + j - k
            factor = a[to]
            if factor != 0:
                for i in range(1, below + 1):
                    a[to + i] -= factor * a[at + i]


def _divide_by_band(x, a, pivots, n, lower, upper, transposed):
    """x becomes A⁻¹ x, or A⁻ᵀ x, by what `_eliminate_band` left."""
    above = lower + upper
    width = above + lower + 1
    if transposed:
        for j in range(n):
            at = j * width + above
            for i in range(1, min(above, j) + 1):
                x[j] -= a[at - i] * x[j - i]
            x[j] /= a[at]
    for turn in range(n):
        k = n - 1 - turn if transposed else turn
        at, below, moved = k * width + above, min(lower, n - 1 - k), k + np.int64(pivots[k])
        if transposed:
            for i in range(1, below + 1):
                x[k] -= a[at + i] * x[k + i]
        if moved != k:
            x[k], x[moved] = x[moved], x[k]
        if not transposed:
            for i in range(1, below + 1):
                x[k + i] -= a[at + i] * x[k]
    if not transposed:
        for turn in range(n):
            k = n - 1 - turn
            at = k * width + above
            x[k] /= a[at]
            for i in range(1, min(above, k) + 1):
                x[k - i] -= a[at - i] * x[k]


def band_factors(out, band, n, lower, upper):
    """The factors of a band, and behind them by how many rows pivots were moved. Whether it has no inverse."""
    factors, singular = out[: band.size], False
    _copy(factors, band)
    _eliminate_band(factors, out[band.size :], n, lower, upper)
    for j in range(n):
        singular |= factors[j * (2 * lower + upper + 1) + lower + upper] == 0
    return singular


def band_solve(out, factors, right, n, lower, upper, transposed):
    """A⁻¹ b, or A⁻ᵀ b, by the factors of A."""
    _copy(out, right)
    size = n * (2 * lower + upper + 1)
    _divide_by_band(out, factors[:size], factors[size:], n, lower, upper, transposed)


def singular(out, a, n, rows):
    """Singular values, and below them left singular vectors; see `fwdgrad.program.operations.jacobi`."""
    one, unit = a.dtype.type(1), n * np.finfo(a.dtype).eps
    _copy(rows, a)
    _fill(out, 0.0)
    for k in range(n):  # the vectors, as rows, below a row for the values
        out[(k + 1) * n + k] = 1.0
    for _ in range(30):
        turned = 0
        for p in range(n - 1):
            for q in range(p + 1, n):
                first, second, off = one - one, one - one, one - one
                for k in range(n):
                    first += rows[p * n + k] * rows[p * n + k]
                    second += rows[q * n + k] * rows[q * n + k]
                    off += rows[p * n + k] * rows[q * n + k]
                if abs(off) <= unit * math.sqrt(first) * math.sqrt(second):
                    continue
                turned += 1
                ratio = (second - first) / (2 * off)
                t = one / (abs(ratio) + math.sqrt(one + ratio * ratio))
                if ratio < 0:
                    t = -t
                c = one / math.sqrt(one + t * t)
                s = t * c
                for k in range(n):
                    _turn(rows, p * n + k, q * n + k, c, s)
                    _turn(out, (p + 1) * n + k, (q + 1) * n + k, c, s)
        if turned == 0:
            break
    for p in range(n):
        square = one - one
        for k in range(n):
            square += rows[p * n + k] * rows[p * n + k]
        out[p] = math.sqrt(square)
    for _ in range(n):
        for p in range(n - 1):
            if out[p] < out[p + 1]:
                out[p], out[p + 1] = out[p + 1], out[p]
                for k in range(n):
                    i, j = (p + 1) * n + k, (p + 2) * n + k
                    out[i], out[j] = out[j], out[i]
    for p in range(n):
        for k in range(p):
            i, j = (p + 1) * n + k, (k + 1) * n + p
            out[i], out[j] = out[j], out[i]


def _turn(x, i, j, c, s):
    """A rotation of two entries."""
    x[i], x[j] = c * x[i] - s * x[j], s * x[i] + c * x[j]


def largest(x):
    """The largest magnitude in an array."""
    found = x.dtype.type(0)
    for k in range(x.size):
        found = max(found, abs(x[k]))
    return found


def newton(z, before, start, value, slopes, turn, turns, rounding):
    """One of Newton's steps, as in `fwdgrad.program.roots.newton`. Whether it was the last: z is NaN if it failed."""
    _eliminate(slopes, value, z.size, 1)
    return _stepped(z, before, start, value, turn, turns, rounding)


def newton_by_bands(z, before, start, value, slopes, turn, turns, rounding, lower, upper, pivots):
    """The same with a Jacobian that is a band."""
    _eliminate_band(slopes, pivots, z.size, lower, upper)
    _divide_by_band(value, slopes, pivots, z.size, lower, upper, 0)
    return _stepped(z, before, start, value, turn, turns, rounding)


def _stepped(z, before, start, value, turn, turns, rounding):
    """z less the step that `value` is, and whether that was the last."""
    unit = z.dtype.type(np.finfo(z.dtype).eps)
    size, length, settled = z.dtype.type(0), z.dtype.type(0), True
    for k in range(z.size):
        z[k] -= value[k]
        step, own = abs(value[k]), abs(z[k])
        settled &= step <= rounding * unit * own or (turn > 0 and step >= before[k])
        size, length, before[k] = size + step, max(length, own), step
    if settled and largest(value) <= max(math.sqrt(unit) * length, 2 * rounding * unit * start):
        return True
    if turn == turns - 1 or not abs(size) < np.inf:
        _fill(z, np.nan)
        return True
    return False


def matmul_nn(out, a, b, rows, inner, columns):
    """The product of two matrices."""
    np.dot(a.reshape(rows, inner), b.reshape(inner, columns), out.reshape(rows, columns))


def matmul_nt(out, a, b, rows, inner, columns):
    """The product with a transposed matrix."""
    np.dot(a.reshape(rows, inner), b.reshape(columns, inner).T, out.reshape(rows, columns))


def matmul_tn(out, a, b, rows, inner, columns):
    """The product of a transposed matrix with another."""
    np.dot(a.reshape(inner, rows).T, b.reshape(inner, columns), out.reshape(rows, columns))


def matmul_tt(out, a, b, rows, inner, columns):
    """The product of two transposed matrices."""
    np.dot(a.reshape(inner, rows).T, b.reshape(columns, inner).T, out.reshape(rows, columns))
