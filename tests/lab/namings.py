"""Topic names as three existing fleets might have them, and our own: ``docs/integration.md`` shows the same."""

from __future__ import annotations

from gossamer.wire.topics import Topics

NAMINGS = {
    "default": Topics("farm1"),
    # One level for what it is, one for whose it is.
    "flat": Topics("farm1", "fl-{fleet}-{kind}", "fl-{fleet}-{kind}/{device}"),
    # Seven slashes, the most that AWS IoT Core takes.
    "aws": Topics("farm1", "dt/acme/{fleet}/eu/all/fl/v1/{kind}", "dt/acme/{fleet}/eu/{bucket}/{device}/v1/{kind}"),
    # namespace/group/message type/edge node/device: not under spBv1.0, whose hosts decode every payload as theirs.
    "sparkplug": Topics("farm1", "flBv1.0/{fleet}/N{kind}/server", "flBv1.0/{fleet}/D{kind}/{device}/trainer"),
}
