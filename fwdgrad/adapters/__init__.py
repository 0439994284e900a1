"""fwdgrad for those who work with other libraries: `fwdgrad.adapters.river` and `fwdgrad.adapters.sklearn`.

Each needs the library that it is for (``pip install "fwdgrad[river]"`` or ``"fwdgrad[sklearn]"``), and is loaded when
it is imported, not before.
"""
