"""Checking what `compare` was asked for, and turning it into a study."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from fwdgrad.analysis import analyze
from fwdgrad.comparison.accumulate import Nothing
from fwdgrad.comparison.study import Study, name_of
from fwdgrad.errors import DataError, DeclarationError, TracingError, UnknownNameError, did_you_mean
from fwdgrad.estimators import UORO, Estimator, estimator_named
from fwdgrad.estimators.windows import Sliding
from fwdgrad.influence import NoInfluence
from fwdgrad.learning.execution import Execution
from fwdgrad.learning.samples import SampleReader
from fwdgrad.linear import Model
from fwdgrad.support.arguments import integer
from fwdgrad.support.trees import flatten
from fwdgrad.system import System

__all__ = ["named", "study_of"]

BLOCKS = 20
"""By default the sequence is cut into about so many blocks."""


def named(estimators: Any, system: System) -> dict[str, Estimator]:
    """Estimators by label, from one or several of them, or from names.

    Raises:
        DeclarationError: there is none, or something else is among them.
    """
    if isinstance(estimators, (str, Estimator)):
        estimators = [estimators]
    if not isinstance(estimators, Iterable):
        raise DeclarationError(f"compare: expected a list of estimators, or a dict of them, got {estimators!r}.")
    given = list(estimators.items()) if isinstance(estimators, Mapping) else [(None, e) for e in estimators]
    if not given:
        raise DeclarationError("compare: expected at least one estimator, got none. Write [fg.UORO(), fg.TBPTT(10)].")
    made: dict[str, Estimator] = {}
    for label, value in given:
        estimator, prefix = _estimator(value, system)
        name = prefix + name_of(estimator) if label is None else str(label)
        if label is None and name in made:
            name = next(f"{name} #{k}" for k in range(2, len(given) + 2) if f"{name} #{k}" not in made)
        made[name] = estimator
    return made


def _estimator(value: Any, system: System) -> tuple[Estimator, str]:
    if isinstance(value, str) and value == "auto":
        try:
            return analyze(system).choice, "auto: "
        except TracingError:
            return UORO(), "auto: "
    if isinstance(value, str):
        return estimator_named(value), ""
    if not isinstance(value, Estimator):
        raise DeclarationError(
            f"compare: expected estimators such as fg.UORO() or names such as 'tbptt:10', got {value!r}.\n"
            "Call it: fg.UORO(), not fg.UORO. An influence of your own goes into one: fg.Estimator(MyInfluence())."
        )
    return value, ""


def study_of(
    system: Any,
    xs: Any,
    ys: Any,
    estimators: Any,
    *,
    steps: int | None,
    start: int,
    every: int | None,
    at: Iterable[int] | None = None,
    params: Mapping[str, Any] | None,
    leaves: Iterable[str] | None,
    engine: str,
) -> tuple[Study, dict[str, Estimator]]:
    """The study and the estimators by label.

    Raises:
        DeclarationError, DataError, ShapeError, UnknownNameError: see `fwdgrad.compare`.
    """
    if not isinstance(system, System):
        raise DeclarationError(f"compare: expected a fg.System, got {system!r}. Declare one: fg.System(F, Y, …).")
    chosen = named(estimators, system)
    execution = Execution(system, Estimator(NoInfluence()), Nothing(), engine)
    model = execution.model
    theta = _params(system, params)
    inputs, targets, observed = _samples(model, xs, ys, steps)
    first = integer("compare", "start", start, 0)
    if not observed[first:].any():
        raise DataError(
            f"compare: expected targets to compare gradients with, got none from step {first} to {len(observed)}.\n"
            "Give ys with numbers in it; a smaller start=… or more steps may do."
        )
    if at is None:
        edges = _edges(len(observed), first, every, list(chosen.values()), system.size)
    else:
        if start or every is not None:
            raise DeclarationError("compare(at=…): expected neither start nor every beside it; each step is a block.")
        edges = _single(at, observed, chosen, system.size)
        only = np.isin(np.arange(edges[-1]), edges[:-1])
        inputs, targets = ([part[: edges[-1]] for part in parts] for parts in (inputs, targets))
        observed = observed[: edges[-1]] & only
    study = Study(system, theta, _leaves(model, leaves), inputs, targets, observed, edges, engine)
    return study, chosen


def _params(system: System, params: Mapping[str, Any] | None) -> dict[str, np.ndarray]:
    """What is learned of θ, from values for some of it."""
    if params is not None and not isinstance(params, Mapping):
        raise DeclarationError(f"compare(params=…): expected a dict such as learner.params, got {params!r}.")
    return system.learned(params or {})


def _leaves(model: Model, leaves: Iterable[str] | None) -> tuple[str, ...]:
    trainable = model.system.trainable
    if leaves is None:
        return tuple(model.leaves) or trainable
    chosen = (leaves,) if isinstance(leaves, str) else tuple(leaves)
    for k in chosen:
        if k not in trainable:
            raise UnknownNameError(f"compare(leaves=…): no parameter {k!r} is learned. {did_you_mean(k, trainable)}")
    if not chosen:
        raise DeclarationError(
            "compare(leaves=…): expected names of parameters, got none. Leave it out for the default."
        )
    return tuple(k for k in trainable if k in chosen)


def _samples(
    model: Model, xs: Any, ys: Any, steps: int | None
) -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray]:
    """The whole sequence as arrays: inputs, targets, which steps have a target."""
    if ys is None:
        raise DataError(
            "compare: expected targets ys, got None. Gradients are those of the loss against targets.\n"
            "Give arrays: compare(system, xs, ys, [...]), xs=None for an autonomous system."
        )
    for name, stream in (("xs", xs), ("ys", ys)):
        for part in _parts(stream):
            if not hasattr(part, "__len__"):
                raise DataError(
                    f"compare: expected {name} as an array, got {type(part).__name__}, whose length is not known.\n"
                    "The same samples are gone through many times. Mend: np.array(list(…))."
                )
    limit = None if steps is None else integer("compare", "steps", steps, 1)
    chunks = list(SampleReader(model).chunks(xs, ys, limit, 0))
    x, y = ([np.concatenate(column) for column in zip(*(c[k] for c in chunks), strict=True)] for k in (0, 1))
    return x, y, np.concatenate([c.observed for c in chunks])


def _parts(stream: Any) -> list[Any]:
    return [leaf for leaf in flatten(dict(stream))] if isinstance(stream, dict) else [] if stream is None else [stream]


def _edges(length: int, start: int, every: int | None, estimators: list[Estimator], size: int) -> tuple[int, ...]:
    """Blocks that end at multiples of `every`, from step `start` to the end."""
    if every is None:
        every = -(-(length - start) // BLOCKS)
        # a block that ends where windows end has the gradients of its own steps
        strides = [stride for e in estimators if (stride := _stride(e, size)) is not None]
        common = math.lcm(*strides) if strides else 1
        if 4 * common <= length - start:
            every = common * -(-every // common)
    every = integer("compare", "every", every, 1)
    return (start, *range((start // every + 1) * every, length, every), length)


def _single(at: Any, observed: np.ndarray, estimators: Mapping[str, Estimator], size: int) -> tuple[int, ...]:
    """Blocks that begin at given steps, the only ones whose losses count, and the end behind the last one.

    Raises:
        DeclarationError: they are no steps of the sequence, or two of them are in one window.
        DataError: one of them has no target.
    """
    try:
        steps = sorted({integer("compare", "at", step, 0) for step in at})
    except TypeError:
        raise DeclarationError(f"compare(at=…): expected numbers of steps such as [10, 100], got {at!r}.") from None
    if not steps or steps[-1] >= len(observed):
        raise DeclarationError(f"compare(at=…): expected some of the steps 0 to {len(observed) - 1}, got {steps}.")
    if not observed[steps].all():
        missing = steps[int(np.argmin(observed[steps]))]
        raise DataError(f"compare(at=…): step {missing} has no target, so there is no gradient of its loss.")
    for label, estimator in estimators.items():
        stride = _stride(estimator, size)
        for before, after in itertools.pairwise(steps):
            if stride is None or before // stride == after // stride:
                raise DeclarationError(
                    f"compare(at=…): {label} makes one gradient of the steps {before} and {after}, which are in one "
                    "window.\nMend: take steps that are further apart, or leave it out."
                )
    return (*steps, steps[-1] + 1)


def _stride(estimator: Estimator, size: int) -> int | None:
    """Steps from one update to the next; None if that is not known."""
    window = estimator.window
    return (window.stride or window.length or size) if isinstance(window, Sliding) else None
