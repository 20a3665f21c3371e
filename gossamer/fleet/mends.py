"""What an operator can do about each answer of :mod:`gossamer.fleet.why`: one line each."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gossamer.wire.codes import Absence

NOTHING = "nothing to do"
LATE = "nothing to do; if it happens often, give rounds a longer closing.deadline_seconds"
NO_JOB = "gossamer job create FILE, and gossamer serve to open its first round"
REVOKED = "gossamer fleet enroll {0} ... gives it a new key, if it is to come back"
FINISHED = "nothing to do; the next job begins by itself once it is created"
ITS_TURN = "nothing to do; its turn comes"
PAUSED = "gossamer job resume {0} when what it was paused for is over"
UPLOADING = "nothing to do; what is here stays here, also across an outage"
WAITING = "nothing to do before the deadline; gossamer doctor on the device if it never sends"
NEVER_SEEN = "carry its configuration to it and start the agent; gossamer doctor there finds what is wrong"
OFFLINE = "look at its power and signal; gossamer doctor --config FILE on the device says what it can reach"
OTHER_JOB = "its configuration may hold it to another job: see the key job in gossamer config agent --config FILE"
MISSED = "look at the device's log of that time: journalctl -u gossamer-agent"

_ABSENT = {
    "window": "nothing to do; its windows are the key available of its configuration",
    "metered": "it waits for an unmetered link; gates.metered = \"allow\" lets it pay",
    "roaming": "it waits for its home network; gates.roaming = \"allow\" lets it pay",
    "battery": "let it charge, or lower gates.battery_percent",
    "charging": "plug it in, or set gates.charging_required = false",
    "temperature": "let it cool, shade it, or raise gates.temperature_celsius",
    "load": "other work has the machine; raise gates.load_percent if training may compete",
    "other": "read the detail, and the device's log",
    "disk": "free some space on the device, or lower gates.disk_free_bytes",
    "command": "the site's own gates.command said no; its line says why",
    "budget": "the next month refills it; a larger budget.monthly_bytes or a cheaper plan helps before that",
    "training": "read the device's log: journalctl -u gossamer-agent; gossamer doctor --train on it repeats the fit",
    "abstained": "nothing to do; the schedule lets devices decide by lot whether an update is worth sending",
}

_REJECTED = {
    "bad-signature": "another key signed: revoke and enroll {0} again, and find out who sent that",
    "malformed": "update the agent on {0}; if it is current, somebody else writes on its topics",
    "too-large": "look at the trainer of {0}: its weights leave what the model can hold, or its codec is another",
    "wrong-layout": "the trainer of {0} has another model than the job's: install the one it was created with",
    "non-finite": "the training of {0} diverges: lower the learning rate, or look at its data",
    "unknown-codec": "update the agent on {0}: it sends in a codec that the job does not use",
    "wrong-job": "its configuration may hold {0} to a job that this fleet does not have: see the key job",
    "future-round": "the store may be an old backup: the device knows a later round than the server",
    "replayed": "an old update was sent again; if {0} is not restored from a backup, revoke it",
    "not-in-cohort": "check that device_index in the configuration of {0} is its index in gossamer fleet list",
    "wrong-object": "bytes were changed on their way or on the disk of {0}; the agent sends them again",
    "quota": "it sends more than its share; revoke {0} if it does not stop",
}
_REJECTED_ELSE = "read the detail; the server's log has the message with its time"


def absent(reason: Absence) -> str:
    """What to do about a device that stays away, and said why."""
    return _ABSENT.get(reason.label, "the device's log says more: journalctl -u gossamer-agent")


def rejected(reason: str, device: str) -> str:
    """What to do about a device whose messages the bridge refused, by the label of the reason."""
    return _REJECTED.get(reason, _REJECTED_ELSE).format(device)


def ruled_out(reason: str, device: str) -> str:
    """What to do about an update that was valid and that the rule left out."""
    known = _REJECTED.get(reason)
    return known.format(device) if known else f"compare {device} with its neighbours: broken sensor, other data, attack"
