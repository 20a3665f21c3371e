"""Checks of the machine around the agent: the way out, the modem, the systemd unit."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gossamer.doctor.finding import Finding, fail, ok, skip, warn

LEAST_MTU = 576
"""Every IPv4 host takes this (RFC 791); less than it is a wrong setting."""
WEAK_SIGNAL_PERCENT = 20
COMMAND_SECONDS = 5.0

Run = Callable[[Sequence[str]], str | None]
"""Runs a command; its standard output, or None where it is missing, fails or takes too long."""


def run_command(words: Sequence[str]) -> str | None:
    """As :data:`Run` says, for real."""
    if shutil.which(words[0]) is None:
        return None
    try:
        ended = subprocess.run(words, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False)  # noqa: S603 - fixed words
    except (OSError, subprocess.TimeoutExpired):
        return None
    return ended.stdout if ended.returncode == 0 else None


def way_out(host: str, port: int, sys_net: Path = Path("/sys/class/net")) -> Finding:
    """The interface by which the broker is reached, and its MTU. Nothing is sent."""
    try:
        local = _local_address(host, port)
        name = next((name for name in _interfaces(sys_net) if local in _addresses(name)), None)
    except OSError as error:
        mend = "bring the link up (nmcli, mmcli, ip link); ip route says where packets go"
        return fail("link", f"no route to {host}: {error.strerror or error}", mend)
    if name is None:
        return skip("link", f"leaves from {local}; its interface cannot be told")
    return interface(name, local, sys_net)


def interface(name: str, local: str, sys_net: Path) -> Finding:
    """Judge an interface by what /sys says of it."""
    mtu = _number(sys_net / name / "mtu")
    said = f"by {name} from {local}, MTU {mtu or 'unknown'}"
    if mtu and mtu < LEAST_MTU:
        return warn("link", said, f"ip link set {name} mtu 1400: packets that small cost more headers than data")
    return ok("link", said)


def modem(run: Run = run_command) -> Finding:
    """What ModemManager says of the first modem."""
    listed = _json(run(("mmcli", "-L", "-J")))
    if listed is None:
        return skip("modem", "no ModemManager here")
    found = listed.get("modem-list") or []
    if not found:
        return skip("modem", "ModemManager sees no modem")
    told = _json(run(("mmcli", "-m", str(found[0]), "-J")))
    return judge_modem(told.get("modem", {})) if told else skip("modem", "ModemManager does not answer")


def judge_modem(told: Mapping[str, Any]) -> Finding:
    """Turn ``mmcli -m N -J`` into an answer. Pure."""
    generic, network = told.get("generic", {}), told.get("3gpp", {})
    state = str(generic.get("state", "unknown"))
    signal = str(generic.get("signal-quality", {}).get("value", "")).strip()
    technology = "/".join(generic.get("access-technologies") or []) or "unknown technology"
    said = f"{state}, {technology}, signal {signal or '?'} %, {network.get('operator-name', 'no operator')}"
    if state in ("failed", "locked"):
        reason = str(generic.get("state-failed-reason", state))
        return fail("modem", f"{state}: {reason}", "look at the SIM: inserted, unlocked, paid for (mmcli -i 0)")
    if state != "connected":
        return fail("modem", said, "connect it: nmcli connection up, or mmcli -m 0 --simple-connect=apn=...")
    if network.get("registration-state") == "roaming":
        return warn("modem", f"{said}, roaming", "bytes may cost more here; gates.roaming decides whether to pay")
    if signal.isdigit() and int(signal) < WEAK_SIGNAL_PERCENT:
        return warn("modem", said, "move the antenna; every packet that is lost is paid for twice")
    return ok("modem", said)


def unit(name: str, run: Run = run_command, running: Path = Path("/run/systemd/system")) -> Finding:
    """What systemd says of a unit."""
    if not running.is_dir():
        return skip("service", "systemd does not run here")
    keys = ("LoadState", "ActiveState", "SubState", "NRestarts", "Result", "UnitFileState")
    told = run(("systemctl", "show", name, f"--property={','.join(keys)}"))
    if told is None:
        return skip("service", "systemctl does not answer")
    return judge_unit(name, dict(line.partition("=")[::2] for line in told.splitlines() if "=" in line))


def judge_unit(name: str, told: Mapping[str, str]) -> Finding:
    """Turn ``systemctl show`` into an answer. Pure."""
    state, restarts = told.get("ActiveState", "unknown"), told.get("NRestarts", "0")
    if told.get("LoadState") == "not-found":
        return skip("service", f"no unit {name}; it is run in another way, or not at all")
    said = f"{name} is {state} ({told.get('SubState', '')}), restarted {restarts} times"
    if state == "failed":
        mend = f"journalctl -u {name} -n 50, then systemctl restart {name}"
        return fail("service", f"{said}: {told.get('Result', '')}", mend)
    if state != "active":
        return fail("service", said, f"systemctl enable --now {name}")
    if told.get("UnitFileState") == "disabled":
        return warn("service", f"{said}, and not started at boot", f"systemctl enable {name}")
    if restarts.isdigit() and int(restarts) > 0:
        return warn("service", said, f"journalctl -u {name} says why it ended")
    return ok("service", said)


def _local_address(host: str, port: int) -> str:
    family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind) as probe:
        probe.connect(address)  # UDP: this only looks the route up
        return str(probe.getsockname()[0])


def _interfaces(sys_net: Path) -> list[str]:
    return sorted(each.name for each in sys_net.iterdir())


def _addresses(name: str) -> set[str]:
    """Addresses of an interface: SIOCGIFADDR for IPv4, /proc for IPv6."""
    import fcntl
    import ipaddress
    import struct

    found = set()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            answer = fcntl.ioctl(probe, 0x8915, struct.pack("256s", name.encode()[:15]))
            found.add(socket.inet_ntoa(answer[20:24]))
        except OSError:
            pass  # an interface without an IPv4 address
    six = Path("/proc/net/if_inet6")
    for line in six.read_text().splitlines() if six.exists() else ():
        words = line.split()
        if words[-1] == name:
            found.add(str(ipaddress.IPv6Address(bytes.fromhex(words[0]))))
    if name == "lo":
        found |= {"127.0.0.1", "::1"}
    return found


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _json(text: str | None) -> dict[str, Any] | None:
    try:
        parsed = json.loads(text or "")
    except ValueError:
        return None
    return parsed if isinstance(parsed, dict) else None
