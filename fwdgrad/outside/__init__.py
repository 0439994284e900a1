"""What a user's functions use and change besides their arguments: found, named, and refused."""

from fwdgrad.outside.captured import Captured
from fwdgrad.outside.purity import Outside

__all__ = ["Captured", "Outside"]
