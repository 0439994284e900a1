"""Optimizers that ask for more than a gradient: an optional second contract, on top of `Optimizer`.

An optimizer with a method `bind` is told, once, what it is going to learn, and gives an optimizer for it (`Informed`)
that may ask, at every step, for derivatives of the prediction and for random numbers, and may say how long
parameter-shaped things are. An optimizer without `bind` needs nothing of this module.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from fwdgrad.linear import Metric
from fwdgrad.optimizers.base import Arrays, Optimizer
from fwdgrad.structure import Patterns

__all__ = ["Binding", "Evidence", "Informed", "Noise", "Setting", "scale_of"]

Noise = tuple[tuple[str, tuple[int, ...]], ...]
"""Random arrays that are wanted: for each its kind ("signs", "normal" or "uniform") and its shape."""


@dataclass(frozen=True, eq=False)
class Setting:
    """What is going to be learned."""

    shapes: dict[str, tuple[int, ...]]
    """Shapes of the learned leaves, in declaration order."""
    dtype: np.dtype
    """Of all of them."""
    transition: tuple[str, ...] = ()
    """The leaves that the transition uses; the others are the readout's."""
    prediction: Any = None
    """An example of the prediction ŷ; None if nothing is known of it."""
    target: Any = None
    """An example of a target."""
    loss: Any = None
    """The loss."""
    single: bool = True
    """Whether updates are made after every step, and not at the end of longer windows."""
    scales: Mapping[str, float] = field(default_factory=dict)
    """By leaf, what a change of order one is (see `scale_of`); 1 where it is not known."""
    analyse: Callable[[], Patterns | None] = lambda: None
    """Finds the patterns of the derivatives of F and Y; None if that cannot be known."""
    size: int = 0
    """n, the number of state variables."""
    free: tuple[str, ...] = ()
    """The leaves without bounds, whose coordinate is the parameter itself."""

    @staticmethod
    def of(params: Arrays) -> Setting:
        """That of parameters of which nothing else is known, their declared values neither: one group of leaves."""
        dtype = next((np.dtype(p.dtype) for p in params.values()), np.dtype(np.float64))
        return Setting({k: p.shape for k, p in params.items()}, dtype, tuple(params))

    @property
    def groups(self) -> dict[str, tuple[str, ...]]:
        """Leaves of the transition, and those of the readout only; groups without leaves are left out."""
        made = {
            "transition": tuple(k for k in self.shapes if k in self.transition),
            "readout": tuple(k for k in self.shapes if k not in self.transition),
        }
        return {name: leaves for name, leaves in made.items() if leaves}


def scale_of(values: Any) -> float:
    """The root mean square of a leaf as declared, in its own unit; 1 if it is declared as 0, which has none."""
    size = float(np.sqrt(np.mean(np.square(np.asarray(values, float))))) if np.size(values) else 0.0
    return size if 0 < size < np.inf else 1.0


class Evidence(NamedTuple):
    """What an informed optimizer gets at an update besides the gradient."""

    rows: Arrays | None = None
    """u_k·∂ŷ/∂θ for each of the `cotangents` u_k, arrays (k, *leaf shape): through the last step exactly, through the
    past by the influence. None if none were asked for."""
    prediction: Any = None
    """ŷ; None at the end of a window of several steps."""
    target: Any = None
    """y, likewise."""
    noise: tuple[Any, ...] = ()
    """The random numbers of this step, as `Informed.noise` asks for them."""


@runtime_checkable
class Binding(Protocol):
    """An optimizer with `bind`."""

    def bind(self, setting: Setting) -> Informed:
        """The optimizer for what is described, or a `DeclarationError` that says why there is none."""


class Informed(Optimizer, Protocol):
    """What `bind` returns. All of it is traced with the step: plain functional NumPy, as in `Optimizer`."""

    noise: Noise
    """What is to be drawn for every step."""
    advice: str
    """What else may be wrong if an update is not finite: another line of the message, or nothing."""

    def cotangents(self, prediction: Any, target: Any) -> Any:
        """Rows u_k whose derivatives u_k·∂ŷ/∂θ are wanted, shape (k, size of ŷ); None for none.

        Costs one backward product through Y and F for each row, and what the influence takes to pull it.
        """

    def update(self, grads: Arrays, state: Any, params: Arrays, evidence: Evidence | None = None) -> tuple[Arrays, Any]:
        """``(updates, new state)``, as of `Optimizer`."""

    def unobserved(self, state: Any) -> Any:
        """The state after a step without a target, in which nothing is learned: as it was, unless time tells."""

    def metric(self, state: Any) -> Metric:
        """How long parameter-shaped things are, for influences that measure any."""

    def magnitude(self, state: Any) -> Any:
        """A scalar that is finite exactly if the state is."""
