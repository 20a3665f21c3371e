"""Times and amounts for people. Pure."""

from __future__ import annotations

import datetime

_SPANS = ((86_400.0, "days"), (3_600.0, "h"), (60.0, "min"))


def moment(unix_seconds: float) -> str:
    """A time as ISO 8601 in UTC, to the second.

    >>> moment(0)
    '1970-01-01T00:00:00Z'
    """
    return datetime.datetime.fromtimestamp(unix_seconds, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def span(seconds: float) -> str:
    """A length of time, two digits of it.

    >>> span(44), span(150), span(7200), span(400000)
    ('44 s', '2.5 min', '2 h', '4.6 days')
    """
    for unit, name in _SPANS:
        if seconds >= unit:
            return f"{_short(seconds / unit)} {name}"
    return f"{seconds:.0f} s"


def size(count: float) -> str:
    """A number of bytes, decimal.

    >>> size(812), size(13400), size(2e6)
    ('812 B', '13.4 kB', '2 MB')
    """
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= unit:
            return f"{count / unit:.3g} {name}"
    return f"{count:.0f} B"


def _short(value: float) -> str:
    text = f"{value:.1f}" if value < 10 else f"{value:.0f}"
    return text.removesuffix(".0")
