"""What influences of matrices have in common: leaves that enter F through one product z = Ŵ a, and no others."""

from __future__ import annotations

from typing import Any

import numpy as np

from fwdgrad.errors import DeclarationError
from fwdgrad.influence.base import Layout
from fwdgrad.structure import Patterns

__all__ = ["SINGLE_STEP", "factor_sizes", "known_products", "outer"]

SINGLE_STEP = (
    "over a window of {window} a matrix is used in several products W @ a, one a step.\n"
    "Use window=1, or UORO, which takes windows of any length."
)
"""Why an influence made for products takes no windows."""


def outer(rows: Any, u: Any, axis: int) -> Any:
    """rows (…, m) and u (r,) multiplied into (…, m, r), or (…, r, m) for axis 0."""
    return np.expand_dims(rows, -1) * u if axis == 1 else np.expand_dims(rows, -2) * np.expand_dims(u, -1)


def known_products(patterns: Patterns | None, name: str) -> Patterns:
    """The patterns, in which the products are.

    Args:
        patterns: those of the layout.
        name: of the estimator, for the error.

    Raises:
        DeclarationError: they are not known, because the functions cannot be traced.
    """
    if patterns is None:
        raise DeclarationError(
            f"{name} needs to know which matrices enter F through products W @ a, and the system's functions cannot be"
            "\ntraced. Use UORO(), or make them traceable: fg.check(system) says what stands in the way."
        )
    return patterns


def factor_sizes(layout: Layout, name: str) -> dict[str, tuple[int, int]]:
    """The lengths of z and of a for each leaf Ŵ, all of which are used in one product z = Ŵ a only.

    Args:
        layout: of the leaves.
        name: of the estimator, for the error.

    Raises:
        DeclarationError: it cannot be known, or a leaf is used in another way.
    """
    patterns = known_products(layout.patterns, name)
    _refuse_others(patterns, name)
    shapes = {k: (layout.leaves[k], product.axis) for k, product in patterns.products.items()}
    return {k: (shape[1 - axis], shape[axis]) for k, (shape, axis) in shapes.items()}


def _refuse_others(patterns: Patterns, name: str) -> None:
    """Name a leaf that is not used in one product only, and say how it is.

    Raises:
        DeclarationError: there is one.
    """
    wrong = [k for k in patterns.influential if k not in patterns.products]
    if not wrong:
        return
    uses = patterns.uses[wrong[0]]
    more = f" (and so do {len(wrong) - 1} others)" if len(wrong) > 1 else ""
    shown = "; ".join(map(str, uses[:2])) + (f"; and {len(uses) - 2} more" if len(uses) > 2 else "")
    raise DeclarationError(
        f"{name}: parameter {wrong[0]!r} enters F otherwise than through one product W @ a{more}.\n"
        f"It is used {'once' if len(uses) == 1 else f'{len(uses)} times'}: {shown}.\n"
        f'Say how such parameters are kept: {name}(others="uoro"), "nobacktrack", "rtrl", or an influence as RankOne().'
    )
