"""A question and an answer with the server over the device's own topics: the only proof that both are allowed.

An MQTT 3.1.1 broker acknowledges a message that its access list forbids, and drops it. So the doctor asks the bridge
how the upload of an object stands that nobody has, which changes nothing there: it answers that it does not know it, or
that it does not know the device. A running agent hears the answer too, and ignores it: the object is none of its own.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from gossamer.doctor.broker import Heard, pump
from gossamer.doctor.clock import Evidence
from gossamer.doctor.finding import Finding, fail, ok, skip, warn
from gossamer.errors import GossamerError
from gossamer.mqtt import MqttLink
from gossamer.wire.limits import ID_BYTES
from gossamer.wire.manifest import Manifest, verify_manifest
from gossamer.wire.messages import Query, Reason, Round, State, Status, parse
from gossamer.wire.topics import Topics

TOPICS = "broker topics"
LONGEST_DEADLINE_SECONDS = 400 * 86_400
"""A round's deadline is less than this ahead of its opening, so an honest manifest tells that the year is right."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What came of it: the code of the server's answer and the seconds it took (None: nothing came), whether the
    server says that it is there (None: it says nothing), and the retained manifest as it came.
    """

    code: int | None
    seconds: float
    server_up: bool | None
    manifest: bytes | None


def converse(link: MqttLink, heard: Heard, topics: Topics, device: str) -> Asked:
    """Ask, and wait for the answer as long as for a connection: that setting knows how slow the link is."""
    own, shared = topics.device_topic("a", device), [topics.shared_topic(kind) for kind in "mh"]
    link.subscribe(own, *shared)
    pump(link, lambda: bool(heard.of(shared[1])), 1.0)  # the retained ones come at once
    name = os.urandom(ID_BYTES)
    begun = time.monotonic()
    link.publish(topics.device_topic("u", device), Query(name).serialize())
    pump(link, lambda: _answer(heard.of(own), name) is not None, link.settings.connect_timeout_seconds)
    took = time.monotonic() - begun
    manifests, states = heard.of(shared[0]), heard.of(shared[1])
    return Asked(_answer(heard.of(own), name), took, _up(states), manifests[-1] if manifests else None)


def judge(asked: Asked, topics: Topics, device: str) -> Finding:
    """Turn it into an answer. Pure."""
    if asked.code in (Reason.REVOKED, Reason.UNKNOWN_DEVICE):
        what = "has revoked this device" if asked.code == Reason.REVOKED else "does not know this device"
        mend = f"on the server: gossamer fleet enroll {device} ..., and carry the file here"
        return fail(TOPICS, f"the server {what}", mend)
    if asked.code is not None:
        return ok(TOPICS, f"question and answer with the server in {asked.seconds:.2f} s")
    if not asked.server_up:
        said = "says that it is away" if asked.server_up is False else "has left no sign of itself"
        mend = "start gossamer serve there; what may be sent and heard could not be tried without it"
        return warn(TOPICS, f"no answer, and the server {said}", mend)
    up, down = topics.device_topic("u", device), topics.device_topic("a", device)
    mend = "let the broker's access list allow it (mosquitto/acl of the enrolment, then systemctl reload mosquitto)"
    return fail(TOPICS, f"no answer though the server is there: writing {up} or reading {down} is not allowed", mend)


def manifest(asked: Asked, fleet: str, fleet_key: bytes, index: int) -> Iterator[Finding]:
    """Whether the fleet's manifest is there and signed by the key this device trusts. Pure."""
    name = "fleet key"
    if asked.manifest is None:
        yield skip(name, "no manifest on the broker: the fleet has no round yet, or it may not be read")
        return
    try:
        found = opened(asked.manifest, fleet, fleet_key)
    except GossamerError as error:
        mend = "the device was enrolled in another fleet, or the fleet's key was made anew: enrol it again"
        yield fail(name, f"the manifest is not signed by fleet_public_key: {error}", mend)
        return
    state = found.state.name.lower()
    yield ok(name, f"round {found.round} of job {found.job} ({state}) is signed by the key this device trusts")
    if index >= found.participation.devices:
        yield skip("cohort", f"index {index} is newer than this cycle's cohorts; it takes part from the next one on")
    elif state == "open":
        mine = found.participation.is_member(found.round, index)
        yield ok("cohort", f"round {found.round} is {'its turn' if mine else 'not its turn'}")


def opened(data: bytes, fleet: str, fleet_key: bytes) -> Manifest:
    """The manifest in a ROUND. Raises :class:`gossamer.errors.PeerError`."""
    message = parse(data)
    cose = message.cose if isinstance(message, Round) else b""
    return verify_manifest(Ed25519PublicKey.from_public_bytes(fleet_key), cose, fleet)


def evidence(asked: Asked, fleet: str, fleet_key: bytes) -> list[Evidence]:
    """What a signed manifest says about the time."""
    if asked.manifest is None:
        return []
    try:
        deadline = opened(asked.manifest, fleet, fleet_key).deadline
    except GossamerError:
        return []
    return [Evidence("the signed manifest", deadline - LONGEST_DEADLINE_SECONDS)]


def _answer(payloads: list[bytes], name: bytes) -> int | None:
    for payload in payloads:
        try:
            message = parse(payload)
        except GossamerError:
            continue
        if isinstance(message, Status) and message.object_id == name:
            return int(message.code)
    return None


def _up(payloads: list[bytes]) -> bool | None:
    for payload in reversed(payloads):
        try:
            message = parse(payload)
        except GossamerError:
            continue
        if isinstance(message, State):
            return bool(message.up)
    return None
