"""Where the page listens, under which names, and with which token."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field, replace

from gossamer.errors import ConfigError
from gossamer.fleet.server_files import PageTable

#: Shorter ones can be guessed; a guess costs a request and nothing else.
MIN_TOKEN_CHARS = 16
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
_NAME = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*")
_ADDRESS = re.compile(r"(?:\[(?P<six>[0-9a-fA-F:.]+)\]|(?P<host>[A-Za-z0-9._-]+)):(?P<port>[0-9]{1,5})")


@dataclass(frozen=True, slots=True)
class PageSettings:
    """A page.

    Args:
        host, port: where it listens; port 0 is any that is free.
        token: opens pause, resume and revoke; empty: nobody may.
        hosts: names it answers to, beside those of this machine.
    """

    host: str = "127.0.0.1"
    port: int = 8787
    token: str = field(default="", repr=False)
    hosts: tuple[str, ...] = ()

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def guarded(self) -> bool:
        """Whether looking needs the token, too: on any address that others can reach."""
        return not self.loopback

    def allows(self, name: str) -> bool:
        """Whether a request for a host of that name is meant for this page.

        On the loopback a page elsewhere could have its own name point here (DNS rebinding) and read this one with
        the visitor's browser. Where looking needs the token such a page has nothing to gain.
        """
        if name in self.hosts or name in LOOPBACK_NAMES or name == self.host:
            return True
        return self.guarded and not self.hosts

    def check(self) -> None:
        """Raises ConfigError, naming the key."""
        for name in self.hosts:
            if not _NAME.fullmatch(name) and not is_address(name):
                raise ConfigError(f"page.hosts: expected names of hosts without https:// and port, got {name!r}")
        if self.token and len(self.token) < MIN_TOKEN_CHARS:
            raise ConfigError(
                f"page.token has {len(self.token)} characters; expected {MIN_TOKEN_CHARS} or more: "
                "`openssl rand -base64 24` makes one"
            )
        if self.token and not (self.token.isascii() and self.token.isprintable()):
            raise ConfigError("page.token: expected printable ASCII characters, as a header carries it")
        if self.guarded and not self.token:
            raise ConfigError(
                f"page.host = {self.host!r} can be reached by others, and looking at the page then needs a token: set "
                "page.token or page.token_file, or listen on 127.0.0.1"
            )

    def listening(self, address: str) -> PageSettings:
        """The same on ``HOST:PORT`` (IPv6 in brackets). Raises ConfigError."""
        found = _ADDRESS.fullmatch(address)
        if found is None or int(found["port"]) > 65535:
            raise ConfigError(f"--page {address!r}: expected HOST:PORT, such as 127.0.0.1:8787 or [::1]:8787")
        moved = replace(self, host=found["six"] or found["host"], port=int(found["port"]))
        moved.check()
        return moved


def is_address(text: str) -> bool:
    """Whether that is an IP address, of either kind."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def page_settings(table: PageTable) -> PageSettings:
    """Settings from the server's file, its token read.

    Raises:
        ConfigError: token and token_file at once, a file that cannot be read, or what `PageSettings.check` says.
    """
    token = table.token
    if table.token_file is not None:
        if token:
            raise ConfigError("page.token and page.token_file: expected one of them, got both")
        try:
            token = table.token_file.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"page.token_file = {str(table.token_file)!r} cannot be read: {error}") from error
        if not token:
            raise ConfigError(f"page.token_file = {str(table.token_file)!r} is empty; expected a token")
    settings = PageSettings(table.host, table.port, token, tuple(name.lower() for name in table.hosts))
    settings.check()
    return settings
