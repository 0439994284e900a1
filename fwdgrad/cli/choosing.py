"""The job that the settings of a command describe."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fwdgrad.cli.builders import Builder
from fwdgrad.cli.jobs import DataJob, Job, ModelJob, TextJob
from fwdgrad.cli.simulated import SimulatedJob
from fwdgrad.errors import DeclarationError
from fwdgrad.losses import SquaredError, likelihood_named
from fwdgrad.system import System
from fwdgrad.systems import CATALOGUE

__all__ = ["job_for", "likened"]


def job_for(builder: Builder, settings: dict[str, Any]) -> Job:
    """The job that the settings describe: data; else a text if the system reads symbols, else a simulation of its own.

    Raises:
        DeclarationError, DataError: the system and the data do not go together, or cannot be had.
    """
    job, likelihood = _job(builder, settings), settings.get("likelihood")
    if likelihood is None:
        return job
    if settings["data"] is None:
        raise DeclarationError(f"--likelihood {likelihood}: expected with --data, whose targets it is that of.")
    job.system = likened(job.system, likelihood)
    return job


def likened(system: System, likelihood: str) -> System:
    """The same system with the loss of a likelihood; of one with a scale, in units of the outputs' noise."""
    loss, own = likelihood_named(likelihood), system.loss
    if isinstance(loss, SquaredError) and isinstance(own, SquaredError):
        loss = replace(loss, scale=own.scale)
    made: System = system.replace(loss=loss)
    return made


def _job(builder: Builder, settings: dict[str, Any]) -> Job:
    if settings["text"] is not None and settings["data"] is not None:
        raise DeclarationError("--text and --data: give one of them.")
    if builder.model is not None:
        if settings["text"] is not None:
            raise DeclarationError(f"the model {builder.name} does not read text; give it data.")
        return ModelJob(builder, settings)
    for option in ("time", "observe"):
        if settings[option] is not None:
            raise DeclarationError(f"--{option} names columns for a model file, which {builder.name} is not.")
    reads_symbols = "symbols" in builder.accepts
    if settings["text"] is not None and not reads_symbols:
        raise DeclarationError(
            f"the system {builder.name} does not read text: its function has no argument `symbols`.\n"
            "Give it --data, or take a network, such as tanh-rnn."
        )
    if settings["data"] is None and reads_symbols:
        return TextJob(builder, settings)
    if settings["data"] is None and builder.name in CATALOGUE and settings["inputs"] is settings["targets"] is None:
        return SimulatedJob(builder, settings)
    return DataJob(builder, settings)
