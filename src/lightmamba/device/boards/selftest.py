"""First light: prove a device step by step, from its registers to its tokens.

What must come out is computed by the engine, when a package is made or at once, and kept as hashes,
so the machine with the board needs neither the float model nor time.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmamba.arch.clients import SPREAD
from lightmamba.arch.spread import lanes_of, rows
from lightmamba.common.errors import DeviceError
from lightmamba.common.files import SHA256
from lightmamba.common.passes import Pass, Slot
from lightmamba.common.plain import restore
from lightmamba.device.host.device import CHUNK, Device
from lightmamba.engine import Engine, State
from lightmamba.hardware.compiler import open_model
from lightmamba.hardware.compiler.program import LayerNumbers, program
from lightmamba.hardware.compiler.source import memory_of
from lightmamba.hardware.compiler.states import state_bytes
from lightmamba.hardware.machine.artifact import Artifact, Region, build_hash
from lightmamba.hardware.machine.ports import clients
from lightmamba.hardware.machine.program import instructions
from lightmamba.hardware.machine.registers import INTERFACE, MAGIC
from lightmamba.model.qmodel import QuantizedModel

__all__ = ["Expected", "Step", "expected", "self_test", "steps_of"]

STEPS = ("registers", "memory", "one layer", "one token", "chain", "saved state")
PASSES = ("chunk", "verify", "batch")  # of hardware that may leave tokens undecided
TOKENS = 8  # of the chain; a multiple of those of a pass
TOKEN = 1  # that all begin with
PATTERNS = (0x5A5A5A5A, 0xA5A5A5A5, 0xFFFFFFFF, 0)
PROBE = 4096  # bytes at both ends of each region that begins empty


@dataclass(frozen=True)
class Expected:
    """Expected results of a device for a build.

    Parameters
    ----------
    build : str
        Fingerprint of the build.
    program : tuple of int
        32-bit words of the program that runs the first layer alone.
    layer, token : {name: sha256}
        Of the regions that a token without its head leaves when there is only the first layer, and
        of those and the logits that one token of the entire model leaves.
    ids : tuple of int
        Greedy tokens of a chain.
    chunk : {name: sha256}
        Of the regions that the chain's tokens leave, and of the logits of those that fit the last
        pass.
    images : {region: sha256}
        Of the regions that are loaded.

    Raises
    ------
    ValueError
        If there is nothing to compare in one of them, or something that cannot be.
    """

    build: str
    program: tuple[int, ...]
    layer: Mapping[str, str]
    token: Mapping[str, str]
    ids: tuple[int, ...]
    chunk: Mapping[str, str]
    images: Mapping[str, str]

    def __post_init__(self) -> None:
        if len(self.ids) != TOKENS:
            raise ValueError(f"ids has {len(self.ids)} entries, expected {TOKENS}")
        if not self.program or not all(0 <= word < 1 << 32 for word in self.program):
            raise ValueError("program must be words of 32 bits, at least one")
        for name in ("layer", "token", "chunk", "images"):
            hashes = getattr(self, name)
            if not hashes:
                raise ValueError(f"{name} names nothing to compare")
            if wrong := [key for key, one in hashes.items() if not SHA256.fullmatch(one)]:
                raise ValueError(f"{name}.{wrong[0]} must be 64 hexadecimal digits")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self) | {"ids": list(self.ids), "program": list(self.program)}

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> "Expected":
        """Invert :meth:`to_dict`.

        Raises
        ------
        InputError
            If a key is missing or unknown, or a value is of another type or cannot be.
        """
        return restore(Expected, values, "self_test")


@dataclass(frozen=True)
class Step:
    """One step of the self-test, and what is wrong if it failed."""

    name: str
    passed: bool
    problem: str = ""


def steps_of(artifact: Artifact) -> tuple[str, ...]:
    """Names of what is tested, in their order."""
    return STEPS + PASSES * (artifact.arch.undecided > 0)


def expected(artifact: Artifact, model: QuantizedModel | None = None) -> Expected:
    """Run the engine, for :func:`self_test`.

    Raises
    ------
    InputError
        If the build does not say which model it runs.
    """
    model = model or open_model(artifact)
    first = replace(
        model, config=model.config.first(1), formats=model.formats.of_layer(0),
        layers=(model.layers[0],),
    )  # fmt: skip
    alone = replace(memory_of(artifact), config=first.config, formats=first.formats)
    arch = alone.arch
    numbers = [LayerNumbers.of(first, 0, arch, alone.blocks(0))]
    coded = instructions(arch.kinds, wide=arch.wide)
    words = coded.words32(program(first, numbers, arch, artifact.order))
    layer = _hashes(artifact, _after(Engine(first), [TOKEN])[1])
    engine = Engine(model)
    logits, state = _after(engine, [TOKEN])
    token = _hashes(artifact, state, logits)
    ids = []
    for _ in range(TOKENS):
        ids.append(int(logits[-1, : model.valid_vocab].argmax()))
        out, state = engine.forward(np.array([[ids[-1]]]), state)
        logits = out[0]
    logits, state = _after(engine, [TOKEN, *ids][:TOKENS])
    chunk = _hashes(artifact, state, logits[-arch.tokens :])
    images = {
        region.name: artifact.files[region.file].sha256
        for region in artifact.regions
        if region.file is not None
    }
    return Expected(artifact.fingerprint, tuple(words), layer, token, tuple(ids), chunk, images)


def _after(engine: Engine, ids: list[int]) -> tuple[NDArray[np.int32], State]:
    """Logits of all tokens of a sequence, and the state after it."""
    logits, state = engine.forward(np.array([ids]), engine.empty_state(1), last_only=False)
    return logits[0], state


def _hash(values: NDArray[np.uint8]) -> str:
    return hashlib.sha256(np.ascontiguousarray(values).data).hexdigest()


def _hashes(
    artifact: Artifact, state: State, logits: NDArray[np.int32] | None = None
) -> dict[str, str]:
    """Hash of each region that a state of the engine would be in memory, and of logits."""
    found = {name: _hash(values) for name, values in state_bytes(artifact, state).items()}
    return found if logits is None else found | {"logits": _hash(_bytes(logits))}


def _bytes(logits: NDArray[np.int32]) -> NDArray[np.uint8]:
    return logits.astype("<i4").reshape(-1).view(np.uint8)


def self_test(device: Device, artifact: Artifact, wanted: Expected) -> Iterator[Step]:
    """Carry out :func:`steps_of` in their order; the first that fails ends it.

    Parameters
    ----------
    device : Device
        Of any kind; the build is loaded onto it.
    artifact, wanted
        The build, and what :func:`expected` says of it.
    """
    test = _Test(device, artifact, wanted)
    for name in steps_of(artifact):
        try:
            getattr(test, name.replace(" ", "_"))()
        except (DeviceError, ValueError, OSError) as error:
            yield Step(name, False, str(error))
            return
        yield Step(name, True)


class _Test:
    """The steps; each raises DeviceError with one sentence."""

    def __init__(self, device: Device, artifact: Artifact, wanted: Expected) -> None:
        self.device, self.artifact, self.wanted = device, artifact, wanted

    def registers(self) -> None:
        """Identity of the hardware, and registers that keep what is written."""
        d = self.device
        for name, right in (
            ("magic", MAGIC), ("version", INTERFACE), ("hash", build_hash(self.artifact.arch)),
        ):  # fmt: skip
            if (found := d.read(name)) != right:
                raise DeviceError(f"register {name} reads {found:#x}, not {right:#x}")
        for name in ("token", "position", "layers"):
            for pattern in PATTERNS:
                d.write(name, pattern)
                if (found := d.read(name)) != pattern:
                    raise DeviceError(f"register {name} kept {found:#x} of {pattern:#x}")

    def memory(self) -> None:
        """Empty regions keep bytes at both ends; the others hold the images, in every byte."""
        d = self.device
        if self.wanted.build != self.artifact.fingerprint:
            raise DeviceError("the expected results are of another build; make the package again")
        d.load(self.artifact, sequences=self.artifact.arch.tokens)
        loaded = [region for region in self.artifact.regions if region.file is not None]
        self._same_names(self.wanted.images, [region.name for region in loaded])
        for region in self.artifact.regions:
            if region.file is None:
                self._pattern(region.channel, d.address(region), region.bytes)
            elif self._read_back(region) != self.wanted.images[region.name]:
                raise DeviceError(f"{region.name} in {region.channel} is not what was loaded")

    def _read_back(self, region: Region) -> str:
        """Hash of what lies in memory, in the pieces in which it was written."""
        found, address = hashlib.sha256(), self.device.address(region)
        for at in range(0, region.bytes, CHUNK):
            count = min(CHUNK, region.bytes - at)
            part = self.device.read_memory(region.channel, address + at, count)
            found.update(np.ascontiguousarray(part).data)
        return found.hexdigest()

    def _same_names(self, right: Mapping[str, str], there: Iterable[str]) -> None:
        """Refuse results that leave something out, or name what there is not."""
        if set(right) != set(there):
            raise DeviceError(
                f"the expected results are of {', '.join(sorted(right)) or 'nothing'}, but this "
                f"build has {', '.join(sorted(there))}; make the package again"
            )

    def _pattern(self, channel: str, address: int, size: int) -> None:
        count = min(PROBE, size)
        for seed, at in enumerate({address, address + size - count} if size else ()):
            values = np.random.default_rng(seed).integers(0, 256, count, dtype=np.uint8)
            kept = self.device.read_memory(channel, at, count)
            self.device.write_memory(channel, at, values)
            found = self.device.read_memory(channel, at, count)
            self.device.write_memory(channel, at, kept)
            if not np.array_equal(found, values):
                raise DeviceError(f"memory of {channel} does not keep what is written at {at:#x}")

    def one_layer(self) -> None:
        """The first layer alone, without a head."""
        d, memory = self.device, memory_of(self.artifact)
        alone = replace(memory, config=memory.config.first(1))
        regions = alone.regions()
        changed = {n: v for n, v in alone.registers(regions).items() if isinstance(v, int)}
        d.reset(self.wanted.program, **changed)
        d.start(TOKEN, fresh=True, head=False)
        d.wait()
        sizes = {region.name: region.bytes for region in regions}
        for client in clients(alone.arch, SPREAD):  # of which a token uses some rows in each run
            beats = rows(alone.arch, alone.each(client.name), 1)
            runs = alone.layers_of(client.name) * alone.runs(client.name)
            sizes |= dict.fromkeys(
                lanes_of(alone.arch, client.name), runs * beats * alone.lane_beat
            )
        self._compare(self.wanted.layer, sizes, logits=False)
        d.reset()

    def one_token(self) -> None:
        """All layers and the head."""
        self.device.start(TOKEN, fresh=True)
        self.device.wait()
        self._compare(self.wanted.token)
        if self.device.next_token() != self.wanted.ids[0]:
            raise DeviceError(f"the next token is {self.device.next_token()}, "
                              f"not {self.wanted.ids[0]}")  # fmt: skip

    def chain(self) -> None:
        """Tokens that follow each other on the device."""
        self.device.start(TOKEN, fresh=True, chain=TOKENS - 1)
        self.device.wait()
        self._last()

    def saved_state(self) -> None:
        """A sequence is interrupted by another one, and goes on."""
        d = self.device
        d.start(TOKEN, fresh=True)
        d.wait()
        state = d.save_state()
        d.start(TOKEN + 1, fresh=True, chain=2)
        d.wait()
        d.restore_state(state)
        d.start(self.wanted.ids[0], chain=TOKENS - 2)
        d.wait()
        self._last()

    def chunk(self) -> None:
        """A sequence in passes as large as fit; the state after it, and the last logits."""
        self._finish(0)
        self._compare(self.wanted.chunk)

    def verify(self) -> None:
        """Run the test tokens with drafts: all accepted, then all but the last."""
        most = self.artifact.arch.undecided
        vocab = int(self.artifact.model["config"]["vocab_size"])
        for right in (most, most - 1):
            made = replace(self._slot(0, 0, 1 + most), wanted=0, commit=1)
            made.tokens[1 + right :] = (made.tokens[1 + right :] + 1) % vocab
            self._pass({0: made})
            self._finish(1 + right, right)
            self._state(0)

    def batch(self) -> None:
        """Run the test tokens in ``arch.tokens`` sequences at once, each one pass later."""
        tokens = self.artifact.arch.tokens
        for n in range(TOKENS + tokens - 1):
            some = range(max(0, n - TOKENS + 1), min(n + 1, tokens))
            self._pass({n - sequence: self._slot(sequence, n - sequence, 1) for sequence in some})
        for sequence in range(tokens):
            self._state(sequence)

    def _finish(self, at: int, replay: int = 0) -> None:
        """Feed the known tokens from a place on, with a number of accepted drafts before it."""
        while at < TOKENS:
            slot = self._slot(0, at, min(self.artifact.arch.tokens, TOKENS - at))
            self._pass({at: replace(slot, replay=replay)})
            at, replay = at + len(slot.tokens), 0

    def _slot(self, sequence: int, first: int, count: int) -> Slot:
        """The known tokens from the ``first`` on, with all their logits."""
        ids = np.array([TOKEN, *self.wanted.ids][first : first + count], dtype=np.int64)
        return Slot(sequence, ids, wanted=count, fresh=not first)

    def _pass(self, slots: Mapping[int, Slot]) -> None:
        """Run slots, by the place of their first token; the next tokens must be the known ones."""
        self.device.submit(Pass(tuple(slots.values())))
        self.device.wait()
        right = [id_ for at, s in slots.items() for id_ in self.wanted.ids[at : at + s.wanted]]
        if (found := self.device.next_tokens()) != right:
            raise DeviceError(f"the next tokens are {found}, not {right}")

    def _state(self, sequence: int) -> None:
        """Compare the state of a sequence with that after all known tokens."""
        left = {name: right for name, right in self.wanted.chunk.items() if name != "logits"}
        self._compare(left, sequence=sequence, logits=False)

    def _last(self) -> None:
        found, right = self.device.next_token(), self.wanted.ids[-1]
        if found != right:
            raise DeviceError(f"after {TOKENS} tokens the next one is {found}, not {right}")

    def _compare(
        self,
        right: Mapping[str, str],
        sizes: Mapping[str, int] | None = None,
        *,
        sequence: int = 0,
        logits: bool = True,
    ) -> None:
        """All that a sequence has in memory, or the first ``sizes`` bytes of it, and logits."""
        found = dict[str, NDArray[np.uint8]]()
        if logits:
            found["logits"] = _bytes(self.device.wanted_logits())
        found |= self.device.save_state(sequence).memory
        self._same_names(right, found)
        for name, values in found.items():
            if _hash(values[: (sizes or {}).get(name, len(values))]) != right[name]:
                raise DeviceError(f"{name} is not what the engine computes")
