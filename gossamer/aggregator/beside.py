"""What travels beside the vectors, at the server: an objective's scalars or scores, the threshold of `importance`.

Explicit state, as for rules and methods: name -> bytes, each small and bounded by its owner; what it says to the
devices stands in the next manifest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gossamer.aggregator.importance import factors, next_threshold
from gossamer.aggregator.job_settings import JobSettings
from gossamer.aggregator.rules import Report, Update
from gossamer.errors import InputError, MalformedMessage
from gossamer.objectives.auc_minimax import SECTION_BYTES as DUAL_BYTES
from gossamer.objectives.auc_minimax import Dual
from gossamer.objectives.histogram import SECTION_BYTES as SCORES_BYTES
from gossamer.objectives.merging import SIZE_CAP
from gossamer.objectives.server import ScorePool, combine_dual
from gossamer.wire.chance import FLOAT32, bounds, entitled, read_chance, read_threshold, threshold_section
from gossamer.wire.codes import Section, UpdateSection
from gossamer.wire.participation import Participation, ParticipationRule

Beside = Mapping[str, bytes]

DUAL, TURNS, SCORES, THRESHOLD = "dual", "turns", "scores", "threshold"
TRUSTING = ("mean",)
"""Rules under which scalars are averaged; under any other their median is taken."""


def announced(settings: JobSettings, beside: Beside) -> dict[int, bytes]:
    """Sections of the next manifest."""
    found = {Section.DUAL: DUAL, Section.SCORES: SCORES, Section.THRESHOLD: THRESHOLD}
    said = {int(number): beside[name] for number, name in found.items() if name in beside}
    if settings.objective:
        said[int(Section.OBJECTIVE)] = settings.objective.encode("ascii")
    return said


def longest(settings: JobSettings) -> dict[int, bytes]:
    """Sections as long as any that `announced` may come to, for a job of these settings; their bytes say nothing."""
    sizes = {"auc-minimax": {DUAL: DUAL_BYTES}, "pairwise": {SCORES: SCORES_BYTES}}
    full = {name: bytes(size) for name, size in sizes.get(settings.objective.partition(":")[0], {}).items()}
    if settings.participation == ParticipationRule.IMPORTANCE.name.lower():
        full[THRESHOLD] = bytes(FLOAT32.size)
    return announced(settings, full)


def chances(settings: JobSettings, devices: int, updates: Sequence[Update]) -> list[float]:
    """The probability with which each update was sent, as far as its device may claim it; else the largest there is."""
    schedule = settings.schedule(devices)
    most = bounds(schedule)[1]
    return [claim if claim is not None else most for claim in (_claim(schedule, update) for update in updates)]


def _claim(schedule: Participation, update: Update) -> float | None:
    data = dict(update.sections).get(UpdateSection.CHANCE)
    return None if data is None else entitled_chance(schedule, data, update.round, update.index)


def entitled_chance(schedule: Participation, section: bytes, round_: int, index: int) -> float | None:
    """What a section CHANCE claims, or None if that device may not send with it in that round."""
    try:
        claim = read_chance(section)
    except MalformedMessage:
        return None
    return claim if entitled(claim, schedule, round_, index) else None


def importance_factors(settings: JobSettings, devices: int, updates: Sequence[Update]) -> list[float]:
    """What makes the mean of the round's updates that of the fleet's, on average: one number for each; else ones."""
    if settings.schedule(devices).rule != ParticipationRule.IMPORTANCE or not updates:
        return [1.0] * len(updates)
    shares: list[float] = factors(chances(settings, devices, updates), devices).tolist()
    return [share * len(updates) for share in shares]


def after(
    settings: JobSettings, beside: Beside, updates: Sequence[Update], report: Report, *, devices: int, round_: int
) -> Beside:
    """The state after a round. ``updates`` in ascending (device, round), as the rule's verdicts are."""
    counted = [(u, v) for u, v in zip(updates, report.verdicts, strict=True) if v.accepted]
    kept = [update for update, _ in counted]
    said = dict(beside)
    name = settings.objective.partition(":")[0]
    if name == "auc-minimax":
        said[DUAL] = _dual(settings, beside, kept)
    if name == "pairwise":
        said |= _scores(settings, beside, kept, round_)
    if settings.schedule(devices).rule == ParticipationRule.IMPORTANCE:
        sent = importance_factors(settings, devices, updates)
        norms = [v.norm / f for v, f in zip(report.verdicts, sent, strict=True) if v.accepted]
        said |= _threshold(settings, beside, kept, norms, devices)
    return said


def _dual(settings: JobSettings, beside: Beside, updates: Sequence[Update]) -> bytes:
    last = Dual.parse(beside[DUAL]) if DUAL in beside else Dual()
    sent = _sections(updates, UpdateSection.DUAL)
    robust = settings.rule not in TRUSTING
    return combine_dual(last, sent, robust=robust)[0].serialize()


def _scores(settings: JobSettings, beside: Beside, updates: Sequence[Update], round_: int) -> Beside:
    pool = ScorePool() if TURNS not in beside else ScorePool.from_dict({"objective": "pairwise", TURNS: beside[TURNS]})
    cap = SIZE_CAP if settings.rule in TRUSTING else 1
    pool, _ = pool.absorb(round_ % settings.cohorts, _sections(updates, UpdateSection.SCORES), cap)
    section, turns = pool.section(cap), pool.to_dict()[TURNS]
    if not isinstance(turns, bytes):
        raise InputError("expected the score pool as bytes")
    return {} if section is None else {TURNS: turns, SCORES: section}


def _threshold(
    settings: JobSettings, beside: Beside, updates: Sequence[Update], norms: Sequence[float], devices: int
) -> Beside:
    schedule = settings.schedule(devices)
    before = read_threshold(beside[THRESHOLD]) if THRESHOLD in beside else None
    sent = chances(settings, devices, updates)
    chosen = next_threshold(norms, sent, schedule.drawn, bounds(schedule), before=before)
    return {} if chosen is None else {THRESHOLD: threshold_section(chosen)}


def _sections(updates: Sequence[Update], number: UpdateSection) -> list[bytes]:
    found = (dict(update.sections).get(number) for update in updates)
    return [data for data in found if data is not None]
