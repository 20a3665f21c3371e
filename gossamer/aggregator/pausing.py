"""Pausing a job: its round stays open, what arrives is still counted, but nothing is sealed.

The manifest says so, signed anew, so that devices begin no training that would wait.
"""

from __future__ import annotations

from dataclasses import replace

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gossamer.aggregator.jobs import JobSettings
from gossamer.aggregator.manifests import signed_round
from gossamer.aggregator.store import Store, jobs, rounds
from gossamer.aggregator.store.jobs import JobRow, JobState
from gossamer.errors import ConfigError, StoreError
from gossamer.wire import codes
from gossamer.wire.cose import open_unverified
from gossamer.wire.manifest import Manifest
from gossamer.wire.messages import Round, parse


def pause_job(store: Store, key: Ed25519PrivateKey, name: str) -> None:
    """Pause a job; a paused one stays paused.

    Raises:
        ConfigError: no such job, or it is finished.
    """
    _set(store, key, name, JobState.PAUSED, codes.JobState.PAUSED)


def resume_job(store: Store, key: Ed25519PrivateKey, name: str) -> None:
    """Go on with a paused job. Raises as :func:`pause_job`."""
    _set(store, key, name, JobState.OPEN, codes.JobState.OPEN)


def _set(store: Store, key: Ed25519PrivateKey, name: str, state: JobState, said: codes.JobState) -> None:
    with store.write() as db:
        row = next((job for job in jobs.every(db) if job.name == name), None)
        held = None if row is None else jobs.lock(db, row.job, exclusive=True)
        if held is None:
            raise ConfigError(f"no job {name!r}; `gossamer job list` names them")
        if held.state is JobState.FINISHED:
            raise ConfigError(f"job {name!r} is finished; there is nothing to pause or resume")
        jobs.set_state(db, held.job, state)
        latest = rounds.latest(db, held.job)
        if latest is not None and latest.manifest is not None:
            manifest = replace(_manifest(latest.manifest), state=said)
            rounds.set_manifest(db, held.job, latest.round, signed_round(manifest, key, _fleet(held)))


def _manifest(message: bytes) -> Manifest:
    """Read a manifest of our own store; who signed it does not matter, it is signed anew."""
    found = parse(bytes(message))
    if not isinstance(found, Round):
        raise StoreError("the store holds a manifest that is none; restore it from a backup")
    return Manifest.parse(open_unverified(found.cose)[0])


def _fleet(job: JobRow) -> str:
    return JobSettings.from_json(job.settings).fleet
