"""What one device may ask of the bridge, so that the others are not starved."""

from __future__ import annotations

from collections import OrderedDict

#: Devices whose allowance is remembered. One that is forgotten starts with a full one, which is harmless as
#: long as only enrolled devices are remembered at all.
MAX_REMEMBERED = 65_536


class Allowances:
    """A token bucket per name: ``burst`` at once, then ``per_second``. Times are monotonic seconds."""

    def __init__(self, per_second: float, burst: float, *, remembered: int = MAX_REMEMBERED) -> None:
        self._per_second = per_second
        self._burst = burst
        self._remembered = remembered
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, name: str, now: float, cost: float = 1.0) -> bool:
        """Take ``cost`` from the allowance of ``name``; False, and nothing taken, if less than 1 is left.

        A single cost may be larger than what is left, or than the whole burst: it is granted and leaves a
        debt, which has to be waited off before the next. So anything is possible, once, and not often.
        """
        left, at = self._left.pop(name, (self._burst, now))
        left = min(self._burst, left + max(0.0, now - at) * self._per_second)
        granted = left >= 1.0
        self._left[name] = (left - cost if granted else left, now)
        if len(self._left) > self._remembered:
            self._left.popitem(last=False)
        return granted

    def give_back(self, name: str, cost: float) -> None:
        """Undo a :meth:`take` that was granted. Of a name forgotten since there is nothing to undo."""
        if name in self._left:
            left, at = self._left[name]
            self._left[name] = (min(self._burst, left + cost), at)


class Spending:
    """What one transaction takes from allowances at ``now``.

    When the transaction fails its messages are tried again: they must not pay for each try.
    """

    def __init__(self, now: float) -> None:
        self._now = now
        self._taken: list[tuple[Allowances, str, float]] = []

    def take(self, allowances: Allowances, name: str, cost: float = 1.0) -> bool:
        """As :meth:`Allowances.take`, and remember it."""
        granted = allowances.take(name, self._now, cost)
        if granted:
            self._taken.append((allowances, name, cost))
        return granted

    def give_back(self) -> None:
        """The transaction failed."""
        for allowances, name, cost in self._taken:
            allowances.give_back(name, cost)
        self._taken.clear()
