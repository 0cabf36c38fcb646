"""ASGI middleware that asks Sluice to decide about each request.

For FastAPI, Starlette, Litestar, Quart and other ASGI frameworks:

    app.add_middleware(SluiceMiddleware, url="http://sluice:8000", on_failure="allow")

An allowed request reaches the application, and the response carries the rate limit fields. A denied
request gets Sluice's own response: 429 with `Retry-After` and a problem body. WebSockets are not
limited. Every response is reported to Sluice in the background, which makes the metrics `http_*` of
it. Needs httpx.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Literal

import httpx
from sluice_reports import Exchange, Message, Receive, Reports, Scope, Send, path_of

App = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

RATE_LIMIT_FIELDS = (
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "ratelimit-policy",
    "ratelimit",
)
DENIAL_FIELDS = (*RATE_LIMIT_FIELDS, "retry-after", "content-type")
UNAVAILABLE = json.dumps(
    {
        "type": "urn:sluice:problem:store-unavailable",
        "title": "The rate limiter is unavailable",
        "status": 503,
    }
).encode()

log = logging.getLogger("sluice")


class RepeatedField(ValueError):
    """A header field that identifies the client is sent several times, with different values."""


def check_of(scope: Scope) -> dict[str, Any]:
    """Returns the check for a request. The client is its address.

    To name the `client` of your own session, or to add `attributes` that limits read, a `tier` or a
    `cost`, wrap this function.
    """
    check: dict[str, Any] = {"method": scope["method"], "path": path_of(scope)}
    if ip := address_of(scope):
        check["ip"] = ip
    return check


def check_by_key(scope: Scope) -> dict[str, Any]:
    """Returns the check for a request whose key was verified before it came here.

    The client is `X-Api-Key`, else the bearer token, else the address. Use it only behind something
    that refuses unknown keys: whoever invents a new key for each request has a full bucket each
    time.
    """
    client = client_of(scope)
    return {**check_of(scope), **({"client": client} if client else {})}


def client_of(scope: Scope) -> str | None:
    """Returns the client's key, or `None` if only its address identifies it."""
    if key := field_of(scope, b"x-api-key"):
        return key
    scheme, _, token = (field_of(scope, b"authorization") or "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def field_of(scope: Scope, name: bytes) -> str | None:
    """Returns the one value of a header field; equal values are one."""
    values = {value.strip() for key, value in scope["headers"] if key.lower() == name}
    values.discard(b"")
    if len(values) > 1:
        raise RepeatedField(f"header `{name.decode()}` names different clients: send it once")
    return values.pop().decode("latin-1") if values else None


def address_of(scope: Scope) -> str | None:
    """Returns the client's address as the server reports it; `None` for a Unix socket."""
    try:
        return str(ipaddress.ip_address((scope.get("client") or ("",))[0].partition("%")[0]))
    except ValueError:
        return None


class SluiceMiddleware:
    """Forwards a request to the application if Sluice allows it.

    `timeout` is the time for the whole check, in seconds. If Sluice does not respond in time or
    returns a 5xx status, `on_failure` decides: `allow` forwards the request without the rate limit
    fields, and `deny` returns 503.

    With `report`, every response is reported, with the `endpoint` that it belongs to. Behind
    Sluice's own gateway, write `report=False`: the gateway counts the same requests.
    """

    def __init__(
        self,
        app: App,
        url: str = "http://127.0.0.1:8000",
        *,
        timeout: float = 0.25,
        on_failure: Literal["allow", "deny"] = "allow",
        check: Callable[[Scope], dict[str, Any]] = check_of,
        report: bool = True,
        endpoint: Callable[[Scope], str] | None = None,
    ) -> None:
        if on_failure not in ("allow", "deny"):
            raise ValueError(f"on_failure is {on_failure!r}: write 'allow' or 'deny'")
        self.app = app
        self.url = url.rstrip("/") + "/v1/check"
        self.timeout = timeout
        self.on_failure = on_failure
        self.check = check
        # The application connects to its limiter directly, and not through a proxy that the
        # environment names.
        self.client = httpx.AsyncClient(timeout=None, trust_env=False)
        self.endpoint = endpoint
        self.reports = Reports(url.rstrip("/") + "/v1/events") if report else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        reports = self.reports
        if scope["type"] == "lifespan" and reports is not None:
            return await self.app(scope, receive, reports.sent_before_the_end(send))
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        if reports is None:
            return await self.limit(scope, receive, send)
        exchange = Exchange(scope, self.endpoint)
        try:
            await self.limit(scope, exchange.receiving(receive), exchange.sending(send))
        except asyncio.CancelledError:
            exchange.abandoned()
            raise
        finally:
            reports.add(exchange)

    async def limit(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Responds to a request, or lets the application respond."""
        try:
            check = self.check(scope)
        except RepeatedField as error:
            headers = [(b"content-type", b"application/problem+json")]
            return await respond(send, 400, headers, invalid_request(str(error)))
        decision = await self.decide(check)
        if decision is None and self.on_failure == "deny":
            headers = [(b"content-type", b"application/problem+json")]
            return await respond(send, 503, headers, UNAVAILABLE)
        if decision is None:
            return await self.app(scope, receive, send)
        if decision.status_code != 200:
            headers = fields(decision, DENIAL_FIELDS)
            return await respond(send, decision.status_code, headers, decision.content)
        added = fields(decision, RATE_LIMIT_FIELDS)

        async def send_with_fields(message: Message) -> None:
            if message["type"] == "http.response.start":
                # If the application sends rate limit fields too, the client sees only Sluice's.
                names = {name for name, _ in added}
                headers = message.get("headers", ())
                own = [(name, value) for name, value in headers if name.lower() not in names]
                message = {**message, "headers": own + added}
            await send(message)

        await self.app(scope, receive, send_with_fields)

    async def decide(self, check: dict[str, Any]) -> httpx.Response | None:
        """Returns Sluice's response, 200 or 4xx, or `None` if Sluice is unavailable."""
        try:
            request = self.client.post(self.url, json=check)
            response = await asyncio.wait_for(request, self.timeout)
        except (httpx.HTTPError, asyncio.TimeoutError) as error:
            log.warning("sluice is unavailable: %r", error)
            return None
        # A request that Sluice cannot read (400) must not pass: otherwise it would not be limited.
        if response.status_code == 200 or 400 <= response.status_code < 500:
            return response
        log.warning("sluice is unavailable: status %s", response.status_code)
        return None


def invalid_request(detail: str) -> bytes:
    """Returns the body of a response to a request that cannot be checked."""
    problem = {
        "type": "urn:sluice:problem:invalid-request",
        "title": "The request cannot be checked",
        "status": 400,
        "detail": detail,
    }
    return json.dumps(problem).encode()


def fields(response: httpx.Response, names: tuple[str, ...]) -> Headers:
    """Returns those of the named header fields that the response has."""
    return [
        (name.encode(), response.headers[name].encode("latin-1"))
        for name in names
        if name in response.headers
    ]


async def respond(send: Send, status: int, headers: Headers, body: bytes) -> None:
    """Sends a whole response without the application."""
    headers = [*headers, (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
