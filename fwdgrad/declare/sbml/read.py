"""The model in an SBML file, read by python-libsbml: without functions of its own, local parameters and submodels."""

from __future__ import annotations

import os
from typing import Any

from fwdgrad.declare.text import given_text
from fwdgrad.errors import DataError, DeclarationError

__all__ = ["read"]

READ_TOO = ("comp", "l3v2extendedmath")
"""Packages that change what a model means, and are understood."""


def read(source: str | os.PathLike[str]) -> Any:
    """libsbml's model, without functions of its own, local parameters and submodels.

    Raises:
        DataError, DeclarationError: see `from_sbml`.
    """
    try:
        import libsbml
    except ImportError as error:
        raise DeclarationError(
            f"SBML files are read by python-libsbml, which cannot be imported ({error}).\n"
            "Mend: pip install 'fwdgrad[sbml]', or python-libsbml itself."
        ) from error
    source, called = given_text(source, "an SBML file", "SBML")
    if "<" not in source:
        if called != "SBML":
            raise DataError(f"{called} is no SBML: there is no tag in it.")
        raise DataError(f"{source[:60]!r} is no SBML. To read a file, give pathlib.Path({source[:60]!r}).")
    document = libsbml.readSBMLFromString(source)
    _refuse_errors(document, called, libsbml.LIBSBML_SEV_ERROR)
    for conversion in ("flatten comp", "expandFunctionDefinitions", "promoteLocalParameters"):
        if conversion != "flatten comp" or document.getPlugin("comp") is not None:
            properties = libsbml.ConversionProperties()
            properties.addOption(conversion, True)
            if document.convert(properties) != libsbml.LIBSBML_OPERATION_SUCCESS:
                raise DataError(f"{called}: libsbml cannot convert the model ({conversion}).")
    for k in range(document.getNumPlugins()):
        package = document.getPlugin(k).getPackageName()
        if document.getLevel() == 3 and package not in READ_TOO and document.getPackageRequired(package):
            raise DeclarationError(f"{called}: the package {package!r} of SBML changes what the model means.")
    model = document.getModel()
    if model is None:
        raise DataError(f"{called}: there is no model in it.")
    model.document = document  # which owns the model
    return model


def _refuse_errors(document: Any, called: str, least: int) -> None:
    for k in range(document.getNumErrors()):
        error = document.getError(k)
        if error.getSeverity() >= least:
            said = " ".join(error.getMessage().split())
            raise DataError(f"{called}: line {error.getLine()}: no valid SBML: {said}")
