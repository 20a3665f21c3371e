"""Where the IP bytes of the fleet went: the devices' ledgers, summed and put into words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

LEDGER_CAUSES: Mapping[str, tuple[str, ...]] = {
    "MQTT": ("publish", "puback", "ping", "subscribe"),
    "connect": ("connect",),
    "TLS": ("tls",),
    "TCP/IP": ("tcp", "retransmit"),
}
"""Our word -> the causes of :mod:`gossamer.mqtt.account` that it sums up."""

MESSAGE_CAUSES: Mapping[str, str] = {
    "body": "bodies",
    "signature": "signatures",
    "manifest": "manifests",
    "status": "status",
}
"""Part of our messages, as the agent counts them -> our word."""


def by_cause(ledgers: Sequence[Mapping[str, int]]) -> dict[str, int]:
    """Return cause -> IP bytes, up and down, of all devices. The sum is everything their ledgers hold.

    Args:
        ledgers: of each device, "way/cause" -> bytes and "count/name" -> number.
    """
    total: dict[str, int] = {}
    for ledger in ledgers:
        for key, count in ledger.items():
            total[key] = total.get(key, 0) + count
    causes = {
        word: sum(total.get(f"count/{way}_{part}_bytes", 0) for way in ("up", "down"))
        for part, word in MESSAGE_CAUSES.items()
    }
    for word, names in LEDGER_CAUSES.items():
        causes[word] = sum(total.get(f"{way}/{name}", 0) for way in ("up", "down") for name in names)
    return causes


def downloaded(ledgers: Sequence[Mapping[str, int]]) -> int:
    """Return the bytes of model objects that all devices have received."""
    return sum(ledger.get("count/down_body_bytes", 0) for ledger in ledgers)
