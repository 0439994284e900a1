"""One thread for linear algebra, in every process of the tests: several get in each other's way, and on busy machines
they wait for each other ten times as long as the arithmetic takes."""

import os

for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")
