"""Configuration of the documentation: ``sphinx-build docs docs/_build``, with fwdgrad installed."""

import re
from importlib.metadata import version as installed_version

import latex2mathml.converter
from docutils import nodes

project = "fwdgrad"
author = "the fwdgrad developers"
copyright = f"2026, {author}"
release = version = installed_version("fwdgrad")

extensions = [
    "myst_parser",
    "sphinx_design",
    "sphinx.ext.autodoc",
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
napoleon_use_ivar = True  # attributes in a list, and not once more beside the members of the class

html_theme = "furo"
html_math_renderer = "mathml"
html_static_path = ["_static"]
html_css_files = ["style.css"]
html_title = f"fwdgrad {version}"


def _no_markup(app, what, name, obj, options, lines):
    """The star of a shape such as (T, *y) opens no emphasis, and the bars of |θ| no substitution."""
    for k, line in enumerate(lines):
        line = re.sub(r"(?<=[ (,])\*(?=\w+[^\w*])", r"\\*", line)
        lines[k] = line if "\\" in line else re.sub(r"(?<!\S)(\S*)\|([^|\s][^|]*)\|", r"\1\\|\2\\|", line)


def _formula(display):
    """A formula as MathML, which browsers show by themselves: nothing is loaded from a network."""

    def visit(writer, node):
        writer.body.append(latex2mathml.converter.convert(node.astext(), display=display))
        raise nodes.SkipNode

    return visit, None


def setup(app):
    """What is done to docstrings and formulas on the way."""
    app.connect("autodoc-process-docstring", _no_markup)
    app.add_html_math_renderer("mathml", _formula("inline"), _formula("block"))
