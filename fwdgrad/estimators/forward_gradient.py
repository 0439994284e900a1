"""The forward gradient: the derivative along one random direction."""

from __future__ import annotations

from collections.abc import Iterator

from fwdgrad.errors import DeclarationError
from fwdgrad.estimators.base import Estimator
from fwdgrad.estimators.costs import Candidate, Costs
from fwdgrad.estimators.named import Named
from fwdgrad.influence import Directional
from fwdgrad.support.arguments import suggests

__all__ = ["NAMES", "ForwardGradient"]


@suggests
def ForwardGradient(directions: str = "normal", rank: int = 1, window: int = 1) -> Estimator:
    """Forward gradient (Baydin et al. 2022): the derivative along one random direction u of the parameters, times u.

    v = G u is carried forward by one product a step, and g = (c·v) u. The cheapest of the unbiased estimators, one
    forward product more than truncation, and the noisiest: variance about p‖g‖². Unbiased for fixed θ, as a mean over
    directions.

    The direction is drawn once per trajectory. On an endless stream one trajectory means one direction for ever: θ
    then moves along u alone, but for what the last step tells exactly. `Learner.reset_state` starts a new trajectory
    and draws a new direction; do so as often as the task allows, or use `UORO`, which draws at every step.

    Args:
        directions: "normal", or "signs" (less variance).
        rank: number of independent directions, whose estimates are averaged.
        window: the last `window` steps are differentiated exactly.

    Example:
        >>> import numpy as np, fwdgrad as fg
        >>> def F(h, x, theta):
        ...     return theta["a"] * h + x
        >>> system = fg.System(F, None, np.zeros(1), {"a": 0.5}, np.zeros(1))
        >>> learner = fg.Learner(system, fg.ForwardGradient("signs"))
        >>> history = learner.run(np.ones((3, 1)), np.full((3, 1), np.nan))  # no targets: θ stays
        >>> learner.influence_matrix()  # of a single parameter it is exact, since u² = 1
        array([[2.]])
    """
    if directions not in ("normal", "signs"):
        raise DeclarationError(f"ForwardGradient(directions=…): expected normal or signs, got {directions!r}.")
    return Estimator(Directional(directions), window, rank, "ForwardGradient")


def _along(costs: Costs) -> Iterator[Candidate]:
    n, p, products = costs.size, costs.influential, costs.products
    yield Candidate(
        "ForwardGradient",
        ForwardGradient,
        costs.narrow + products.forward + products.both + 3.0 * p + 2 * n,
        8.0 * (n + p),
        1,
        2,
        variance="one random direction a trajectory",
    )


NAMES = (Named("forward-gradient", ForwardGradient, _along, "NOISE"),)
