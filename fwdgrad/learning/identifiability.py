"""Parameters that data do not tell apart: directions in which a covariance is still that of the prior.

In units of the prior's deviations, the eigenvalues of a posterior covariance are 1 where the data say nothing and 0
where they say all. An eigenvector with an eigenvalue near 1 that mixes parameters is a change of all of them together
that no prediction feels, though each by itself may seem to be learned (Raue et al. 2009, "Structural and practical
identifiability analysis"). Only what is local is seen: two rates that may be exchanged are not, unless they are equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.sparse.csgraph import connected_components

from fwdgrad.support import display

__all__ = ["Group", "groups_of"]

FLAT = 0.8
"""Eigenvalue, in units of the prior's variances, from which a direction is as it was."""
ALONE = 0.95
"""Part of a parameter's own direction that is flat from which it is not learned by itself."""
MIXED = 0.05
"""Part of it, and of two parameters' together, from which they take part in a flat direction."""
CORRELATED = 0.99
"""Correlation from which two parameters are known together only,"""
VAGUE = 0.3
"""if of each no more is known than so many of the prior's deviations."""
EVEN = 0.1
"""How far two changes may differ to count as equal."""


class Group(NamedTuple):
    """Parameters that are known together only."""

    names: tuple[str, ...]
    directions: int
    """How many of their combinations are not known."""
    kept: str
    """What is known of them, if it has a simple name: "their product"."""
    flat: bool
    """Whether no more is known of a combination than before the data; else more, but they are strongly correlated."""

    def __str__(self) -> str:
        many = f"{', '.join(self.names[:-1])} and {self.names[-1]}"
        left = len(self.names) - self.directions
        kept = self.kept or ("a combination of them" if left == 1 else f"{left} combinations of them")
        return f"{many} cannot be told apart by these data: only {kept} can be learned"

    def _repr_html_(self) -> str:
        return display.page(str(self))


def groups_of(
    names: Sequence[str], values: np.ndarray, covariance: np.ndarray, prior: np.ndarray | None = None
) -> tuple[Group, ...]:
    """Which of p parameters are known together only.

    Args:
        names: of each.
        values: θ, shape (p,).
        covariance: of θ, shape (p, p), with what was known before.
        prior: deviations before the data, shape (p,); None for |θ|, as if each were known to a factor of some size.

    Example:
        >>> import numpy as np
        >>> flat = np.array([[0.5, -0.5], [-0.5, 0.5]])
        >>> print(groups_of(["a", "b"], np.ones(2), flat + 1e-4 * np.eye(2), np.ones(2))[0])
        a and b cannot be told apart by these data: only their product can be learned
    """
    values, covariance = np.asarray(values, float), np.asarray(covariance, float)
    scale = np.abs(values) if prior is None else np.asarray(prior, float)
    scale = np.where((scale > 0) & np.isfinite(scale), scale, 1.0)
    unit = covariance / scale / scale[:, None]
    if not np.all(np.isfinite(unit)):
        return ()
    sizes, vectors = np.linalg.eigh((unit + unit.T) / 2)
    flat = vectors[:, sizes > FLAT]
    share = flat @ flat.T
    part = np.diag(share)
    mixed = (part > MIXED) & (part < ALONE)
    joined = (np.abs(share) > MIXED) & mixed & mixed[:, None]
    deviation = np.sqrt(np.maximum(np.diag(unit), 0.0))
    size = np.where(deviation > 0, deviation, 1.0)
    vague = (deviation > VAGUE) & (part < ALONE)
    joined |= (np.abs(unit / size / size[:, None]) > CORRELATED) & vague & vague[:, None]
    np.fill_diagonal(joined, False)
    count, labels = connected_components(joined, directed=False)
    made = []
    for k in range(count):
        members = np.flatnonzero(labels == k)
        if len(members) < 2:
            continue
        own = np.linalg.eigh(unit[np.ix_(members, members)] / size[members] / size[members][:, None])
        directions = min(max(int(np.sum(own[0] > 0.5)), 1), len(members) - 1)
        away = own[1][:, -1] * size[members] * scale[members]  # the change of θ that is not felt
        kept = _kept(away, values[members]) if len(members) == 2 else ""
        flat_ = bool(np.any(mixed[members]))
        made.append(Group(tuple(names[int(m)] for m in members), directions, kept, flat_))
    return tuple(made)


def _kept(away: np.ndarray, values: np.ndarray) -> str:
    """What stays as it is when two parameters change by these amounts."""
    with np.errstate(all="ignore"):
        for changes, alike, opposite in (
            (away / values, "their ratio", "their product"),
            (away, "their difference", "their sum"),
        ):
            ratio = changes[1] / changes[0]
            if np.isfinite(ratio) and abs(abs(ratio) - 1.0) < EVEN:
                return alike if ratio > 0 else opposite
    return ""
