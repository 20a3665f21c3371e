"""May this device take part now? What was read of it and of its link, held against the settings. Pure.

A gate decides about what begins. What has begun goes on: a download, a fit, an upload. A reading that could not be
had (None) leaves its gate open or closes it, as ``unknown`` says.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gossamer.wire.codes import Absence
from gossamer.wire.items import is_plain
from gossamer.wire.limits import MAX_DETAIL_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gossamer.agent.config import GateSettings

ALLOW, REFUSE = "allow", "refuse"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why not now; ``detail`` is one line for people. ``quiet``: too early to say so."""

    reason: Absence
    detail: str
    quiet: bool = False


@dataclass(frozen=True, slots=True)
class Readings:
    """The state of device and link; None: it could not be read.

    ``link``: the interface of the default route. ``on_power``: fed from outside. ``load_percent``: the load of the
    last minute over the processors there are. ``command``: what the site's own command said, empty for yes.
    """

    link: str | None = None
    metered: bool | None = None
    roaming: bool | None = None
    battery_percent: int | None = None
    on_power: bool | None = None
    temperature_celsius: float | None = None
    load_percent: int | None = None
    disk_free_bytes: int | None = None
    command: str | None = None


@dataclass(frozen=True, slots=True)
class Gate:
    """One gate that is set: what it would refuse with. ``closed`` None: what it needs was not to be had."""

    reason: Absence
    closed: bool | None
    detail: str
    wanted: str


NOT_LOOKED = Refusal(Absence.OTHER, "the gates have not been looked at yet", quiet=True)
"""Until the first look at the gates has ended."""


def is_set(settings: GateSettings) -> bool:
    """Whether any gate is set at all."""
    return any(True for _ in gates(settings, Readings()))


def verdict(settings: GateSettings, found: Readings) -> Refusal | None:
    """The first gate that says no, or None."""
    for gate in gates(settings, found):
        if gate.closed:
            return Refusal(gate.reason, one_line(gate.detail))
        if gate.closed is None and settings.unknown == REFUSE:
            return Refusal(gate.reason, one_line(f"{gate.reason.label} cannot be read; {gate.wanted}"))
    return None


def unread(settings: GateSettings, found: Readings) -> list[str]:
    """The gates that are set and have nothing to go by, for one warning in the log."""
    return [gate.reason.label for gate in gates(settings, found) if gate.closed is None]


def gates(settings: GateSettings, found: Readings) -> Iterator[Gate]:
    """The gates that are set, in the order in which they are asked."""
    yield from _of_link(settings, found)
    yield from _of_power(settings, found)
    if settings.temperature_celsius:
        limit, now = settings.temperature_celsius, found.temperature_celsius
        wanted = f"wanted {limit} or less"
        yield Gate(Absence.TEMPERATURE, _above(now, limit), f"temperature {now or 0:.0f} C, {wanted}", wanted)
    if settings.load_percent:
        most, load = settings.load_percent, found.load_percent
        wanted = f"wanted {most} % or less"
        yield Gate(Absence.LOAD, _above(load, most), f"load {load} %, {wanted}", wanted)
    if settings.disk_free_bytes:
        least, free = settings.disk_free_bytes, found.disk_free_bytes
        wanted = f"wanted {megabytes(least)}"
        yield Gate(Absence.DISK, _above(least, free), f"disk {megabytes(free or 0)} free, {wanted}", wanted)
    if settings.command:
        said = found.command
        yield Gate(Absence.COMMAND, None if said is None else said != "", said or "", "wanted its exit code 0")


def _of_link(settings: GateSettings, found: Readings) -> Iterator[Gate]:
    if settings.metered == REFUSE:
        yield Gate(Absence.METERED, found.metered, f"link {found.link} is metered", "wanted one that is not metered")
    if settings.roaming == REFUSE:
        yield Gate(Absence.ROAMING, found.roaming, f"link {found.link} is roaming", "wanted the home network")


def _of_power(settings: GateSettings, found: Readings) -> Iterator[Gate]:
    if settings.battery_percent:
        least, now = settings.battery_percent, found.battery_percent
        wanted = f"wanted {least} %"
        yield Gate(Absence.BATTERY, _above(least, now), f"battery {now} %, {wanted}", wanted)
    if settings.charging_required:
        closed = None if found.on_power is None else not found.on_power
        yield Gate(Absence.CHARGING, closed, "on battery, wanted external power", "wanted external power")


def _above(value: float | None, limit: float | None) -> bool | None:
    return None if value is None or limit is None else value > limit


def megabytes(count: int) -> str:
    """Bytes for people.

    >>> megabytes(1_930_000), megabytes(14_200), megabytes(999)
    ('1.93 MB', '14.2 kB', '999 B')
    """
    if count >= 999_500:
        return f"{count / 1e6:.2f} MB"
    return f"{count / 1e3:.1f} kB" if count >= 1_000 else f"{count} B"


def one_line(text: str, most: int = MAX_DETAIL_BYTES) -> str:
    """``text`` as an ABSENT can say it: plain, on one line, at most ``most`` bytes of UTF-8.

    >>> one_line("  door\\topen\\n")
    'door open'
    """
    plain = "".join(each if is_plain(each) else " " for each in text)
    return " ".join(plain.split()).encode()[:most].decode(errors="ignore")
