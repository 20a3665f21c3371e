"""Devices and links as data, and what a model costs on them before a byte is sent.

``profiles`` reads the TOML files in ``devices`` and ``links`` (and a user's own), ``detection`` finds the one for this
machine, ``calibration`` measures it, ``planner`` prices a job; ``byte_model`` counts the packets it is priced by.
"""

from __future__ import annotations

from gossamer.firmware_profiles.profiles import DeviceProfile, LinkProfile, Profiles

__all__ = ["DeviceProfile", "LinkProfile", "Profiles"]
