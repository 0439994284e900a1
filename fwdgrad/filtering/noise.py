"""Covariances of a filter, by what they are declared as: numbers, diagonals, matrices, parameters, functions of θ."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fwdgrad.errors import DeclarationError, FwdgradError, ShapeError, UnknownNameError, did_you_mean
from fwdgrad.losses.innovations import unpacked
from fwdgrad.program import operations as ops
from fwdgrad.program.elimination import root
from fwdgrad.system.parameters import Parameter, positive

__all__ = ["Cholesky", "Covariance", "cholesky", "covariance_of", "deviations", "least"]

SYMMETRIC = 1e-9
"""Relative difference up to which a matrix is symmetric, and below 0 up to which an eigenvalue is 0."""

Theta = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Cholesky:
    """A covariance matrix that is learned, see `cholesky`."""

    matrix: np.ndarray


def cholesky(matrix: Any) -> Cholesky:
    """A covariance matrix that is learned by its Cholesky factor U, UᵀU the matrix, for `fwdgrad.filtered`.

    The diagonal of U stays positive, so every matrix on the way is positive definite. There are two parameters, called
    like what the matrix is given for: ``process_diagonal`` and ``process_above``, row by row.

    Args:
        matrix: the initial value, (n, n), symmetric and positive definite.

    Raises:
        DeclarationError: it is not.

    Example:
        >>> import numpy as np, fwdgrad as fg
        >>> system = fg.System(lambda h, x, p: p["a"] * h, None, np.ones(2), {"a": 0.9})
        >>> made = fg.filtered(system, process=fg.cholesky([[4.0, 2.0], [2.0, 5.0]]), observation=1.0)
        >>> made.params["process_diagonal"], made.params["process_above"]
        (array([2., 2.]), array([1.]))
    """
    array = _numbers("cholesky", matrix)
    if array.ndim != 2 or array.shape[0] != array.shape[1]:
        raise DeclarationError(f"cholesky: expected a square matrix, got shape {array.shape}.")
    _checked_eigenvalues("cholesky", array, above_zero=True)
    return Cholesky(array)


@dataclass(frozen=True, eq=False)
class Covariance:
    """A covariance of n numbers, as a function of θ.

    Attributes:
        params: parameters that it brings, by name.
        root: θ ↦ the upper triangular U, UᵀU the covariance, (n, n).
        depends: whether it depends on θ at all.
        diagonal: whether it is known to be diagonal.
        singular: whether it may be singular.
        function: of the user's, if it is made by one.
    """

    params: dict[str, Parameter]
    root: Callable[[Theta], Any]
    depends: bool
    diagonal: bool
    singular: bool
    function: Callable[[Theta], Any] | None = None

    def matrix(self, theta: Theta) -> np.ndarray:
        """The covariance for these parameters."""
        upper = np.asarray(self.root(theta), float)
        return upper.T @ upper


class _Declared:
    """What an argument of `filtered` is checked and built with.

    Args:
        who: the name of the argument.
        names: of the numbers it is a covariance of, with how many of them there are by each name; None if they have no
            names.
        size: how many they are.
        steady: how many more there are behind them, whose covariance is 0.
        params: parameters of the system, as they are declared.
        dtype: of the system.
        zero: whether variances may be 0.
    """

    def __init__(
        self, who: str, names: Mapping[str, int] | None, size: int, steady: int, params: Any, dtype: Any, zero: bool
    ) -> None:
        self.who, self.names, self.size, self.steady = who, names, size, steady
        self.params, self.dtype, self.zero = params, np.dtype(dtype), zero

    def made(self, value: Any) -> Covariance:
        """The covariance that is meant by a value."""
        if isinstance(value, Cholesky):
            return self._factor(value.matrix)
        if isinstance(value, Parameter):
            if self.who in self.params:
                raise DeclarationError(f"{self.who}: the system has a parameter of this name. Give it another one.")
            self._check_parameter(value, self.who)
            return self._by_name(self.who, {self.who: value})
        if isinstance(value, str):
            if value not in self.params:
                raise UnknownNameError(
                    f"{self.who}: there is no parameter {value!r}. {did_you_mean(value, self.params)}"
                )
            self._check_parameter(self.params[value], value)
            return self._by_name(value, {})
        if callable(value):
            return self._function(value)
        return self._given(self._by_output(value) if isinstance(value, Mapping) else _numbers(self.who, value))

    def _by_output(self, value: Mapping[str, Any]) -> np.ndarray:
        """Variances by the names of what they are of."""
        names = self.names or {}
        if set(value) != set(names):
            raise DeclarationError(
                f"{self.who}: expected variances of {', '.join(names) or 'numbers without names: an array'}; got those "
                f"of {', '.join(map(str, value))}."
            )
        return np.concatenate([np.broadcast_to(_numbers(self.who, value[k]), (n,)) for k, n in names.items()])

    # ---- given

    def _given(self, value: np.ndarray) -> Covariance:
        n = self.size
        self._check_shape(np.shape(value))
        if value.ndim == 2:
            least, most = _checked_eigenvalues(self.who, value, above_zero=not self.zero)
            singular = least <= SYMMETRIC * most
            diagonal = bool(np.array_equal(value, np.diag(np.diagonal(value))))
            upper = np.diag(np.sqrt(np.maximum(np.diagonal(value), 0.0))) if diagonal else _upper(value)
        else:
            if not np.all(value >= 0) or (not self.zero and np.any(value == 0)):
                raise DeclarationError(self._signs(value))
            singular, diagonal = bool(np.any(value == 0)), True
            upper = np.diag(np.broadcast_to(np.sqrt(value), (n,)))
        held = self._padded(upper.astype(self.dtype))
        return Covariance({}, lambda theta: held, False, diagonal, singular or self.steady > 0)

    def _signs(self, value: Any) -> str:
        what = "≥ 0" if self.zero else "> 0"
        why = (
            ""
            if self.zero
            else "\nWithout noise in what is observed an innovation may have no density; give what the sensor has."
        )
        return f"{self.who}: expected variances {what}, got {value}.{why}"

    def _padded(self, upper: Any) -> Any:
        """With zeros for what has no noise."""
        if not self.steady:
            return upper
        n, k = self.size, self.steady
        wide = np.concatenate([upper, np.zeros((n, k), upper.dtype)], axis=1)
        return np.concatenate([wide, np.zeros((k, n + k), upper.dtype)])

    # ---- learned

    def _check_parameter(self, parameter: Any, name: str) -> None:
        """Refuse a parameter that is no variance."""
        if not getattr(getattr(parameter, "coordinate", None), "low", -1.0) >= 0:
            raise DeclarationError(
                f"{self.who}: the parameter {name!r} is to be a variance and may become negative.\n"
                f"Declare it with fg.positive(…); a matrix with fg.cholesky(…)."
            )
        self._check_shape(np.shape(parameter.value), vectors=True)

    def _by_name(self, name: str, params: dict[str, Parameter]) -> Covariance:
        def upper(theta: Theta) -> Any:
            return self._padded(self._diagonal(deviations(theta[name])))

        return Covariance(params, upper, True, True, self.steady > 0)

    def _diagonal(self, values: Any) -> Any:
        if np.ndim(values):
            return np.diag(values)
        return values * np.eye(self.size, dtype=self.dtype)

    def _factor(self, matrix: np.ndarray) -> Covariance:
        n = self.size
        if matrix.shape != (n, n):
            raise ShapeError(f"{self.who}: expected a matrix of shape {(n, n)}, got {matrix.shape}.")
        names = f"{self.who}_diagonal", f"{self.who}_above"
        taken = [k for k in names if k in self.params]
        if taken:
            raise DeclarationError(f"{self.who}: the system has a parameter {taken[0]!r}. Give it another name.")
        upper, (rows, columns) = _upper(matrix), np.triu_indices(n, 1)
        params = {names[0]: positive(np.diagonal(upper).astype(self.dtype))}
        if n > 1:
            params[names[1]] = Parameter(upper[rows, columns].astype(self.dtype))
        order = np.argsort(np.concatenate([np.arange(n) * (n + 1), rows * n + columns]))

        def made(theta: Theta) -> Any:
            entries = np.concatenate([theta[k] for k in params]) if n > 1 else theta[names[0]]
            return self._padded(unpacked(entries[order], n))

        return Covariance(params, made, True, n == 1, self.steady > 0)

    def _function(self, function: Callable[[Theta], Any]) -> Covariance:
        values = {k: np.array(p.value, self.dtype) for k, p in self.params.items() if isinstance(p, Parameter)}
        values = {k: values[k] if k in values else np.asarray(p.value(values[p.name])) for k, p in self.params.items()}
        try:
            example = np.asarray(function(values), float)
        except FwdgradError:
            raise
        except Exception as error:
            raise DeclarationError(
                f"{self.who}, a function of θ, fails with the declared values: {type(error).__name__}: {error}\n"
                f"It was given a dict of the parameters {', '.join(values)}; it must return variances or a matrix."
            ) from error
        self._given(example)  # refuses what is no covariance
        matrix = example.ndim == 2

        def upper(theta: Theta) -> Any:
            value = function(theta)
            return self._padded(root(value) if matrix else self._diagonal(deviations(value)))

        return Covariance({}, upper, True, not matrix, True, function)

    def _check_shape(self, shape: tuple[int, ...], vectors: bool = False) -> None:
        n = self.size
        fitting = [(), (n,)] if vectors else [(), (n,), (n, n)]
        if shape not in fitting:
            raise ShapeError(
                f"{self.who}: expected a variance, {n} variances"
                + ("" if vectors else f" or a covariance matrix {(n, n)}")
                + f"; got shape {shape}."
            )


def covariance_of(
    who: str,
    value: Any,
    *,
    names: Mapping[str, int] | None,
    size: int,
    steady: int,
    params: Any,
    dtype: Any,
    zero: bool,
) -> Covariance:
    """The covariance that an argument of `filtered` means; see `_Declared`.

    Raises:
        DeclarationError, ShapeError, UnknownNameError: it means none.
    """
    return _Declared(who, names, size, steady, params, dtype, zero).made(value)


def least(dtype: Any) -> float:
    """A deviation so small that its square is just a number that can be divided by."""
    return float(np.finfo(dtype).tiny) ** 0.25


def deviations(variances: Any) -> Any:
    """Their roots, away from 0, where a root has no derivative."""
    return np.sqrt(np.maximum(variances, least(variances.dtype) ** 2))


def _numbers(who: str, value: Any) -> np.ndarray:
    try:
        array = np.asarray(value, None if value is None else float)
    except (TypeError, ValueError):
        array = np.asarray(None)
    if array.dtype == object:
        raise DeclarationError(
            f"{who}: expected variances, a matrix, a parameter (fg.positive, fg.cholesky), the name of one, or a\n"
            f"function of θ; got {value!r}."
        ) from None
    if not np.all(np.isfinite(array)):
        raise DeclarationError(f"{who}: expected finite numbers, got {value!r}.")
    return array


def _checked_eigenvalues(who: str, matrix: np.ndarray, above_zero: bool) -> tuple[float, float]:
    """The least and the largest eigenvalue of a covariance matrix.

    Raises:
        DeclarationError: it is not symmetric, or they are not as they have to be.
    """
    largest = float(np.max(np.abs(matrix), initial=0.0))
    if not np.allclose(matrix, matrix.T, rtol=0.0, atol=SYMMETRIC * largest):
        raise DeclarationError(f"{who}: expected a symmetric matrix, got one with entries {matrix.tolist()!s:.80}.")
    values = np.linalg.eigvalsh(matrix)
    least, most = float(values[0]), float(values[-1])
    if (above_zero and least <= SYMMETRIC * most) or least < -SYMMETRIC * most or most < 0:
        kind = "definite" if above_zero else "semi-definite"
        raise DeclarationError(
            f"{who}: expected a positive {kind} matrix; its eigenvalues go from {least:.3g} to {most:.3g}.\n"
            "Covariances have none below 0."
        )
    return least, most


def _upper(matrix: np.ndarray) -> np.ndarray:
    """The upper triangular U with UᵀU a positive semi-definite matrix."""
    values, vectors = np.linalg.eigh(matrix)
    rows = np.sqrt(np.maximum(values, 0.0))[:, None] * vectors.T
    return np.asarray(ops.cholesky_update(np.zeros_like(matrix), rows))
