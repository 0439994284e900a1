"""Losses ℓ(ŷ, y), with their gradient in ŷ and the Fisher matrix of the distribution that they are the log-loss of.

A loss says what a target looks like (`target`), and computes value and gradient in plain NumPy, so that it can be
traced with the rest of the step. Those of numbers take components that are NaN as not observed (`componentwise`).

====================  =========================================  =============================
loss                  prediction ŷ                               data y
====================  =========================================  =============================
``SquaredError``      mean                                       numbers with Gaussian noise
``StudentT``          middle                                     numbers, some of them far off
``Poisson``           mean                                       counts
``NegativeBinomial``  mean                                       counts that scatter more
``Bernoulli``         logarithm of the odds                      0 and 1
``Innovations``       mean and covariance, of a filtered system  numbers with Gaussian noise
``CrossEntropy``      logarithms of the odds, up to a constant   one of several symbols
====================  =========================================  =============================
"""

from fwdgrad.losses.base import Loss
from fwdgrad.losses.binary import Bernoulli
from fwdgrad.losses.counts import NegativeBinomial, Poisson
from fwdgrad.losses.cross_entropy import CrossEntropy
from fwdgrad.losses.custom import Custom, as_loss
from fwdgrad.losses.innovations import Innovations
from fwdgrad.losses.named import LIKELIHOODS, likelihood_named
from fwdgrad.losses.squared_error import SquaredError
from fwdgrad.losses.student import StudentT

__all__ = [
    "LIKELIHOODS",
    "Bernoulli",
    "CrossEntropy",
    "Custom",
    "Innovations",
    "Loss",
    "NegativeBinomial",
    "Poisson",
    "SquaredError",
    "StudentT",
    "as_loss",
    "likelihood_named",
]


def __getattr__(name: str) -> object:
    """Say what was probably meant."""
    from fwdgrad.errors import nearly

    raise AttributeError(f"module 'fwdgrad.losses' has no attribute {name!r}.{nearly(name, __all__)}")
