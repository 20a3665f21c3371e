"""What a manifest asks of devices by class: section PLAN, ``name, codec, local_epochs`` for each, names ascending.

A device looks for the class it was given and heeds the codec and the epochs there; one of no class, or of one that is
not named, does as all do. A CBOR sequence, because a manifest has room for some of them and no more.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from gossamer.errors import IncompleteMessage, MalformedMessage
from gossamer.wire.accounts import PROFILE_FORM, is_profile
from gossamer.wire.checked import Checked, check_uint, need
from gossamer.wire.items import Reader, sequence
from gossamer.wire.limits import MAX_CODEC_CHARS, MAX_INT32, MAX_PLANS, MAX_PLANS_BYTES, MAX_PROFILE_CHARS


@dataclass(frozen=True, slots=True)
class Plan(Checked):
    """For one class: the codec of its updates, empty for the manifest's; local epochs, 0 for the manifest's."""

    profile: str
    codec: str
    local_epochs: int

    def check(self) -> None:
        """Raise MalformedMessage unless the fields are in range."""
        need(is_profile(self.profile), f"profile: expected {PROFILE_FORM}, got {self.profile!r}")
        ascii_ = all(" " <= each <= "~" for each in self.codec)
        need(ascii_ and len(self.codec) <= MAX_CODEC_CHARS, f"codec: expected at most {MAX_CODEC_CHARS} of ASCII")
        check_uint("local epochs", self.local_epochs, MAX_INT32)


@dataclass(frozen=True, slots=True)
class Plans(Checked):
    """All plans of a manifest."""

    plans: tuple[Plan, ...]

    def check(self) -> None:
        """Raise MalformedMessage unless a reader would accept this section."""
        names = [plan.profile for plan in self.plans]
        need(len(names) <= MAX_PLANS, f"a manifest has at most {MAX_PLANS} plans, got {len(names)}")
        need(names == sorted(set(names)), "plans: expected ascending names, each once")
        size = len(self.serialize())
        need(size <= MAX_PLANS_BYTES, f"the plans of a manifest have at most {MAX_PLANS_BYTES} bytes, got {size}")

    def serialize(self) -> bytes:
        """Return the bytes of the section."""
        return b"".join(sequence(plan.profile, plan.codec, plan.local_epochs) for plan in self.plans)

    def of(self, profile: str) -> Plan | None:
        """The plan of a class, or None."""
        return next((plan for plan in self.plans if plan.profile == profile), None)

    @classmethod
    def parse(cls, data: bytes) -> Plans:
        """Read a section. Raises MalformedMessage."""
        found: list[Plan] = []
        try:
            reader = Reader(data, MAX_PLANS_BYTES)
            while not reader.at_end:
                need(len(found) < MAX_PLANS, f"a manifest has at most {MAX_PLANS} plans")
                found.append(
                    Plan(
                        reader.text("profile", MAX_PROFILE_CHARS),
                        reader.text("codec", MAX_CODEC_CHARS),
                        reader.uint("local epochs", MAX_INT32),
                    )
                )
        except IncompleteMessage as error:
            raise MalformedMessage(f"the plans end too early: {error}") from error
        return cls(tuple(found))


@lru_cache(maxsize=4)
def read_plans(data: bytes | None) -> Plans:
    """The plans of a section, none for None. Raises MalformedMessage."""
    return Plans(()) if data is None else Plans.parse(data)
