"""A serial port as the driver of a board uses it, and how a real one is opened."""

import errno
import importlib
import logging
import os
from collections.abc import Iterable
from typing import Protocol

from lightmamba.common.errors import InputError, installing

__all__ = ["GONE", "Clock", "SerialPort", "open_port"]

log = logging.getLogger(__name__)


def _gone() -> tuple[type[Exception], ...]:
    try:
        termios = importlib.import_module("termios")
    except ModuleNotFoundError:  # not on Windows
        return (OSError,)
    error: type[Exception] = termios.error
    return (OSError, error)


GONE = _gone()  # errors of a port whose cable was pulled


class Clock(Protocol):
    """Time as the module ``time`` has it."""

    def monotonic(self) -> float:
        """Seconds since any beginning."""
        ...

    def sleep(self, seconds: float, /) -> None:
        """Let time pass."""
        ...


class SerialPort(Protocol):
    """The part of pyserial's ``Serial`` that the driver uses."""

    baudrate: int
    timeout: float

    @property
    def in_waiting(self) -> int:
        """Bytes that can be read at once."""
        ...

    def read(self, size: int = 1) -> bytes:
        """Read up to ``size`` bytes, for as long as ``timeout`` says."""
        ...

    def write(self, data: bytes) -> int | None:
        """Write bytes."""
        ...

    def flush(self) -> None:
        """Wait until everything has been sent."""
        ...

    def reset_input_buffer(self) -> None:
        """Drop what was received."""
        ...

    def close(self) -> None:
        """Give it back."""
        ...


def open_port(name: str, baud: int) -> SerialPort:
    """Open a serial port of this computer for this program alone.

    Parameters
    ----------
    name
        As the system names it, such as /dev/ttyUSB0 or COM3; or a URL of pyserial.
    baud
        Rate.

    Raises
    ------
    InputError
        If pyserial is not installed, or there is no such port, or it is in use.
    """
    try:
        serial = importlib.import_module("serial")
        ports = importlib.import_module("serial.tools.list_ports")
    except ModuleNotFoundError as error:
        raise InputError(
            f"a board on a serial line needs pyserial; install it with: {installing('ecp5')}"
        ) from error
    try:
        port: SerialPort = serial.serial_for_url(name, baudrate=baud, timeout=1.0, exclusive=True)
    except (OSError, ValueError) as error:
        raise InputError(
            f"cannot open the serial port {name} ({_reason(error)}); "
            f"{_others(each.device for each in ports.comports() if each.vid is not None)}"
        ) from error
    _low_latency(port, name)
    return port


def _others(names: Iterable[str]) -> str:
    """Name the USB serial ports of this computer."""
    there = ", ".join(sorted(names))
    if not there:
        return "no USB serial port is here; is the board plugged in?"
    return f"serial ports on USB: {there}"


def _reason(error: Exception) -> str:
    """Why a port could not be opened; pyserial repeats its name in what it says."""
    number = getattr(error, "errno", None)
    if number in (errno.EAGAIN, errno.EBUSY):
        return "another program uses it"
    hint = (
        "; sudo usermod -a -G plugdev,dialout $USER, then log in again"
        if number == errno.EACCES
        else ""
    )
    return (os.strerror(number) if number else str(error)) + hint


def _low_latency(port: SerialPort, name: str) -> None:
    """Let the driver of a USB bridge hand over characters at once, where the system can do so."""
    try:
        port.set_low_latency_mode(True)  # type: ignore[attr-defined]
    except (AttributeError, NotImplementedError, ValueError, OSError):
        log.info(
            "%s stays at its latency, 16 ms by default for FTDI's bridges; with root's rights: "
            "echo 1 > /sys/bus/usb-serial/devices/%s/latency_timer",
            name, name.rpartition("/")[2],
        )  # fmt: skip
