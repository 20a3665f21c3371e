"""docs/getting-started.md, as somebody would follow it who has only this machine."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gossamer.broker import free_port

PAGE = (Path(__file__).parents[2] / "docs" / "getting-started.md").read_text()
CLI = [sys.executable, "-m", "gossamer.cli"]
ROUNDS = 3
WAIT_SECONDS = 60.0
DEVICES = ("pump-17", "pump-18")


def block(language: str) -> tuple[str, str]:
    """The first code block of a language that names its file in its first line: (file, text)."""
    text = re.search(rf"```{language}\n(# (\S+)\n.*?)```", PAGE, re.DOTALL)
    return text.group(2), text.group(1)


def gossamer(directory: Path, *words: str) -> str:
    ended = subprocess.run([*CLI, *words], cwd=directory, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, f"{words}: {ended.stderr}"
    return ended.stdout


@contextlib.contextmanager
def running(directory: Path, name: str, command: list[str]) -> Iterator[None]:
    with (directory / f"{name}.log").open("wb") as log:
        child = subprocess.Popen(command, cwd=directory, stdout=log, stderr=log)
    try:
        yield
        assert child.poll() is None, f"{name} has ended: {(directory / f'{name}.log').read_text()[-1000:]}"
        child.terminate()
        assert child.wait(5) == 0, f"{name}: {(directory / f'{name}.log').read_text()[-1000:]}"
    finally:
        child.kill()
        child.wait()


def await_end(directory: Path) -> dict[str, Any]:
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        (job,) = json.loads(gossamer(directory, "job", "list", "--state", "state", "--json"))
        if job["state"] == "finished":
            return job
        logs = {log.name: log.read_text()[-800:] for log in directory.glob("*.log")}
        assert time.monotonic() < deadline, f"{job}\n{logs}"
        time.sleep(0.2)


def write_files(directory: Path) -> None:
    """What the page shows, the job cut short, and data that a linear layer can learn."""
    name, text = block("python")
    (directory / name).write_text(text)
    name, text = block("toml")
    assert "rounds = 40\n" in text
    (directory / name).write_text(text.replace("rounds = 40\n", f"rounds = {ROUNDS}\n"))
    rng = np.random.default_rng(7)
    truth = rng.normal(size=(6, 3))
    for file in ("sample", *DEVICES):
        x = rng.normal(size=(120, 6)).astype(np.float32)
        np.savez(directory / f"{file}.npz", x=x, y=(x @ truth).argmax(axis=1))


@pytest.mark.timeout(100)
def test_the_page_works(tmp_path: Path) -> None:
    write_files(tmp_path)
    port = str(free_port())
    gossamer(tmp_path, "fleet", "init", "farm1", "--no-accounts", "--state", "state", "--port", port)
    gossamer(tmp_path, "job", "create", "gait.toml", "--trainer", "gait:trainer", "--option", "data=sample.npz",
             "--state", "state")  # fmt: skip
    for device in DEVICES:
        data = tmp_path / f"{device}.npz"
        gossamer(tmp_path, "fleet", "enroll", device, "--trainer", "gait:trainer", "--option", f"data={data}",
                 "--state", "state", "--state-dir", str(tmp_path / f"{device}.state"))  # fmt: skip
    with contextlib.ExitStack() as processes:
        start = lambda name, *words: processes.enter_context(running(tmp_path, name, [sys.executable, *words]))  # noqa: E731
        start("broker", "-m", "gossamer.cli", "broker", "--port", port)
        start("server", "-m", "gossamer.cli", "serve", "--state", "state")
        for device in DEVICES:
            start(device, "-m", "gossamer.agent", "--config", f"state/devices/{device}.toml")
        job = await_end(tmp_path)
        fleet = json.loads(gossamer(tmp_path, "fleet", "list", "--state", "state", "--json"))
    assert (job["name"], job["model_version"], job["rounds"]) == ("gait", ROUNDS, ROUNDS)
    assert [(row["device"], row["state"]) for row in fleet] == [(name, "enrolled") for name in DEVICES]
    assert all(row["last_contact"] for row in fleet)
    gossamer(tmp_path, "job", "export", "gait", "model.npz", "--state", "state")
    with np.load(tmp_path / "model.npz", allow_pickle=False) as model:
        weights = [model[name] for name in model.files]
    assert [array.shape for array in weights] == [(6, 3), (3,)]
    assert all(np.isfinite(array).all() for array in weights)
    assert np.abs(weights[0]).max() > 0
    sealed = [line for line in (tmp_path / "server.log").read_text().splitlines() if "sealed as version" in line]
    assert len(sealed) == ROUNDS


def test_the_commands_of_the_page_exist() -> None:
    """Every ``gossamer`` line of the page names a command, and options that it has."""
    from .test_help import COMMANDS

    lines = re.findall(r"(?:^|\| |`)gossamer ([a-z].*?)(?:`|#|$)", PAGE, re.MULTILINE)
    assert len(lines) >= 10
    for line in lines:
        words = line.split()
        path = next((p for p in COMMANDS if tuple(words[: len(p)]) == p), None)
        assert path, line
        known = {option for each in COMMANDS[path].params for option in (*each.opts, *each.secondary_opts)}
        assert {word for word in words if word.startswith("--")} <= known, line
