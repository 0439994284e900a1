"""Sparsity pattern and colouring of a Jacobian, beside casadi and asdex; and the analysis of a large network.

Run: python benchmarks/structure.py [--cells 50 500 5000] [--repeats 5] [--units 1000]

The Jacobian is that of a one-dimensional Brusselator of N cells,

    ∂u/∂t = 1 + u²v − 4u + α Δu,      ∂v/∂t = 3u − u²v + α Δv,

whose columns are coloured so that those of one colour share no row. All start from a function that is already traced
(fwdgrad), built as an expression (casadi) or compiled once (asdex), and take the pattern and a colouring from it.
Interleaved in one process, one thread, medians; only the ratios mean anything. A rival that is not installed is left
out.
"""

import argparse
import importlib.util
import os
import resource
import statistics
import time
import tracemalloc

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import numpy as np

import fwdgrad as fg
from fwdgrad import systems
from fwdgrad.system.tracing import TracedSystem

ALPHA = 0.02


def rates(u, v, join):
    """The right-hand side, in any library: `join` makes an array of a number, an array and a number."""

    def laplacian(w, edge):
        return join(edge, w[:-1]) - 2 * w + join(w[1:], edge)

    return 1 + u * u * v - 4 * u + ALPHA * laplacian(u, 1.0), 3 * u - u * u * v + ALPHA * laplacian(v, 3.0)


def with_fwdgrad(cells):
    """A function that returns seconds, colours and entries of one analysis."""

    def join(a, b):
        return np.concatenate([np.atleast_1d(a), np.atleast_1d(b)])

    def F(h, x, theta):
        u, v = rates(h["u"], h["v"], join)
        return {"u": theta["speed"] * u, "v": theta["speed"] * v}

    state = {"u": np.ones(cells), "v": np.full(cells, 3.0)}
    programs = TracedSystem(fg.System(F, None, state, {"speed": 1.0}, dt=1e-6))

    def run():
        programs.__dict__.pop("patterns", None)  # they are kept once they are found
        start = time.perf_counter()
        patterns = programs.patterns
        colours = patterns.column_colours
        return time.perf_counter() - start, int(colours.max()) + 1, patterns.transition.state.nnz

    return run


def with_casadi(cells):
    """The same with casadi: the pattern of an expression of matrices, and a unidirectional colouring."""
    import casadi

    def run():
        h = casadi.MX.sym("h", 2 * cells)
        function = casadi.Function("F", [h], [casadi.vertcat(*rates(h[:cells], h[cells:], casadi.vertcat))])
        start = time.perf_counter()
        pattern = function.jac_sparsity(0, 0)
        colours = pattern.uni_coloring()
        return time.perf_counter() - start, colours.size2(), pattern.nnz()

    return run


def with_asdex(cells):
    """The same with asdex, which traces the function each time."""
    import asdex
    import jax.numpy as jnp

    def join(a, b):
        return jnp.concatenate([jnp.atleast_1d(a), jnp.atleast_1d(b)])

    def f(h):
        return jnp.concatenate(rates(h[:cells], h[cells:], join))

    example = np.ones(2 * cells)

    def run():
        start = time.perf_counter()
        coloured = asdex.jacobian_coloring(f, example, mode="fwd")
        return time.perf_counter() - start, coloured.num_colors, coloured.sparsity.nnz

    return run


RIVALS = {"casadi": with_casadi, "asdex": with_asdex}


def brusselator(cells, repeats):
    """One row of the table."""
    present = {name: make for name, make in RIVALS.items() if importlib.util.find_spec(name)}
    runs = {"fwdgrad": with_fwdgrad(cells), **{name: make(cells) for name, make in present.items()}}
    for run in runs.values():
        run()  # imports and first-time costs
    rounds = [{name: run() for name, run in runs.items()} for _ in range(repeats)]
    cells_of_row = [str(cells)]
    for name in ("fwdgrad", *RIVALS):
        if name not in runs:
            cells_of_row += ["–"] * (2 if name == "fwdgrad" else 3)
            continue
        seconds = statistics.median(r[name][0] for r in rounds)
        cells_of_row += [f"{seconds * 1e3:.3g}", str(rounds[0][name][1])]
        if name != "fwdgrad":
            cells_of_row.append(f"{statistics.median(r['fwdgrad'][0] / r[name][0] for r in rounds):.2g}")
    print(f"| {' | '.join(cells_of_row)} |")


def network(units):
    """Analysis of a large tanh network: time, and the largest memory that was ever allocated for it."""
    system = systems.build("tanh-rnn", units=units, symbols=32)
    count = sum(v.size for v in system.params.values())
    start = time.perf_counter()
    structure = fg.analyze(system)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    patterns = structure.patterns.transition
    entries = patterns.state.nnz + sum(p.nnz for p in patterns.leaves.values())
    again = systems.build("tanh-rnn", units=units, symbols=32)
    tracemalloc.start()
    fg.analyze(again)
    allocated = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    print(
        f"A tanh network of {units} units, {count / 1e6:.2f}M parameters, {entries / 1e6:.2f}M entries in ∂F: analysed "
        f"in {seconds:.2f} s, {allocated / entries:.0f} bytes an entry at most, process {peak:.0f} MB; "
        f"auto takes {structure.choice.name}."
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, nargs="+", default=[50, 500, 5000])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--units", type=int, default=1000)
    options = parser.parse_args()
    network(options.units)
    print()
    print("| N | fwdgrad, ms | colours | casadi, ms | colours | ratio | asdex, ms | colours | ratio |")
    print("|---|---|---|---|---|---|---|---|---|")
    for cells in options.cells:
        brusselator(cells, options.repeats)


if __name__ == "__main__":
    main()
