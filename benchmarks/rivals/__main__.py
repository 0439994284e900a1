"""The command line; see the package."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import tempfile
from pathlib import Path

from benchmarks.rivals import imports, length, networks, ode
from benchmarks.rivals.measure import Effort
from benchmarks.rivals.picture import draw
from benchmarks.rivals.report import replace

DOCUMENT = Path(__file__).parents[2] / "docs" / "performance.md"
TABLES = {
    "stream": (networks.stream, [16, 64, 256, 1024]),
    "windows": (networks.windows, [16, 64, 256]),
    "single": (networks.single, [16, 32, 64, 128, 256]),
    "model": (networks.model, [16, 32, 64, 128, 256, 512, 1024, 2048]),
    "exact": (networks.exact, [16, 32, 64]),
    "plain": (networks.plain, [16, 64, 256]),
    "ode": (ode.sensitivities, [10_000]),
    "length": (length.streams, [10_000, 1_000_000, 10_000_000]),
    "imports": (imports.imports, []),
}
QUICK = {"ode": [100], "length": [10_000], "imports": []}
OF_UNITS = ("stream", "windows", "single", "model", "exact", "plain")
PACKAGES = ("numpy", "llvmlite", "numba", "autograd", "jax", "braintrace", "torch", "diffrax", "casadi")


def versions() -> str:
    """What was measured."""
    found = [f"Python {platform.python_version()}", f"fwdgrad {importlib.metadata.version('fwdgrad')}"]
    for package in PACKAGES:
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            found.append(f"{package} not installed")
    return ", ".join(found) + "."


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rivals", description="fwdgrad against its rivals.")
    parser.add_argument(
        "--only", nargs="+", choices=TABLES, default=list(TABLES), metavar="TABLE", help=f"of {', '.join(TABLES)}"
    )
    parser.add_argument("--units", type=int, nargs="+", help="sizes of the network, instead of each table's own")
    parser.add_argument("--repeats", type=int, help="rounds (7)")
    parser.add_argument("--seconds", type=float, help="of one run in a round, about (0.3)")
    parser.add_argument(
        "--quick", action="store_true", help="n = 8, hardly any repeats, nothing written; under a minute"
    )
    parser.add_argument("--output", type=Path, help="document with the markers (docs/performance.md)")
    parser.add_argument("--no-plot", action="store_true", help="leave the picture as it is")
    options = parser.parse_args()
    output = options.output or (None if options.quick else DOCUMENT)
    effort = Effort(2, 0.01, 30) if options.quick else Effort()
    effort = Effort(options.repeats or effort.repeats, options.seconds or effort.seconds, effort.check)
    with tempfile.TemporaryDirectory() as folder:
        if not options.quick:
            os.environ["FWDGRAD_CACHE"] = folder  # so that the time to compile is that of the first time
        for name in options.only:
            make, sizes = TABLES[name]
            if options.quick:
                sizes = QUICK.get(name, [8])
            if options.units and name in OF_UNITS:
                sizes = options.units
            text = make(sizes, effort)
            print(f"\n## {name}\n\n{text}", flush=True)
            if output:
                replace(output, name, text)
    if output:
        replace(output, "versions", versions())
        if not options.no_plot:
            draw(output, output.with_suffix(".png"))


if __name__ == "__main__":
    main()
