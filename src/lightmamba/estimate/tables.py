"""Fill the tables of a running model from a workload."""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from lightmamba.arch.contract import BLOCK, GROUP, PAGE, WORD_BITS
from lightmamba.arch.latency import (
    FETCH,
    OUTSTANDING,
    PARTS,
    STATE_READ_BURSTS,
    STATE_WRITE_BURSTS,
    Latency,
)
from lightmamba.arch.pace import paces
from lightmamba.arch.ports import ports
from lightmamba.arch.program import Kind
from lightmamba.estimate import places as p
from lightmamba.estimate.workload import Workload

__all__ = ["Run", "fill"]

Ints = NDArray[np.int64]
OPEN_BURSTS = 64  # of a port, as the simulator's memory takes them
COLD = 1 << 20  # cycle of the first start: all that can be read ahead is there
TARGETS = {Kind.DT: p.DT, Kind.B: p.CONV, Kind.C: p.CONV, Kind.X: p.CONV, Kind.Z: p.Z}


@dataclass(frozen=True)
class Run:
    """How much of a model is run.

    Parameters
    ----------
    layers, vocab : int
        Layers, and rows of the head.
    heads : tuple of bool
        Token by token, whether its logits are wanted.
    lanes : tuple of int
        Lanes that are looked at; those on equal channels behave alike.
    stalls : float
        Probability that a channel of memory does nothing in a cycle.
    """

    layers: int
    vocab: int
    heads: tuple[bool, ...]
    lanes: tuple[int, ...]
    stalls: float = 0.0


def fill(work: Workload, run: Run) -> tuple[Ints, Ints]:
    """Tables and rings for :func:`lightmamba.estimate.loop.run`."""
    return _Filler(work, run).finish()


class _Filler:
    """Both arrays while they are made."""

    def __init__(self, work: Workload, run: Run) -> None:
        self.work, self.run = work, run
        self.a = np.zeros(p.TABLES, np.int64)
        self.lists: list[Ints] = []
        self.end = p.FREE
        self.late = Latency.of(work.arch)
        self.readers = [f"lane{n}" for n in run.lanes] + [
            "state", "embedding", "conv_params", "head_params", "gate_params", "conv_state",
        ]  # fmt: skip
        self.first = len(run.lanes)

    def finish(self) -> tuple[Ints, Ints]:
        """All of it."""
        self.a[p.WAKE : p.WAKE + p.UNITS] = p.NEVER
        self._sizes()
        self._latencies()
        self._queues()
        clients = self._memory()
        self._writers()
        t = np.zeros(self.end, np.int64)
        at = p.FREE
        for part in self.lists:
            t[at : at + len(part)] = part
            at += len(part)
        for port, names in enumerate(clients):
            where = p.CLIENTS + port * (p.READERS + 1)
            t[where : where + 1 + len(names)] = [len(names), *names]
        self.a[p.WAKE + p.U_SEQUENCER] = COLD
        return self.a, t

    def _list(self, values: Ints) -> int:
        """Put a list behind what is there; where it stands."""
        at = self.end
        self.lists.append(values)
        self.end += len(values)
        return at

    def _sizes(self) -> None:
        work, run, a = self.work, self.run, self.work.arch
        c, f = work.config, work.formats
        kinds, ends = work.kinds(), work.block_ends()
        targets = np.array([TARGETS.get(Kind(k), -1) for k in range(max(Kind) + 1)])[kinds]
        conv = kinds[targets == p.CONV]
        word, port = a.state_elements * 8, a.state_port_bits
        sizes = {
            p.LAYERS: run.layers, p.TOKENS: len(run.heads), p.LANE_READERS: self.first,
            p.STATE_FIFO: max(3, self.work.arch.state_fifo),
            p.LANES: a.lanes, p.PER_CYCLE: work.rows_per_cycle, p.PERIOD: a.scale_period,
            p.TWICE: a.head_twice,
            p.D_MODEL: c.d_model, p.IN_CHANNELS: a.in_channels, p.OUT_CHANNELS: a.out_channels,
            p.IN_WORDS: a.in_words, p.OUT_WORDS: a.out_words, p.PRODUCTS: a.products,
            p.IN_ROWS: c.d_in_proj, p.VOCAB: run.vocab, p.GROUPS: c.ngroups,
            p.GROUP_DIM: c.group_dim, p.PAD: a.out_channels // c.ngroups - c.group_dim,
            p.ORDER: f.transform.size(c.group_dim), p.HEADDIM: c.headdim, p.N_HEADS: c.nheads,
            p.CONV_DIM: c.conv_dim, p.BC_COUNT: 2 * c.ngroups * c.d_state,
            p.ROW_WORDS: a.row_words, p.STATE_WORDS: work.memory.state_words,
            p.WORD_BEATS: max(1, word // port), p.BEAT_WORDS: max(1, port // word),
            p.BLOCK: BLOCK, p.GROUP: GROUP,
            p.KINDS: self._list(targets.astype(np.int64)),
            p.MARKS: self._list(ends.astype(np.int64) + 2 * (conv == Kind.X)),
            p.RECORDS: self._list(np.zeros(len(run.heads) * (4 * run.layers + 4) * p.RECORD,
                                           np.int64)),
            p.PLAN: self._list(np.array(run.heads, np.int64)),
            p.HEAD_BEATS: work.head_beats(run.vocab),
            p.LAYERS_BEATS: run.layers * (work.in_beats + work.out_beats),
            p.H_EARLY: f.transform.size(c.group_dim) - 1, p.L_REASON: p.IDLE, p.L_SINCE: 0,
        }  # fmt: skip
        for place, value in sizes.items():
            self.a[place] = value

    def _latencies(self) -> None:
        late = self.late
        for place, value in {
            p.T_EMBED: late.embed, p.T_RESIDUAL: late.residual,
            p.T_RESIDUAL_SUM: late.residual_sum, p.T_RMS: late.rms,
            p.T_QUANTIZER: late.quantizer, p.T_WORD: late.activations + 2,
            p.T_LANES: late.lanes - 1, p.T_EPILOGUE: late.epilogue, p.T_QUEUE: late.queue,
            p.T_DISCRETIZE: late.discretize + late.queue, p.T_CONV: late.conv, p.T_CONV_STATE: 8,
            p.T_BLOCKS: late.blocks, p.T_SSM: late.ssm + late.queue, p.T_Y: late.ssm_y,
            p.T_GATE: late.gate, p.T_GATE_SUM: late.gate_sum, p.T_HADAMARD: late.hadamard,
            p.T_HEAD: late.head, p.T_FETCH: FETCH, p.T_READ: 1, p.T_COMMAND: late.reader,
            p.T_WRITE: 3, p.T_DRAIN: 4,
        }.items():  # fmt: skip
            self.a[place] = value

    def _queues(self) -> None:
        late, a, own = self.late, self.work.arch, 2
        heads = max(3, self.work.config.nheads)
        ends: dict[int, tuple[int, int, int]] = {
            p.EMBED: (late.embed + own, p.U_EMBED, p.U_RESIDUAL),
            p.RESIDUAL: (late.residual + own, p.U_RESIDUAL, p.U_QUANT_IN),
            p.SUM_IN: (4, p.U_RESIDUAL, p.U_RMS_IN),
            p.RMS_IN: (late.rms + own, p.U_RMS_IN, p.U_EPILOGUE),
            p.QUANT_IN: (2 * BLOCK + 11, p.U_QUANT_IN, p.U_WORDS_IN),
            p.WORDS_IN: (a.in_words, p.U_WORDS_IN, p.U_LANES),
            p.PARTS: (PARTS, p.U_LANES, p.U_EPILOGUE),
            p.ROWS: (late.epilogue + own, p.U_EPILOGUE, p.U_ROUTER),
            p.DT: (1, p.U_ROUTER, p.U_DISCRETIZE),
            p.CONV: (1, p.U_ROUTER, p.U_CONV),
            p.OUT: (1, p.U_ROUTER, p.U_RESIDUAL),
            p.LOGIT: (self.work.rows_per_cycle, p.U_ROUTER, p.U_HEAD),
            p.Z: (max(3, a.z_queue), p.U_ROUTER, p.U_GATE),
            p.HEADS: (heads + late.discretize + own, p.U_DISCRETIZE, p.U_SSM),
            p.CONVOLVED: (late.conv + own, p.U_CONV, p.U_BLOCKS),
            p.X: (max(3, a.x_queue) + 2 * BLOCK + 9, p.U_BLOCKS, p.U_SSM),
            p.BC: (2 * BLOCK + 9, p.U_BLOCKS, p.U_BC),
            p.BC_READY: (1, p.U_BC, p.U_SSM),
            p.AHEAD: (max(3, a.state_fifo), p.U_UNPACKER, p.U_SSM),
            p.BEHIND: (max(3, a.state_fifo) + late.ssm + own, p.U_SSM, p.U_PACKER),
            p.Y: (late.ssm_y + own, p.U_SSM, p.U_GATE),
            p.GATED: (late.gate + own, p.U_GATE, p.U_HADAMARD),
            p.SUM_OUT: (late.gate_sum + own, p.U_GATE, p.U_RMS_OUT),
            p.RMS_OUT: (late.rms + own, p.U_RMS_OUT, p.U_EPILOGUE),
            p.MIXED: (late.hadamard + own, p.U_HADAMARD, p.U_QUANT_OUT),
            p.QUANT_OUT: (2 * BLOCK + 11, p.U_QUANT_OUT, p.U_WORDS_OUT),
            p.WORDS_OUT: (a.out_words, p.U_WORDS_OUT, p.U_LANES),
            p.CONV_STATE: (10, p.U_CONV, p.U_CONV_WRITER),
            p.LOGITS: (5, p.U_HEAD, p.U_LOGIT_WRITER),
        }
        for queue, (depth, source, target) in ends.items():
            self._queue(queue, depth, source, target)

    def _queue(self, queue: int, depth: int, source: int, target: int) -> None:
        ring = 1 << (depth + 1).bit_length()
        row = p.QUEUE_TABLE + queue * p.Q_SIZE
        self.a[row : row + p.Q_SIZE] = (
            self._list(np.zeros(ring, np.int64)), ring - 1, 0, 0, depth, source, target,
        )  # fmt: skip

    def _memory(self) -> list[list[int]]:
        """Channels, ports and readers; the readers of each port."""
        arch, target = self.work.arch, self.work.target
        used = [
            port for port in ports(arch)
            if port.writers or any(name in self.readers for name in port.readers)
        ]  # fmt: skip
        channels = [c for c in target.channels if any(q.name in c.ports for q in used)]
        pace = dict(zip((c.name for c in target.channels),
                        paces(target.channels, target.clock_mhz), strict=True))  # fmt: skip
        step = round(p.FINE / (1 - self.run.stalls))
        clients: list[list[int]] = []
        self.a[p.U_READ] = p.U_CHANNEL + len(channels)
        self.a[p.U_WRITE] = self.a[p.U_READ] + len(used)
        self.a[p.U_END] = self.a[p.U_WRITE] + len(used)
        for number, channel in enumerate(channels):
            beat, row = pace[channel.name], p.CHANNEL_TABLE + number * p.C_SIZE
            rate = Fraction(beat.bytes_per_cycle).limit_denominator(1 << 16)
            widest = max(q.bits // 8 for q in used if q.name in channel.ports)
            self.a[row : row + p.C_SIZE] = (
                rate.numerator, rate.denominator, beat.latency,
                beat.refresh_every if beat.refresh_for else 0, beat.refresh_for,
                beat.refresh_phase, 0, widest * rate.denominator + rate.numerator, 0,
                self._list(np.zeros(p.REQUEST_RING * p.REQUEST, np.int64)), 0, 0, beat.turn, 0, 0,
            )  # fmt: skip
        for number, port in enumerate(used):
            row = p.PORT_TABLE + number * p.P_SIZE
            places = [n for n, c in enumerate(channels) if port.name in c.ports]
            mine = [self.readers.index(name) for name in port.readers if name in self.readers]
            clients.append(mine)
            self.a[row : row + p.P_SIZE] = (
                places[0], places[-1], port.bits // 8, step, 0, 0, 0, 0, OPEN_BURSTS, places[0],
                -1, 0, 0, 0, places[-1],
            )  # fmt: skip
            for reader in mine:
                self._reader(reader, number, port.bits, len(mine) > 1)
            for name in port.writers:
                writer = ("state", "conv_state", "logits").index(name)
                self.a[p.WRITER_TABLE + writer * p.W_SIZE + p.W_PORT] = number
        return clients

    def _reader(self, reader: int, port: int, bits: int, shared: bool) -> None:
        arch, memory, name = self.work.arch, self.work.memory, self.readers[reader]
        burst = min(arch.burst_beats, PAGE * 8 // bits)
        per_beat, words = bits // WORD_BITS, 0
        depth = arch.weight_fifo if reader < self.first else STATE_READ_BURSTS * arch.burst_beats
        data, credit, segment = self.late.reader_data, p.NEVER, 0
        if name == "state":
            credit, segment = self.run.layers, memory.state_beats
        elif reader >= self.first:
            depth = arch.aux_fifo * WORD_BITS // bits
            data = self.late.word_reader_data
            if name == "conv_state":
                credit, words = self.run.layers, memory.conv_words
            else:
                words = memory.stream_words[name]
                words *= 1 if name == "embedding" else self.run.layers
            segment = -(-words // per_beat)
        row = p.READER_TABLE + reader * p.R_SIZE
        self.a[row : row + p.R_SIZE] = (
            port, depth, burst, 0, 0, 0, 0, credit, 0, per_beat, words, 0, data + shared, segment,
            0,
        )  # fmt: skip
        units = {
            "state": p.U_UNPACKER, "embedding": p.U_EMBED, "conv_params": p.U_CONV,
            "head_params": p.U_DISCRETIZE, "gate_params": p.U_GATE, "conv_state": p.U_CONV,
        }  # fmt: skip
        source = int(self.a[p.U_READ]) + port
        self._queue(p.BEATS + reader, depth + 1, source, units.get(name, p.U_LANES))

    def _writers(self) -> None:
        arch, memory, aux = self.work.arch, self.work.memory, self.work.arch.aux_port_bits
        logits = -(-self.run.vocab // 2)
        for writer, (reader, bits, words) in enumerate(
            ((p.STATE, arch.state_port_bits, 0), (p.CONV_READ, aux, memory.conv_words),
             (-1, aux, logits))
        ):  # fmt: skip
            beats = -(-words // (aux // WORD_BITS)) if words else memory.state_beats
            depth = (
                arch.aux_fifo * WORD_BITS // aux if words else STATE_WRITE_BURSTS * arch.burst_beats
            )
            row = p.WRITER_TABLE + writer * p.W_SIZE
            port = self.a[row + p.W_PORT]
            self.a[row : row + p.W_SIZE] = (
                port, 0, depth, min(arch.burst_beats, PAGE * 8 // bits), beats, beats, 0, 0,
                self.first + reader if reader >= 0 else -1, bits // WORD_BITS, 0, words, 0, 0,
                OUTSTANDING, 0, 1 if reader == p.STATE else 0,
            )  # fmt: skip
