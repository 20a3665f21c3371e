"""Which profile fits this machine, from what the kernel says of it; and what link it seems to be on.

Reads ``/proc/device-tree/model``, ``/proc/cpuinfo``, ``/proc/meminfo``, ``/proc/net/route`` and ``/sys/class/net``. A
test hands over another root.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gossamer.firmware_profiles.profiles import DeviceProfile

GENERIC = {"x86-64": "generic-x86", "armv7": "generic-armv7"}
_ARCHITECTURE_OF_MACHINE = {
    "x86_64": "x86-64", "amd64": "x86-64", "aarch64": "aarch64", "arm64": "aarch64", "armv7l": "armv7",
    "armv8l": "armv7",
}  # fmt: skip
_LINK_OF_PREFIX = (
    ("wwan", "lte-m"), ("ppp", "gprs"), ("wwp", "lte-m"), ("wl", "wifi"), ("eth", "ethernet"), ("en", "ethernet"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Machine:
    """What was read; texts are empty and numbers 0 where the kernel does not say."""

    model: str
    architecture: str
    cpu: str
    cores: int
    memory_mib: int
    interface: str


@dataclass(frozen=True, slots=True)
class Detected:
    """A device profile (None: none fits), a link profile's name (empty: unknown), and why."""

    device: DeviceProfile | None
    link: str
    why: str


def read_machine(root: Path = Path("/"), machine: str = "") -> Machine:
    """Read this machine; ``machine`` in the place of ``uname -m``."""
    info = _text(root / "proc/cpuinfo")
    fields = [line.partition(":") for line in info.splitlines()]
    cpu = next((value.strip() for key, _, value in fields if key.strip() in ("model name", "Hardware")), "")
    cores = sum(key.strip() == "processor" for key, _, _ in fields)
    memory = next((line.split()[1] for line in _text(root / "proc/meminfo").splitlines() if "MemTotal" in line), "0")
    name = machine or platform.machine()
    return Machine(
        _text(root / "proc/device-tree/model").strip("\0 \n"),
        _ARCHITECTURE_OF_MACHINE.get(name, name),
        cpu,
        cores or os.cpu_count() or 1,
        int(memory) // 1024,
        _interface(root),
    )


def detect(machine: Machine, profiles: Sequence[DeviceProfile]) -> Detected:
    """The profile whose text the device tree's model begins with, the longest such; else the architecture's own."""
    link = next((name for prefix, name in _LINK_OF_PREFIX if machine.interface.startswith(prefix)), "")
    matching = [
        (len(text), profile) for profile in profiles for text in profile.matches if machine.model.startswith(text)
    ]
    if matching:
        found = max(matching, key=lambda each: each[0])[1]
        return Detected(found, link, f"/proc/device-tree/model says {machine.model!r}")
    generic = GENERIC.get(machine.architecture, "")
    for profile in profiles:
        if profile.name == generic:
            return Detected(profile, link, f"no device tree names a board known here; it is {machine.architecture}")
    what = f"model {machine.model!r}" if machine.model else f"architecture {machine.architecture}"
    return Detected(None, link, f"no profile fits {what}: write one of your own, as docs/planning.md shows")


def _interface(root: Path) -> str:
    """The interface of the default route, or empty."""
    for line in _text(root / "proc/net/route").splitlines()[1:]:
        words = line.split()
        if len(words) > 1 and words[1] == "00000000":
            return words[0]
    return ""


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
