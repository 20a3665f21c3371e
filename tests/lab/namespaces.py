"""Two hosts and a thin link between them, as network namespaces of this machine.

Needs root, or unprivileged user namespaces (then run the whole script under :func:`as_root_of_namespace`).
Only names with our own random prefix are made and removed.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

DEVICE_ADDRESS = "10.77.0.1"
SERVER_ADDRESS = "10.77.0.2"
REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Link:
    """What the link does to frames: bit/s up and down, ms one way, per cent."""

    rate_up: int = 40_000
    rate_down: int = 40_000
    delay_ms: int = 350
    jitter_ms: int = 30
    loss_percent: float = 2.0
    seed: int = 1


@dataclass
class Lab:
    """A running pair of hosts. ``device`` and ``server`` are namespace names."""

    prefix: str
    emulator: subprocess.Popen[str]

    @property
    def device(self) -> str:
        """Namespace of the device."""
        return f"{self.prefix}-dev"

    @property
    def server(self) -> str:
        """Namespace of the server."""
        return f"{self.prefix}-srv"

    def inside(self, namespace: str, command: Sequence[str]) -> list[str]:
        """Return ``command`` as it is run inside a namespace."""
        return ["ip", "netns", "exec", namespace, *command]

    def cut(self) -> None:
        """Cut the link: every frame is lost from now on."""
        self.emulator.send_signal(signal.SIGUSR1)

    def restore(self) -> None:
        """Mend the link."""
        self.emulator.send_signal(signal.SIGUSR2)

    def device_bytes(self) -> int:
        """Return the IP bytes the device's interface has sent and received (Ethernet headers taken off)."""
        total = 0
        for way in ("tx", "rx"):
            frames, octets = (
                int(self._read(f"/sys/class/net/d0/statistics/{way}_{unit}")) for unit in ("packets", "bytes")
            )
            total += octets - 14 * frames
        return total

    def _read(self, path: str) -> str:
        return subprocess.check_output(self.inside(self.device, ["cat", path]), text=True)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


@contextlib.contextmanager
def slow_link(link: Link) -> Iterator[Lab]:
    """Make the namespaces and the link; take them away at the end."""
    prefix = f"gsm{secrets.token_hex(3)}"
    names = [f"{prefix}-{host}" for host in ("dev", "srv", "link")]
    emulator: subprocess.Popen[str] | None = None
    try:
        for name in names:
            _ip("netns", "add", name)
            _ip("-n", name, "link", "set", "lo", "up")
            _no_ipv6(name)
        _connect(names[0], "d0", f"{DEVICE_ADDRESS}/24", names[2], "a0")
        _connect(names[1], "s0", f"{SERVER_ADDRESS}/24", names[2], "b0")
        emulator = subprocess.Popen(
            ["ip", "netns", "exec", names[2], sys.executable, "-m", "tests.lab.link_emulator", "a0", "b0",
             "--rate", str(link.rate_up), "--rate-back", str(link.rate_down), "--delay", str(link.delay_ms),
             "--jitter", str(link.jitter_ms), "--loss", str(link.loss_percent), "--seed", str(link.seed)],
            stdout=subprocess.PIPE, text=True, cwd=REPOSITORY,
        )  # fmt: skip
        assert emulator.stdout is not None
        assert emulator.stdout.readline().strip() == "ready", "the link emulator did not start"
        yield Lab(prefix, emulator)
    finally:
        if emulator is not None:
            emulator.terminate()
            emulator.communicate(timeout=10)
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def _connect(host: str, port: str, address: str, link: str, far_port: str) -> None:
    _ip("link", "add", port, "netns", host, "type", "veth", "peer", "name", far_port, "netns", link)
    _ip("-n", link, "link", "set", far_port, "up")
    _ip("-n", host, "addr", "add", address, "dev", port)
    _ip("-n", host, "link", "set", port, "up")
    # No super-frames and real checksums: what the interface counts is what a modem would send.
    subprocess.run(
        ["ip", "netns", "exec", host, "ethtool", "-K", port, "tx", "off", "tso", "off", "gso", "off", "gro", "off"],
        check=True, capture_output=True,
    )  # fmt: skip


def _no_ipv6(namespace: str) -> None:
    """Its neighbour discovery would be counted as ours."""
    setting = "/proc/sys/net/ipv6/conf/{}/disable_ipv6"
    script = "".join(f"[ ! -e {setting.format(n)} ] || echo 1 > {setting.format(n)};" for n in ("all", "default"))
    subprocess.run(["ip", "netns", "exec", namespace, "sh", "-c", script], check=True, capture_output=True)


def as_root_of_namespace(command: Sequence[str]) -> list[str]:
    """Return ``command`` so that it may make network namespaces: as it is for root, else in a user namespace."""
    if os.geteuid() == 0:
        return list(command)
    script = 'mount -t tmpfs none /run && exec "$@"'
    return ["unshare", "--user", "--map-root-user", "--mount", "--net", "sh", "-c", script, "sh", *command]
