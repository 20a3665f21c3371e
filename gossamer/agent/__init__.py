"""The device: session machine, durable store, trainers, MQTT, service.

Importing this package loads none of its modules: a device, its training child and the server's tools each
import what they need. Start reading at :mod:`gossamer.agent.session` (what happens when) and
:mod:`gossamer.agent.work` (what is computed).
"""
