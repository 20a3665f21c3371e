"""``gossamer doctor`` and ``python -m gossamer.doctor``: the report, its exit codes, its JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from .command import Run


def test_the_report_and_its_exit_code(run: Run, fleet: Path, tmp_path: Path) -> None:
    shown = run("doctor", "--state", fleet)
    assert shown.code == 1, "no broker listens there"
    assert "fail  broker port" in shown.out
    assert "-> check broker.port" in shown.out
    assert "fail" in shown.err
    told = json.loads(run("doctor", "--state", fleet, "--config", fleet / "devices" / "pump-1.toml", "--json").out)
    assert {row["level"] for row in told} <= {"ok", "skip", "warn", "fail"}
    assert [row["check"] for row in told].count("settings") == 2, "both sides"
    assert all(row["mend"] for row in told if row["level"] in ("warn", "fail"))
    run("doctor").refused("--config FILE or --state DIR")


def test_no_secret_is_shown(run: Run, fleet: Path) -> None:
    config = fleet / "devices" / "pump-1.toml"
    key = config.read_text().split('device_key = "')[1].split('"')[0]
    shown = run("doctor", "--config", config)
    assert key not in shown.out + shown.err


def test_without_typer(fleet: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "gossamer.doctor", "--config", str(fleet / "devices" / "pump-1.toml")]
    ended = subprocess.run([*command, "--json"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1
    assert "broker port" in [row["check"] for row in json.loads(ended.stdout) if row["level"] == "fail"]
    lost = subprocess.run(command[:3], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert lost.returncode == 2
    assert lost.stderr.startswith("gossamer: neither a device nor a server")
