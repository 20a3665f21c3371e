"""``gossamer plan``: what a schedule means for attackers, rules and privacy, before there is a job.

The answer is a sequence of parts, each a title and rows, in JSON one key each: a new question is one more function in
``PARTS``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gossamer.cli.output import Json, emit, emit_one, figure
from gossamer.errors import ConfigError

if TYPE_CHECKING:
    from gossamer.aggregator.planning import CohortPlan, CohortsAsked

WORDS = {True: "yes", False: "no"}

Answer = Mapping[str, Any] | Sequence[Mapping[str, Any]] | None


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
    devices: Annotated[int, typer.Option(help="Devices of the fleet.")],
    cohorts: Annotated[int, typer.Option(help="Rounds of a cycle; each device takes part in one.")] = 1,
    byzantine: Annotated[float, typer.Option(help="Fraction of the fleet that may attack, 0 to 1.")] = 0.0,
    failure: Annotated[float, typer.Option(help="Chance left that a cohort has more attackers than f.")] = 1e-3,
    rounds: Annotated[int | None, typer.Option(help="Rounds of the job; privacy is spent by the round.")] = None,
    codec: Annotated[str, typer.Option(help="What updates travel as; the rule depends on it.")] = "ternary:0.05",
    participation: Annotated[str, typer.Option(help="reshuffled, fixed, uniform, anytime, ...")] = "reshuffled",
    epsilon: Annotated[float | None, typer.Option(help="Privacy budget of the whole job.")] = None,
    delta: Annotated[float, typer.Option(help="Chance that the promise fails; below 1 / devices.")] = 1e-5,
    clip_norm: Annotated[float, typer.Option(help="Longest update that counts in full.")] = 1.0,
    mechanism: Annotated[str, typer.Option(help="gaussian, or banded:B with B up to the cohorts.")] = "gaussian",
    as_json: Json = False,
) -> None:
    """Say what a schedule means: attackers in a cohort, the rules that bear them, the price of privacy.

    Example: gossamer plan --devices 100 --cohorts 5 --byzantine 0.1 --failure 0.001 --codec rot1
    """
    from gossamer.aggregator.planning import CohortsAsked, plan_cohorts

    if rounds is not None and rounds < 1:
        raise ConfigError(f"--rounds {rounds}: expected 1 or more")
    asked = CohortsAsked(devices, cohorts, byzantine, failure, participation, rounds)
    question = Question(asked, plan_cohorts(asked), codec, epsilon, delta, clip_norm, mechanism)
    answers = {name: part(question) for name, part in PARTS.items()}
    if as_json:
        sys.stdout.write(json.dumps(answers, indent=2) + "\n")
        return
    for answer in answers.values():
        show(answer)


def show(answer: Answer) -> None:
    """Print one part for people: a record as lines, several as a table, nothing as nothing."""
    if answer is None:
        return
    if isinstance(answer, Mapping):
        emit_one({key: value for key, value in answer.items() if value is not None}, as_json=False)
        sys.stdout.write("\n")
    else:
        emit([{key: WORDS.get(value, value) for key, value in row.items()} for row in answer], as_json=False)
        sys.stdout.write("\n")


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
