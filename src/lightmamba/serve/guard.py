"""Checks of every request: host name, key, size and time of its body.

Plain ASGI: it wraps the application, and a stream passes through untouched.
"""

import asyncio
import hmac
import logging
import time
from collections.abc import Callable
from urllib.parse import quote

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lightmamba.serve.errors import BUSY, ApiError
from lightmamba.serve.settings import Settings, is_loopback

__all__ = ["Guard"]

OPEN = ("/", "/health", "/openapi.json")  # what needs no key
PROBES = ("/health", "/metrics")  # what monitors ask every few seconds
access = logging.getLogger("lightmamba.access")


class Guard:
    """Refuse what must not reach the application; count every answer, and log it.

    Parameters
    ----------
    app
        The application.
    settings
        Its key and limits.
    count
        Called with path and status of every answer.
    """

    def __init__(self, app: ASGIApp, settings: Settings, count: Callable[[str, int], None]) -> None:
        self._app, self._settings, self._count = app, settings, count
        self._open = 0  # requests at the moment

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request; anything but HTTP passes."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        begin, status = time.monotonic(), 0

        async def counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                self._count(scope["path"], status)
            await send(message)

        self._open += 1
        try:
            request = Request(scope, receive)
            self._check_host(request.headers)
            self._check_key(request.headers, scope["path"])
            self._check_number()
            body = await self._body(request)
            if body is not None:
                await self._app(scope, _replayed(body, receive), counted)
        except ApiError as error:
            await error.response()(scope, receive, counted)
        except Exception:
            if not status:  # the middleware around this one answers
                status = 500
                self._count(scope["path"], status)
            raise
        finally:
            self._open -= 1
            quiet = scope["path"] in PROBES and 0 < status < 400
            level = logging.DEBUG if quiet else logging.INFO
            seconds = time.monotonic() - begin
            access.log(level, "%s %s %s, %.3f s", scope["method"], quote(scope["path"]),
                       status or "without an answer", seconds)  # fmt: skip

    def _check_number(self) -> None:
        if self._open > self._settings.max_requests:
            raise ApiError(
                BUSY, f"the server has {self._settings.max_requests} requests at a time, and no "
                f"room for this one; try again in 1 s",
                code="too_many_requests",
                headers={"Retry-After": "1", "Connection": "close"},
            )  # fmt: skip

    def _check_host(self, headers: Headers) -> None:
        """Without a key, refuse names that a page of another site may have given our address."""
        if self._settings.api_key is not None:
            return
        host = headers.get("host", "")
        name = host[1 : host.find("]")] if host.startswith("[") else host.partition(":")[0]
        if not is_loopback(name):
            raise ApiError(
                403, "this server answers to localhost only; start it with an API key to give it "
                "another name", code="wrong_host",
            )  # fmt: skip

    def _check_key(self, headers: Headers, path: str) -> None:
        key = self._settings.api_key
        if key is None or path in OPEN:
            return
        kind, _, given = headers.get("authorization", "").partition(" ")
        same = hmac.compare_digest(given.strip().encode(), key.encode())
        if kind.lower() != "bearer" or not same:
            raise ApiError(
                401, "the API key is missing or wrong; send the header: Authorization: Bearer KEY",
                code="invalid_api_key",
                headers={"WWW-Authenticate": "Bearer"},
            )  # fmt: skip

    async def _body(self, request: Request) -> bytes | None:
        """All of the body, or None if the client went away."""
        limit, seconds = self._settings.max_body, self._settings.body_seconds
        too_large = ApiError(
            413,
            f"the request's body is larger than {limit} bytes; shorten it",
            code="request_too_large",
            headers={"Connection": "close"},
        )
        said, parts, size = request.headers.get("content-length", "0"), [], 0
        if said.isdecimal() and int(said) > limit:
            raise too_large
        try:
            async with asyncio.timeout(seconds):
                async for part in request.stream():
                    parts.append(part)
                    size += len(part)
                    if size > limit:
                        raise too_large
        except ClientDisconnect:
            return None
        except TimeoutError:
            raise ApiError(
                408,
                f"the request's body did not arrive within {seconds:g} s; send it again",
                code="timeout",
            ) from None
        return b"".join(parts)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Give the body once, and then what else comes."""
    given = False

    async def next_message() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return next_message
