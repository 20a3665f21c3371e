"""What travels: messages, signatures, topics and the transfer machines. No I/O, no clock, no randomness.

One file per idea:

* :mod:`~gossamer.wire.limits` every bound, with its unit and reason;
* :mod:`~gossamer.wire.items` the strict subset of CBOR; :mod:`~gossamer.wire.missing` lists of chunks;
* :mod:`~gossamer.wire.messages` the ten messages; :mod:`~gossamer.wire.header` and
  :mod:`~gossamer.wire.manifest` what is signed inside them; :mod:`~gossamer.wire.cose` how;
* :mod:`~gossamer.wire.topics` where they travel;
* :mod:`~gossamer.wire.transfer` the machines that move an object in chunks;
* :mod:`~gossamer.wire.participation` which devices a round is for.

``gossamer.cddl`` beside this file is the grammar; ``docs/protocol.md`` explains it to other implementers.
"""
