"""The messages that move an object: OFFER, CHUNK, STATUS, QUERY, GET, RECEIPT."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from gossamer.wire.checked import Checked, check_id, check_uint, need, read_id
from gossamer.wire.codes import FIRST_REASON, Code, Kind, Reason
from gossamer.wire.items import Reader, sequence
from gossamer.wire.limits import MAX_CHUNK_BYTES, MAX_CHUNKS, MAX_CODE, MAX_HEADER_BYTES, MAX_OBJECT_BYTES
from gossamer.wire.missing import Missing, check_missing, encode_missing, read_missing


@dataclass(frozen=True, slots=True)
class Offer(Checked):
    """An object is about to come; one that fits a chunk is inside.

    Args:
        object_id: first 8 bytes of the SHA-256 of the object.
        kind: what it is.
        size: of the object, in bytes, at least 1.
        chunk_bytes: of every chunk but the last.
        header: the COSE_Sign1 of an update's header; empty for model objects.
        body: the object itself, or empty: it comes in CHUNKs.
    """

    TYPE: ClassVar[int] = 0
    object_id: bytes
    kind: Kind
    size: int
    chunk_bytes: int
    header: bytes
    body: bytes

    @property
    def chunks(self) -> int:
        """How many chunks the object has."""
        return -(-self.size // self.chunk_bytes)

    def check(self) -> None:
        """Raise MalformedMessage unless sizes are in range and agree with one another."""
        check_id(self.object_id)
        need(self.kind in tuple(Kind), f"kind: expected 0..{max(Kind)}, got {self.kind}")
        need(1 <= self.size <= MAX_OBJECT_BYTES, f"size: expected 1..{MAX_OBJECT_BYTES}, got {self.size}")
        need(
            1 <= self.chunk_bytes <= MAX_CHUNK_BYTES,
            f"chunk_bytes: expected 1..{MAX_CHUNK_BYTES}, got {self.chunk_bytes}",
        )
        need(self.chunks <= MAX_CHUNKS, f"an object has at most {MAX_CHUNKS} chunks, got {self.chunks}")
        need(len(self.header) <= MAX_HEADER_BYTES, f"a header has at most {MAX_HEADER_BYTES} bytes")
        if self.body:
            need(
                len(self.body) == self.size <= self.chunk_bytes,
                f"a body inside has the {self.size} bytes announced and fits one chunk, got {len(self.body)}",
            )

    def serialize(self) -> bytes:
        """Return the bytes on the wire."""
        return sequence(self.TYPE, self.object_id, self.kind, self.size, self.chunk_bytes, self.header, self.body)

    @classmethod
    def read(cls, reader: Reader) -> Offer:
        """Read the fields behind the type."""
        return cls(
            read_id(reader),
            Kind(reader.uint("kind", max(Kind))),
            reader.uint("size", MAX_OBJECT_BYTES, least=1),
            reader.uint("chunk_bytes", MAX_CHUNK_BYTES, least=1),
            reader.bytes_("header", MAX_HEADER_BYTES),
            reader.bytes_("body", MAX_CHUNK_BYTES),
        )


@dataclass(frozen=True, slots=True)
class Chunk(Checked):
    """Bytes ``index * chunk_bytes`` and on of an object. Framing: 12 to 16 bytes."""

    TYPE: ClassVar[int] = 1
    object_id: bytes
    index: int
    data: bytes

    def check(self) -> None:
        """Raise MalformedMessage unless index and length are in range."""
        check_id(self.object_id)
        check_uint("index", self.index, MAX_CHUNKS - 1)
        need(
            1 <= len(self.data) <= MAX_CHUNK_BYTES,
            f"a chunk has 1..{MAX_CHUNK_BYTES} bytes, got {len(self.data)}",
        )

    def serialize(self) -> bytes:
        """Return the bytes on the wire."""
        return sequence(self.TYPE, self.object_id, self.index, self.data)

    @classmethod
    def read(cls, reader: Reader) -> Chunk:
        """Read the fields behind the type."""
        return cls(
            read_id(reader),
            reader.uint("index", MAX_CHUNKS - 1),
            reader.bytes_("data", MAX_CHUNK_BYTES, least=1),
        )


@dataclass(frozen=True, slots=True)
class Status(Checked):
    """How an upload stands; the only thing that ends one (with RECEIPT).

    Args:
        code: a :class:`Code` or a :class:`Reason`; numbers of later versions are kept as they are.
        missing: with ``Code.MISSING`` the chunks that are; empty there means *offer it again*.
    """

    TYPE: ClassVar[int] = 2
    object_id: bytes
    code: int
    missing: Missing = ()

    @property
    def reason(self) -> Reason | None:
        """Why the object was rejected, or None if it was not."""
        if self.code < FIRST_REASON:
            return None
        return Reason(self.code) if self.code in tuple(Reason) else Reason.UNSPECIFIED

    def check(self) -> None:
        """Raise MalformedMessage unless the list is in order and belongs to its code."""
        check_id(self.object_id)
        check_uint("code", self.code, MAX_CODE)
        check_missing(self.missing)
        need(not self.missing or self.code == Code.MISSING, "only code MISSING lists missing chunks")

    def serialize(self) -> bytes:
        """Return the bytes on the wire: 12 or 13 without a list."""
        return sequence(self.TYPE, self.object_id, self.code) + encode_missing(self.missing)

    @classmethod
    def read(cls, reader: Reader) -> Status:
        """Read the fields behind the type."""
        return cls(read_id(reader), reader.uint("code", MAX_CODE), read_missing(reader))


@dataclass(frozen=True, slots=True)
class Query(Checked):
    """How does this upload stand? 10 bytes; answered by STATUS or RECEIPT."""

    TYPE: ClassVar[int] = 3
    object_id: bytes

    def check(self) -> None:
        """Raise MalformedMessage unless the id has its length."""
        check_id(self.object_id)

    def serialize(self) -> bytes:
        """Return the bytes on the wire."""
        return sequence(self.TYPE, self.object_id)

    @classmethod
    def read(cls, reader: Reader) -> Query:
        """Read the fields behind the type."""
        return cls(read_id(reader))


@dataclass(frozen=True, slots=True)
class Get(Checked):
    """A device asks for an object (``missing`` empty: all of it), or for the manifest (``MANIFEST_ID``)."""

    TYPE: ClassVar[int] = 4
    object_id: bytes
    missing: Missing = ()

    def check(self) -> None:
        """Raise MalformedMessage unless the list is in order."""
        check_id(self.object_id)
        check_missing(self.missing)

    def serialize(self) -> bytes:
        """Return the bytes on the wire: 11 without a list."""
        return sequence(self.TYPE, self.object_id) + encode_missing(self.missing)

    @classmethod
    def read(cls, reader: Reader) -> Get:
        """Read the fields behind the type."""
        return cls(read_id(reader), read_missing(reader))


@dataclass(frozen=True, slots=True)
class Receipt(Checked):
    """The update is sealed: it is part of model ``version``."""

    TYPE: ClassVar[int] = 5
    object_id: bytes
    version: int

    def check(self) -> None:
        """Raise MalformedMessage unless the fields are in range."""
        check_id(self.object_id)
        check_uint("version", self.version)

    def serialize(self) -> bytes:
        """Return the bytes on the wire."""
        return sequence(self.TYPE, self.object_id, self.version)

    @classmethod
    def read(cls, reader: Reader) -> Receipt:
        """Read the fields behind the type."""
        return cls(read_id(reader), reader.uint("version"))
