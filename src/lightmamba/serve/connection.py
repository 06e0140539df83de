"""A connection of a client, closed where the client neither sends nor takes anything.

uvicorn itself waits without end for a head that does not come, and for a client that does not read.
"""

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

__all__ = ["HEAD", "Connection"]

HEAD = 1 << 16  # bytes that a request's head may have


class Connection(HttpToolsProtocol):
    """HTTP of uvicorn, with a time for a request's head and for a client that does not read.

    Attributes
    ----------
    seconds
        Time for a head to arrive, and for a client to take what is waiting for it.
    most
        Connections at a time; further ones are closed.
    """

    seconds: float
    most: int
    _head: asyncio.TimerHandle | None = None  # while a request's head arrives
    _read: asyncio.TimerHandle | None = None  # while the client does not read
    _size = 0  # bytes of the head so far

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a head; close at once if there are too many connections."""
        super().connection_made(transport)
        self._head = self._end_in_time()
        if len(self.connections) > self.most:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing more."""
        super().connection_lost(exc)
        self._head, self._read = _stopped(self._head), _stopped(self._read)

    def data_received(self, data: bytes) -> None:
        """Take a part of a request; the first byte of a head begins the time that it has."""
        if self._head is None and (self.cycle is None or self.cycle.response_complete):
            self._head, self._size = self._end_in_time(), 0
        waited = self._head
        super().data_received(data)
        if self._head is not None and self._head is waited:  # all of the data are of the head
            self._size += len(data)
            if self._size > HEAD and not self.transport.is_closing():
                self.send_400_response(f"The head of a request may have {HEAD} bytes.")

    def on_message_begin(self) -> None:
        """Begin a head, perhaps while the request before is still being answered."""
        if self._head is None:
            self._head, self._size = self._end_in_time(), 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Begin the request."""
        self._head = _stopped(self._head)
        super().on_headers_complete()

    def pause_writing(self) -> None:
        """Wait for the client to take what fills the buffer."""
        super().pause_writing()
        self._read = self._read or self._end_in_time()

    def resume_writing(self) -> None:
        """Go on: the client reads."""
        super().resume_writing()
        self._read = _stopped(self._read)

    def on_response_complete(self) -> None:
        """Wait for the client to take the rest, where the connection ends with the answer."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._read = self._read or self._end_in_time()

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection that has no next request, even if its last answer was not read."""
        self.transport.abort()

    def _end_in_time(self) -> asyncio.TimerHandle:
        return self.loop.call_later(self.seconds, self.transport.abort)


def _stopped(timer: asyncio.TimerHandle | None) -> asyncio.TimerHandle | None:
    if timer is not None:
        timer.cancel()
    return None
