"""What ``auto`` chooses: usable rules, and reasons that say the numbers they come from."""

from __future__ import annotations

import pytest

from gossamer.aggregator.rules import rule
from gossamer.aggregator.rules.automatic import PAIRWISE, Threat, choose_rule
from gossamer.errors import InputError, UnknownCodec


@pytest.mark.parametrize(
    ("fleet", "cohort", "codec", "threat", "spec", "reason"),
    [
        (20, 4, "sign", Threat(), "mean", "No attackers"),
        (20, 4, "rot1", Threat(0.2), "clipped-differences", "no minority"),
        (1000, 200, "rot4", Threat(0.05), "clipped-differences", "more than"),
        (1000, 200, "q4s", Threat(0.05), "clipped-differences", "more than"),
        (20, 4, "sign", Threat(0.2), "norm-clip", "rot1"),
        (1000, 100, "sign", Threat(0.05), "nnm:12+trimmed-mean:12", "nearest"),
        (1000, 20, "sign", Threat(0.001, 0.1), "nnm:1+trimmed-mean:1", "more than 0"),
        (10_000, 1_000, "rot1:ls", Threat(0.05), "trimmed-mean:71", "pairwise"),
        (20, 4, "ternary:0.05", Threat(0.2), "clipped-differences:1.0", "kappa"),
        (20, 4, "topk:0.01/q4", Threat(0.2), "clipped-differences:1.0", "kappa"),
        (20, 4, "rot1", Threat(0.6), "clipped-differences", "fltrust"),
    ],
)
def test_choices(fleet: int, cohort: int, codec: str, threat: Threat, spec: str, reason: str) -> None:
    choice = choose_rule(fleet, cohort, codec, threat)
    assert choice.spec == spec
    assert reason in choice.why


@pytest.mark.parametrize("codec", ["sign", "rot1", "q8", "ternary:0.05", "randk:0.1/fp16", "fp32"])
@pytest.mark.parametrize("fraction", [0.0, 0.01, 0.1, 0.3, 0.49, 0.5, 1.0])
def test_the_rule_can_work_with_the_cohort_it_is_for(codec: str, fraction: float) -> None:
    for fleet, cohort in ((1, 1), (2, 1), (20, 4), (20, 20), (300, 30), (PAIRWISE * 4, PAIRWISE + 1)):
        choice = choose_rule(fleet, cohort, codec, Threat(fraction))
        assert rule(choice.spec).minimum <= cohort
        assert choice.why.endswith(".")


def test_questions_without_an_answer_are_refused() -> None:
    with pytest.raises(InputError, match="cohort"):
        choose_rule(5, 6, "rot1", Threat())
    with pytest.raises(InputError, match="threat"):
        Threat(1.5)
    with pytest.raises(InputError, match="threat"):
        Threat(0.1, 0.0)
    with pytest.raises(UnknownCodec):
        choose_rule(5, 5, "rot9", Threat())
