"""The scripts of ``examples/``: alone as they were, and with their five lines in a fleet over a real broker."""

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

import pytest

from tests.brokers import mosquitto
from tests.environments import ROOT, environment_variables, python_of, run_in

pytestmark = [pytest.mark.system, pytest.mark.timeout(1800)]  # the first run installs gigabytes

EXAMPLES = ROOT / "examples"
SCRIPTS = (("torch", "torch_script"), ("tflite", "tflite_script"), ("tflite-legacy", "tflite_script"))
PARTS = (0, 1)
MAX_IDLE_MIB = 45
WAIT_SECONDS = 900.0


@contextlib.contextmanager
def running(name: str, command: list[Any], directory: Path, **variables: str) -> Iterator[int]:
    log = directory / f"{name}.log"
    with log.open("wb") as output:
        child = subprocess.Popen(
            command, cwd=directory, stdout=output, stderr=output, env=environment_variables(**variables)
        )
    try:
        yield child.pid
        assert child.poll() is None, f"{name} has ended: {log.read_text()[-1500:]}"
        child.terminate()
        assert child.wait(20) == 0, log.read_text()[-1500:]
    finally:
        child.kill()
        child.wait()


def resident_mib(pid: int) -> float:
    """Of a process that was a script with a framework, and has become an agent without."""
    return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1]) / 1024


@pytest.mark.parametrize("script", ["torch_script", "tflite_script"])
def test_five_lines_make_the_difference(script: str) -> None:
    lines = (EXAMPLES / f"{script}.py").read_text().splitlines()
    added = [line for line in lines if line.endswith("# +")]
    assert len(added) == 5
    assert "gossamer" not in "\n".join(line for line in lines[12:] if line not in added)


@pytest.mark.parametrize(("environment", "script"), SCRIPTS)
def test_alone_it_is_what_it_was(environment: str, script: str) -> None:
    done = run_in(environment, EXAMPLES / f"{script}.py")
    assert float(re.search(r"accuracy (\S+) with 144 examples", done.stdout)[1]) > 0.8


@pytest.mark.parametrize(("environment", "script"), SCRIPTS)
def test_with_others_it_is_a_device(environment: str, script: str, tmp_path: Path) -> None:
    state = tmp_path / "state"

    def gossamer(*words: str | Path) -> str:
        done = run_in(environment, "-m", "gossamer.cli", *words, "--state", state, PYTHONPATH=f"{ROOT}:{EXAMPLES}")
        return done.stdout

    with mosquitto(tmp_path / "broker") as broker, contextlib.ExitStack() as processes:
        gossamer("fleet", "init", "farm1", "--no-accounts", "--port", str(broker.port))
        gossamer("job", "create", EXAMPLES / "digits.toml", "--trainer", f"{script}:trainer")
        serve = [sys.executable, "-m", "gossamer.cli", "serve", "--no-page", "--state", state]
        processes.enter_context(running("server", serve, tmp_path))
        devices = []
        for part in PARTS:
            directory = tmp_path / f"device-{part}"
            directory.mkdir()
            gossamer("fleet", "enroll", directory.name, "--trainer", f"{script}:trainer", "--state-dir", directory)
            (state / "devices" / f"{directory.name}.toml").rename(directory / "gossamer.toml")
            command = [python_of(environment), EXAMPLES / f"{script}.py"]
            devices.append(processes.enter_context(running("device", command, directory, PART=str(part))))
        deadline = time.monotonic() + WAIT_SECONDS
        while json.loads(gossamer("job", "list", "--json"))[0]["state"] != "finished":
            assert time.monotonic() < deadline, [log.read_text()[-800:] for log in tmp_path.rglob("*.log")]
            time.sleep(3)
        assert [size for size in map(resident_mib, devices) if size > MAX_IDLE_MIB] == []
        gossamer("job", "export", "digits", tmp_path / "model.npz")
    judge = (
        "import sys, numpy as np\n"
        f"from {script} import trainer\n"
        "with np.load(sys.argv[1]) as model: weights = [model[name] for name in model.files]\n"
        "print(trainer().evaluate(weights)['accuracy'])\n"
    )
    done = run_in(environment, "-c", judge, tmp_path / "model.npz", PYTHONPATH=f"{ROOT}:{EXAMPLES}")
    assert float(done.stdout) > 0.88, done.stdout
