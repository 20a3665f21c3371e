"""Runs ``gossamer demo`` as a user would, and tells which processes it has."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

RUN_SECONDS = 600


def demo_command(directory: Path, *options: str) -> list[str]:
    return [
        sys.executable, "-m", "gossamer.cli", "demo", "--dir", str(directory / "run"),
        "--json", str(directory / "figures.json"), "--plot", str(directory / "plot.png"), *options,
    ]  # fmt: skip


def run_demo(
    directory: Path, *options: str, meanwhile: Callable[[subprocess.Popen[str]], None] | None = None
) -> dict[str, Any]:
    """Run a demo to its end and return the figures; ``meanwhile`` is called with the running process."""
    directory.mkdir(parents=True, exist_ok=True)
    process = subprocess.Popen(
        demo_command(directory, *options), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if meanwhile is not None:
        meanwhile(process)
    output, _ = process.communicate(timeout=RUN_SECONDS)
    assert process.returncode == 0, f"{output[-3000:]}\n{logs(directory)}"
    return json.loads((directory / "figures.json").read_text())


def logs(directory: Path) -> str:
    """The ends of all logs, for a failure worth reading."""
    parts = []
    for log in sorted((directory / "run").rglob("*.log")):
        parts.append(f"--- {log.name}\n" + "\n".join(log.read_text(errors="replace").splitlines()[-8:]))
    return "\n".join(parts)


def processes(directory: Path) -> dict[str, int]:
    """Name -> pid of the demo's processes; empty before they run."""
    try:
        return json.loads((directory / "run" / "processes.json").read_text())
    except (OSError, ValueError):
        return {}


def children(pid: int) -> list[int]:
    """The pids of the direct children of ``pid``."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [int(word) for word in task.read_text().split()]
        except OSError:
            continue
    return found
