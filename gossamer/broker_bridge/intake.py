"""Uploads: OFFER, CHUNK and QUERY of a device in; STATUS or RECEIPT out.

Everything runs inside a transaction that the caller commits before it acknowledges anything, so a chunk
that was acknowledged is on disk, and an update that was told *counted* is in the inbox. The receiving
machines kept in memory only save reading; :meth:`Intake.forget` drops them when a transaction fails.
"""

from __future__ import annotations

from collections import OrderedDict

from sqlalchemy.engine import Connection

from gossamer.aggregator.store import devices, inbox, uploads
from gossamer.aggregator.store.devices import Device
from gossamer.broker_bridge import acceptance
from gossamer.broker_bridge.settings import BridgeSettings
from gossamer.errors import Refused
from gossamer.wire.codes import Code, Kind, Reason
from gossamer.wire.ids import object_id
from gossamer.wire.messages import Chunk, Message, Offer, Query, Receipt, Status
from gossamer.wire.transfer import Discard, Done, Keep, Need, Receiver, ReceiverOutput, Reject

#: Bytes of objects under way that are kept in memory; others are read back from disk when they go on.
CACHE_BYTES = 64 * 1024 * 1024
WRONG_OBJECT = "the bytes do not have the digest that their id promises"


class Intake:
    """The uploads of all devices of this worker."""

    def __init__(self, settings: BridgeSettings, *, cache_bytes: int = CACHE_BYTES) -> None:
        self._settings = settings
        self._cache_bytes = cache_bytes
        self._receivers: OrderedDict[str, Receiver] = OrderedDict()
        self.counted = 0

    def forget(self, device: str | None = None) -> None:
        """Drop what is in memory (of one device): the store did not get what the machines think it has."""
        if device is None:
            self._receivers.clear()
        else:
            self._receivers.pop(device, None)

    def offer(self, db: Connection, device: Device, offer: Offer, now: float) -> list[Message]:
        """An update is offered, or comes inside the offer.

        Raises:
            Refused: with the reason; nothing was changed.
        """
        if offer.kind is not Kind.UPDATE:
            raise Refused(Reason.MALFORMED.label, f"a device offers updates, not kind {offer.kind}")
        header = acceptance.peek(offer.header)
        known = inbox.receipt(db, header.job, header.round, device.id)
        if known is not None:
            return [_said(known, offer.object_id, header.round)]
        job = acceptance.view(db)
        if job is None:
            raise Refused(Reason.WRONG_JOB.label, "this fleet has no job")
        acceptance.check_size(job, offer.size)
        if acceptance.place(db, job, device, header) is None:
            return self._end(db, device, offer.object_id, Code.CLOSED)
        if offer.body:
            if object_id(offer.body) != offer.object_id:
                raise Refused(Reason.WRONG_OBJECT.label, WRONG_OBJECT)
            return self._complete(db, device, offer, offer.body, now)
        return self._begin(db, device, offer, now)

    def chunk(self, db: Connection, device: Device, chunk: Chunk, now: float) -> list[Message]:
        """A piece of an upload. Raises Refused as :meth:`offer`."""
        receiver = self._receiver(db, device.id)
        if receiver is None or receiver.offer.object_id != chunk.object_id:
            return [_known(db, device, chunk.object_id)]
        return self._act(db, device, receiver, receiver.chunk(chunk, now), now)

    def query(self, db: Connection, device: Device, query: Query, now: float) -> list[Message]:
        """How does it stand? Not known at all: MISSING with nothing listed, which asks for the offer."""
        receiver = self._receiver(db, device.id)
        if receiver is None or receiver.offer.object_id != query.object_id:
            return [_known(db, device, query.object_id)]
        if len(receiver.missing) == receiver.offer.chunks:
            return [Status(query.object_id, Code.MISSING)]  # nothing is here yet: 2 bytes say it
        return self._act(db, device, receiver, receiver.query(now), now)

    def _begin(self, db: Connection, device: Device, offer: Offer, now: float) -> list[Message]:
        receiver = self._receiver(db, device.id)
        same = receiver is not None and receiver.offer.object_id == offer.object_id
        if receiver is not None and same and receiver.offer.header == offer.header:
            return self._act(db, device, receiver, receiver.offered(offer, now), now)
        if uploads.total_bytes(db, besides=device.id) + offer.size > self._settings.partial_bytes:
            return [Status(offer.object_id, Code.QUOTA)]
        uploads.begin(db, _stored(device.id, offer), now=now)
        self._remember(device.id, Receiver(offer))
        return []

    def _act(
        self, db: Connection, device: Device, receiver: Receiver, outputs: list[ReceiverOutput], now: float
    ) -> list[Message]:
        name = receiver.offer.object_id
        replies: list[Message] = []
        for output in outputs:
            if isinstance(output, Keep):
                uploads.keep(db, device.id, output.index, output.data, now=now)
            elif isinstance(output, Need):
                replies.append(Status(name, Code.MISSING, output.missing))
            elif isinstance(output, Discard):
                uploads.begin(db, _stored(device.id, receiver.offer), now=now)
            elif isinstance(output, Done):
                return self._complete(db, device, receiver.offer, output.body, now)
            elif isinstance(output, Reject):
                raise Refused(output.reason.label, WRONG_OBJECT)
        return replies

    def _complete(self, db: Connection, device: Device, offer: Offer, body: bytes, now: float) -> list[Message]:
        """All of it is here: count it, or say why not."""
        job = acceptance.view(db)
        if job is None:
            return self._end(db, device, offer.object_id, Code.CLOSED)
        header = acceptance.verify(db, job, device, self._settings.topics.fleet, offer.header, body)
        counted_in = acceptance.place(db, job, device, header)
        if counted_in is None:
            return self._end(db, device, offer.object_id, Code.CLOSED)
        known = inbox.receipt(db, header.job, header.round, device.id)
        if known is not None:
            self.drop(db, device.id, offer.object_id)
            return [_said(known, offer.object_id, header.round)]
        update = inbox.NewUpdate(
            job=header.job,
            round=header.round,
            device=device.id,
            object_id=offer.object_id,
            counted_in=counted_in,
            base_version=header.base_version,
            body=body,
            header=offer.header,
            examples=header.examples,
            loss_micro=header.loss_micro,
        )
        inbox.add(db, update, now=now)
        self.counted += 1
        devices.holds(db, device.id, job=header.job, version=header.base_version, now=now)
        return self._end(db, device, offer.object_id, Code.COUNTED)

    def _end(self, db: Connection, device: Device, name: bytes, code: Code) -> list[Message]:
        self.drop(db, device.id, name)
        return [Status(name, code)]

    def drop(self, db: Connection, device: str, name: bytes) -> None:
        """Let go of the open upload if it is this object."""
        present = uploads.get(db, device)
        if present is not None and present.object_id == name:
            uploads.drop(db, device)
            self._receivers.pop(device, None)

    def _receiver(self, db: Connection, device: str) -> Receiver | None:
        """Return the machine of the device's open upload, from memory or built from what is on disk."""
        receiver = self._receivers.get(device)
        if receiver is not None:
            self._receivers.move_to_end(device)
            return receiver
        stored = uploads.get(db, device)
        if stored is None:
            return None
        kind, header = Kind(stored.kind), bytes(stored.header)
        offer = Offer(bytes(stored.object_id), kind, stored.size, stored.chunk_bytes, header, b"")
        receiver = Receiver(offer, uploads.have(db, device))
        self._remember(device, receiver)
        return receiver

    def _remember(self, device: str, receiver: Receiver) -> None:
        self._receivers[device] = receiver
        self._receivers.move_to_end(device)
        while len(self._receivers) > 1 and self._bytes() > self._cache_bytes:
            self._receivers.popitem(last=False)

    def _bytes(self) -> int:
        return sum(receiver.offer.size for receiver in self._receivers.values())


def _stored(device: str, offer: Offer) -> uploads.Upload:
    kind = int(offer.kind)
    return uploads.Upload(device, offer.object_id, kind, offer.size, offer.chunk_bytes, offer.header)


def _said(known: inbox.Receipt, name: bytes, round_: int) -> Message:
    """Return what is to be said of an update for a round that has one already.

    Raises:
        Refused: ``replayed``: it is another one.
    """
    if known.object_id != name:
        raise Refused(Reason.REPLAYED.label, f"another update for round {round_} is counted")
    if known.sealed_in is None:
        return Status(name, Code.COUNTED)
    return Receipt(name, known.sealed_in)


def _known(db: Connection, device: Device, name: bytes) -> Message:
    """Return what is to be said of an object of which nothing but the name is known here.

    A name is the digest of a body, and a model that has settled makes the same body twice. So if the device
    was called again since, it must offer: the offer's header says which round is meant.
    """
    known = inbox.receipt_of_object(db, device.id, name)
    if known is None or acceptance.called_since(db, device, known.job, known.round):
        return Status(name, Code.MISSING)
    return _said(known, name, known.round)
