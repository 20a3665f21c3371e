"""The page's socket, and its event loop in a thread of its own, beside whatever else the process does."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from gossamer.dashboard.actions import Actions
from gossamer.dashboard.app import make_app
from gossamer.dashboard.desk import Desk
from gossamer.dashboard.settings import PageSettings
from gossamer.errors import ConfigError

log = logging.getLogger(__name__)

#: How long answers under way may take at the end; streams end at once.
STOP_SECONDS = 1.0
#: Connections at once. Each takes a file of the process, which has 1024 by default and needs some for store and broker;
#: a browser takes one for the stream, and one to five for what it fetches.
MAX_CONNECTIONS = 256
#: Connections that the system accepts before this process has looked at them: files, too.
BACKLOG = 64


class PageServer:
    """A page that listens from the moment it is made, and answers between :meth:`start` and :meth:`stop`.

    Raises:
        ConfigError: it cannot listen there.
    """

    def __init__(self, desk: Desk, actions: Actions, settings: PageSettings) -> None:
        self._socket = listen(settings)
        port = self._socket.getsockname()[1]
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        self.url = f"http://{host}:{port}/"
        self._app, self._hub = make_app(desk, actions, settings)
        self._server = uvicorn.Server(configuration(self._app))
        self._thread = threading.Thread(target=self._run, name="gossamer-page", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """End, waiting STOP_SECONDS at most for answers under way."""
        self._server.should_exit = True
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._hub.close)
        if self._thread.is_alive():
            self._thread.join(2 * STOP_SECONDS)
        self._socket.close()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception:  # the page may fail, the fleet goes on
            log.exception("the page has ended")

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        await self._server.serve(sockets=[self._socket])


class Bounded(H11Protocol):
    """HTTP as uvicorn speaks it; beyond MAX_CONNECTIONS, or asking nothing, a connection is closed."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """A connection is there."""
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            transport.abort()
        else:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )


def configuration(app: ASGIApp) -> uvicorn.Config:
    """Uvicorn as the page needs it: no WebSockets, no lifespan, no log of addresses asked for."""
    return uvicorn.Config(
        app, http=Bounded, backlog=BACKLOG, ws="none", loop="asyncio", lifespan="off", log_config=None,
        access_log=False, proxy_headers=False, server_header=False, timeout_graceful_shutdown=int(STOP_SECONDS),
    )  # fmt: skip


def listen(settings: PageSettings) -> socket.socket:
    """Return a listening socket. Raises ConfigError."""
    try:
        found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _type, _protocol, _name, address = found[0]
        return socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except OSError as error:
        why = error.strerror or str(error)
        raise ConfigError(
            f"the page cannot listen on {settings.host}:{settings.port} ({why}); choose another "
            "address with --page HOST:PORT or page.port, 0 for any free port, or do without: --no-page"
        ) from error
