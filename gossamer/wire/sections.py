"""Named additions to a manifest or an update header: numbers, ascending, each with bytes of its own.

``[[number, bytes], ...]``. A reader skips the numbers that it does not know.
"""

from __future__ import annotations

from gossamer.wire.items import Reader
from gossamer.wire.limits import MAX_INT32

Sections = tuple[tuple[int, bytes], ...]


def read_sections(reader: Reader, most: int, most_bytes: int) -> Sections:
    """Read at most ``most`` sections of at most ``most_bytes`` each; MalformedMessage, IncompleteMessage."""
    found: list[tuple[int, bytes]] = []
    for _ in range(reader.array("sections", most)):
        reader.array("section", 2, least=2)
        least = found[-1][0] + 1 if found else 1
        found.append((reader.uint("section number", MAX_INT32, least), reader.bytes_("section", most_bytes)))
    return tuple(found)
