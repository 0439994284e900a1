"""Running steps on an engine: containers in and out on the slow side, flat tuples of arrays on the fast one."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Sequence
from functools import cached_property, lru_cache
from itertools import chain
from typing import Any

import numpy as np

from fwdgrad.engines.base import Engine, Stream
from fwdgrad.engines.names import AUTO, EAGER, engine_named
from fwdgrad.engines.registry import NUMPY, REGISTERED, usable
from fwdgrad.estimators import Estimator
from fwdgrad.estimators.windows import Sliding
from fwdgrad.learning.step import Carry, Older, steps_for
from fwdgrad.learning.step.kinds import KINDS, LEARN, WALK, WINDOW, examples, repeated
from fwdgrad.linear import EagerModel, Model, TracedModel
from fwdgrad.optimizers import Optimizer, split
from fwdgrad.program import Abstract, Program, trace
from fwdgrad.support.notice import slow
from fwdgrad.support.trees import flatten, unflatten
from fwdgrad.support.types import Flat
from fwdgrad.system import System

__all__ = ["Execution", "execution_for"]

_PREPARING = threading.RLock()
"""Held while something is traced or compiled."""


class Execution:
    """The steps of one system, estimator and optimizer, on one engine.

    The steps of an eager model run on none: they are called as they are.

    A carry is a flat tuple of arrays here; `pack` and `unpack` translate. Each kind of step is prepared when it is
    first needed. Every call returns new arrays and changes none, so a step that failed has changed nothing.

    Args:
        system: the declared system.
        estimator: influence, window, rank.
        optimizer: any object with `init` and `update`.
        engine: "numpy" traces the step and runs it as plain NumPy calls; "compiled" compiles it; "eager" runs the
            user's functions as they are and differentiates them with autograd each time; "auto" is "numpy" (and the
            learner changes to "compiled" where that pays).
        family: executions of the same on other engines, by what was asked for; see `execution_for`.

    Attributes:
        engine: the name of the engine it runs on. A step that cannot be compiled runs on "numpy", with a warning.
        traced: whether the model is traced; the engine is "eager" if it is not.
    """

    def __init__(
        self,
        system: System,
        estimator: Estimator,
        optimizer: Optimizer,
        engine: str,
        family: dict[str, Execution] | None = None,
    ) -> None:
        self.engine = _name(engine)
        self.traced = self.engine != EAGER
        self.system, self.estimator, self.optimizer = system, estimator, optimizer
        self.model: Model = TracedModel(system) if self.traced else EagerModel(system)
        self.steps = steps_for(self.model, estimator, optimizer)
        self.specs = self.steps.noise
        start, noise = (
            tuple(np.zeros(spec.shape, system.dtype) for spec in self.specs if spec.when == when)
            for when in ("start", "step")
        )
        self.template = self.steps.init(start)
        before, own = (len(flatten(part)) for part in (self.template[:2], self.template.influence))
        self._influence = slice(before, before + own)
        self._constants = self.template.constants
        self._noise = noise
        self._functions: dict[Any, Callable[..., Flat]] = {}
        self._family = {} if family is None else family
        others = [e for e in self._family.values() if isinstance(e.model, type(self.model))]
        self._programs: dict[Any, Program] = others[0]._programs if others else {}
        self._work = [0.0]
        self._streams: dict[str, Stream] = {}
        self._runs_on: Engine = REGISTERED[self.engine] if self.traced else NUMPY
        if self._runs_on is not NUMPY:
            self._runs_on, _ = usable(self._runs_on, self._check, "this step", 4)
            self.engine = self._runs_on.name

    def initial(self, start: tuple[Any, ...] = ()) -> Flat:
        """The carry before the first step, with the random numbers that are drawn once."""
        return tuple(np.array(leaf) for leaf in flatten(self.steps.init(start)._replace(constants=self._constants)))

    def with_rates(self, numbers: Sequence[float]) -> Execution:
        """The same, with other numbers in the optimizer's rates: all that is traced and compiled is in common."""
        made = copy.copy(self)
        made._constants = tuple(np.array(c) for c in numbers)
        return made

    def unpack(self, carry: Flat) -> Carry:
        """A flat carry in its containers."""
        return unflatten(self.template, carry)

    @property
    def has_influence(self) -> bool:
        """Whether anything is kept of the time before a window."""
        return self._influence.start < self._influence.stop

    def with_influence(self, carry: Flat, influence: Sequence[Any]) -> Flat:
        """A carry with another influence, given as its flat arrays."""
        place = self._influence
        return *carry[: place.start], *influence, *carry[place.stop :]

    def pack(self, carry: Carry) -> Flat:
        """A carry as a flat tuple."""
        return tuple(flatten(carry))

    # ---- the steps

    def make(self, key: Any, carry: Flat, *given: Sequence[Any]) -> Flat:
        """A step of a kind, as flat arrays: see `fwdgrad.learning.step.kinds`.

        Args:
            key: the kind; with the number of samples that it goes through, (kind, T), where that is more than one.
            carry: all that is learned and remembered.
            given: what else it is given, each a flat list of arrays.
        """
        return self.function(key)(*carry, *chain.from_iterable(given))

    @cached_property
    def no_derivatives(self) -> Flat:
        """(cotangent, *sums) behind the last step."""
        made = tuple(np.zeros_like(leaf) for leaf in flatten(self._example("derivatives", 1)[0]))
        for leaf in made:
            leaf.flags.writeable = False
        return made

    # ---- preparing them

    def function(self, key: Any) -> Callable[..., Flat]:
        """The prepared function for a kind of step (with its window length, where it has one)."""
        if key not in self._functions:
            with _PREPARING:
                if not self.traced:
                    self._functions[key] = self._plain(key)[0]
                else:
                    self._functions[key] = self._compiled(self.program(key), often=KINDS[_split(key)[0]].often)
        return self._functions[key]

    def reference(self, key: Any) -> Callable[..., Flat]:
        """The same on the NumPy engine, whatever the engine is."""
        if self._runs_on is NUMPY:
            return self.function(key)
        if ("reference", key) not in self._functions:
            self._functions["reference", key] = NUMPY.compile(self.program(key))
        return self._functions["reference", key]

    def _compiled(self, program: Program, often: bool) -> Callable[..., Flat]:
        """A program on the engine; on the NumPy engine, if it cannot run there or is not worth the while."""
        if not often or not self._runs_on.compiles:
            return (self._runs_on if often else NUMPY).compile(program)
        with slow(f"compiling {program.name} of {self.system.name} ({self.estimator.name})"):
            return usable(self._runs_on, lambda engine: engine.compile(program), program.name)[1]

    @property
    def work(self) -> float:
        """What all learners have done with it while they chose an engine, in seconds, as predicted."""
        return self._work[0]

    @work.setter
    def work(self, seconds: float) -> None:
        self._work[0] = seconds

    def on(self, engine: str) -> Execution | None:
        """The same on another engine, if it is there already."""
        return self._family.get(engine)

    @cached_property
    def plain(self) -> Execution:
        """This, or, on any other engine that runs programs, the same on NumPy."""
        if self._runs_on is NUMPY:
            return self
        made = copy.copy(self)
        made._runs_on, made.engine, made._functions = NUMPY, NUMPY.name, {}
        return made

    @property
    def has_compiled(self) -> bool:
        """Whether a step has been compiled."""
        return self._runs_on.compiles and bool(self._streams or self._functions)

    @property
    def streams(self) -> bool:
        """Whether many steps can be made in one call."""
        return self._runs_on.streams

    def stream(self, kind: str) -> Stream:
        """The loop over steps of a kind.

        "learn" and "transit" make a step, with a target and without; "walk" one inside of a window; "window" and "idle"
        all of a window, with targets and without.
        """
        if kind not in self._streams:
            with _PREPARING, slow(f"compiling the step of {self.system.name} ({self.estimator.name}, {kind})"):
                self._streams[kind] = self._runs_on.stream(self.program(kind), self.carried(kind))
        return self._streams[kind]

    def held(self, leaf: Any) -> Any:
        """A copy of an array of the carry, as streams take it: see `Engine.held`."""
        return self._runs_on.held(leaf)

    def carried(self, kind: str) -> int:
        """How many arrays a step of this kind hands on to the next one."""
        return len(flatten((self.template, self.older))) if KINDS[kind].strides else len(flatten(self.template))

    @property
    def streamed(self) -> str:
        """The kind of step that streams make, above all."""
        window = self.estimator.window
        if not isinstance(window, Sliding):
            return WALK
        return LEARN if window.length == 1 else WINDOW

    @property
    def _stride(self) -> int:
        """Samples between two updates."""
        window = self.estimator.window
        return (window.stride or window.length or self.system.size) if isinstance(window, Sliding) else 1

    @cached_property
    def older(self) -> Any:
        """Examples of the steps of a window that stay in it when it moves: `Older`, or None if there are none."""
        window, system = self.estimator.window, self.system
        length = (window.length or system.size) if isinstance(window, Sliding) else 1
        count = length - self._stride
        return Older(np.zeros((count, system.size), system.dtype), repeated(system.given, count)) if count else None

    def _check(self, engine: Engine) -> None:
        """Whether the engine can run a step; see `Engine.check`."""
        kind = self.streamed if engine.streams else LEARN
        engine.check(self.program(kind), self.carried(kind))

    def program(self, key: Any) -> Program:
        """The traced program of a kind of step."""
        if key not in self._programs:
            function, examples, names = self._plain(key)
            name, _ = _split(key)
            self._programs[key] = trace(function, [Abstract.of(e) for e in examples], names=names, name=name)
        return self._programs[key]

    def _example(self, label: str, length: int) -> tuple[Any, list[str]]:
        return examples(label, self.system, self.template, self._noise, self.older, length)

    def _plain(self, key: Any) -> tuple[Callable[..., Flat], list[Any], list[str]]:
        """A kind of step as a function of flat arrays, with example arguments and their names."""
        name, length = _split(key)
        kind = KINDS[name]
        if kind.strides:
            length = self._stride
        parts = [self._example(label, length) for label in ("carry", *kind.given.split())]
        like = tuple(example for example, _ in parts)

        def function(*flat: Any) -> Flat:
            return tuple(flatten(kind.body(self.steps, *unflatten(like, flat))))

        return function, flatten(like), [name for _, names in parts for name in names]


def _split(key: Any) -> tuple[str, int]:
    """The name of a kind of step, and how many samples it goes through."""
    return (key, 1) if isinstance(key, str) else key


def execution_for(system: System, estimator: Estimator, optimizer: Optimizer, engine: str) -> Execution:
    """An execution, shared by all that ask for the same: what has been traced and compiled is not done again.

    The numbers of learning rates are inputs of a step, so optimizers that differ in these alone are the same here.
    Executions of equal system, estimator and optimizer on several engines are a family: they have their traced programs
    in common, and know of each other (`on`).
    """
    key, numbers = split(optimizer)
    try:
        family = _family(system, estimator, key)
    except TypeError:  # an estimator or optimizer of the user's own that cannot be looked up
        family = {}
    name = _name(engine)
    if name not in family:
        family[name] = Execution(system, estimator, optimizer, engine, family)
    return family[name].with_rates(numbers)


def _name(engine: str) -> str:
    """What is begun with, by the name that a user gave."""
    named = engine_named(engine)
    return NUMPY.name if named == AUTO else named


@lru_cache(maxsize=16)
def _family(system: System, estimator: Estimator, optimizer: Any) -> dict[str, Execution]:
    return {}
