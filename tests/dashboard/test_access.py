"""Who may do what, asked of a real page over HTTP."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from http.cookies import SimpleCookie
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from gossamer.aggregator.store import devices, jobs
from gossamer.dashboard.access import MAX_SESSIONS, SESSION_SECONDS, Access
from gossamer.dashboard.settings import PageSettings

from .pages import TOKEN, Client, Running, advance, running

CHANGES = ("/api/jobs/1/pause", "/api/jobs/1/resume", "/api/devices/revoke")
READS = ("/", "/api/fleet.json", "/api/jobs/1.json", "/api/jobs/1/rounds.json", "/api/devices.json",
         "/api/rejections.json", "/metrics", "/assets/page.css", "/api/session")  # fmt: skip


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("plain")) as found:
        advance(found.fleet, 0)
        yield found


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("keyed"), settings=PageSettings(port=0, token=TOKEN)) as found:
        advance(found.fleet, 0)
        yield found


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    settings = PageSettings(host="0.0.0.0", port=0, token=TOKEN)
    with running(tmp_path_factory.mktemp("guarded"), settings=settings) as found:
        advance(found.fleet, 0)
        found.client = Client(found.client.url.replace("0.0.0.0", "127.0.0.1"))
        yield found


def state_of(found: Running) -> str:
    with found.fleet.store.read() as db:
        job = jobs.get(db, 1)
    assert job is not None
    return job.state.value


def enrolled(found: Running, name: str) -> bool:
    with found.fleet.store.read() as db:
        device = devices.get(db, name)
    assert device is not None
    return device.enrolled


@pytest.mark.parametrize("path", READS)
def test_every_answer_has_the_security_headers(plain: Running, path: str) -> None:
    answer = plain.client.get(path)
    assert answer.status == 200
    policy = answer.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"
    assert "server" not in answer.headers


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8787", "127.0.0.1.evil.example", "", "[", "a b"])
def test_a_name_that_was_made_to_point_here_is_refused(plain: Running, host: str) -> None:
    answer = plain.client.get("/api/fleet.json", Host=host)
    assert answer.status in (400, 421)
    assert b'"jobs"' not in answer.body


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1234", "[::1]:80", "127.0.0.1"])
def test_the_names_of_this_machine_are_not(plain: Running, host: str) -> None:
    assert plain.client.get("/api/fleet.json", Host=host).status == 200


@pytest.mark.parametrize("path", CHANGES)
def test_without_a_token_nobody_changes_anything(plain: Running, path: str) -> None:
    for headers in ({}, {"Authorization": "Bearer "}, {"Authorization": f"Bearer {TOKEN}"}):
        answer = plain.client.post(path, {"device": "d0", "confirm": "d0"}, **headers)
        assert answer.status == 403
        assert "read-only: no token is set" in answer.json["error"]
    assert plain.client.post("/api/session", {"token": ""}).status == 403
    assert state_of(plain) == "open"
    assert enrolled(plain, "d0")


@pytest.mark.parametrize(
    "authorization", ["", "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}"]
)
def test_a_wrong_token_is_none(keyed: Running, authorization: str) -> None:
    answer = keyed.client.post("/api/jobs/1/pause", Authorization=authorization)
    assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert state_of(keyed) == "open"


def test_pause_resume_and_revoke_with_the_token(keyed: Running) -> None:
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    assert keyed.client.get("/api/jobs/1.json").json["state"] == "open"
    assert keyed.client.post("/api/jobs/1/pause", **bearer).json == {"job": 1, "done": "pause"}
    assert state_of(keyed) == "paused"
    assert keyed.client.get("/api/jobs/1.json").json["state"] == "paused", "it shows at once"
    assert keyed.client.post("/api/jobs/1/resume", **bearer).status == 200
    assert state_of(keyed) == "open"
    assert "no job of number 9" in keyed.client.post("/api/jobs/9/pause", **bearer).json["error"]
    assert keyed.client.post("/api/jobs/1/erase", **bearer).status == 404
    for given in ({}, {"device": "d1"}, {"device": "d1", "confirm": "d2"}, {"device": 1, "confirm": 1}, []):
        assert keyed.client.post("/api/devices/revoke", given, **bearer).status == 409
    assert enrolled(keyed, "d1")
    assert "no device nobody" in keyed.client.post(
        "/api/devices/revoke", {"device": "nobody", "confirm": "nobody"}, **bearer).json["error"]  # fmt: skip
    assert keyed.client.post("/api/devices/revoke", {"device": "d1", "confirm": "d1"}, **bearer).status == 200
    assert not enrolled(keyed, "d1")


def signed_in(found: Running) -> Client:
    answer = found.client.post("/api/session", {"token": TOKEN})
    assert answer.status == 200
    cookie = SimpleCookie(answer.headers["set-cookie"])
    (name,) = cookie
    assert cookie[name]["httponly"]
    assert cookie[name]["samesite"].lower() == "strict"
    return Client(found.client.url, {"Cookie": f"{name}={cookie[name].value}"})


def test_a_session_is_opened_with_the_token_and_ends(keyed: Running) -> None:
    assert keyed.client.post("/api/session", {"token": "wrong"}).status == 403
    assert keyed.client.get("/api/session").json == {"token_set": True, "signed_in": False, "needed_to_look": False}
    client = signed_in(keyed)
    assert client.get("/api/session").json["signed_in"]
    assert client.post("/api/jobs/1/pause").status == 200
    assert client.post("/api/jobs/1/resume").status == 200
    assert client("DELETE", "/api/session", {}).status == 200
    assert client.post("/api/jobs/1/pause").status == 401


def test_no_other_site_can_use_a_session(keyed: Running) -> None:
    client = signed_in(keyed)
    host = urlsplit(keyed.client.url).netloc
    path = "/api/jobs/1/pause"
    assert client.post(path, Origin="http://evil.example").status == 403
    assert client.post(path, Origin="null").status == 403
    assert client.post(path, Sec_Fetch_Site="cross-site").status == 403
    assert client.post(path, Sec_Fetch_Site="same-site").status == 403
    for form in ("application/x-www-form-urlencoded", "text/plain", "multipart/form-data", ""):
        assert client.post(path, Content_Type=form).status == 415
    assert client.get(path).status == 405, "a link changes nothing"
    assert client("DELETE", "/api/session", {}, Origin="http://evil.example").status == 403
    assert state_of(keyed) == "open"
    assert client.post(path, Origin=f"http://{host}", Sec_Fetch_Site="same-origin").status == 200
    assert client.post("/api/jobs/1/resume").status == 200


@pytest.mark.parametrize("path", [path for path in READS if path not in ("/", "/assets/page.css", "/api/session")])
def test_where_others_can_reach_it_looking_needs_the_token(guarded: Running, path: str) -> None:
    assert guarded.client.get(path).status == 401
    assert guarded.client.get(path + "?x=/assets/").status == 401
    assert guarded.client.get(path, Authorization=f"Bearer {TOKEN}").status == 200


def test_the_stream_is_guarded_too_and_the_shell_of_the_page_is_not(guarded: Running) -> None:
    assert guarded.client.get("/api/events").status == 401
    assert guarded.client.get("/").status == guarded.client.get("/assets/page.css").status == 200
    assert guarded.client.get("/api/session").json["needed_to_look"]
    assert signed_in(guarded).get("/api/fleet.json").json["fleet"] == "t"
    for path in ("/assets/../../server.toml", "/assets/%2e%2e/app.py", "/assets//etc/passwd", "/assets/..%2fapp.py"):
        assert guarded.client.get(path).status in (401, 404)


def test_sessions_are_bounded_and_expire() -> None:
    access = Access(PageSettings(token=TOKEN), "c")
    first = access.open(0.0)
    assert access.known({}, {"c": first}, SESSION_SECONDS - 1)
    assert not access.known({}, {"c": first}, SESSION_SECONDS)
    assert not access.known({}, {}, 0.0)
    assert not access.known({}, {"c": ""}, 0.0)
    for _ in range(MAX_SESSIONS):
        access.open(0.0)
    assert not access.known({}, {"c": first}, 1.0), "the oldest has made room"


def test_bodies_are_bounded_and_what_is_no_object_is_nothing(keyed: Running) -> None:
    netloc = urlsplit(keyed.client.url).netloc
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {TOKEN}"}
    for body in (b"x" * 100_000, b"[" * 4000, b"\xff", b"null", b'"' + b"d0" * 10):
        connection = http.client.HTTPConnection(netloc, timeout=10)
        connection.request("POST", "/api/devices/revoke", body, headers)
        assert connection.getresponse().status == 409
        connection.close()
    assert enrolled(keyed, "d0")


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/api/session", '{"token": "\\ud800"}', 403),
        ("/api/devices/revoke", '{"device": "\\ud800", "confirm": "\\ud800"}', 409),
        ("/api/jobs/99999999999999999999/pause", "{}", 404),
    ],
)
def test_what_no_text_and_no_number_is_gets_an_answer(keyed: Running, path: str, body: str, status: int) -> None:
    connection = http.client.HTTPConnection(urlsplit(keyed.client.url).netloc, timeout=10)
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {TOKEN}"}
    connection.request("POST", path, body, headers)
    assert connection.getresponse().status == status
    connection.close()


def test_changes_are_logged_and_tokens_are_not(keyed: Running, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        keyed.client.post("/api/jobs/1/pause", Authorization=f"Bearer {TOKEN}")
        keyed.client.post("/api/jobs/1/resume", Authorization=f"Bearer {TOKEN}")
    assert "job test: pause, asked for on the page by 127.0.0.1" in caplog.text
    assert TOKEN not in caplog.text


def test_the_key_may_be_missing(tmp_path: Path) -> None:
    with running(tmp_path, settings=PageSettings(port=0, token=TOKEN)) as found:
        found.files.key.unlink()
        answer = found.client.post("/api/jobs/1/pause", Authorization=f"Bearer {TOKEN}")
        assert answer.status == 409
        assert "no key at" in answer.json["error"]
