"""The receiving machine: chunks in any order become one body, once, and never a wrong one."""

from __future__ import annotations

from collections.abc import Mapping

from gossamer.errors import InputError, Refused
from gossamer.wire.codes import Reason
from gossamer.wire.ids import object_id
from gossamer.wire.limits import MAX_BACKOFF, MAX_BAD_BODIES
from gossamer.wire.missing import Missing
from gossamer.wire.transfer.geometry import chunk_length
from gossamer.wire.transfer.outputs import Discard, Done, Keep, Need, ReceiverOutput, Reject
from gossamer.wire.transfer.states import RECEIVER, ReceiverEvent, ReceiverState
from gossamer.wire.transfer_messages import Chunk, Offer


class Receiver:
    """Collects one object.

    Every method returns what to do, in this order; a chunk may be acknowledged to the broker only after its
    Keep is durable. Times are seconds of any monotonic clock.

    Args:
        offer: announces the object; must be durable, too, if the receiver is to survive a restart.
        have: chunks that are durable already, after a restart. Those of a wrong length are ignored.
        patience: seconds of silence before it says what it needs, doubling up to 8 times that; None: it is
            asked (an upload) and never speaks first.

    It holds the object in memory, ``offer.size`` bytes: drop a machine that rests, rebuild it from ``have``.
    """

    def __init__(self, offer: Offer, have: Mapping[int, bytes] | None = None, *, patience: float | None = None) -> None:
        if patience is not None and not patience > 0:
            raise InputError(f"patience: expected more than 0 seconds, got {patience}")
        self.offer = offer
        self.state = ReceiverState.COLLECTING
        self.bad_bodies = 0
        """Whole bodies thrown away because their digest was wrong."""
        self._patience = patience
        self._doubt = False  # a chunk did not fit: it was wrong, or the offer was
        self._silent = 0
        self._deadline: float | None = None
        self._chunks = {i: bytes(data) for i, data in (have or {}).items() if self._fits(i, data)}
        if offer.body:
            self._chunks = {0: offer.body}
        self._last = self._last_missing()

    @property
    def done(self) -> bool:
        """Whether the body was delivered or the object rejected."""
        return self.state is not ReceiverState.COLLECTING

    @property
    def missing(self) -> Missing:
        """Indices of the chunks that are not here, ascending; none once it is done."""
        return () if self.done else tuple(i for i in range(self.offer.chunks) if i not in self._chunks)

    def next_deadline(self, now: float) -> float | None:
        """Return when :meth:`tick` wants to be called (never before ``now``), or None for never."""
        return None if self._deadline is None or self.done else max(now, self._deadline)

    def start(self, now: float) -> list[ReceiverOutput]:
        """Call once after building: delivers at once what came in the offer or was whole on disk."""
        self._wait(now)
        return self._finish() if self._whole else []

    def chunk(self, message: Chunk, now: float) -> list[ReceiverOutput]:
        """A chunk came. Duplicates, other objects and everything after the end are ignored.

        When the last chunk that was still to come arrives and others are missing, they were lost on the way:
        it asks for them.

        Raises:
            Refused: ``malformed``: an index or length that does not fit the offer.
        """
        if message.object_id != self.offer.object_id or self.done:
            return []
        if not self._fits(message.index, message.data):
            self._doubt = True
            raise Refused(
                Reason.MALFORMED.label,
                f"chunk {message.index} of {len(message.data)} bytes does not fit an object of "
                f"{self.offer.size} bytes in chunks of {self.offer.chunk_bytes}",
            )
        self._silent = 0
        self._wait(now)
        if message.index in self._chunks:
            return []
        self._chunks[message.index] = message.data
        kept = Keep(message.index, message.data)
        if self._whole:
            return [kept, *self._finish()]
        if message.index == self._last:
            return [kept, *self.query(now)]
        return [kept]

    def offered(self, offer: Offer, now: float) -> list[ReceiverOutput]:
        """The same object is offered again, perhaps cut differently or whole: says what is needed then."""
        if offer.object_id != self.offer.object_id or self.done:
            return []
        outputs: list[ReceiverOutput] = []
        if (offer.size, offer.chunk_bytes) != (self.offer.size, self.offer.chunk_bytes):
            outputs.append(Discard())
            self._chunks.clear()
        self.offer = offer
        if offer.body:
            self._chunks = {0: offer.body}
        self._last = self._last_missing()
        self._wait(now)
        if self._whole:
            return outputs + self._finish()
        # With nothing here yet the chunks follow the offer by themselves.
        return outputs + (self.query(now) if self._chunks else [])

    def query(self, now: float) -> list[ReceiverOutput]:
        """Say what is missing, or deliver if nothing is.

        After a chunk that did not fit it asks for the offer, too (an empty Need): if that was the wrong one of
        the two, no chunk would ever fit.
        """
        if self.done:
            return []
        if self._whole:
            return self._finish()
        if self._doubt:
            self._doubt = False
            self._wait(now)
            return [Need(())]
        self._last = self._last_missing()
        self._wait(now)
        return [Need(self.missing)]

    def tick(self, now: float) -> list[ReceiverOutput]:
        """Time has passed: speak up after a long silence."""
        if self.done:
            return []
        if self._deadline is None:
            self._wait(now)
            return self._finish() if self._whole else []
        if now < self._deadline:
            return []
        self._silent += 1
        return self.query(now)

    @property
    def _whole(self) -> bool:
        return len(self._chunks) == self.offer.chunks

    def _last_missing(self) -> int:
        return next((i for i in reversed(range(self.offer.chunks)) if i not in self._chunks), -1)

    def _fits(self, index: int, data: bytes) -> bool:
        offer = self.offer
        return 0 <= index < offer.chunks and len(data) == chunk_length(offer.size, offer.chunk_bytes, index)

    def _wait(self, now: float) -> None:
        if self._patience is not None:
            self._deadline = now + self._patience * min(1 << min(self._silent, 8), MAX_BACKOFF)

    def _finish(self) -> list[ReceiverOutput]:
        """All chunks are here: deliver the body, or throw it away if it is not what was promised."""
        body = b"".join(self._chunks[i] for i in range(self.offer.chunks))
        self._chunks.clear()
        if object_id(body) == self.offer.object_id:
            self.state = RECEIVER[self.state, ReceiverEvent.WHOLE]
            return [Done(body)]
        self.bad_bodies += 1
        if self.bad_bodies >= MAX_BAD_BODIES:
            self.state = RECEIVER[self.state, ReceiverEvent.HOPELESS]
            return [Discard(), Reject(Reason.WRONG_OBJECT)]
        self.state = RECEIVER[self.state, ReceiverEvent.WRONG]
        self._last = self._last_missing()
        return [Discard(), Need(self.missing)]
