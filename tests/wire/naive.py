"""A second, naive implementation: the judge. It shares no line with gossamer.wire and leaves CBOR to cbor2.

``python -m tests.wire.naive`` writes the golden vectors anew.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import cbor2
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

VECTORS = Path(__file__).parent.parent / "vectors" / "wire"

# name -> type on the wire, then (field, how its JSON is read)
MESSAGES: dict[str, tuple[int, tuple[tuple[str, str], ...]]] = {
    "OFFER": (
        0,
        (
            ("object_id", "hex"),
            ("kind", "int"),
            ("size", "int"),
            ("chunk_bytes", "int"),
            ("header", "hex"),
            ("body", "hex"),
        ),
    ),
    "CHUNK": (1, (("object_id", "hex"), ("index", "int"), ("data", "hex"))),
    "STATUS": (2, (("object_id", "hex"), ("code", "int"), ("missing", "missing"))),
    "QUERY": (3, (("object_id", "hex"),)),
    "GET": (4, (("object_id", "hex"), ("missing", "missing"))),
    "RECEIPT": (5, (("object_id", "hex"), ("version", "int"))),
    "ROUND": (6, (("cose", "hex"),)),
    "BIRTH": (7, (("boot", "int"), ("version", "int"), ("account", "account"))),
    "DEATH": (8, (("boot", "int"),)),
    "STATE": (9, (("boot", "int"), ("up", "int"))),
    "ABSENT": (
        10,
        (("job", "int"), ("round", "int"), ("reason", "int"), ("detail", "text"), ("account", "account")),
    ),
}


def bitmap(indices: list[int]) -> bytes:
    number = sum(1 << i for i in indices)
    return number.to_bytes((number.bit_length() + 7) // 8, "little")


def missing_item(indices: list[int]) -> Any:
    forms = [list(indices), bitmap(indices)] if indices else [[]]
    return min(forms, key=lambda form: len(cbor2.dumps(form)))  # the first of two equals: the array


def missing_list(item: Any) -> list[int]:
    if isinstance(item, bytes):
        number = int.from_bytes(item, "little")
        return [i for i in range(number.bit_length()) if number >> i & 1]
    return list(item)


def items(message: str, fields: dict[str, Any]) -> list[Any]:
    """JSON meaning -> the items of the sequence."""
    type_, names = MESSAGES[message]
    read = {"hex": bytes.fromhex, "int": int, "missing": missing_item, "text": str, "account": list}
    return [type_, *(read[how](fields[name]) for name, how in names if fields[name] is not None)]


def encode(message: str, fields: dict[str, Any]) -> bytes:
    return b"".join(cbor2.dumps(item) for item in items(message, fields))


def meaning(data: bytes) -> tuple[str, dict[str, Any]]:
    """The sequence -> message name and JSON meaning; trailing items are dropped."""
    found = [cbor2.loads(item) for item in split(data)]
    name = next(name for name, (type_, _) in MESSAGES.items() if type_ == found[0])
    write = {"hex": bytes.hex, "int": int, "missing": missing_list, "text": str, "account": list}
    fields = {field: write[how](item) for (field, how), item in zip(MESSAGES[name][1], found[1:], strict=False)}
    return name, {field: fields.get(field) for field, _ in MESSAGES[name][1]}  # an account may be left out


def split(data: bytes) -> list[bytes]:
    """The bytes of each item of a sequence (cbor2 6 reads ahead in a stream, so it cannot say where one ends)."""
    found = []
    while data:
        length = _item_length(data)
        found.append(data[:length])
        data = data[length:]
    return found


def _item_length(data: bytes) -> int:
    major, short = data[0] >> 5, data[0] & 31
    length = 1 + (0 if short < 24 else 1 << short - 24)
    argument = short if short < 24 else int.from_bytes(data[1:length], "big")
    if major in (2, 3):
        return length + argument
    for _ in range(argument if major == 4 else 0):
        length += _item_length(data[length:])
    return length


def sign(secret: bytes, payload: bytes, aad: list[Any]) -> bytes:
    protected = cbor2.dumps({1: -8})
    structure = cbor2.dumps(["Signature1", protected, cbor2.dumps(aad), payload])
    signature = Ed25519PrivateKey.from_private_bytes(secret).sign(structure)
    return cbor2.dumps([protected, {}, payload, signature])


def verify(public: bytes, envelope: bytes, aad: list[Any]) -> bytes:
    """The payload; raises cryptography's InvalidSignature."""
    protected, unprotected, payload, signature = cbor2.loads(envelope)
    assert cbor2.loads(protected) == {1: -8}
    assert unprotected == {}
    structure = cbor2.dumps(["Signature1", protected, cbor2.dumps(aad), payload])
    Ed25519PublicKey.from_public_bytes(public).verify(signature, structure)
    return payload


# --- the golden vectors -------------------------------------------------------------------------------------

SECRET = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
PUBLIC = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
# the first key pair of RFC 8032, 7.1

BODY = b"an update of a few bytes"
ID = hashlib.sha256(BODY).digest()[:8].hex()
HEADER = [3, 17, 12, 640, 123_456]
MANIFEST = [
    3,
    0,
    17,
    12,
    bytes(range(16)),
    [0, 0xFFFF_FFFF_FFFF_FFFF, 10, 5],
    [[11, bytes.fromhex("1122334455667788"), 420, 1], [0, bytes.fromhex("99aabbccddeeff00"), 9100, 2]],
    "ternary:0.0025",
    [2, 32, 50_000, 7],
    1_790_000_000,
    hashlib.sha256(PUBLIC).digest()[:4],
    [[1, b""], [2, bytes([1, 2, 3])]],
]


def _signatures() -> dict[str, Any]:
    header = b"".join(cbor2.dumps(i) for i in HEADER)
    manifest = b"".join(cbor2.dumps(i) for i in MANIFEST)
    return {
        "secret": SECRET.hex(),
        "public": PUBLIC.hex(),
        "fleet": "farm1",
        "device": "pump-7",
        "body": BODY.hex(),
        "update": {
            "fields": dict(zip(("job", "round", "base_version", "examples", "loss_micro"), HEADER, strict=True)),
            "payload": header.hex(),
            "cose": sign(SECRET, header, ["u", "farm1", "pump-7", hashlib.sha256(BODY).digest()]).hex(),
        },
        "manifest": {
            "fields": {
                "job": 3,
                "state": 0,
                "round": 17,
                "version": 12,
                "digest": MANIFEST[4].hex(),
                "participation": MANIFEST[5],
                "ways": [[v, i.hex(), s, k] for v, i, s, k in MANIFEST[6]],
                "codec": MANIFEST[7],
                "fit": MANIFEST[8],
                "deadline": MANIFEST[9],
                "key_id": MANIFEST[10].hex(),
                "sections": [[n, b.hex()] for n, b in MANIFEST[11]],
            },
            "payload": manifest.hex(),
            "cose": sign(SECRET, manifest, ["m", "farm1"]).hex(),
        },
    }


def _messages(signed: dict[str, Any]) -> dict[str, list[tuple[str, dict[str, Any]]]]:
    offer = {"object_id": ID, "kind": 0, "size": len(BODY), "chunk_bytes": len(BODY)}
    model = {"object_id": "1122334455667788", "header": "", "body": ""}
    absent = {"job": 3, "round": 17, "account": None}
    return {
        "OFFER": [
            ("a tiny update travels inside", offer | {"header": signed["update"]["cose"], "body": BODY.hex()}),
            ("an update in chunks", offer | {"chunk_bytes": 8, "header": signed["update"]["cose"], "body": ""}),
            ("a delta", model | {"kind": 1, "size": 420, "chunk_bytes": 420}),
            ("the largest snapshot", model | {"kind": 2, "size": 16_777_216, "chunk_bytes": 2_048}),
        ],
        "CHUNK": [
            ("the first", {"object_id": ID, "index": 0, "data": BODY[:8].hex()}),
            ("an index of two bytes", {"object_id": ID, "index": 24, "data": "00" * 24}),
            ("the last index there is", {"object_id": ID, "index": 8_191, "data": "ff" * 300}),
        ],
        "STATUS": [
            ("counted", {"object_id": ID, "code": 0, "missing": []}),
            ("offer it again", {"object_id": ID, "code": 1, "missing": []}),
            ("one is missing", {"object_id": ID, "code": 1, "missing": [2]}),
            ("a tie goes to the array", {"object_id": ID, "code": 1, "missing": [8]}),
            ("more in a bitmap", {"object_id": ID, "code": 1, "missing": [0, 1, 2, 3, 9]}),
            ("two far apart", {"object_id": ID, "code": 1, "missing": [5, 8_191]}),
            ("already", {"object_id": ID, "code": 2, "missing": []}),
            ("closed", {"object_id": ID, "code": 3, "missing": []}),
            ("quota", {"object_id": ID, "code": 4, "missing": []}),
            ("rejected: bad signature", {"object_id": ID, "code": 17, "missing": []}),
            ("rejected: not in cohort", {"object_id": ID, "code": 28, "missing": []}),
            ("a code of a later version", {"object_id": ID, "code": 200, "missing": []}),
        ],
        "QUERY": [("after a reconnect", {"object_id": ID})],
        "GET": [
            ("the manifest", {"object_id": "00" * 8, "missing": []}),
            ("all", {"object_id": "1122334455667788", "missing": []}),
            ("the rest", {"object_id": "1122334455667788", "missing": [4, 5, 6, 7]}),
        ],
        "RECEIPT": [("sealed", {"object_id": ID, "version": 13})],
        "ROUND": [("the manifest", {"cose": signed["manifest"]["cose"]})],
        "BIRTH": [
            ("never had a model", {"boot": 1, "version": 0, "account": None}),
            ("long lived", {"boot": 70_000, "version": 300, "account": None}),
            ("with its account", {"boot": 9, "version": 300, "account": [82, 1_930_000, 2_000_000, "pi-zero-2w"]}),
            ("a profile and no budget", {"boot": 9, "version": 300, "account": [82, 40_000, 0, "jetson-orin-nano"]}),
        ],
        "DEATH": [("the will", {"boot": 70_000})],
        "STATE": [
            ("the bridge is up", {"boot": 4, "up": 1}),
            ("the largest counter", {"boot": (1 << 63) - 1, "up": 0}),
        ],
        "ABSENT": [
            ("a gate", absent | {"reason": 4, "detail": "battery 12 %, wanted 30 %"}),
            ("the budget, with the account", absent | {"reason": 10, "detail": "", "account": [82, 4_100, 2_000, ""]}),
            ("words that are not ASCII", absent | {"reason": 9, "detail": "nur bei Sonne: 3 °C"}),
            ("a reason of a later version", absent | {"reason": 200, "detail": "the moon"}),
        ],
    }


def write_vectors(folder: Path = VECTORS) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    signed = _signatures()
    (folder / "signatures.json").write_text(json.dumps(signed, indent=1) + "\n")
    for name, cases in _messages(signed).items():
        rows = [{"name": why, "fields": f, "hex": encode(name, f).hex()} for why, f in cases]
        text = json.dumps({"message": name, "cases": rows}, indent=1) + "\n"
        (folder / f"{name.lower()}.json").write_text(text)


if __name__ == "__main__":
    write_vectors()
