"""The accelerator as the host sees it: registers, memory, one token at a time.

A device gives four primitives (registers and memory, read and written) and a way to wait, and says
where the memory of each channel begins; all that has an order in time is written here, once, for
simulator and board.
"""

import operator
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntFlag
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmamba.arch.artifact import Artifact, Region, build_hash
from lightmamba.arch.counters import CYCLES, counters
from lightmamba.arch.ports import ADDRESS_BITS
from lightmamba.arch.program import COMMANDS
from lightmamba.arch.registers import INTERFACE, MAGIC, REGISTERS, offsets
from lightmamba.errors import DeviceError, InputError

__all__ = ["Device", "DeviceError", "DeviceState", "Flags"]

STATE, CONV_STATE = "state", "conv_state"  # regions that a sequence changes
STATE_COPIES = (STATE, "state_other")  # of which a token reads one and writes the other
CHUNK = 1 << 24  # bytes that are written to memory at once
POLLS = 100_000  # reads of the status before the device counts as hung


class Flags(IntFlag):
    """Bits of the register ``status``."""

    BUSY = 1
    DONE = 2
    DRAINED = 4
    BUS_ERROR = 8
    ILLEGAL = 16


@dataclass(frozen=True)
class DeviceState:
    """What a sequence left on a device.

    Parameters
    ----------
    position : int
        Tokens seen.
    memory : {region: (bytes,) uint8}
        State of the SSM and of the convolution, as the gates keep it.
    build : str
        Fingerprint of the build that left it.
    """

    position: int
    memory: Mapping[str, NDArray[np.uint8]]
    build: str


class Device(ABC):
    """An accelerator with a model on it.

    ``load`` a build, then for each token ``start`` and ``wait``.

    Attributes
    ----------
    position
        Tokens that the current sequence has seen.
    sequence
        Another object for each sequence, so that two as long as each other can be told apart.
    """

    def __init__(self) -> None:
        self.artifact: Artifact | None = None
        self.bases: Mapping[str, int] = {}  # where each channel begins
        self.position, self.sequence = 0, object()
        self._running = False
        self._cycles = 0  # that the device had counted when the last token was done

    # What each kind of device gives.

    @abstractmethod
    def read32(self, offset: int) -> int:
        """Read the register at a byte offset."""

    @abstractmethod
    def write32(self, offset: int, value: int) -> None:
        """Write 32 bits to the register at a byte offset."""

    @abstractmethod
    def read_memory(self, channel: str, address: int, count: int) -> NDArray[np.uint8]:
        """Copy bytes out of a channel's memory; addresses are those that the accelerator sees."""

    @abstractmethod
    def write_memory(self, channel: str, address: int, values: NDArray[np.uint8]) -> None:
        """Copy bytes into a channel's memory; addresses are those that the accelerator sees."""

    @abstractmethod
    def wait_interrupt(self) -> None:
        """Return when the interrupt is raised.

        Raises
        ------
        DeviceError
            If it will not come.
        """

    def allocate(self, channels: Mapping[str, tuple[int, int]]) -> Mapping[str, int]:
        """Find memory for a build; what an earlier one had is free again.

        Parameters
        ----------
        channels : {name: (bytes, alignment)}
            What it needs of each.

        Returns
        -------
        {name: int}
            Address at which each begins; by default 0.

        Raises
        ------
        DeviceError
            If there is not enough.
        """
        return dict.fromkeys(channels, 0)

    def reset_machine(self) -> None:
        """Reset the gates; registers may be lost, memory is not. By default they only stop."""
        self.write("control", 0)

    def place(self, artifact: Artifact, regions: Sequence[Region]) -> None:
        """Bring the images of a build into memory."""
        for region in regions:
            image = artifact.image(region)
            for at in range(0, len(image), CHUNK):
                part = np.asarray(image[at : at + CHUNK])
                self.write_memory(region.channel, self.address(region) + at, part)

    def address(self, region: Region) -> int:
        """Where a region of the build begins in the memory of this device."""
        return self.bases[region.channel] + region.address

    # Registers by name.

    def read(self, name: str, index: int = 0) -> int:
        """Read a register, both halves where it is wide."""
        offset, words = _place(name, index)
        return sum(self.read32(offset + 4 * n) << 32 * n for n in range(words))

    def write(self, name: str, value: int | Sequence[int]) -> None:
        """Write a register, or the first of those that stand side by side."""
        values = [value] if isinstance(value, int) else value
        for index, each in enumerate(values):
            offset, words = _place(name, index)
            if not 0 <= each < 1 << 32 * words:
                raise ValueError(f"{name} takes {32 * words} bits, not {each}")
            for n in range(words):
                self.write32(offset + 4 * n, each >> 32 * n & 0xFFFFFFFF)

    @property
    def status(self) -> Flags:
        """What the device says of itself."""
        return Flags(self.read("status"))

    def working_units(self) -> list[str]:
        """Names of the units that have work, for what is said of a machine that hangs."""
        mask = self.read("units")
        return [name for n, name in enumerate(COMMANDS) if mask >> n & 1]

    # The order of things.

    def load(self, artifact: Artifact) -> None:
        """Bring a build onto the device; what a sequence left there is forgotten.

        Raises
        ------
        InputError
            If the device was made with other build parameters.
        DeviceError
            If it is no device of ours, or busy.
        """
        self._settled()
        if (magic := self.read("magic")) != MAGIC:
            raise DeviceError(f"no accelerator answers: register magic reads {magic:#010x}")
        if (version := self.read("version")) != INTERFACE:
            raise DeviceError(
                f"the device has version {version} of the registers, but this program knows "
                f"version {INTERFACE}; use the program that the hardware was packaged with"
            )
        mine, wanted = self.read("hash"), build_hash(artifact.arch)
        if mine != wanted:
            raise InputError(
                f"{artifact.path} is for hardware with hash {wanted:08x}, but the device has "
                f"{mine:08x}; compile for the target that the device was built for"
            )
        self._drain()
        self.artifact = None
        self.bases = self._allocated(artifact)
        self.place(artifact, artifact.regions)
        self.artifact = artifact
        self._configure()

    def start(self, token: int, *, fresh: bool = False, head: bool = True, chain: int = 0) -> None:
        """Begin a token.

        Parameters
        ----------
        token
            Its id.
        fresh
            Begin a sequence: all state is zero.
        head
            Compute logits, and with them the next token.
        chain
            So many tokens more, each the last one's arg-max.
        """
        config = self._loaded().model["config"]
        self._settled()
        token, vocab = operator.index(token), int(config["vocab_size"])
        if not 0 <= token < vocab:
            raise InputError(f"token id {token} is out of range; the model's are 0 to {vocab - 1}")
        if chain and not head:
            raise ValueError("a chain of tokens needs logits: start it with head=True")
        if fresh:
            self.position, self.sequence = 0, object()
        self.write("token", token)
        self.write("chain", chain)
        self.write("position", self.position)
        self.write("start", fresh | head << 1)
        self._running = True

    def wait(self) -> int:
        """Wait until the tokens that were started are done.

        Returns
        -------
        int
            Cycles that they took.

        Raises
        ------
        DeviceError
            If they never are, or something went wrong on the way.
        """
        if not self._running:
            raise DeviceError("nothing was started")
        self.wait_interrupt()
        self._running = False
        status = self.status
        self.write("interrupt", 3)  # acknowledge, stay enabled
        if status & Flags.ILLEGAL:
            raise DeviceError("the program has an instruction that the gates do not know")
        if status & Flags.BUS_ERROR:
            raise DeviceError("memory answered with an error")
        if status & Flags.BUSY or not status & Flags.DONE:
            raise DeviceError(f"the device raised its interrupt but says {status!r}")
        self.position += self.read("finished")
        before, self._cycles = self._cycles, self._counted()
        return self._cycles - before

    def next_token(self) -> int:
        """Arg-max of the last logits, the lowest id of equal ones."""
        self._settled()
        return self.read("next")

    def logits(self) -> NDArray[np.int32]:
        """Last logits, (vocab_size,)."""
        artifact = self._loaded()
        self._settled()
        region, count = artifact.region("logits"), int(artifact.model["config"]["vocab_size"])
        return self.read_memory(region.channel, self.address(region), 4 * count).view("<i4")

    def counters(self) -> dict[str, int]:
        """All counters by name, since the last reset."""
        self._settled()
        names = counters(self._loaded().arch)
        return {name: self._counter(index) for index, name in enumerate(names)}

    def save_state(self) -> DeviceState:
        """Copy what the sequence left."""
        artifact = self._loaded()
        self._settled()
        memory = {
            name: self.read_memory(region.channel, self.address(region), region.bytes)
            for name, region in self._state().items()
        }
        return DeviceState(self.position, memory, artifact.fingerprint)

    def restore_state(self, state: DeviceState) -> None:
        """Go on from where a state was saved; it may be of another device with the same build.

        Raises
        ------
        InputError
            If it is of another build: another model, or gates that keep their state otherwise.
        """
        artifact = self._loaded()
        self._settled()
        if state.build != artifact.fingerprint:
            raise InputError(
                f"the saved state is of another model or machine than {artifact.path}; "
                f"restore it on a device with the build that it was saved from"
            )
        regions = self._state()
        for name, region in regions.items():
            if len(state.memory[name]) != region.bytes:
                raise InputError(
                    f"the saved {name} has {len(state.memory[name])} bytes, but that of "
                    f"{artifact.path} has {region.bytes}; it is of another model"
                )
        for name, region in regions.items():
            self.write_memory(region.channel, self.address(region), state.memory[name])
        self.position, self.sequence = state.position, object()

    def reset(self, program: Sequence[int] | None = None, **changed: int) -> None:
        """Stop what runs, drop what was read ahead and set everything up again.

        For tests of the hardware: another ``program``, in words of 32 bits, and ``changed``
        registers, which get other values than the build has.
        """
        self._running = False
        self.position, self.sequence = 0, object()
        self.reset_machine()
        if self.artifact is not None:
            self._drain()
            self._configure(program, changed)

    def _state(self) -> dict[str, Region]:
        """Regions that the next token reads: of two copies of the state, the one that is due."""
        artifact = self._loaded()
        names = [name for name in STATE_COPIES if artifact.has_region(name)]
        due = names[self.read("state_copy") % len(names)]
        return {STATE: artifact.region(due), CONV_STATE: artifact.region(CONV_STATE)}

    def _allocated(self, artifact: Artifact) -> Mapping[str, int]:
        wanted = artifact.extents()
        found = self.allocate(wanted)
        for name, (size, alignment) in wanted.items():
            if found[name] % alignment or found[name] + size > 1 << ADDRESS_BITS:
                raise DeviceError(
                    f"channel {name} was placed at {found[name]:#x}, but it needs a multiple of "
                    f"{alignment} below 2**{ADDRESS_BITS}"
                )
        return found

    def _loaded(self) -> Artifact:
        if self.artifact is None:
            raise DeviceError("load a build first")
        return self.artifact

    def _settled(self) -> None:
        if self._running:
            raise DeviceError("a token is running; wait for it first")

    def _configure(
        self, program: Sequence[int] | None = None, changed: Mapping[str, int] | None = None
    ) -> None:
        """Write program and registers, and let prefetch begin; the device has drained."""
        artifact = self._loaded()
        self.write("program_index", 0)
        for word in artifact.program_words() if program is None else program:
            self.write("program_data", word)
        for name, value in (artifact.settings(self.bases) | dict(changed or {})).items():
            self.write(name, value)
        self.write("interrupt", 3)
        self.write("control", 1)
        self.position, self.sequence = 0, object()
        self._cycles = self._counted()

    def _drain(self) -> None:
        """Stop prefetch and wait until nothing is under way."""
        self.write("control", 0)
        for _ in range(POLLS):
            if (status := self.status) & Flags.DRAINED and not status & Flags.BUSY:
                return
        raise DeviceError(f"the device does not drain: it says {self.status!r}")

    def _counter(self, index: int) -> int:
        self.write("counter_index", index)
        return self.read("counter_value")

    def _counted(self) -> int:
        """Cycles of all tokens so far: each is one of :data:`CYCLES`."""
        names = counters(self._loaded().arch)
        return sum(self._counter(names.index(name)) for name in CYCLES)


_OFFSETS = offsets()
_BY_NAME: dict[str, Any] = {register.name: register for register in REGISTERS}


def _place(name: str, index: int) -> tuple[int, int]:
    """Byte offset and 32-bit words of a register."""
    register = _BY_NAME[name]
    if not 0 <= index < register.count:
        raise ValueError(f"there are {register.count} {name}, not {index + 1}")
    words = 1 + register.wide
    return _OFFSETS[name] + 4 * words * index, words
