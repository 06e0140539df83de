"""A machine of several tokens that is none: registers and memory, and the engine behind them.

It does what `arch/passes.py` and the register map say, and looks closely at what it is fields: a
state must be brought, through a record or without one, to where the state of the convolution is,
and every step must come at the position that its state has. In memory a state is a number, for
which the state itself is kept here. In place of keys and values, each position of an attention
layer has its token's id, and all of them must be there when a pass reads them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmamba.arch.clients import SPREAD
from lightmamba.arch.config import ArchConfig
from lightmamba.arch.contract import PAGE, WORD
from lightmamba.arch.fields import decode
from lightmamba.arch.passes import SLOT, STEP, VECTOR
from lightmamba.arch.ports import of_token
from lightmamba.device.host.device import Device, Flags
from lightmamba.engine import Engine, State
from lightmamba.hardware.machine.artifact import build_hash
from lightmamba.hardware.machine.counters import CYCLES, counters, losses, of_vector
from lightmamba.hardware.machine.ports import clients
from lightmamba.hardware.machine.registers import INTERFACE, MAGIC, offsets, registers
from lightmamba.model.qmodel import QuantizedModel

__all__ = ["PASS", "TOKEN", "Pretended"]

PASS, TOKEN = 100_000, 1000  # cycles of a pass, and of each token in it
HANDLE = 8  # bytes of a number in memory


@dataclass(frozen=True)
class _Held:
    """A state, or what the convolution keeps, by the tokens that made it."""

    ids: tuple[int, ...]
    undecided: tuple[int, ...] = ()
    state: State | None = None


class Pretended(Device):
    """Hardware of several tokens, as the host sees it.

    Attributes
    ----------
    passes : list of tuple of int
        Of each pass, how many tokens its slots had.
    """

    def __init__(self, model: QuantizedModel) -> None:
        super().__init__()
        self.model, self.engine = model, Engine(model)
        self._made: Any = None  # the build that this is the hardware of
        self.passes: list[tuple[int, ...]] = []
        self._registers: dict[tuple[str, int], int] = {}
        self._tables: dict[tuple[str, int], int] = {}  # steps and segments, which count up
        self._counts: dict[str, int] = {}
        self._memory = np.zeros(0, np.uint8)
        self._held: dict[int, _Held] = {}
        self._places: dict[int, tuple[str, int, int]] = {}  # of an offset: name, index, half
        self._status = Flags.DRAINED

    def close(self) -> None:
        """Forget all states."""
        self._held.clear()

    def allocate(self, channels: Mapping[str, tuple[int, int]]) -> Mapping[str, int]:
        """One memory, a channel behind the other."""
        found, end = {}, 0
        for name, (size, alignment) in channels.items():
            found[name] = -(-end // alignment) * alignment
            end = found[name] + size
        self._memory = np.zeros(end, np.uint8)
        return found

    def read_memory(self, channel: str, address: int, count: int) -> NDArray[np.uint8]:
        """Copy bytes."""
        return self._memory[address : address + count].copy()

    def write_memory(self, channel: str, address: int, values: NDArray[np.uint8]) -> None:
        """Copy bytes."""
        self._memory[address : address + len(values)] = values

    def read32(self, offset: int) -> int:
        """Half of a register."""
        name, index, half = self._places[offset]
        if name == "hash":
            return self._registers.get(("hash", 0), 0)
        cycles = sum(self._counts.get(name, 0) for name in CYCLES)
        fixed = {
            "magic": MAGIC, "version": INTERFACE, "status": int(self._status), "cycles": cycles,
        }  # fmt: skip
        value = fixed.get(name, self._registers.get((name, index), 0))
        if name == "counter_value":
            value = self._counts.get(counters(self._made.arch)[self._get("counter_index")], 0)
        return value >> 32 * half & 0xFFFFFFFF

    def write32(self, offset: int, value: int) -> None:
        """Half of a register, and what the write does."""
        name, index, half = self._places[offset]
        old = self._registers.get((name, index), 0)
        kept = old & ~(0xFFFFFFFF << 32 * half)
        self._registers[name, index] = kept | value << 32 * half
        if name.endswith("_data") and name != "program_data":
            counts = name.replace("_data", "_index")
            self._tables[name, self._get(counts)] = value
            self._registers[counts, 0] += 1
        if name == "start":
            self._run(bool(value & 1), bool(value & 2))
            self._status = Flags.DRAINED | Flags.DONE

    def load(self, artifact: Any, sequences: int = 1) -> None:
        """Load a build, for which this hardware is then made."""
        self.made_for(artifact)
        super().load(artifact, sequences)

    def made_for(self, artifact: Any) -> None:
        """Make this the hardware of a build."""
        self._made = artifact
        self._registers["hash", 0] = build_hash(artifact.arch)
        kinds = artifact.arch.kinds
        for register in registers(kinds):
            words = 1 + register.wide
            for n in range(register.count * words):
                at = offsets(kinds)[register.name] + 4 * n
                self._places[at] = register.name, n // words, n % words

    def wait_interrupt(self) -> None:
        """Everything was done at once."""

    def reset_machine(self) -> None:
        """Lose all registers but the hash."""
        self._registers = {("hash", 0): self._get("hash")}
        self._tables.clear()

    def _get(self, name: str, index: int = 0) -> int:
        return self._registers.get((name, index), 0)

    def _take(self, address: int) -> _Held:
        """Bytes at an address of memory."""
        number = int(self._memory[address : address + HANDLE].view("<u8")[0])
        return self._held[number] if number else _Held((), state=self.engine.empty_state(1))

    def _put(self, address: int, held: _Held) -> None:
        number = len(self._held) + 1
        self._held[number] = held
        self._memory[address : address + HANDLE] = np.array([number], "<u8").view(np.uint8)

    def _run(self, fresh: bool, head: bool) -> None:
        tokens, last = self._made.arch.tokens, self._get("last_step")
        vectors = [decode(VECTOR, self._get("vector", n)) for n in range(tokens)]
        slots = [decode(SLOT, self._get("slot", n)) for n in range(tokens)]
        steps = [decode(STEP, self._tables["step_data", n]) for n in range(last + 1)]
        used = sum(each["used"] for each in vectors)
        ids = [self._get("token"), *(self._id(n) for n in range(tokens - 1))][:used]
        for turn in range(self._get("chain") + 1):
            logits = self._pass(vectors, slots, steps, ids, turn, fresh and not turn)
            best = [int(row[: self.engine.valid_vocab].argmax()) for row in logits]
            if head:
                self._keep_logits(logits, best)
            self.passes.append(tuple(
                sum(v["used"] and v["slot"] == n for v in vectors)
                for n, slot in enumerate(slots) if slot["used"]
            ))  # fmt: skip
            self._tally("multiplying", PASS + TOKEN * used)
            ids = best[:1]
        self._registers["finished", 0] = self._get("chain") + 1

    def _id(self, later: int) -> int:
        """The id whose row of the embedding a vector behind the first reads."""
        stride = self._made.registers["embedding_stride"]
        assert isinstance(stride, int)
        at = self._get("later_row", later) - self.address(self._made.region("embedding"))
        assert at % stride == 0
        return at // stride

    def _pass(
        self, vectors: list[dict[str, int]], slots: list[dict[str, int]],
        steps: list[dict[str, int]], ids: list[int], turn: int, fresh: bool,
    ) -> list[NDArray[np.int32]]:  # fmt: skip
        """Logits by vector."""
        record = self._get("record")
        old = self._take(self._get("record_read")).ids if record & 1 else ()
        left, found = list(steps), list[NDArray[np.int32]]()
        for n, slot in enumerate(slots):
            mine = [i for i, v in enumerate(vectors) if v["used"] and v["slot"] == n]
            if not slot["used"]:
                assert not mine
                continue
            assert mine == list(range(slot["first"], slot["first"] + len(mine)))
            assert [vectors[i]["place"] for i in mine] == list(range(len(mine)))
            again = next(i for i, step in enumerate(left) if not step["recorded"])
            count = again + len(mine)
            own, left = left[:count], left[count:]
            read, write = (("slot_read", "slot_write") if turn % 2 == 0
                           else ("slot_write", "slot_read"))  # fmt: skip
            zero = _Held((), state=self.engine.empty_state(1))
            ports = range(self._made.arch.state_ports)
            starts = [self._take(self._get(of_token(read, p), n)) for p in ports]
            start = zero if fresh and slot["fresh"] else starts[0]
            assert start is zero or len({id(each.state) for each in starts}) == 1
            conv = zero if fresh and slot["fresh"] else self._take(self._get("slot_conv_state", n))
            accepted = (*conv.ids, *conv.undecided[: slot["replay"]])
            redone = tuple(old[step["vector"]] for step in own[:again])
            assert (*start.ids, *redone) == accepted, "the convolution is where the state is"
            new = [ids[i] for i in mine]
            to = [self._get(of_token(write, p), n) for p in ports]
            found += self._slot(slot, own, start, again, old, ids, to, turn)
            self._attend(n, turn, accepted, new)
            sure = (*accepted, *new[: slot["commit"]])
            self._put(self._get("slot_conv_state", n), _Held(sure, tuple(new[slot["commit"] :])))
        assert not left
        if record & 2:
            assert self._get("record_write") != self._get("record_read") or not record & 1
            self._put(self._get("record_write"), _Held(tuple(ids)))
        return found

    def _slot(
        self, slot: dict[str, int], steps: list[dict[str, int]], start: _Held, redone: int,
        old: tuple[int, ...], ids: list[int], write: list[int], turn: int,
    ) -> list[NDArray[np.int32]]:  # fmt: skip
        """Steps of one slot; logits of its new tokens."""
        assert start.state is not None
        state, seen, stored = start.state.fork(), start.ids, 0
        found = []
        for n, step in enumerate(steps):
            again = n < redone
            assert (step["recorded"], step["load"]) == (again, n == 0)
            assert (step["position"] + self._get("position") + turn) % 256 == len(seen) % 256
            id_ = old[step["vector"]] if again else ids[step["vector"]]
            before = self.engine.counters.copy()
            logits, state = self.engine.forward(np.array([[id_]]), state)
            seen = (*seen, id_)
            if not again:
                found.append(logits[0, -1])
                for name, lost in (self.engine.counters - before).items():
                    if name in losses(self.kinds):
                        self._tally(of_vector(name, step["vector"]), lost)
            if step["store"]:
                assert n + 1 in (redone + slot["commit"], len(steps))
                held = _Held(seen, state=state.fork())
                for address in write:
                    self._put(address, held)
                stored += 1
        assert stored == slot["store"]
        return found

    def _attend(self, slot: int, turn: int, known: tuple[int, ...], new: list[int]) -> None:
        """Check that memory has the tokens that a slot attends to, and write the new ones."""
        for client in clients(self._made.arch, SPREAD):
            name, marks = client.name, np.array([*known, *new], "<u8") + 1
            assert self._get(f"slot_{name}_positions", slot) + turn == len(known)
            assert self._get(f"slot_{name}_more", slot) == len(new)
            at = [self._position(name, slot, position) for position in range(len(marks))]
            for address, mark in zip(at[: len(known)], marks, strict=False):
                assert self._memory[address : address + WORD].view("<u8")[0] == mark
            for address, mark in zip(at[len(known) :], marks[len(known) :], strict=True):
                self._memory[address : address + WORD] = np.array([mark]).view(np.uint8)

    def _position(self, name: str, slot: int, position: int) -> int:
        """Address of the first word of a position, in its segment and on its lane's channel."""
        arch: ArchConfig = self._made.arch
        beat, per_slot = arch.port_bits // 8, 1 << (arch.segments - 1).bit_length()
        segment, place = divmod(position, arch.segment)
        unit, first = divmod(place, arch.row_bytes // WORD)
        lane, offset = divmod(first * WORD, beat)
        row = unit * (1 + self._get(f"{name}_words"))
        page = self._tables[f"{name}_segment_data", slot * per_slot + segment]
        return self._get(f"{name}_base", lane) + page * PAGE + row * beat + offset

    def _keep_logits(self, logits: list[NDArray[np.int32]], best: list[int]) -> None:
        region = self._made.region("logits")
        stride = self._made.registers["logits_stride"]
        assert isinstance(stride, int)
        for n, row in enumerate(logits):
            self.write_memory(
                region.channel, self.address(region) + n * stride,
                np.ascontiguousarray(row, "<i4").view(np.uint8),
            )  # fmt: skip
            self._registers[("later_next", n - 1) if n else ("next", 0)] = best[n]

    def _tally(self, name: str, more: int) -> None:
        self._counts[name] = self._counts.get(name, 0) + more
