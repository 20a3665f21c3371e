"""Windows, gates and budget as the doctor tells them: by the agent's own gatekeeper and ledger."""

from __future__ import annotations

from pathlib import Path

import pytest

from gossamer.agent.config import AgentSettings, load
from gossamer.agent.records import Ledger
from gossamer.doctor.finding import Level
from gossamer.doctor.limits import budget, gates
from gossamer.fleet import mends
from gossamer.wire.codes import Absence
from tests.agent.server_side import DEVICE_KEY, FLEET_KEY

NOON = 1_795_046_400.0  # 2026-11-19 00:00 UTC
TEXT = f"""
fleet = "t1"
device_id = "dev-3"
device_index = 3
device_key = "{DEVICE_KEY.private_bytes_raw().hex()}"
fleet_public_key = "{FLEET_KEY.public_key().public_bytes_raw().hex()}"
state_dir = "."
trainer = "m:f"
"""


def settings(directory: Path, more: str) -> AgentSettings:
    file = directory / "agent.toml"
    file.write_text(TEXT + more)
    return load(file, {})


@pytest.mark.parametrize(
    ("more", "level", "words", "mend"),
    [
        ("", Level.SKIP, "none is set", ""),
        ("[gates]\ndisk_free_bytes = 1", Level.OK, "open", ""),
        ("[gates]\ndisk_free_bytes = 1000000000000000", Level.WARN, "closed: disk", "gates.disk_free_bytes"),
        ('[gates]\ncommand = ["/bin/true"]', Level.OK, "open", ""),
        ('[gates]\ncommand = ["/bin/sh", "-c", "echo night; exit 1"]', Level.WARN, "closed: night", "gates.command"),
        ('[gates]\ncommand = ["/not/there"]', Level.WARN, "cannot be read", "gates.unknown"),
        ('available = ["01:00-02:00"]', Level.WARN, "outside the windows", "key available"),
    ],
)
def test_gates(tmp_path: Path, more: str, level: Level, words: str, mend: str) -> None:
    found = gates(settings(tmp_path, more), NOON)
    assert (found.level, words in found.found, mend in found.mend) == (level, True, True), found


@pytest.mark.parametrize(
    ("limit", "spent", "level", "words"),
    [
        (0, 5_000, Level.OK, "no limit; 5 kB in 2026-11"),
        (2_000_000, 5_000, Level.OK, "5 kB of 2 MB spent in 2026-11, 200 kB of it reserved"),
        (2_000_000, 1_800_000, Level.WARN, "no round until the next month"),
        (2_000_000, 1_799_999, Level.OK, "1.8 MB of 2 MB"),
    ],
)
def test_budgets(tmp_path: Path, limit: int, spent: int, level: Level, words: str) -> None:
    own = settings(tmp_path, f"[budget]\nmonthly_bytes = {limit}")
    months = {"2026-10": {"up": {"payload": 99_000_000}, "down": {}}, "2026-11": {"up": {"payload": spent}, "down": {}}}
    found = budget(own, Ledger(months), NOON)
    assert (found.level, words in found.found) == (level, True), found
    # A clock that fell back in time refills nothing.
    assert budget(own, Ledger(months), 0.0) == found


@pytest.mark.parametrize("reason", Absence, ids=lambda reason: reason.label)
def test_every_absence_has_a_mend_of_its_own(reason: Absence) -> None:
    assert reason.label in mends._ABSENT
