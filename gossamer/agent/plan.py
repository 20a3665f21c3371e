"""What a manifest means for this device: pure decisions, no state."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from enum import Enum

from gossamer.agent.records import Marks
from gossamer.wire.chance import bounds, sends
from gossamer.wire.codes import JobState, Kind, Section
from gossamer.wire.items import encode
from gossamer.wire.manifest import Manifest, Way
from gossamer.wire.participation import ParticipationRule


@dataclass(frozen=True, slots=True)
class Held:
    """The model this device holds. None stands for: none yet, the trainer makes version 0."""

    job: int
    version: int
    digest: bytes


class Need(Enum):
    """What this device has to do next."""

    NOTHING = "nothing"
    OBJECT = "object"
    TRAINING = "training"
    UNREACHABLE = "unreachable"
    """The manifest offers no way from the version held."""


def refusal(manifest: Manifest, marks: Marks, only_job: int) -> str | None:
    """Why a verified manifest is not believed: "wrong-job", "replayed", or None.

    Job numbers grow. Within one (job, round, version) the latest to arrive counts: only a change of the job's
    state (open, paused, finished) can be replayed there.
    """
    if only_job >= 0 and manifest.job != only_job:
        return "wrong-job"
    if manifest.job < marks.job:
        return "replayed"
    older = manifest.round < marks.round or manifest.version < marks.version
    return "replayed" if manifest.job == marks.job and older else None


def decide(
    manifest: Manifest, held: Held | None, marks: Marks, index: int, bad: Set[bytes], *, base_bad: bool
) -> tuple[Need, Way | None]:
    """What to do for this round, and the cheapest way to the model if one has to be fetched.

    ``bad``: objects that did not lead to the signed digest; ``base_bad``: nor does what we hold.
    """
    done = (marks.done_job, marks.done_round) >= (manifest.job, manifest.round)
    if manifest.state != JobState.OPEN or done:
        return Need.NOTHING, None
    if not _takes_part(manifest, index):
        return Need.NOTHING, None
    version = held.version if held is not None else 0
    # A version 0 that nobody has computed yet is checked against the digest by the training child.
    right = held is None or held.digest == manifest.digest
    if version == manifest.version and right and not base_bad:
        return Need.TRAINING, None
    ways = [
        way
        for way in manifest.ways
        if way.object_id not in bad
        and (way.kind == Kind.SNAPSHOT or (way.from_version == version < manifest.version and not base_bad))
    ]
    if not ways:
        return Need.UNREACHABLE, None
    return Need.OBJECT, min(ways, key=lambda way: way.size)


def _takes_part(manifest: Manifest, index: int) -> bool:
    """Whether this is a device of the round: by the schedule, or because its update is the root of trust.

    A coin that says no to the largest chance there is says no to every update: nothing need be fetched or trained.
    """
    schedule, round_ = manifest.participation, manifest.round
    if schedule.is_member(round_, index):
        drawing = schedule.rule == ParticipationRule.IMPORTANCE
        return not drawing or sends(bounds(schedule)[1], schedule, round_, index)
    trusted = manifest.section(Section.TRUSTED)
    return trusted is not None and trusted == encode(index)
