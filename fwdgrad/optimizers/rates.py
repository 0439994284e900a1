"""Learning rates as optimizers take them: a number, a schedule, or one of these for each parameter leaf."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from fwdgrad.errors import UnknownNameError, did_you_mean
from fwdgrad.optimizers.base import declaration_error
from fwdgrad.optimizers.schedules import ByUpdate, Schedule, as_schedule

__all__ = ["PerLeaf", "Rate", "Rates", "check_leaves", "checked_rate", "map_rate", "rate_at", "rates_at"]

Rate: TypeAlias = float | Schedule
"""The learning rate of one leaf: a number or a schedule."""


@dataclass(frozen=True)
class PerLeaf:
    """A rate for each leaf: what optimizers make of a dict or a list of rates.

    Args:
        rates: one for each learned leaf.
        names: of these leaves, in the same order; None for the order in which they are declared.
    """

    rates: tuple[Rate, ...]
    names: tuple[str, ...] | None = None

    def __repr__(self) -> str:  # as it was given
        return repr(list(self.rates) if self.names is None else dict(zip(self.names, self.rates, strict=True)))


Rates: TypeAlias = Rate | Mapping[str, Rate] | list[Rate] | PerLeaf
"""What optimizers take: a rate for all leaves, a dict {leaf: rate}, or a list of rates in order of declaration."""


def checked_rate(rate: Any, subject: str) -> Rate | PerLeaf:
    """A rate as an optimizer keeps it: checked, a number as a Python float, a callable as it is, else a `PerLeaf`.

    Raises:
        DeclarationError: it, or that of a leaf, is no rate (`fwdgrad.optimizers.schedules.as_schedule`).
    """
    if isinstance(rate, PerLeaf):
        rate = rate.rates if rate.names is None else dict(zip(rate.names, rate.rates, strict=True))
    if isinstance(rate, Mapping):
        rates = tuple(_one(v, f"{subject[:-1]}[{k!r}])") for k, v in rate.items())
        return PerLeaf(rates, tuple(str(k) for k in rate))
    if isinstance(rate, (list, tuple)):
        return PerLeaf(tuple(_one(v, f"{subject[:-1]}[{k}])") for k, v in enumerate(rate)))
    return _one(rate, subject)


def _one(rate: Any, subject: str) -> Rate:
    schedule = as_schedule(rate, subject)
    return schedule if callable(rate) else float(rate)


def check_leaves(owner: str, rate: Rates, leaves: Iterable[str]) -> None:
    """See that rates by leaf are those of the leaves that are learned.

    Raises:
        UnknownNameError: a rate is for a leaf that is not learned.
        DeclarationError: a leaf has no rate, or a list is of another length.
    """
    if not isinstance(rate, PerLeaf):
        return
    leaves = list(leaves)
    mend = f"give a rate for each of {', '.join(leaves) or 'no leaves'}, or one number for all"
    if rate.names is None:
        if len(rate.rates) != len(leaves):
            expected = f"{len(leaves)} rates, one for each learned leaf in order of declaration"
            raise declaration_error(f"{owner}(rate)", expected, str(len(rate.rates)), mend)
        return
    for name in rate.names:
        if name not in leaves:
            raise UnknownNameError(f"{owner}(rate): there is no learned leaf {name!r}. {did_you_mean(name, leaves)}")
    missing = ", ".join(k for k in leaves if k not in rate.names)
    if missing:
        raise declaration_error(f"{owner}(rate)", "a rate for every learned leaf", f"none for {missing}", mend)


def map_rate(function: Callable[[Any], Rate], rate: Rates) -> Rate | PerLeaf:
    """`function` of the rate, or of that of every leaf."""
    return PerLeaf(tuple(map(function, rate.rates)), rate.names) if isinstance(rate, PerLeaf) else function(rate)


def rate_at(rate: Any, samples: Any, updates: Any = None) -> Any:
    """The value of a rate, a number or a schedule.

    Args:
        rate: of one leaf.
        samples: t, samples learned from, this update's included.
        updates: updates made, this one included, for a `ByUpdate`; as many as samples if not given.
    """
    if not callable(rate):
        return rate
    return rate(updates if isinstance(rate, ByUpdate) and updates is not None else samples)


def rates_at(rate: Rates, leaves: Iterable[str], samples: Any, updates: Any) -> dict[str, Any]:
    """The rate of every leaf, by name; see `rate_at`."""
    if not isinstance(rate, PerLeaf):
        return dict.fromkeys(leaves, rate_at(rate, samples, updates))
    names = rate.names or tuple(leaves)
    return {k: rate_at(r, samples, updates) for k, r in zip(names, rate.rates, strict=True)}
