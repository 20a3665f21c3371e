"""An access list that forbids a device what it needs: acknowledged by Mosquitto all the same, and found by asking."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from gossamer.agent.config import load
from gossamer.doctor import device

from .site import SOON, by_name, failing, site


@pytest.mark.system
def test_topics_that_are_not_allowed(tmp_path: Path) -> None:
    with site(tmp_path / "site") as here:
        config = load(here.config(tmp_path / "a.toml", "pump-1", SOON), {})
        rules = tmp_path / "site" / "acl"
        whole = rules.read_text()
        for what in ("topic write g1/farm1/u/", "topic read g1/farm1/a/"):
            kept = [line for line in whole.splitlines() if not (line.startswith(what) and "pump-1" in line)]
            assert len(kept) == len(whole.splitlines()) - 1
            rules.write_text("\n".join(kept) + "\n")
            here.broker.kill()
            here.broker.start()
            here.rejoined()
            found = by_name(device._broker(config, time.time(), []))
            assert failing(found) == {"broker topics"}, what
            assert "access list" in found["broker topics"].mend
