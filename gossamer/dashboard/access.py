"""Who may do what: host names, the token, sessions. Pure, but for the random numbers that sessions are named by.

Looking is free on the loopback; whatever changes something needs the token, in an ``Authorization: Bearer`` header or
by a session that a form has opened with it. A request that changes something must also come from the page itself: its
body is JSON, which no form of another site can send, and where the browser says where it comes from, that is here. So
a link or a page elsewhere can do nothing with a session that is open in the same browser.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from gossamer.dashboard.settings import PageSettings

SESSION_SECONDS = 12 * 3600.0
#: Sessions open at once; the oldest ends when one more begins.
MAX_SESSIONS = 256
READ_ONLY = (
    "this page is read-only: no token is set. Set page.token or page.token_file in server.toml and start the server "
    "again, or use the command line"
)
#: Headers of every answer. The page needs nothing from elsewhere, and nobody may frame it.
SECURITY_HEADERS = {
    "content-security-policy": "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that is no: HTTP status, and what was expected, what came, what to do."""

    status: int
    message: str


@dataclass(slots=True)
class Access:
    """Decides about requests. ``headers`` are by lower-case name; ``now`` is any steady clock."""

    settings: PageSettings
    cookie: str
    _sessions: OrderedDict[str, float] = field(default_factory=OrderedDict)

    def host(self, headers: Mapping[str, str]) -> Refusal | None:
        """Refuse a request for another host than this page."""
        name = host_name(headers.get("host", ""))
        if self.settings.allows(name):
            return None
        return Refusal(
            421,
            f"this page is not {name!r}; open it by the address it was started with, or name the host in page.hosts",
        )

    def look(self, headers: Mapping[str, str], cookies: Mapping[str, str], now: float) -> Refusal | None:
        """Refuse to show something to whom it is not for."""
        if not self.settings.guarded or self.known(headers, cookies, now):
            return None
        return Refusal(401, "looking at this page needs its token: sign in, or send it as Authorization: Bearer TOKEN")

    def change(self, headers: Mapping[str, str], cookies: Mapping[str, str], now: float) -> Refusal | None:
        """Refuse a change from whom it is not for, or that does not come from the page."""
        if not self.settings.token:
            return Refusal(403, READ_ONLY)
        return self.same_site(headers) or (
            None
            if self.known(headers, cookies, now)
            else Refusal(401, "this needs the page's token: sign in, or send it as Authorization: Bearer TOKEN")
        )

    def same_site(self, headers: Mapping[str, str]) -> Refusal | None:
        """Refuse what a page of another site may have sent."""
        if headers.get("content-type", "").split(";")[0].strip().lower() != "application/json":
            return Refusal(415, "expected a body of application/json")
        site, origin = headers.get("sec-fetch-site", "same-origin"), headers.get("origin")
        elsewhere = origin is not None and urlsplit(origin).netloc.lower() != headers.get("host", "").lower()
        if site not in ("same-origin", "none") or elsewhere:
            return Refusal(403, f"this request comes from another site ({origin or site}); use the page itself")
        return None

    def known(self, headers: Mapping[str, str], cookies: Mapping[str, str], now: float) -> bool:
        """Whether the request carries the token, or a session that it has opened."""
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self.matches(given.strip()):
            return True
        until = self._sessions.get(digest(cookies.get(self.cookie, "")))
        return until is not None and now < until

    def matches(self, given: str) -> bool:
        """Whether that is the token; takes as long whatever is wrong with it."""
        same = hmac.compare_digest(digest(given).encode(), digest(self.settings.token).encode())
        return same and bool(self.settings.token)

    def open(self, now: float) -> str:
        """Begin a session; returns what names it."""
        name = secrets.token_urlsafe(32)
        self._sessions[digest(name)] = now + SESSION_SECONDS
        while len(self._sessions) > MAX_SESSIONS:
            self._sessions.popitem(last=False)
        return name

    def close(self, name: str) -> None:
        """End a session."""
        self._sessions.pop(digest(name), None)


def digest(text: str) -> str:
    """What stands for a secret where it is compared or kept."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def host_name(host: str) -> str:
    """The name in a Host header, without its port and the brackets of IPv6.

    >>> host_name("Fleet.example:8787"), host_name("[::1]:8787"), host_name("")
    ('fleet.example', '::1', '')
    """
    try:
        return (urlsplit(f"//{host}").hostname or "").lower().rstrip(".")
    except ValueError:
        return ""
