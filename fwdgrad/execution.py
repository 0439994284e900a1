"""Running steps on an engine: containers in and out on the slow side, flat tuples of arrays on the fast one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fwdgrad.engines.numpy_engine import compile_program
from fwdgrad.errors import DeclarationError
from fwdgrad.estimators import Estimator
from fwdgrad.linear import EagerModel, Model, TracedModel
from fwdgrad.optimizers import Optimizer
from fwdgrad.program import Abstract, Program, trace
from fwdgrad.step import Carry, Steps
from fwdgrad.system import System
from fwdgrad.trees import flatten, leaf_names, unflatten

__all__ = ["ENGINES", "Execution"]

ENGINES = ("auto", "numpy", "eager")

Flat = tuple[Any, ...]


class Execution:
    """The steps of one system, estimator and optimizer, on one engine.

    A carry is a flat tuple of arrays here; `pack` and `unpack` translate. Each kind of step is prepared when it is
    first needed. Every call returns new arrays and changes none, so a step that failed has changed nothing.

    Args:
        system: the declared system.
        estimator: influence, window, rank.
        optimizer: any object with `init` and `update`.
        engine: "numpy" traces the step and runs it as plain NumPy calls; "eager" runs the user's functions as they are
            and differentiates them with autograd each time; "auto" is "numpy".
    """

    def __init__(self, system: System, estimator: Estimator, optimizer: Optimizer, engine: str) -> None:
        if engine not in ENGINES:
            raise DeclarationError(f"engine={engine!r}: expected one of {', '.join(ENGINES)}.")
        self.engine = "numpy" if engine == "auto" else engine
        self.system = system
        self.model: Model = EagerModel(system) if self.engine == "eager" else TracedModel(system)
        self.steps = Steps(self.model, estimator, optimizer)
        self.template = self.steps.init()
        self.specs = self.steps.influence.noise(self.steps.layout)
        noise = [np.zeros(spec.shape, system.dtype) for spec in self.specs]
        x, y = flatten(system.x), flatten(system.y)
        self._carry, self._x, self._y, self._noise = flatten(self.template), x, y, noise
        self._functions: dict[Any, Callable[..., Flat]] = {}

    def initial(self) -> Flat:
        """The carry before the first step."""
        return tuple(np.array(leaf) for leaf in self._carry)

    def unpack(self, carry: Flat) -> Carry:
        """A flat carry in its containers."""
        return unflatten(self.template, carry)

    def pack(self, carry: Carry) -> Flat:
        """A carry as a flat tuple."""
        return tuple(flatten(carry))

    # ---- the steps; x, y and noise are flat lists of arrays

    def learn(self, carry: Flat, x: Sequence[Any], y: Sequence[Any], noise: Sequence[Any]) -> Flat:
        """(*carry, loss, prediction, health)."""
        return self.function("learn")(*carry, *x, *y, *noise)

    def transit(self, carry: Flat, x: Sequence[Any], noise: Sequence[Any]) -> Flat:
        """(*carry, loss, prediction, health), without a target."""
        return self.function("transit")(*carry, *x, *noise)

    def forward(self, carry: Flat, x: Sequence[Any], y: Sequence[Any]) -> Flat:
        """(h', loss, prediction, health): inside a window."""
        return self.function("forward")(*carry, *x, *y)

    def predict(self, carry: Flat, x: Sequence[Any]) -> Flat:
        """(h', prediction)."""
        return self.function("predict")(*carry, *x)

    def close(
        self, carry: Flat, states: Any, x: Sequence[Any], y: Sequence[Any], observed: Any, noise: Sequence[Any]
    ) -> Flat:
        """(*carry, health): the end of a window."""
        kind = "close" if np.any(observed) else "pass_over"
        return self.function((kind, len(observed)))(*carry, states, *x, *y, observed, *noise)

    # ---- preparing them

    def function(self, key: Any) -> Callable[..., Flat]:
        """The prepared function for a kind of step (with its window length, where it has one)."""
        if key not in self._functions:
            function, examples, names = self._plain(key)
            if self.engine == "eager":
                self._functions[key] = function
            else:
                self._functions[key] = compile_program(self._trace(function, examples, names, key))
        return self._functions[key]

    def program(self, key: Any) -> Program:
        """The traced program of a kind of step, for reading."""
        return self._trace(*self._plain(key), key)

    def _trace(self, function: Callable[..., Flat], examples: Sequence[Any], names: Sequence[str], key: Any) -> Program:
        name = key if isinstance(key, str) else key[0]
        return trace(function, [Abstract.of(e) for e in examples], names=names, name=name)

    def _plain(self, key: Any) -> tuple[Callable[..., Flat], list[Any], list[str]]:
        """A kind of step as a function of flat arrays, with example arguments and their names."""
        steps, system = self.steps, self.system
        kind, length = (key, None) if isinstance(key, str) else key
        parts: dict[str, Any] = {
            "carry": (self.template, _carry_names(self.template)),
            "x": (system.x, leaf_names(system.x, "x")),
            "y": (system.y, leaf_names(system.y, "y")),
            "noise": (tuple(self._noise), [f"noise{i}" for i in range(len(self._noise))]),
        }
        if length is not None:
            parts["states"] = (np.zeros((length, system.size), system.dtype), ["states"])
            parts["observed"] = (np.zeros(length, system.dtype), ["observed"])
            for label, tree in (("x", system.x), ("y", system.y)):
                rows = unflatten(tree, [np.zeros((length, *leaf.shape), leaf.dtype) for leaf in flatten(tree)])
                parts[label] = (rows, parts[label][1])

        def learn(a: dict[str, Any]) -> Any:
            return steps.learn(a["carry"], a["x"], a["y"], a["noise"])

        def transit(a: dict[str, Any]) -> Any:
            return steps.transit(a["carry"], a["x"], a["noise"])

        def forward(a: dict[str, Any]) -> Any:
            return steps.forward(a["carry"].h, a["carry"].params, a["x"], a["y"])

        def predict(a: dict[str, Any]) -> Any:
            return steps.predict(a["carry"].h, a["carry"].params, a["x"])

        def close(a: dict[str, Any]) -> Any:
            return steps.close(a["carry"], a["states"], a["x"], a["y"], a["observed"], a["noise"])

        def pass_over(a: dict[str, Any]) -> Any:
            return steps.pass_over(a["carry"], a["states"], a["x"], a["y"], a["observed"], a["noise"])

        kinds: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
            "learn": (learn, "carry x y noise"),
            "transit": (transit, "carry x noise"),
            "forward": (forward, "carry x y"),
            "predict": (predict, "carry x"),
            "close": (close, "carry states x y observed noise"),
            "pass_over": (pass_over, "carry states x y observed noise"),
        }
        body, wanted = kinds[kind]
        order = wanted.split()
        like = {label: parts[label][0] for label in order}
        names = [name for label in order for name in parts[label][1]]

        def function(*flat: Any) -> Flat:
            return tuple(flatten(body(unflatten(like, flat))))

        return function, flatten(like), names


def _carry_names(carry: Carry) -> list[str]:
    return [
        "h",
        *carry.params,
        *(name.removeprefix("influence_") for name in leaf_names(carry.influence, "influence")),
        *leaf_names(carry.optimizer, "optimizer"),
    ]
