"""The area model: cells of any configuration, from blocks that were synthesized.

``resources.json`` holds, for each group of blocks and kind of arithmetic, how many cells a group
takes as a sum over a few sizes of the configuration; ``python -m bench.synth`` measures and fits
it. Memories whose size is a parameter are not fitted but counted, as synthesis counts them.
"""

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from importlib import resources as files

from lightmamba.arch.amount import Amount
from lightmamba.arch.config import ArchConfig
from lightmamba.arch.contract import BLOCK, WORD_BITS
from lightmamba.arch.latency import STATE_READ_BURSTS, STATE_WRITE_BURSTS
from lightmamba.arch.machine import MACHINE
from lightmamba.arch.memories import memory_cells
from lightmamba.arch.ports import ports
from lightmamba.arch.program import INSTRUCTION_BITS

__all__ = ["FILE", "GROUPS", "Group", "group_of", "resources"]

FILE = "resources.json"  # beside this module
CELLS = ("lut", "ff", "dsp", "bram18", "uram")
CODE_BITS, EXPONENT_BITS = 6, 5  # of an activation's scale, of a block of state
HOLD = 1  # entries of a buffered queue that are its output register

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
    """

    name: str
    blocks: str
    sizes: Shape
    memories: Callable[[ArchConfig], Iterable[Memory]] = lambda arch: ()
    kind: Callable[[ArchConfig], str] = lambda arch: "any"

    def counted(self, arch: ArchConfig) -> Amount:
        """Cells of the memories."""
        return sum((memory_cells(*memory) for memory in self.memories(arch)), Amount())


def _widths(arch: ArchConfig) -> str:
    return f"{arch.weight_bits} x {arch.multiplier_bits}"


def _codes(arch: ArchConfig) -> str:
    return f"{arch.act_bits} in {arch.multiplier_bits}"


def _aux(arch: ArchConfig) -> list[Memory]:
    words = arch.aux_fifo * WORD_BITS // arch.aux_port_bits
    return [*[(words, arch.aux_port_bits)] * 5, *[(words - HOLD, arch.aux_port_bits)] * 2]


def _state(arch: ArchConfig) -> list[Memory]:
    word = arch.state_elements * 8 + arch.state_elements // BLOCK * EXPONENT_BITS
    read, written = STATE_READ_BURSTS * arch.burst_beats, STATE_WRITE_BURSTS * arch.burst_beats
    bits = arch.state_port_bits
    return [(arch.state_fifo - HOLD, word)] * 2 + [(read, bits), (written - HOLD, bits)]


def _activations(arch: ArchConfig) -> list[Memory]:
    codes = arch.codes * CODE_BITS
    return [
        (arch.in_words, arch.products * 8 + codes),
        (arch.out_words, arch.products * arch.act_bits + codes),
    ]


def _queues(arch: ArchConfig) -> list[Memory]:
    """Of the streams that have one."""
    queues = [stream for stream in MACHINE.between() if stream.queue]
    return [(getattr(arch, q.queue) - HOLD, MACHINE.bits(q.name)) for q in queues]


def _one(arch: ArchConfig) -> Sizes:
    return (1,)


def _arbitrated(arch: ArchConfig) -> Sizes:
    """Words of the clients, and their bits over all ports that several share."""
    bits = sum(
        port.bits * len(side)
        for port in ports(arch)
        for side in (port.readers, port.writers)
        if len(side) > 1
    )
    return (1, arch.aux_port_bits, bits)


GROUPS = (  # a block belongs to the first that it fits
    Group("lanes", r"units\.lanes\.lane.*", lambda a: (a.lanes, a.lanes * a.products),
          kind=_widths),
    Group("lane control", r"units\.lanes",
          lambda a: (1, a.lanes * a.port_bits, a.lanes * a.acc_bits), kind=_codes),
    Group("weight readers", r"memory\.(read|segments|traffic)_lane.*",
          lambda a: (a.lanes, a.lanes * a.port_bits),
          lambda a: [(a.weight_fifo, a.port_bits)] * a.lanes),
    Group("state in memory",
          r"memory\.(read_state|write_state|.*packer|state_.*|walk_state|fork_.*)",
          lambda a: (1, a.state_port_bits, a.state_elements), _state),
    Group("other readers and writers", r"memory\..*", _arbitrated, _aux),
    Group("memory side", r"memory", lambda a: (1, a.lanes)),
    Group("activations", r"units\.activations", lambda a: (1, a.products), _activations, _codes),
    Group("epilogue", r"units\.epilogue.*", lambda a: (1, a.lanes, a.lanes * a.acc_bits)),
    Group("ssm", r"units\.(ssm|bc).*", lambda a: (1, a.state_elements)),
    Group("quantizers", r"units\.quant_.*", _one, kind=_codes),
    Group("queues", r"units\..*_queue", _one, _queues),
    Group("residual", r"units\.residual", _one, lambda a: [(a.in_channels, 32)]),
    Group("conv", r"units\.conv", _one),
    Group("other units", r"units.*", _one),
    Group("sequencer", r"sequencer", _one, lambda a: [(a.program * INSTRUCTION_BITS // 32, 32)]),
    Group("host and counters", r".*", lambda a: (1, a.lanes, len(ports(a)))),
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
    return Amount(**fitted) + group.counted(arch)


@cache
def _measured() -> dict[str, dict[str, dict[str, list[float]]]]:
    """{group: {kind: {cell: factors}}}."""
    text = (files.files("lightmamba.estimate") / FILE).read_text(encoding="utf-8")
    measured: dict[str, dict[str, dict[str, list[float]]]] = json.loads(text)["groups"]
    return measured
