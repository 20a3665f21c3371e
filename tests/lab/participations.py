"""What one participation costs on the device's interface: models of several sizes, plain and over TLS.

    python -m tests.lab.participations --json

Two devices, two cohorts, one pair of namespaces for all cases. The first device trains round 0 beside the server, so
that round 1 has a model to fetch; the second is started behind the link: it connects, fetches the model, trains, sends
its update and, with SIGTERM, says goodbye. Its interface is read before and after. The last two cases go on for a while
without a round, for what an idle connection costs. Run as root, or through
:func:`tests.lab.namespaces.as_root_of_namespace`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from gossamer.agent.store import read_ledger
from gossamer.agent.trainer import NumpyTrainer
from gossamer.aggregator.jobs import ClosingSettings, FitSettings, JobSettings, create_job
from gossamer.aggregator.store import Store
from gossamer.compression.lattice import to_lattice
from gossamer.compression.layout import Layout
from gossamer.demo.models import MLP
from gossamer.fleet.enrolment import BrokerAddress, DeviceSpec, enroll, init_fleet
from gossamer.fleet.server_files import ServerFiles
from tests.brokers import MOSQUITTO, self_signed
from tests.lab.namespaces import DEVICE_ADDRESS, SERVER_ADDRESS, Lab, Link, slow_link
from tests.lab.slow_link import await_, rounds_sealed, running

FLEET = "lab"
BESIDE, BEHIND = "beside-1", "behind-1"
EXAMPLES = 64
@dataclass(frozen=True)
class Idle:
    """Settings that make an agent poll or ping soon, and how long to watch it."""

    seconds: float
    agent: str = ""
    broker: str = ""


POLLS = Idle(14.0, agent="manifest_poll_seconds = 11.0\n")
PINGS = Idle(20.0, broker="keepalive_seconds = 12\n")
"""One of each falls into the time; a keepalive below 10 s would outrun the agent's tick of 5 s."""
MTU_BYTES = 1400
LINK = Link(rate_up=4_000_000, rate_down=4_000_000, delay_ms=50, jitter_ms=0, loss_percent=0.0)
"""Fast, for the test's sake, and far enough that an answer never travels with its question's acknowledgement."""
SETTLE_SECONDS = 1.0


@dataclass(frozen=True)
class Case:
    """A model (inputs, hidden, classes) and what its updates travel as, both ways."""

    name: str
    sides: tuple[int, int, int]
    codec: str

    @property
    def layout(self) -> str:
        """As ``gossamer plan --model`` takes it."""
        inputs, hidden, classes = self.sides
        return f"{inputs}x{hidden},{hidden},{hidden}x{classes},{classes}"


CASES = (
    Case("small", (20, 10, 4), "fp32"),
    Case("middle", (64, 64, 10), "ternary:0.2"),
    Case("large", (784, 128, 10), "rot1"),
)


def trainer(inputs: int, hidden: int, classes: int, seed: int) -> NumpyTrainer:
    """Classes that are told apart by their means: enough for updates that look like updates."""
    rng = np.random.default_rng(seed)
    means = np.random.default_rng(7).standard_normal((classes, inputs)).astype(np.float32)
    y = rng.integers(0, classes, EXAMPLES)
    x = means[y] + rng.standard_normal((EXAMPLES, inputs)).astype(np.float32)
    return NumpyTrainer(MLP(inputs, hidden, classes), x, y)


def make_fleet(
    directory: Path, case: Case, port: int, tls: Path | None, idle: Idle | None
) -> tuple[ServerFiles, dict[str, Path]]:
    """A fleet of two with its job; returns the server's files and each device's configuration."""
    files = ServerFiles(directory / "server")
    init_fleet(files, FLEET, BrokerAddress(SERVER_ADDRESS, port, tls is not None, insecure=tls is None), accounts=False)
    authority = "" if tls is None else f'ca_file = "{tls}"\n'
    files.config.write_text(files.config.read_text() + authority)
    configs = {}
    for number, name in enumerate((BESIDE, BEHIND)):
        inputs, hidden, classes = case.sides
        options = {"inputs": inputs, "hidden": hidden, "classes": classes, "seed": number}
        config = enroll(files, DeviceSpec(name, "tests.lab.participations:trainer", options, str(directory / name)))
        (directory / name).mkdir()
        own, broker_own = (idle.agent, idle.broker) if idle else ("", "")
        config.write_text(config.read_text().replace("\n[broker]\n", f"{own}\n[broker]\n{broker_own}{authority}"))
        configs[name] = config
    arrays = trainer(*case.sides, 0).initial(0)
    layout = Layout.of(arrays)
    job = JobSettings(
        name="lab", job=1, fleet=FLEET, seed=0, rounds=9, codec_up=case.codec, codec_down=case.codec, cohorts=2,
        participation="fixed", fit=FitSettings(1, 16, 0.05),
        closing=ClosingSettings(deadline_seconds=3600.0, at_deadline="extend"),
    )  # fmt: skip
    store = Store.open(files.store)
    create_job(store, job, to_lattice(layout.flatten(arrays)), layout)
    store.close()
    return files, configs


@contextlib.contextmanager
def broker(lab: Lab, directory: Path, port: int, *, tls: bool) -> Iterator[Path | None]:
    """Mosquitto in the server's namespace; yields the certificate to trust."""
    lines = [f"listener {port} {SERVER_ADDRESS}", "allow_anonymous true", "persistence false"]
    lines += ["user root"] if os.geteuid() == 0 else []
    certificate = None
    if tls:
        certificate, key = self_signed(directory, SERVER_ADDRESS)
        lines += [f"certfile {certificate}", f"keyfile {key}"]
    config = directory / "mosquitto.conf"
    config.write_text("\n".join(lines) + "\n")
    with running(lab, lab.server, [MOSQUITTO, "-c", str(config)], directory / "broker.log"):
        yield certificate


def der_bytes(certificate: Path | None) -> int:
    """Length of the certificate as TLS sends it."""
    if certificate is None:
        return 0
    return len(x509.load_pem_x509_certificate(certificate.read_bytes()).public_bytes(Encoding.DER))


def agent(config: Path) -> list[str]:
    """The agent's command line."""
    return [sys.executable, "-m", "gossamer.agent", "--config", str(config)]


def measure(
    lab: Lab, directory: Path, case: Case, port: int, *, tls: bool, idle: Idle | None = None
) -> dict[str, Any]:
    """One participation of the device behind the link; with ``idle``, and what comes after it if nothing happens."""
    directory.mkdir()
    serve = [sys.executable, "-m", "gossamer.cli", "serve", "--state", str(directory / "server")]
    with broker(lab, directory, port, tls=tls) as certificate:
        files, configs = make_fleet(directory, case, port, certificate, idle)
        with running(lab, lab.server, serve, directory / "server.log"):
            with running(lab, lab.server, agent(configs[BESIDE]), directory / "beside.log"):
                await_("the round beside the server", lambda: rounds_sealed(files.store) >= 1, 60)
            before = lab.device_bytes()
            with running(lab, lab.device, agent(configs[BEHIND]), directory / "behind.log") as process:
                await_("the round behind the link", lambda: rounds_sealed(files.store) >= 2, 60)
                time.sleep(SETTLE_SECONDS)  # the next manifest
                resting = lab.device_bytes()
                time.sleep(idle.seconds if idle else 0.0)
                idle_bytes = lab.device_bytes() - resting
                process.send_signal(signal.SIGTERM)
                process.wait(10)
                time.sleep(SETTLE_SECONDS / 2)  # the close
            after = lab.device_bytes()
    ledger = read_ledger(directory / BEHIND)
    months = ledger.months.values()
    causes = {f"{way}/{cause}": n for month in months for way, all_ in month.items() for cause, n in all_.items()}
    return {
        "case": case.name, "layout": case.layout, "codec": case.codec, "tls": tls, "mtu_bytes": MTU_BYTES,
        "certificate_bytes": der_bytes(certificate), "interface_bytes": after - before - idle_bytes,
        "idle_bytes": idle_bytes, "ledger_bytes": sum(causes.values()), "ledger": causes,
        "counters": dict(ledger.counters),
    }  # fmt: skip


def know_each_other(lab: Lab) -> None:
    """Tell the two hosts each other's hardware address, since ARP would be counted as IP, and the packets' size."""
    ends = {lab.device: ("d0", DEVICE_ADDRESS), lab.server: ("s0", SERVER_ADDRESS)}
    for here, there in ((lab.device, lab.server), (lab.server, lab.device)):
        port, address = ends[there]
        read = lab.inside(there, ["cat", f"/sys/class/net/{port}/address"])
        hardware = subprocess.check_output(read, text=True).strip()
        entry = ["ip", "neigh", "replace", address, "lladdr", hardware, "dev", ends[here][0], "nud", "permanent"]
        subprocess.run(lab.inside(here, entry), check=True, capture_output=True)
        mtu = ["ip", "link", "set", ends[here][0], "mtu", str(MTU_BYTES)]
        subprocess.run(lab.inside(here, mtu), check=True, capture_output=True)


def measure_all(cases: Sequence[Case], ways: Sequence[bool]) -> list[dict[str, Any]]:
    """Every case, plain and over TLS, over one link."""
    found = []
    with tempfile.TemporaryDirectory(prefix="gossamer-lab-") as directory, slow_link(LINK) as lab:
        know_each_other(lab)
        runs = [(case, tls) for case in cases for tls in ways]
        for number, (case, tls) in enumerate(runs, start=1):
            place = Path(directory) / f"{case.name}-{'tls' if tls else 'plain'}"
            idle = {len(runs) - 1: PINGS, len(runs): POLLS}.get(number)
            found.append(measure(lab, place, case, 8882 + number, tls=tls, idle=idle))
    return found


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", action="append", choices=[case.name for case in CASES])
    parser.add_argument("--plain", action="store_true", help="without TLS only")
    options = parser.parse_args()
    cases = [case for case in CASES if not options.case or case.name in options.case]
    print(json.dumps(measure_all(cases, (False,) if options.plain else (False, True)), indent=2))


if __name__ == "__main__":
    main()
