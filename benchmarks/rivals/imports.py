"""What `import fwdgrad` costs, and what it leaves for later."""

from __future__ import annotations

import importlib.util
import statistics
import subprocess
import sys

from benchmarks.rivals.measure import Effort, rounds, say
from benchmarks.rivals.report import table

MODULES = (
    "fwdgrad",
    "numpy",
    "scipy.special",
    "autograd",
    "networkx",
    "llvmlite",
    "jax",
    "braintrace",
    "diffrax",
    "torch",
    "casadi",
)
LATER = ("llvmlite", "matplotlib", "sympy")


def seconds(module: str) -> float:
    """Of importing a module in a new process."""
    program = f"import time; t = time.process_time(); import {module}; print(time.process_time() - t)"
    return float(subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout)


def imports(_: object, effort: Effort) -> str:
    """Import times of what is installed, each in a process of its own."""
    say("imports")
    present = [m for m in MODULES if importlib.util.find_spec(m.partition(".")[0]) is not None]
    for m in present:
        seconds(m)  # byte code is written, files are read
    times = rounds([lambda m=m: seconds(m) for m in present], effort.repeats)
    rows = [[f"`{m}`", f"{statistics.median(t):.2f}"] for m, t in zip(present, times, strict=True)]
    program = f"import sys, fwdgrad; print(*[m for m in {LATER} if m in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split()
    verdict = "**missed**, it imports " + ", ".join(loaded) if loaded else "**met**"
    return table(["import", "seconds"], rows) + f"\n\n- {', '.join(LATER)} are not imported by `fwdgrad`: {verdict}"
