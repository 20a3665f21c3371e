"""One running broker of each kind for all tests of this directory."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.brokers import BROKERS, Listening


@pytest.fixture(scope="session")
def kind(request: pytest.FixtureRequest) -> str:
    """The broker's name; a module asks for it by ``pytest.mark.parametrize(..., indirect=True)``."""
    return str(request.param)


@pytest.fixture(scope="session")
def broker(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listening]:
    """Running, and shared: a test uses topics and client ids that no other uses, and starts what it has killed."""
    with BROKERS[kind](tmp_path_factory.mktemp(kind)) as listening:
        yield listening
