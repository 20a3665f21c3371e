"""Every bound of the wire: named, with unit and reason. Checked before anything of its size is made."""

from __future__ import annotations

ID_BYTES = 8
"""Bytes of an object id: 2^32 objects before a chance collision; a forger meets the signature instead."""

KEY_ID_BYTES = 4
"""Bytes that name a fleet key: a hint which of a handful of keys to try."""

DIGEST_BYTES = 16
"""Bytes of a model digest: second preimages at 2^128."""

MAX_UINT = (1 << 63) - 1
"""Largest counter or size: what a signed 64-bit column of any store holds."""

MAX_SEED = (1 << 64) - 1
"""Largest seed, and the largest unsigned integer CBOR can carry without a tag."""

MAX_INT32 = (1 << 32) - 1
"""Largest value of fields that have no use for more (examples, epochs, seconds, a loss in millionths)."""

MAX_OBJECT_BYTES = 16 * 1024 * 1024
"""Bytes of one object: a snapshot of four million float32 weights, more than a month's budget."""

MAX_CHUNKS = 8_192
"""Chunks of one object: bounds the bitmap of STATUS and GET to 1 KiB."""

DEFAULT_CHUNK_BYTES = 4_000
"""Bytes of a chunk by default: below the 4 to 5 KiB at which AWS and Azure meter a second message."""

MAX_CHUNK_BYTES = 16_384
"""Bytes of a chunk at most: the top of the ladder (16,000); a longer one takes 10 s on a 15 kbit/s link."""

MAX_HEADER_BYTES = 320
"""Bytes of a signed update header: COSE framing and signature are 74, the five integers at most 37; the rest
is for sections and for items to come."""

MAX_UPDATE_SECTIONS = 4
"""Named additions in one update header."""

MAX_UPDATE_SECTION_BYTES = 128
"""Bytes of one of them: two histograms of 32 bins are 75."""

MAX_MISSING_BYTES = MAX_CHUNKS // 8
"""Bytes of a bitmap of missing chunks."""

MAX_MESSAGE_BYTES = MAX_CHUNK_BYTES + MAX_HEADER_BYTES + 64
"""Bytes of any message: the longest is an OFFER with a whole object of one chunk inside."""

MAX_ROUND_BYTES = 300
"""Bytes of a whole ROUND message: it is read by every device in every round, so it is paid for N times."""

MAX_WAYS = 12
"""Ways to the current model in one manifest: more hardly fit MAX_ROUND_BYTES (one takes 13 to 21)."""

MAX_SECTIONS = 8
"""Named additions in one manifest."""

MAX_CODEC_CHARS = 48
"""Characters (ASCII) of a codec spec."""

MAX_CODE = 255
"""Largest STATUS code."""

MAX_DETAIL_BYTES = 80
"""Bytes (UTF-8) of what an ABSENT says in words: one line on a narrow terminal."""

MAX_PROFILE_CHARS = 24
"""Characters (ASCII) of a profile's name: ``jetson-orin-nano`` has 16."""

MAX_PLANS = 8
"""Plans for classes of device in one manifest."""

MAX_PLANS_BYTES = 112
"""Bytes of all of them: what a manifest of 300 can spare beside a snapshot, two deltas and a method."""

MAX_MONTH = 4_095
"""Largest number of a month, counted from January 2020: that of the year 2361."""

MAX_DEPTH = 3
"""Nesting of arrays that an ignored trailing item may have; our own messages need 2."""

MAX_TRAILING_ITEMS = 64
"""Items behind the known ones that a reader skips before it calls the message malformed."""

MAX_FLEET_CHARS = 8
"""Characters of a fleet's name: it is in every topic, and so in every message."""

MAX_DEVICE_CHARS = 64
"""Characters of a device id: long enough for a URN or a certificate's name; most are 15 (IMEI)."""

MAX_TOPIC_CHARS = 256
"""Characters of a topic: AWS IoT's own limit."""

DEFAULT_WINDOW = 4
"""Chunks without PUBACK: saturates 15 kbit/s at 1 s one way; one at a time loses a factor 2 to 4."""

MAX_WINDOW = 64
"""Chunks without PUBACK at most: brokers queue about 100 messages for a client before they drop."""

DEFAULT_STATUS_TIMEOUT = 30.0
"""Seconds of silence before a sender asks: a window of 16 KB takes 9 s at 15 kbit/s, and there are worse."""

MAX_BACKOFF = 8
"""The timeout doubles up to this multiple of itself."""

SENDS_PER_CHUNK = 8
"""A sender stops for this session after this many sends per chunk on average: no peer drains a budget."""

SPARE_SENDS = 16
"""Sends beyond SENDS_PER_CHUNK per chunk, so that an object of one chunk survives a bad minute."""

MAX_BAD_BODIES = 3
"""Whole bodies with the wrong digest that a receiver throws away before it rejects the object."""

BROADCAST_FROM_BYTES = 4_000
"""A model object up to this size goes to each device on its own topic; a larger one that several devices ask for is
sent once, on the shared topic. Listening there costs a device some 200 bytes to subscribe and leave, and whatever is
sent to others meanwhile: more than a small object is worth."""
