"""``codec_up = "auto"``, ``rule = "auto"`` and ``[privacy]``: what a job's settings become once its model, its fleet
and its link are known.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from gossamer.aggregator.job_checks import AUTO
from gossamer.aggregator.job_settings import JobSettings
from gossamer.aggregator.privacy import PrivacyPlan, plan
from gossamer.aggregator.rules import rule
from gossamer.aggregator.rules.automatic import RuleChoice, Threat, choose_rule
from gossamer.compression import codec
from gossamer.compression.auto import Choice, JobFacts, LinkFacts, choose
from gossamer.compression.layout import Layout
from gossamer.compression.registry import LOSSLESS
from gossamer.errors import ConfigError


def facts_of(layout: Layout, devices: int, cohorts: int) -> JobFacts:
    """What `gossamer.compression.auto` wants to know of a model and its fleet."""
    positions = {name: i for i, (name, _) in enumerate(layout.entries)}
    smooth = frozenset(positions[name] for name, sides in layout.axes if any(side > 1 for side in sides))
    shapes = tuple(shape for _, shape in layout.entries)
    return JobFacts(shapes, smooth, max(devices, cohorts, 1), cohorts)


CACHE = "cache"
MAX_CACHE_BYTES = 1 << 28
"""Of a rule that keeps every device's update: 1,000 devices of 1,000,000 parameters at 1 bit are half of it."""


@dataclass(frozen=True, slots=True)
class Decisions:
    """What was decided in the place of "auto", and what a private job's budget buys; None: it was not asked."""

    codec: Choice | None = None
    rule: RuleChoice | None = None
    privacy: PrivacyPlan | None = None


def decide(settings: JobSettings, layout: Layout, devices: int) -> tuple[JobSettings, Decisions]:
    """Settings with everything decided that depends on model and fleet; what is decided stays as it is.

    Args:
        settings: of the job; ``codec_up``, ``codec_down`` and ``rule`` may be "auto".
        layout: of the model, without a method's companions.
        devices: enrolled; at least as many as cohorts are assumed.

    Raises:
        ConfigError: what was decided does not go together, or the privacy budget cannot pay.
    """
    settings, codecs = _decided_codec(settings, layout, devices)
    settings, chosen = _decided_rule(settings, max(devices, settings.cohorts))
    settings, planned = _decided_privacy(settings, devices)
    settings.check()
    _check_cohort(settings, devices)
    _check_cache(settings, layout.size, devices)
    return settings, Decisions(codecs, chosen, planned)


def decided(settings: JobSettings, layout: Layout, devices: int) -> tuple[JobSettings, Choice | None]:
    """As `decide`, with the choice of codecs alone."""
    settings, decisions = decide(settings, layout, devices)
    return settings, decisions.codec


def _check_cohort(settings: JobSettings, devices: int) -> None:
    """Refuse a rule that asks for more updates than a cohort of the fleet enrolled by now has devices."""
    if devices < settings.cohorts or settings.participation in ("anytime", "importance"):
        return  # the fleet is still to come, or no cohort is dealt
    size, needs = settings.schedule(devices).drawn, rule(settings.rule).minimum
    if size < needs:
        raise ConfigError(
            f"rule = {settings.rule!r} needs {needs} updates, a cohort of {devices} devices in {settings.cohorts} "
            f"cohorts has {size}: fewer cohorts, a smaller f, or a rule that remembers (clipped-differences)"
        )


def _check_cache(settings: JobSettings, d: int, devices: int) -> None:
    """Refuse a cache that every seal would take minutes, or the database's largest value, to write."""
    if not settings.rule.startswith(CACHE):
        return
    alone = settings.cycle or settings.learns_codebooks  # bodies that need a context to be read are kept without
    size = devices * codec(LOSSLESS if alone else settings.codec_up).max_bytes(d)
    if size > MAX_CACHE_BYTES:
        raise ConfigError(
            f"rule = {settings.rule!r}: the last updates of {devices} devices are {size / 1e6:.0f} MB, written with "
            f"every round; expected at most {MAX_CACHE_BYTES / 1e6:.0f} MB: a codec of fewer bits, or "
            "clipped-differences, which remembers one vector"
        )


def _decided_codec(settings: JobSettings, layout: Layout, devices: int) -> tuple[JobSettings, Choice | None]:
    if settings.codec_up != AUTO or layout.size == 0:
        return settings, None
    link = LinkFacts(
        settings.link.envelope_bytes, settings.link.per_byte_micro / 1e6, settings.link.bytes_per_second,
        settings.link.metered,
    )  # fmt: skip
    choice = choose(facts_of(layout, devices, settings.cohorts), link)
    fit = replace(settings.fit, local_epochs=choice.local_epochs, batch_size=choice.batch_size)
    chosen = replace(
        settings, codec_up=choice.codec_up, codec_down=choice.codec_down, server_step=choice.server_step, fit=fit,
        device_choice=True,
    )  # fmt: skip
    return chosen, choice


def _decided_rule(settings: JobSettings, devices: int) -> tuple[JobSettings, RuleChoice | None]:
    if settings.rule != AUTO:
        return settings, None
    threat = Threat(settings.threat.byzantine_fraction, settings.threat.failure)
    size = settings.closing.quorum if settings.participation == "anytime" else settings.schedule(devices).drawn
    choice = choose_rule(devices, min(max(size, 1), devices), settings.codec_up, threat)
    return replace(settings, rule=choice.spec), choice


def _decided_privacy(settings: JobSettings, devices: int) -> tuple[JobSettings, PrivacyPlan | None]:
    if settings.privacy is None:
        return settings, None
    closing = settings.closing
    planned = plan(
        settings.privacy, rounds=settings.rounds, cohorts=settings.cohorts, participation=settings.participation,
        fleet=devices, max_lag=closing.max_lag, minimum_updates=closing.minimum_updates,
    )  # fmt: skip
    return replace(settings, privacy=planned.settings), planned
