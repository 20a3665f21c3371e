from __future__ import annotations

from collections.abc import Iterator

import pytest

from .site import Site, site


@pytest.fixture(scope="session")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One site for all tests that only look at it: its server takes a second to start."""
    with site(tmp_path_factory.mktemp("doctor") / "site") as whole:
        yield whole
