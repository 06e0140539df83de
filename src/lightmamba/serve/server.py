"""The process: listen, say where, and stop gracefully."""

import socket
import sys
from collections.abc import Callable
from types import FrameType

import uvicorn
from fastapi import FastAPI

from lightmamba.common.errors import InputError
from lightmamba.serve.app import create_app
from lightmamba.serve.connection import HEAD, Connection
from lightmamba.serve.opened import Served
from lightmamba.serve.settings import Settings

__all__ = ["bound", "configured", "serve"]

SWITCH = 0.0005  # seconds after which the two threads of Python take turns
BACKLOG = 1024  # connections that wait to be taken
KEEP_ALIVE = 30  # seconds, longer than clients keep an idle connection: httpx and openai, 5 s
IDLE = 2  # connections at a time for each request at a time: clients keep them open
LATE = 2.0  # seconds more than its grace that a request gets to say that it ends


class _Server(uvicorn.Server):
    """uvicorn, whose application learns at once that it must stop."""

    def __init__(self, config: uvicorn.Config, app: FastAPI, grace: float) -> None:
        super().__init__(config)
        self._app, self._grace = app, grace

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Refuse new requests and let running ones finish; at a second signal, stop at once.

        uvicorn's own would raise the signal again in the end; this is an end as it should be.
        """
        self._app.state.scheduler.drain(self._grace)
        self.force_exit = self.should_exit
        self.should_exit = True


def serve(
    served: Served, settings: Settings, sock: socket.socket, ready: Callable[[str], None]
) -> dict[str, int]:
    """Answer until SIGINT or SIGTERM.

    New requests are then refused with 503, running ones have ``grace_seconds`` to finish.

    Parameters
    ----------
    served, settings
        The model, and how it is served.
    sock
        From :func:`bound`; it is closed in the end.
    ready
        Called with the URL when connections are taken.

    Returns
    -------
    dict
        ``requests`` and ``generated_tokens``.
    """
    app = create_app(served, settings)
    sock.listen(BACKLOG)
    host, port = sock.getsockname()[:2]
    server = _Server(configured(app, settings), app, settings.grace_seconds)
    sys.setswitchinterval(SWITCH)
    ready(f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}")
    with sock:
        server.run(sockets=[sock])
    metrics = app.state.metrics
    return {
        "requests": metrics.total("requests"),
        "generated_tokens": metrics.total("generated_tokens"),
    }


def configured(app: FastAPI, settings: Settings) -> uvicorn.Config:
    """How uvicorn serves the application."""

    class Bounded(Connection):
        seconds, body = settings.body_seconds, 2 * settings.max_body + HEAD
        most = IDLE * settings.max_requests

    return uvicorn.Config(
        app, port=settings.port, log_level="warning", access_log=False, server_header=False,
        http=Bounded, backlog=BACKLOG, timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=round(settings.grace_seconds + LATE) + 1,
    )  # fmt: skip


def bound(settings: Settings) -> socket.socket:
    """A socket at the address, so that one which is taken is known before a model is opened.

    Raises
    ------
    InputError
        If the address cannot be had.
    """
    sock = None
    try:
        family = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0][0]
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((settings.host, settings.port))
    except OSError as error:
        if sock is not None:
            sock.close()
        raise InputError(
            f"cannot listen on {settings.host}:{settings.port} "
            f"({error.strerror or error}); give another --port, such as {settings.port + 1}"
        ) from error
    return sock
