"""The download of one model object: GET, OFFER, CHUNKs, GET for what is missing. Pure, like the session."""

from __future__ import annotations

from gossamer.agent import actions as do
from gossamer.agent.actions import Action
from gossamer.agent.records import Partial
from gossamer.errors import IncompleteMessage, MalformedMessage, Refused
from gossamer.wire.limits import BROADCAST_FROM_BYTES, MAX_BACKOFF
from gossamer.wire.manifest import Way
from gossamer.wire.messages import Chunk, Get, Offer, parse
from gossamer.wire.transfer import Discard, Done, Keep, Need, Receiver, ReceiverOutput, Reject

NEVER = float("inf")

Output = Action | Done | Reject


class Fetch:
    """Fetches the object of one way. Methods return actions; ``Done`` or ``Reject`` among them is the end.

    An offer of another size or kind than the signed manifest says is ignored. Whether the object is right is
    decided by the model's digest, after it was applied. Times are seconds.
    """

    def __init__(self, way: Way, partial: Partial | None, timeout: float) -> None:
        """``partial``: what an earlier run kept; that of another object is ignored."""
        self.way = way
        self._timeout = timeout
        self._deadline = NEVER
        self._silent = 0
        self._receiver: Receiver | None = None
        if partial is not None and partial.object_id == way.object_id:
            offer = _stored_offer(partial.offer)
            if offer is not None and self._fits(offer):
                self._receiver = Receiver(offer, partial.chunks, patience=timeout)

    @property
    def may_be_shared(self) -> bool:
        """Whether the object may come on the shared topic."""
        return self.way.size > BROADCAST_FROM_BYTES

    def start(self, now: float) -> list[Output]:
        """Ask for what is missing: at first, and again after a reconnect."""
        self._silent = 0
        if self._receiver is not None:
            return self._outputs(self._receiver.start(now) or self._receiver.query(now))
        return self._ask(now)

    def tick(self, now: float) -> list[Output]:
        """Ask again when nothing has come for a while."""
        if self._receiver is not None:
            return self._outputs(self._receiver.tick(now))
        if now < self._deadline:
            return []
        self._silent += 1
        return self._ask(now)

    def next_deadline(self, now: float) -> float:
        """When :meth:`tick` wants to be called."""
        if self._receiver is None:
            return self._deadline
        deadline = self._receiver.next_deadline(now)
        return NEVER if deadline is None else deadline

    def message(self, message: Offer | Chunk, now: float) -> list[Output]:
        """An OFFER or a CHUNK, of whatever object."""
        if message.object_id != self.way.object_id:
            return []
        if isinstance(message, Chunk):
            # Without the offer, chunks of a broadcast that began before we listened mean nothing.
            return self._chunk(self._receiver, message, now) if self._receiver is not None else []
        if not self._fits(message):
            return [do.Count("refused.wrong-offer")]
        begin = do.BeginPartial(message.object_id, message.serialize())
        if self._receiver is not None:
            if message.chunk_bytes == self._receiver.offer.chunk_bytes and not message.body:
                return []  # its chunks follow; asking at every offer would bring another offer
            outputs = self._outputs(self._receiver.offered(message, now))
            return outputs if message.body else [begin, *outputs]
        self._receiver = Receiver(message, patience=self._timeout)
        outputs = self._outputs(self._receiver.start(now))
        return outputs if message.body else [begin, *outputs]

    def _chunk(self, receiver: Receiver, message: Chunk, now: float) -> list[Output]:
        try:
            return self._outputs(receiver.chunk(message, now))
        except Refused:
            return [do.Count("refused.malformed")]

    def _ask(self, now: float) -> list[Output]:
        self._deadline = now + self._timeout * min(1 << min(self._silent, 8), MAX_BACKOFF)
        return [do.Publish("u", Get(self.way.object_id, ()).serialize())]

    def _fits(self, offer: Offer) -> bool:
        return offer.size == self.way.size and offer.kind == self.way.kind

    def _outputs(self, outputs: list[ReceiverOutput]) -> list[Output]:
        result: list[Output] = []
        for output in outputs:
            if isinstance(output, Keep):
                result.append(do.KeepChunk(self.way.object_id, output.index, output.data))
            elif isinstance(output, Need):
                result.append(do.Publish("u", Get(self.way.object_id, output.missing).serialize()))
            elif isinstance(output, Discard):
                assert self._receiver is not None  # noqa: S101 - it has just spoken
                result.append(do.BeginPartial(self.way.object_id, self._receiver.offer.serialize()))
            else:
                result.append(output)
        return result


def _stored_offer(data: bytes) -> Offer | None:
    try:
        message = parse(data)
    except (MalformedMessage, IncompleteMessage):
        return None
    return message if isinstance(message, Offer) else None
