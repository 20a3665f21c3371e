"""The machines that move an object in chunks, the same for both directions. No I/O, no clock.

Events and ``now`` (seconds of any monotonic clock) go in, outputs come out. :mod:`.states` holds every
transition of both machines in one place.
"""

from gossamer.wire.transfer.geometry import chunk_bytes_for, chunk_count
from gossamer.wire.transfer.outputs import (
    Discard,
    Done,
    Keep,
    Need,
    ReceiverOutput,
    Reject,
    Send,
)
from gossamer.wire.transfer.receiver import Receiver
from gossamer.wire.transfer.sender import Sender
from gossamer.wire.transfer.states import ReceiverState, SenderState

__all__ = [
    "Discard",
    "Done",
    "Keep",
    "Need",
    "Receiver",
    "ReceiverOutput",
    "ReceiverState",
    "Reject",
    "Send",
    "Sender",
    "SenderState",
    "chunk_bytes_for",
    "chunk_count",
]
