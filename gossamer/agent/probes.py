"""What can be read of the device and its link without waiting: small files of the kernel, and what tools printed.

Files under /sys vanish (a battery that is pulled) and hold nonsense (a sensor that is asleep answers EAGAIN or
-127000): what cannot be read, or cannot be, counts as not there. Layouts: Documentation/ABI/testing/sysfs-class-power
and sysfs-class-thermal of the Linux kernel; proc(5); netdevice(7) for the types of interface.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

#: A battery's charge, a temperature in degrees Celsius: what lies outside is a fault of the sensor.
_PERCENT = range(101)
_CELSIUS = range(-60, 201)
#: linux/if_arp.h: PPP, and the raw IP of cellular modems.
_MOBILE_TYPES = frozenset({"512", "519"})
_MAINS = ("Mains", "USB", "Wireless")
_FED = frozenset({"Charging", "Full", "Not charging"})
_ROUTE_UP = 1


@dataclass(frozen=True, slots=True)
class Roots:
    """Where the kernel's files are; a test puts a tree of its own there."""

    sys: Path = Path("/sys")
    proc: Path = Path("/proc")


def battery_percent(roots: Roots) -> int | None:
    """Charge of the device's batteries, their mean where there are several; None: none can be read."""
    found = [_number(each / "capacity") for each in _supplies(roots) if _text(each / "type") == "Battery"]
    charges = [value for value in found if value is not None and value in _PERCENT]
    return sum(charges) // len(charges) if charges else None


def on_power(roots: Roots) -> bool | None:
    """Whether the device is fed from outside; None: it has nothing that would tell."""
    mains, batteries = [], []
    for supply in _supplies(roots):
        kind = _text(supply / "type") or ""
        if kind.startswith(_MAINS):
            mains.append(_text(supply / "online"))
        elif kind == "Battery":
            batteries.append(_text(supply / "status"))
    if {"1", "2"} & set(mains) or _FED & set(batteries):
        return True
    return False if "0" in mains or "Discharging" in batteries else None


def temperature_celsius(roots: Roots) -> float | None:
    """The hottest of the thermal zones; None: none can be read."""
    found = [_number(zone / "temp") for zone in _children(roots.sys / "class/thermal", "thermal_zone")]
    degrees = [value / 1000 for value in found if value is not None and value // 1000 in _CELSIUS]
    return max(degrees, default=None)


def load_percent(roots: Roots, processors: int) -> int | None:
    """The load of the last minute, 100 for as many running processes as processors."""
    text = _text(roots.proc / "loadavg")
    try:
        return round(100 * float((text or "").split()[0]) / max(1, processors))
    except (IndexError, ValueError, OverflowError):
        return None


def disk_free_bytes(path: Path) -> int | None:
    """Bytes that a user may still write on the disk of ``path``."""
    try:
        found = os.statvfs(path)
    except OSError:
        return None
    return found.f_bavail * found.f_frsize


def link_in_use(roots: Roots) -> str | None:
    """The interface of the default route with the lowest metric, IPv4 before IPv6; None: there is none."""
    routes = []
    for line in (_text(roots.proc / "net/route") or "").splitlines()[1:]:
        fields = line.split()
        if len(fields) >= 8 and fields[1] == fields[7] == "00000000" and _hex(fields[3]) & _ROUTE_UP:
            routes.append((int(fields[6]) if fields[6].isdigit() else 0, fields[0]))
    for line in (_text(roots.proc / "net/ipv6_route") or "").splitlines():
        fields = line.split()
        up = len(fields) >= 10 and _hex(fields[8]) & _ROUTE_UP
        if up and fields[0] == "0" * 32 and fields[1] == "00" and fields[9] != "lo":
            routes.append((1 << 32 | _hex(fields[5]), fields[9]))
    return min(routes)[1] if routes else None


def is_mobile(roots: Roots, link: str) -> bool | None:
    """Whether an interface is a modem's: by its kind and type; None: there is no such interface."""
    place = roots.sys / "class/net" / link
    kind = _text(place / "type")
    if kind is None:
        return None
    return kind in _MOBILE_TYPES or "DEVTYPE=wwan" in (_text(place / "uevent") or "").splitlines()


def metered_by_networkmanager(printed: str) -> bool | None:
    """What ``nmcli -t -f GENERAL.METERED device show LINK`` says; guesses count, "unknown" does not.

    >>> metered_by_networkmanager("GENERAL.METERED:yes (guessed)\\n")
    True
    """
    word = printed.strip().partition(":")[2].partition(" ")[0]
    return {"yes": True, "no": False}.get(word)


def roaming_by_modemmanager(printed: str) -> bool | None:
    """What ``mmcli -m any -J`` says of the network the modem is registered in; None: in none, or nothing."""
    try:
        state = json.loads(printed)["modem"]["3gpp"]["registration-state"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if not isinstance(state, str):
        return None
    return {"home": False, "roaming": True}.get(state.partition("-")[0])


def _supplies(roots: Roots) -> list[Path]:
    """The supplies of this device, not those of a mouse or pen that is paired with it."""
    return [each for each in _children(roots.sys / "class/power_supply", "") if _text(each / "scope") != "Device"]


def _children(place: Path, prefix: str) -> list[Path]:
    try:
        return sorted(each for each in place.iterdir() if each.name.startswith(prefix))
    except OSError:
        return []


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return None


def _number(path: Path) -> int | None:
    text = _text(path)
    try:
        return int(text) if text is not None else None
    except ValueError:
        return None


def _hex(text: str) -> int:
    try:
        return int(text, 16)
    except ValueError:
        return 0
