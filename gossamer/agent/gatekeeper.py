"""Looks at the clock, and at the gates now and then: files at once, tools and the site's command beside the loop.

A thin shell. A look at the gates begins every ``poll_seconds`` and ends when its commands have; its verdict holds
until the next one has ended.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from gossamer.agent import probes
from gossamer.agent.commands import GLANCE_SECONDS, Command, Ended
from gossamer.agent.config import GateSettings
from gossamer.agent.gates import NOT_LOOKED, REFUSE, Readings, Refusal, is_set, one_line, unread, verdict
from gossamer.agent.journal import Log
from gossamer.agent.probes import Roots
from gossamer.agent.windows import NEVER, Window, clock, next_change, open_at
from gossamer.wire.codes import Absence

_MMCLI = ("mmcli", "-m", "any", "-J")
_NMCLI = ("nmcli", "-t", "-f", "GENERAL.METERED", "device", "show")


class Gatekeeper:
    """Of the windows of availability and the gates; both are unset unless the operator says otherwise."""

    def __init__(
        self, settings: GateSettings, windows: tuple[Window, ...], state_dir: Path, log: Log, *,
        roots: Roots | None = None, find: Callable[[str], str | None] = shutil.which,
    ) -> None:  # fmt: skip
        self._settings = settings
        self._windows = windows
        self._disk = state_dir
        self._log = log
        self._roots = Roots() if roots is None else roots
        self._find = find
        self._look_at = 0.0 if is_set(settings) else NEVER
        self._running: dict[str, Command] = {}
        self._ended: dict[str, Ended] = {}
        self._looking = False
        self._link: str | None = None
        self._warned: list[str] = []
        self._verdict: Refusal | None = NOT_LOOKED if is_set(settings) else None
        self._outside: Refusal | None = None
        self._opens_at = NEVER

    @property
    def refusal(self) -> Refusal | None:
        """Why not now: the window, or the verdict of the last look at the gates that has ended; None: nothing."""
        return self._outside or self._verdict

    def turn(self, now: float, wall: float) -> None:
        """Do what is due; never waits. ``now`` is steady, ``wall`` Unix seconds, which may jump."""
        change = next_change(self._windows, wall)
        self._opens_at, self._outside = now + change - wall, None
        if not open_at(self._windows, wall):
            detail = f"outside the windows of availability; the next opens at {clock(change)}"
            self._outside = Refusal(Absence.WINDOW, detail)
        if not self._looking and now >= self._look_at:
            self._begin(now)
        if self._looking:
            self._glance(now)

    def next_deadline(self, now: float) -> float:
        """When :meth:`turn` has something to do."""
        return min(self._opens_at, now + GLANCE_SECONDS if self._looking else self._look_at)

    def close(self) -> None:
        """End the commands that run."""
        for command in self._running.values():
            command.kill()
        self._running.clear()

    def _begin(self, now: float) -> None:
        self._looking, self._look_at = True, now + self._settings.poll_seconds
        self._ended.clear()
        self._link = probes.link_in_use(self._roots)
        end = now + self._settings.command_timeout_seconds
        for name, words in self._commands().items():
            self._running[name] = Command(words, end)

    def _commands(self) -> dict[str, tuple[str, ...]]:
        own = self._settings
        found: dict[str, tuple[str, ...]] = {}
        if own.metered == REFUSE and self._link is not None and self._find(_NMCLI[0]):
            found["nmcli"] = (*_NMCLI, self._link)
        if own.roaming == REFUSE and self._find(_MMCLI[0]):
            found["mmcli"] = _MMCLI
        if own.command:
            found["command"] = tuple(own.command)
        return found

    def _glance(self, now: float) -> None:
        for name, command in list(self._running.items()):
            ended = command.look(now)
            if ended is not None:
                self._ended[name] = ended
                del self._running[name]
        if self._running:
            return
        self._looking = False
        found = self._readings()
        self._verdict = verdict(self._settings, found)
        self._warn(unread(self._settings, found))

    def _warn(self, missing: list[str]) -> None:
        if missing and missing != self._warned:
            what = "stay open" if self._settings.unknown != REFUSE else "are closed"
            self._log(logging.WARNING, f"gates that cannot be read {what}: {', '.join(missing)} (gates.unknown)")
        self._warned = missing

    def _readings(self) -> Readings:
        own, roots = self._settings, self._roots
        mobile = None if self._link is None else probes.is_mobile(roots, self._link)
        return Readings(
            link=self._link,
            metered=self._metered(mobile),
            roaming=self._roaming(mobile),
            battery_percent=probes.battery_percent(roots) if own.battery_percent else None,
            on_power=probes.on_power(roots) if own.charging_required else None,
            temperature_celsius=probes.temperature_celsius(roots) if own.temperature_celsius else None,
            load_percent=probes.load_percent(roots, os.cpu_count() or 1) if own.load_percent else None,
            disk_free_bytes=probes.disk_free_bytes(self._disk) if own.disk_free_bytes else None,
            command=self._said(),
        )

    def _metered(self, mobile: bool | None) -> bool | None:
        """NetworkManager's word where it has one; else a modem's interface is metered and another is not."""
        told = self._ended.get("nmcli")
        said = probes.metered_by_networkmanager(told.printed) if told is not None and told.code == 0 else None
        return mobile if said is None else said

    def _roaming(self, mobile: bool | None) -> bool | None:
        """Where the link in use is no modem's, no modem's network matters."""
        if mobile is False:
            return False
        told = self._ended.get("mmcli")
        return probes.roaming_by_modemmanager(told.printed) if told is not None and told.code == 0 else None

    def _said(self) -> str | None:
        """Empty: the command said yes. A command that cannot be started or takes too long has said nothing."""
        told = self._ended.get("command")
        if told is None or told.code is None:
            return None
        lines = [line for line in map(one_line, told.printed.splitlines()) if line]
        said = lines[0] if lines else f"{Path(self._settings.command[0]).name} ended with code {told.code}"
        return "" if told.code == 0 else one_line(said)
