"""MQTT <-> store: reassembly, acknowledgement, publication.

* ``bridge`` the machine: events in, actions out; no socket, no clock
* ``intake`` uploads; ``acceptance`` what they must be
* ``downloads`` model objects, many requests answered at once
* ``limits`` what a device may ask of us
* ``shell`` asyncio around the machine; ``server`` the processes that can be made of it and the engine
"""
