"""Reports the requests of an ASGI application to Sluice, in the background.

`SluiceMiddleware` uses it. Needs httpx.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import quote

import httpx

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

# What a report may hold, and what the queue of reports may: further ones are dropped.
BATCH_EVENTS, BATCH_BYTES, QUEUE_EVENTS = 5_000, 900_000, 20_000
FLUSH_SECONDS = 1.0
REPORT_TIMEOUT, LAST_REPORT_TIMEOUT = 5.0, 2.0
# The status of a request that its client gave up.
ABANDONED = 499

log = logging.getLogger("sluice")


def path_of(scope: Scope) -> str:
    """Returns the path as the client wrote it."""
    raw = scope.get("raw_path") or quote(scope["path"]).encode()
    return raw.split(b"?")[0].decode("latin-1")


class Exchange:
    """A request and its response, as they are measured."""

    def __init__(self, scope: Scope, endpoint: Callable[[Scope], str] | None) -> None:
        self.scope, self.endpoint = scope, endpoint
        self.root = scope.get("root_path", "")
        self.started = time.perf_counter()
        self.status = self.request_bytes = self.response_bytes = 0

    def receiving(self, receive: Receive) -> Receive:
        async def measured() -> Message:
            message = await receive()
            self.request_bytes += len(message.get("body", b""))
            return message

        return measured

    def sending(self, send: Send) -> Send:
        async def measured(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.status = message["status"]
            self.response_bytes += len(message.get("body", b""))
            await send(message)

        return measured

    def abandoned(self) -> None:
        """Notes that the client gave the request up."""
        self.status = self.status or ABANDONED

    def event(self) -> str:
        """Returns the event, which ends now. An application that fails has no status yet."""
        named = self.endpoint and self.endpoint(self.scope)
        endpoint = named or endpoint_of(self.scope, self.root)
        event = {
            "type": "http_request",
            "method": self.scope["method"],
            # Sluice has no labels for longer ones.
            "endpoint": endpoint[:512],
            "status": self.status or 500,
            "duration_seconds": round(time.perf_counter() - self.started, 6),
            "request_bytes": self.request_bytes,
            "response_bytes": self.response_bytes,
        }
        return json.dumps(event)


def endpoint_of(scope: Scope, root: str = "") -> str:
    """Returns the pattern of the route that matched the request, as Starlette, FastAPI and Litestar
    have it, else its path.

    `root` is the `root_path` of the request when it came. Sluice folds the identifiers in a path.
    """
    if template := scope.get("path_template"):
        return template
    route = scope.get("route")
    pattern = getattr(route, "path_format", None) or getattr(route, "path", None)
    if not pattern:
        return path_of(scope)
    # What a mounted application is mounted at.
    mounted_at = scope.get("root_path", "").removeprefix(root)
    return mounted_at + ("" if hasattr(route, "routes") else pattern) or "/"


class Reports:
    """Sends events to Sluice in the background, and never makes a request wait or fail.

    What does not fit into the queue is dropped, and so is a batch that Sluice did not accept. Only
    while Sluice cannot be reached, events stay in the queue.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.client = httpx.AsyncClient(timeout=None, trust_env=False)
        self.events: deque[str] = deque()
        self.task: asyncio.Task[None] | None = None
        self.sending = asyncio.Lock()
        self.dropped, self.failed = 0, False

    def add(self, exchange: Exchange) -> None:
        try:
            if len(self.events) >= QUEUE_EVENTS:
                self.dropped += 1
                return
            self.events.append(exchange.event())
            if self.task is None or self.task.done():
                self.task = asyncio.get_running_loop().create_task(self.run())
        except Exception:
            log.exception("a request cannot be reported to sluice")

    async def run(self) -> None:
        """Sends a batch each second, until there is nothing to send."""
        while self.events:
            await asyncio.sleep(FLUSH_SECONDS)
            await self.flush()

    async def flush(self) -> None:
        """Sends what is in the queue now."""
        async with self.sending:
            if self.dropped:
                log.warning("%s requests were not reported to sluice: too many", self.dropped)
                self.dropped = 0
            for _ in range(QUEUE_EVENTS):
                batch = self.batch()
                if not batch or not await self.send(batch):
                    return

    def batch(self) -> list[str]:
        batch, size = [], 0
        while self.events and len(batch) < BATCH_EVENTS and size < BATCH_BYTES:
            batch.append(self.events.popleft())
            size += len(batch[-1]) + 1
        return batch

    async def send(self, batch: list[str]) -> bool:
        """Sends a batch, and returns whether to continue with the next one."""
        headers = {"content-type": "application/x-ndjson"}
        try:
            request = self.client.post(self.url, content="\n".join(batch), headers=headers)
            response = await asyncio.wait_for(request, REPORT_TIMEOUT)
            response.raise_for_status()
            refused = response.json()["refused"]
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            # Nothing was sent, so that nothing is counted twice.
            self.events.extendleft(reversed(batch))
            return self.warn_once(error)
        except Exception as error:
            return self.warn_once(error)
        self.failed = False
        if refused:
            log.warning("sluice refused %s reports, the first: %s", len(refused), refused[0])
        return True

    def warn_once(self, error: Exception) -> bool:
        if not self.failed:
            log.warning("requests cannot be reported to sluice: %r", error)
        self.failed = True
        return False

    def sent_before_the_end(self, send: Send) -> Send:
        """Sends the last reports before the application says that its shutdown is complete."""

        async def last(message: Message) -> None:
            if message["type"].startswith("lifespan.shutdown."):
                try:
                    await asyncio.wait_for(self.flush(), LAST_REPORT_TIMEOUT)
                except Exception as error:
                    self.warn_once(error)
            await send(message)

        return last
