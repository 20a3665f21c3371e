"""Where the page may listen, and with which token."""

from __future__ import annotations

from pathlib import Path

import pytest

from gossamer.dashboard.settings import PageSettings, page_settings
from gossamer.errors import ConfigError
from gossamer.fleet.server_files import PageTable, ServerFiles

from .pages import TOKEN


def table(**changes: object) -> PageTable:
    plain = {"enabled": True, "host": "127.0.0.1", "port": 8787, "token": "", "token_file": None, "hosts": []}
    return PageTable(**{**plain, **changes})  # type: ignore[arg-type]


def test_the_defaults_are_for_this_machine_alone(tmp_path: Path) -> None:
    (tmp_path / "server.toml").write_text('fleet = "f"\n')
    found = page_settings(ServerFiles(tmp_path).settings({}).page)
    assert found == PageSettings("127.0.0.1", 8787, "", ())
    assert found.loopback
    assert not found.guarded


def test_the_token_comes_from_file_settings_or_environment(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN + "\n")
    (tmp_path / "server.toml").write_text('fleet = "f"\n[page]\ntoken_file = "token"\nhosts = ["Fleet.Example"]\n')
    found = page_settings(ServerFiles(tmp_path).settings({}).page)
    assert (found.token, found.hosts) == (TOKEN, ("fleet.example",))
    assert TOKEN not in repr(found)
    (tmp_path / "server.toml").write_text('fleet = "f"\n')
    files = ServerFiles(tmp_path)
    found = page_settings(files.settings({"GOSSAMER_PAGE_TOKEN": TOKEN, "GOSSAMER_PAGE_PORT": "0"}).page)
    assert (found.token, found.port) == (TOKEN, 0)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"token": "short"}, "page.token has 5 characters; expected 16 or more"),
        ({"token": "line\nfeed" * 4}, "printable ASCII"),
        ({"host": "0.0.0.0"}, "can be reached by others, and looking at the page then needs a token"),
        ({"host": "fleet.example"}, "needs a token"),
        ({"token": TOKEN, "token_file": Path("/x")}, "expected one of them, got both"),
        ({"token_file": Path("/no/such/file")}, "cannot be read"),
        ({"hosts": ("fleet.example:443",)}, "page.hosts: expected names of hosts without"),
        ({"hosts": ("https://fleet.example",)}, "page.hosts: expected names of hosts without"),
    ],
)
def test_what_cannot_work_is_refused(changes: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        page_settings(table(**changes))


def test_an_address_is_a_host_too() -> None:
    assert page_settings(table(hosts=("10.1.2.3", "fe80::1", "Fleet_1.example"))).hosts[2] == "fleet_1.example"


def test_an_empty_token_file_is_no_open_door(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("\n")
    with pytest.raises(ConfigError, match="is empty"):
        page_settings(table(token_file=tmp_path / "token"))


def test_addresses_of_the_command_line() -> None:
    assert (PageSettings().listening("localhost:0").host, PageSettings().listening("[::1]:80").host) == (
        "localhost",
        "::1",
    )
    for address in ("8787", "127.0.0.1", "127.0.0.1:99999", "http://127.0.0.1:8787", "::1:80", ""):
        with pytest.raises(ConfigError, match="expected HOST:PORT"):
            PageSettings().listening(address)
    with pytest.raises(ConfigError, match="needs a token"):
        PageSettings().listening("0.0.0.0:80")


@pytest.mark.parametrize(
    ("settings", "name", "allowed"),
    [
        (PageSettings(), "127.0.0.1", True),
        (PageSettings(), "localhost", True),
        (PageSettings(), "evil.example", False),
        (PageSettings(), "", False),
        (PageSettings(hosts=("fleet.example",)), "fleet.example", True),
        (PageSettings(host="0.0.0.0", token=TOKEN), "fleet.example", True),
        (PageSettings(host="0.0.0.0", token=TOKEN, hosts=("fleet.example",)), "evil.example", False),
    ],
)
def test_which_names_the_page_answers_to(settings: PageSettings, name: str, allowed: bool) -> None:
    assert settings.allows(name) is allowed
