"""A conformance suite: what an influence, an estimator, an optimizer, a system or an engine has to fulfil.

Call these from your own tests. Each raises AssertionError, whose text says what failed, what was expected, what came
and where; each has been seen to fail on implementations that are broken in exactly the way it looks for.

    >>> from fwdgrad.influence import RankOne
    >>> from fwdgrad.testing import check_influence
    >>> check_influence(RankOne())

Claims about gradients are held to automatic differentiation of the whole unrolled sequence, and random ones to the mean
over every pattern that the noise can take, not to statistics. Windows are shorter than the sequence, and the sequences
shorter than the memory of the systems: within one window every algorithm is backpropagation through time.

Nothing here needs pytest.
"""

from fwdgrad.testing.engines import check_engine
from fwdgrad.testing.estimators import check_estimator
from fwdgrad.testing.influences import check_influence
from fwdgrad.testing.optimizers import check_optimizer
from fwdgrad.testing.systems import check_system

__all__ = ["check_engine", "check_estimator", "check_influence", "check_optimizer", "check_system"]
