"""The smallest bridge that keeps the promises of the protocol: what a shell has to do around a Receiver."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from gossamer.errors import IncompleteMessage, MalformedMessage, Refused
from gossamer.wire.messages import Chunk, Code, Message, Offer, Query, Status, parse
from gossamer.wire.transfer import Discard, Done, Keep, Need, Receiver, ReceiverOutput, Reject


@dataclass
class Partial:
    """An upload on disk."""

    offer: Offer
    chunks: dict[int, bytes] = field(default_factory=dict)


class Crash(Exception):
    """The power is gone."""


class Bridge:
    """``inbox``, ``partials`` and ``rejected`` are durable, ``receivers`` is memory."""

    def __init__(self) -> None:
        self.inbox: dict[bytes, bytes] = {}
        self.delivered: list[bytes] = []
        self.partials: dict[bytes, Partial] = {}
        self.rejected: dict[bytes, int] = {}
        self.receivers: dict[bytes, Receiver] = {}
        self.refused = 0
        self.chunks_taken = 0
        self.steps_to_crash: int | None = None

    def take(self, data: bytes, now: float) -> list[Message]:
        """Handle one publish; returns the replies. A crash loses memory and replies, nothing durable."""
        try:
            return self._handle(parse(data), now)
        except (IncompleteMessage, MalformedMessage, Refused):
            self.refused += 1
            return []
        except Crash:
            self.crash()
            return []

    def crash(self) -> None:
        self.steps_to_crash = None
        self.receivers.clear()

    def _handle(self, message: Message, now: float) -> list[Message]:
        if not isinstance(message, (Offer, Chunk, Query)):
            return []
        name = message.object_id
        if name in self.inbox:
            return [] if isinstance(message, Chunk) else [Status(name, Code.ALREADY)]
        if name in self.rejected:
            return [Status(name, self.rejected[name])]
        known = name in self.partials
        if isinstance(message, Offer):
            outputs = self._offered(message, now)
        elif not known:
            return [Status(name, Code.MISSING)] if isinstance(message, Query) else []
        elif isinstance(message, Chunk):
            self.chunks_taken += 1
            outputs = self._receiver(name, now).chunk(message, now)
        else:
            outputs = self._receiver(name, now).query(now)
        return self._act(name, outputs)

    def _offered(self, offer: Offer, now: float) -> list[ReceiverOutput]:
        name = offer.object_id
        if name not in self.partials:
            self.partials[name] = Partial(offer)
            self.receivers[name] = Receiver(offer)
            return self.receivers[name].start(now)
        outputs = self._receiver(name, now).offered(offer, now)
        # New cut and loss of the old chunks must reach the disk together.
        if Discard() in outputs:
            self.partials[name].chunks.clear()
        self.partials[name].offer = offer
        return outputs

    def _receiver(self, name: bytes, now: float) -> Receiver:
        if name not in self.receivers:
            partial = self.partials[name]
            self.receivers[name] = Receiver(partial.offer, partial.chunks)
        return self.receivers[name]

    def _act(self, name: bytes, outputs: Iterable[ReceiverOutput]) -> list[Message]:
        replies: list[Message] = []
        for output in outputs:
            self._power()
            if isinstance(output, Keep):
                self.partials[name].chunks[output.index] = output.data
            elif isinstance(output, Need):
                replies.append(Status(name, Code.MISSING, output.missing))
            elif isinstance(output, Done):
                self.inbox[name] = output.body
                self.delivered.append(output.body)
                self._forget(name)
                replies.append(Status(name, Code.COUNTED))
            elif isinstance(output, Discard):
                self.partials[name].chunks.clear()
            elif isinstance(output, Reject):
                self.rejected[name] = output.reason
                self._forget(name)
                replies.append(Status(name, output.reason))
        self._power()
        return replies

    def _forget(self, name: bytes) -> None:
        self.partials.pop(name, None)
        self.receivers.pop(name, None)

    def _power(self) -> None:
        if self.steps_to_crash is not None:
            if self.steps_to_crash == 0:
                raise Crash
            self.steps_to_crash -= 1
