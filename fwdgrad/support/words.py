"""Short texts that tables are made of."""

from __future__ import annotations

__all__ = ["cut", "digits"]


def cut(text: str, width: int) -> str:
    """`text`, without its end if it is longer than `width`."""
    return text if len(text) <= width else f"{text[: width - 1]}…"


def digits(value: float) -> str:
    """Three digits."""
    return f"{value:.3g}".replace("e-0", "e-").replace("-", "−")
