"""What the bridge asks its shell to do."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Incoming:
    """One message as the link handed it over; ``token`` acknowledges it to the broker."""

    topic: str
    payload: bytes
    token: int


@dataclass(frozen=True, slots=True)
class Publish:
    """Publish at QoS 1. ``tag`` comes back through ``Bridge.puback`` when the broker has it (None: never)."""

    topic: str
    payload: bytes
    retain: bool = False
    tag: tuple[bytes, int] | None = None


@dataclass(frozen=True, slots=True)
class Ack:
    """Tell the broker that this message is durable with us, or of no use."""

    token: int


Action = Publish | Ack
