"""The shell around the session machine: one thread, one selector over socket, child's pipes and signals.

Recovery has one form. A full disk in the middle of anything ends the session; after a pause it is built again
from the store, exactly as after a power cut. Every other store error ends the process, with its advice.
"""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import selectors
import signal
import socket
import time
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from gossamer.agent.config import AgentSettings, Script, load, with_script
from gossamer.agent.contact import Contact, MakeLink
from gossamer.agent.journal import Log, Systemd, make_log
from gossamer.agent.ledger import LedgerWriter
from gossamer.agent.progress import Progress
from gossamer.agent.store import AgentStore
from gossamer.errors import ConfigError, DiskFull, GossamerError

#: The loop wakes at least this often: keepalive, watchdog and timeouts need no better clock.
_LONGEST_SLEEP_SECONDS = 5.0
PRIVATE_KEY_BYTES = 32


def run_agent(config: Path, script: Script | None = None) -> int:
    """Run the agent of a configuration file until SIGTERM or SIGINT; return the exit code.

    ``script``: where the trainer is, in the place of what the configuration says.
    """
    log = make_log()
    with contextlib.suppress(OSError, ValueError):  # no stderr to write to
        faulthandler.enable()  # the watchdog ends a hung agent by SIGABRT: the log then says where it hung
    try:
        agent = Agent(with_script(load(config), script), log)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda _number, _frame: agent.stop())
        agent.run()
    except GossamerError as error:
        log(logging.ERROR, str(error))
        return error.exit_code
    return 0


class Agent:
    """One device's agent. Raises :class:`ConfigError` for a key that cannot be used."""

    def __init__(
        self, settings: AgentSettings, log: Log, *, systemd: Systemd | None = None, make_link: MakeLink | None = None
    ) -> None:
        self.settings = settings
        self._make_link = make_link
        self._log = log
        self._key = device_key(settings)
        self._fleet_key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(settings.fleet_public_key))
        self._systemd = Systemd() if systemd is None else systemd
        self._ledger = LedgerWriter()
        self._progress = Progress(settings.broker.connect_timeout_seconds, time.monotonic())
        self._complaint = ""
        self._stopping = False
        # A byte in this pipe wakes the selector: a signal that comes just before select() is not missed.
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._wake_reader.setblocking(False)
        self._wake_writer.setblocking(False)

    def stop(self) -> None:
        """End :meth:`run` soon; may be called from a signal handler or another thread."""
        self._stopping = True
        with contextlib.suppress(OSError):  # full of wake-ups already, or at its end
            self._wake_writer.send(b"\0")

    def run(self) -> None:
        """Serve until :meth:`stop`, once. Raises :class:`GossamerError` for what an operator has to change."""
        with self._wake_reader, self._wake_writer:
            while not self._stopping:
                try:
                    self._serve()
                except DiskFull as error:
                    pause = self.settings.disk_retry_seconds
                    self._log(logging.ERROR, f"{error}; trying again in {pause:g} s")
                    self._systemd.ready()  # it is up, even if the disk was full from the beginning
                    self._systemd.status("disk full")
                    self._sleep(pause)
            self._systemd.stopping()

    def _serve(self) -> None:
        store = AgentStore(self.settings.state_dir, self.settings.fleet, self.settings.device_id)
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(self._wake_reader, selectors.EVENT_READ)
                contact = Contact(
                    self.settings, store, selector, self._log, self._ledger, self._key, self._fleet_key,
                    stop=self._asked, make_link=self._make_link,
                )  # fmt: skip
                self._systemd.ready()
                try:
                    self._loop(contact, selector, store)
                finally:
                    contact.close()
            self._ledger.write(store)
        finally:
            store.close()

    def _loop(self, contact: Contact, selector: selectors.BaseSelector, store: AgentStore) -> None:
        write_at = time.monotonic() + self.settings.ledger_interval_seconds
        while not self._stopping:
            now = time.monotonic()
            contact.turn(now)
            self._feed(contact)
            self._systemd.status(contact.summary)
            if now >= write_at:
                contact.account()
                self._ledger.write(store)
                write_at = now + self.settings.ledger_interval_seconds
            longest = self._systemd.watchdog_seconds or _LONGEST_SLEEP_SECONDS
            wake_at = min(contact.next_deadline(now), write_at, now + longest)
            for key, events in selector.select(max(0.0, wake_at - time.monotonic())):
                if key.fileobj is self._wake_reader:
                    self._wake_reader.recv(64)
                else:
                    contact.ready(key.fd, events)

    def _feed(self, contact: Contact) -> None:
        """Feed the watchdog, unless the session is stuck; then say so, once, and let the watchdog do its work."""
        now = time.monotonic()
        complaint = self._progress.turned(contact.vitals(now), now)
        if not complaint:
            self._alive()
        elif not self._complaint:
            self._log(logging.ERROR, f"{complaint}: the watchdog is not fed until this has changed")
        self._complaint = complaint

    def _asked(self) -> bool:
        """Whether to stop; asked several times a second by what blocks the loop, such as connecting."""
        if self._progress.may_block(time.monotonic()):
            self._alive()
        return self._stopping

    def _alive(self) -> None:
        if self._systemd.watchdog_seconds:
            self._systemd.alive()

    def _sleep(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not self._stopping and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, 0.2))
            self._alive()


def device_key(settings: AgentSettings) -> Ed25519PrivateKey:
    """The device's private key. Raises :class:`ConfigError`."""
    path = settings.key_file
    try:
        if path is None:
            return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(settings.device_key))
        data = path.read_bytes()
        if len(data.strip()) == 2 * PRIVATE_KEY_BYTES:
            return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(data.decode()))
        key = load_pem_private_key(data, password=None)
    except (OSError, ValueError, TypeError) as error:
        where = "device_key: expected 64 hexadecimal digits"
        if path is not None:
            where = f"key_file {path}: expected 64 hexadecimal digits, or an unencrypted Ed25519 key in PEM"
        raise ConfigError(f"{where}: {error}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"key_file {path}: expected an Ed25519 key, got {type(key).__name__}")
    return key
