"""Windows of availability: the hours of the day in which a device takes part. Pure; Unix seconds come in.

``available = ["01:00-05:30", "22:00-24:00"]``; a window past midnight (``"22:30-04:00"``) goes on the next day; its
end is the first minute outside. No windows: always.

Times are UTC: the same everywhere in a fleet, needing no time zone data on a small board, and no hour of the year
comes twice or not at all, as local ones do where clocks are changed. A window in local time is shifted by hand.
A clock that jumps only changes the answer: nothing is remembered, and whoever asks again has the right one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from gossamer.errors import ConfigError

DAY_SECONDS = 86_400
MINUTES = 1440
NEVER = math.inf

_FORM = re.compile(r"([0-9]{2}):([0-5][0-9])-([0-9]{2}):([0-5][0-9])")


@dataclass(frozen=True, slots=True)
class Window:
    """[start, stop) in minutes of the day, UTC; ``start`` above ``stop`` runs past midnight."""

    start: int
    stop: int

    @classmethod
    def parse(cls, text: str) -> Window:
        """Read ``HH:MM-HH:MM``; the end may be 24:00. Raises :class:`ConfigError`.

        >>> Window.parse("22:30-04:00")
        Window(start=1350, stop=240)
        """
        found = _FORM.fullmatch(text)
        if found is not None:
            hour, minute, last_hour, last_minute = (int(each) for each in found.groups())
            start, stop = 60 * hour + minute, 60 * last_hour + last_minute
            if start < MINUTES and stop <= MINUTES and start != stop:
                return cls(start, stop)
        raise ConfigError(f'available: expected windows such as "01:00-05:30" or "22:00-24:00" (UTC), got {text!r}')

    def holds(self, second: float) -> bool:
        """Whether a second of the day, in [0, 86400), lies in it."""
        minute = second / 60
        if self.start < self.stop:
            return self.start <= minute < self.stop
        return minute >= self.start or minute < self.stop


def parse(texts: Sequence[str]) -> tuple[Window, ...]:
    """All of a setting. Raises :class:`ConfigError`."""
    return tuple(Window.parse(text) for text in texts)


def open_at(windows: Sequence[Window], unix_seconds: float) -> bool:
    """Whether one of the windows is open; without any, always.

    >>> open_at(parse(["01:00-05:30"]), 5400.0)
    True
    """
    second = unix_seconds % DAY_SECONDS
    return not windows or any(window.holds(second) for window in windows)


def next_change(windows: Sequence[Window], unix_seconds: float) -> float:
    """When :func:`open_at` next gives another answer, in Unix seconds; infinity: it never does.

    >>> next_change(parse(["01:00-05:30"]), 5400.0)
    19800.0
    """
    midnight = unix_seconds - unix_seconds % DAY_SECONDS
    now = open_at(windows, unix_seconds)
    minutes = {minute for window in windows for minute in (window.start, window.stop)}
    ahead = sorted(midnight + day * DAY_SECONDS + 60.0 * minute for day in (0, 1) for minute in minutes)
    return next((each for each in ahead if each > unix_seconds and open_at(windows, each) != now), NEVER)


def clock(unix_seconds: float) -> str:
    """The time of day, for people.

    >>> clock(5400.0)
    '01:30 UTC'
    """
    hour, minute = divmod(int(unix_seconds % DAY_SECONDS) // 60, 60)
    return f"{hour:02d}:{minute:02d} UTC"
