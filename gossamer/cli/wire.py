"""``gossamer wire decode``: any captured message, in words."""

from __future__ import annotations

import dataclasses
import enum
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from gossamer.cli.output import Json, emit
from gossamer.errors import ConfigError, GossamerError, IncompleteMessage
from gossamer.wire import cose
from gossamer.wire.header import UpdateHeader
from gossamer.wire.manifest import Manifest
from gossamer.wire.messages import Absent, Message, Offer, Round, parse

MAX_FILE_BYTES = 64 * 1024 * 1024
"""A capture larger than this is not read: cut it first."""
SHOWN_BYTES = 16

app = typer.Typer(help="Look at messages of the protocol.", no_args_is_help=True)


@app.callback()
def wire() -> None:
    """Look at messages of the protocol."""


@app.command()
def decode(
    file: Annotated[Path, typer.Argument(help="A captured payload (raw or hex), or - for standard input.")],
    as_json: Json = False,
) -> None:
    """Print what captured messages say.

    FILE holds one raw payload, or text with one message a line in hexadecimal digits, a topic before it or not,
    as `mosquitto_sub -F '%t %x'` prints them. Signatures are shown, not verified.

    Example: mosquitto_sub -t 'g1/farm1/#' -F '%t %x' -C 5 | gossamer wire decode -
    """
    rows = [describe(topic, payload) for topic, payload in captured(read(file))]
    emit(rows, as_json=as_json, title="messages")
    if any("error" in row["message"] for row in rows):
        raise typer.Exit(1)


def read(file: Path) -> bytes:
    """Return the capture, at most MAX_FILE_BYTES."""
    try:
        with sys.stdin.buffer if str(file) == "-" else file.open("rb") as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}") from error
    if not data.strip():
        raise ConfigError(f"{file} is empty; expected a captured message, raw or in hexadecimal digits")
    if len(data) > MAX_FILE_BYTES:
        raise ConfigError(f"{file} is larger than {MAX_FILE_BYTES} bytes; cut the capture first")
    return data


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
