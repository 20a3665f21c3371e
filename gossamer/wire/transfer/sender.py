"""The sending machine: an offer, chunks in a window, and only what is missing after that."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from gossamer.errors import InputError
from gossamer.wire.codes import FIRST_REASON, Code, Kind, Reason
from gossamer.wire.limits import (
    DEFAULT_CHUNK_BYTES,
    DEFAULT_STATUS_TIMEOUT,
    DEFAULT_WINDOW,
    MAX_BACKOFF,
    MAX_WINDOW,
    SENDS_PER_CHUNK,
    SPARE_SENDS,
)
from gossamer.wire.missing import Missing
from gossamer.wire.transfer.geometry import chunk_bytes_for, chunk_count
from gossamer.wire.transfer.outputs import Send
from gossamer.wire.transfer.states import SENDER, SenderEvent, SenderState
from gossamer.wire.transfer_messages import Chunk, Offer, Query, Receipt, Status

_OFFER = -1  # stands for the offer among the indices of chunks

_LIVE = (SenderState.SENDING, SenderState.WAITING, SenderState.ASKING)
_FINAL_CODES = (Code.COUNTED, Code.ALREADY, Code.CLOSED, Code.QUOTA)


class Sender:
    """Sends one object.

    Every method returns what to publish, in this order. Times are seconds of any monotonic clock.

    Args:
        object_id: 8 bytes; as :func:`gossamer.wire.ids.object_id` of ``body``.
        kind: what the object is.
        body: the whole object, 1 byte to MAX_OBJECT_BYTES.
        header: the signed header of an update, or empty.
        chunk_bytes: the limit; chunks are evened out below it. An object within it travels in the offer.
        window: chunks without acknowledgement by the broker.
        status_timeout: seconds of silence before it asks; doubles up to 8 times that.
        confirm: True (an upload): only STATUS or RECEIPT ends the transfer. False (a download): it ends when
            the broker has acknowledged everything; who misses something asks for it (:meth:`resend`).

    Raises:
        InputError: numbers out of range.
    """

    def __init__(
        self,
        object_id: bytes,
        kind: Kind,
        body: bytes,
        header: bytes = b"",
        chunk_bytes: int = DEFAULT_CHUNK_BYTES,
        *,
        window: int = DEFAULT_WINDOW,
        status_timeout: float = DEFAULT_STATUS_TIMEOUT,
        confirm: bool = True,
    ) -> None:
        if not 1 <= window <= MAX_WINDOW:
            raise InputError(f"window: expected 1..{MAX_WINDOW} chunks, got {window}")
        if not status_timeout > 0:
            raise InputError(f"status_timeout: expected more than 0 seconds, got {status_timeout}")
        even = chunk_bytes_for(len(body), chunk_bytes)
        self.chunks = chunk_count(len(body), even)
        inline = body if self.chunks == 1 else b""
        self.offer = Offer(object_id, kind, len(body), even, header, inline)
        self.confirm = confirm
        self.state = SenderState.NEW
        self.outcome: Code | Reason | None = None
        """How it ended: what STATUS said; COUNTED for a RECEIPT; None for a download or when SPENT."""
        self.version: int | None = None
        """The model version that a RECEIPT named."""
        self.sends = 0
        """OFFERs and CHUNKs sent so far."""
        self.unanswered = 0
        """QUERYs since the last answer: the caller's measure for giving up."""
        self._body = body
        self._window = window
        self._status_timeout = status_timeout
        self._pending: deque[int] = deque()
        self._in_flight: dict[int, int] = {}
        self._token = 0
        self._deadline: float | None = None

    @property
    def done(self) -> bool:
        """Whether nothing more will be sent: ended with an outcome, settled, or spent."""
        return self.state in (SenderState.DONE, SenderState.SPENT)

    def next_deadline(self, now: float) -> float | None:
        """Return when :meth:`tick` wants to be called (never before ``now``), or None for never."""
        return None if self._deadline is None else max(now, self._deadline)

    def start(self, now: float, *, resumed: bool = False) -> list[Send]:
        """Begin, with a connection. ``resumed``: it was offered before a restart, so ask first.

        Raises:
            InputError: it began before.
        """
        if self.state is not SenderState.NEW:
            raise InputError(f"a sender starts once; this one is {self.state.name}")
        if resumed and self.confirm:
            return self._ask(SenderEvent.ASK, now)
        self._move(SenderEvent.START)
        self._queue(())
        return self._pump(now)

    def connected(self, now: float) -> list[Send]:
        """There is a connection (again): ask what is missing, or push on if nobody answers here.

        Before :meth:`start` this is a resumption; without a :meth:`disconnected` before, one is assumed.
        """
        if self.done:
            return []
        if self.state is SenderState.NEW:
            return self.start(now, resumed=True)
        self.disconnected(now)
        if self.confirm:
            return self._ask(SenderEvent.ASK, now)
        self._move(SenderEvent.PUSH)
        return self._pump(now)

    def disconnected(self, now: float) -> list[Send]:  # noqa: ARG002 - every event has its time
        """The connection is gone: what was in flight may be lost."""
        if self.state in _LIVE:
            self._move(SenderEvent.LOST)
            self._recall()
            self._deadline = None
        return []

    def puback(self, token: int, now: float) -> list[Send]:
        """The broker has acknowledged a message; tokens of before a cut are ignored."""
        if self._in_flight.pop(token, None) is None or self.state not in _LIVE:
            return []
        if self.state is not SenderState.ASKING:
            self._deadline = now + self._status_timeout  # it moves: not silent
        return self._pump(now)

    def status(self, message: Status, now: float) -> list[Send]:
        """The receiver's word. Other objects, unknown codes and everything after the end are ignored."""
        if message.object_id != self.offer.object_id or not self.confirm:
            return []
        if message.code == Code.MISSING:
            return self._gaps(message.missing, now)
        if message.code in _FINAL_CODES:
            self._verdict(Code(message.code))
        elif message.code >= FIRST_REASON:
            self._verdict(message.reason)
        return []

    def receipt(self, message: Receipt, now: float) -> list[Send]:  # noqa: ARG002 - every event has its time
        """The update is sealed: a verdict, too."""
        if message.object_id == self.offer.object_id and self.confirm:
            self._verdict(Code.COUNTED, message.version)
        return []

    def resend(self, missing: Missing, now: float) -> list[Send]:
        """Send these chunks again (empty: all, with the offer) to whoever asked: downloads only.

        What is still queued or in flight is not doubled. Raises InputError on an upload.
        """
        if self.confirm:
            raise InputError("an upload sends again what STATUS says is missing, nothing else")
        if self.state is SenderState.NEW:
            return self.start(now)
        if self.state is SenderState.SPENT:
            return []
        if self.state is SenderState.DONE:
            self._move(SenderEvent.REOPEN)
            self.sends = 0
        elif self.state is SenderState.WAITING:
            self._move(SenderEvent.GAPS)
        self._queue(missing)
        return self._pump(now) if self.state is SenderState.SENDING else []

    def tick(self, now: float) -> list[Send]:
        """Time has passed: ask if it was silent for too long."""
        if self._deadline is None or now < self._deadline or self.state not in _LIVE:
            return []
        if self.confirm:
            return self._ask(SenderEvent.SILENCE, now)
        self._in_flight.clear()  # nobody answers here; who misses a chunk will say so
        return self._pump(now)

    def _move(self, event: SenderEvent) -> None:
        self.state = SENDER[self.state, event]

    def _verdict(self, outcome: Code | Reason | None, version: int | None = None) -> None:
        if self.state is SenderState.DONE:
            return
        self._move(SenderEvent.VERDICT)
        self.outcome, self.version = outcome, version
        self._rest()

    def _rest(self) -> None:
        self._pending.clear()
        self._in_flight.clear()
        self._deadline = None

    def _gaps(self, missing: Missing, now: float) -> list[Send]:
        """While chunks are queued the list is old news; when all are sent or it was asked for, it counts."""
        if self.state not in (SenderState.WAITING, SenderState.ASKING):
            return []
        known = [index for index in missing if index < self.chunks]
        if missing and not known:
            return []
        if known and set(known) <= set(self._in_flight.values()):
            return []
        self.unanswered = 0
        self._move(SenderEvent.GAPS)
        self._pending.clear()  # the list is the whole truth
        self._queue(known)
        return self._pump(now)

    def _ask(self, event: SenderEvent, now: float) -> list[Send]:
        self._move(event)
        self._in_flight.clear()  # the answer will be newer than anything sent before the question
        self._deadline = now + self._status_timeout * min(1 << min(self.unanswered, 8), MAX_BACKOFF)
        self.unanswered += 1
        return [self._send(Query(self.offer.object_id))]

    def _queue(self, missing: Iterable[int]) -> None:
        """Queue chunks; none named: the offer and, unless it carries the body, all chunks."""
        wanted = list(missing)
        if not wanted:
            wanted = [_OFFER, *range(self.chunks)]
        if self.offer.body:
            wanted = [_OFFER]
        taken = {*self._pending, *self._in_flight.values()}
        self._pending.extend(index for index in wanted if index not in taken)

    def _recall(self) -> None:
        """Put what was in flight back in front of the queue."""
        self._pending.extendleft(sorted(self._in_flight.values(), reverse=True))
        self._in_flight.clear()

    def _pump(self, now: float) -> list[Send]:
        """Send what the window allows; note when everything is sent, settled or too much."""
        sends: list[Send] = []
        while self.state is SenderState.SENDING and self._pending and self._free:
            if self.sends >= SENDS_PER_CHUNK * self.chunks + SPARE_SENDS:
                self._move(SenderEvent.EXHAUSTED)
                self._rest()
                return sends
            index = self._pending.popleft()
            sends.append(self._send(self._message(index)))
            self._in_flight[self._token] = index
            self.sends += 1
        if sends:
            self._deadline = now + self._status_timeout
        if self.state is SenderState.SENDING and not self._pending:
            self._move(SenderEvent.ALL_SENT)
        if self.state is SenderState.WAITING and not self.confirm and not self._in_flight:
            self._move(SenderEvent.SETTLED)
            self._rest()
        return sends

    @property
    def _free(self) -> bool:
        return len(self._in_flight) - (_OFFER in self._in_flight.values()) < self._window

    def _message(self, index: int) -> Offer | Chunk:
        if index == _OFFER:
            return self.offer
        begin = index * self.offer.chunk_bytes
        return Chunk(self.offer.object_id, index, self._body[begin : begin + self.offer.chunk_bytes])

    def _send(self, message: Offer | Chunk | Query) -> Send:
        self._token += 1
        return Send(message, self._token)
