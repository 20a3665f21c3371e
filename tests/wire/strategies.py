"""Hypothesis strategies for everything that travels, and the stored vectors."""

import json
from typing import Any

from hypothesis import strategies as st

from gossamer.wire import limits
from gossamer.wire.items import is_plain
from gossamer.wire.manifest import Fit, Manifest, Way
from gossamer.wire.messages import (
    Absent,
    Account,
    Birth,
    Chunk,
    Code,
    Death,
    Get,
    JobState,
    Kind,
    Message,
    Offer,
    Query,
    Receipt,
    Round,
    State,
    Status,
    UpdateHeader,
)
from gossamer.wire.participation import Participation
from tests.wire import naive

CLASSES = {
    cls.__name__.upper(): cls for cls in (Offer, Chunk, Status, Query, Get, Receipt, Round, Birth, Death, State, Absent)
}


def vectors() -> list[tuple[str, str, dict[str, Any], bytes]]:
    """(message, name of the case, fields as JSON, bytes)."""
    found = []
    for name in naive.MESSAGES:
        stored = json.loads((naive.VECTORS / f"{name.lower()}.json").read_text())
        assert stored["message"] == name
        found += [(name, c["name"], c["fields"], bytes.fromhex(c["hex"])) for c in stored["cases"]]
    return found


def signatures() -> dict[str, Any]:
    return json.loads((naive.VECTORS / "signatures.json").read_text())


def from_json(name: str, fields: dict[str, Any]) -> Message:
    """The message that JSON meaning describes."""
    read = {"hex": bytes.fromhex, "int": int, "missing": tuple, "text": str, "account": account_from}
    values = {field: read[how](fields[field]) for field, how in naive.MESSAGES[name][1]}
    if "kind" in values:
        values["kind"] = Kind(values["kind"])
    return CLASSES[name](**values)


def account_from(items: list[Any] | None) -> Account | None:
    return None if items is None else Account(*items)


def account_items(account: Account | None) -> list[Any] | None:
    return None if account is None else [account.month, account.spent, account.budget, account.profile]


def to_json(message: Message) -> tuple[str, dict[str, Any]]:
    name = type(message).__name__.upper()
    write = {"hex": bytes.hex, "int": int, "missing": list, "text": str, "account": account_items}
    return name, {field: write[how](getattr(message, field)) for field, how in naive.MESSAGES[name][1]}


ids = st.binary(min_size=8, max_size=8)
counters = st.one_of(st.integers(0, 300), st.integers(0, limits.MAX_UINT))
small = st.one_of(st.integers(0, 300), st.integers(0, limits.MAX_INT32))
seeds = st.integers(0, limits.MAX_SEED)
missing = st.one_of(
    st.just(()),
    st.sets(st.integers(0, limits.MAX_CHUNKS - 1), max_size=20).map(lambda s: tuple(sorted(s))),
    st.sets(st.integers(0, 40)).map(lambda s: tuple(sorted(s))),
)


@st.composite
def offers(draw: st.DrawFn) -> Offer:
    kind = draw(st.sampled_from(Kind))
    header = draw(st.binary(max_size=limits.MAX_HEADER_BYTES))
    body = draw(st.binary(max_size=60))
    if body:
        return Offer(draw(ids), kind, len(body), draw(st.integers(len(body), 4000)), header, body)
    chunk_bytes = draw(st.integers(1, limits.MAX_CHUNK_BYTES))
    most = min(limits.MAX_OBJECT_BYTES, chunk_bytes * limits.MAX_CHUNKS)
    return Offer(draw(ids), kind, draw(st.integers(1, most)), chunk_bytes, header, b"")


update_sections = st.lists(
    st.tuples(st.integers(1, limits.MAX_INT32), st.binary(max_size=40)),
    max_size=limits.MAX_UPDATE_SECTIONS,
    unique_by=lambda section: section[0],
).map(lambda sections: tuple(sorted(sections)))

profiles = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,23}", fullmatch=True)
accounts = st.one_of(
    st.none(),
    st.builds(Account, st.integers(0, limits.MAX_MONTH), counters, counters, profiles),
    st.builds(Account, st.integers(0, limits.MAX_MONTH), counters, st.integers(1, limits.MAX_UINT), st.just("")),
)
details = st.text(max_size=80).filter(lambda text: is_plain(text) and len(text.encode()) <= limits.MAX_DETAIL_BYTES)

messages: st.SearchStrategy[Message] = st.one_of(
    offers(),
    st.builds(Chunk, ids, st.integers(0, limits.MAX_CHUNKS - 1), st.binary(min_size=1, max_size=300)),
    st.builds(Status, ids, st.sampled_from([c for c in range(256) if c != Code.MISSING])),
    st.builds(Status, ids, st.just(int(Code.MISSING)), missing),
    st.builds(Query, ids),
    st.builds(Get, ids, missing),
    st.builds(Receipt, ids, counters),
    st.builds(Round, st.binary(max_size=limits.MAX_ROUND_BYTES - 4)),
    st.builds(Birth, counters, counters, accounts),
    st.builds(Death, counters),
    st.builds(State, counters, st.integers(0, 1)),
    st.builds(Absent, counters, counters, st.integers(0, 255), details, accounts),
)

headers = st.builds(UpdateHeader, counters, counters, counters, small, small, update_sections)

participations = st.integers(1, 1 << 32).flatmap(
    lambda devices: st.builds(Participation, st.integers(0, 5), seeds, st.just(devices), st.integers(1, devices))
)
ways = st.builds(
    Way, counters, ids, st.integers(1, limits.MAX_OBJECT_BYTES), st.sampled_from([Kind.DELTA, Kind.SNAPSHOT])
)
manifests = st.builds(
    Manifest,
    small,
    st.sampled_from(JobState),
    small,
    small,
    st.binary(min_size=16, max_size=16),
    participations,
    st.lists(ways, max_size=3).map(tuple),
    st.text("abcdefghij:.0123456789/", max_size=20),
    st.builds(Fit, small, small, small, seeds),
    small,
    st.binary(min_size=4, max_size=4),
    st.dictionaries(st.integers(1, 9), st.binary(max_size=20), max_size=3).map(lambda d: tuple(sorted(d.items()))),
)
