"""Bytes on the wire, by cause: MQTT packets into TLS records into TCP segments into IP packets.

The sizes are of MQTT 3.1.1, TLS 1.3 with a 128- or 256-bit AEAD, TCP with or without timestamps, and IPv4 or IPv6.
How many segments there are is the business of :mod:`gossamer.firmware_profiles.exchanges`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

CAUSES = (
    "update", "model", "manifest", "signatures", "status", "mqtt", "connect", "tls", "tcp_ip", "retransmitted",
)  # fmt: skip
"""update: bodies up; model: deltas and snapshots down; status: the rest of our own messages; mqtt: MQTT's headers,
topics, acknowledgements and subscriptions; connect: CONNECT, CONNACK, DISCONNECT; tcp_ip: headers, SYN, FIN."""

IP_HEADER_BYTES = {4: 20, 6: 40}
TCP_HEADER_BYTES = 20
TIMESTAMP_BYTES = 12
SYN_OPTION_BYTES = 8
"""Maximum segment size, window scale and SACK-permitted, beside the timestamps."""
RECORD_BYTES = 22
"""TLS 1.3: header 5, tag 16, content type 1."""
CLIENT_HELLO_BYTES, RESUMING_HELLO_BYTES = 517, 554
"""Of OpenSSL 3: padded to 512 and a header; with a ticket somewhat more."""
SERVER_FLIGHT_BYTES, RESUMED_FLIGHT_BYTES = 371, 241
"""ServerHello to Finished without the certificate, P-256 or X25519, ECDSA P-256; without certificate and signature."""
CLIENT_FINISHED_BYTES = 80
TICKET_BYTES = 271
CLOSE_NOTIFY_BYTES = 24


@dataclass(frozen=True, slots=True)
class Transport:
    """What a link makes of a stream.

    Args:
        tls: TLS 1.3, else plaintext.
        certificate_bytes: DER bytes of the chain that the broker sends in a full handshake.
        timestamps: TCP timestamps (``net.ipv4.tcp_timestamps``, on by default in Linux).
        ip_version: 4 or 6; mtu_bytes: of an IP packet.
        loss_per_million: of packets, which are sent again.
    """

    tls: bool = True
    certificate_bytes: int = 450
    timestamps: bool = True
    ip_version: int = 4
    mtu_bytes: int = 1400
    loss_per_million: int = 0

    @property
    def header_bytes(self) -> int:
        """Of a segment: IP, TCP and its usual options."""
        return IP_HEADER_BYTES[self.ip_version] + TCP_HEADER_BYTES + (TIMESTAMP_BYTES if self.timestamps else 0)

    @property
    def segment_bytes(self) -> int:
        """TCP payload that fits a packet."""
        return self.mtu_bytes - self.header_bytes


@dataclass(frozen=True, slots=True)
class Packet:
    """One MQTT packet: cause -> bytes."""

    causes: Mapping[str, int]

    @property
    def size(self) -> int:
        """All of it."""
        return sum(self.causes.values())


def length_bytes(rest: int) -> int:
    """Bytes of MQTT's fixed header: the type, and the length of the rest, 7 bits a byte."""
    return 1 + max(1, -(-rest.bit_length() // 7))


def publish(topic: str, parts: Mapping[str, int]) -> Packet:
    """PUBLISH with QoS 1 of a message whose parts are ``parts``."""
    around = 2 + len(topic) + 2
    return Packet({**parts, "mqtt": around + length_bytes(around + sum(parts.values()))})


PUBACK = Packet({"mqtt": 4})
SUBACK_HEADER_BYTES = 4
PING = Packet({"mqtt": 2})
CONNACK = Packet({"connect": 4})
DISCONNECT = Packet({"connect": 2})


def subscribe(topics: Sequence[str]) -> tuple[Packet, Packet]:
    """SUBSCRIBE to topics, and its SUBACK."""
    rest = 2 + sum(3 + len(topic) for topic in topics)
    return Packet({"mqtt": rest + length_bytes(rest)}), Packet({"mqtt": SUBACK_HEADER_BYTES + len(topics)})


def unsubscribe(topics: Sequence[str]) -> tuple[Packet, Packet]:
    """UNSUBSCRIBE and its UNSUBACK."""
    rest = 2 + sum(2 + len(topic) for topic in topics)
    return Packet({"mqtt": rest + length_bytes(rest)}), Packet({"mqtt": 4})


def connect(client_id: str, will_topic: str, will_bytes: int, account_bytes: int) -> Packet:
    """CONNECT; ``account_bytes``: of user name and password with their lengths, 0 without."""
    rest = 10 + 2 + len(client_id) + account_bytes
    if will_topic:
        rest += 2 + len(will_topic) + 2 + will_bytes
    return Packet({"connect": rest + length_bytes(rest)})


@dataclass
class Tally:
    """IP bytes counted so far, up and down, and the turns that took a round trip of waiting."""

    transport: Transport
    up: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CAUSES, 0))
    down: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CAUSES, 0))
    packets: int = 0
    turns: int = 0

    def flight(self, *packets: Packet, up: bool, acks: int = 0) -> None:
        """MQTT packets in a row, each a record, and so many bare acknowledgements of them."""
        way = self.up if up else self.down
        size = 0
        for packet in packets:
            for cause, count in packet.causes.items():
                way[cause] += count
            if self.transport.tls:
                way["tls"] += RECORD_BYTES
            size += packet.size + (RECORD_BYTES if self.transport.tls else 0)
        self.segments(-(-size // self.transport.segment_bytes), up=up)
        self.segments(acks, up=not up)

    def bare(self, cause: str, count: int, *, up: bool) -> None:
        """Bytes that are no MQTT packet, in segments of their own: of a handshake."""
        (self.up if up else self.down)[cause] += count
        self.segments(-(-count // self.transport.segment_bytes), up=up)

    def segments(self, count: int, *, up: bool, extra: int = 0) -> None:
        """The headers of so many segments; ``extra`` bytes of options each."""
        (self.up if up else self.down)["tcp_ip"] += count * (self.transport.header_bytes + extra)
        self.packets += count

    def resets(self, count: int) -> None:
        """RST segments up: they carry no options."""
        self.up["tcp_ip"] += count * (IP_HEADER_BYTES[self.transport.ip_version] + TCP_HEADER_BYTES)
        self.packets += count

    def lost(self) -> None:
        """Add what is sent again: of the bytes that went out, the part that is lost, however often."""
        part = self.transport.loss_per_million / (1_000_000 - self.transport.loss_per_million)
        for way in (self.up, self.down):
            way["retransmitted"] += round(sum(way.values()) * part)

    @property
    def bytes_up(self) -> int:
        """IP bytes sent."""
        return sum(self.up.values())

    @property
    def bytes_down(self) -> int:
        """IP bytes received."""
        return sum(self.down.values())

    @property
    def total(self) -> int:
        """IP bytes both ways."""
        return self.bytes_up + self.bytes_down

    @property
    def by_cause(self) -> dict[str, int]:
        """Both ways."""
        return {cause: self.up[cause] + self.down[cause] for cause in CAUSES}
