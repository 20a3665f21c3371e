"""A project with a trainer that takes no time."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gossamer.aggregator.store import Store
from gossamer.project.settings import Project, read_project

TRAINER = """
from tests.agent.tiny import Tiny

def trainer(device=0, d=40):
    return Tiny(d)
"""

SETTINGS = """
name = "pumps"
trainer = "tiny_trainer.py:trainer"
devices = 2
[trainer_options]
d = 20
[agent]
fit_threads = 2
link = { bytes_per_second = 700 }
[job]
rounds = 3
codec_up = "rot4"
codec_down = "rot4"
[job.fit]
learning_rate = 0.5
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    (tmp_path / "tiny_trainer.py").write_text(TRAINER)
    (tmp_path / "project.toml").write_text(SETTINGS)
    return read_project(tmp_path, {})


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(tmp_path / "store.db")
    yield opened
    opened.close()
