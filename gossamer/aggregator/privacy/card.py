"""What to tell people about a job's privacy: a plan and the rounds done -> plain values for JSON.

For status, metrics and the model card. Every number is of the device that took part most often.
"""

from __future__ import annotations

from gossamer.aggregator.privacy.accountant import gaussian_epsilon
from gossamer.aggregator.privacy.banded import relative_error
from gossamer.aggregator.privacy.plan import PrivacyPlan, may_release, spent

PROTECTED = "what one device's data did to the models, and to everything computed from them"
NOT_PROTECTED = (
    "updates before the server: it sees every update in the clear and is trusted (central privacy)",
    "who is enrolled, who takes part in which round, and when and how long an update travels",
    "losses, metrics, norms and example counts that devices report: they carry no noise; do not publish them",
    "what several devices of the same owner have in common: the unit is one device",
    "a device that is enrolled again under another index: it counts as another device",
)
NEIGHBOURS = (
    "zero-out: one device's updates are zero vectors or not (the numbers of add-or-remove); the schedule is public"
)
AMPLIFICATION = "none claimed: the schedule is public, every participation is a full release"
NOISE = "Gaussian, rounded to the model's lattice, drawn in integers from a secret of the server"


def privacy_statement(plan: PrivacyPlan, rounds_done: int) -> dict[str, object]:
    """The statement after so many rounds; str, int, float, bool, None and lists of str.

    Raises:
        ConfigError: dp-accounting is missing.
    """
    settings = plan.settings
    sensitivity = plan.sensitivity_in(rounds_done)
    replacing = gaussian_epsilon(plan.noise_multiplier, 2.0 * sensitivity, settings.delta)
    return {
        "epsilon_spent": spent(plan, rounds_done),
        "epsilon_spent_replacing_a_device": replacing,
        "epsilon_budget": settings.epsilon,
        "epsilon_planned": plan.epsilon,
        "delta": settings.delta,
        "unit": "device",
        "neighbours": NEIGHBOURS,
        "mechanism": settings.mechanism,
        "noise": NOISE,
        "noise_multiplier": plan.noise_multiplier,
        "clip_norm": settings.clip_norm,
        "relative_model_noise": _relative_noise(plan),
        "participation": plan.participation,
        "rounds_done": rounds_done,
        "rounds_planned": plan.rounds,
        "releases_done": plan.releases_in(rounds_done),
        "releases_planned": plan.releases,
        "may_release": may_release(plan, rounds_done),
        "amplification": AMPLIFICATION,
        "protected": PROTECTED,
        "not_protected": list(NOT_PROTECTED),
    }


def _relative_noise(plan: PrivacyPlan) -> float:
    """Noise of the model at equal epsilon, in that of independent noise: 1 without bands."""
    matrix = plan.coefficients
    if len(matrix) == 1:
        return 1.0
    return relative_error(matrix, plan.rounds, plan.cohorts, reshuffled=plan.participation == "reshuffled")
