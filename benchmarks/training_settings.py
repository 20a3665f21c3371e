"""How each federation is trained with each codec: `federations.toml`, as job settings of the fleet.

A codec that the file does not list takes the settings of the first listed one of its method (``hist:300`` those of
``hist:400``). Two names are no codecs: ``vanilla`` is float32 both ways with one local epoch of batch 32, as Flower's
examples have it; ``fp32`` is float32 with everything tuned. Both are counted as FedAvg would send them, 4 d bytes.
Rows of ``auto`` hold what stays the operator's, learning rate and limit of rounds; the rest is decided as for any job,
without knowing the federation (`gossamer.aggregator.automatic`).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.federations import Federation, federation, model_for
from gossamer.aggregator.automatic import decided
from gossamer.aggregator.jobs import AUTO, FitSettings, JobSettings
from gossamer.compression.layout import Layout
from gossamer.errors import ConfigError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FILE = Path(__file__).with_name("federations.toml")
UNCOMPRESSED = ("vanilla", "fp32")


@dataclass(frozen=True)
class Training:
    """Everything about a run that was chosen; ``rounds`` is the limit, ``codec_up`` what "auto" stands for."""

    codec: str
    codec_down: str
    local_epochs: int
    batch_size: int
    learning_rate: float
    server_step: str = "fedavg"
    rounds: int = 200
    codec_up: str = ""

    @property
    def plain(self) -> bool:
        """Whether payload counts as float32 models."""
        return self.codec in UNCOMPRESSED

    def job(self, federation: Federation, seed: int) -> JobSettings:
        """The same as the settings of a job."""
        up, down = ("fp32", "fp32") if self.plain else (self.codec, AUTO if self.codec == AUTO else self.codec_down)
        settings = JobSettings(
            name=federation.name, job=1, fleet="bench", seed=seed, rounds=self.rounds, cohorts=federation.cohorts,
            server_step=self.server_step, codec_up=up, codec_down=down,
            fit=FitSettings(self.local_epochs, self.batch_size, self.learning_rate),
        )  # fmt: skip
        settings.check()
        return settings

    def to_record(self) -> dict[str, Any]:
        """The keys of a result that say how it was made."""
        record = asdict(self)
        record["round_limit"] = record.pop("rounds")
        record["codec_up"] = self.codec_up or self.codec
        return record


def table(path: Path = FILE) -> dict[str, dict[str, dict[str, Any]]]:
    """Federation -> codec -> settings."""
    with path.open("rb") as file:
        return tomllib.load(file)


def listed_codecs(name: str) -> list[str]:
    """The codecs that the file has settings for, in its order."""
    return list(table().get(name, {}))


def training(name: str, codec: str, **changes: Any) -> Training:
    """The chosen settings, with ``changes``; raises ConfigError if there are none for this method."""
    rows = table().get(name, {})
    if codec in rows:
        chosen = {**rows[codec], **changes}
        return automatic(name, chosen) if codec == AUTO else from_row(codec, chosen)
    method = codec.split(":")[0]
    for listed, row in rows.items():
        if listed.split(":")[0] == method:
            return replace(from_row(codec, row), **{"codec_down": codec, **changes})
    raise ConfigError(f"{FILE.name} has no settings for {name} with {codec}; it has {', '.join(rows)}")


def from_row(codec: str, row: Mapping[str, Any]) -> Training:
    """One table of the file; raises ConfigError."""
    try:
        return Training(codec, **{"codec_down": codec, **row})
    except TypeError as error:
        raise ConfigError(f"{FILE.name}, {codec}: {error}") from error


def automatic(name: str, row: Mapping[str, Any]) -> Training:
    """A row of ``auto`` with what is decided for this federation; raises ConfigError."""
    where, model = federation(name), model_for(name)
    given = from_row(AUTO, {"local_epochs": 1, "batch_size": 1, **row})
    layout = Layout.of(model.init(0), model.axes)
    job, _ = decided(given.job(where, seed=0), layout, where.devices)
    return replace(
        given, codec_up=job.codec_up, codec_down=job.codec_down, local_epochs=job.fit.local_epochs,
        batch_size=job.fit.batch_size, server_step=job.server_step,
    )  # fmt: skip
