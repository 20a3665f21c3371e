"""Spec strings of rules, ``name`` or ``name:parameter``. What is named here the contract suite covers."""

from __future__ import annotations

from collections.abc import Callable

from gossamer.aggregator.rules.base import Rule
from gossamer.aggregator.rules.cache import cache
from gossamer.aggregator.rules.clipped_differences import DEFAULT_KAPPA, clipped_differences
from gossamer.aggregator.rules.mean import mean
from gossamer.aggregator.rules.norm_clip import norm_clip
from gossamer.aggregator.rules.order_statistics import median, trimmed_mean
from gossamer.errors import ConfigError

DEFAULT_TRIM = 1

RULES: dict[str, Callable[[str], Rule]] = {
    "mean": lambda text: _plain(mean, text),
    "median": lambda text: _plain(median, text),
    "trimmed-mean": lambda text: trimmed_mean(int(text) if text else DEFAULT_TRIM),
    "norm-clip": lambda text: _plain(norm_clip, text),
    "cache": lambda text: cache(float(text.partition("+")[0]), rule(text.partition("+")[2])),
    "clipped-differences": lambda text: clipped_differences(float(text) if text else DEFAULT_KAPPA),
}
"""Name -> a function from the parameter's text (empty: default) to the rule."""


def rule(spec: str) -> Rule:
    """The rule of a spec string such as ``mean``, ``trimmed-mean:2`` or ``clipped-differences:0.3``.

    Raises:
        ConfigError: no such rule, or a parameter that is not one.
    """
    name, _, parameter = spec.partition(":")
    if name not in RULES:
        raise ConfigError(f"rule {spec!r} is not known; choose one of: {', '.join(RULES)}")
    try:
        return RULES[name](parameter)
    except ValueError as error:  # int() and float() on the text, and InputError of the rule itself
        raise ConfigError(f"rule {spec!r}: {error}") from error


def _plain(build: Callable[[], Rule], parameter: str) -> Rule:
    if parameter:
        raise ValueError(f"takes no parameter, got {parameter!r}")
    return build()
