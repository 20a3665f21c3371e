"""``gossamer plan``: what a schedule means for attackers, rules and privacy, and what a model costs on a link.

The answer is a sequence of parts, each a title and rows, in JSON one key each: a new question is one more function in
``PARTS``, or of :mod:`gossamer.cli.plan_model` for those about a model.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gossamer.cli.completion import codecs, device_profiles, link_profiles, participations
from gossamer.cli.output import Json, emit, emit_one, figure
from gossamer.errors import ConfigError

if TYPE_CHECKING:
    from gossamer.aggregator.planning import CohortPlan, CohortsAsked

WORDS = {True: "yes", False: "no"}
USUAL_CODEC = "ternary:0.05"
"""Whose rule is told when no codec is named."""

Answer = Mapping[str, Any] | Sequence[Mapping[str, Any]] | None
ProfilesDirectory = Annotated[
    Path | None, typer.Option("--profiles", help="Own profiles. Default: ~/.config/gossamer/profiles.")
]


@dataclass(frozen=True)
class Question:
    """The command's options, as its parts read them."""

    asked: CohortsAsked
    cohorts: CohortPlan
    codec: str
    epsilon: float | None
    delta: float
    clip_norm: float
    mechanism: str


def plan(
    devices: Annotated[int | None, typer.Option(help="Devices of the fleet.")] = None,
    cohorts: Annotated[int | None, typer.Option(help="Rounds of a cycle; each device takes part in one.  [1]")] = None,
    byzantine: Annotated[float, typer.Option(help="Fraction of the fleet that may attack, 0 to 1.")] = 0.0,
    failure: Annotated[float, typer.Option(help="Chance left that a cohort has more attackers than f.")] = 1e-3,
    rounds: Annotated[int | None, typer.Option(help="Rounds of the job; privacy is spent by the round.")] = None,
    codec: Annotated[
        str | None, typer.Option(help="What updates travel as; the rule depends on it.", autocompletion=codecs)
    ] = None,
    participation: Annotated[
        str, typer.Option(help="reshuffled, fixed, uniform, anytime, ...", autocompletion=participations)
    ] = "reshuffled",
    epsilon: Annotated[float | None, typer.Option(help="Privacy budget of the whole job.")] = None,
    delta: Annotated[float, typer.Option(help="Chance that the promise fails; below 1 / devices.")] = 1e-5,
    clip_norm: Annotated[float, typer.Option(help="Longest update that counts in full.")] = 1.0,
    mechanism: Annotated[str, typer.Option(help="gaussian, or banded:B with B up to the cohorts.")] = "gaussian",
    model: Annotated[
        str | None, typer.Option(help="File (.tflite .npz .pt .json .toml) or shapes: 784x128@28x28,128,128x10,10.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="Device profile; see gossamer profiles list.", autocompletion=device_profiles)
    ] = None,
    link: Annotated[
        str | None, typer.Option(help="Link profile; see gossamer profiles list.", autocompletion=link_profiles)
    ] = None,
    budget: Annotated[str | None, typer.Option(help="Bytes of a device, as 2MB/month or 70kB/day.")] = None,
    price: Annotated[str | None, typer.Option(help="As 0.05 (EUR a MB) or 1.2USD/MB. Default: the link's.")] = None,
    fleet: Annotated[Path | None, typer.Option(help="TOML file with [[groups]] of devices, to be summed.")] = None,
    write_plans: Annotated[Path | None, typer.Option(help="Write what gossamer job create --plans reads.")] = None,
    local_epochs: Annotated[int | None, typer.Option(help="Epochs of a fit. Default: as codec auto would.")] = None,
    examples: Annotated[int, typer.Option(help="Training examples of a device.")] = 200,
    operations: Annotated[int, typer.Option(help="Of training on one example; 0: 6 a parameter.")] = 0,
    plaintext: Annotated[bool, typer.Option("--plaintext", help="Without TLS.")] = False,
    certificate_bytes: Annotated[int, typer.Option(help="DER bytes of the broker's certificate chain.")] = 450,
    sleeps: Annotated[bool, typer.Option("--sleeps", help="The device connects for each round, then leaves.")] = False,
    profiles: ProfilesDirectory = None,
    as_json: Json = False,
) -> None:
    """Say what a schedule means, attackers, rules, privacy; and what a model costs: bytes, time, energy, money.

    With --devices: who is in a cohort, the rules that bear attackers, the price of privacy. With --model, --device and
    --link (or --fleet): for each codec the bytes of a round by cause, airtime, energy, training time, rounds a month
    within the budget, money; and the codec to take.

    Example: gossamer plan --model 784x128@28x28,128,128x10,10 --device pi-zero-2w --link gprs --budget 2MB/month
    """
    answers: dict[str, Answer] = {}
    if devices is not None:
        schedule = (devices, cohorts or 1, byzantine, failure, participation, rounds)
        question = _question(schedule, codec or USUAL_CODEC, epsilon, delta, clip_norm, mechanism)
        answers = {name: part(question) for name, part in PARTS.items()}
    if model is not None or fleet is not None:
        from gossamer.cli import plan_model

        asked = plan_model.ModelQuestion(
            model, device, link, budget, price, fleet, devices, cohorts, (codec,) if codec else (), local_epochs,
            examples, operations, not plaintext, certificate_bytes, not sleeps, profiles, write_plans,
        )  # fmt: skip
        answers |= plan_model.answers(asked)
    elif devices is None:
        raise ConfigError("expected --devices for a schedule, or --model with --device and --link for a model's costs")
    if as_json:
        sys.stdout.write(json.dumps(answers, indent=2) + "\n")
        return
    for answer in answers.values():
        show(answer)


def _question(
    schedule: tuple[int, int, float, float, str, int | None], codec: str, epsilon: float | None, delta: float,
    clip_norm: float, mechanism: str,
) -> Question:  # fmt: skip
    from gossamer.aggregator.planning import CohortsAsked, plan_cohorts

    asked = CohortsAsked(*schedule)
    if asked.rounds is not None and asked.rounds < 1:
        raise ConfigError(f"--rounds {asked.rounds}: expected 1 or more")
    return Question(asked, plan_cohorts(asked), codec, epsilon, delta, clip_norm, mechanism)


def show(answer: Answer) -> None:
    """Print one part for people: a record as lines, several as a table, nothing as nothing."""
    if answer is None:
        return
    if isinstance(answer, Mapping):
        emit_one({key: value for key, value in answer.items() if value is not None}, as_json=False)
        sys.stdout.write("\n")
    else:
        emit([{key: _word(value) for key, value in row.items()} for row in answer], as_json=False)
        sys.stdout.write("\n")


def _word(value: Any) -> Any:
    return WORDS[value] if isinstance(value, bool) else value


def cohort_part(question: Question) -> Answer:
    """Who is in a cohort, and how many of them may attack."""
    cohorts = question.cohorts
    return {
        "devices": question.asked.devices,
        "cohorts": question.asked.cohorts,
        "participation": question.asked.participation,
        "cohort": cohorts.size,
        "attackers": cohorts.attackers,
        "f": cohorts.f,
        "failure_of_a_cohort": figure(cohorts.cohort_failure),
        "failure_of_a_cycle": figure(cohorts.cycle_failure),
        "failure_of_the_job": figure(cohorts.job_failure),
        "note": None if cohorts.by_lot else "no lot decides who is in a cohort: f is what attackers can choose",
    }


def rules_part(question: Question) -> Answer:
    """What each rule needs for that f."""
    from gossamer.aggregator.planning import needs

    return [
        {"rule": each.rule, "needs": each.needs, "updates": each.minimum or None, "carried": each.carried}
        for each in needs(question.cohorts)
    ]


def choice_part(question: Question) -> Answer:
    """The rule that ``rule = "auto"`` takes."""
    from gossamer.aggregator.planning import automatic_rule

    choice = automatic_rule(question.asked, question.cohorts, question.codec)
    return {"codec": question.codec, "rule": choice.spec, "why": choice.why}


def privacy_part(question: Question) -> Answer:
    """What a budget buys; None without one."""
    if question.epsilon is None:
        return None
    from gossamer.aggregator.planning import privacy_cost
    from gossamer.aggregator.privacy import PrivacySettings

    wanted = PrivacySettings(
        question.epsilon, question.delta, question.clip_norm, mechanism=question.mechanism
    )
    planned = privacy_cost(wanted, question.asked)
    noise = planned.noise_multiplier * question.clip_norm
    return {
        "epsilon": figure(planned.epsilon),
        "delta": question.delta,
        "mechanism": planned.settings.mechanism,
        "clip_norm": question.clip_norm,
        "releases_a_device": planned.releases,
        "noise_multiplier": planned.noise_multiplier,
        "noise_of_a_mean": figure(noise / question.cohorts.smallest),
        "note": "set closing.max_lag = 0" if planned.settings.mechanism != "gaussian" else None,
    }


PARTS: dict[str, Callable[[Question], Answer]] = {
    "cohort": cohort_part, "rules": rules_part, "choice": choice_part, "privacy": privacy_part,
}  # fmt: skip
"""Key of the JSON object -> what answers it."""
