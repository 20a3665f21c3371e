"""The page's metrics: those of jobs (:mod:`gossamer.aggregator.exposition`), and those of devices and bridge. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import gossamer
from gossamer.aggregator.exposition import COUNTER, GAUGE, Found, families_text, metrics_text
from gossamer.aggregator.status import JobStatus
from gossamer.dashboard import views
from gossamer.dashboard.device_rows import STANDINGS, DeviceRow
from gossamer.errors import ConfigError
from gossamer.mqtt.account import ByteAccount

FAMILIES: dict[str, tuple[str, str]] = {
    "gossamer_build_info": (GAUGE, "1, with the version of the server as a label."),
    "gossamer_devices": (GAUGE, "Devices by state: enrolled or revoked."),
    "gossamer_devices_online": (GAUGE, "Devices that are connected, as far as the bridge has heard."),
    "gossamer_devices_standing": (GAUGE, "Devices by what became of them in the open round of the current job."),
    "gossamer_devices_absent": (GAUGE, "Devices that said why they stay out of the open round, by reason."),
    "gossamer_devices_behind": (GAUGE, "Enrolled devices that were heard and do not hold the newest model."),
    "gossamer_last_contact_timestamp_seconds": (GAUGE, "When any device was heard last, Unix seconds."),
    "gossamer_ledger_devices": (GAUGE, "Devices that tell their byte account of this month."),
    "gossamer_ledger_spent_bytes": (GAUGE, "IP bytes of this month, summed over those devices."),
    "gossamer_ledger_budget_bytes": (GAUGE, "Monthly budgets, summed over the devices that have one."),
    "gossamer_ledger_budgets_spent": (GAUGE, "Devices whose budget of the month is spent."),
    "gossamer_bridge_ip_bytes_total": (COUNTER, "IP bytes between bridge and broker since the start."),
}
"""As `gossamer.aggregator.exposition.FAMILIES`."""


def page_metrics(
    statuses: Sequence[JobStatus], refused: Mapping[str, int], rows: Sequence[DeviceRow], server: ByteAccount | None,
    now: float,
) -> str:  # fmt: skip
    """Return the text at ``now``, Unix seconds; without the accountant the epsilon of private jobs is left out."""
    try:
        told = metrics_text(statuses, refused)
    except ConfigError:
        told = metrics_text([without_privacy(status) for status in statuses], refused)
    found: Found = {name: [] for name in FAMILIES}
    for name, labels, value in (*of_devices(rows, now), *of_bridge(server)):
        found[name].append((labels, value))
    found["gossamer_build_info"].append(({"version": gossamer.__version__}, 1))
    return told + families_text(FAMILIES, found)


def without_privacy(status: JobStatus) -> JobStatus:
    """The same job, its privacy not mentioned."""
    return replace(status, settings=replace(status.settings, privacy=None))


def of_devices(rows: Sequence[DeviceRow], now: float) -> Iterator[tuple[str, dict[str, str], float]]:
    """Yield family, labels and value."""
    enrolled = [row for row in rows if row.enrolled]
    yield "gossamer_devices", {"state": "enrolled"}, len(enrolled)
    yield "gossamer_devices", {"state": "revoked"}, len(rows) - len(enrolled)
    yield "gossamer_devices_online", {}, sum(1 for row in enrolled if row.online)
    standings = Counter(row.standing for row in rows)
    for standing in STANDINGS:
        yield "gossamer_devices_standing", {"standing": standing}, standings[standing]
    reasons = Counter(row.reason for row in rows if row.standing == "absent")
    for reason, count in sorted(reasons.items()):
        yield "gossamer_devices_absent", {"reason": reason}, count
    yield "gossamer_devices_behind", {}, sum(1 for row in enrolled if row.lag)
    heard = max((row.last_contact for row in rows), default=0.0)
    if heard:
        yield "gossamer_last_contact_timestamp_seconds", {}, heard
    ledgers = views.ledgers_view(rows, now)
    yield "gossamer_ledger_devices", {}, ledgers["telling"]
    yield "gossamer_ledger_spent_bytes", {}, ledgers["spent_bytes"]
    yield "gossamer_ledger_budget_bytes", {}, ledgers["budget_bytes"]
    yield "gossamer_ledger_budgets_spent", {}, ledgers["spent_up"]


def of_bridge(server: ByteAccount | None) -> Iterator[tuple[str, dict[str, str], float]]:
    """Yield what the bridge measured on its link, where it runs in this process."""
    if server is None:
        return
    for way, causes in (("up", server.up), ("down", server.down)):
        for cause, count in causes.items():
            yield "gossamer_bridge_ip_bytes_total", {"way": way, "cause": cause}, count
