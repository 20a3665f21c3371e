"""What the token opens: pause and resume a job, revoke a device. The same functions as the command line's."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gossamer.aggregator.pausing import pause_job, resume_job
from gossamer.aggregator.store import Store, jobs
from gossamer.errors import ConfigError
from gossamer.fleet.enrolment import revoke
from gossamer.fleet.keys import load_key
from gossamer.fleet.server_files import ServerFiles

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Actions:
    """Changes to the fleet of a state directory. Each is logged with where it came from."""

    files: ServerFiles
    store: Store

    def set_job(self, number: int, wanted: str, client: str) -> dict[str, Any]:
        """Pause or resume a job.

        Raises:
            ConfigError: no such job, it is finished, or the fleet's key cannot be read.
        """
        with self.store.read() as db:
            row = jobs.get(db, number)
        if row is None:
            raise ConfigError(f"no job of number {number}")
        change = {"pause": pause_job, "resume": resume_job}[wanted]
        change(self.store, load_key(self.files.key), row.name)
        log.info("job %s: %s, asked for on the page by %s", row.name, wanted, client)
        return {"job": number, "done": wanted}

    def revoke(self, given: Mapping[str, Any], client: str) -> dict[str, Any]:
        """Revoke a device, whose name must be given twice.

        Raises:
            ConfigError: it was not, or there is no such device.
        """
        device = given.get("device")
        if not isinstance(device, str) or not device or given.get("confirm") != device:
            raise ConfigError("expected the device's name twice, as device and as confirm: it cannot be undone here")
        revoke(self.files, device)
        log.warning("device %r revoked, asked for on the page by %s", device, client)
        note = ""
        if self.files.passwords.exists():
            note = "Mosquitto forgets its account on SIGHUP: systemctl reload mosquitto"
        return {"device": device, "done": "revoke", "note": note}
