"""The server's store, opened for one look."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gossamer.errors import ConfigError

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from gossamer.aggregator.store.jobs import JobRow


StateDirectory = Annotated[Path, typer.Option("--state", help="The server's state directory.", envvar="GOSSAMER_STATE")]
DEFAULT_STATE = Path("gossamer-state")


def when(seconds: float) -> str | None:
    """Return seconds since the epoch as ISO 8601 in UTC; None for never."""
    from gossamer.fleet.words import moment

    return moment(seconds) if seconds else None


@contextmanager
def reading(state: Path) -> Iterator[Connection]:
    """Open the store of a state directory for reading. Raises ConfigError where there is no fleet."""
    from gossamer.aggregator.store import Store
    from gossamer.fleet.server_files import ServerFiles

    files = ServerFiles(state)
    files.settings()
    store = Store.open(files.store)
    try:
        with store.read() as db:
            yield db
    finally:
        store.close()


def job_named(db: Connection, name: str, state: Path) -> JobRow:
    """Return a job by its name. Raises ConfigError for a name that is none."""
    from gossamer.aggregator.store import jobs

    for job in jobs.every(db):
        if job.name == name:
            return job
    raise ConfigError(f"no job {name!r} in {state}; `gossamer job list` names them")
