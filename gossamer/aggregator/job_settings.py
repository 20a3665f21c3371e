"""What a job is: the settings an operator writes.

``JobSettings`` reads from one table of a TOML or JSON file::

    name = "gait"            # how people call it
    job = 1                  # its number on the wire
    fleet = "demo"
    seed = 7                 # the same seed and the same data give the same model, to the bit
    rounds = 40
    cohorts = 5              # a cycle takes every device once, in so many rounds
    codec_up = "ternary:0.05"
    codec_down = "ternary:0.05"
    [fit]
    local_epochs = 2
    [closing]
    deadline_seconds = 3600
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gossamer.aggregator.job_checks import AUTO, check_together
from gossamer.aggregator.privacy.settings import PrivacySettings
from gossamer.aggregator.rules import rule
from gossamer.aggregator.server_step import server_step
from gossamer.aggregator.store import models
from gossamer.compression import codec
from gossamer.compression.hist import HIST
from gossamer.compression.memory import memory
from gossamer.compression.nf4 import NF4
from gossamer.compression.registry import method_of
from gossamer.errors import ConfigError, InputError
from gossamer.wire.participation import Participation, ParticipationRule

MAX_MEMORY_CHARS = 24  # it travels in the manifest
MICRO = 1_000_000  # learning rates travel as integers
SCHEDULES = ("constant", "cosine")
AT_DEADLINE = ("seal", "extend")
#: A late update weighs 1/sqrt(1 + lag): beyond this it is hardly a tenth, and receipts must outlive it.
MAX_LAG = 50


@dataclass(frozen=True, slots=True)
class LinkSettings:
    """The link of most devices, for ``codec_up = "auto"``.

    ``envelope_bytes``: IP bytes of a participation beside the bodies; ``per_byte_micro``: what every byte of a body
    adds to itself on the way, in millionths; both as benchmarks/envelope.py measures them. ``metered``: each byte
    costs.
    """

    envelope_bytes: int = 1500
    per_byte_micro: int = 98_000
    bytes_per_second: int = 2500
    metered: bool = True

    def check(self) -> None:
        """Raises ConfigError, naming the key."""
        _expect(self.envelope_bytes >= 0, "link.envelope_bytes", self.envelope_bytes, "0 or more")
        _expect(self.per_byte_micro >= 0, "link.per_byte_micro", self.per_byte_micro, "0 or more")
        _expect(self.bytes_per_second > 0, "link.bytes_per_second", self.bytes_per_second, "above 0")


@dataclass(frozen=True, slots=True)
class FitSettings:
    """Local training. ``schedule`` lowers the learning rate over the job: constant, or half a cosine.

    ``adaptive``: each device finds out how many epochs, up to ``local_epochs``, bring most per byte.
    """

    local_epochs: int = 1
    batch_size: int = 32
    learning_rate: float = 0.1
    schedule: str = "constant"
    adaptive: bool = False

    def check(self) -> None:
        """Raises ConfigError, naming the key."""
        _expect(1 <= self.local_epochs <= 10_000, "fit.local_epochs", self.local_epochs, "1 to 10000")
        _expect(1 <= self.batch_size <= 1 << 20, "fit.batch_size", self.batch_size, "1 to 1048576")
        in_range = 1 / MICRO <= self.learning_rate <= 1000.0
        _expect(in_range, "fit.learning_rate", self.learning_rate, "0.000001 to 1000")
        _expect(self.schedule in SCHEDULES, "fit.schedule", self.schedule, " or ".join(SCHEDULES))

    def learning_rate_micro(self, round_: int, rounds: int) -> int:
        """The learning rate of a round in millionths, never 0."""
        rate = self.learning_rate
        if self.schedule == "cosine":
            rate *= 0.5 * (1.0 + math.cos(math.pi * round_ / rounds))
        return max(1, round(rate * MICRO))


@dataclass(frozen=True, slots=True)
class ClosingSettings:
    """When a round closes.

    ``quorum``: so many updates of the round's own cohort close it at once (0: all of the cohort).
    ``deadline_seconds``: how long the server waits for them, not counting time in which it did not run.
    ``at_deadline``: ``seal`` with what is there, be it nothing; ``extend`` until the quorum.
    ``minimum_updates``: with fewer (or fewer than the rule needs) at the deadline, the round closes
    empty-handed: the model's target stays where it is, and the updates that did come count in the next round,
    as late ones do. Nothing that was told *counted* is lost (I1). The last round has no next one: it counts
    what it has if that is enough for the rule, and otherwise stays open until it is; with nothing at all it
    closes.
    ``max_lag``: an update up to so many versions late still counts, at weight 1/sqrt(1 + lag).

    Whatever ``at_deadline`` is, a round closes at once when all that is expected is in, also when that is
    nothing because its whole cohort is revoked. Only a fleet without any enrolled device waits: for one. A
    silent fleet spends a round per deadline; ``extend`` is for those that would rather wait. With rule ``fltrust``
    no round closes without an update of the trusted device.
    """

    quorum: int = 0
    deadline_seconds: float = 3600.0
    at_deadline: str = "seal"
    minimum_updates: int = 1
    max_lag: int = 4

    def check(self) -> None:
        """Raises ConfigError, naming the key."""
        _expect(self.quorum >= 0, "closing.quorum", self.quorum, "0 (the whole cohort) or more")
        positive = 0.0 < self.deadline_seconds < math.inf
        _expect(positive, "closing.deadline_seconds", self.deadline_seconds, "a positive number")
        known = self.at_deadline in AT_DEADLINE
        _expect(known, "closing.at_deadline", self.at_deadline, " or ".join(AT_DEADLINE))
        _expect(self.minimum_updates >= 1, "closing.minimum_updates", self.minimum_updates, "1 or more")
        _expect(0 <= self.max_lag <= MAX_LAG, "closing.max_lag", self.max_lag, f"0 to {MAX_LAG}")


@dataclass(frozen=True, slots=True)
class ThreatSettings:
    """Whom ``rule = "auto"`` is to choose against.

    ``byzantine_fraction``: of the whole fleet that may attack. ``failure``: the probability that may be left, for
    each cohort, that it has more attackers than its rule bears.
    """

    byzantine_fraction: float = 0.0
    failure: float = 1e-3

    def check(self) -> None:
        """Raises ConfigError, naming the key."""
        fraction = self.byzantine_fraction
        _expect(0.0 <= fraction <= 1.0, "threat.byzantine_fraction", fraction, "0 to 1")
        _expect(0.0 < self.failure < 1.0, "threat.failure", self.failure, "above 0, below 1")


@dataclass(frozen=True, slots=True)
class PlanSettings:
    """Table [plans.CLASS]: what devices of a class do; ``codec`` empty, ``local_epochs`` 0: what all do."""

    codec: str = ""
    local_epochs: int = 0


@dataclass(frozen=True, slots=True)
class JobSettings:
    """Everything that decides a job's result, and nothing else.

    ``codec_up = codec_down = "auto"`` are replaced when the job is created, by `gossamer.aggregator.automatic`; with
    ``device_choice`` devices may send in another codec than ``codec_up``, by the link they are on. ``method``: how
    devices train and what they send (`gossamer.methods`). ``objective``: what trainers that leave it to the job
    optimise (`gossamer.objectives`); empty: their own loss. ``rule = "auto"`` is chosen by ``threat``. ``workers``:
    threads of a seal; no result depends on it. ``privacy``: None, or the table [privacy]
    (`gossamer.aggregator.privacy`). ``plans``: of classes of devices, by name.
    """

    name: str
    job: int
    fleet: str
    seed: int
    rounds: int
    cohorts: int = 1
    participation: str = "reshuffled"
    rule: str = "mean"
    server_step: str = "fedavg"
    method: str = "fedavg"
    codec_up: str = "ternary:0.05"
    codec_down: str = "ternary:0.05"
    memory: str = "ef14"
    device_choice: bool = False
    objective: str = ""
    workers: int = 1
    fit: FitSettings = field(default_factory=FitSettings)
    link: LinkSettings = field(default_factory=LinkSettings)
    closing: ClosingSettings = field(default_factory=ClosingSettings)
    threat: ThreatSettings = field(default_factory=ThreatSettings)
    privacy: PrivacySettings | None = None
    plans: tuple[tuple[str, PlanSettings], ...] = ()

    def check(self) -> None:
        """Raises ConfigError, naming the key and what it expects."""
        _expect(bool(self.name), "name", self.name, "a name")
        _expect(1 <= self.job < 1 << 31, "job", self.job, "1 to 2147483647")
        _expect(1 <= len(self.fleet) <= 8, "fleet", self.fleet, "1 to 8 characters")
        _expect(0 <= self.seed < 1 << 63, "seed", self.seed, "0 to 2^63 - 1")
        _expect(1 <= self.rounds < 1 << 31, "rounds", self.rounds, "1 to 2147483647")
        _expect(self.cohorts >= 1, "cohorts", self.cohorts, "1 or more")
        automatic = self.codec_up == AUTO
        if automatic != (self.codec_down == AUTO):
            raise ConfigError(f"codec_up and codec_down: expected both to be {AUTO!r}, or neither")
        try:
            ParticipationRule.named(self.participation)
            for spec in (self.codec_up, self.codec_down):
                if not automatic:
                    codec(spec)
            summed = memory(self.memory).summed
        except InputError as error:
            raise ConfigError(f"job {self.name}: {error}") from error
        if self.device_choice and method_of(self.codec_up) not in ("ternary", HIST.name):
            raise ConfigError(
                f"device_choice: expected codec_up to be ternary or hist, which devices can choose about; got "
                f"{self.codec_up!r}"
            )
        _expect(len(self.memory) <= MAX_MEMORY_CHARS, "memory", self.memory, f"at most {MAX_MEMORY_CHARS} characters")
        varied = automatic or self.device_choice or codec(self.codec_up).method == HIST.name
        if summed and (self.rule not in ("mean", AUTO) or varied):
            what = f"rule {self.rule!r} and codec_up {self.codec_up!r}"
            raise ConfigError(
                f"memory = {self.memory!r}: expected rule 'mean' and a codec other than hist, got {what}: what "
                "devices send are differences to what they sent before, which no rule can compare"
            )
        if self.rule != AUTO:
            rule(self.rule)
        self.threat.check()
        server_step(self.server_step)
        check_together(self)
        _expect(1 <= self.workers <= 64, "workers", self.workers, "1 to 64 threads")
        self.fit.check()
        self.link.check()
        self.closing.check()

    @property
    def cycle(self) -> int:
        """Rounds over which the model keeps its history, or 0: no codec of this job draws on it."""
        return self.cohorts if HIST.name in (method_of(self.codec_up), method_of(self.codec_down)) else 0

    @property
    def planned_codecs(self) -> tuple[str, ...]:
        """Codecs other than ``codec_up`` that a class of devices sends in."""
        return tuple(sorted({plan.codec for _, plan in self.plans if plan.codec} - {self.codec_up}))

    @property
    def trusted(self) -> int | None:
        """Index of the device that is the root of trust, and so takes part in every round; None: there is none."""
        name, _, index = self.rule.partition(":")
        return int(index) if name == "fltrust" else None

    @property
    def one_rotation(self) -> bool:
        """Whether all devices of a round rotate alike, so that their votes can be counted packed."""
        return self.rule.endswith("sign-majority") and self.codec_up.startswith("rot")

    @property
    def learns_codebooks(self) -> bool:
        """Whether updates are coded with tables that are fitted to earlier ones."""
        return self.codec_up == NF4.name

    @property
    def states_kept(self) -> int:
        """Latest versions kept whole: an update as late as may be is read with the model it was made from."""
        return max(models.LATTICES_KEPT, self.closing.max_lag + 2)

    def schedule(self, devices: int) -> Participation:
        """Return who takes part when, for a fleet of so many devices (at least ``cohorts``)."""
        named = ParticipationRule.named(self.participation)
        return Participation(named, self.seed, devices, self.cohorts)

    @classmethod
    def from_mapping(cls, table: Mapping[str, Any]) -> JobSettings:
        """Build settings from a table of a TOML or JSON file.

        Raises:
            ConfigError: a key that is unknown, missing, or has a value that cannot be.
        """
        values = dict(table)
        values["link"] = _build(LinkSettings, values.get("link", {}), "link.")
        values["fit"] = _build(FitSettings, values.get("fit", {}), "fit.")
        values["threat"] = _build(ThreatSettings, values.get("threat", {}), "threat.")
        values["closing"] = _build(ClosingSettings, values.get("closing", {}), "closing.")
        values["plans"] = _plans(values.get("plans", {}))
        if values.get("privacy") is not None:
            values["privacy"] = _build(PrivacySettings, values["privacy"], "privacy.")
        settings: JobSettings = _build(cls, values, "")
        settings.check()
        return settings

    def to_mapping(self) -> dict[str, Any]:
        """The inverse of :meth:`from_mapping`."""
        table = dataclasses.asdict(self)
        plans = {name: dataclasses.asdict(plan) for name, plan in self.plans}
        return {**table, "plans": plans} if plans else {key: table[key] for key in table if key != "plans"}

    def to_json(self) -> str:
        """Return the settings as one line of JSON."""
        return json.dumps(self.to_mapping(), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> JobSettings:
        """The inverse of :meth:`to_json`; raises as :meth:`from_mapping`."""
        return cls.from_mapping(json.loads(text))


def _plans(table: Any) -> tuple[tuple[str, PlanSettings], ...]:
    if not isinstance(table, Mapping):
        raise ConfigError(f"plans = {table!r}: expected tables [plans.CLASS] with codec and local_epochs")
    return tuple((str(name), _build(PlanSettings, values, f"plans.{name}.")) for name, values in sorted(table.items()))


def _expect(holds: bool, key: str, value: object, expected: str) -> None:
    if not holds:
        raise ConfigError(f"{key} = {value!r}: expected {expected}")


def _build(kind: Any, values: Any, prefix: str) -> Any:
    """Make a settings object from a table, with every value of the type its field has."""
    if dataclasses.is_dataclass(values):
        return values
    known = {f.name: f for f in dataclasses.fields(kind)}
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise ConfigError(f"unknown key {prefix}{unknown[0]}; known are {', '.join(known)}")
    for name, value in values.items():
        wanted = {"int": int, "float": (int, float), "str": str, "bool": bool}.get(str(known[name].type))
        if wanted is not None and (not isinstance(value, wanted) or isinstance(value, bool) != (wanted is bool)):  # type: ignore[arg-type]
            raise ConfigError(f"{prefix}{name} = {value!r}: expected {known[name].type}")
    missing = [name for name, f in known.items() if name not in values and _required(f)]
    if missing:
        raise ConfigError(f"{prefix}{missing[0]} is missing")
    return kind(**values)


def _required(f: dataclasses.Field[Any]) -> bool:
    return f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
