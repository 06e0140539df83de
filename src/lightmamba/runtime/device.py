"""The accelerator as the host sees it: a build, one token at a time.

All that has an order in time is written here, once, for simulator and board; what each of them
gives is in :mod:`lightmamba.runtime.primitives`.
"""

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lightmamba.arch.artifact import Artifact, build_hash
from lightmamba.arch.counters import CYCLES, counters
from lightmamba.arch.place import CONV_STATE, STATE, STATES, Region
from lightmamba.arch.ports import ADDRESS_BITS
from lightmamba.arch.registers import INTERFACE, MAGIC
from lightmamba.errors import DeviceError, InputError
from lightmamba.runtime.primitives import Flags, Primitives

__all__ = ["Device", "DeviceError", "DeviceState", "Flags"]

CHUNK = 1 << 24  # bytes that are written to memory at once
POLLS = 100_000  # reads of the status before the device counts as hung


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


class Device(Primitives):
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
        super().__init__()
        self.artifact: Artifact | None = None
        self.bases: Mapping[str, int] = {}  # where each channel begins
        self.position, self.sequence = 0, object()
        self._running = False
        self._cycles = 0  # that the device had counted when the last token was done

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
        names = [name for name in STATES if artifact.has_region(name)]
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
