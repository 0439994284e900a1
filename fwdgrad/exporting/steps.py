"""The steps of a learner in C: what they take, what they keep, and the functions themselves."""

from __future__ import annotations

import ast
import contextlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fwdgrad.engines.compiled_engine.c_language import INTEGER, Array, Value, c_name, c_number, c_type
from fwdgrad.engines.compiled_engine.c_translating import CModule, Counts
from fwdgrad.engines.compiled_engine.writing import Argument, write
from fwdgrad.errors import TracingError
from fwdgrad.learning.learner import Learner
from fwdgrad.program import Abstract, Program, trace
from fwdgrad.support.trees import flatten, leaf_names

__all__ = ["Member", "Steps"]


@dataclass(frozen=True)
class Member:
    """An array that the C functions keep or are given.

    Attributes:
        name: in C.
        value: what it begins with; an example of what is given.
    """

    name: str
    value: np.ndarray

    @property
    def declared(self) -> str:
        """As a member of a struct."""
        return f"{c_type(self.value.dtype)} {self.name}[{self.size}];"

    @property
    def parameter(self) -> str:
        """As a parameter that is read."""
        return f"const {c_type(self.value.dtype)} {self.name}[{self.size}]"

    @property
    def size(self) -> int:
        """Its entries; C has no arrays without any."""
        return max(self.value.size, 1)


class Steps:
    """The predict, transit and learn steps of a learner.

    Attributes:
        carry: what is kept from step to step: state, parameters, influence, optimizer.
        fed: what the next step is given besides the user's input: whether a trajectory starts, the sample before.
        x, y, noise: what a step is given by the user.
        prediction: what it returns.
        texts: the functions.
        work: arrays that each of them works in, by its name.
        counts: what each computes.
    """

    def __init__(self, learner: Learner) -> None:
        execution, loop, system = learner._execution, learner._loop, learner.system
        self._module = CModule()
        carried = [np.asarray(leaf) for leaf in loop.carry]
        learn = write(execution.program("learn"), len(carried))
        taken: set[str] = set()
        names = [_unused(c_name(a.name.removesuffix("_at")), taken) for a in learn.carry]
        self.carry = [Member(name, v) for name, v in zip(names, carried, strict=True)]
        given = leaf_names(system.given, "x")
        own = len(flatten(system.x))
        rows = [np.asarray(v) for v in loop.feed.row]
        self.fed = [
            Member(_unused(c_name(name.removeprefix("x_")), taken), v)
            for name, v in zip(given[own:], rows, strict=True)
        ]
        self.x = [Member(c_name(n), v) for n, v in zip(leaf_names(system.x, "x"), flatten(system.x), strict=True)]
        self.y = [Member(c_name(n), v) for n, v in zip(leaf_names(system.y, "y"), flatten(system.y), strict=True)]
        self.noise = [Member(f"noise{k}", v) for k, v in enumerate(execution._noise)]
        self.prediction = Member("prediction", np.asarray(system.prediction))
        self.loss = Member("loss", np.zeros((), system.dtype))
        self.texts: list[str] = []
        self.work: dict[str, list[Member]] = {}
        self.counts: dict[str, Counts] = {}
        self._constants: dict[str, str] = {}
        outs = [self.loss, self.prediction]
        self._add("learn", learn, [*self.x, *self.fed, *self.y, *self.noise], outs)
        transit = write(execution.program("transit"), len(carried))
        self._add("transit", transit, [*self.x, *self.fed, *self.noise], outs)
        with contextlib.suppress(TracingError):  # a filter on the state, too, begins anew in plain NumPy
            self._add("reset", write(_restarting(learner), len(carried)), [], [])
        predict = write(execution.program("predict"), None)
        self._add(
            "predict", predict, [*self.x, *self.fed], [Member("after", np.asarray(system.initial)), self.prediction]
        )

    @property
    def text(self) -> str:
        """All functions, and what they call."""
        made = "\n\n".join([*self._module.texts, *self.texts])
        used = [line for name, line in self._constants.items() if _used(name, made)]
        return "\n\n".join([*used, made])

    def nbytes(self, members: Sequence[Member]) -> int:
        """Memory of some of them."""
        return sum(m.value.nbytes for m in members)

    def _add(self, kind: str, written: Any, rows: list[Member], outs: list[Member]) -> None:
        """A step as a function of the model, of what the user gives it, and of where its results go."""
        predicts = not written.carry
        inputs = list(written.rows)
        arrays: dict[str, Array] = {}
        begun: dict[str, str] = {}
        parameters: dict[str, str] = {}
        work: list[Member] = []

        def known(argument: Argument, place: str, constant: bool = False) -> None:
            """It stands in the model."""
            name = c_name(argument.name)
            begun[name] = f"{'const ' * constant}{c_type(argument.dtype)} *{name} = model->{place};"
            arrays[argument.name] = Array(name, argument.dtype, _size(argument.size), constant)

        def given(argument: Argument, constant: bool) -> None:
            """It is a parameter."""
            name = c_name(argument.name)
            how = f"{'const ' * constant}{c_type(argument.dtype)}"
            parameters[name] = f"{how} {name}[{max(argument.size, 1)}]"
            arrays[argument.name] = Array(name, argument.dtype, _size(argument.size), constant)

        for member, argument in zip(self.carry, inputs[: len(self.carry)] if predicts else written.carry, strict=True):
            known(argument, f"state.{member.name}", constant=predicts)
        own = {m.name for m in self.fed}
        for member, argument in zip(rows, inputs[len(self.carry) :] if predicts else inputs, strict=True):
            if member.name in own:
                known(argument, f"state.{member.name}", constant=True)
            else:
                given(argument, constant=True)
        for member, argument in zip(outs, written.outs, strict=True):
            if member.name == "after":
                work.append(Member(c_name(argument.name), member.value))
                known(argument, f"work.{kind}.{c_name(argument.name)}")
            else:
                given(argument, constant=False)
        for argument in written.work:
            work.append(Member(c_name(argument.name), np.zeros(argument.size, argument.dtype)))
            known(argument, f"work.{kind}.{c_name(argument.name)}")
        held = [label for label in _taken(written) if label not in arrays]
        for label, values in zip(held, written.constants, strict=True):
            arrays[label] = Array(f"number{len(self._constants)}", values.dtype, _size(values.size), True)
            numbers = ", ".join(c_number(v, values.dtype) for v in values.ravel()) or "0"
            name = arrays[label].text
            head = f"static const {c_type(values.dtype)} {name}[{max(values.size, 1)}]"
            self._constants[name] = f"{head} = {{{numbers}}};"
        lines, self.counts[kind] = self._module.step(written.text, arrays)
        self.work[kind] = work
        text = "\n".join(lines)
        begin = [line for name, line in begun.items() if _used(name, text)]
        begin += [f"(void){name};" for name in parameters if not _used(name, text)]
        begin += ["(void)model;"] * (not any("model" in line for line in begin))
        head = f"static int step_{kind}({', '.join(['MODEL *model', *parameters.values()])}) {{"
        self.texts.append("\n".join([head, *(f"    {line}" for line in [*begin, *lines]), "    return 0;", "}"]))


def _restarting(learner: Learner) -> Program:
    """The beginning of a trajectory, from a carry to a carry."""
    execution, loop = learner._execution, learner._loop
    carry, h = [np.asarray(leaf) for leaf in loop.carry], np.asarray(learner.system.initial)
    start = tuple(np.zeros(s.shape, learner.system.dtype) for s in execution.specs if s.when == "start")

    def restarted(*flat: Any) -> tuple[Any, ...]:
        made = execution.steps.restarted(execution.unpack(flat), h, start)
        return (*(np.asarray(leaf) if isinstance(leaf, float) else leaf for leaf in flatten(made)), np.zeros(()))

    return trace(
        restarted, [Abstract.of(a) for a in carry], names=[f"carry{k}" for k in range(len(carry))], name="reset"
    )


def _size(size: int) -> Value:
    return Value(str(size), INTEGER, size)


def _used(name: str, text: str) -> bool:
    return re.search(rf"\b{name}\b", text) is not None


def _taken(written: Any) -> list[str]:
    """The names of the arrays that a module's function takes, in order."""
    (function,) = (line for line in ast.parse(written.text).body if isinstance(line, ast.FunctionDef))
    return [a.arg for a in function.args.args if a.arg not in ("start", "stop")]


def _unused(name: str, taken: set[str]) -> str:
    """The name, with a number behind it if there is one like it."""
    made, k = name, 1
    while made in taken:
        k += 1
        made = f"{name}_{k}"
    taken.add(made)
    return made
