"""``gossamer wire decode``: any captured message, in words."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from gossamer.cli.output import Json, emit
from gossamer.errors import ConfigError

MAX_FILE_BYTES = 64 * 1024 * 1024
"""A capture larger than this is not read: cut it first."""

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
    from gossamer.cli.wire_words import captured, describe

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
