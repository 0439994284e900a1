"""The Fisher matrix I of the prediction, as rows L with LᵀL = I."""

from __future__ import annotations

from typing import Any

import numpy as np

from fwdgrad.errors import ShapeError
from fwdgrad.optimizers.base import declaration_error, describe
from fwdgrad.optimizers.informed import Setting
from fwdgrad.program.elimination import root

__all__ = ["checked_fisher", "fisher_of", "normalized_of", "observed", "root", "told_by_fisher"]


def checked_fisher(who: str, fisher: Any) -> Any:
    """The option `fisher`, if it is one.

    Raises:
        DeclarationError: it is neither "outer" nor "exact" nor a function.
    """
    if (isinstance(fisher, str) and fisher in ("outer", "exact")) or (
        callable(fisher) and not isinstance(fisher, type)
    ):
        return fisher
    raise declaration_error(
        f"{who}(fisher)",
        '"outer", "exact", or a function of the prediction that returns a positive definite matrix',
        describe(fisher),
        'give "outer", which needs nothing but gradients',
    )


def fisher_of(who: str, fisher: Any, setting: Setting) -> Any:
    """A function of (ŷ, y) that gives L with LᵀL = I, tried out on an example; None for "outer".

    A loss may give L itself (`fisher_root`), where I would be the difference of nearly equal numbers; or by what was
    observed of y (`information`), where that takes more than leaving out rows.

    Raises:
        DeclarationError: the loss has no Fisher matrix, or the user's is not symmetric and positive definite; or
            updates are made at the end of windows of several steps, which have no single prediction.
        ShapeError: the user's has another shape than (m, m).
    """
    if fisher == "outer":
        return None
    function = getattr(setting.loss, "fisher", None) if fisher == "exact" else fisher
    example = setting.prediction
    if example is None or function is None or (fisher == "exact" and function(example) is None):
        raise declaration_error(
            f"{who}(fisher={fisher!r})" if fisher == "exact" else f"{who}(fisher)",
            "a system whose loss has a Fisher matrix, such as SquaredError or CrossEntropy",
            "none" if setting.loss is None else f"{setting.loss!r}",
            'give fisher="outer", or a function of the prediction',
        )
    if not setting.single:
        raise declaration_error(
            f"{who}(fisher)",
            "a window of one step: a longer one has several predictions, and an influence of the time before it only",
            "a longer window",
            'use window=1, or fisher="outer", which goes with any window',
        )
    if fisher != "exact":
        _check_matrix(who, function, example)
    elif hasattr(setting.loss, "information"):
        return setting.loss.information
    elif hasattr(setting.loss, "fisher_root"):
        return lambda prediction, y: setting.loss.fisher_root(prediction)
    return lambda prediction, y: root(_floating(function(prediction), prediction.dtype))


def _floating(matrix: Any, dtype: Any) -> Any:
    return matrix if np.issubdtype(matrix.dtype, np.floating) else matrix.astype(dtype)


def _check_matrix(who: str, function: Any, example: Any) -> None:
    """Try a user's function on the example prediction and around it."""
    rng = np.random.default_rng(0)
    size = int(np.prod(np.shape(example), dtype=int))
    for spread in (0.0, 0.1, 1.0):
        point = np.asarray(example + spread * rng.normal(size=np.shape(example)), np.asarray(example).dtype)
        try:
            made = function(point)
        except Exception as error:
            said = str(error).partition("\n")[0]
            raise declaration_error(
                f"{who}(fisher)",
                f"a function of the prediction alone, here {np.round(point, 3)!s:.40}",
                f"{type(error).__name__}: {said}",
                "write e.g. lambda prediction: np.eye(2)",
            ) from error
        if not isinstance(made, np.ndarray) or made.dtype.kind not in "iuf":
            raise declaration_error(
                f"{who}(fisher): what the function returns", "an array of numbers", describe(made), "return np.array(…)"
            )
        matrix = np.asarray(made, float)
        if matrix.shape != (size, size):
            raise ShapeError(
                f"{who}(fisher): the Fisher matrix of a prediction of {size} numbers has another shape.\n"
                f"Expected: {(size, size)}.\nGot: {matrix.shape}.\nMend: return a square matrix."
            )
        finite = bool(np.all(np.isfinite(matrix)))
        symmetric = finite and np.allclose(matrix, matrix.T, rtol=1e-8, atol=0)
        eigenvalues = np.linalg.eigvalsh(matrix) if symmetric else np.array([np.nan])
        if not (eigenvalues[0] > 1e-12 * abs(eigenvalues[-1])):
            what = f"eigenvalues from {eigenvalues[0]:.3g} to {eigenvalues[-1]:.3g}" if symmetric else "not symmetric"
            raise declaration_error(
                f"{who}(fisher): the Fisher matrix at the prediction {np.round(point, 3)!s:.40}",
                "a symmetric, positive definite matrix",
                what if finite else "numbers that are not finite",
                "return one at every prediction, e.g. with a small multiple of the identity added",
            )


def normalized_of(rows: Any, fisher: Any, setting: Setting) -> Any:
    """A function of (ŷ, y) that gives L (y − ŷ), (m,), and what was observed of it; None if the loss does not say.

    With an own Fisher matrix L is its root, else that of the loss (`normalized`).
    """
    loss = setting.loss
    if setting.single and hasattr(loss, "innovations") and not callable(fisher):
        return loss.innovations
    if not (setting.single and hasattr(loss, "normalized")) or observed(setting.prediction, setting.target) is None:
        return None

    def normalized(prediction: Any, y: Any) -> tuple[Any, Any]:
        seen = observed(prediction, y)
        if not callable(fisher):
            return np.reshape(loss.normalized(prediction, y), (-1,)), seen
        return np.dot(rows(prediction, y), np.reshape(np.where(np.isnan(y), 0.0, y - prediction), (-1,))), seen

    return normalized


def told_by_fisher(loss: Any, prediction: Any) -> bool:
    """Whether a loss that has no scale says what a target tells of each component of its prediction."""
    if hasattr(loss, "weight") or prediction is None or not getattr(loss, "componentwise", False):
        return False
    return getattr(loss, "fisher", None) is not None and loss.fisher(prediction) is not None


def observed(prediction: Any, target: Any) -> Any:
    """1.0 for components of a target that are not NaN, shape (m,); None if targets are not like predictions."""
    if not isinstance(getattr(target, "shape", None), tuple) or target.shape != prediction.shape:
        return None
    if not np.issubdtype(target.dtype, np.floating):
        return None
    return np.reshape(np.where(np.isnan(target), 0.0, 1.0), (-1,))
