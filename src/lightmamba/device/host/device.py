"""The accelerator as the host sees it: a build, one pass at a time.

All that has an order in time is written here, once, for simulator and board; what each of them
gives is in :mod:`lightmamba.device.host.primitives`.
"""

import operator
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from lightmamba.arch.passes import Share
from lightmamba.arch.place import Region
from lightmamba.arch.ports import ADDRESS_BITS
from lightmamba.common.errors import DeviceError, InputError
from lightmamba.common.passes import Pass, Slot
from lightmamba.device.host.device_state import DeviceState
from lightmamba.device.host.primitives import POLLS, Flags
from lightmamba.device.host.resident import Resident, fit, reach, residents
from lightmamba.device.host.results import Results
from lightmamba.device.host.staging import Staging
from lightmamba.hardware.machine.artifact import Artifact, build_hash
from lightmamba.hardware.machine.faults import described
from lightmamba.hardware.machine.registers import INTERFACE, MAGIC

__all__ = ["Device", "DeviceError", "Flags"]

WRITTEN = ("layers", "layers_beats", "head_beats")  # registers that no machine has 0 in
CHUNK = 1 << 24  # bytes that are written to memory at once


class Device(Results):
    """An accelerator with a model on it, and the states of one or several sequences.

    ``load`` a build, then ``submit`` a pass and ``wait``, or ``start`` a token of one sequence.

    Attributes
    ----------
    chunk
        Bytes of an image that are written to memory at once.
    progress
        Called by ``load`` after each of them: bytes of all images so far, and in all.
    """

    chunk = CHUNK

    def __init__(self) -> None:
        super().__init__()
        self.sequences: list[Resident] = []
        self.progress: Callable[[int, int], None] | None = None
        self._staging: Staging | None = None  # of the build that is loaded
        self._cycles = 0  # that the device had counted when the last token was done

    def place(self, artifact: Artifact, regions: Sequence[Region]) -> None:
        """Bring the images of a build into memory."""
        done, total = 0, sum(region.bytes for region in regions if region.file is not None)
        for region in regions:
            image = artifact.image(region)
            for at in range(0, len(image), self.chunk):
                part = np.asarray(image[at : at + self.chunk])
                self.write_memory(region.channel, self.address(region) + at, part)
                done += len(part)
                if self.progress is not None:
                    self.progress(done, total)

    def load(self, artifact: Artifact, sequences: int = 1) -> None:
        """Bring a build onto the device; what sequences left there is forgotten.

        Parameters
        ----------
        artifact
            The build.
        sequences
            How many sequences may have their states on the device at a time.

        Raises
        ------
        InputError
            If the device was made with other build parameters, or memory does not suffice.
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
        self.kinds = artifact.arch.kinds
        self._drain()
        self.artifact = None
        self.sequences, records = residents(artifact, sequences)
        more = [region for each in self.sequences[1:] for region in each.all] + records[1:]
        self.bases = self._allocated(reach(more, artifact))
        self.place(artifact, [*artifact.regions, *more])
        self.artifact = artifact
        self._staging = Staging(artifact.arch, self.sequences, records)
        self._configure()

    def start(
        self,
        token: int,
        *,
        fresh: bool = False,
        head: bool = True,
        chain: int = 0,
        sequence: int = 0,
    ) -> None:
        """Begin one token of one sequence; see :meth:`submit`.

        Parameters
        ----------
        token
            Its id.
        fresh
            Begin a sequence: all state is zero.
        head
            Compute logits, and with them the next token.
        chain, sequence
            As for :meth:`submit`, and of :class:`~lightmamba.common.passes.Slot`.
        """
        ids = np.array([operator.index(token)])
        self.submit(Pass((Slot(sequence, ids, wanted=int(head), fresh=fresh),)), chain=chain)

    def submit(self, work: Pass, *, chain: int = 0) -> None:
        """Begin a pass.

        Parameters
        ----------
        work
            Sequences are those on the device, from 0 on.
        chain
            Tokens that follow, each the last one's arg-max; for a pass of one token.

        Raises
        ------
        InputError
            If the hardware cannot take that many tokens at once, accept them or leave them
            undecided, there is no such sequence, an id is outside the vocabulary, or a chain
            begins after drafts that were rejected.
        """
        self._settled()
        self.check(work, chain)
        if chain and not work.wanted:
            raise ValueError("a chain of tokens needs logits: want those of its first token")
        if chain and not (work.tokens == work.slots[0].committed == 1 and not work.slots[0].replay):
            raise ValueError("a chain begins with one token alone, which is certain")
        assert self._staging is not None, "a build is loaded"
        staged = self._staging.stage(work)
        if chain and staged.read is not None:
            raise InputError(
                f"drafts of sequence {work.slots[0].sequence} were rejected in its last pass; "
                f"submit one token without a chain first"
            )
        self._staging.grow(work, chain)
        for slot in work.slots:
            if slot.fresh:
                self.sequences[slot.sequence].begin()
        self._staging.write(staged, work, self.write, self.address, self._row)
        self.write("token", staged.tokens[0])
        self.write("chain", chain)
        self.write("position", staged.shares[0].position)
        fresh = any(slot.fresh for slot in work.slots)
        self.write("start", fresh | (work.wanted > 0) << 1)
        self._work, self._running = (work, staged), True

    def check(self, work: Pass, chain: int = 0) -> None:
        """Refuse a pass that the hardware cannot carry out, not even as several passes.

        ``chain`` tokens follow it.

        Raises
        ------
        InputError
            If there is no such sequence, an id is outside the vocabulary, or more tokens are
            accepted or left undecided than can be, or a sequence would have more tokens than
            memory has room for.
        """
        vocab = int(self._loaded().model["config"]["vocab_size"])
        assert self._staging is not None, "a build is loaded"
        for slot in work.slots:
            self._resident(slot.sequence)
            for token in slot.tokens:
                if not 0 <= token < vocab:
                    raise InputError(
                        f"token id {token} is out of range; the model's are 0 to {vocab - 1}"
                    )
            self._staging.check(slot, chain)

    def needs(self, slot: Slot) -> Region | None:
        """Record of the earlier pass whose tokens a slot applies again, if it does."""
        self._resident(slot.sequence)
        assert self._staging is not None, "a build is loaded"
        return self._staging.needs(slot)

    def shares(self) -> tuple[Share, ...]:
        """Parts of the slots in the pass that runs, or ran last."""
        return () if self._work is None else self._work[1].shares

    def _row(self, token: int) -> int:
        """Address of a token's row of the embedding."""
        artifact = self._loaded()
        stride = artifact.registers["embedding_stride"]
        assert isinstance(stride, int)
        return self.address(artifact.region("embedding")) + token * stride

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
            raise DeviceError("the program has an instruction that the hardware does not know")
        if status & Flags.BUS_FAULT:
            fault, page = self.read("fault"), self.read("fault_page")
            raise DeviceError(described(self._loaded().arch, fault, page))
        if status & Flags.BUSY or not status & Flags.DONE:
            raise DeviceError(f"the device raised its interrupt but says {status!r}")
        assert self._work is not None, "something was started"
        assert self._staging is not None, "a build is loaded"
        self._staging.done(*self._work, self.read("finished"))
        before, self._cycles = self._cycles, self._counted()
        return self._cycles - before

    def save_state(self, sequence: int = 0) -> DeviceState:
        """Copy what a sequence left; tokens that are undecided are given up.

        Where memory holds the state as if they were right, a pass makes it what it is without them.
        """
        artifact = self._loaded()
        self._settled()
        mine = self._resident(sequence)
        if mine.behind:
            self.submit(Pass((Slot(sequence, np.zeros(1, np.int64), wanted=0, commit=0),)))
            self.wait()
        mine.left(0)
        memory = {
            name: np.concatenate([np.zeros(0, np.uint8), *(
                self.read_memory(part.channel, self.address(part), part.bytes)
                for part in parts if part.bytes
            )])
            for name, parts in mine.parts(mine.position).items()
        }  # fmt: skip
        kept = mine.kept(memory, mine.position)
        return DeviceState(mine.position, kept, artifact.fingerprint)

    def restore_state(self, state: DeviceState, sequence: int = 0) -> None:
        """Go on from where a state was saved; it may be of another device with the same build.

        Raises
        ------
        InputError
            If it is of another build: another model, or hardware that keeps its state otherwise; or
            has changed since it was saved; or memory has no room for its positions. The sequence
            stays as it was then, with its undecided tokens.
        """
        artifact = self._loaded()
        self._settled()
        mine = self._resident(sequence)
        self._check_state(state, mine, artifact)
        fit([(mine, state.position)])
        mine.begin()
        for name, parts in mine.parts(state.position).items():
            at = 0
            for part in parts:
                values = state.memory[name][at : at + part.bytes]
                at += part.bytes
                if part.bytes:
                    self.write_memory(part.channel, self.address(part), values)
        mine.position = state.position

    @staticmethod
    def _check_state(state: DeviceState, mine: Resident, artifact: Artifact) -> None:
        """Refuse a saved state that is damaged or of another build; nothing changes."""
        if state.digest() != state.sha256:
            raise InputError(
                "the saved state has changed since it was saved; compute it again from the tokens "
                "of its sequence"
            )
        if state.build != artifact.fingerprint:
            raise InputError(
                f"the saved state is of another model or machine than {artifact.path}; "
                f"restore it on a device with the build that it was saved from"
            )
        sizes = mine.sizes(state.position)
        if missing := sorted(sizes.keys() - state.memory.keys()):
            raise InputError(
                f"the saved state lacks {' and '.join(missing)}; save it again on a device with "
                f"{artifact.path}"
            )
        for name, size in sizes.items():
            if (found := len(state.memory[name])) != size:
                raise InputError(
                    f"the saved {name} has {found} bytes, but that of {artifact.path} has {size}; "
                    f"it is of another model"
                )

    def end_sequence(self, sequence: int) -> None:
        """Forget a sequence, whose memory others may use; no pass of it runs, or it has failed."""
        self._resident(sequence).end()

    def fork_state(self, sequence: int, into: int) -> None:
        """Let another sequence on the device go on from where this one is."""
        self.restore_state(self.save_state(sequence), into)

    def is_set_up(self) -> bool:
        """Whether the registers still hold what ``load`` wrote: not after a power cut."""
        artifact = self._loaded()
        if self.read("magic") != MAGIC or self.read("hash") != build_hash(artifact.arch):
            return False
        settings = artifact.settings(self.bases)
        return all(self.read(name) == settings[name] for name in WRITTEN)

    def reset(self, program: Sequence[int] | None = None, **changed: int) -> None:
        """Stop what runs, drop what was read ahead and set everything up again.

        For tests of the hardware: another ``program``, in words of 32 bits, and ``changed``
        registers, which get other values than the build has.
        """
        self._running = False
        self.reset_machine()
        if self.artifact is not None:
            self._drain()
            self._configure(program, changed)

    def _resident(self, sequence: int) -> Resident:
        if not 0 <= sequence < len(self.sequences):
            raise InputError(
                f"sequence {sequence} is not on the device, which holds {len(self.sequences)}; "
                f"load the build for more: load(artifact, sequences={sequence + 1})"
            )
        return self.sequences[sequence]

    def _allocated(self, wanted: Mapping[str, tuple[int, int]]) -> Mapping[str, int]:
        used = {name: extent for name, extent in wanted.items() if extent[0]}
        found = dict.fromkeys(wanted, 0) | dict(self.allocate(used))
        for name, (size, alignment) in used.items():
            if found[name] % alignment or found[name] + size > 1 << ADDRESS_BITS:
                raise DeviceError(
                    f"channel {name} was placed at {found[name]:#x}, but it needs a multiple of "
                    f"{alignment} below 2**{ADDRESS_BITS}"
                )
        return found

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
        self._work = None
        assert self._staging is not None, "a build is loaded"
        self._staging.forget()
        for each in self.sequences:
            each.end()
            each.due = 0
        self._cycles = self._counted()

    def _drain(self) -> None:
        """Stop prefetch and wait until nothing is under way."""
        self.write("control", 0)
        for _ in range(POLLS):
            if (status := self.status) & Flags.DRAINED and not status & Flags.BUSY:
                return
        raise DeviceError(
            f"the device does not drain: it says {self.status!r}; load its bitstream again"
        )

    def _counted(self) -> int:
        """Cycles of all passes so far."""
        return self.read("cycles")
