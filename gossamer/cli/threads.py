"""One BLAS thread for processes that share a machine, set before numpy is loaded."""

from __future__ import annotations

import os

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def one_thread() -> None:
    """Sums in one order whatever the number of cores, no pool of threads to fork beside, none that crowd each other.

    What the environment says stays.
    """
    for name, value in ONE_THREAD.items():
        os.environ.setdefault(name, value)
