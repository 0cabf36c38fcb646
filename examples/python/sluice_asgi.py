"""ASGI middleware that asks Sluice before a request reaches the application (FastAPI, Starlette, Litestar, Quart ...).

    app.add_middleware(SluiceMiddleware, url="http://sluice:8000", when_away="allow")

An allowed request passes, and its answer carries the rate limit fields. A denied one is answered as Sluice answers it: 429 with `Retry-After` and a
problem body. Needs httpx. WebSockets and lifespan events pass unasked.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Literal
from urllib.parse import quote

import httpx

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

TOLD = ("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset", "ratelimit-policy", "ratelimit")
TOLD_WHEN_DENIED = (*TOLD, "retry-after", "content-type")
AWAY = json.dumps({"type": "urn:sluice:problem:store-unavailable", "title": "The rate limiter is away", "status": 503}).encode()

log = logging.getLogger("sluice")


def check_of(scope: Scope) -> dict[str, Any]:
    """The check to ask for: who asks by `X-Api-Key`, else by bearer token, else by address, as Sluice's own `identify` does.

    Wrap it to say more: `attributes` that limits look at, a `tier`, a `cost`, or a `client` that your own session knows.
    """
    raw = scope.get("raw_path") or quote(scope["path"]).encode()
    check: dict[str, Any] = {"method": scope["method"], "path": raw.split(b"?")[0].decode("latin-1")}
    if client := client_of(scope):
        check["client"] = client
    if ip := address_of(scope):
        check["ip"] = ip
    return check


def client_of(scope: Scope) -> str | None:
    """The client's key, or `None` when the address has to do."""
    headers: dict[bytes, bytes] = dict(scope["headers"])
    if key := headers.get(b"x-api-key"):
        return key.decode("latin-1")
    scheme, _, token = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def address_of(scope: Scope) -> str | None:
    """The address that the server says the client has, if it is one: a Unix socket has none."""
    try:
        return str(ipaddress.ip_address((scope.get("client") or ("",))[0].partition("%")[0]))
    except ValueError:
        return None


class SluiceMiddleware:
    """Lets a request pass when Sluice allows it.

    `timeout` (in seconds) is for the whole question. When Sluice does not answer in time, or with 5xx, `when_away` decides: `allow` lets the request
    pass without the fields, `refuse` answers 503.
    """

    def __init__(
        self,
        app: App,
        url: str = "http://127.0.0.1:8000",
        *,
        timeout: float = 0.25,
        when_away: Literal["allow", "refuse"] = "allow",
        check: Callable[[Scope], dict[str, Any]] = check_of,
    ) -> None:
        if when_away not in ("allow", "refuse"):
            raise ValueError(f"when_away is {when_away!r}: write 'allow' or 'refuse'")
        self.app = app
        self.url = url.rstrip("/") + "/v1/check"
        self.timeout = timeout
        self.when_away = when_away
        self.check = check
        # Of the environment's proxies none stands between an application and its limiter.
        self.client = httpx.AsyncClient(timeout=None, trust_env=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        answer = await self.ask(self.check(scope))
        if answer is None and self.when_away == "refuse":
            return await respond(send, 503, [(b"content-type", b"application/problem+json")], AWAY)
        if answer is None:
            return await self.app(scope, receive, send)
        if answer.status_code != 200:
            return await respond(send, answer.status_code, fields(answer, TOLD_WHEN_DENIED), answer.content)
        told = fields(answer, TOLD)

        async def send_with_fields(message: Message) -> None:
            if message["type"] == "http.response.start":
                # Where the application limits too, the client hears of one limiter only.
                names = {name for name, _ in told}
                own = [(name, value) for name, value in message.get("headers", ()) if name.lower() not in names]
                message = {**message, "headers": own + told}
            await send(message)

        await self.app(scope, receive, send_with_fields)

    async def ask(self, check: dict[str, Any]) -> httpx.Response | None:
        """Sluice's answer, 200 or 4xx; `None` when it is away."""
        try:
            answer = await asyncio.wait_for(self.client.post(self.url, json=check), self.timeout)
        except (httpx.HTTPError, asyncio.TimeoutError) as error:
            log.warning("sluice is away: %r", error)
            return None
        # A request that Sluice cannot read (400) must not pass: else unreadable ones would be free.
        if answer.status_code == 200 or 400 <= answer.status_code < 500:
            return answer
        log.warning("sluice is away: it answers %s", answer.status_code)
        return None


def fields(answer: httpx.Response, names: tuple[str, ...]) -> Headers:
    """Those of the answer's header fields that are named and there."""
    return [(name.encode(), answer.headers[name].encode("latin-1")) for name in names if name in answer.headers]


async def respond(send: Send, status: int, headers: Headers, body: bytes) -> None:
    """Answers in the application's place."""
    headers = [*headers, (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
