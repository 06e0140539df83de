"""Requests and answers over a serial line, whatever happens to single characters.

The protocol is in :mod:`lightmamba.hardware.machine.serial`. Requests are sent ahead; answers are
accepted in order only. Where one is missing, broken, or not the next, everything without an answer
is sent again; where that does not help, at a lower rate.
"""

import logging
import random
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace

from lightmamba.common.errors import DeviceError
from lightmamba.device.boards.serial_port import GONE, Clock, SerialPort
from lightmamba.hardware.machine.serial import (
    BUFFER,
    CRC_BYTES,
    DEFAULT_BAUD,
    HEADER_BYTES,
    MAGIC,
    MEANING,
    SILENCE_LOG2,
    SOC_BASE,
    VERSION,
    WAIT_LIMIT,
    WAIT_STEP,
    Answer,
    Identity,
    Operation,
    Request,
    Status,
    entry,
    rate,
    wait_field,
)

__all__ = ["RATES", "SerialLink"]

log = logging.getLogger(__name__)
RATES = (3_000_000, 2_000_000, 1_000_000)  # to try, as far as they are not above what is asked for
SETTLE = 0.005  # seconds that characters may take from this computer to the line
CHARACTER_BITS = 10
GRACE = 0.3  # seconds that this computer and USB may take for an answer
RETRIES = 6  # that bring no answer, before the board counts as gone; the third lowers the rate
ZEROS = bytes(16)  # sent at the default rate they are breaks at all higher ones
MOST = 100  # requests without an answer; fewer than there are sequence numbers
TEST_FRAMES, TEST_ENTRIES = 24, 64  # requests of the test of a rate, and what each has
UNUSED = 7  # index of a register of the SoC that there is not


class SerialLink:
    """A board behind a serial port.

    Parameters
    ----------
    port : SerialPort
        Opened at :data:`DEFAULT_BAUD`.
    name : str
        Of the port, for messages.
    baud : int
        Highest rate to use.
    clock : Clock, optional
        Time of the board, where it is not that of the computer: of a simulation.
    simulated : bool
        The board was just reset and its line makes no errors. So there is no break before the first
        request, a rate is not tested, and characters take no time but that of the line. This saves
        0.23 s, which are minutes of a simulation.

    Attributes
    ----------
    identity : Identity
        What the board says of itself.
    baud
        Rate that is in use.
    broken
        Requests and answers that were broken or lost so far.
    gone
        Whether port or board were found gone.

    Raises
    ------
    DeviceError
        If nothing answers, or something else than a board of this project.
    """

    def __init__(
        self,
        port: SerialPort,
        *,
        name: str = "the port",
        baud: int = RATES[0],
        clock: Clock | None = None,
        simulated: bool = False,
    ) -> None:
        self.port, self.name, self.most = port, name, baud
        self.clock: Clock = time if clock is None else clock
        self._simulated = simulated
        self._settle = CHARACTER_BITS / DEFAULT_BAUD if simulated else SETTLE
        self._rates = sorted({baud, *RATES}, reverse=True)
        self.broken, self.baud, self.gone = 0, DEFAULT_BAUD, False
        self._received, self._bytes = bytearray(), 0  # not yet used; in all
        self._sequence = self._last_write = 0
        self._heard = self.clock.monotonic()  # when the last answer came
        self._silence_log2 = SILENCE_LOG2
        try:
            self.identity = self._identify()
            self._raise_rate()
        except GONE as error:
            raise self._pulled(error) from error

    def close(self) -> None:
        """Give the port back."""
        self.port.close()

    def exchange(self, requests: Iterable[Request]) -> Iterator[Answer]:
        """Send requests ahead, and give their answers in order; sequence numbers are set here.

        Requests may be carried out more than once, but for ``WRITE_REGISTERS``.

        Raises
        ------
        DeviceError
            If the board refuses one, or does not answer any more.
        """
        try:
            self._wake()
            yield from self._exchange(iter(requests))
        except GONE as error:
            raise self._pulled(error) from error

    def ask(self, *requests: Request) -> list[Answer]:
        """Answers of :meth:`exchange`, when all of them are there."""
        return list(self.exchange(requests))

    def wait_request(self, seconds: float) -> Request:
        """Request that waits for the interrupt, as long as said or as the board can."""
        cycles = min(int(seconds * self.identity.clock_hz), WAIT_LIMIT)
        return Request(Operation.WAIT, 0, wait_field(cycles))

    # Requests and answers.

    def _exchange(self, source: Iterator[Request]) -> Iterator[Answer]:
        waiting: deque[Request] = deque()
        following, tries = next(source, None), 0
        while waiting or following is not None:
            while following is not None and self._room(waiting, following):
                following = replace(following, sequence=self._number(following))
                waiting.append(following)
                self.port.write(following.encode())
                following = next(source, None)
            answer = self._answer(self._patience(waiting))
            if answer is not None and answer.operation == Operation.BROKEN:
                log.debug("%s: the board received %s", self.name, _meaning(answer.status))
                answer = None
            if answer is not None and not _answers(answer, waiting[0]):
                if not any(_answers(answer, request) for request in waiting):
                    continue  # of an earlier request, which was sent twice
                answer = None  # the one before it is lost
            if answer is None:
                tries += 1
                self._again(waiting, tries)
                continue
            if answer.status not in (Status.OK, Status.LATE):
                raise self._refused(waiting[0], answer)
            tries, self._heard = 0, self.clock.monotonic()
            waiting.popleft()
            yield answer

    def _number(self, request: Request) -> int:
        """Sequence number; WRITE_REGISTERS gets another one than the last of them."""
        self._sequence = (self._sequence + 1) % 256
        if request.operation == Operation.WRITE_REGISTERS:
            if self._sequence == self._last_write:
                self._sequence = (self._sequence + 1) % 256
            self._last_write = self._sequence
        return self._sequence

    def _room(self, waiting: Iterable[Request], request: Request) -> bool:
        """Whether the board has room for a request ahead, and may have it."""
        waiting = [*waiting]
        once = Operation.WRITE_REGISTERS
        if request.operation == once and any(each.operation == once for each in waiting):
            return False
        stored = sum(each.stored for each in waiting) + request.stored
        return len(waiting) < MOST and stored <= self.identity.buffer - 1

    def _patience(self, waiting: Iterable[Request]) -> float:
        """Seconds in which the next answer must come."""
        total, seconds = 0, GRACE
        for request in waiting:
            total += 1 + HEADER_BYTES + len(request.payload) + CRC_BYTES
            total += Answer.OVERHEAD + request.expected
            if request.operation == Operation.WAIT:
                cycles = (2**32 - request.address) / WAIT_STEP
                seconds += cycles / self.identity.clock_hz
        return seconds + 10 * total / self.baud

    def _answer(self, seconds: float) -> Answer | None:
        """Wait for a correct answer; None if none comes in time."""
        end = self.clock.monotonic() + seconds
        while True:
            answer, used = Answer.decode(self._received)
            del self._received[:used]
            if answer is not None:
                return answer
            left = end - self.clock.monotonic()
            if left <= 0:
                return None
            self.port.timeout = left
            received = self.port.read(max(1, self.port.in_waiting))
            self._received += received
            self._bytes += len(received)

    def _once(self, request: Request) -> Answer | None:
        """Send a request while no other is under way; its answer, if one comes."""
        self.port.write(request.encode())
        answer = self._answer(GRACE + 0.1)
        return answer if answer is not None and _answers(answer, request) else None

    # What goes wrong.

    def _again(self, waiting: Iterable[Request], tries: int) -> None:
        """Send everything again that has no answer, after the silence that the board waits for."""
        self.broken += 1
        if tries > RETRIES:
            raise self._silent()
        if tries % 3 == 0:
            log.warning("%s: no answer at %d baud", self.name, self.baud)
            self.most = max(DEFAULT_BAUD, self.baud - 1)
            self._default_rate()
            self._probe()
            self._raise_rate()
        else:
            self._pause()
        for request in waiting:
            self.port.write(request.encode())

    def _pause(self) -> None:
        """Be silent for as long as the board waits after a broken request; forget what came."""
        self.port.flush()
        self.clock.sleep(1.25 * (1 << self._silence_log2) / self.baud + self._settle)
        self.port.reset_input_buffer()
        self._received.clear()

    def _refused(self, request: Request, answer: Answer) -> DeviceError:
        name = Operation(request.operation).name.lower().replace("_", " ")
        return DeviceError(
            f"the board on {self.name} refused to {name} at {request.address:#x}: "
            f"{_meaning(answer.status)}"
        )

    def _silent(self) -> DeviceError:
        self.gone = True
        return DeviceError(
            f"the board on {self.name} does not answer any more; check its cable and power, and "
            f"load its bitstream again"
        )

    def _pulled(self, error: Exception) -> DeviceError:
        self.gone = True
        reason = getattr(error, "strerror", None) or str(error)
        return DeviceError(
            f"the serial port {self.name} is gone ({reason}); plug the board in and start again"
        )

    # Rates.

    def _default_rate(self) -> None:
        """Bring board and port to the default rate, whatever the board's is."""
        self.port.flush()
        self.port.baudrate = self.baud = DEFAULT_BAUD
        self.port.write(ZEROS)
        self._pause()

    def _identify(self) -> Identity:
        """Find out what is at the other end."""
        for attempt in range(3):
            if attempt or not self._simulated:
                self._default_rate()
            number = self._number(Request(Operation.IDENTIFY, 0))
            answer = self._once(Request(Operation.IDENTIFY, number))
            if answer is not None:
                identity = Identity.decode(answer.payload)
                break
        else:
            what = f"{self._bytes} bytes that are no answer" if self._bytes else "nothing"
            raise DeviceError(
                f"no accelerator on {self.name}: {what} came at {DEFAULT_BAUD:,} baud; is it the "
                f"board's port, and is the bitstream loaded?"
            )
        if (identity.magic, identity.version) != (MAGIC, VERSION):
            raise DeviceError(
                f"the board on {self.name} speaks version {identity.version} of the serial "
                f"protocol, but this program speaks {VERSION}; use the program that the bitstream "
                f"was made with"
            )
        self._heard = self.clock.monotonic()
        self._silence_log2 = identity.silence_log2
        return identity

    def _probe(self) -> None:
        """Check that the board answers, without IDENTIFY: it knows its last WRITE_REGISTERS."""
        for _ in range(3):
            if self._once(Request(Operation.READ_MEMORY, self._sequence)) is not None:
                self._heard = self.clock.monotonic()
                return
            self._default_rate()
        raise self._silent()

    def _raise_rate(self) -> None:
        """Go to the highest rate that carries a pattern without an error."""
        for baud in self._rates:
            if not DEFAULT_BAUD < baud <= self.most:
                continue
            try:
                field = rate(self.identity.clock_hz, baud)
            except ValueError as error:
                log.warning("%s: %s", self.name, error)
                continue
            answer = self._once(Request(Operation.SET_RATE, self._sequence, field))
            if answer is not None and answer.status == Status.OK:
                self.port.flush()
                self.port.baudrate = self.baud = baud
                self.clock.sleep(self._settle)
                if self._simulated or self._carries():
                    log.info("%s: %d baud", self.name, baud)
                    self._heard = self.clock.monotonic()
                    return
            log.warning("%s: %d baud are unreliable here", self.name, baud)
            self.broken += 1
            self._default_rate()
            self._probe()

    def _carries(self) -> bool:
        """Send a pattern at the present rate, which comes back; whether all of it is right."""
        pattern = random.Random(1)
        frames = []
        for n in range(TEST_FRAMES):
            words = [pattern.getrandbits(31) for _ in range(2 * TEST_ENTRIES)]
            places = [w & ~(UNUSED << 2) | SOC_BASE | UNUSED << 2 for w in words[::2]]
            entries = b"".join(map(entry, places, words[1::2]))
            said = b"".join(place.to_bytes(4, "little") for place in places)
            frames.append((Request(Operation.REGISTERS, n, payload=entries), said))
        ahead = max(1, (BUFFER - 1) // frames[0][0].stored - 1)
        for n in range(TEST_FRAMES + ahead):
            if n < TEST_FRAMES:
                self.port.write(frames[n][0].encode())
            if n >= ahead:
                request, said = frames[n - ahead]
                answer = self._answer(self._patience([request] * ahead))
                if answer is None or answer != Answer(Operation.REGISTERS, n - ahead, 0, said):
                    return False
        return True

    def _wake(self) -> None:
        """Come back to the rate in use, if the board may have left it since the last answer."""
        limit = 0.5 * (1 << self.identity.idle_log2) / self.baud
        if self.baud != DEFAULT_BAUD and self.clock.monotonic() - self._heard > limit:
            self._default_rate()
            self._probe()
            self._raise_rate()


def _meaning(status: int) -> str:
    return MEANING[Status(status)] if status in set(Status) else f"status {status}"


def _answers(answer: Answer, request: Request) -> bool:
    """Whether an answer is that of a request."""
    size = request.expected if answer.status in (Status.OK, Status.LATE) else len(answer.payload)
    return (answer.operation, answer.sequence, len(answer.payload)) == (
        request.operation, request.sequence, size,
    )  # fmt: skip
