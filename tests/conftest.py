"""Before numpy is loaded: one BLAS thread, as in the demo and in training children, so that digests agree."""

from __future__ import annotations

import os

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))
