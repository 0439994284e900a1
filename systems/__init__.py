"""Systems ready to be learned: the ones of the papers, and the ones everybody starts from.

Each builder returns a `fwdgrad.System` and is a page to be read and copied: networks and linear systems in ordinary
NumPy, differential equations as equation text (`fwdgrad.from_text`). The command line knows them by the names in
`CATALOGUE`.

    >>> from fwdgrad import systems
    >>> systems.build("gru", units=16, symbols=3)  # the same as systems.gru(units=16, symbols=3)
    System gru: state 16, parameters 1011 (W_z, U_z, b_z, W_r, U_r, b_r, W_n, U_n, b_n, V, b_y), input int64[], ...

A builder that predicts symbols has the arguments `units` and `symbols`; one of differential equations, `dt` and
`method`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import fwdgrad as fg

from .cascaded_tank import cascaded_tank
from .diagonal_recurrence import diagonal_recurrence
from .fitzhugh_nagumo import fitzhugh_nagumo
from .gru import gru
from .heat_rod import heat_rod
from .influence_balancing import influence_balancing
from .leaky_rnn import leaky_rnn
from .linear_compartments import linear_compartments
from .linear_time_invariant import linear_time_invariant
from .lorenz import lorenz
from .lotka_volterra import lotka_volterra
from .lstm import lstm
from .mass_spring_damper import mass_spring_damper
from .pendulum import pendulum
from .sir import sir
from .tanh_rnn import tanh_rnn
from .van_der_pol import van_der_pol

__all__ = [
    "CATALOGUE",
    "build",
    "cascaded_tank",
    "describe",
    "diagonal_recurrence",
    "fitzhugh_nagumo",
    "gru",
    "heat_rod",
    "influence_balancing",
    "leaky_rnn",
    "linear_compartments",
    "linear_time_invariant",
    "lorenz",
    "lotka_volterra",
    "lstm",
    "mass_spring_damper",
    "pendulum",
    "sir",
    "tanh_rnn",
    "van_der_pol",
]

CATALOGUE: dict[str, Callable[..., fg.System]] = {
    "tanh-rnn": tanh_rnn,
    "leaky-rnn": leaky_rnn,
    "gru": gru,
    "lstm": lstm,
    "diagonal": diagonal_recurrence,
    "linear": linear_time_invariant,
    "influence-balancing": influence_balancing,
    "lotka-volterra": lotka_volterra,
    "sir": sir,
    "mass-spring-damper": mass_spring_damper,
    "pendulum": pendulum,
    "van-der-pol": van_der_pol,
    "fitzhugh-nagumo": fitzhugh_nagumo,
    "lorenz": lorenz,
    "cascaded-tank": cascaded_tank,
    "linear-compartments": linear_compartments,
    "heat-rod": heat_rod,
}
"""Builders by the names the command line uses. Every one can be called without arguments."""


def build(name: str, **options: Any) -> fg.System:
    """A system of the catalogue.

    Args:
        name: a key of `CATALOGUE`.
        options: arguments of that builder.

    Raises:
        UnknownNameError: there is no such system, or it has no such option.
        DeclarationError: an option has a value that the builder refuses.

    Example:
        >>> build("influence-balancing", units=7, minus=4).size
        7
    """
    if name not in CATALOGUE:
        raise fg.errors.UnknownNameError(
            f"build: there is no system {name!r}. {fg.errors.did_you_mean(name, CATALOGUE)}"
        )
    builder = CATALOGUE[name]
    known = inspect.signature(builder).parameters
    for option in options:
        if option not in known:
            raise fg.errors.UnknownNameError(
                f"build: the system {name!r} has no option {option!r}. {fg.errors.did_you_mean(option, known)}"
            )
    return builder(**options)


def describe() -> list[tuple[str, str]]:
    """The name and a one-line description of each system, in the order of `CATALOGUE`.

    Example:
        >>> for name, line in describe()[:2]:
        ...     print(f"{name}: {line}")
        tanh-rnn: A fully connected tanh network that reads symbols (or vectors) and predicts the next one.
        leaky-rnn: A tanh network of leaky units, each of which learns how fast it forgets.
    """
    return [(name, inspect.cleandoc(builder.__doc__ or "").split("\n")[0]) for name, builder in CATALOGUE.items()]
