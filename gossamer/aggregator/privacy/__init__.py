"""Central differential privacy: clip, noise at the server, and an account that ends a job before its budget does.

>>> settings = PrivacySettings(epsilon=8.0, delta=1e-5, clip_norm=1.0)
>>> plan(settings, rounds=200, cohorts=5, participation="reshuffled").noise_multiplier
3.7962
"""

from __future__ import annotations

from gossamer.aggregator.privacy.card import privacy_statement
from gossamer.aggregator.privacy.mechanism import PrivateRule, private_rule
from gossamer.aggregator.privacy.plan import PrivacyPlan, may_release, plan, spent
from gossamer.aggregator.privacy.settings import PrivacySettings, check_job

__all__ = [
    "PrivacyPlan",
    "PrivacySettings",
    "PrivateRule",
    "check_job",
    "may_release",
    "plan",
    "privacy_statement",
    "private_rule",
    "spent",
]
