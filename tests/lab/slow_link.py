"""One device, one server, a thin link between two network namespaces: a round over it, and what it cost.

    python -m tests.lab.slow_link --codec fp32 --cut 30 --tls

prints one JSON object. Run as root, or through :func:`tests.lab.namespaces.as_root_of_namespace`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gossamer.agent.store import read_ledger
from gossamer.aggregator.jobs import ClosingSettings, FitSettings, JobSettings, create_job
from gossamer.aggregator.store import Store
from gossamer.compression.lattice import to_lattice
from gossamer.compression.layout import Layout
from gossamer.demo.federation import trainer
from gossamer.fleet.enrolment import BrokerAddress, DeviceSpec, enroll, init_fleet
from gossamer.fleet.server_files import ServerFiles
from tests.brokers import MOSQUITTO, self_signed
from tests.lab.namespaces import SERVER_ADDRESS, Lab, Link, slow_link

PORT = 8883
PATIENCE_SECONDS = 280.0


def make_fleet(directory: Path, options: argparse.Namespace) -> tuple[ServerFiles, Path]:
    """A fleet of one device and its job; returns the server's files and the device's configuration."""
    files = ServerFiles(directory / "server")
    address = BrokerAddress(SERVER_ADDRESS, PORT, options.tls, insecure=not options.tls)
    init_fleet(files, "lab", address, accounts=False)
    data = {"data": "watch", "device": 0, "devices": 10, "seed": 0, "cache": str(directory / "cache")}
    spec = DeviceSpec("meter-1", "gossamer.demo.federation:trainer", data, str(directory / "agent"))
    config = enroll(files, spec)
    (directory / "agent").mkdir()
    timing = f"chunk_bytes = {options.chunk_bytes}\nstatus_timeout_seconds = 8.0\nledger_interval_seconds = 1.0\n"
    timing += "backoff_first_seconds = 0.5\nbackoff_limit_seconds = 3.0\n"
    broker = f"stall_seconds = {options.stall}\n"
    if options.tls:
        authority = f'ca_file = "{directory / "tls" / "broker.crt"}"\n'
        broker += authority
        files.config.write_text(files.config.read_text() + authority)
    config.write_text(config.read_text().replace("\n[broker]\n", f"{timing}\n[broker]\n{broker}"))
    made = trainer("watch", 0, 10, 0)
    arrays = made.initial(0)
    layout = Layout.of(arrays)
    job = JobSettings(
        name="lab", job=1, fleet="lab", seed=0, rounds=options.rounds, codec_up=options.codec,
        codec_down=options.codec_down, fit=FitSettings(1, 32, 0.1),
        closing=ClosingSettings(deadline_seconds=3600.0, at_deadline="extend"),
    )  # fmt: skip
    store = Store.open(files.store)
    create_job(store, job, to_lattice(layout.flatten(arrays)), layout)
    store.close()
    return files, config


@contextlib.contextmanager
def running(lab: Lab, namespace: str, command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process inside a namespace, ended with the block."""
    with log.open("ab") as output:
        process = subprocess.Popen(lab.inside(namespace, command), stdout=output, stderr=output)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def broker_command(directory: Path, tls: bool, embedded: bool) -> list[str]:
    """The broker's command line."""
    (directory / "tls").mkdir()
    certificate, key = self_signed(directory / "tls", SERVER_ADDRESS)
    if embedded:
        command = [sys.executable, "-m", "gossamer.cli", "broker", "--host", SERVER_ADDRESS, "--port", str(PORT)]
        return [*command, "--certificate", str(certificate), "--key", str(key)] if tls else command
    lines = [f"listener {PORT} {SERVER_ADDRESS}", "allow_anonymous true", "persistence false"]
    lines += ["user root"] if os.geteuid() == 0 else []
    lines += [f"certfile {certificate}", f"keyfile {key}"] if tls else []
    config = directory / "mosquitto.conf"
    config.write_text("\n".join(lines) + "\n")
    return [MOSQUITTO, "-c", str(config)]


def chunks_arrived(store: Path) -> int:
    """Chunks of an upload that the bridge has on disk."""
    return _one(store, "SELECT count(*) FROM upload_chunks")


def measured(state: Path) -> dict[str, int]:
    """What the agent has measured of its link: bytes per second, and milliseconds of a round trip."""
    with contextlib.closing(sqlite3.connect(f"file:{state / 'agent.db'}?mode=ro", uri=True)) as db:
        return dict(db.execute("SELECT key, value FROM meta WHERE key IN ('link_rate', 'link_rtt')"))


def rounds_sealed(store: Path) -> int:
    """Sealed rounds."""
    return _one(store, "SELECT count(*) FROM rounds WHERE state = 'sealed' AND report IS NOT NULL")


def _one(store: Path, query: str) -> int:
    with contextlib.closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as db:
        return int(db.execute(query).fetchone()[0])


def await_(what: str, done: Any, patience: float = PATIENCE_SECONDS) -> float:
    """Wait until ``done()``; returns the seconds it took."""
    began = time.monotonic()
    while not done():
        if time.monotonic() - began > patience:
            raise TimeoutError(f"{what}: not within {patience:.0f} s")
        time.sleep(0.05)
    return time.monotonic() - began


def experiment(directory: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Run the rounds; with ``--cut``, take the link away for so long in the middle of the first upload."""
    command = broker_command(directory, options.tls, options.embedded)
    files, config = make_fleet(directory, options)
    serve = [sys.executable, "-m", "gossamer.cli", "serve", "--state", str(files.directory)]
    agent = [sys.executable, "-m", "gossamer.agent", "--config", str(config)]
    link = Link(options.rate, options.rate, options.delay, options.jitter, options.loss)
    with slow_link(link) as lab, contextlib.ExitStack() as stack:
        stack.enter_context(running(lab, lab.server, command, directory / "broker.log"))
        stack.enter_context(running(lab, lab.server, serve, directory / "server.log"))
        time.sleep(1.5)  # a server that is ready, so that no refused connection is counted
        before = lab.device_bytes()
        began = time.monotonic()
        with running(lab, lab.device, agent, directory / "agent.log") as process:
            at_cut = None
            if options.cut:
                await_("first chunks", lambda: chunks_arrived(files.store) >= 2)
                at_cut = chunks_arrived(files.store)
                lab.cut()
                time.sleep(options.cut)
                lab.restore()
            await_("rounds", lambda: rounds_sealed(files.store) >= options.rounds)
            seconds = time.monotonic() - began
            time.sleep(4)  # the last status on its way, and the ledger
            process.send_signal(signal.SIGTERM)
            process.wait(10)
            time.sleep(3)  # the close, on a slow link
        on_interface = lab.device_bytes() - before
    ledger = read_ledger(directory / "agent")
    month: dict[str, dict[str, int]] = {"up": {}, "down": {}}
    for each in ledger.months.values():
        for way, causes in each.items():
            for cause, count in causes.items():
                month[way][cause] = month[way].get(cause, 0) + count
    in_ledger = sum(month["up"].values()) + sum(month["down"].values())
    return {
        "codec": options.codec, "tls": options.tls, "broker": "embedded" if options.embedded else "mosquitto",
        "rounds": options.rounds, "seconds": round(seconds, 1), "cut_seconds": options.cut,
        "chunks_at_cut": at_cut, "chunk_bytes": options.chunk_bytes,
        "interface_bytes": on_interface, "ledger_bytes": in_ledger, "ledger": month,
        "measured": measured(directory / "agent"), "counters": dict(ledger.counters),
        "agent_log": (directory / "agent.log").read_text()[-2000:],
    }  # fmt: skip


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--codec", default="ternary:0.05")
    parser.add_argument("--codec-down", default="ternary:0.025")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--chunk-bytes", type=int, default=4000)
    parser.add_argument("--cut", type=float, default=0.0, help="seconds without a link, in mid-upload")
    parser.add_argument("--stall", type=float, default=120.0, help="stall_seconds of the agent")
    parser.add_argument("--rate", type=int, default=40_000, help="bit/s")
    parser.add_argument("--delay", type=int, default=350, help="ms one way")
    parser.add_argument("--jitter", type=int, default=30, help="ms")
    parser.add_argument("--loss", type=float, default=2.0, help="per cent")
    parser.add_argument("--tls", action="store_true")
    parser.add_argument("--embedded", action="store_true", help="the embedded broker instead of Mosquitto")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gossamer-lab-") as directory:
        print(json.dumps(experiment(Path(directory), options), indent=2))


if __name__ == "__main__":
    main()
