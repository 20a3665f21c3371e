"""The bridge as a machine: what the link and the clock report goes in, what to publish and acknowledge
comes out. It owns no socket and reads no clock; its store is the server's.

It does *not* handle: the connection and its retries, the order in which actions reach the broker beyond
"acknowledge first", aggregation, or signing (it serves what the engine signed, and holds no private key).
"""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gossamer.aggregator.store import Store, devices, jobs, next_boot, objects, rejections, rounds, uploads
from gossamer.aggregator.store.devices import Device
from gossamer.aggregator.store.objects import StoredObject
from gossamer.broker_bridge import presence
from gossamer.broker_bridge.actions import Ack, Action, Incoming, Publish
from gossamer.broker_bridge.downloads import Downloads
from gossamer.broker_bridge.intake import Intake
from gossamer.broker_bridge.limits import Allowances, Spending
from gossamer.broker_bridge.settings import BridgeSettings
from gossamer.errors import IncompleteMessage, MalformedMessage, Refused, StoreBusy, StoreError
from gossamer.wire.codes import Code, Reason
from gossamer.wire.messages import (
    MANIFEST_ID,
    Absent,
    Birth,
    Chunk,
    Death,
    Get,
    Message,
    Offer,
    Query,
    State,
    Status,
    Unknown,
    parse,
)

log = logging.getLogger(__name__)

#: Answers a second to devices that are not enrolled, all together: enough to tell an operator's test device.
STRANGERS_PER_SECOND = 10.0
#: How often QUOTA is said to one device; saying it to each message would double the flood.
QUOTA_SECONDS = 1.0
#: How often abandoned uploads are looked for.
EXPIRE_EVERY_SECONDS = 3_600.0
#: A failure of ours that no reason of the wire names.
INTERNAL = "internal"
_STRANGERS = "*"


class Bridge:
    """One bridge worker. ``now`` is Unix seconds for the record, ``monotonic`` any steady clock."""

    def __init__(self, store: Store, settings: BridgeSettings) -> None:
        settings.check()
        self.settings = settings
        self._store = store
        with store.write() as db:
            self._boot = next_boot(db, "bridge")
        self._intake = Intake(settings)
        self._downloads = Downloads(settings, self._fetch)
        self._allowances = Allowances(settings.messages_per_second, settings.message_burst)
        self._served = Allowances(settings.messages_per_second, settings.message_burst)
        self._strangers = Allowances(STRANGERS_PER_SECOND, STRANGERS_PER_SECOND)
        self._absences = Allowances(presence.ABSENCES_PER_SECOND, presence.ABSENCES_AT_ONCE)
        self._quota_notices = Allowances(1.0 / QUOTA_SECONDS, 1.0)
        self._manifest: bytes | None = None
        self._expire_at = 0.0
        self.counted = 0
        """Updates this worker has counted since it started."""

    # -- the connection ------------------------------------------------------------------------------------

    def presence(self, *, up: bool) -> Publish:
        """Return the bridge's state as a retained message; the one that says *gone* is also its will."""
        topic = self.settings.topics.shared_topic("h")
        return Publish(topic, State(self._boot, int(up)).serialize(), retain=True)

    def connected(self, monotonic: float) -> list[Publish]:
        """There is a connection (again): say so, publish the manifest anew, push downloads on."""
        self._manifest = None
        manifest: list[Publish] = []
        with contextlib.suppress(StoreBusy):  # the next look at the store finds it
            manifest = self.refresh()
        return [self.presence(up=True), *manifest, *self._downloads.connected(monotonic)]

    def disconnected(self, monotonic: float) -> None:
        """The connection is gone; what was in flight may be lost."""
        self._downloads.disconnected(monotonic)

    def puback(self, tag: tuple[bytes, int], monotonic: float) -> list[Publish]:
        """The broker has a message that was published with this tag."""
        return self._downloads.puback(tag, monotonic)

    # -- time ----------------------------------------------------------------------------------------------

    def refresh(self) -> list[Publish]:
        """Return the manifest, retained, if it is not the one published last."""
        with self._store.read() as db:
            manifest = _current_manifest(db)
        if manifest is None or manifest == self._manifest:
            return []
        self._manifest = manifest
        return [Publish(self.settings.topics.shared_topic("m"), manifest, retain=True)]

    def tick(self, *, now: float, monotonic: float, downloads: bool = True) -> list[Publish]:
        """Time has passed: answer requests that have waited, and forget abandoned uploads.

        Without ``downloads`` the requests go on waiting.
        """
        if monotonic >= self._expire_at:
            self._expire_at = monotonic + EXPIRE_EVERY_SECONDS
            with self._store.write() as db:
                uploads.expire(db, now=now)
        return self._downloads.tick(monotonic) if downloads else []

    def next_deadline(self, monotonic: float) -> float | None:
        """Return when :meth:`tick` wants to be called, or None for whenever."""
        return self._downloads.next_deadline(monotonic)

    # -- messages ------------------------------------------------------------------------------------------

    def messages(self, batch: Sequence[Incoming], *, now: float, monotonic: float) -> list[Action]:
        """Take in messages: one transaction for all of them, then their acknowledgements and answers.

        Whatever a message contains, it is acknowledged: one that stays in the broker's queue would come
        again for ever, in front of all others.

        Raises:
            StoreBusy, StoreError: nothing was changed and nothing may be acknowledged; call again.
        """
        spending = Spending(monotonic)
        try:
            with self._store.write() as db:
                work = _Batch(db, now, spending)
                for incoming in batch:
                    self._one(work, incoming)
                work.write_rejections()
        except BaseException:
            spending.give_back()
            self._intake.forget()
            self._intake.counted = self.counted
            raise
        for device, get in work.gets:
            self._downloads.get(device, get.object_id, get.missing, monotonic)
        self.counted = self._intake.counted
        return [*(Ack(incoming.token) for incoming in batch), *work.replies]

    def _one(self, work: _Batch, incoming: Incoming) -> None:
        parts = self.settings.topics.parse(incoming.topic)
        if parts is None or parts.device is None:
            work.reject(Reason.MALFORMED.label, _STRANGERS, f"topic {incoming.topic[:100]!r}", known=False)
            return
        device = work.device(parts.device)
        try:
            message = parse(incoming.payload)
        except (IncompleteMessage, MalformedMessage) as error:
            work.reject(Reason.MALFORMED.label, parts.device, str(error), known=device is not None)
            return
        if device is None or not device.enrolled:
            self._stranger(work, parts.device, device, message)
        elif not work.spending.take(self._allowances, device.id):
            self._over_quota(work, device, message)
        else:
            self._guarded(work, device, parts.kind, message)

    def _guarded(self, work: _Batch, device: Device, kind: str, message: Message) -> None:
        """Handle one message such that, whatever goes wrong with it, the others are not touched."""
        try:
            with work.db.begin_nested():
                self._handle(work, device, kind, message)
            return
        except Refused as refused:
            work.reject(refused.reason, device.id, refused.detail, known=True)
            name = getattr(message, "object_id", None)
            self._intake.forget(device.id)
            if isinstance(message, (Offer, Chunk)) and name is not None:
                self._intake.drop(work.db, device.id, name)
                self._answer(work, device.id, Status(name, Reason.named(refused.reason)))
            return
        except (StoreBusy, StoreError, OSError):
            raise
        except sa.exc.DBAPIError as error:
            if not isinstance(error, sa.exc.DataError):
                raise  # the store's trouble, not this message's
            problem: Exception = error
        except Exception as error:
            problem = error
        log.error("message of %s could not be handled", device.id, exc_info=problem)
        self._intake.forget(device.id)
        work.reject(INTERNAL, device.id, f"{type(problem).__name__}: {problem}", known=True)

    def _handle(self, work: _Batch, device: Device, kind: str, message: Message) -> None:
        if isinstance(message, Unknown):
            return  # of a later version
        if kind == "s" and isinstance(message, Birth):
            presence.born(work.db, device, message, work.now)
        elif kind == "s" and isinstance(message, Death):
            presence.died(work.db, device, message, work.now)
        elif kind == "u" and isinstance(message, Absent):
            self._absent(work, device, message)
        elif kind == "u" and isinstance(message, Offer):
            replies = self._intake.offer(work.db, device, message, work.now)
            self._replied(work, device, replies)
        elif kind == "u" and isinstance(message, Chunk):
            self._replied(work, device, self._intake.chunk(work.db, device, message, work.now))
        elif kind == "u" and isinstance(message, Query):
            self._replied(work, device, self._intake.query(work.db, device, message, work.now))
        elif kind == "u" and isinstance(message, Get):
            self._get(work, device, message)
        else:
            raise Refused(Reason.MALFORMED.label, f"{type(message).__name__} on a topic of kind {kind}")

    def _replied(self, work: _Batch, device: Device, replies: Sequence[Message]) -> None:
        for reply in replies:
            self._answer(work, device.id, reply)

    def _get(self, work: _Batch, device: Device, get: Get) -> None:
        """An object goes to the downloads; for anything else the manifest says what there is."""
        size = None if get.object_id == MANIFEST_ID else objects.size(work.db, get.object_id)
        if size is None:
            manifest = _current_manifest(work.db)
            if manifest is not None:
                work.reply(self.settings.topics.device_topic("a", device.id), manifest)
            return
        # A request of a few bytes moves an object: it costs what the object does.
        chunks = -(-size // self.settings.chunk_bytes)
        if get.missing and get.missing[-1] < chunks:  # beyond it: all of it is sent
            chunks = len(get.missing)
        if work.spending.take(self._served, device.id, float(chunks)):
            work.gets.append((device.id, get))
        else:
            self._over_quota(work, device, get)

    def _absent(self, work: _Batch, device: Device, message: Absent) -> None:
        if work.spending.take(self._absences, device.id):
            presence.absent(work.db, device, message, work.now)
        else:
            self._over_quota(work, device, message)

    def _stranger(self, work: _Batch, name: str, device: Device | None, message: Message) -> None:
        reason = Reason.UNKNOWN_DEVICE if device is None else Reason.REVOKED
        work.reject(reason.label, name, f"{type(message).__name__} of {name}", known=device is not None)
        if isinstance(message, (Offer, Query)) and work.spending.take(self._strangers, _STRANGERS):
            self._answer(work, name, Status(message.object_id, reason))

    def _over_quota(self, work: _Batch, device: Device, message: Message) -> None:
        work.reject(Code.QUOTA.name.lower(), device.id, type(message).__name__, known=True)
        name = getattr(message, "object_id", None)
        if name is not None and work.spending.take(self._quota_notices, device.id):
            self._answer(work, device.id, Status(name, Code.QUOTA))

    def _answer(self, work: _Batch, device: str, message: Message) -> None:
        work.reply(self.settings.topics.device_topic("a", device), message.serialize())

    def _fetch(self, object_id: bytes) -> StoredObject | None:
        with self._store.read() as db:
            return objects.get(db, object_id)


class _Batch:
    """What the messages of one transaction share, and what they add up to."""

    def __init__(self, db: Connection, now: float, spending: Spending) -> None:
        self.db = db
        self.now = now
        self.spending = spending
        self.replies: list[Publish] = []
        self.gets: list[tuple[str, Get]] = []
        self._devices: dict[str, Device | None] = {}
        self._rejected: Counter[tuple[str, str, bool]] = Counter()
        self._details: dict[tuple[str, str, bool], tuple[str, str]] = {}

    def device(self, name: str) -> Device | None:
        """Return the device, read once."""
        if name not in self._devices:
            self._devices[name] = devices.get(self.db, name)
        return self._devices[name]

    def reply(self, topic: str, payload: bytes) -> None:
        """Publish after the commit; the same answer to several messages is given once."""
        publish = Publish(topic, payload)
        if publish not in self.replies[-4:]:
            self.replies.append(publish)

    def reject(self, reason: str, device: str, detail: str, *, known: bool) -> None:
        """Count a refusal."""
        key = (reason, device if known else _STRANGERS, known)
        self._rejected[key] += 1
        self._details[key] = (device, detail)

    def write_rejections(self) -> None:
        """Enter the counts, each pair of reason and device once."""
        for (reason, owner, known), count in self._rejected.items():
            device, detail = self._details[reason, owner, known]
            rejections.add(self.db, reason, device, detail, now=self.now, known=known, count=count)


def _current_manifest(db: Connection) -> bytes | None:
    """Return the ROUND message of the current job, or None before its first round."""
    job = jobs.current(db)
    latest = None if job is None else rounds.latest(db, job.job)
    return None if latest is None or latest.manifest is None else bytes(latest.manifest)
