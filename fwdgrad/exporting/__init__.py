"""Learners as C: `export` writes the steps of a learner as one file of C99 without dependencies."""

from fwdgrad.exporting.export import Export, export

__all__ = ["Export", "export"]
