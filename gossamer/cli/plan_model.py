"""The parts of ``gossamer plan`` about a model on a device and a link, and about a fleet of such."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gossamer.cli.output import figure, note
from gossamer.errors import ConfigError

if TYPE_CHECKING:
    from gossamer.firmware_profiles import LinkProfile, Profiles
    from gossamer.firmware_profiles.fleet_plan import Fleet, Group
    from gossamer.firmware_profiles.planner import CodecPlan, ModelPlan, Progress, Wish
    from gossamer.firmware_profiles.units import Price

LARGE = 200_000
"""Parameters from which on the codecs take seconds."""
DEVICES = 100
"""Of a fleet whose size nobody says: a number in the manifest, no more."""

Answer = Mapping[str, Any] | Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class ModelQuestion:
    """The options of ``gossamer plan`` that are about a model, as typed."""

    model: str | None
    device: str | None
    link: str | None
    budget: str | None
    price: str | None
    fleet: Path | None
    devices: int | None
    cohorts: int | None
    codecs: tuple[str, ...]
    local_epochs: int | None
    examples: int
    operations: int
    tls: bool
    certificate_bytes: int
    stays: bool
    profiles: Path | None
    write_plans: Path | None


def answers(question: ModelQuestion) -> dict[str, Answer]:
    """All parts: of one device, or of a fleet's groups and their sum. Writes ``--write-plans``."""
    from gossamer.firmware_profiles import Profiles
    from gossamer.firmware_profiles.planner import plan_model

    if question.model is None:
        raise ConfigError("--fleet: expected --model too, with the model whose rounds are to be priced")
    profiles = Profiles.default(question.profiles)
    if question.fleet is not None:
        return _fleet_answers(question, profiles)
    if question.device is None or question.link is None:
        raise ConfigError("--model: expected --device and --link too; gossamer profiles list shows what there is")
    wish = _wish(question, profiles, question.device, question.link)
    plan = plan_model(wish, _progress(wish))
    _write_plans(question, [plan])
    return {
        "question": question_part(plan),
        "bytes": [bytes_row(each, best=each is plan.best) for each in plan.codecs],
        "costs": [costs_row(each, best=each is plan.best) for each in plan.codecs],
        "recommendation": recommendation_part(plan),
    }


def question_part(plan: ModelPlan) -> dict[str, Any]:
    """What was priced."""
    wish = plan.wish
    return {
        "model": _arrays(plan),
        "parameters": wish.layout.size,
        "device": wish.device.name,
        "device_calibrated": wish.device.calibrated or "no: its speeds are estimates",
        "link": wish.link.name,
        "transport": "TLS 1.3" if wish.transport.tls else "plaintext",
        "budget_bytes_a_month": wish.budget,
        "price_a_megabyte": None if wish.price is None else f"{wish.price.of(1e6):g} {wish.price.currency}",
        "devices": wish.devices,
        "cohorts": wish.cohorts,
        "local_epochs": plan.local_epochs,
        "batch_size": plan.batch_size,
        "examples": wish.examples,
        "fit_memory_mib": plan.child_mib,
        "fits_memory": plan.fits_memory,
    }


def bytes_row(plan: CodecPlan, *, best: bool) -> dict[str, Any]:
    """IP bytes of one participation, by cause."""
    return {
        "codec": plan.codec,
        "down": plan.codec_down if plan.codec_down != plan.codec else "same",
        "bytes": plan.round.total,
        "up": plan.round.bytes_up,
        **plan.round.by_cause,
        "best": "<" if best else "",
    }


def costs_row(plan: CodecPlan, *, best: bool) -> dict[str, Any]:
    """Time, energy and money of one participation and of a month."""
    return {
        "codec": plan.codec,
        "bytes": plan.round.total,
        "airtime_s": figure(plan.airtime_seconds),
        "train_s": figure(plan.train_seconds),
        "codec_s": figure(plan.codec_seconds),
        "radio_J": figure(plan.radio_joules),
        "processor_J": figure(plan.processor_joules),
        "price": figure(plan.price_round),
        "rounds_a_month": plan.rounds_month,
        "bytes_a_month": plan.bytes_month,
        "price_a_month": figure(plan.price_month),
        "rounds_needed": figure(plan.rounds_factor),
        "best": "<" if best else "",
    }


def recommendation_part(plan: ModelPlan) -> dict[str, Any]:
    """The codec to take, why, and what the connection costs without any round."""
    best, idle = plan.best, plan.idle.total
    other = None
    if plan.rounds_other_way is not None and plan.rounds_other_way > (best.rounds_month or 0):
        how = "it connected for each round (--sleeps)" if plan.wish.habits.stays else "it stayed connected"
        other = f"{plan.rounds_other_way:,} rounds a month if {how}"
    return {
        "codec": best.codec,
        "codec_down": best.codec_down,
        "local_epochs": plan.local_epochs,
        "why": plan.why,
        "rounds_a_month": best.rounds_month,
        "envelope_bytes": best.round.total - best.encoded.sizes.update - best.encoded.sizes.delta,
        "idle_bytes_a_month": idle,
        "idle_joules_a_month": figure(plan.idle_joules),
        "instead": other,
        "memory": None if plan.fits_memory else f"a fit takes {plan.child_mib} MiB: more than half of the device's",
    }


def _wish(question: ModelQuestion, profiles: Profiles, device: str, link: str) -> Wish:
    from gossamer.agent.config import defaults
    from gossamer.firmware_profiles.byte_model import Habits
    from gossamer.firmware_profiles.exchanges import Names
    from gossamer.firmware_profiles.model_files import layout_of
    from gossamer.firmware_profiles.packets import Transport
    from gossamer.firmware_profiles.planner import Wish
    from gossamer.firmware_profiles.units import bytes_a_month

    _positive(question)
    agent, chosen = defaults(), profiles.link(link)
    cohorts = question.cohorts or 1
    return Wish(
        layout=layout_of(question.model or ""),
        device=profiles.device(device),
        link=chosen,
        budget=None if question.budget is None else bytes_a_month(question.budget),
        price=_price(question.price, chosen),
        devices=max(cohorts, question.devices or DEVICES),
        cohorts=cohorts,
        examples=question.examples,
        local_epochs=question.local_epochs,
        operations=question.operations,
        codecs=question.codecs,
        transport=Transport(
            tls=question.tls, certificate_bytes=question.certificate_bytes, mtu_bytes=chosen.mtu_bytes,
            loss_per_million=chosen.loss_per_million,
        ),
        names=Names(chunk_bytes=agent["chunk_bytes"]),
        plan_bytes=_plan_bytes(question, [device]),
        habits=Habits(
            stays=question.stays,
            keepalive_seconds=agent["broker"]["keepalive_seconds"],
            poll_seconds=int(agent["manifest_poll_seconds"]),
        ),
    )  # fmt: skip


def _progress(wish: Wish) -> Progress:
    """Say which codec is being tried, of models with which that takes a while."""
    if wish.layout.size < LARGE:
        return lambda *_: None
    return lambda codec, number, count: note(f"[{number}/{count}] {codec}")


def _plan_bytes(question: ModelQuestion, classes: Sequence[str]) -> int:
    """What the manifest will carry of plans; their codecs are not known yet, but all specs are about as long."""
    from gossamer.wire.plans import Plan, Plans

    if question.write_plans is None:
        return 0
    return len(Plans(tuple(Plan(name, "ternary:0.01", 8) for name in sorted(set(classes)))).serialize())


def _positive(question: ModelQuestion) -> None:
    for option, value, least in (
        ("--examples", question.examples, 1), ("--local-epochs", question.local_epochs, 1),
        ("--cohorts", question.cohorts, 1), ("--operations", question.operations, 0),
        ("--certificate-bytes", question.certificate_bytes, 1),
    ):  # fmt: skip
        if value is not None and value < least:
            raise ConfigError(f"{option} {value}: expected {least} or more")


def _price(text: str | None, link: LinkProfile) -> Price | None:
    """As given, else the link's own if it is metered."""
    from gossamer.firmware_profiles.units import Price, parse_price

    if text is not None:
        return parse_price(text)
    return Price(link.price_micro_eur_per_megabyte) if link.metered else None


def _arrays(plan: ModelPlan) -> str:
    from gossamer.firmware_profiles.model_files import described

    text = described(plan.wish.layout)
    return text if len(text) <= 120 else f"{text[:100]}... ({len(plan.wish.layout.entries)} arrays)"


# -- fleets ------------------------------------------------------------------------------------------------------------


def _fleet_answers(question: ModelQuestion, profiles: Profiles) -> dict[str, Answer]:
    from gossamer.firmware_profiles.fleet_plan import read_fleet, total
    from gossamer.firmware_profiles.planner import plan_model

    assert question.fleet is not None  # noqa: S101 - asked before
    if question.device or question.link:
        raise ConfigError("--fleet: its groups name device and link; leave --device and --link out")
    fleet = read_fleet(question.fleet)
    plans = []
    for number, group in enumerate(fleet.groups, start=1):
        note(f"group {number} of {len(fleet.groups)}: {group.name}")
        wish = _group_wish(question, profiles, fleet, group)
        plans.append((group, plan_model(wish, _progress(wish))))
    _write_plans(question, [plan for _, plan in plans])
    whole = total(plans)
    prices = ", ".join(f"{figure(amount):g} {currency}" for currency, amount in whole.prices_month.items())
    return {
        "groups": [group_row(group, plan) for group, plan in plans],
        "fleet": {
            "devices": whole.devices,
            "bytes_a_round_of_all": whole.bytes_round,
            "bytes_a_month": whole.bytes_month,
            "price_a_month": prices or None,
            "rounds_a_month": whole.rounds_month,
            "slowest_group": whole.slowest or None,
            "joules_a_round_of_all": figure(whole.joules_round),
        },
    }


def _group_wish(question: ModelQuestion, profiles: Profiles, fleet: Fleet, group: Group) -> Wish:
    own = replace(
        question,
        budget=group.budget or question.budget,
        price=group.price or question.price,
        examples=group.examples or question.examples,
        devices=question.devices or fleet.devices,
        cohorts=question.cohorts or fleet.cohorts or 1,
    )
    return _wish(own, profiles, group.device, group.link)


def group_row(group: Group, plan: ModelPlan) -> dict[str, Any]:
    """One group with its recommended codec."""
    best = plan.best
    return {
        "group": group.name,
        "devices": group.count,
        "device": group.device,
        "link": group.link,
        "codec": best.codec,
        "local_epochs": plan.local_epochs,
        "bytes": best.round.total,
        "airtime_s": figure(best.airtime_seconds),
        "train_s": figure(best.train_seconds),
        "joules": figure(best.joules),
        "idle_a_month": plan.idle.total,
        "rounds_a_month": best.rounds_month,
        "bytes_a_month": best.bytes_month,
        "price_a_month": figure(best.price_month),
    }


def _write_plans(question: ModelQuestion, plans: Sequence[ModelPlan]) -> None:
    from gossamer.firmware_profiles.fleet_plan import plans_toml

    if question.write_plans is None:
        return
    source = f"--fleet {question.fleet}" if question.fleet else f"--device {question.device} --link {question.link}"
    try:
        question.write_plans.write_text(plans_toml(plans, f"gossamer plan --model {question.model} {source}"))
    except OSError as error:
        raise ConfigError(f"--write-plans {question.write_plans} cannot be written: {error}") from error
    note(f"wrote {question.write_plans}: gossamer job create --plans {question.write_plans} ...")
