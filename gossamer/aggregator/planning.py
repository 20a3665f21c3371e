"""What an operator asks before there is a job: attackers in a cohort, the rules that bear them, the price of privacy.

Pure composition of :mod:`gossamer.aggregator.rules.tolerance` (f from the hypergeometric tail), of
:mod:`gossamer.aggregator.rules.automatic` (the rule) and of :mod:`gossamer.aggregator.privacy` (the noise).

What rules need, n updates with f attackers among them: median, trimmed mean and nearest-neighbour mixing n >= 2 f + 1
(a majority is honest), Krum n >= 2 f + 3 (Blanchard and others, NeurIPS 2017), Bulyan n >= 4 f + 3 (El Mhamdi and
others, ICML 2018). The numbers are those that the rules themselves insist on.

>>> plan_cohorts(CohortsAsked(devices=20, cohorts=5, fraction=0.2, failure=0.01)).f
3
"""

from __future__ import annotations

from dataclasses import dataclass

from gossamer.aggregator.privacy import PrivacyPlan, PrivacySettings, plan
from gossamer.aggregator.rules import rule
from gossamer.aggregator.rules.automatic import RuleChoice, Threat, choose_rule
from gossamer.aggregator.rules.tolerance import Tolerance, attackers_of, choose_f
from gossamer.errors import ConfigError, InputError
from gossamer.wire.participation import Participation, ParticipationRule

BY_LOT = frozenset({"reshuffled", "uniform", "fixed", "marina"})
"""Ways to take part in which a lot decides who is in a cohort. Elsewhere devices decide, and attackers with them."""

MAJORITY, NEAREST, DOUBLY = (2, 1), (2, 3), (4, 3)
NEEDS: dict[str, tuple[int, int]] = {
    "median": MAJORITY, "trimmed-mean": MAJORITY, "geometric-median": MAJORITY, "sign-majority": MAJORITY,
    "nnm+trimmed-mean": MAJORITY, "krum": NEAREST, "multi-krum": NEAREST, "bulyan": DOUBLY,
}  # fmt: skip
"""Rule that looks at one cohort -> (a, b): it needs a f + b updates."""

BESIDE = {
    "norm-clip": "any f, as long as attackers are a minority of the fleet; bounds how far they pull, not where to",
    "clipped-differences": "any f, as long as attackers are a minority of the fleet",
    "fltrust": "any f, as long as the trusted device is honest",
}
"""Rules whose word does not depend on the attackers in one cohort."""

WITH_F = frozenset({"trimmed-mean", "krum", "multi-krum", "bulyan", "nnm"})
HALF = frozenset({"median", "geometric-median", "sign-majority", "centered-clipping"})


@dataclass(frozen=True, slots=True)
class CohortsAsked:
    """A fleet and whom it fears. ``failure``: chance left, for each cohort, of more attackers than its rule bears."""

    devices: int
    cohorts: int
    fraction: float = 0.0
    failure: float = 1e-3
    participation: str = "reshuffled"
    rounds: int | None = None


@dataclass(frozen=True, slots=True)
class CohortPlan:
    """What cohorts come to.

    Args:
        devices: of the fleet.
        smallest, largest: devices of a cohort.
        attackers: of the fleet.
        f: attackers that a cohort must bear, chosen for the largest cohort.
        cohort_failure, cycle_failure, job_failure: chance of more than f in one cohort, and bounds of the chance
            that any cohort of a cycle, or of the whole job, has more (None: rounds not told).
        by_lot: whether a lot decides who is in a cohort; otherwise f is the worst that attackers can choose.
    """

    devices: int
    smallest: int
    largest: int
    attackers: int
    f: int
    cohort_failure: float
    cycle_failure: float
    job_failure: float | None
    by_lot: bool

    @property
    def size(self) -> str:
        """For people: ``4``, or ``4 to 5``."""
        return str(self.largest) if self.smallest == self.largest else f"{self.smallest} to {self.largest}"


@dataclass(frozen=True, slots=True)
class Need:
    """What a rule needs for f attackers, and whether every cohort has it. ``minimum`` 0: nothing of one cohort."""

    rule: str
    needs: str
    minimum: int
    carried: bool


def plan_cohorts(asked: CohortsAsked) -> CohortPlan:
    """Sizes of cohorts and the f that they must bear.

    Raises:
        ConfigError: numbers out of range, or a participation that is none.
    """
    try:
        schedule = Participation(ParticipationRule.named(asked.participation), 0, asked.devices, asked.cohorts)
        in_turn = asked.participation in ("reshuffled", "fixed")
        largest = schedule.drawn
        smallest = asked.devices // asked.cohorts if in_turn else largest
        if asked.participation not in BY_LOT:
            f = min(attackers_of(asked.devices, asked.fraction), largest)
            bound = Tolerance(f, attackers_of(asked.devices, asked.fraction), 0.0, 0.0)
        else:
            bound = choose_f(largest, asked.devices, asked.fraction, asked.failure)
    except InputError as error:
        raise ConfigError(str(error)) from error
    cycle = _any_of(asked.cohorts, bound.cohort_failure)
    job = None
    if asked.rounds is not None:
        # Fixed groups are drawn once: what is bad in the first cycle is bad in all, and nothing more.
        drawn = min(asked.rounds, asked.cohorts) if asked.participation == "fixed" else asked.rounds
        job = _any_of(drawn, bound.cohort_failure)
    return CohortPlan(
        asked.devices, smallest, largest, bound.attackers, bound.f, bound.cohort_failure, cycle, job,
        asked.participation in BY_LOT,
    )  # fmt: skip


def needs(cohorts: CohortPlan) -> list[Need]:
    """What every rule needs for this f, and whether even the smallest cohort has it."""
    found = [
        Need(name, f"{a}f+{b}", a * cohorts.f + b, cohorts.smallest >= a * cohorts.f + b)
        for name, (a, b) in NEEDS.items()
    ]
    minority = 2 * cohorts.attackers < cohorts.devices
    return found + [Need(name, text, 0, minority or name == "fltrust") for name, text in BESIDE.items()]


def automatic_rule(asked: CohortsAsked, cohorts: CohortPlan, codec: str) -> RuleChoice:
    """What ``rule = "auto"`` chooses for updates that travel by ``codec``. Raises ConfigError for a wrong number."""
    try:
        return choose_rule(asked.devices, cohorts.largest, codec, Threat(asked.fraction, asked.failure))
    except InputError as error:
        raise ConfigError(str(error)) from error


def privacy_cost(settings: PrivacySettings, asked: CohortsAsked) -> PrivacyPlan:
    """Releases, noise and epsilon of a private job on this schedule.

    Raises:
        ConfigError: no rounds were told, the schedule does not fit, or dp-accounting is missing.
    """
    if asked.rounds is None:
        raise ConfigError("--epsilon: expected --rounds too: every round in which a device counts is a release")
    return plan(
        settings, rounds=asked.rounds, cohorts=asked.cohorts, participation=asked.participation, fleet=asked.devices
    )


def tolerance_of(spec: str) -> str:
    """What a rule bears, in words for an operator.

    Raises:
        ConfigError: no such rule.

    >>> tolerance_of("nnm:2+trimmed-mean:2")
    'up to 2 attackers in a cohort of 5 updates or more'
    """
    built = rule(spec)
    first, _, rest = built.spec.partition("+")
    name, _, parameter = first.partition(":")
    if name == "cache":
        return f"in the whole fleet, not in one cohort, what {rest} bears: {tolerance_of(rest)}"
    if name == "bucketing":
        return f"attackers in as many of its buckets of {parameter} as {rest} bears of updates: {tolerance_of(rest)}"
    if name in WITH_F:
        f = int(parameter.partition("/")[0])
        return f"up to {f} attacker{'s' * (f != 1)} in a cohort of {built.minimum} updates or more"
    if name in HALF:
        return "attackers in less than half of a cohort"
    if name in BESIDE:
        return BESIDE[name].removeprefix("any f").lstrip(":, ")
    return "no attacker: one that stays within the bounds of weights and of the lattice moves the mean as it likes"


def _any_of(draws: int, failure: float) -> float:
    """The union bound."""
    return min(1.0, draws * failure)
