"""Fill the tables of a running model from the graph and a workload."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmamba.arch.contract import BLOCK, PAGE, WORD_BITS
from lightmamba.arch.hardware import MEMORY, Stream, cycles
from lightmamba.arch.latency import (
    HEADS,
    OUTSTANDING,
    QUEUE,
    READER_DATA,
    STATE_READ_BURSTS,
    STATE_WRITE_BURSTS,
    WORD_READER_DATA,
    Y_HEADS,
)
from lightmamba.arch.pace import paces
from lightmamba.arch.ports import of_token
from lightmamba.estimate import places as p
from lightmamba.estimate.older import MACHINE, RECORD
from lightmamba.estimate.steps import columns, gathering, table
from lightmamba.estimate.workload import Workload
from lightmamba.machine.counters import CYCLES
from lightmamba.machine.ports import Port, ports

__all__ = ["COLD", "Run", "fill"]

Ints = NDArray[np.int64]
Steps = NDArray[np.int8]
OPEN_BURSTS = 64  # of a port, as the simulator's memory takes them
COLD = 1 << 20  # cycle of the first start: all that can be read ahead is there
HOLD = {"ssm": 1}  # cycles for which a unit holds its operands before it uses them
EARLY = {"parts": 1}  # cycles by which a unit has issued before its latency counts
# In a state-space unit that waits for whole heads, cycles from an issue to the new word, to the
# next step's issue, to y in its buffer, from there to the gate; rows of y that wait behind it; the
# record's cycles and words on their way.
MADE, AGAIN, SUMMED, DRAWN = 24, 15, 37, 4
Y_ROOM = 6
RECORDED, RECORD_ROOM = 3, 6


@dataclass(frozen=True)
class Run:
    """How much of a model is run.

    Parameters
    ----------
    layers, vocab : int
        Layers, and rows of the head.
    heads, chains : tuple of bool
        Pass by pass, whether its logits are wanted, and whether it belongs to a chain.
    lanes : tuple of int
        Lanes that are looked at; those on equal channels behave alike.
    stalls : float
        Probability that a channel of memory does nothing in a cycle.
    """

    layers: int
    vocab: int
    heads: tuple[bool, ...]
    chains: tuple[bool, ...]
    lanes: tuple[int, ...]
    stalls: float = 0.0


def fill(work: Workload, run: Run) -> tuple[Any, Ints, Steps]:
    """A model before its first cycle, its lists, and its tables of steps, for ``loop.run``."""
    return _Filler(work, run).finish()


class _Filler:
    """The records while they are made."""

    def __init__(self, work: Workload, run: Run) -> None:
        self.work, self.run, self.queue, self.unit = work, run, p.QUEUES, p.UNITS
        self.readers = [*p.READERS, *(f"lane{n}" for n in run.lanes)]
        self.used = [
            port for port in ports(work.arch)
            if port.writers or any(name in self.readers for name in port.readers)
        ]  # fmt: skip
        self.channels = [
            c for c in work.target.channels if any(port.name in c.ports for port in self.used)
        ]
        self.read = len(self.unit) + len(self.channels)  # the first unit of the ports
        self.lists: list[Ints] = []
        self.end = 0
        self.whole = np.zeros(1, p.MODEL)
        self.model = self.whole[0]

    def finish(self) -> tuple[Any, Ints, Steps]:
        """All of it."""
        m = self.model
        m.units["wake"] = p.NEVER
        m.units[self.unit["sequencer"]].wake = COLD
        m.token.reason = CYCLES.index("idle")
        self._jobs()
        self._sizes()
        self._queues()
        self._channels()
        for number, port in enumerate(self.used):
            self._port(number, port)
        self._writers()
        return self.whole, np.concatenate(self.lists), self._steps()

    def _list(self, values: Ints) -> int:
        """Append a list and return its offset."""
        at, self.end = self.end, self.end + len(values)
        self.lists.append(values)
        return at

    def _room(self, count: int) -> int:
        return self._list(np.zeros(count, np.int64))

    def _steps(self) -> Steps:
        """Tables of steps; which queues they take from and give to."""
        m, found, at = self.model, [], 0
        m.inputs[:], m.outputs[:], m.wide[:] = -1, -1, 1
        adjacent = {"embedding": self.work.arch.tokens, "conv_read": len(self.work.slots)}
        plain = [u.name for u in MACHINE.units if u.name not in p.SPECIAL]
        if self.work.arch.whole_heads:
            plain += [name for name in p.SSM if name not in plain]
        for name in (*plain, "words_in", "words_out"):
            if name in plain:
                steps = table(name, self.work, self.run.vocab)
                takes, gives = columns(name, self.work)
            else:
                side = name.removeprefix("words_")
                channels = self.work.sizes[f"{side}_channels"]
                steps = gathering(channels, self.work.arch.products)
                takes, gives = [f"quant_{side}"], [name]
            number = self.unit[name]
            m.inputs[number, : len(takes)] = [self._from(name) for name in takes]
            m.wide[number, : len(takes)] = [adjacent.get(name, 1) for name in takes]
            m.outputs[number, : len(gives)] = [self.queue[g] for g in gives]
            unit = m.units[number]
            unit.at, unit.steps, unit.hold = at, len(steps), HOLD.get(name, 0)
            found.append(steps)
            at += len(steps)
        return np.concatenate(found)

    def _from(self, name: str) -> int:
        """Queue that a stream is taken from: words of memory lie in their reader's."""
        if name in self.queue:
            return self.queue[name]
        source = f"{MEMORY}.{name}" if name == RECORD else MACHINE.stream(name).source
        return len(self.queue) + p.READERS.index(source.removeprefix(f"{MEMORY}."))

    def _queues(self) -> None:
        """Queues of the streams, and of what lies inside of units."""
        arch = self.work.arch
        for stream in MACHINE.streams:
            if stream.name in self.queue:
                # What is held back for its block comes out all at once, whatever waits behind.
                late = QUEUE if stream.queue and stream.name != "x" else 0
                late += MACHINE.latency(stream, arch) - EARLY.get(stream.name, 0)
                giver, taker = self._ends(stream)
                self._queue(
                    self.queue[stream.name], MACHINE.room(stream, arch), self.unit[giver],
                    self.unit[taker], late,
                )  # fmt: skip
        epilogue = cycles(MACHINE.unit("epilogue").latency, arch)
        words = cycles(MACHINE.unit("activations").latency, arch) + 2
        for name, room, late, giver, taker in (
            ("rows", epilogue + 2, epilogue, "epilogue", "router"),
            ("words_in", arch.in_words, words, "words_in", "lanes"),
            ("words_out", arch.out_words, words, "words_out", "lanes"),
            *(self._heads() if arch.whole_heads else ()),
            ("b", 1, 1, "bc", "ssm_rows"),
        ):
            self._queue(self.queue[name], room, self.unit[giver], self.unit[taker], late)
        self.model.queues[self.queue["ended"]].count = 1  # nothing was before the first job

    def _heads(self) -> Iterator[tuple[str, int, int, str, str]]:
        """Queues of a state-space unit that waits for whole heads, and behind it."""
        arch, words = self.work.arch, self.work.sizes["head_words"]
        adders = (arch.bc_elements // BLOCK).bit_length() - 1 + (arch.row_words > 1)
        behind = MADE + 2 + MACHINE.stream("state_behind").depth(arch)
        yield "gathered", HEADS, 0, "ssm_rows", "ssm"
        yield "replayed", HEADS, 0, "ssm_record", "ssm"
        yield "again", words + 1, AGAIN, "ssm", "ssm"
        yield "ended", 2, 1, "ssm", "ssm_record"
        yield "done", Y_HEADS, SUMMED + adders, "ssm", "ssm_out"
        yield "y", Y_ROOM, DRAWN, "ssm_out", "gate"
        yield "state_behind", behind, MADE + QUEUE, "ssm", "write_state"
        yield "recorded", RECORD_ROOM, RECORDED, "ssm_rows", f"write_{RECORD}"

    def _ends(self, stream: Stream) -> tuple[str, str]:
        """Units of a running model that give and take a stream's items."""
        giver, taker, port = stream.giver, stream.taker, stream.target.split(".")[1]
        if taker == MEMORY:
            taker = f"write_{port}"
        elif taker == "activations":
            taker = port.replace("i_", "words_")
        elif self.work.arch.whole_heads and stream.name in ("heads", "x"):
            taker = "ssm_rows"
        return {MEMORY: "unpacker", "epilogue": "router"}.get(giver, giver), taker

    def _queue(self, number: int, room: int, giver: int, taker: int, late: int = 0) -> None:
        ring = 1 << (room + 1).bit_length()
        found = self.model.queues[number]
        found.ring, found.mask, found.room = self._room(ring), ring - 1, room
        found.source, found.target, found.latency = giver, taker, late

    def _jobs(self) -> None:
        """in_proj, out_proj and the LM head."""
        k, a, jobs = self.work.layer, self.work.arch, self.model.jobs
        jobs["rows"] = k.in_rows, self.work.config.d_model, self.run.vocab
        jobs["slots"] = -(-jobs["rows"] // a.lanes)
        jobs["parts"] = 1, k.out_groups, 1
        jobs["words"] = a.in_words, a.out_words // k.out_groups, a.in_words
        jobs["twice"] = 0, 0, a.head_twice
        jobs["vector"] = [self.queue[f"words_{side}"] for side in ("in", "out", "in")]
        jobs["norms"] = [self.queue[f"rms_{side}"] for side in ("in", "out", "in")]

    def _sizes(self) -> None:
        work, run, a, size = self.work, self.run, self.work.arch, self.model.sizes
        kinds = [self.queue[row.stream] for row in MACHINE.rows]
        word, port = a.port_elements * 8, a.state_port_bits
        size.layers, size.passes, size.vectors = run.layers, len(run.heads), a.tokens
        size.lanes, size.lane_readers, size.per_cycle = a.lanes, len(run.lanes), work.rows_per_cycle
        size.period, size.d_model = a.scale_period, work.config.d_model
        size.state_words, size.state_fifo = work.memory.head_words, max(3, a.state_fifo)
        size.state_ports = a.state_ports
        size.word_beats, size.beat_words = max(1, word // port), max(1, port // word)
        size.head_beats, size.read = work.head_beats(run.vocab), self.read
        size.write, size.end = self.read + len(self.used), self.read + 2 * len(self.used)
        size.targets = self._list(np.array(kinds)[work.kinds()])
        size.heads = self._list(np.array(run.heads, np.int64))
        size.chains = self._list(np.array(run.chains, np.int64))
        size.records = self._room(len(run.heads) * (4 * run.layers + 4) * (1 + len(CYCLES)))

    def _channels(self) -> None:
        target = self.work.target
        pace = dict(zip((c.name for c in target.channels),
                        paces(target.channels, target.clock_mhz), strict=True))  # fmt: skip
        for number, channel in enumerate(self.channels):
            beat, c = pace[channel.name], self.model.channels[number]
            rate = Fraction(beat.bytes_per_cycle).limit_denominator(1 << 16)
            widest = max(q.bits // 8 for q in self.used if q.name in channel.ports)
            c.rate, c.cost, c.latency = rate.numerator, rate.denominator, beat.latency
            c.every = beat.refresh_every if beat.refresh_for else 0
            c.pause, c.phase, c.turn = beat.refresh_for, beat.refresh_phase, beat.turn
            c.limit = widest * rate.denominator + rate.numerator
            c.ring = self._room(3 * p.REQUEST_RING)

    def _port(self, number: int, port: Port) -> None:
        """A port, its readers, and that its writers are on it."""
        places = [n for n, c in enumerate(self.channels) if port.name in c.ports]
        clients = [self.readers.index(name) for name in port.readers if name in self.readers]
        mine = self.model.ports[number]
        mine.channel = mine.origin = places[0]
        mine.other = mine.into = places[-1]
        mine.bytes, mine.most, mine.writer = port.bits // 8, OPEN_BURSTS, -1
        mine.step = round(p.FINE / (1 - self.run.stalls))
        mine.clients, mine.count = self._list(np.array(clients, np.int64)), len(clients)
        for reader in clients:
            self._reader(reader, number, port.bits, len(clients) > 1)
        for name in port.writers:
            self.model.writers[p.WRITERS.index(name)].port = number

    def _reader(self, number: int, port: int, bits: int, shared: bool) -> None:
        """A reader: what a token or a layer asks of it, and what it has room for."""
        arch, memory, name = self.work.arch, self.work.memory, self.readers[number]
        r, taker, client = self.model.readers[number], "lanes", p.CLIENT.get(name, name)
        r.port, r.burst, r.per_beat = (
            port,
            min(arch.burst_beats, PAGE * 8 // bits),
            bits // WORD_BITS,
        )
        r.ring, r.each = self._room(4 * p.COMMAND_RING), self._each(name, read=True)
        # What the last token of a chain has written may be read. Other passes begin when all is.
        waits = client in ("state", "conv_state") and self.work.chained
        r.credit = self._each(name, read=False) if waits else p.NEVER
        r.delay = READER_DATA + shared
        if number >= p.LANE:
            r.free = arch.weight_fifo
            r.segment = self.run.layers * (self.work.in_beats + self.work.out_beats)
        elif client == "state":
            r.free, taker = STATE_READ_BURSTS * arch.burst_beats, "unpacker"
            r.segment = memory.state_head_beats
        else:
            r.free = arch.aux_fifo * WORD_BITS // bits
            taker = "ssm_record" if name == RECORD else MACHINE.client(client).taker
            words = {"conv_state": memory.conv_words, RECORD: memory.recorded_words}
            r.words = {**memory.stream_words, **words}[client]
            r.words *= 1 if client in (*words, "embedding") else self.run.layers
            r.segment, r.delay = -(-r.words // r.per_beat), WORD_READER_DATA + shared
        target = self.unit[taker]
        self._queue(len(self.queue) + number, int(r.free) + 1, self.read + port, target)

    def _each(self, name: str, *, read: bool) -> int:
        """Commands of a pass for what it reads or writes layer by layer, or head by head."""
        work, layers, slots = self.work, self.run.layers, len(self.work.slots)
        if name in [of_token("state", n) for n in range(work.arch.state_ports)]:
            return layers * work.memory.heads * (slots if read else work.stores)
        if name == RECORD:
            return layers * (work.replays if read else work.records)
        return layers * (name in [of_token("conv_state", n) for n in range(slots)])

    def _writers(self) -> None:
        work, memory, aux = self.work, self.work.memory, self.work.arch.aux_port_bits
        arch = work.arch
        words = {"conv_state": memory.conv_words, "logits": -(-self.run.vocab // 2),
                 RECORD: memory.recorded_words}  # fmt: skip
        wide = {"conv_state": len(work.slots), "logits": work.tokens}
        for number, name in enumerate(p.WRITERS):
            client = p.CLIENT.get(name, name)
            w, bits = self.model.writers[number], aux if client in words else arch.state_port_bits
            w.per_beat, w.words, w.most = bits // WORD_BITS, words.get(client, 0), OUTSTANDING
            w.each, w.wide = self._each(name, read=False), wide.get(client, 1)
            w.unit = self.unit[f"write_{client}"]
            w.command = -(-w.words // w.per_beat) or memory.state_head_beats
            w.left, w.burst = w.command, min(arch.burst_beats, PAGE * 8 // bits)
            w.depth = (
                arch.aux_fifo * WORD_BITS // aux
                if w.words
                else STATE_WRITE_BURSTS * arch.burst_beats
            )
            w.reader = p.READERS.index(name) if client in ("state", "conv_state") else -1
            w.bank = client == "state"
