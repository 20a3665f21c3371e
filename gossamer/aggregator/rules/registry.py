"""Spec strings of rules: ``name`` or ``name:parameter``, after any number of pre-steps: ``nnm:2+trimmed-mean:2``.

What is named here the contract suite covers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from gossamer.aggregator.rules.base import Rule
from gossamer.aggregator.rules.bucketing import bucketing
from gossamer.aggregator.rules.bulyan import bulyan
from gossamer.aggregator.rules.cache import DEFAULT_ETA, cache
from gossamer.aggregator.rules.centered_clipping import centered_clipping
from gossamer.aggregator.rules.clipped_differences import DEFAULT_KAPPA, clipped_differences
from gossamer.aggregator.rules.fltrust import fltrust
from gossamer.aggregator.rules.geometric_median import geometric_median
from gossamer.aggregator.rules.krum import krum, multi_krum
from gossamer.aggregator.rules.mean import mean
from gossamer.aggregator.rules.nnm import nnm
from gossamer.aggregator.rules.norm_clip import norm_clip
from gossamer.aggregator.rules.order_statistics import median, trimmed_mean
from gossamer.aggregator.rules.prestep import PreStep, after
from gossamer.aggregator.rules.sign_majority import sign_majority
from gossamer.errors import ConfigError

Made = TypeVar("Made")

DEFAULT_TRIM = 1
DEFAULT_F = 1
DEFAULT_BUCKET = 2

RULES: dict[str, Callable[[str], Rule]] = {
    "mean": lambda text: _plain(mean, text),
    "median": lambda text: _plain(median, text),
    "trimmed-mean": lambda text: trimmed_mean(int(text) if text else DEFAULT_TRIM),
    "krum": lambda text: krum(int(text) if text else DEFAULT_F),
    "multi-krum": lambda text: _multi_krum(text),
    "geometric-median": lambda text: geometric_median(_positive(text) if text else 0),
    "centered-clipping": lambda text: _centered_clipping(text),
    "norm-clip": lambda text: _plain(norm_clip, text),
    "clipped-differences": lambda text: clipped_differences(float(text) if text else DEFAULT_KAPPA),
    "bulyan": lambda text: bulyan(int(text) if text else DEFAULT_F),
    "sign-majority": lambda text: _plain(sign_majority, text),
    "fltrust": lambda text: fltrust(int(text)),
}
"""Name -> a function from the parameter's text (empty: default) to the rule."""

PRESTEPS: dict[str, Callable[[str], PreStep]] = {
    "nnm": lambda text: nnm(int(text) if text else DEFAULT_F),
    "bucketing": lambda text: bucketing(int(text) if text else DEFAULT_BUCKET),
}
"""As ``RULES``, of pre-steps."""

AROUND: dict[str, Callable[[str, Rule], Rule]] = {
    "cache": lambda text, inner: cache(float(text) if text else DEFAULT_ETA, inner),
}
"""As ``RULES``, of what runs the rule that follows over updates of its own."""

UNMIXED = frozenset({"fltrust", "cache"})
"""Rules that look for the updates of known devices, which after a pre-step are nobody's."""


def rule(spec: str) -> Rule:
    """The rule of a spec string such as ``mean``, ``trimmed-mean:2`` or ``nnm:2+krum:2``.

    Raises:
        ConfigError: no such rule, or a parameter that is not one.
    """
    first, plus, rest = spec.partition("+")
    name = first.partition(":")[0]
    if name in AROUND and not plus:
        raise ConfigError(f"rule {spec!r}: expected the rule that it runs over all devices, as in {spec}+median")
    if not plus:
        return _built(RULES, spec, "rule")
    if name in AROUND:
        inner = rule(rest)
        return _built({name: lambda text: AROUND[name](text, inner)}, first, "rule")
    step, following = _built(PRESTEPS, first, "pre-step of a rule"), rule(rest)
    if following.spec.partition(":")[0] in UNMIXED:
        raise ConfigError(f"rule {spec!r}: {rest} takes no pre-step; leave {first} out")
    return after(step, following)


def _built(table: dict[str, Callable[[str], Made]], spec: str, kind: str) -> Made:
    name, _, parameter = spec.partition(":")
    if name not in table:
        raise ConfigError(f"{kind} {spec!r} is not known; choose one of: {', '.join(table)}")
    try:
        return table[name](parameter)
    except ValueError as error:  # int() and float() on the text, and InputError of the rule itself
        raise ConfigError(f"{kind} {spec!r}: {error}") from error


def _plain(build: Callable[[], Rule], parameter: str) -> Rule:
    if parameter:
        raise ValueError(f"takes no parameter, got {parameter!r}")
    return build()


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(f"expected at least 1, got {text}")
    return number


def _multi_krum(text: str) -> Rule:
    f, slash, m = text.partition("/")
    return multi_krum(int(f) if f else DEFAULT_F, _positive(m) if slash else 0)


def _centered_clipping(text: str) -> Rule:
    radius, slash, steps = text.partition("/")
    if radius and not float(radius) > 0.0:
        raise ValueError(f"needs a radius > 0, got {radius}")
    return centered_clipping(float(radius) if radius else 0.0, _positive(steps) if slash else 1)
