"""Where the bytes of a connection go: counted, by cause, in both directions.

MQTT packets are told apart as they pass the socket (:class:`FrameMeter`); what TCP and IP add comes from the
kernel (``TCP_INFO``, Linux >= 4.19; fields and offsets of ``struct tcp_info`` in <linux/tcp.h>). The sum over
the causes of a direction is its IP bytes.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass, field

#: payload: what our messages are; publish: topic, ids and lengths around them; connect: CONNECT, CONNACK and
#: DISCONNECT; tls: handshake and records; tcp: 20 + 20 (IPv6: 40 + 20) a segment plus options, SYN and FIN.
CAUSES = ("payload", "publish", "puback", "ping", "subscribe", "connect", "tls", "tcp", "retransmit")

_CAUSE_OF_PACKET = {
    1: "connect", 2: "connect", 14: "connect", 15: "connect", 3: "publish", 4: "puback",
    8: "subscribe", 9: "subscribe", 10: "subscribe", 11: "subscribe", 12: "ping", 13: "ping",
}  # fmt: skip

_TCP_INFO = 11  # socket.TCP_INFO is absent from some builds
_TCP_INFO_BYTES = 216
_OPTION_TIMESTAMPS = 1
_TIMESTAMP_BYTES = 12
#: A SYN carries maximum segment size, window scale and SACK-permitted besides: 8 bytes more than others.
_SYN_EXTRA_BYTES = 8
#: Exchanged after the last look at TCP_INFO: our FIN and last ACK, the broker's FIN (which carries its ACK).
_CLOSE_SEGMENTS = {"up": 2, "down": 1}


@dataclass
class ByteAccount:
    """Bytes by cause, up (sent) and down (received). Supports ``+`` and ``-``."""

    up: dict[str, int] = field(default_factory=dict)
    down: dict[str, int] = field(default_factory=dict)

    @property
    def ip_up(self) -> int:
        """All bytes sent, IP headers included."""
        return sum(self.up.values())

    @property
    def ip_down(self) -> int:
        """All bytes received, IP headers included."""
        return sum(self.down.values())

    def __add__(self, other: ByteAccount) -> ByteAccount:
        return ByteAccount(_merge(self.up, other.up, 1), _merge(self.down, other.down, 1))

    def __sub__(self, other: ByteAccount) -> ByteAccount:
        return ByteAccount(_merge(self.up, other.up, -1), _merge(self.down, other.down, -1))


def _merge(a: dict[str, int], b: dict[str, int], sign: int) -> dict[str, int]:
    return {cause: a.get(cause, 0) + sign * b.get(cause, 0) for cause in CAUSES}


def packet_bytes(topic: str, payload: bytes, qos: int, *, five: bool) -> int:
    """Length of a PUBLISH: header, remaining length, topic, identifier, with MQTT 5 its empty properties, payload.

    >>> packet_bytes("a/b", b"payload", 1, five=False)
    16
    """
    remaining = 2 + len(topic.encode()) + (2 if qos else 0) + five + len(payload)
    return 1 + max(1, (remaining.bit_length() + 6) // 7) + remaining


class FrameMeter:
    """Attributes the bytes of one direction of an MQTT stream to causes, however they are cut into pieces."""

    def __init__(self) -> None:
        self.by_cause = dict.fromkeys(CAUSES, 0)
        self.total = 0
        self._cause = ""
        self._left = 0
        self._length = 0
        self._shift = 0
        self._in_length = False

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Count ``data``, the next bytes of the stream."""
        self.total += len(data)
        at = 0
        while at < len(data):
            if self._left:
                step = min(self._left, len(data) - at)
                self.by_cause[self._cause] += step
                self._left -= step
                at += step
                continue
            byte = data[at]
            at += 1
            if self._in_length:
                self.by_cause[self._cause] += 1
                self._length += (byte & 0x7F) << self._shift
                self._shift += 7
                if not byte & 0x80:
                    self._left, self._in_length = self._length, False
            else:
                self._cause = _CAUSE_OF_PACKET.get(byte >> 4, "connect")
                self.by_cause[self._cause] += 1
                self._in_length, self._length, self._shift = True, 0, 0


@dataclass(frozen=True)
class TcpCounts:
    """What the kernel counted for one socket. Bytes are TCP payload; ``sent`` includes ``retransmitted``."""

    sent: int
    received: int
    retransmitted: int
    segments_out: int
    segments_in: int
    segment_overhead: int


def tcp_counts(sock: socket.socket) -> TcpCounts | None:
    """Read ``TCP_INFO``; None where the kernel is too old, or the socket is not TCP or already gone."""
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, 256)
    except OSError:
        return None
    if len(info) < _TCP_INFO_BYTES:
        return None
    (received,) = struct.unpack_from("=Q", info, 128)
    segments_out, segments_in = struct.unpack_from("=II", info, 136)
    sent, retransmitted = struct.unpack_from("=QQ", info, 200)
    headers = 60 if sock.family == socket.AF_INET6 else 40
    if info[5] & _OPTION_TIMESTAMPS:
        headers += _TIMESTAMP_BYTES
    return TcpCounts(sent, received, retransmitted, segments_out, segments_in, headers)


def direction_account(
    meter: FrameMeter, payload: int, tcp: TcpCounts | None, way: str, *, tls: bool, closed: bool
) -> dict[str, int]:
    """Bytes by cause of one direction (``way`` "up" or "down").

    Without ``tcp`` the lower layers count nothing. ``closed``: add the segments of the close.
    """
    causes = dict(meter.by_cause)
    causes["payload"] = payload
    causes["publish"] = max(0, causes["publish"] - payload)
    if tcp is None:
        return causes
    up = way == "up"
    segments = (tcp.segments_out if up else tcp.segments_in) + (_CLOSE_SEGMENTS[way] if closed else 0)
    causes["tcp"] = segments * tcp.segment_overhead + (_SYN_EXTRA_BYTES if segments else 0)
    causes["retransmit"] = tcp.retransmitted if up else 0
    if tls:
        carried = tcp.sent - tcp.retransmitted if up else tcp.received
        causes["tls"] = max(0, carried - meter.total)
    return causes
