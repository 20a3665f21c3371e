"""The stream that tells viewers what has changed: revisions of the page's parts, never the parts themselves.

One task looks at the store while anybody watches, and all streams wait for it; a viewer then fetches what it shows.
Without viewers nothing is read. A stream says something every BEAT_SECONDS, so that a viewer knows when it has lost
its server.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from sse_starlette.sse import EventSourceResponse
from starlette.types import Receive, Scope, Send

from gossamer.dashboard.desk import LOOK_SECONDS, Desk
from gossamer.errors import GossamerError

log = logging.getLogger(__name__)

BEAT_SECONDS = 5.0
#: Streams at once: each is a socket and a task, and beyond these somebody is playing.
MAX_VIEWERS = 128
#: A viewer that takes nothing for so long has gone.
SEND_SECONDS = 30

Event = dict[str, Any]


@dataclass(slots=True)
class Hub:
    """All streams of one page; lives in one event loop."""

    desk: Desk
    viewers: int = 0
    closing: bool = False
    _said: str = ""
    _trouble: str = ""
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _watching: asyncio.Task[None] | None = None

    @property
    def full(self) -> bool:
        """Whether there is no room for one more."""
        return self.viewers >= MAX_VIEWERS

    async def stream(self) -> AsyncIterator[Event]:
        """One viewer's events: ``change`` with revisions, ``trouble`` with why there are none, ``beat``."""
        if self._watching is None or self._watching.done():
            self._watching = asyncio.ensure_future(self._watch())
        shown: tuple[str, str] = ("", "")
        while not self.closing:
            news = self._news
            if (self._said, self._trouble) != shown:
                shown = (self._said, self._trouble)
                yield event("trouble", self._trouble) if self._trouble else event("change", self._said)
            elif await heard(news, BEAT_SECONDS):
                continue
            else:
                yield event("beat", json.dumps({"now": time.time()}))

    def close(self) -> None:
        """End all streams. In the event loop."""
        self.closing = True
        self._tell()

    async def _watch(self) -> None:
        """Look at the store as long as somebody watches."""
        while self.viewers and not self.closing:
            said, trouble = self._said, ""
            try:
                said = json.dumps(await asyncio.to_thread(self.desk.look))
            except GossamerError as error:
                trouble = json.dumps({"message": str(error)})
            if (said, trouble) != (self._said, self._trouble):
                self._said, self._trouble = said, trouble
                self._tell()
            await asyncio.sleep(LOOK_SECONDS)

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()


class Viewing(EventSourceResponse):
    """One stream as an answer; its viewer is counted as soon as :attr:`Hub.full` has been asked."""

    def __init__(self, hub: Hub) -> None:
        super().__init__(hub.stream(), ping=3 * BEAT_SECONDS, send_timeout=SEND_SECONDS)
        self._hub = hub

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        self._hub.viewers += 1
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._hub.viewers -= 1


async def heard(news: asyncio.Event, seconds: float) -> bool:
    """Whether there is news within so many seconds."""
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(news.wait(), seconds)
    return news.is_set()


def event(name: str, data: str) -> Event:
    """An event of the stream."""
    return {"event": name, "data": data}
