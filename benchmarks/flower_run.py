"""A real Flower deployment between network namespaces: SuperLink, SuperNodes, ServerApp and ClientApps.

Flower lives in a virtual environment of its own, made with pip; the app is ``benchmarks/flower_app``, and its
training is :class:`gossamer.agent.trainer.NumpyTrainer`, which Gossamer's devices run, too. No TLS here: that is
Flower's cheaper way.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.hosts import SERVER_ADDRESS, Hosts, Traffic, parse_counters
from gossamer.agent.trainer import NumpyTrainer, Weights
from gossamer.aggregator.server_step import server_step

REPOSITORY = Path(__file__).resolve().parents[1]
APP = Path(__file__).with_name("flower_app")
FLEET_PORT = 8000
CONTROL_PORT = 9093
"""Of releases that speak gRPC; those that speak HTTP serve everything on one port."""
START_SECONDS = 60.0
"""The SuperLink imports for 3 s and migrates its database, beside whatever else the machine does."""
ROUND_SECONDS = 120.0
"""A round takes 2 to 5 s a client."""


@dataclass(frozen=True)
class FlowerJob:
    """What Flower is asked to do. ``nodes`` SuperNodes, each with one device's data."""

    nodes: int
    rounds: int
    local_epochs: int = 1
    batch_size: int = 32
    learning_rate: float = 0.1
    server_step: str = "fedavg"
    seed: int = 0
    evaluate: bool = False


@dataclass(frozen=True)
class FlowerRound:
    """After a round (0: before the first): accuracy of the model, IP bytes so far, mean over the devices."""

    round: int
    accuracy: float
    up: float
    down: float
    seconds: float


def make_environment(directory: Path, requirement: str) -> Path:
    """Make a virtual environment with Flower and return its ``bin``; one that is there already is used as it is."""
    programs = directory / "bin"
    if not (programs / "flower-superlink").exists():
        subprocess.run([sys.executable, "-m", "venv", str(directory)], check=True)
        command = [str(programs / "python"), "-m", "pip", "install", "--quiet", requirement, "numpy"]
        subprocess.run(command, check=True)
    return programs


def version_of(programs: Path) -> str:
    """Flower's version in an environment."""
    code = "import importlib.metadata as m; print(m.version('flwr'))"
    return subprocess.check_output([str(programs / "python"), "-c", code], text=True).strip()


def speaks_http(programs: Path) -> bool:
    """Whether the devices of this release speak HTTP (1.41 does) and not gRPC (1.29)."""
    told = subprocess.run([str(programs / "flower-superlink"), "--help"], capture_output=True, text=True, check=True)
    return " --port PORT" in told.stdout


def write_data(directory: Path, devices: Sequence[NumpyTrainer], judge: NumpyTrainer, initial: Weights) -> None:
    """Write what the app reads: ``device-N.npz`` and ``fleet.npz``.

    ``initial`` is of an MLP of one hidden layer.
    """
    directory.mkdir(parents=True, exist_ok=True)
    sizes = {"inputs": initial[0].shape[0], "hidden": initial[0].shape[1], "classes": initial[2].shape[1]}
    for index, device in enumerate(devices):
        np.savez(directory / f"device-{index}.npz", x=device.x, y=device.y, **sizes)
    weights = {f"weights-{at}": array for at, array in enumerate(initial)}
    x, y = judge.held_out
    np.savez(directory / "fleet.npz", x=x, y=y, arrays=len(initial), **sizes, **weights)


def run_flower(hosts: Hosts, programs: Path, data: Path, job: FlowerJob, directory: Path) -> list[FlowerRound]:
    """Run a job on the first ``job.nodes`` devices; the last round's line ends it.

    Raises:
        RuntimeError: a process ended or nothing happened for too long; holds the last lines of the logs.
    """
    directory.mkdir(parents=True)
    log = directory / "rounds.jsonl"
    before = hosts.counters()
    with contextlib.ExitStack() as stack:
        started = [
            stack.enter_context(hosts.running(namespace, command, directory / f"{name}.log", environment))
            for name, namespace, command, environment in _processes(hosts, programs, job, directory)
        ]
        time.sleep(1)
        _submit(hosts, programs, data, job, directory, log)
        _follow(log, job.rounds, started, directory)
    return [_round(json.loads(line), before, job.nodes) for line in log.read_text().splitlines()]


def _processes(
    hosts: Hosts, programs: Path, job: FlowerJob, directory: Path
) -> list[tuple[str, str, list[str], dict[str, str]]]:
    """Name, namespace, command and environment of SuperLink and SuperNodes."""
    if speaks_http(programs):
        listen = ["--host", "0.0.0.0", "--port", str(FLEET_PORT), "--disable-runtime-dependency-installation"]
    else:
        listen = ["--fleet-api-address", f"0.0.0.0:{FLEET_PORT}", "--control-api-address", f"127.0.0.1:{CONTROL_PORT}"]
    link = [str(programs / "flower-superlink"), "--insecure", *listen]
    found = [("superlink", hosts.server, link, _environment(programs, directory / "superlink"))]
    for index in range(job.nodes):
        node = [str(programs / "flower-supernode"), "--insecure", "--superlink", f"{SERVER_ADDRESS}:{FLEET_PORT}",
                "--node-config", f"partition-id={index} num-partitions={job.nodes}"]  # fmt: skip
        home = directory / f"supernode-{index}"
        found.append((f"supernode-{index}", hosts.device(index), node, _environment(programs, home)))
    return found


def _environment(programs: Path, home: Path) -> dict[str, str]:
    home.mkdir()
    return {
        "PATH": f"{programs}:{os.environ.get('PATH', '')}",
        "PYTHONPATH": str(REPOSITORY),
        "FLWR_HOME": str(home),
        "FLWR_TELEMETRY_ENABLED": "0",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }


def _submit(hosts: Hosts, programs: Path, data: Path, job: FlowerJob, directory: Path, log: Path) -> None:
    """``flwr run``, again until the SuperLink listens."""
    environment = _environment(programs, directory / "cli")
    port = FLEET_PORT if speaks_http(programs) else CONTROL_PORT
    connection = f'[superlink]\ndefault = "lab"\n\n[superlink.lab]\naddress = "127.0.0.1:{port}"\ninsecure = true\n'
    (directory / "cli" / "config.toml").write_text(connection)
    step = server_step(job.server_step)
    settings = {
        "data": json.dumps(str(data)), "log": json.dumps(str(log)), "rounds": job.rounds, "nodes": job.nodes,
        "local-epochs": job.local_epochs, "batch-size": job.batch_size, "learning-rate": float(job.learning_rate),
        "server-learning-rate": float(step.learning_rate), "server-momentum": float(step.momentum),
        "seed": job.seed, "evaluate": json.dumps(job.evaluate),
    }  # fmt: skip
    told = " ".join(f"{key}={value}" for key, value in settings.items())
    command = [str(programs / "flwr"), "run", str(APP), "lab", "--run-config", told]
    deadline = time.monotonic() + START_SECONDS
    while True:
        done = subprocess.run(
            ["ip", "netns", "exec", hosts.server, *command],
            env={**os.environ, **environment}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode == 0:
            return
        if time.monotonic() > deadline:
            raise RuntimeError(f"flwr run: {done.stdout[-1500:]}{done.stderr[-1500:]}\n{_last_lines(directory)}")
        time.sleep(1)


def _follow(log: Path, rounds: int, processes: Sequence[subprocess.Popen[bytes]], directory: Path) -> None:
    seen, deadline = -1, time.monotonic() + START_SECONDS + ROUND_SECONDS
    while seen < rounds:
        lines = log.read_text().count("\n") - 1 if log.exists() else -1
        if lines > seen:
            seen, deadline = lines, time.monotonic() + ROUND_SECONDS
        if time.monotonic() > deadline or any(process.poll() is not None for process in processes):
            raise RuntimeError(f"Flower stands still after round {seen}:\n{_last_lines(directory)}")
        time.sleep(0.1)


def _last_lines(directory: Path) -> str:
    logs = sorted(directory.glob("*.log"))
    return "\n".join(f"--- {log.name}\n{log.read_text(errors='replace')[-1500:]}" for log in logs)


def _round(line: Mapping[str, object], before: Mapping[int, Traffic], nodes: int) -> FlowerRound:
    now = parse_counters(str(line["net"]))
    used = [now[index] - before[index] for index in range(nodes)]
    return FlowerRound(
        round=int(str(line["round"])),
        accuracy=float(str(line["accuracy"])),
        up=sum(each.up for each in used) / nodes,
        down=sum(each.down for each in used) / nodes,
        seconds=float(str(line["time"])),
    )
