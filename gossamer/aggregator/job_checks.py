"""What of a job's settings goes together: methods, memories, rules, schedules, codecs and privacy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gossamer.aggregator.privacy.settings import check_job
from gossamer.aggregator.rules import rule
from gossamer.compression import codec
from gossamer.compression.memory import memory
from gossamer.errors import ConfigError, InputError, MalformedMessage
from gossamer.methods import method
from gossamer.objectives.local import parse_spec
from gossamer.wire.participation import ParticipationRule
from gossamer.wire.plans import Plan, Plans

if TYPE_CHECKING:
    from gossamer.aggregator.job_settings import JobSettings

HIST, NF4 = "hist", "nf4"

AUTO = "auto"
"""In the place of codecs or rule: decided when the job is created (`automatic`)."""

REMEMBERING = frozenset({"clipped-differences", "centered-clipping", "norm-clip", "cache"})
"""Rules that judge a round by what earlier ones were like."""


def check_together(settings: JobSettings) -> None:
    """Raise ConfigError for settings each of which is fine alone."""
    _check_method(settings)
    _check_rule(settings)
    _check_memory(settings)
    _check_schedule(settings)
    _check_privacy(settings)
    _check_plans(settings)


def _check_method(settings: JobSettings) -> None:
    """Refuse a method with a codec, memory, rule or schedule that its proof does not allow."""
    chosen = method(settings.method)
    who = f"method = {chosen.spec!r}"
    single = chosen.companions or chosen.unbiased or chosen.steps
    if single and (settings.codec_up == AUTO or settings.device_choice or settings.cycle):
        raise ConfigError(f"{who}: expected one codec that is named, other than hist, for all devices")
    if chosen.unbiased and not codec(settings.codec_up).unbiased:
        raise ConfigError(f"{who}: expected an unbiased codec_up such as rot1, q4s or fp32, got {settings.codec_up!r}")
    if chosen.lossless_down and settings.codec_down != "fp32":
        raise ConfigError(f"{who}: expected codec_down = 'fp32', got {settings.codec_down!r}")
    if chosen.unbiased_down and not codec(settings.codec_down).unbiased:
        raise ConfigError(f"{who}: expected an unbiased codec_down such as rot4 or fp32, got {settings.codec_down!r}")
    if memory(settings.memory).summed and settings.method != "fedavg":
        raise ConfigError(f"{who}: expected memory = 'ef14', got {settings.memory!r}, which changes what devices send")
    if chosen.averaged and settings.rule not in ("mean", AUTO):
        raise ConfigError(
            f"{who}: expected rule 'mean', got {settings.rule!r}: devices remember every update as counted in full"
        )
    if chosen.punctual and settings.closing.max_lag:
        raise ConfigError(f"{who}: expected closing.max_lag = 0, got {settings.closing.max_lag}: nothing late fits")
    everybody = settings.cohorts == 1 and settings.closing.at_deadline == "extend" and settings.closing.quorum == 0
    if chosen.everybody and not everybody:
        raise ConfigError(
            f"{who}: expected every device in every round: cohorts = 1, closing.at_deadline = 'extend', quorum = 0"
        )


def _check_rule(settings: JobSettings) -> None:
    """Refuse a rule whose memory or root of trust the method or schedule would take away."""
    if settings.rule == AUTO:
        return
    names = {step.partition(":")[0] for step in settings.rule.split("+")}
    who, chosen = f"rule = {settings.rule!r}", method(settings.method)
    if chosen.punctual and names & REMEMBERING:
        raise ConfigError(
            f"{who}: method {chosen.spec!r} sends gradients in some rounds and their changes in others; expected a "
            "rule without a memory of earlier rounds, such as geometric-median"
        )
    alone = settings.participation == ParticipationRule.IMPORTANCE.name.lower()
    if alone and names & {"cache", "fltrust"}:
        raise ConfigError(
            f"{who}: expected another participation than 'importance', under which the devices that this rule waits "
            "for send when a coin says so"
        )


def _check_memory(settings: JobSettings) -> None:
    """Refuse smoothed updates without the cache that they are for, or with one that fades at another pace."""
    name, _, eta = settings.memory.partition(":")
    if name != "momentum":
        return
    spec = settings.rule if settings.rule == AUTO else rule(settings.rule).spec
    if not spec.startswith("cache:"):
        raise ConfigError(f"memory = {settings.memory!r}: expected a rule cache:{eta}+..., got {settings.rule!r}")
    if float(spec.partition(":")[2].partition("+")[0]) != float(eta):
        raise ConfigError(f"memory = {settings.memory!r}: expected rule cache:{eta}+..., which fades alike")


def _check_schedule(settings: JobSettings) -> None:
    """Refuse a way to take part with a closing or codec that would make it something else."""
    named, closing = ParticipationRule.named(settings.participation), settings.closing
    what = f"participation = {settings.participation!r}"
    if settings.method.startswith("marina") != (named is ParticipationRule.MARINA):
        raise ConfigError(f"{what} and method = {settings.method!r}: expected 'marina' in both, or in neither")
    if named is ParticipationRule.ANYTIME and closing.quorum < 1:
        raise ConfigError(f"{what}: expected closing.quorum, the updates that close a round, to be 1 or more")
    if named is ParticipationRule.IMPORTANCE:
        if closing.quorum or closing.at_deadline != "seal":
            raise ConfigError(f"{what}: expected closing.quorum = 0 and at_deadline = 'seal': devices decide who sends")
        if not codec(settings.codec_up).unbiased or settings.memory != "ef14" or settings.method != "fedavg":
            raise ConfigError(f"{what}: expected an unbiased codec_up such as rot1, memory 'ef14' and method 'fedavg'")
    if settings.objective:
        try:
            parse_spec(settings.objective)
        except InputError as error:
            raise ConfigError(f"objective: {error}") from error


def _check_privacy(settings: JobSettings) -> None:
    """Refuse a job whose releases are not those that the accountant knows of."""
    if settings.privacy is None:
        return
    settings.privacy.check()
    check_job(
        rule="mean" if settings.rule == AUTO and not settings.threat.byzantine_fraction else settings.rule,
        participation=settings.participation,
        summed_memory=memory(settings.memory).summed,
        learned_codebooks=settings.learns_codebooks,
        published_statistics=bool(settings.objective) or settings.method.partition(":")[0] not in ("fedavg", "fedprox"),
    )


def _check_plans(settings: JobSettings) -> None:
    """Refuse plans for classes of devices that a manifest cannot carry, or that the rest of the job does not bear."""
    try:
        Plans(tuple(Plan(name, plan.codec, plan.local_epochs) for name, plan in settings.plans))
    except MalformedMessage as error:
        raise ConfigError(f"plans: {error}") from error
    for name, plan in settings.plans:
        if plan.local_epochs > settings.fit.local_epochs:
            raise ConfigError(
                f"plans.{name}.local_epochs = {plan.local_epochs}: expected at most fit.local_epochs = "
                f"{settings.fit.local_epochs}, the most that any device of the job does"
            )
    for spec in settings.planned_codecs:
        _check_planned_codec(settings, spec)


def _check_planned_codec(settings: JobSettings, spec: str) -> None:
    """A codec of a class must be one that updates of this job can be in without their being told apart."""
    try:
        planned = codec(spec)
    except InputError as error:
        raise ConfigError(f"plans: {error}") from error
    chosen = method(settings.method)
    if chosen.companions or chosen.unbiased or chosen.steps or chosen.lossless:
        raise ConfigError(f"plans: method = {chosen.spec!r} expects one codec for all devices, got {spec!r} besides")
    if planned.method == NF4 or (planned.method == HIST and not settings.cycle):
        raise ConfigError(f"plans: {spec!r} draws on what this job does not keep; expected another codec")
    if memory(settings.memory).summed or settings.rule.endswith("sign-majority"):
        what = f"memory {settings.memory!r} and rule {settings.rule!r}"
        raise ConfigError(f"plans: expected one codec for all devices with {what}, got {spec!r} besides")
    if settings.participation == ParticipationRule.IMPORTANCE.name.lower() and not planned.unbiased:
        raise ConfigError(f"plans: participation 'importance' expects unbiased codecs such as rot1, got {spec!r}")
    if settings.learns_codebooks:
        raise ConfigError(f"plans: codec_up = {settings.codec_up!r} expects all devices to send in it, got {spec!r}")
