"""``rule = "auto"``: which rule a job gets for its fleet, cohorts, codec and the attackers it fears, and why.

Measured (docs/aggregation.md): under cyclic cohorts a rule that looks at one cohort falls with the first cohort that
has an attacking majority, so it is chosen only where such a cohort is improbable enough. ``clipped-differences``
bears one, but pays with accuracy where a biased codec leaves a residual: what clipping cuts off is sent again.

1. No attackers feared: ``mean``.
2. Otherwise f of the cohort from the hypergeometric tail (:mod:`tolerance`).
3. An unbiased codec: ``clipped-differences``, whatever f is.
4. A biased codec with a residual: if every cohort keeps a majority, ``nnm:f+trimmed-mean:f``, or ``trimmed-mean:f``
   for cohorts too large for n^2 d multiplications; else ``norm-clip``, which bears a bad cohort only in part, with the
   advice to change the codec. A sparse codec gets ``clipped-differences`` with a larger kappa instead.
"""

from __future__ import annotations

from dataclasses import dataclass

from gossamer.aggregator.rules.tolerance import Tolerance, choose_f
from gossamer.compression import codec as codec_of
from gossamer.errors import InputError

PAIRWISE = 500
"""Updates up to which all are compared with all."""

SPARSE_KAPPA = 1.0
"""With sparse codecs and a residual: costs 1 to 2 points without attack, where 0.3 costs up to 12."""

SPARSE = frozenset({"topk", "ternary"})


@dataclass(frozen=True, slots=True)
class Threat:
    """Whom a job is to be safe from.

    Args:
        fraction: of the whole fleet that attacks, 0..1; 0: nobody.
        failure: probability that may be left, for each cohort, that it has more attackers than its rule bears.
    """

    fraction: float = 0.0
    failure: float = 1e-3

    def __post_init__(self) -> None:
        if not (0.0 <= self.fraction <= 1.0 and 0.0 < self.failure < 1.0):
            raise InputError(
                f"a threat is a fraction in 0..1 and a failure probability between, got {self.fraction}, {self.failure}"
            )


@dataclass(frozen=True, slots=True)
class RuleChoice:
    """The spec of a rule, and why in sentences for an operator."""

    spec: str
    why: str


def choose_rule(fleet: int, cohort: int, codec: str, threat: Threat) -> RuleChoice:
    """The rule for cohorts of ``cohort`` of ``fleet`` devices whose updates travel by ``codec``.

    Raises InputError for a cohort that is not in 1..fleet, UnknownCodec for a codec that is none.

    >>> choose_rule(20, 4, "rot1", Threat()).spec
    'mean'
    >>> choose_rule(20, 4, "rot1", Threat(0.2)).spec
    'clipped-differences'
    """
    if not 1 <= cohort <= fleet:
        raise InputError(f"expected 1 <= cohort <= fleet, got {cohort} of {fleet}")
    unbiased = codec_of(codec).unbiased
    if threat.fraction == 0.0:
        return RuleChoice("mean", "No attackers are feared, and the mean uses every update in full.")
    if threat.fraction >= 0.5:
        return RuleChoice("clipped-differences", _MAJORITY)
    bound = choose_f(cohort, fleet, threat.fraction, threat.failure)
    if unbiased:
        return RuleChoice("clipped-differences", _seen(bound, cohort) + _UNBIASED)
    if codec.partition(":")[0].partition("/")[0] in SPARSE:
        spec = f"clipped-differences:{SPARSE_KAPPA!r}"
        return RuleChoice(spec, _seen(bound, cohort) + f"{codec} keeps a residual, " + _SPARSE)
    return _for_biased(bound, cohort, codec)


def _for_biased(bound: Tolerance, cohort: int, codec: str) -> RuleChoice:
    seen = _seen(bound, cohort)
    f = max(bound.f, 1)  # with none it would be a mean
    if cohort < 2 * f + 1:
        return RuleChoice("norm-clip", seen + f"{codec} keeps a residual, " + _BIASED)
    rule = f"trimmed-mean:{f}"
    if cohort > PAIRWISE:
        return RuleChoice(rule, seen + f"Trimming bears them; comparing {cohort} updates pairwise would take long.")
    why = "Mixing each update with its nearest bears them, also where devices' data differ."
    return RuleChoice(f"nnm:{f}+{rule}", seen + why)


def _seen(bound: Tolerance, cohort: int) -> str:
    """What the hypergeometric tail says."""
    odds = f"A cohort of {cohort} never has more than {bound.f} of the fleet's {bound.attackers} attackers. "
    if bound.cohort_failure > 0:
        odds = (
            f"A cohort of {cohort} has more than {bound.f} of the fleet's {bound.attackers} attackers with probability "
            f"{bound.cohort_failure:.1g}. "
        )
    if bound.tolerated_by(cohort):
        return odds
    return odds + "So cohorts come in which attackers are no minority, and a rule that looks at one cohort falls. "


_MAJORITY = (
    "Half of the fleet or more attacks: no rule holds, only a device that is trusted helps (fltrust:INDEX). Clipped "
    "differences slow the attackers down."
)
_UNBIASED = (
    "Clipped differences remember the last aggregate: a bad cohort moves it by a bounded part of its length, and the "
    "next good one moves it back."
)
_SPARSE = (
    "and clipping costs accuracy with it: kappa is 1 instead of 0.3, which protects less. An unbiased codec (rot1) is "
    "safer."
)
_BIASED = (
    "with which clipped differences fail (.58 against .86 were measured): norms are clipped to the running median, "
    "which bounds an attacker's pull but not its direction. Take an unbiased codec (rot1) for clipped-differences, or "
    "larger cohorts."
)
