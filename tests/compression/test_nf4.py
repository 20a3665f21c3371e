"""The codebook codec and the fit of its tables."""

from __future__ import annotations

import math
from functools import reduce
from operator import add

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossamer.compression import Context, codec, decode, open_body
from gossamer.compression.codebooks import KNOWN, MAX_VERSION, NORMAL, Codebooks, Usage
from gossamer.compression.layout import Layout
from gossamer.compression.lloyd import refitted
from gossamer.errors import InputError, MalformedBody, MalformedMessage
from tests.compression import naive
from tests.compression.real_updates import real_updates
from tests.compression.test_contract import squared_error
from tests.compression.vectors import context, update

NF4 = codec("nf4")
tables = st.sets(st.integers(1, 255), min_size=7, max_size=7).map(lambda s: tuple(sorted(s)))


def usage_of(updates: np.ndarray, given: Context) -> Usage:
    """What the server sees of a round: bodies, never the updates."""
    bodies = [open_body(NF4.encode(x, seed=0, context=given), x.size, given) for x in updates]
    return reduce(add, [body.usage() for body in bodies])


def mean_error(spec: str, updates: np.ndarray, given: Context) -> float:
    this = codec(spec)
    return float(
        np.mean([squared_error(x, decode(this.encode(x, seed=0, context=given), x.size, given)) for x in updates])
    )


@pytest.mark.parametrize("data", ["watch", "digits"])
def test_real_updates_lose_a_quarter_less_than_in_uniform_steps(data: str) -> None:
    """At equal bits, with tables fitted to bodies of earlier rounds only."""
    layout, rounds = real_updates(data, 10)
    books = Codebooks.initial(layout)
    saved = []
    for updates in rounds:
        given = Context(layout=layout, codebooks=books)
        saved.append(1 - mean_error("nf4", updates, given) / mean_error("q4", updates, given))
        books = books.refit(usage_of(updates, given))
    assert books.version == 10
    assert len(NF4.encode(rounds[0][0], seed=0)) == len(codec("q4").encode(rounds[0][0], seed=0)) + 1
    assert min(saved) > 0.4
    assert saved[-1] > 0.45
    given = Context(layout=layout, codebooks=books)
    # Fitted to what the fleet sent, better than the quantiles it began with.
    assert mean_error("nf4", rounds[-1], given) < 0.97 * mean_error("nf4", rounds[-1], Context(layout=layout))


def test_bits() -> None:
    d = 100_000
    assert 8 * len(NF4.encode(update(d), seed=0)) / d <= 4.13


@pytest.mark.parametrize("d", [1, 127, 128, 129, 1000])
def test_against_naive(d: int) -> None:
    x = update(d)
    assert decode(NF4.encode(x, seed=0), d).tolist() == pytest.approx(
        naive.nf4(NF4.encode(x, seed=0), d, [NORMAL], [0] * -(-d // 128)), rel=1e-6
    )
    given = context(d)
    starts = np.arange(0, d, 128)
    side = math.isqrt(d // 3)
    groups = [int(at >= side * side + side) for at in starts]
    body = NF4.encode(x, seed=0, context=given)
    judged = naive.nf4(body, d, list(given.codebooks.groups), groups)
    assert decode(body, d, given).tolist() == pytest.approx(judged, rel=1e-6)


@given(st.lists(tables, min_size=1, max_size=8), st.integers(0, MAX_VERSION))
def test_codebooks_on_the_wire(groups: list[tuple[int, ...]], version: int) -> None:
    books = Codebooks(version, tuple(groups))
    data = books.serialize()
    assert len(data) <= 59
    assert Codebooks.parse(data) == books
    for length in range(len(data)):
        with pytest.raises(MalformedMessage):
            Codebooks.parse(data[:length])
    with pytest.raises(MalformedMessage):
        Codebooks.parse(data + b"\0")


@given(st.binary(max_size=64))
def test_any_bytes_for_codebooks(data: bytes) -> None:
    try:
        assert Codebooks.parse(data).serialize() == data
    except MalformedMessage:
        return


@pytest.mark.parametrize(
    "tables", [(), ((1, 2, 3),), ((2, 1, 3, 4, 5, 6, 7),), ((0, 1, 2, 3, 4, 5, 6),), (NORMAL,) * 9]
)
def test_tables_that_are_none(tables: tuple[tuple[int, ...], ...]) -> None:
    with pytest.raises(InputError, match="ascending"):
        Codebooks(0, tables)


def test_stragglers_of_known_versions_are_read_and_others_refused() -> None:
    layout, rounds = real_updates("watch", 1)
    x = rounds[0][0]
    books = Codebooks.initial(layout)
    made = []
    for _ in range(KNOWN + 3):
        given = Context(layout=layout, codebooks=books)
        made.append((NF4.encode(x, seed=0, context=given), decode(NF4.encode(x, seed=0, context=given), x.size, given)))
        books = books.refit(usage_of(rounds[0], given))
    now = Context(layout=layout, codebooks=books)
    for version, (body, y) in enumerate(made):
        if version == 0 or version >= books.version - KNOWN:
            assert np.array_equal(decode(body, x.size, now), y)
        else:
            with pytest.raises(MalformedBody, match="codebook version"):
                decode(body, x.size, now)
    announced = Context(layout=layout, codebooks=Codebooks.parse(books.serialize()))
    with pytest.raises(MalformedBody, match="fetch the manifest"):
        decode(made[-1][0], x.size, announced)


def test_groups_of_layers() -> None:
    layout = Layout((("b0", (3,)), *((f"m{i}", (2, 5)) for i in range(16)), ("b1", (4,))))
    books = Codebooks.initial(layout)
    assert len(books.groups) == 8
    starts = np.array([0, 3, 12, 13, 22, 23, 33, 162, 163, 10**9])
    assert books.groups_of(starts, layout).tolist() == [0, 0, 0, 0, 0, 1, 1, 7, 7, 7]
    with pytest.raises(InputError, match="layout"):
        books.groups_of(starts, None)
    assert len(Codebooks.initial().groups) == len(Codebooks.initial(Layout((("v", (9,)),))).groups) == 1


def test_a_fit_is_the_same_everywhere_and_settles() -> None:
    """Integers in, integers out: the table below came from this machine and has to come from every other."""
    counts = [40 * i * i + 9_000 for i in range(8)] + [50_000 - 6_000 * i for i in range(8)] + [3_000]
    first = refitted(NORMAL, counts)
    assert first == (77, 109, 136, 160, 184, 208, 237)
    assert refitted(NORMAL, [0] * 17) == NORMAL
    assert refitted(NORMAL, [1] * 17) == NORMAL


def test_a_fit_finds_the_best_levels() -> None:
    """Exponential values: after a few refits no table is much better than the one found from codes alone."""
    x = np.random.default_rng(0).laplace(size=128 * 4000).astype(np.float32)
    books = Codebooks.initial()
    for _ in range(4):
        given = Context(codebooks=books)
        books = books.refit(open_body(NF4.encode(x, seed=0, context=given), x.size, given).usage())
    best = min(
        mean_error("nf4", x[None], Context(codebooks=Codebooks(1, (tuple(b + s for b in books.groups[0]),))))
        for s in (-4, -2, 2, 4)
    )
    assert mean_error("nf4", x[None], Context(codebooks=books)) < 1.03 * best


@settings(max_examples=200, deadline=None)
@given(tables, st.lists(st.integers(0, 2**40), min_size=17, max_size=17))
def test_any_counts_give_a_table(table: tuple[int, ...], counts: list[int]) -> None:
    Codebooks(0, (refitted(table, counts),))


def test_usage_of_other_versions_does_not_mix() -> None:
    one = Usage(1, np.zeros((1, 17), np.int64))
    with pytest.raises(InputError, match="version"):
        one + Usage(2, np.zeros((1, 17), np.int64))
    with pytest.raises(InputError, match="version"):
        Codebooks.initial().refit(one)
