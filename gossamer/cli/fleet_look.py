"""``gossamer fleet list``, ``show`` and ``why``: where devices stand, for a person with a coffee and for a script."""

from __future__ import annotations

import enum
import json
import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gossamer.cli.completion import device_names
from gossamer.cli.output import Json, emit, emit_one
from gossamer.cli.reading import DEFAULT_STATE, StateDirectory, reading, when
from gossamer.errors import ConfigError

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from gossamer.aggregator.store.accounts import AccountRow
    from gossamer.aggregator.store.devices import Device
    from gossamer.fleet.facts import Standing
    from gossamer.fleet.why import RoundFacts, Why

SHOWN_ROWS = 5

DeviceName = Annotated[str, typer.Argument(help="Id of the device.", autocompletion=device_names)]


class DeviceChoice(str, enum.Enum):
    """States to list."""

    ENROLLED = "enrolled"
    REVOKED = "revoked"


def list_devices(
    state: StateDirectory = DEFAULT_STATE,
    offline: Annotated[bool, typer.Option("--offline", help="Only devices that are not connected.")] = False,
    absent: Annotated[
        bool, typer.Option("--absent", help="Only devices that the open round wants and something keeps away.")
    ] = False,
    only: Annotated[DeviceChoice | None, typer.Option("--in-state", help="Only devices in this state.")] = None,
    reason: Annotated[
        str | None, typer.Option(help="Only devices with this reason, such as battery, budget or waiting.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List the devices: last contact, model held, cohort, where each stands in the open round, budget.

    The column cohort is the round of this cycle in which the device takes part; reason says where it stands in the
    open round, and gossamer fleet why DEVICE says it in a sentence, with what to do. With --json also index, bucket,
    state and times.

    Example: gossamer fleet list --absent --json
    """
    from gossamer.fleet.facts import standings

    now = time.time()
    with reading(state) as db:
        found = standings(db, now)
    wanted = [
        each
        for each in found
        if not (offline and each.facts.device.online)
        and not (absent and not each.answer.verdict.absent)
        and (only is None or each.facts.device.state.value == only.value)
        and reason in (None, each.answer.reason, each.answer.verdict.value)
    ]
    rows = [listed(each) if as_json else glanced(each, now) for each in wanted]
    empty = "no devices yet: gossamer fleet enroll DEVICE" if not found else f"none of {len(found)} devices"
    emit(rows, as_json=as_json, title=f"devices: {len(rows)} of {len(found)}", empty=empty)


def glanced(standing: Standing, now: float) -> dict[str, Any]:
    """One row of the list for people: what fits a terminal of 80 columns."""
    from gossamer.fleet.words import span

    device = standing.facts.device
    gone = f"{span(max(0.0, now - device.last_seen))} ago" if device.last_seen else "never"
    return {
        "device": device.id,
        "contact": "online" if device.online else gone,
        "model": device.held_version,
        "cohort": standing.turn,
        "reason": standing.answer.reason,
        "budget": budget_text(standing.facts.account),
    }


def listed(standing: Standing) -> dict[str, Any]:
    """The same for programs: all of it."""
    device = standing.facts.device
    return {
        "device": device.id,
        "index": device.index,
        "bucket": device.bucket,
        "state": device.state.value,
        "online": device.online,
        "model_version": device.held_version,
        "last_contact": when(device.last_seen),
        "cohort": standing.turn,
        "reason": standing.answer.reason,
        **spending(standing.facts.account),
    }


def spending(account: AccountRow | None) -> dict[str, Any]:
    """What a device said last of its bytes, for programs."""
    return {
        "profile": account.profile or None if account else None,
        "month": account.month if account else None,
        "spent_bytes": account.spent_bytes if account else None,
        "budget_bytes": account.budget_bytes or None if account else None,
    }


def budget_text(account: AccountRow | None) -> str | None:
    """The same for people: ``1.93 MB of 2 MB``."""
    from gossamer.fleet.words import size

    if account is None:
        return None
    spent = size(account.spent_bytes)
    return f"{spent} of {size(account.budget_bytes)}" if account.budget_bytes else spent


def show_device(name: DeviceName, state: StateDirectory = DEFAULT_STATE, as_json: Json = False) -> None:
    """Show a device: key, place in the cohorts, model, contact, bytes, and its last updates, refusals and absences.

    The fingerprint is that of its public key: gossamer doctor on the device prints the one it really has.

    Example: gossamer fleet show pump-17
    """
    from gossamer.fleet.facts import device_facts, round_facts
    from gossamer.fleet.why import why

    with reading(state) as db:
        device, around = named(db, name), round_facts(db)
        facts = device_facts(db, device, around)
        answer = why(around, facts, time.time())
        told = described(device, around) | spending(facts.account) | {"reason": answer.reason, "because": answer.text}
        tables = histories(db, name)
    if as_json:
        sys.stdout.write(json.dumps(told | tables, indent=2) + "\n")
        return
    emit_one({key: "" if value is None else value for key, value in told.items()}, as_json=False)
    for title, rows in tables.items():
        sys.stdout.write("\n")
        emit(rows, as_json=False, title=f"last {title}", empty=f"no {title}")


def described(device: Device, around: RoundFacts | None) -> dict[str, Any]:
    """What a device is, and its place in the schedule."""
    from gossamer.fleet.keys import fingerprint

    index = device.index
    schedule = None if around is None else around.schedule
    return {
        "device": device.id,
        "state": device.state.value,
        "index": index,
        "bucket": device.bucket,
        "key_fingerprint": fingerprint(device.public_key),
        "online": device.online,
        "last_contact": when(device.last_seen),
        "connections": device.boot,
        "job": device.held_job or None,
        "model_version": device.held_version,
        "round": None if around is None else around.row.round,
        "in_cohort": None if schedule is None else schedule.is_member(index),
        "cohort": None if schedule is None else schedule.turns().get(index),
        "next_turn": None if schedule is None else schedule.next_turn(index),
    }


def histories(db: Connection, name: str) -> dict[str, list[dict[str, Any]]]:
    """The last updates, refusals and absences of a device, newest first."""
    from gossamer.aggregator.store import absences, inbox, rejections

    return {
        "updates": [
            {
                "job": each.job, "round": each.round, "counted_in": each.counted_in, "from_version": each.base_version,
                "sealed_in": each.sealed_in, "received": when(each.received_at),
            }
            for each in inbox.of_device(db, name, SHOWN_ROWS)
        ],
        "refusals": [
            {"reason": each.reason, "count": each.count, "last": when(each.at), "detail": each.detail}
            for each in rejections.by_device(db).get(name, [])[:SHOWN_ROWS]
        ],
        "absences": [
            {
                "job": each.job, "round": each.round, "reason": each.reason.label, "at": when(each.at),
                "detail": each.detail,
            }
            for each in absences.of(db, name, last=SHOWN_ROWS)
        ],
    }  # fmt: skip


def why_not(
    name: DeviceName,
    round_: Annotated[int | None, typer.Option("--round", help="A round of the current job.", min=0)] = None,
    state: StateDirectory = DEFAULT_STATE,
    as_json: Json = False,
) -> None:
    """Say why a device did not take part in the open round (or that it did), and what to do about it.

    The newest fact decides; the others follow, newest first. Exit codes: 0 it took part or need not, 1 the round wanted
    it and something keeps it away.

    Example: gossamer fleet why pump-17 --round 12
    """
    from gossamer.fleet.facts import device_facts, round_facts
    from gossamer.fleet.why import why

    with reading(state) as db:
        device, around = named(db, name), round_facts(db, round_)
        answer = why(around, device_facts(db, device, around), time.time())
    number = None if around is None else around.row.round
    if as_json:
        told = {"device": name, "round": number, **answered(answer)}
        sys.stdout.write(json.dumps(told, indent=2) + "\n")
    else:
        where = "" if around is None else f", round {number} of {around.name}"
        emit_one({"device": f"{name}{where}", "why": answer.text, "do": answer.mend}, as_json=False)
        if answer.facts:
            sys.stdout.write("\n")
            rows = [{"at": when(fact.at), "also": fact.text} for fact in answer.facts]
            emit(rows, as_json=False)
    if answer.verdict.absent:
        raise typer.Exit(1)


def answered(answer: Why) -> dict[str, Any]:
    """An answer for programs."""
    return {
        "verdict": answer.verdict.value,
        "reason": answer.reason,
        "took_part": answer.verdict.took_part,
        "absent": answer.verdict.absent,
        "why": answer.text,
        "do": answer.mend,
        "also": [{"at": when(fact.at), "what": fact.text} for fact in answer.facts],
    }


def named(db: Connection, name: str) -> Device:
    """The device of that id. Raises ConfigError, with the ids that come close."""
    import difflib

    from gossamer.aggregator.store import devices

    found = devices.get(db, name)
    if found is None:
        close = difflib.get_close_matches(name, [device.id for device in devices.every(db)], 3)
        hint = f"did you mean {', '.join(close)}? " if close else ""
        raise ConfigError(f"no device {name} in this fleet; {hint}`gossamer fleet list` names them")
    return found
