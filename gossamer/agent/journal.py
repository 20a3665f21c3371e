"""Talking to the operator and to systemd: lines on stderr, and sd_notify(3) without a dependency."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
import time
from collections.abc import Callable, Mapping

Log = Callable[[int, str], None]

#: syslog(3) priorities, which journald reads from the head of a line.
_PRIORITIES = {logging.ERROR: 3, logging.WARNING: 4, logging.INFO: 6, logging.DEBUG: 7}


def make_log(environment: Mapping[str, str] = os.environ) -> Log:
    """A function that writes one line per event: for journald with a priority, otherwise with the time."""
    journald = "JOURNAL_STREAM" in environment

    def log(level: int, text: str) -> None:
        line = " ".join(text.split("\n"))
        if journald:
            sys.stderr.write(f"<{_PRIORITIES.get(level, 6)}>{line}\n")
        else:
            clock = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            sys.stderr.write(f"{clock} {logging.getLevelName(level).lower()}: {line}\n")
        sys.stderr.flush()

    return log


class Systemd:
    """The service manager, if there is one (NOTIFY_SOCKET); otherwise every call does nothing."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        microseconds = int(environment.get("WATCHDOG_USEC", "0") or 0)
        self.watchdog_seconds = microseconds / 2e6 if self._address else 0.0
        """How often :meth:`alive` wants to be called; 0: never."""
        self._status = ""

    def ready(self) -> None:
        """The agent is up (the link need not be: being offline is normal)."""
        self._send("READY=1")

    def alive(self) -> None:
        """Feed the watchdog."""
        self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """The agent is about to end."""
        self._send("STOPPING=1")

    def status(self, text: str) -> None:
        """What ``systemctl status`` shows."""
        if text != self._status:
            self._status = text
            self._send(f"STATUS={text}")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto(message.encode(), address)
