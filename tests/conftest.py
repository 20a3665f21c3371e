"""Before numpy is loaded: one BLAS thread, as in the demo and in training children, so that digests agree.

And what may run at the same time: the tests of one file share a process, and so its fixtures, unless the file says
``EACH_ALONE = True`` because its tests are long and share nothing.
"""

from __future__ import annotations

import os

import pytest

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))


@pytest.hookimpl(tryfirst=True)  # before the plugin looks for groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of a file together when several processes share the work."""
    for item in items:
        alone = getattr(getattr(item, "module", None), "EACH_ALONE", False)
        if not alone and item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.nodeid.partition("::")[0]))
