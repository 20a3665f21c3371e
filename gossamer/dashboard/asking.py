"""What a request asks for in its query: texts to numbers and names, within bounds."""

from __future__ import annotations

from collections.abc import Mapping

from gossamer.dashboard.device_rows import MAX_PAGE_SIZE, ORDERS, PAGE_SIZE, STANDINGS, Asked
from gossamer.errors import InputError

STATES = ("", "online", "offline", "revoked")
MAX_TEXT_CHARS = 64
MOST = (1 << 31) - 1


def asked(query: Mapping[str, str]) -> Asked:
    """Which devices a query asks for.

    Raises:
        InputError: names the key, what was expected and what came.
    """
    return Asked(
        text=query.get("text", "")[:MAX_TEXT_CHARS],
        state=one_of(query, "state", STATES),
        standing=one_of(query, "standing", ("", *STANDINGS)),
        reason=query.get("reason", "")[:MAX_TEXT_CHARS],
        order=one_of(query, "order", tuple(ORDERS)),
        page=whole(query, "page", 1, least=1),
        size=whole(query, "size", PAGE_SIZE, least=1, most=MAX_PAGE_SIZE),
    )


def one_of(query: Mapping[str, str], key: str, known: tuple[str, ...]) -> str:
    """A word of a few; the first of them is the default."""
    found = query.get(key, known[0])
    if found not in known:
        raise InputError(f"{key}={found!r}: expected one of {', '.join(each for each in known if each)}")
    return found


def whole(query: Mapping[str, str], key: str, default: int, *, least: int, most: int = MOST) -> int:
    """A whole number within bounds."""
    text = query.get(key, "")
    if not text:
        return default
    number = int(text) if len(text) <= 10 and text.removeprefix("-").isdecimal() and text.isascii() else least - 1
    if not least <= number <= most:
        raise InputError(f"{key}={text!r}: expected a whole number, {least} to {most}")
    return number
