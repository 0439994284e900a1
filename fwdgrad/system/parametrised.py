"""The parameters of a system, as F and Y see them and as they are learned."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np

from fwdgrad.errors import ShapeError, UnknownNameError, did_you_mean
from fwdgrad.support.trees import parted
from fwdgrad.system.parameters import Tied

__all__ = ["Parametrised"]


class Parametrised:
    """What a `System` knows of its parameters."""

    coordinates: dict[str, np.ndarray]
    coordinate: dict[str, Any]
    trainable: tuple[str, ...]
    _tied: dict[str, Tied]
    _order: tuple[str, ...]
    _plain: bool

    def natural(self, coordinates: Mapping[str, Any]) -> dict[str, Any]:
        """θ as F and Y see it, from what is learned of it."""
        if self._plain:
            return dict(coordinates)
        made = {k: self.coordinate[k].natural(v) for k, v in coordinates.items()}
        return {k: self._tied[k].value(made[self._tied[k].name]) if k in self._tied else made[k] for k in self._order}

    def leaves_at(self, point: np.ndarray) -> dict[str, np.ndarray]:
        """Learned coordinates by leaf, from all of them in one vector, shape (p,), or numbers that go with them."""
        return parted(point, {k: self.coordinates[k] for k in self.trainable})

    def params_at(self, point: np.ndarray) -> dict[str, Any]:
        """θ as F and Y see it, at learned coordinates in one vector, shape (p,)."""
        return self.natural(self.coordinates | self.leaves_at(point))

    def learned(self, params: Mapping[str, Any], others: Mapping[str, Any] | None = None) -> dict[str, np.ndarray]:
        """What is learned of parameters, from the values of some or all of them; the inverse of `natural`.

        Args:
            params: values as F and Y see them.
            others: what is learned of the parameters that are left out; the declared values unless given.

        Raises:
            UnknownNameError: there is no such parameter, or it is tied to another one and given another value.
            ShapeError: another shape than declared, or values that are not finite or outside the declared bounds.
        """
        made = dict(self.coordinates if others is None else others)
        for k, v in params.items():
            if k in self._tied:
                continue
            if k not in made:
                raise UnknownNameError(f"params: there is no parameter {k!r}. {did_you_mean(k, self._order)}")
            shape, coordinate = np.shape(made[k]), self.coordinate[k]
            try:
                array = np.array(v, dtype=np.asarray(made[k]).dtype)
            except (TypeError, ValueError):
                array = np.array(np.nan)
            if array.shape != shape or not np.all(np.isfinite(array)):
                raise ShapeError(f"params[{k!r}]: expected finite numbers of shape {shape}, got {v!r}.")
            with np.errstate(all="ignore"):
                made[k] = np.asarray(coordinate.learned(array))
            if not np.all(np.isfinite(made[k])):
                raise ShapeError(f"params[{k!r}]: expected values within its bounds, {coordinate!r}; got {v!r}.")
        follows = self.natural(made)
        for k in self._tied:
            if k in params and not np.allclose(params[k], follows[k]):
                raise UnknownNameError(f"params: {k!r} follows from {self._tied[k].name!r}. Set that one.")
        return made

    @cached_property
    def params(self) -> dict[str, np.ndarray]:
        """The initial values of the parameters as F and Y see them, in the order of their declaration."""
        return {k: np.asarray(v) for k, v in self.natural(self.coordinates).items()}
