"""What the shell completes: names from the store, read by sqlite3 alone, and words that are known here.

A completion must be there before the next key, so nothing here imports SQLAlchemy or numpy, and a store that is busy
completes to nothing. `tests/cli/test_completion.py` holds the words against their registries.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import typer

BUSY_SECONDS = 0.2
MOST = 200
"""Names offered: nobody reads more."""

CODECS = (
    "auto", "fp32", "fp16", "q8", "q4", "nf4", "q4s", "rot4", "rot2", "rot1", "sign", "topk:0.02/q4", "ternary:0.02",
    "randk:0.02/fp16", "hist:0.01",
)  # fmt: skip
RULES = (
    "auto", "bulyan", "centered-clipping", "clipped-differences", "fltrust", "geometric-median", "krum", "mean",
    "median", "multi-krum", "norm-clip", "sign-majority", "trimmed-mean",
)  # fmt: skip
PARTICIPATIONS = ("reshuffled", "uniform", "fixed", "anytime", "importance", "marina")


def device_names(context: typer.Context, incomplete: str) -> list[str]:
    """Ids of devices that begin so."""
    query = "SELECT id FROM devices WHERE id LIKE ? ESCAPE '\\' ORDER BY device_index LIMIT ?"
    return _names(context, query, incomplete)


def job_names(context: typer.Context, incomplete: str) -> list[str]:
    """Names of jobs that begin so."""
    return _names(context, "SELECT name FROM jobs WHERE name LIKE ? ESCAPE '\\' ORDER BY job LIMIT ?", incomplete)


def codecs(incomplete: str) -> list[str]:
    """Specs of codecs that begin so, one of each kind."""
    return list(_beginning(CODECS, incomplete))


def rules(incomplete: str) -> list[str]:
    """Names of rules that begin so."""
    return list(_beginning(RULES, incomplete))


def participations(incomplete: str) -> list[str]:
    """Names of schedules that begin so."""
    return list(_beginning(PARTICIPATIONS, incomplete))


def device_profiles(incomplete: str) -> list[str]:
    """Names of device profiles that begin so."""
    return list(_beginning(_profiles("devices"), incomplete))


def profiles(incomplete: str) -> list[str]:
    """Names of profiles of both kinds that begin so."""
    return device_profiles(incomplete) + link_profiles(incomplete)


def link_profiles(incomplete: str) -> list[str]:
    """Names of link profiles that begin so."""
    return list(_beginning(_profiles("links"), incomplete))


def _beginning(words: tuple[str, ...], incomplete: str) -> Iterator[str]:
    return (word for word in words if word.startswith(incomplete))


def _profiles(kind: str) -> tuple[str, ...]:
    packaged = Path(__file__).parents[1] / "firmware_profiles"
    own = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "gossamer" / "profiles"
    found = {file.stem for place in (packaged, own) for file in (place / kind).glob("*.toml")}
    return tuple(sorted(found))


def _names(context: typer.Context, query: str, incomplete: str) -> list[str]:
    state = context.params.get("state") or os.environ.get("GOSSAMER_STATE") or "gossamer-state"
    store = Path(state).expanduser() / "store.db"
    pattern = incomplete.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
    try:
        with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True, timeout=BUSY_SECONDS)) as db:
            return [name for (name,) in db.execute(query, (pattern, MOST))]
    except sqlite3.Error:
        return []
