"""A captured message, in words: what ``gossamer wire decode`` prints."""

from __future__ import annotations

import dataclasses
import enum
from typing import Any

from gossamer.errors import GossamerError, IncompleteMessage
from gossamer.wire import cose
from gossamer.wire.header import UpdateHeader
from gossamer.wire.manifest import Manifest
from gossamer.wire.messages import Absent, Message, Offer, Round, parse

SHOWN_BYTES = 16


def captured(data: bytes) -> list[tuple[str, bytes]]:
    """Return (topic or '', payload) for every message in a capture."""
    try:
        lines = [line.split() for line in data.decode("ascii").splitlines() if line.strip()]
        return [_line(words) for words in lines]
    except ValueError:
        return [("", data)]


def _line(words: list[str]) -> tuple[str, bytes]:
    if len(words) == 1 and "/" in words[0]:
        return words[0], b""  # a topic and no payload: a retained message was deleted
    return words[0] if len(words) > 1 else "", bytes.fromhex(words[-1])


def describe(topic: str, payload: bytes) -> dict[str, Any]:
    """Return one row: topic, bytes, type, and every field in words."""
    row: dict[str, Any] = {"topic": topic, "bytes": len(payload)}
    try:
        message = parse(payload)
    except IncompleteMessage as error:
        return {**row, "message": "error: incomplete", "fields": str(error)}
    except GossamerError as error:
        return {**row, "message": "error: malformed", "fields": str(error)}
    fields = ", ".join(f"{key} {value}" for key, value in in_words(message).items())
    return {**row, "message": type(message).__name__.upper(), "fields": fields}


def in_words(message: Message) -> dict[str, str]:
    """Return the fields of a message, with what is inside a signature unwrapped."""
    values = {f.name: getattr(message, f.name) for f in dataclasses.fields(message)}
    fields = {name: _value(value) for name, value in values.items() if value is not None}
    if isinstance(message, Absent):
        fields["reason"] += f" ({message.absence.label})"
    try:
        if isinstance(message, Round):
            fields = _inside(Manifest.parse(cose.open_unverified(message.cose)[0]))
        elif isinstance(message, Offer) and message.header:
            fields["header"] = "{" + _joined(_inside(UpdateHeader.parse(cose.open_unverified(message.header)[0]))) + "}"
    except GossamerError as error:
        fields["inside"] = f"error: {error}"
    return fields


def _inside(record: Manifest | UpdateHeader) -> dict[str, str]:
    return {f.name: _value(getattr(record, f.name)) for f in dataclasses.fields(record)}


def _joined(fields: dict[str, str]) -> str:
    return ", ".join(f"{key} {value}" for key, value in fields.items())


def _value(value: object) -> str:
    if isinstance(value, bytes):
        shown = value[:SHOWN_BYTES].hex()
        return shown if len(value) <= SHOWN_BYTES else f"{shown}... ({len(value)} bytes)"
    if isinstance(value, enum.Enum):
        return value.name.lower().replace("_", "-")
    if isinstance(value, tuple):
        return "[" + "; ".join(_value(item) for item in value) + "]"
    if dataclasses.is_dataclass(value):
        inner = {f.name: _value(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return "{" + _joined(inner) + "}"
    return str(value)
