"""Which packages are installed; everything else about the project stands in pyproject.toml.

``systems/`` lies beside ``fwdgrad/`` but is installed as ``fwdgrad.systems`` (``package-dir`` in pyproject.toml). A
search for packages names what it finds after the folder it lies in, and pyproject.toml takes a search or a list, not
both.
"""

from setuptools import find_packages, setup

setup(
    packages=[
        *find_packages(include=["fwdgrad", "fwdgrad.*"]),
        "fwdgrad.systems",
        *(f"fwdgrad.systems.{name}" for name in find_packages("systems")),
    ],
)
