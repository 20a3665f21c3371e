"""``gossamer config``: every setting with its default, or with what a file makes of it."""

from __future__ import annotations

import dataclasses
import enum
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from gossamer.cli.output import Json, emit

SECRET = frozenset({"password", "device_key", "token"})


class Side(str, enum.Enum):
    """Whose settings."""

    AGENT = "agent"
    SERVER = "server"


def config(
    side: Annotated[Side, typer.Argument(help="Whose settings.")] = Side.AGENT,
    file: Annotated[
        Path | None, typer.Option("--config", help="Show what this file (and the environment) makes of them.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show every setting: the commented defaults, or with --config the values in force.

    A server's file is the server.toml of its state directory.

    Example: gossamer config agent > agent.toml
    """
    if file is None and not as_json:
        sys.stdout.write(_defaults_file(side).read_text(encoding="utf-8"))
        return
    flat = _flat(_in_force(side, file) if file else _defaults(side))
    emit([{"key": key, "value": value} for key, value in flat.items()], as_json=as_json, title=f"{side.value}")


def _defaults_file(side: Side) -> Path:
    if side is Side.AGENT:
        from gossamer.agent.config import DEFAULTS_FILE
    else:
        from gossamer.fleet.server_files import DEFAULTS_FILE
    return DEFAULTS_FILE


def _defaults(side: Side) -> dict[str, Any]:
    from gossamer.settings import read_toml

    return read_toml(_defaults_file(side), "the package is damaged; install it again")


def _in_force(side: Side, file: Path) -> dict[str, Any]:
    if side is Side.AGENT:
        from gossamer.agent.config import load

        return dataclasses.asdict(load(file))
    from gossamer.errors import ConfigError
    from gossamer.fleet.server_files import ServerFiles

    files = ServerFiles(file.parent)
    if files.config.name != file.name:
        raise ConfigError(f"a server reads server.toml in its state directory; {file} has another name")
    return dataclasses.asdict(files.settings())


def _flat(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in table.items():
        name = prefix + key
        if isinstance(value, dict) and key != "trainer_options":
            found |= _flat(value, f"{name}.")
        elif key in SECRET and value:
            found[name] = "(set)"
        elif isinstance(value, Path):
            found[name] = str(value)
        elif isinstance(value, list):
            found[name] = [str(each) for each in value]
        else:
            found[name] = value
    return found
