"""The area model: cells of any configuration, from blocks that were synthesized.

``resources.json`` holds, for each group of blocks and kind of arithmetic, how many cells a group
takes as a sum over a few sizes of the configuration; ``python -m bench.synth`` measures and fits
it. Memories whose size is a parameter are not fitted but counted, as synthesis counts them.

Only configurations of one token are fitted: groups that each token has a copy of are multiplied,
and what further tokens need besides is counted by hand (``more``). One of several tokens was
synthesized to check that.
"""

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from importlib import resources as files

from lightmamba.arch.amount import Amount
from lightmamba.arch.config import ArchConfig
from lightmamba.arch.contract import BLOCK, RECORD_BITS, WORD_BITS
from lightmamba.arch.latency import HEADS, STATE_READ_BURSTS, STATE_WRITE_BURSTS, Y_HEADS
from lightmamba.arch.memories import memory_cells
from lightmamba.estimate.older import INSTRUCTION_BITS, MACHINE
from lightmamba.machine.ports import aux_readers, aux_writers, ports

__all__ = ["FILE", "GROUPS", "Group", "group_of", "resources"]

FILE = "resources.json"  # next to this module
CELLS = ("lut", "ff", "dsp", "bram18", "uram")
CODE_BITS, EXPONENT_BITS = 6, 5  # of an activation's scale, of a block of state
HOLD = 1  # entries of a buffered queue that are its output register
# Cells of several tokens. Of a lane, per bit of its port: what tokens share (lanes of 32 and of 64
# products of up to four tokens, synthesized alone). Of blocks of u280, synthesized: an element of B
# and C in its store, what a word of the state needs for each of its rows, a counter, a walk.
# Counted: registers of the host for a token.
SHARED = {4: Amount(ff=2.1), 8: Amount(lut=0.4, ff=2.1)}
# What packed multipliers take more, per product of a token; packing an activation of two tokens.
# Synthesized with and without: lanes of 32 and of 128 products of four tokens (20.5 and 20.0 LUTs
# less, 9.1 FFs more in both), of 32 products of two tokens (19.6 less, 10.2 more). As yosys counts
# FFs, those of the multipliers are among them, 14 of 33; a vendor's tool takes them into the DSP.
PACKED, PACK = Amount(lut=-20, ff=9.1, dsp=0.25), Amount(lut=5)
STORED, ROW = Amount(lut=19.3, ff=16.5), Amount(lut=1500, ff=2900, dsp=2)
COUNTER, WALK, OF_PASS = Amount(lut=18, ff=42), Amount(lut=319, ff=142), Amount(lut=150, ff=150)
DISCRETE_BITS, Y_BITS = 62, 24  # of a head's parameters, of a row of y

Sizes = tuple[float, ...]
Memory = tuple[int, int]  # entries, bits
Shape = Callable[[ArchConfig], Sizes]


@dataclass(frozen=True)
class Group:
    """Blocks that are measured and predicted together.

    Parameters
    ----------
    name : str
    blocks : str
        Pattern of the whole path of a block in the machine.
    sizes : function
        Of the machine, that the cells are a sum over; never negative.
    memories : function
        Those whose entries or bits depend on the machine, as (entries, bits).
    kind : function
        Names the arithmetic, where its width changes all sizes.
    copies : function
        How many of it there are: one, or one for each token.
    more : function
        Cells that further tokens need besides, or whole heads.
    """

    name: str
    blocks: str
    sizes: Shape
    memories: Callable[[ArchConfig], Iterable[Memory]] = lambda arch: ()
    kind: Callable[[ArchConfig], str] = lambda arch: "any"
    copies: Callable[[ArchConfig], int] = lambda arch: 1
    more: Callable[[ArchConfig], Amount] = lambda arch: Amount()

    def counted(self, arch: ArchConfig) -> Amount:
        """Cells of the memories, and of what further tokens need besides."""
        return sum((memory_cells(*memory) for memory in self.memories(arch)), self.more(arch))


def _widths(arch: ArchConfig) -> str:
    return f"{arch.weight_bits} x {arch.multiplier_bits}"


def _codes(arch: ArchConfig) -> str:
    return f"{arch.act_bits} in {arch.multiplier_bits}"


def _aux(arch: ArchConfig) -> list[Memory]:
    words, bits = arch.aux_fifo * WORD_BITS // arch.aux_port_bits, arch.aux_port_bits
    readers, writers = len(aux_readers(arch)), len(aux_writers(arch))
    return [*[(words, bits)] * readers, *[(words - HOLD, bits)] * writers]


def _state(arch: ArchConfig) -> list[Memory]:
    word = arch.state_elements * 8 + arch.state_elements // BLOCK * EXPONENT_BITS
    read, written = STATE_READ_BURSTS * arch.burst_beats, STATE_WRITE_BURSTS * arch.burst_beats
    ports = [(read, arch.state_port_bits), (written - HOLD, arch.state_port_bits)]
    return [(arch.state_fifo - HOLD, word)] * 2 + ports * arch.state_ports


def _activations(arch: ArchConfig) -> list[Memory]:
    codes = arch.codes * CODE_BITS
    return [
        (arch.in_words, arch.products * 8 + codes),
        (arch.out_words, arch.products * arch.act_bits + codes),
    ] * arch.tokens


def _queues(arch: ArchConfig) -> list[Memory]:
    """Of the streams that have one."""
    queues = [stream for stream in MACHINE.between(arch) if stream.queue]
    return [(getattr(arch, q.queue) - HOLD, arch.tokens * MACHINE.bits(q.name)) for q in queues]


def _one(arch: ArchConfig) -> Sizes:
    return (1,)


def _tokens(arch: ArchConfig) -> int:
    return arch.tokens


def _shared(arch: ArchConfig) -> Amount:
    """Cells that later tokens' lanes save, and the effect of packed multipliers."""
    found = SHARED[arch.multiplier_bits].times(-(arch.tokens - 1) * arch.lanes * arch.port_bits)
    return found + PACKED.times(arch.packed * arch.tokens * arch.lanes * arch.products)


def _packed(arch: ArchConfig) -> Amount:
    """Packing of the activations, once for all lanes."""
    return PACK.times(arch.packed * arch.tokens * arch.products / 2)


def _steps(arch: ArchConfig) -> Amount:
    """Of the state-space unit: stores of B and C, what chooses from them, and buffers of heads."""
    if not arch.whole_heads:
        return Amount()
    tokens, rows, word = arch.tokens, arch.word_rows, arch.state_elements
    depth = HEADS * (1 << max(1, (-(-arch.head_rows // rows) - 1).bit_length()))
    memories = [
        (max(2, depth // HEADS * arch.row_words), word * 8 + word // BLOCK * EXPONENT_BITS),
        *[(depth, rows * tokens * RECORD_BITS), (HEADS, tokens * DISCRETE_BITS)] * 2,
        (depth // HEADS * Y_HEADS, tokens * rows * Y_BITS),
    ]  # fmt: skip
    # Of new vectors B and C, of recorded ones B.
    found = STORED.times((1.5 * tokens - rows) * arch.bc_elements) + ROW.times(rows - 1)
    # A LUT for four inputs, for two bits of two; a register behind.
    bits = 8 * arch.bc_elements
    found += Amount(lut=bits * (2 * tokens + tokens) / 4 + 8 * word / 2, ff=2 * bits + 8 * word)
    return sum((memory_cells(*memory) for memory in memories), found)


def _windows(arch: ArchConfig) -> Amount:
    """Of the convolution: inputs of all slots, chosen for all vectors, and those that are kept."""
    bits = 8 * (arch.window + 3 * 3)
    return Amount(lut=3 * bits, ff=3 * bits).times(arch.tokens - 1)


def _of_pass(arch: ArchConfig) -> Amount:
    """Registers with the contents of a pass, and losses by vector."""
    losses = sum(counter.kind == "loss" for counter in MACHINE.counters)
    return COUNTER.times(losses * (arch.tokens - 1)) + OF_PASS.times(arch.tokens - 1)


def _walks(arch: ArchConfig) -> Amount:
    """Of the states of the convolution, and of the record."""
    return WALK.times(arch.tokens - 1 + (arch.undecided > 0))


def _arbitrated(arch: ArchConfig) -> Sizes:
    """Words of the clients, and their bits over all ports that several share."""
    bits = sum(
        port.bits * len(side)
        for port in ports(arch)
        for side in (port.readers, port.writers)
        if len(side) > 1
    )
    clients, fewest = (len(aux_readers(a)) + len(aux_writers(a)) for a in (arch, ArchConfig()))
    share = clients / fewest
    return (share, share * arch.aux_port_bits, bits)


GROUPS = (  # a block belongs to the first that it fits
    Group("lanes", r"units\.lanes\.(lane|pair).*", lambda a: (a.lanes, a.lanes * a.products),
          kind=_widths, copies=_tokens, more=_shared),
    Group("lane control", r"units\.lanes",
          lambda a: (1, a.lanes * a.port_bits, a.tokens * a.lanes * a.acc_bits), kind=_codes,
          more=_packed),
    Group("weight readers", r"memory\.(read|segments|traffic)_lane.*",
          lambda a: (a.lanes, a.lanes * a.port_bits),
          lambda a: [(a.weight_fifo, a.port_bits)] * a.lanes),
    Group("state in memory",
          r"memory\.((read|write|walk)_state\d*|.*packer\d*|state_.*|fork_.*)",
          lambda a: (a.state_ports, a.state_ports * a.state_port_bits, a.state_elements), _state),
    Group("other readers and writers", r"memory\..*", _arbitrated, _aux, more=_walks),
    Group("memory side", r"memory", lambda a: (1, a.lanes)),
    Group("activations", r"units\.activations", lambda a: (1, a.products), _activations, _codes,
          copies=_tokens),
    Group("epilogue", r"units\.epilogue.*", lambda a: (1, a.lanes, a.lanes * a.acc_bits),
          copies=_tokens),
    Group("ssm", r"units\.(ssm|bc).*", lambda a: (1, a.state_elements), more=_steps),
    Group("quantizers", r"units\.quant_.*", _one, kind=_codes, copies=_tokens),
    Group("queues", r"units\..*_queue", _one, _queues),
    Group("residual", r"units\.residual.*", _one, lambda a: [(a.in_channels, 32)] * a.tokens,
          copies=_tokens),
    Group("conv", r"units\.conv", _one, copies=_tokens, more=_windows),
    Group("other units", r"units.*", _one, copies=_tokens),
    Group("sequencer", r"sequencer", _one, lambda a: [(a.program * INSTRUCTION_BITS // 32, 32)]),
    Group("host and counters", r".*", lambda a: (1, a.lanes, len(ports(a))),
          more=_of_pass),
)  # fmt: skip


def group_of(block: str) -> str:
    """Group that a block belongs to, by its path in the machine."""
    return next(group.name for group in GROUPS if re.fullmatch(group.blocks, block))


def resources(arch: ArchConfig) -> dict[str, Amount]:
    """Cells of a machine by group of blocks.

    Raises
    ------
    ValueError
        If no machine of its kind of arithmetic was measured.
    """
    return {group.name: _group(group, arch) for group in GROUPS}


def _group(group: Group, arch: ArchConfig) -> Amount:
    kinds = _measured()[group.name]
    if (kind := group.kind(arch)) not in kinds:
        raise ValueError(
            f"no machine with {group.name} of {kind} bits was synthesized, "
            f"only {', '.join(kinds)}; add one to bench/synth.py"
        )
    sizes = group.sizes(arch)
    fitted = {
        cell: sum(a * b for a, b in zip(factors, sizes, strict=True))
        for cell, factors in kinds[kind].items()
    }
    return Amount(**fitted).times(group.copies(arch)) + group.counted(arch)


@cache
def _measured() -> dict[str, dict[str, dict[str, list[float]]]]:
    """{group: {kind: {cell: factors}}}."""
    text = (files.files("lightmamba.estimate") / FILE).read_text(encoding="utf-8")
    measured: dict[str, dict[str, dict[str, list[float]]]] = json.loads(text)["groups"]
    return measured
