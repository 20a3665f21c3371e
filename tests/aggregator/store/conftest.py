from collections.abc import Iterator
from pathlib import Path

import pytest

from gossamer.aggregator.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(tmp_path / "store.db")
    yield opened
    opened.close()
