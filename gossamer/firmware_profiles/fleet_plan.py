"""The plan of a whole fleet: groups of devices of one class on one link, priced each and summed.

A fleet file is TOML::

    cohorts = 5                       # of the fleet, if not given on the command line

    [[groups]]
    name = "pumps"
    count = 40
    device = "pi-zero-2w"
    link = "gprs"
    budget = "2MB/month"              # of each device
    price = "0.10 EUR/MB"             # else that of the link's profile
    examples = 300
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gossamer.errors import ConfigError, MalformedMessage
from gossamer.firmware_profiles.planner import ModelPlan
from gossamer.settings import read_toml
from gossamer.wire.plans import Plan, Plans

_KEYS = {"name": str, "count": int, "device": str, "link": str, "budget": str, "price": str, "examples": int}
_NEEDED = ("count", "device", "link")


@dataclass(frozen=True, slots=True)
class Group:
    """Devices that are alike; ``budget`` and ``price`` as written, empty where the file has none."""

    name: str
    count: int
    device: str
    link: str
    budget: str = ""
    price: str = ""
    examples: int = 0


@dataclass(frozen=True, slots=True)
class Fleet:
    """Groups, and the rounds of a cycle (0: not said)."""

    groups: tuple[Group, ...]
    cohorts: int = 0

    @property
    def devices(self) -> int:
        """Of all groups."""
        return sum(group.count for group in self.groups)


def read_fleet(path: Path) -> Fleet:
    """Read a fleet file; raises `ConfigError` naming the group and the key."""
    table = read_toml(path, "a fleet file has [[groups]] with count, device and link")
    strangers = set(table) - {"groups", "cohorts"}
    groups = table.get("groups")
    if strangers or not isinstance(groups, list) or not groups:
        what = f"unknown key {min(strangers)}" if strangers else "no [[groups]]"
        raise ConfigError(f"{path}: {what}; expected cohorts and [[groups]] with {', '.join(_KEYS)}")
    cohorts = table.get("cohorts", 0)
    if type(cohorts) is not int or cohorts < 0:
        raise ConfigError(f"{path}: cohorts: expected a whole number from 1, got {cohorts!r}")
    made = tuple(_group(each, number, path) for number, each in enumerate(groups, start=1))
    names = [group.name for group in made]
    if len(set(names)) < len(names):
        raise ConfigError(f"{path}: expected every group to have its own name, got {', '.join(names)}")
    return Fleet(made, cohorts)


def _group(table: Any, number: int, path: Path) -> Group:
    if not isinstance(table, Mapping):
        raise ConfigError(f"{path}: group {number}: expected a table with {', '.join(_NEEDED)}, got {table!r}")
    where = f"{path}: group {table.get('name', number)}"
    for key, value in table.items():
        if key not in _KEYS:
            raise ConfigError(f"{where}: unknown key {key}; expected {', '.join(_KEYS)}")
        if type(value) is not _KEYS[key]:
            raise ConfigError(f"{where}: {key}: expected {'text' if _KEYS[key] is str else 'a number'}, got {value!r}")
    missing = [key for key in _NEEDED if key not in table]
    if missing:
        raise ConfigError(f"{where}: {missing[0]} is missing")
    if table["count"] < 1 or table.get("examples", 1) < 1:
        raise ConfigError(f"{where}: count and examples: expected 1 or more")
    return Group(**{"name": f"group-{number}", **table})


@dataclass(frozen=True, slots=True)
class FleetSum:
    """What all devices of a fleet take together. A round is one participation of every device of a cycle.

    ``rounds_month``: participations of the device that gets the fewest, whom a synchronous fleet waits for.
    """

    devices: int
    bytes_round: int
    bytes_month: int | None
    rounds_month: int | None
    slowest: str
    joules_round: float
    prices_month: Mapping[str, float]


def total(plans: Sequence[tuple[Group, ModelPlan]]) -> FleetSum:
    """The sum over groups, each with its own recommended codec."""
    months = [(plan.best.rounds_month, group.name) for group, plan in plans if plan.best.rounds_month is not None]
    rounds, slowest = min(months, default=(None, ""))
    prices: dict[str, float] = {}
    volume = 0
    for group, plan in plans:
        volume += group.count * (plan.best.bytes_month or 0)
        if plan.wish.price is not None and plan.best.price_month is not None:
            currency = plan.wish.price.currency
            prices[currency] = prices.get(currency, 0.0) + group.count * plan.best.price_month
    return FleetSum(
        sum(group.count for group, _ in plans),
        sum(group.count * plan.best.round.total for group, plan in plans),
        volume if len(months) == len(plans) else None,
        rounds,
        slowest,
        sum(group.count * plan.best.joules for group, plan in plans),
        prices,
    )


def plans_toml(plans: Sequence[ModelPlan], made_by: str) -> str:
    """The file that ``gossamer job create --plans`` reads: ``[plans.CLASS]`` with codec and local epochs.

    Where two plans are of one class, on different links, the one with the fewer rounds a month decides: what the
    thinner link can carry, the other can, too. ``hist`` is not among the codecs: all devices of a job draw on the same
    past, so that it is the job's codec or nobody's. A comment says where it would have been cheaper.

    Raises:
        ConfigError: more classes than a manifest has room for.
    """
    chosen: dict[str, ModelPlan] = {}
    for plan in plans:
        before = chosen.get(plan.wish.device.name)
        if before is None or _tightness(plan) < _tightness(before):
            chosen[plan.wish.device.name] = plan
    try:
        Plans(tuple(Plan(name, each.best_by_class.codec, each.local_epochs) for name, each in sorted(chosen.items())))
    except MalformedMessage as error:
        raise ConfigError(f"plans: {error}; plan for fewer classes of devices") from error
    most = max(plan.local_epochs for plan in plans)
    lines = [f"# Made by: {made_by}", f"# The job's own fit.local_epochs has to be {most} or more."]
    for name, plan in sorted(chosen.items()):
        lines += ["", f"[plans.{name}]", f"codec = {json.dumps(plan.best_by_class.codec)}"]
        lines += [f"local_epochs = {plan.local_epochs}"]
        if plan.best is not plan.best_by_class:
            lines.append(f"# cheaper, as the codec of the whole job: {plan.best.codec} ({plan.best.round.total} bytes)")
    return "\n".join(lines) + "\n"


def _tightness(plan: ModelPlan) -> tuple[float, float]:
    rounds = float("inf") if plan.best.rounds_month is None else float(plan.best.rounds_month)
    return rounds, -plan.best.airtime_seconds
