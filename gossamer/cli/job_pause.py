"""``gossamer job pause`` and ``job resume``: hold a job where it is, and go on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gossamer.cli.completion import job_names
from gossamer.cli.output import Json, emit_one, note
from gossamer.cli.reading import DEFAULT_STATE, StateDirectory

if TYPE_CHECKING:
    from collections.abc import Callable

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from gossamer.aggregator.store import Store

    Change = Callable[[Store, Ed25519PrivateKey, str], None]

JobName = Annotated[str, typer.Argument(help="The job's name.", autocompletion=job_names)]


def pause(name: JobName, state: StateDirectory = DEFAULT_STATE, as_json: Json = False) -> None:
    """Pause a job: devices rest from the next manifest they hear on, and no round is sealed.

    Example: gossamer job pause gait
    """
    from gossamer.aggregator.pausing import pause_job

    _change(pause_job, name, state, "paused", as_json)
    note(f"{name} is paused; gossamer job resume {name} goes on with it.")


def resume(name: JobName, state: StateDirectory = DEFAULT_STATE, as_json: Json = False) -> None:
    """Go on with a paused job, in the round in which it was paused.

    Example: gossamer job resume gait
    """
    from gossamer.aggregator.pausing import resume_job

    _change(resume_job, name, state, "open", as_json)
    note(f"{name} goes on.")


def _change(change: Change, name: str, state: Path, becomes: str, as_json: bool) -> None:
    from gossamer.aggregator.store import Store
    from gossamer.fleet.keys import load_key
    from gossamer.fleet.server_files import ServerFiles

    files = ServerFiles(state)
    files.settings()
    store = Store.open(files.store)
    try:
        change(store, load_key(files.key), name)
    finally:
        store.close()
    if as_json:
        emit_one({"name": name, "state": becomes}, as_json=True)
