"""A connection of a client, closed where the client neither sends nor takes anything.

uvicorn itself waits without end for a head or the rest of a body that does not come, and for a
client that does not read.
"""

import asyncio
from itertools import count
from socket import SO_SNDBUF, SOL_SOCKET

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

__all__ = ["HEAD", "Connection"]

HEAD = 1 << 16  # bytes that a request's head may have
SENT = 1 << 17  # bytes of an answer that the system holds until the client takes them


class Connection(HttpToolsProtocol):
    """HTTP of uvicorn, with limits of time and size.

    Attributes
    ----------
    seconds
        Time for a head to arrive, and for the rest of a body after its answer; and the time
        after which a client must have taken some of what waits for it.
    body
        Bytes of a message after its head, with the borders of its chunks.
    most
        Connections at a time; for a further one the one that has been idle for longest is closed.
    """

    seconds: float
    body: int
    most: int
    _due: asyncio.TimerHandle | None = None  # while something of a request has to come
    _unread: asyncio.TimerHandle | None = None  # while the client has to read
    _between = True  # before a head, or in it
    _part = 0  # heads and bodies so far
    _size = 0  # bytes of this one
    _turn = 0  # in which connections became idle
    _turns = count()

    @property
    def idle(self) -> bool:
        """Whether no request is being answered."""
        return self.cycle is None or bool(self.cycle.response_complete)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a head; make room if there are too many connections."""
        super().connection_made(transport)
        # What the system holds frees in steps of a third: small ones show that a client reads.
        transport.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_SNDBUF, SENT)
        self._due, self._turn = self._ends_in_time(), next(self._turns)
        if len(self.connections) > self.most:
            others = [c for c in self.connections if isinstance(c, Connection) and c.idle]
            min(others, key=lambda c: c._turn).transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing more."""
        super().connection_lost(exc)
        self._due, self._unread = _stopped(self._due), _stopped(self._unread)

    def data_received(self, data: bytes) -> None:
        """Take a part of a request, which begins the time of what has to come."""
        if self._due is None and (self._between or self.idle):
            self._due = self._ends_in_time()
        part = self._part
        super().data_received(data)
        self._size = self._size + len(data) if self._part == part else 0
        if self._size > (HEAD if self._between else self.body) and not self.transport.is_closing():
            if self._between and self.idle:
                self.send_400_response(f"The head of a request may have {HEAD} bytes.")
            else:
                self.transport.abort()

    def on_headers_complete(self) -> None:
        """Begin the request."""
        self._between, self._part, self._due = False, self._part + 1, _stopped(self._due)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Begin to wait for the next head, when there is some of it."""
        self._between, self._part, self._due = True, self._part + 1, _stopped(self._due)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Wait for the client to take the rest, where the connection ends with the answer."""
        self._turn = next(self._turns)
        super().on_response_complete()
        if self.transport.is_closing():
            self._watch()

    def pause_writing(self) -> None:
        """Wait for the client to take what fills the buffer."""
        super().pause_writing()
        self._watch()

    def resume_writing(self) -> None:
        """Go on: the client has read."""
        super().resume_writing()
        if self.transport is not None and not self.transport.is_closing():
            self._unread = _stopped(self._unread)

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection that has no next request, when its last answer is read."""
        super().timeout_keep_alive_handler()
        self._watch()

    def _ends_in_time(self) -> asyncio.TimerHandle:
        return self.loop.call_later(self.seconds, self.transport.abort)

    def _watch(self) -> None:
        if self._unread is None:
            left = self.transport.get_write_buffer_size()
            self._unread = self.loop.call_later(self.seconds, self._look, left)

    def _look(self, before: int) -> None:
        """Close the connection if the client has read nothing since the last look."""
        self._unread = None
        if 0 < before <= self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self._watch()


def _stopped(timer: asyncio.TimerHandle | None) -> asyncio.TimerHandle | None:
    if timer is not None:
        timer.cancel()
    return None
