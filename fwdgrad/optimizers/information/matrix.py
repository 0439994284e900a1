"""What a matrix form is: a way to keep S = Λ + J, the precision of the parameters, and to solve with it.

A form is declared by a frozen dataclass (`Matrix`), bound to leaves once, and then is six pure functions of arrays
(`Form`). S starts at Λ; `update` replaces it by what it keeps of κ S + φ Λ + Σ_k u_k u_kᵀ. Only positive terms are ever
added, in forms that cannot lose what is positive: squares, LDLᵀ with divisions by sums, Cholesky factors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import numpy as np

from fwdgrad.linear.base import norms_one_by_one
from fwdgrad.optimizers.base import Arrays, declaration_error
from fwdgrad.optimizers.informed import Noise, Setting
from fwdgrad.program import scan
from fwdgrad.support.trees import flatten, unflatten

__all__ = [
    "MOST",
    "Discount",
    "Form",
    "FormMetric",
    "Matrix",
    "check_held",
    "check_size",
    "one_by_one",
    "scaled",
    "unless_far",
    "variances_of",
]

MOST = 2**28
"""Numbers in a matrix, at most: 2 GiB in double precision. A step goes through all of them."""

Discount = tuple[Any, Any] | None
"""κ and φ, two scalars; None for κ = 1 and φ = 0, known before anything is computed."""


@runtime_checkable
class Matrix(Protocol):
    """The declaration of a form."""

    def bind(self, setting: Setting, prior: dict[str, float], rank: int) -> Form:
        """The form for these leaves.

        Args:
            setting: the leaves, and what is known of them.
            prior: Λ, the same for all entries of a leaf; positive.
            rank: how many vectors u_k come with each update.
        """


class Form(Protocol):
    """A form, for certain leaves. Parameter-shaped arguments are dicts; a leaf left out is zero."""

    noise: Noise
    """Random arrays that each update needs."""

    def init(self) -> Any:
        """S = Λ: a container of arrays."""

    def update(self, state: Any, discount: Discount, rows: Arrays, noise: tuple[Any, ...]) -> Any:
        """S ← κ S + φ Λ + Σ_k u_k u_kᵀ, reduced; `rows` holds the u_k, arrays (rank, *leaf shape)."""

    def solve(self, state: Any, leaves: Arrays) -> Arrays:
        """S⁻¹ g."""

    def terms(self, state: Any, leaves: Arrays) -> Arrays:
        """Numbers whose sum is wᵀ S⁻¹ w, and over the entries of any of `blocks`, what that block contributes."""

    def blocks(self) -> dict[str, np.ndarray]:
        """Which entries meet in S⁻¹: see `fwdgrad.linear.Metric.blocks`."""

    def variances(self, state: Any) -> Arrays:
        """The diagonal of S⁻¹."""

    def magnitude(self, state: Any) -> Any:
        """A scalar that is finite exactly if the state is."""

    def dense(self, state: Any) -> np.ndarray:
        """S in full, leaves in order, each in C order: for small systems and tests."""


class FormMetric:
    """‖w‖² = wᵀ S⁻¹ w (NoBackTrack paper, Algorithm 2: "norms derived from J⁻¹", with Λ)."""

    def __init__(self, form: Form, state: Any) -> None:
        self._form, self._state = form, state

    def squared_norm(self, leaves: Arrays) -> Any:
        """wᵀ S⁻¹ w."""
        total: Any = 0.0
        for part in self._form.terms(self._state, leaves).values():
            total = total + np.sum(part)
        return total

    def terms(self, leaves: Arrays) -> Arrays:
        """What each entry contributes."""
        return self._form.terms(self._state, leaves)

    def blocks(self) -> dict[str, np.ndarray]:
        """Which entries meet."""
        return self._form.blocks()


def check_size(who: str, numbers: int) -> None:
    """Refuse a matrix that would fill the memory.

    Raises:
        DeclarationError: it has more numbers than `MOST`.
    """
    if numbers > MOST:
        raise declaration_error(
            f"{who}: the matrix",
            f"at most {MOST:,} numbers",
            f"{numbers:,}",
            'take InformationFilter("quasi-diagonal"), which has two for each parameter, or freeze some leaves',
        )


def check_held(subject: str, value: float, dtype: np.dtype) -> None:
    """Refuse a number that a dtype rounds to nothing, or to infinity; 0 is 0.

    Raises:
        DeclarationError: it is such a number.
    """
    least, most = float(np.finfo(dtype).tiny), float(np.finfo(dtype).max)
    if value and not least <= value <= most:
        raise declaration_error(
            subject, f"a number from {least:.2g} to {most:.2g}, as {dtype} has them", f"{value:g}", "use other units"
        )


def unless_far(factor: Any, known: Any, loss: float) -> Any:
    """A factor, or NaN where rounding would take more than `loss` from what it holds.

    An orthogonal transformation of rows as long as 1 and as ‖k‖, k a column of `known`, leaves of the short ones what
    is beyond eps ‖k‖ (row-wise errors: Cox and Higham, "Stability of Householder QR factorization for weighted least
    squares problems", 1998).

    Args:
        factor: what becomes NaN.
        known: new data in units of what was there, or the other way round, shape (…, k, columns).
        loss: relative.
    """
    most = loss / float(np.finfo(factor.dtype).eps)
    length = np.max(np.sqrt(np.sum(known * known, axis=-2)))
    return np.where(length > most, np.nan, factor).astype(factor.dtype)


def variances_of(metric: FormMetric, rows: Arrays) -> Any:
    """u·S⁻¹ u for each of the vectors u in `rows`, (rank,)."""
    if all(r.shape[0] == 1 for r in rows.values()):
        return np.reshape(metric.squared_norm({k: np.reshape(r, r.shape[1:]) for k, r in rows.items()}), (1,))
    return norms_one_by_one(rows, metric)


def scaled(x: Any, scalar: Any) -> Any:
    """x times a scalar, in the dtype of x."""
    return x * (scalar.astype(x.dtype) if hasattr(scalar, "dtype") else scalar)


def one_by_one(step: Callable[[Any, Arrays], Any], state: Any, rows: Arrays) -> Any:
    """``state ← step(state, u)`` for each of the vectors u in `rows`, one after the other."""
    names = list(rows)
    if all(r.shape[0] == 1 for r in rows.values()):
        return step(state, {k: np.reshape(r, r.shape[1:]) for k, r in rows.items()})

    def turn(carry: tuple[Any, ...], row: tuple[Any, ...]) -> tuple[Any, Any]:
        return tuple(flatten(step(unflatten(state, carry), dict(zip(names, row, strict=True))))), ()

    return unflatten(state, scan(turn, tuple(flatten(state)), tuple(rows.values()))[0])
