"""What the first sample says of the initial state: whether it is that itself, or lies far from where that puts it."""

from __future__ import annotations

from typing import Any

import numpy as np

from fwdgrad.errors import StepError
from fwdgrad.filtering import FilteredSystem
from fwdgrad.learning.samples import Chunk
from fwdgrad.support.trees import unflatten
from fwdgrad.system import System

__all__ = ["told_far", "told_first"]

SAME = 1e-9
"""Relative difference up to which two numbers are one."""


FAR = 6.0
"""Deviations of the first innovation beyond which an initial state is far off: one in 10⁹ is, if it is not."""


def told_far(system: FilteredSystem, prediction: Any, y: Any) -> str:
    """What is said of a first sample that a filter's initial state and its covariance do not explain; or nothing.

    Args:
        system: the filter.
        prediction: of the first sample, mean and root of the covariance.
        y: the sample.
    """
    z, seen = system.innovations(prediction, y)
    largest = float(np.max(np.abs(z * seen), initial=0.0))
    if not largest > FAR:
        return ""
    return (
        f"{system.name}: the first sample is {largest:.3g} deviations from where the initial state and its covariance "
        "put it.\nThe state will be wrong for long, and parameters with it. Give another initial state, or a larger\n"
        'initial_covariance=…; or a first sample is meant to be in the initial state, first="initial".'
    )


def told_first(system: System, chunk: Chunk, state: Any, params: Any) -> str:
    """What is said of a first target that is what the model says before any transition; nothing if it is not.

    Only for rates with a `dt`, where nothing was said of the first sample, and a target that is exactly the output of
    the initial state: a table whose first row is the start. Data with noise do not tell.

    Args:
        system: the declared system.
        chunk: samples, of which the first is looked at.
        state: h that the trajectory begins in.
        params: θ.
    """
    if isinstance(system, FilteredSystem):
        mean, own = np.asarray(state)[: system.wrapped.size], {k: params[k] for k in system.wrapped.params}
        return told_first(system.wrapped, chunk, mean, own)
    unsaid = system.first_unsaid and system.first == "next" and system.init is None
    unsaid = unsaid and system.dt is not None and not isinstance(system.dt, str)
    if not unsaid or not len(chunk.observed) or not chunk.observed[0] or len(chunk.y) != 1:
        return ""
    xs = None if system.x is None else unflatten(system.x, [a[:1] for a in chunk.x])
    begin, count = system.unpack(np.asarray(state)), None if xs is not None else 1
    try:
        now, later = (
            np.ravel(system.simulate(xs, steps=count, params=params, state=begin, first=rule).outputs)
            for rule in ("initial", "next")
        )
    except StepError:
        return ""
    y = np.ravel(np.asarray(chunk.y[0][0], float))
    if y.shape != now.shape or not np.isfinite(y).all() or not y.any():  # nothing at rest tells nothing
        return ""
    close = np.abs(y - now) <= SAME * np.maximum(np.abs(y), np.abs(now))
    if not close.all() or np.allclose(now, later, rtol=1e-6, atol=0.0):
        return ""
    return (
        f"{system.name}: the first target is exactly the output of the initial state, and it is compared with that a\n"
        'transition later, as nothing was said: first="next". If the first row of the table is the start, declare\n'
        'fg.System(…, first="initial"); if it is not, say first="next".'
    )
