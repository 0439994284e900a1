"""What a learner does if it is not told: the method that finds parameters, by the kind of system."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fwdgrad.analysis import analyze
from fwdgrad.errors import DeclarationError, TracingError
from fwdgrad.estimators import RTRL, UORO, Estimator, estimator_named
from fwdgrad.filtering import FilteredSystem
from fwdgrad.learning.step import JOINT
from fwdgrad.optimizers import SGD, Adam, Binding, InformationFilter, JointFilter, Optimizer, schedules
from fwdgrad.optimizers.information.fisher import told_by_fisher
from fwdgrad.panels import PanelSystem
from fwdgrad.system import System
from fwdgrad.system.tracing import traced

__all__ = ["Method", "method_for", "side_by_side", "why_not_disturbed", "why_not_joint"]

MOST_PARAMETERS = 50
"""p up to which state and parameters are filtered together by default."""
MOST_TOGETHER = 100
"""n + p likewise: a step of the filter costs (n + p)³."""

MOST_REMEMBERED = 400
"""Likewise, where most of the state is the past."""

MOST_LIKELY, MOST_CARRIED = 100, 200
"""p, and n + p, up to which a filtered system is learned with the full Fisher matrix of its innovations."""

EARLY = 1000
"""Samples of a filtered system that count less than those after them,"""
SLOW = 2.0
"""and how many are remembered from the start, for each parameter."""


class Method(NamedTuple):
    """An estimator and an optimizer, and why."""

    estimator: Estimator
    optimizer: Optimizer
    reason: str


def method_for(system: System, estimator: Any, optimizer: Any) -> Method:
    """What to learn with.

    Where neither is given: `JointFilter` for a model with few parameters and a likelihood with a Fisher matrix, without
    noise in the state for one that corrects its state by itself (injection), and for one with delays, or Newton's steps
    if its past is long; for a filtered system exact influence with an `InformationFilter`, or `Adam` if it is large;
    else `SGD(1e-2)` with the estimator that `analyze` chooses.

    Args:
        system: the system.
        estimator: an `Estimator`, the name of one, or "auto".
        optimizer: an optimizer, or None.

    Raises:
        DeclarationError: one of them is none.
    """
    if optimizer is None and isinstance(estimator, str) and estimator == "auto":
        if isinstance(system, FilteredSystem):
            return _for_filtered(system)
        why_not = why_not_joint(system)
        if why_not is None:
            return _joint(system)
        if system.past is not None and hasattr(system.loss, "weight"):
            return _for_delays(system, why_not)
        return Method(_checked_estimator(estimator, system), SGD(1e-2), f"gradient descent, since {why_not}")
    given = _checked_optimizer(optimizer)
    if isinstance(given, JointFilter) and isinstance(estimator, str) and estimator == "auto":
        return Method(JOINT, given, "asked for")
    return Method(_checked_estimator(estimator, system), given, "asked for")


def side_by_side(system: System, streams: int, estimator: Any, optimizer: Any) -> tuple[PanelSystem, Method]:
    """So many streams of a system with one θ, and what to learn them with.

    Filters take the sum of the losses, as information adds up over streams; other optimizers their mean. Where neither
    estimator nor optimizer is given: `JointFilter` as for one stream, of all states together; exact influence with an
    `InformationFilter` where these are too many for that; for anything else what one stream is learned with.

    Raises:
        DeclarationError: there is no stream, or one of them is none.
    """
    summed = PanelSystem(system, streams, "sum")
    if optimizer is None and isinstance(estimator, str) and estimator == "auto":
        alone = method_for(system, "auto", None)
        count = sum(summed.coordinates[k].size for k in summed.trainable)
        if isinstance(alone.optimizer, JointFilter) and system.past is not None:
            if summed.size + count <= MOST_REMEMBERED:
                return summed, alone
        elif isinstance(alone.optimizer, JointFilter) and why_not_joint(summed) is None:
            return summed, method_for(summed, "auto", None)
        if isinstance(alone.optimizer, (JointFilter, InformationFilter)) and count <= MOST_LIKELY:
            reason = (
                f"few parameters ({count}) and {streams} streams of {system.size} state variables each: exact "
                "influence, and Newton's steps with the information of all streams"
            )
            return summed, Method(RTRL(), InformationFilter("full", "exact", longest=1.0), reason)
        return PanelSystem(system, streams), alone
    given = _checked_optimizer(optimizer)
    panel = summed if isinstance(given, (Binding, JointFilter)) else PanelSystem(system, streams)
    if isinstance(given, JointFilter) and isinstance(estimator, str) and estimator == "auto":
        return panel, Method(JOINT, given, "asked for")
    return panel, Method(_checked_estimator(estimator, system), given, "asked for")


def _joint(system: System) -> Method:
    """State and parameters filtered together."""
    count = sum(system.coordinates[k].size for k in system.trainable)
    few = f"few parameters ({count}), few state variables ({system.size}) and "
    if system.corrects:
        return Method(
            JOINT,
            JointFilter(process_noise=0.0, initial_std=0.0),
            few + "a state that is corrected by a gain: parameters, and what they do to the state, are filtered "
            "together, the recursive prediction error method, and noise is learned",
        )
    if not hasattr(system.loss, "weight"):
        return Method(
            JOINT,
            JointFilter(),
            few + f"{type(system.loss).__name__} targets: state and parameters are filtered together, each target by "
            "the Fisher matrix of its prediction",
        )
    return Method(
        JOINT,
        JointFilter(),
        few + "Gaussian noise: state and parameters are filtered together, and noise is learned",
    )


def _for_delays(system: System, why_not: str) -> Method:
    """Parameters, and what they do to the state and its past, filtered together; Newton's steps if that is large."""
    count = sum(system.coordinates[k].size for k in system.trainable)
    if count <= MOST_PARAMETERS and system.size + count <= MOST_REMEMBERED:
        return Method(
            JOINT,
            JointFilter(process_noise=0.0, initial_std=0.0),
            f"few parameters ({count}) and delays: parameters, and what they do to the state and its past, are "
            "filtered together, without noise in the state",
        )
    if count <= MOST_LIKELY:
        return Method(
            RTRL(),
            InformationFilter("full", "exact", decay=schedules.fading(EARLY, SLOW * count), longest=1.0),
            f"few parameters ({count}) and a long past ({system.size} numbers): exact influence, and Newton's steps",
        )
    return Method(_checked_estimator("auto", system), SGD(1e-2), f"gradient descent, since {why_not}")


def _for_filtered(system: FilteredSystem) -> Method:
    """Recursive maximum likelihood: Newton's steps with the Fisher matrix of the innovations, where that is small."""
    count = sum(system.coordinates[k].size for k in system.trainable)
    if count <= MOST_LIKELY and system.size + count <= MOST_CARRIED:
        return Method(
            RTRL(),
            InformationFilter("full", "exact", decay=schedules.fading(EARLY, SLOW * count), longest=1.0),
            f"few parameters ({count}) and state variables ({system.size}, with the covariance): recursive maximum "
            "likelihood, by exact gradients through the filter and the Fisher matrix of the innovations; early samples "
            "count less, as they were linearised where the filter began",
        )
    return Method(
        _checked_estimator("auto", system),
        Adam(1e-3),
        f"gradient steps on the likelihood of the innovations, since a Fisher matrix of {count} parameters through "
        f"{system.size} state variables would be slow",
    )


def why_not_joint(system: System) -> str | None:
    """Why state and parameters are not filtered together; None if they can well be."""
    if system.past is not None:
        return "delays make most of the state the past, which has no noise of its own"
    count = sum(system.coordinates[k].size for k in system.trainable)
    if count > MOST_PARAMETERS or system.size + count > MOST_TOGETHER:
        return f"a filter on {system.size} state variables and {count} parameters would be slow"
    if not (hasattr(system.loss, "weight") or told_by_fisher(system.loss, system.prediction)):
        return f"the loss {system.loss!r} has no Fisher matrix, component by component (SquaredError, Poisson, …)"
    if np.shape(system.y) != np.shape(system.prediction):
        return "targets do not look like predictions"
    try:
        traced(system)
    except TracingError:
        return "the functions cannot be traced"
    return None


def why_not_disturbed(system: System) -> str | None:
    """Why there is no noise in the state that explains a record; None if there can well be."""
    if not hasattr(system.loss, "weight"):
        return f"the loss {system.loss!r} is not one of residuals over a scale (SquaredError, StudentT)"
    if system.corrects:
        return "the system corrects its state by itself (injection)"
    return why_not_joint(system)


def _checked_estimator(estimator: Any, system: System) -> Estimator:
    if isinstance(estimator, str) and estimator == "auto":
        try:
            return analyze(system).choice
        except TracingError:
            return UORO()
    if isinstance(estimator, str) and estimator == "measured":
        raise DeclarationError(
            'Learner: "measured" needs samples to measure on. Write estimator=fg.choose(system, xs, ys).estimator.'
        )
    if isinstance(estimator, str):
        return estimator_named(estimator)
    if not isinstance(estimator, Estimator):
        raise DeclarationError(
            f"Learner: expected an estimator such as fg.UORO() or fg.NoBackTrack(), got {estimator!r}.\n"
            "Call it: fg.UORO(), not fg.UORO."
        )
    return estimator


def _checked_optimizer(optimizer: Any) -> Optimizer:
    if optimizer is None:
        return SGD(1e-2)
    if isinstance(optimizer, type) or not (hasattr(optimizer, "init") and hasattr(optimizer, "update")):
        raise DeclarationError(
            f"Learner: expected an optimizer such as fg.SGD(0.01) or fg.Adam(1e-3), got {optimizer!r}."
        )
    return optimizer
