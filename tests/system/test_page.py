"""The live page in a real browser, over a real fleet: a round arrives, a rejection appears, an outage shows.

With GOSSAMER_SCREENSHOTS=1 the fleet is larger, and the pictures of docs/page.md are taken anew; a plain run leaves
them as they are.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from gossamer.aggregator.store import schema
from gossamer.dashboard.settings import PageSettings
from gossamer.demo.options import device_name
from gossamer.wire.session_messages import Birth
from tests.dashboard.pages import running
from tests.lab.browser import CONTRAST, LOST, Tab, chromium, tab

from .page_world import TOKEN, World, world

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

IMAGES = Path(__file__).resolve().parents[2] / "docs" / "images"
PICTURES = "GOSSAMER_SCREENSHOTS" in os.environ
SIZE = (
    {"data": "watch", "devices": 10, "rounds": 40, "spare": 2}
    if PICTURES
    else {"data": "digits", "devices": 4, "rounds": 2000}
)
SEEN_ROUNDS = 24 if PICTURES else 1
SILENT = SIZE["devices"] - 1  # type: ignore[operator]  # the device whose gate is closed
WHY = "charge 12 %, wanted 30 %"
CLOSED = f"""
[gates]
command = ["/bin/sh", "-c", "echo {WHY}; exit 1"]
"""
"""The site's own word in place of a battery, which the machine of the tests lacks."""
BUDGETS = {0: 2_000_000, 1: 2_000_000, 2: 150_000, 3: 30_000} if PICTURES else {1: 2_000_000}
"""Device -> its month's bytes; the least of them does not last."""
PHONE = {"width": 360, "height": 780}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("page"), **SIZE) as found:  # type: ignore[arg-type]
        found.serve()
        yield found


@pytest.fixture(scope="module")
def desk(browser: Browser, fleet: World) -> Iterator[Tab]:
    """One tab that stays open from the first test to the last, and is never loaded again."""
    with tab(browser, fleet.url) as found:
        found.page.evaluate("window.never_loaded_again = true")
        yield found
        assert found.page.evaluate("window.never_loaded_again")
        assert found.hosts == {f"127.0.0.1:{fleet.page_port}"}
        assert not [error for error in found.errors if LOST not in error]


def row(name: str) -> str:
    """JavaScript: the text of a device's row."""
    return (
        f"[...document.querySelectorAll('#devices tbody tr')].find((r) => r.innerText.startsWith('{name}'))?.innerText"
    )


SEALED = "Number(document.querySelector('#progress').value)"
LIVE = "document.querySelector('#live').innerText === 'live'"


def test_the_page_before_the_first_round(desk: Tab) -> None:
    desk.until(LIVE)
    desk.until("document.querySelectorAll('#members li').length === n", n=SIZE["devices"] // 2)  # type: ignore[operator]
    assert desk.page.evaluate(SEALED) == 0
    assert "no round is sealed yet" in desk.page.inner_text("#loss")
    assert "offline" in desk.page.inner_text("#members ~ #legend")


def test_a_round_arrives(desk: Tab, fleet: World) -> None:
    for index in range(SILENT):
        budget = f"\n[budget]\nmonthly_bytes = {BUDGETS[index]}\n" if index in BUDGETS else ""
        fleet.device(index, limits=budget)
    fleet.device(SILENT, limits=CLOSED)
    desk.until(f"{SEALED} >= n", 240, n=SEEN_ROUNDS)
    desk.until("document.querySelector('#loss canvas') && document.querySelector('#spent canvas')")
    assert desk.page.get_attribute("#loss", "aria-label").startswith("Loss over rounds: from ")
    assert desk.page.inner_text("#rounds tbody tr:first-child").strip()
    assert "less than fp32" in desk.page.inner_text("#tiles")
    desk.until("document.querySelector('#bytes tbody strong')")
    desk.until("document.querySelector('#causes').innerText.includes('payload')")
    desk.until(f"{row(device_name(0))}.includes('online')")
    before = desk.page.evaluate(SEALED)
    desk.until(f"{SEALED} > n", n=before)
    assert desk.page.inner_text("#news").startswith("Round "), "it is read out, too"


def test_a_rejection_appears(desk: Tab, fleet: World) -> None:
    assert "none" in desk.page.inner_text("#messages")
    fleet.publish(fleet.topic("u", device_name(0)), b"\xff not a message of ours")
    desk.until("document.querySelector('#messages').innerText.includes('malformed')")
    fleet.publish(fleet.topic("u", "a-stranger"), Birth(1, 0).serialize(), b"\x00")
    desk.until("document.querySelector('#messages').innerText.includes('a-stranger')")
    desk.until("/Rejected\\s*[1-9]/.test(document.querySelector('#tiles').innerText)")


def test_why_a_device_stays_out_and_what_the_others_have_spent(desk: Tab) -> None:
    name = device_name(SILENT)
    desk.until(f"{row(name)}.includes(words)", words=WHY)
    desk.until("document.querySelector('#counts').innerText.includes('command 1')")
    desk.page.click("#counts button:has-text('command')")
    desk.until("document.querySelectorAll('#devices tbody tr').length === 1")
    desk.page.click("#counts button:has-text('all')")
    desk.until("document.querySelectorAll('#devices tbody tr').length === n", n=SIZE["devices"])
    desk.until(f"{row(device_name(1))}.includes(' of 2.00 MB')")
    assert "Measured by the devices" in desk.page.inner_text("#ledgers")


def test_pictures(fleet: World, browser: Browser) -> None:
    """Not a picture in a plain run, but the same way to it."""
    for name, more in (("page", {}), ("page-dark", {"dark": True}), ("page-phone", PHONE)):
        with tab(browser, fleet.url, **more) as found:  # type: ignore[arg-type]
            found.until(LIVE)
            found.until("document.querySelector('#spent canvas')")
            found.until(f"{row(device_name(SILENT))}.includes(words)", words=WHY)
            assert found.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "it scrolls sideways"
            assert found.page.evaluate(CONTRAST) == []
            assert found.errors == []
            if PICTURES:
                found.page.screenshot(path=IMAGES / f"{name}.png", full_page=name != "page-phone")


def test_a_device_goes_offline_and_comes_back(desk: Tab, fleet: World) -> None:
    desk.until(f"{row(device_name(0))}.includes('online')")
    fleet.kill(device_name(0))
    desk.until(f"!{row(device_name(0))}.includes('online')")
    desk.until("/offline [1-9]/.test(document.querySelector('#counts').innerText)")
    fleet.device(0)
    desk.until(f"{row(device_name(0))}.includes('online')")


def test_an_outage_shows_and_is_got_over(desk: Tab, fleet: World) -> None:
    shown = desk.page.evaluate(SEALED)
    fleet.kill("server")
    desk.until("document.querySelector('#live').innerText.startsWith('stale since')")
    assert "No contact with the server since" in desk.page.inner_text("#banner")
    assert desk.page.get_attribute("#banner", "role") == "status"
    assert desk.page.evaluate(SEALED) >= shown, "what was known is still shown"
    assert desk.page.evaluate("document.querySelectorAll('#devices tbody tr').length") == SIZE["devices"]
    fleet.serve()
    desk.until(LIVE)
    assert desk.page.is_hidden("#banner")
    desk.until(f"{SEALED} > n", n=shown)
    assert desk.page.evaluate("document.querySelectorAll('#rounds tbody tr').length") <= 8


def test_the_token_opens_the_rest(desk: Tab, fleet: World) -> None:
    page = desk.page
    assert page.is_hidden("#pause")
    page.click("#sign")
    page.fill("#token", "not the token, surely")
    page.keyboard.press("Enter")
    desk.until("document.querySelector('#token-wrong').innerText !== ''")
    page.fill("#token", TOKEN)
    page.keyboard.press("Enter")
    desk.until("!document.querySelector('#pause').hidden")
    page.click("#pause")
    desk.until("document.querySelector('#state').innerText === 'paused'")
    assert fleet.job_state() == "paused"
    page.click("#pause")
    desk.until("document.querySelector('#state').innerText === 'open'")
    name = device_name(0)
    page.click(f"button[aria-label='Revoke {name}']")
    assert page.is_disabled("#revoke-go")
    page.fill("#confirm", device_name(1))
    assert page.is_disabled("#revoke-go")
    page.fill("#confirm", name)
    page.click("#revoke-go")
    desk.until(f"{row(name)}.includes('revoked')")
    page.click("#sign")
    desk.until("document.querySelector('#pause').hidden")
    assert [each["value"] for each in page.context.cookies() if each["name"].startswith("gossamer")] == []
    desk.errors[:] = [error for error in desk.errors if "403" not in error]  # the wrong token, as asked for


def test_a_visitor_without_a_mouse(browser: Browser, fleet: World) -> None:
    with tab(browser, fleet.url) as found:
        found.until(LIVE)
        found.until(f"{row(device_name(0))} != null")
        found.page.keyboard.press("Tab")
        assert found.page.evaluate("document.activeElement.className") == "skip"
        reached = set()
        for _ in range(40):
            found.page.keyboard.press("Tab")
            reached.add(found.page.evaluate("document.activeElement.id || document.activeElement.dataset.count"))
        assert {"job", "by-round", "by-bytes", "text", "by-state", "order"} <= reached
        unnamed = """[...document.querySelectorAll('button, input, select, progress, [role=img]')].filter((e) =>
            !e.closest('[hidden]') && !(e.innerText?.trim() || e.getAttribute('aria-label') || e.labels?.length))
            .map((e) => e.outerHTML)"""
        assert found.page.evaluate(unnamed) == []
        tables = "[...document.querySelectorAll('table:not(.u-legend)')]"
        assert found.page.evaluate(f"{tables}.filter((t) => !t.tHead || !t.caption).map((t) => t.id)") == []
        assert found.page.evaluate("new Set([...document.querySelectorAll('[id]')].map((e) => e.id)).size") == (
            found.page.evaluate("document.querySelectorAll('[id]').length")
        )


def test_ten_thousand_devices_make_a_page_of_fifty(browser: Browser, tmp_path: Path) -> None:
    with running(tmp_path, settings=PageSettings(port=0)) as found:
        with found.fleet.store.write() as db:
            rows = [
                {"id": f"meter-{n:05d}", "device_index": n, "bucket": "00", "public_key": n.to_bytes(32, "big"),
                 "state": "enrolled", "online": n % 3 == 0, "last_seen": 1000.0 + n}
                for n in range(4, 10_000)
            ]  # fmt: skip
            db.execute(schema.devices.insert(), rows)
        found.fleet.step()
        with tab(browser, found.server.url, **PHONE) as seen:  # type: ignore[arg-type]
            seen.until("document.querySelectorAll('#devices tbody tr').length === 15")
            assert seen.page.evaluate("document.querySelectorAll('#members li').length") == 400
            assert "4,600 more" in seen.page.inner_text("#cohort-note")
            assert seen.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
            assert seen.errors == []
        with tab(browser, found.server.url) as seen:
            seen.until("document.querySelectorAll('#devices tbody tr').length === 50")
            assert "online 3,332" in seen.page.inner_text("#counts")
            seen.page.click("#next")
            seen.until(f"{row('meter-00050')} != null")
            seen.page.fill("#text", "09999")
            seen.until(f"document.querySelectorAll('#devices tbody tr').length === 1 && {row('meter-09999')} != null")
            assert seen.page.evaluate("document.querySelectorAll('*').length") < 3000
            assert seen.errors == []
