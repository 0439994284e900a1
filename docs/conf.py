"""Configuration of the documentation: ``sphinx-build docs docs/_build``, with fwdgrad installed."""

from importlib.metadata import version as installed_version

project = "fwdgrad"
author = "the fwdgrad developers"
copyright = f"2026, {author}"
release = version = installed_version("fwdgrad")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
exclude_patterns = ["_build"]

myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
napoleon_numpy_docstring = False

html_theme = "furo"
html_title = f"fwdgrad {version}"
