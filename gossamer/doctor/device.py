"""All checks of a device, in the order in which one depends on the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from gossamer.agent.config import AgentSettings, load
from gossamer.doctor import broker, conversation, files, limits, machine, runtime
from gossamer.doctor.clock import Evidence, clock, is_synchronised
from gossamer.doctor.finding import Finding, Level, fail, ok, skip
from gossamer.errors import ConfigError, GossamerError

UNIT = "gossamer-agent"


def examine(config: Path, environment: Mapping[str, str], now: float, *, train: bool = False) -> Iterator[Finding]:
    """Look at the device of a configuration file. ``train``: let the trainer train for an epoch, too."""
    yield files.secret_mode("settings mode", config)
    try:
        settings = load(config, environment)
    except ConfigError as error:
        yield fail("settings", str(error), "correct the file; gossamer config agent shows every setting")
        return
    yield ok("settings", f"device {settings.device_id} of fleet {settings.fleet}, index {settings.device_index}")
    yield from keys(settings)
    yield from files.disk("disk", settings.state_dir)
    yield from store(settings, now)
    yield limits.gates(settings, now)
    yield runtime.packages(runtime.AGENT_PACKAGES)
    yield from runtime.trainer(settings, train=train)
    yield machine.way_out(settings.broker.host, settings.broker.port)
    yield machine.modem()
    yield machine.unit(UNIT)
    evidence: list[Evidence] = []
    yield from _broker(settings, now, evidence)
    yield from clock(now, is_synchronised(), evidence)


def keys(settings: AgentSettings) -> Iterator[Finding]:
    """Whether the device's key can be used, and its fingerprint, to compare with `gossamer fleet show`."""
    from gossamer.agent.service import device_key
    from gossamer.fleet.keys import fingerprint, public_raw

    if settings.key_file is not None:
        yield files.secret_mode("key mode", settings.key_file)
    try:
        public = public_raw(device_key(settings).public_key())
    except ConfigError as error:
        yield fail("key", str(error), "enrol the device again, and carry the new file here")
        return
    yield ok("key", f"Ed25519, fingerprint {fingerprint(public)}")


def store(settings: AgentSettings, now: float) -> Iterator[Finding]:
    """Whether the agent's store can be read, and what its ledger says of the budget."""
    from gossamer.agent.store import FILE_NAME, read_ledger

    path = settings.state_dir / FILE_NAME
    if not path.exists():
        yield skip("store", f"no {path} yet: the agent makes it at its first start")
        return
    try:
        ledger = read_ledger(settings.state_dir)
    except GossamerError as error:
        mend = f"move {path} away: the agent fetches the model anew, and only what had not been sent is lost"
        yield fail("store", str(error), mend)
        return
    rounds = ledger.counters.get("rounds_counted", 0)
    yield ok("store", f"{path} reads well; {rounds} rounds counted")
    yield limits.budget(settings, ledger, now)


def _broker(settings: AgentSettings, now: float, evidence: list[Evidence]) -> Iterator[Finding]:
    mqtt = settings.mqtt()
    for found in broker.reach(mqtt, now):
        yield found
        if found.level is Level.FAIL:
            return
    heard = broker.Heard()
    found, link = broker.log_in(mqtt, heard)
    yield found
    if link is None:
        return
    topics = settings.wire_topics()
    try:
        asked = conversation.converse(link, heard, topics, settings.device_id)
    finally:
        link.disconnect()
    yield conversation.judge(asked, topics, settings.device_id)
    key = bytes.fromhex(settings.fleet_public_key)
    yield from conversation.manifest(asked, settings.fleet, key, settings.device_index)
    evidence += conversation.evidence(asked, settings.fleet, key)
    yield broker.largest(mqtt, settings.chunk_bytes, "chunk_bytes")

