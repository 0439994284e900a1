"""A figure that notebooks show by themselves. Importing this needs matplotlib."""

from __future__ import annotations

import io

from matplotlib.figure import Figure

__all__ = ["InlineFigure"]

SHOWN = 100
"""Dots per inch in a notebook."""


class InlineFigure(Figure):
    """A matplotlib figure without pyplot. IPython asks what it shows for ``_repr_png_``, so no magic is needed."""

    def _repr_png_(self) -> bytes:
        made = io.BytesIO()
        self.savefig(made, format="png", dpi=SHOWN)
        return made.getvalue()
