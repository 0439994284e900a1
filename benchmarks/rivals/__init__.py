"""fwdgrad against what one would use instead, and against what cannot be beaten.

Run, from the root of the project: python -m benchmarks.rivals [--only stream single …] [--units 16 64] [--quick]

The tables go between the markers of docs/performance.md and the curves to docs/performance.png; see there for what is
measured. Rivals that are not installed are left out, and the tables say so.
"""

import os

# before any of them is imported: one thread, the processor, double precision, on all sides
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[_variable] = "1"
os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["JAX_ENABLE_X64"] = "1"
