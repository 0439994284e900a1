"""Checking what the functions of this package are asked for."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from fwdgrad.comparison.study import name_of
from fwdgrad.errors import DeclarationError, nearly
from fwdgrad.estimators import Estimator, estimator_named
from fwdgrad.estimators.windows import Sliding
from fwdgrad.influence import RankOne, is_random
from fwdgrad.limits.unscaled import Unscaled

__all__ = ["NOISES", "ON_NUMPY", "generator", "named", "one", "prepared"]

NOISES = ("signs", "gaussian")

ON_NUMPY = "on the NumPy engine"
"""Where something takes as long as is said before it."""


def generator(entropy: int, label: str, *place: int) -> np.random.Generator:
    """A generator of its own for each label and place."""
    return np.random.default_rng(np.random.SeedSequence(entropy, spawn_key=(zlib.crc32(label.encode()), *place)))


def named(who: str, estimators: Any) -> dict[str, Estimator]:
    """Estimators by label, from one or several of them, or from names.

    Raises:
        DeclarationError: there is none, something else is among them, or a window is longer than one step.
    """
    if isinstance(estimators, (str, Estimator)):
        estimators = [estimators]
    if not isinstance(estimators, Iterable):
        raise DeclarationError(f"{who}: expected a list of estimators, or a dict of them, got {estimators!r}.")
    given = list(estimators.items()) if isinstance(estimators, Mapping) else [(None, e) for e in estimators]
    if not given:
        raise DeclarationError(
            f"{who}: expected at least one estimator, got none. Write [fg.UORO(), fg.NoBackTrack()]."
        )
    made: dict[str, Estimator] = {}
    for label, value in given:
        estimator = one(who, value)
        name = str(label) if label is not None else name_of(estimator)
        if name in made:
            raise DeclarationError(f"{who}: two estimators are called {name!r}. Give a dict with a name for each.")
        made[name] = estimator
    return made


def one(who: str, value: Any) -> Estimator:
    """An estimator with a window of one step.

    Raises:
        DeclarationError: it is something else.
    """
    estimator = estimator_named(value) if isinstance(value, str) else value
    if not isinstance(estimator, Estimator):
        raise DeclarationError(f"{who}: expected estimators such as fg.UORO() or names such as 'uoro', got {value!r}.")
    if estimator.window != Sliding(1):
        raise DeclarationError(
            f"{who}: {estimator.name} has a window of {estimator.window}; a number of steps has no meaning in the "
            "limit of small steps.\nUse windows of one step: fg.UORO(), fg.NoBackTrack(), fg.RTRL()."
        )
    return estimator


def prepared(who: str, estimator: Estimator, noise: str, rescale: bool = True) -> Estimator:
    """The estimator with this noise, and with or without rescaling.

    Raises:
        DeclarationError: there is no such noise, or the influence is not of rank one and has no such option.
    """
    if noise not in NOISES:
        raise DeclarationError(
            f"{who}(noise=…): expected one of {', '.join(NOISES)}, got {noise!r}." + nearly(noise, NOISES)
        )
    influence = estimator.influence
    if not is_random(influence):
        return estimator
    if isinstance(influence, RankOne) and (noise == "signs" or influence.scale != "probe"):
        signs = "signs" if noise == "signs" else "normal"
        made: Any = replace(influence, signs=signs) if rescale else Unscaled(signs)
        return replace(estimator, influence=made)
    if noise == "gaussian":
        raise DeclarationError(
            f"{who}(noise='gaussian'): {estimator.name} asks for noise that no Brownian path has. Use noise='signs'."
        )
    if not rescale:
        raise DeclarationError(f"{who}(rescale=False): {estimator.name} is not of rank one, and has no such form.")
    return estimator
