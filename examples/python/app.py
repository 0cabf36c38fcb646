"""An API with SluiceMiddleware that echoes requests: python -m uvicorn app:app --port 8080"""

import os

from sluice_asgi import SluiceMiddleware, check_by_key, check_of
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route


async def echo(request: Request) -> JSONResponse:
    target = request.url.path + ("?" + request.url.query if request.url.query else "")
    body = (await request.body()).decode()
    # A rate limit field of the application's own, which the middleware replaces.
    headers = {"RateLimit": '"mine";r=1'}
    return JSONResponse({"method": request.method, "target": target, "body": body}, headers=headers)


limited = Middleware(
    SluiceMiddleware,
    url=os.environ.get("SLUICE_URL", "http://127.0.0.1:8000"),
    timeout=float(os.environ.get("SLUICE_TIMEOUT", "0.25")),
    on_failure=os.environ.get("SLUICE_ON_FAILURE", "allow"),
    # Only where something in front of the application verifies the keys.
    check=check_by_key if os.environ.get("SLUICE_KEYS_ARE_VERIFIED") else check_of,
    # Not behind Sluice's own gateway, which counts the requests itself.
    report=not os.environ.get("SLUICE_IS_IN_FRONT"),
)


async def fail(request: Request) -> JSONResponse:
    raise RuntimeError("this route always fails")


app = Starlette(
    routes=[
        Mount("/shop", routes=[Route("/orders/{id:int}/items", echo)]),
        Mount("/stock", routes=[Route("/items/{id:int}", echo)]),
        Route("/failing", fail),
        Route("/{path:path}", echo, methods=["GET", "POST"]),
    ],
    middleware=[limited],
)
