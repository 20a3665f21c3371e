"""One server and n devices as network namespaces of this machine, each device on a cable of its own to the server.

The devices' interface counters then say, device by device, what a SIM card would have been charged. The cables are
fast: what is measured is bytes, not seconds. Only names with our own random prefix are made and removed. Needs root,
or :func:`tests.lab.namespaces.as_root_of_namespace`.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

SERVER_ADDRESS = "10.79.0.1"
"""On the server's loopback; every device has a route to it."""
MAX_DEVICES = 250
"""A device's number is a byte of its addresses."""
ETHERNET_HEADER_BYTES = 14
STOP_SECONDS = 5.0
"""How long a process may take to end after SIGTERM before it is killed."""


@dataclass(frozen=True)
class Traffic:
    """IP bytes of one device; a frame's Ethernet header is taken off."""

    up: int
    down: int

    def __sub__(self, earlier: Traffic) -> Traffic:
        return Traffic(self.up - earlier.up, self.down - earlier.down)

    @property
    def total(self) -> int:
        """Both ways."""
        return self.up + self.down


def server_port(device: int) -> str:
    """The server's end of a device's cable."""
    return f"d{device}"


def parse_counters(text: str) -> dict[int, Traffic]:
    """Device -> traffic, from ``/proc/net/dev`` of the server: what it received is what the device sent."""
    found = {}
    for line in text.splitlines():
        name, colon, values = line.partition(":")
        name = name.strip()
        if not colon or not name.startswith("d") or not name[1:].isdigit():
            continue
        numbers = [int(value) for value in values.split()]
        received, sent = numbers[:2], numbers[8:10]  # each bytes, packets
        found[int(name[1:])] = Traffic(
            received[0] - ETHERNET_HEADER_BYTES * received[1], sent[0] - ETHERNET_HEADER_BYTES * sent[1]
        )
    return found


@dataclass(frozen=True)
class Hosts:
    """Running namespaces."""

    prefix: str
    devices: int

    @property
    def server(self) -> str:
        """Namespace of the server."""
        return f"{self.prefix}-srv"

    def device(self, index: int) -> str:
        """Namespace of a device."""
        return f"{self.prefix}-d{index}"

    def counters(self) -> dict[int, Traffic]:
        """Device -> IP bytes so far."""
        command = ["ip", "netns", "exec", self.server, "cat", "/proc/net/dev"]
        return parse_counters(subprocess.check_output(command, text=True))

    def total(self) -> Traffic:
        """Both ways of all devices together."""
        found = self.counters().values()
        return Traffic(sum(each.up for each in found), sum(each.down for each in found))

    @contextlib.contextmanager
    def running(
        self, namespace: str, command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
    ) -> Iterator[subprocess.Popen[bytes]]:
        """A process inside a namespace, with all its children, ended with the block."""
        with log.open("ab") as output:
            process = subprocess.Popen(
                ["ip", "netns", "exec", namespace, *command],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
                env={**os.environ, **(environment or {})},
            )  # fmt: skip
        try:
            yield process
        finally:
            stop([process])


def stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """End processes and their children (each leads a session of its own): SIGTERM first, then SIGKILL."""
    for process in processes:
        if process.poll() is None:
            process.terminate()
    for process in processes:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextlib.contextmanager
def hosts(devices: int, *, tcp_timestamps: bool = True) -> Iterator[Hosts]:
    """Make the namespaces and cables; take them away at the end, whatever the end is.

    ``tcp_timestamps``: the sysctl of that name; without it a TCP segment is 12 bytes shorter.
    """
    if not 1 <= devices <= MAX_DEVICES:
        raise ValueError(f"devices must be 1 to {MAX_DEVICES}, got {devices}")
    made = Hosts(f"gsf{secrets.token_hex(3)}", devices)
    names = [made.server, *(made.device(index) for index in range(devices))]
    try:
        for name in names:
            _ip("netns", "add", name)
            _ip("-n", name, "link", "set", "lo", "up")
            _no_ipv6(name)
            _set(name, "net/ipv4/tcp_timestamps", int(tcp_timestamps))
        _ip("-n", made.server, "addr", "add", f"{SERVER_ADDRESS}/32", "dev", "lo")
        for index in range(devices):
            _connect(made, index)
        yield made
    finally:
        for name in names:
            _end_all(name)
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def _end_all(namespace: str) -> None:
    """Kill what is left in a namespace of ours: Flower's children lead sessions of their own."""
    found = subprocess.run(["ip", "netns", "pids", namespace], capture_output=True, text=True, check=False)
    for process in found.stdout.split():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(process), signal.SIGKILL)


def _connect(made: Hosts, index: int) -> None:
    device, port = made.device(index), server_port(index)
    ends = ((device, "wan", 2), (made.server, port, 1))
    _ip("link", "add", "wan", "address", _mac(index, 2), "netns", device,
        "type", "veth", "peer", "name", port, "address", _mac(index, 1), "netns", made.server)  # fmt: skip
    for namespace, name, end in ends:
        _ip("-n", namespace, "addr", "add", f"{_address(index, end)}/24", "dev", name)
        _ip("-n", namespace, "link", "set", name, "up")
        # Neighbours are told, not asked for: ARP is not IP, and would be counted with it.
        _ip("-n", namespace, "neigh", "replace", _address(index, 3 - end), "lladdr", _mac(index, 3 - end),
            "dev", name, "nud", "permanent")  # fmt: skip
        # No super-frames and real checksums: what the interface counts is what a modem would send.
        _run("ip", "netns", "exec", namespace, "ethtool", "-K", name,
             "tx", "off", "tso", "off", "gso", "off", "gro", "off")  # fmt: skip
    _ip("-n", device, "route", "add", "default", "via", _address(index, 1))


def _address(index: int, end: int) -> str:
    return f"10.79.{index + 1}.{end}"


def _mac(index: int, end: int) -> str:
    return f"02:00:00:00:{index:02x}:{end:02x}"


def _no_ipv6(namespace: str) -> None:
    """Its neighbour discovery would be counted as ours."""
    setting = "/proc/sys/net/ipv6/conf/{}/disable_ipv6"
    script = "".join(f"[ ! -e {setting.format(n)} ] || echo 1 > {setting.format(n)};" for n in ("all", "default"))
    _run("ip", "netns", "exec", namespace, "sh", "-c", script)


def _set(namespace: str, setting: str, value: int) -> None:
    _run("ip", "netns", "exec", namespace, "sh", "-c", f"echo {value} > /proc/sys/{setting}")


def _ip(*words: str) -> None:
    _run("ip", *words)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()} (network namespaces need root)")
