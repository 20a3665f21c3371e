"""What the bridge has measured on its own link, handed from its thread to the page's."""

from __future__ import annotations

from dataclasses import dataclass

from gossamer.mqtt.account import ByteAccount


@dataclass(slots=True)
class Meter:
    """The newest account; None where the bridge runs in another process, or not yet."""

    account: ByteAccount | None = None

    def __call__(self, account: ByteAccount) -> None:
        """Take the newest."""
        self.account = account
