"""An API behind Sluice, that says what it was asked: python -m uvicorn app:app --port 8080"""

import os

from sluice_asgi import SluiceMiddleware
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route


async def echo(request: Request) -> JSONResponse:
    target = request.url.path + ("?" + request.url.query if request.url.query else "")
    body = (await request.body()).decode()
    return JSONResponse({"method": request.method, "target": target, "body": body}, headers={"RateLimit": '"mine";r=1'})


limited = Middleware(
    SluiceMiddleware,
    url=os.environ.get("SLUICE_URL", "http://127.0.0.1:8000"),
    timeout=float(os.environ.get("SLUICE_TIMEOUT", "0.25")),
    when_away="refuse" if os.environ.get("SLUICE_WHEN_AWAY") == "refuse" else "allow",
)
app = Starlette(routes=[Route("/{path:path}", echo, methods=["GET", "POST"])], middleware=[limited])
