"""Train the parameters of any dynamical system online, forward in time, without storing the past."""

import lazy_loader

from fwdgrad._version import __version__ as __version__

# What is public, and where it is from, stands in __init__.pyi. Nothing of it is loaded before it is asked for.
_load, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> object:
    """The public name, loaded now."""
    if name in __all__:
        return _load(name)
    from fwdgrad.errors import did_you_mean

    hint = did_you_mean(name, __all__)
    raise AttributeError(
        f"module 'fwdgrad' has no attribute {name!r}." + (f" {hint}" if hint.startswith("Did") else "")
    )
