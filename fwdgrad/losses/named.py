"""Likelihoods by the names that equation text, TOML and the command line have for them."""

from __future__ import annotations

from typing import Any

from fwdgrad.errors import UnknownNameError, did_you_mean
from fwdgrad.losses.binary import Bernoulli
from fwdgrad.losses.counts import NegativeBinomial, Poisson
from fwdgrad.losses.squared_error import SquaredError
from fwdgrad.losses.student import StudentT

__all__ = ["LIKELIHOODS", "likelihood_named"]

LIKELIHOODS: dict[str, Any] = {
    "gaussian": SquaredError,
    "student_t": StudentT,
    "poisson": Poisson,
    "negative_binomial": NegativeBinomial,
    "bernoulli": Bernoulli,
}
"""The loss that is minus the logarithm of each."""


def likelihood_named(name: str) -> Any:
    """The loss of a likelihood, with its defaults; a hyphen will do for an underscore.

    Raises:
        UnknownNameError: there is none of that name.

    Example:
        >>> likelihood_named("negative-binomial")
        NegativeBinomial(size=10.0)
    """
    made = LIKELIHOODS.get(name.replace("-", "_"))
    if made is None:
        raise UnknownNameError(
            f"there is no likelihood {name!r}. {did_you_mean(name, LIKELIHOODS)}\n"
            f"Expected one of {', '.join(LIKELIHOODS)}."
        )
    return made()
