"""Byte budgets and prices as people write them: ``2MB/month``, ``70 kB/day``, ``0.05 EUR/MB``."""

from __future__ import annotations

import re
from dataclasses import dataclass

from gossamer.errors import ConfigError

UNITS = {
    "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30,
}  # fmt: skip
"""kB, MB, GB are decimal, as operators bill; KiB, MiB, GiB binary."""
DAYS = {"day": 1, "week": 7, "month": 30, "year": 365}
DAYS_OF_MONTH = 30
MEGABYTE = 10**6
MOST_A_MONTH = 10**18
"""No link carries as much; a ledger counts to nine times that."""
SIGNS = {"€": "EUR", "$": "USD", "£": "GBP"}
"""Signs of currencies, so that a fleet's sum has one line for each."""
_BUDGET = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([KMGkmg]?i?[Bb])\s*(?:/|per\s)\s*(day|week|month|year)\s*", re.ASCII)
_PRICE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]{3}|[€$£])?\s*(?:(?:/|per\s)\s*([KMGkmg]?i?[Bb]))?\s*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Price:
    """What a megabyte (10^6 bytes) costs, in millionths of ``currency``."""

    micro_per_megabyte: int
    currency: str = "EUR"

    def of(self, count: float) -> float:
        """The price of so many bytes, in units of the currency."""
        return count / MEGABYTE * self.micro_per_megabyte / 1e6


def bytes_a_month(text: str) -> int:
    """Bytes of 30 days.

    >>> bytes_a_month("2MB/month"), bytes_a_month("70 kB/day"), bytes_a_month("1 MiB per week")
    (2000000, 2100000, 4493897)

    Raises `ConfigError`.
    """
    match = _BUDGET.fullmatch(text)
    if match is None or float(match[1]) == 0:
        raise ConfigError(f"budget {text!r}: expected an amount and a time, as 2MB/month, 70kB/day or 1MiB/week")
    amount = float(match[1]) * UNITS[match[2].lower()] * DAYS_OF_MONTH / DAYS[match[3]]
    if amount > MOST_A_MONTH:
        raise ConfigError(f"budget {text!r}: expected at most {MOST_A_MONTH // 10**15} PB a month")
    return int(amount)


def parse_price(text: str) -> Price:
    """A price of bytes; a bare number is EUR a MB.

    >>> parse_price("0.05"), parse_price("1.2 USD/MB").micro_per_megabyte, parse_price("0.001 EUR/kB").of(2_000_000)
    (Price(micro_per_megabyte=50000, currency='EUR'), 1200000, 2.0)

    Raises `ConfigError`.
    """
    match = _PRICE.fullmatch(text)
    if match is None:
        raise ConfigError(f"price {text!r}: expected an amount, as 0.05 (EUR a MB), 0.05EUR/MB or 1.2USD/MB")
    per = UNITS[(match[3] or "MB").lower()]
    currency = (match[2] or "EUR").upper()
    return Price(round(float(match[1]) * 1e6 * MEGABYTE / per), SIGNS.get(currency, currency))
