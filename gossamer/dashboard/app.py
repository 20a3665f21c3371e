"""The routes of the page: its files, its figures as JSON, the stream, the metrics, and what the token opens.

docs/page.md lists them. Every answer carries `access.SECURITY_HEADERS`; every request passes `Gate` first.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gossamer.aggregator.exposition import CONTENT_TYPE
from gossamer.dashboard.access import SECURITY_HEADERS, SESSION_SECONDS, Access, Refusal
from gossamer.dashboard.actions import Actions
from gossamer.dashboard.asking import MOST, asked, whole
from gossamer.dashboard.desk import Desk
from gossamer.dashboard.events import Hub, Viewing
from gossamer.dashboard.settings import PageSettings
from gossamer.errors import ConfigError, GossamerError, InputError, TransientError

ASSETS = Path(__file__).with_name("assets")
MAX_BODY_BYTES = 4096
#: What a browser needs before anybody has signed in; nothing of the fleet is in it.
OPEN_PATHS = ("/", "/api/session")
NO_JOB = Refusal(404, "there is no such job; /api/fleet.json names them")
NO_STORE = {"cache-control": "no-store"}


class Gate:
    """Refuses requests that are not for this page or not from whom may ask, and adds the security headers."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            return

        async def dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("cache-control", "no-cache")
            await send(message)

        refusal = self._refusal(Request(scope))
        app = self._app if refusal is None else refused(refusal)
        await app(scope, receive, dressed)

    def _refusal(self, request: Request) -> Refusal | None:
        headers = {name.lower(): value for name, value in request.headers.items()}
        wrong_host = self._access.host(headers)
        if wrong_host is not None:
            return wrong_host
        path = request.url.path
        if path == "/api/session":
            return None if request.method in ("GET", "HEAD") else self._access.same_site(headers)
        if request.method not in ("GET", "HEAD"):
            return self._access.change(headers, request.cookies, time.monotonic())
        if path in OPEN_PATHS or path.startswith("/assets/"):
            return None
        return self._access.look(headers, request.cookies, time.monotonic())


def refused(refusal: Refusal) -> Response:
    """The answer."""
    more = {"www-authenticate": "Bearer"} if refusal.status == 401 else {}
    return JSONResponse({"error": refusal.message}, refusal.status, headers={**NO_STORE, **more})


Handler = Callable[[Request], Awaitable[Response]]


@dataclass(slots=True)
class Page:
    """The handlers."""

    desk: Desk
    hub: Hub
    access: Access
    actions: Actions

    async def index(self, _request: Request) -> Response:
        """The page."""
        return FileResponse(ASSETS / "index.html")

    async def fleet(self, _request: Request) -> Response:
        """``/api/fleet.json``."""
        return await self._shown(self.desk.overview)

    async def job(self, request: Request) -> Response:
        """``/api/jobs/NUMBER.json``."""
        number = int(request.path_params["number"])
        return await self._shown(lambda: self.desk.job(number))

    async def rounds(self, request: Request) -> Response:
        """``/api/jobs/NUMBER/rounds.json?after=ROUND``."""
        number = int(request.path_params["number"])
        return await self._shown(lambda: self.desk.rounds(number, whole(request.query_params, "after", -1, least=-1)))

    async def devices(self, request: Request) -> Response:
        """``/api/devices.json?text=&state=&standing=&reason=&order=&page=&size=``."""
        return await self._shown(lambda: self.desk.devices(asked(request.query_params)))

    async def rejections(self, _request: Request) -> Response:
        """``/api/rejections.json``."""
        return await self._shown(self.desk.rejections)

    async def metrics(self, _request: Request) -> Response:
        """``/metrics``."""
        try:
            text = await asyncio.to_thread(self.desk.metrics)
        except GossamerError as error:
            return problem(error)
        return Response(text, headers={**NO_STORE, "content-type": CONTENT_TYPE})

    async def events(self, _request: Request) -> Response:
        """``/api/events``: the stream."""
        if self.hub.full or self.hub.closing:
            return PlainTextResponse("too many viewers; the figures are in /api/fleet.json", 503)
        return Viewing(self.hub)

    async def session(self, request: Request) -> Response:
        """``/api/session``: GET says what may be done, POST opens one with the token, DELETE ends it."""
        headers = {name.lower(): value for name, value in request.headers.items()}
        settings = self.access.settings
        if request.method == "POST":
            given = await body(request)
            if not settings.token or not self.access.matches(str(given.get("token", ""))):
                return refused(Refusal(403, "that is not this page's token" if settings.token else "no token is set"))
            answer = JSONResponse({"signed_in": True}, headers=NO_STORE)
            answer.set_cookie(
                self.access.cookie, self.access.open(time.monotonic()), max_age=int(SESSION_SECONDS), path="/",
                httponly=True, samesite="strict", secure=request.url.scheme == "https",
            )  # fmt: skip
            return answer
        if request.method == "DELETE":
            self.access.close(request.cookies.get(self.access.cookie, ""))
            answer = JSONResponse({"signed_in": False}, headers=NO_STORE)
            answer.delete_cookie(self.access.cookie, path="/", httponly=True, samesite="strict")
            return answer
        known = bool(settings.token) and self.access.known(headers, request.cookies, time.monotonic())
        said = {"token_set": bool(settings.token), "signed_in": known, "needed_to_look": settings.guarded}
        return JSONResponse(said, headers=NO_STORE)

    async def set_job(self, request: Request) -> Response:
        """``POST /api/jobs/NUMBER/pause`` or ``/resume``."""
        number, wanted = int(request.path_params["number"]), str(request.path_params["wanted"])
        if number > MOST:
            return refused(NO_JOB)
        if wanted not in ("pause", "resume"):
            return refused(Refusal(404, f"{wanted!r}: expected pause or resume"))
        return await self._done(lambda: self.actions.set_job(number, wanted, client(request)))

    async def revoke(self, request: Request) -> Response:
        """``POST /api/devices/revoke`` with ``{"device": NAME, "confirm": NAME}``."""
        given = await body(request)
        return await self._done(lambda: self.actions.revoke(given, client(request)))

    async def _shown(self, read: Callable[[], Any]) -> Response:
        try:
            found = await asyncio.to_thread(read)
        except GossamerError as error:
            return problem(error)
        if found is None:
            return refused(NO_JOB)
        return JSONResponse(found, headers=NO_STORE)

    async def _done(self, change: Callable[[], Any]) -> Response:
        try:
            done = await asyncio.to_thread(change)
        except GossamerError as error:
            return problem(error)
        self.desk.stir()
        return JSONResponse(done, headers=NO_STORE)


def problem(error: GossamerError) -> Response:
    """An error of ours as an answer: the request cannot be (400), not now (503), or the store cannot (500)."""
    status = 400 if isinstance(error, InputError) else 409 if isinstance(error, ConfigError) else 500
    return refused(Refusal(503 if isinstance(error, TransientError) else status, str(error)))


async def body(request: Request) -> dict[str, Any]:
    """The JSON object of a request; anything else, too much of it, or halves of characters: an empty one."""
    data = b""
    async for piece in request.stream():
        data += piece
        if len(data) > MAX_BODY_BYTES:
            return {}
    try:
        found = json.loads(data)
        json.dumps(found, ensure_ascii=False).encode()  # "\ud800" alone is JSON, and no text that anybody can store
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def client(request: Request) -> str:
    """Where a request comes from, for the log."""
    return "unknown" if request.client is None else request.client.host


def make_app(desk: Desk, actions: Actions, settings: PageSettings) -> tuple[ASGIApp, Hub]:
    """Return the page as an ASGI application, and its streams."""
    # Cookies know no ports: two fleets' pages on one machine have a cookie each.
    access = Access(settings, f"gossamer_{hashlib.sha256(desk.fleet.encode()).hexdigest()[:8]}")
    hub = Hub(desk)
    page = Page(desk, hub, access, actions)
    routes = [
        Route("/", page.index),
        Route("/metrics", page.metrics),
        Route("/api/fleet.json", page.fleet),
        Route("/api/jobs/{number:int}.json", page.job),
        Route("/api/jobs/{number:int}/rounds.json", page.rounds),
        Route("/api/jobs/{number:int}/{wanted}", page.set_job, methods=["POST"]),
        Route("/api/devices.json", page.devices),
        Route("/api/devices/revoke", page.revoke, methods=["POST"]),
        Route("/api/rejections.json", page.rejections),
        Route("/api/events", page.events),
        Route("/api/session", page.session, methods=["GET", "POST", "DELETE"]),
        Mount("/assets", StaticFiles(directory=ASSETS)),
    ]
    return Gate(Starlette(routes=routes), access), hub
