"""The range coder against arithmetic on one big number, its length against information, and its bodies' oneness."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gossamer.compression.entropy import (
    MAX_ALPHABET,
    decode_numbers,
    decode_symbols,
    encode_numbers,
    encode_symbols,
)
from gossamer.compression.range_coder import (
    COUNT_UNIT,
    IMPLICIT_BYTES,
    MAX_TOTAL,
    RAW_BITS,
    AdaptiveBit,
    Decoder,
    Encoder,
)
from gossamer.errors import MalformedBody

decisions = st.tuples(st.integers(1, 65535), st.integers(0, 1))
raws = st.integers(0, RAW_BITS).flatmap(lambda bits: st.tuples(st.integers(0, (1 << bits) - 1), st.just(-bits)))
"""A decision is (probability, bit), a raw number (value, -bits)."""
steps = st.lists(st.one_of(st.tuples(st.just("bit"), decisions), st.tuples(st.just("raw"), raws)), max_size=200)
Step = tuple[str, tuple[int, int]]


def encoded(message: list[Step]) -> bytes:
    encoder = Encoder()
    for kind, (first, second) in message:
        if kind == "bit":
            encoder.bit(first, second)
        else:
            encoder.raw(first, -second)
    return encoder.finish()


def naive_encoded(message: list[Step]) -> bytes:
    """The same intervals with ``low`` as one number of any size: no bytes on the way, no carry."""
    low, width, shifted = 0, 2**32 - 1, 0
    for kind, (first, second) in message:
        if kind == "bit":
            bound = width * first // 65536
            low, width = (low, bound) if second else (low + bound, width - bound)
        else:
            width //= 2**-second
            low += first * width
        while width < 2**24:
            low, width, shifted = low * 256, width * 256, shifted + 1
    for zeros in (32, 24):
        number = -(-low // 2**zeros) * 2**zeros
        if number < low + width:
            break
    text = number.to_bytes(shifted + 4, "big")
    return text[: max(len(text.rstrip(b"\0")), shifted - IMPLICIT_BYTES)]


def information(message: list[Step]) -> float:
    bits = 0.0
    for kind, (first, second) in message:
        bits += -second if kind == "raw" else -math.log2((first if second else 65536 - first) / 65536)
    return bits


@settings(max_examples=400, deadline=None)
@given(steps)
@example([("bit", (65535, 1))] * 400)
@example([("bit", (1, 1))] * 12)
@example([("bit", (1, 0))] * 400)
@example([("bit", (65535, 0))] * 40)
@example([("raw", (65535, -16))] * 40)
@example([("raw", (0, -16))] * 40)  # more zeros than go without saying
@example([("raw", (65535, -16))] * 20 + [("bit", (1, 0))] * 30)
def test_round_trip_and_judge(message: list[Step]) -> None:
    data = encoded(message)
    assert data == naive_encoded(message)
    assert len(data) * 8 < information(message) * 1.005 + 8.5
    decoder = Decoder(data)
    for kind, (first, second) in message:
        if kind == "bit":
            assert decoder.bit(first) == second
        else:
            assert decoder.raw(-second) == first
    decoder.finish()


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=30), steps)
def test_a_body_that_decodes_is_the_only_one(data: bytes, message: list[Step]) -> None:
    decoder = Decoder(data)
    read: list[Step] = []
    try:
        for kind, (first, second) in message:
            if kind == "bit":
                read.append((kind, (first, decoder.bit(first))))
            else:
                read.append((kind, (decoder.raw(-second), second)))
        decoder.finish()
    except MalformedBody:
        return
    assert encoded(read) == data


@settings(max_examples=200, deadline=None)
@given(steps, st.binary(min_size=1, max_size=3))
def test_bytes_behind_a_message_make_it_another_or_none(message: list[Step], tail: bytes) -> None:
    decoder = Decoder(encoded(message) + tail)
    same = True
    try:
        for kind, (first, second) in message:
            if kind == "bit":
                same &= decoder.bit(first) == second
            else:
                same &= decoder.raw(-second) == first
        decoder.finish()
    except MalformedBody:
        return
    assert not same


def test_reading_past_the_end_stops() -> None:
    for data in (b"", b"\xff", b"\x12\x34"):
        decoder = Decoder(data)
        with pytest.raises(MalformedBody, match="ends"):  # noqa: PT012
            for _ in range(8 * (len(data) + IMPLICIT_BYTES + 4)):
                decoder.raw(1)


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ([], ""),
        ([("bit", (32768, 1))], ""),
        ([("bit", (32768, 0))], "80"),
        ([("bit", (655, bit)) for bit in (0, 0, 1, 0, 1, 1, 0)], "051ddf"),
        ([("raw", (0xABCD, -16)), ("bit", (60000, 0)), ("raw", (5, -3))], "abcd4d"),
        ([("bit", (40000, i % 3 & 1)) for i in range(40)], "d529b93d0e15"),
    ],
)
def test_golden(message: list[Step], text: str) -> None:
    assert encoded(message).hex() == text


@pytest.mark.parametrize("share", [0.001, 0.02, 0.3, 0.5])
def test_adaptive_bit_is_krichevsky_trofimov(share: float) -> None:
    rng = np.random.default_rng(5)
    flags = (rng.random(8000) < share).astype(int).tolist()
    context, encoder = AdaptiveBit(), Encoder()
    for flag in flags:
        context.encode(encoder, flag)
    ones, zeros = sum(flags), len(flags) - sum(flags)
    half = math.lgamma(0.5)
    ideal = (math.lgamma(zeros + 0.5) + math.lgamma(ones + 0.5) - 2 * half - math.lgamma(len(flags) + 1)) / -math.log(2)
    data = encoder.finish()
    assert len(data) * 8 <= ideal * 1.002 + 10
    again, decoder = AdaptiveBit(), Decoder(data)
    assert [again.decode(decoder) for _ in flags] == flags
    decoder.finish()


def test_adaptive_counts_stay_bounded() -> None:
    context = AdaptiveBit()
    for _ in range(3 * MAX_TOTAL // COUNT_UNIT):
        context.count(1)
        assert context.zeros + context.ones <= MAX_TOTAL
    assert context.zeros >= 1
    assert context.probability() == 65535


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 300).flatmap(lambda a: st.tuples(st.just(a), st.lists(st.integers(0, a - 1), max_size=150))))
def test_symbols(case: tuple[int, list[int]]) -> None:
    alphabet, values = case
    data = encode_symbols(np.array(values, dtype=np.int64), alphabet)
    assert decode_symbols(data, len(values), alphabet).tolist() == values


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(0, 47).flatmap(lambda bits: st.integers(0, 2 ** (bits + 1) - 1)), max_size=80))
def test_numbers(values: list[int]) -> None:
    data = encode_numbers(np.array(values, dtype=np.int64))
    assert decode_numbers(data, len(values)).tolist() == values
    if values and max(values):
        with pytest.raises(MalformedBody):
            decode_numbers(data, len(values), max(values))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=40), st.integers(0, 40), st.integers(1, 40))
def test_symbols_of_any_bytes(data: bytes, n: int, alphabet: int) -> None:
    try:
        values = decode_symbols(data, n, alphabet)
    except MalformedBody:
        pass
    else:
        assert values.max(initial=0) < alphabet
        assert encode_symbols(values, alphabet) == data
    try:
        numbers = decode_numbers(data, n)
    except MalformedBody:
        return
    assert encode_numbers(numbers) == data


def test_symbols_learn() -> None:
    rng = np.random.default_rng(1)
    values = np.minimum(rng.geometric(0.5, size=2000) - 1, 9)
    shares = np.bincount(values) / len(values)
    entropy = -float((shares * np.log2(shares)).sum()) * len(values)
    assert len(encode_symbols(values, 10)) * 8 < 1.05 * entropy
    lengths = [len(encode_symbols(values[:n], 10)) for n in (0, 50, 500, 2000)]
    assert all(a < b for a, b in pairwise(lengths))


def test_symbols_golden() -> None:
    assert encode_symbols(np.array([0, 3, 3, 2, 4, 0, 3]), 5).hex() == "e90d44"
    assert encode_numbers(np.array([0, 1, 1000, 70000, 3])).hex() == "ff245abd412ce6"


@pytest.mark.parametrize(("value", "alphabet"), [(5, 5), (-1, 5), (0, 0), (0, MAX_ALPHABET + 1)])
def test_symbols_beyond_the_alphabet(value: int, alphabet: int) -> None:
    with pytest.raises(ValueError, match="expected"):
        encode_symbols(np.array([value]), alphabet)


@pytest.mark.parametrize("value", [-1, 1 << 48])
def test_numbers_beyond(value: int) -> None:
    with pytest.raises(ValueError, match="expected"):
        encode_numbers(np.array([value]))
