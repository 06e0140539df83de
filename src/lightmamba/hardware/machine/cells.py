"""Cells of the spine's units and of the memory side, for the area model."""

from dataclasses import replace

from lightmamba.arch.amount import Amount
from lightmamba.arch.cells import EXPONENT_BITS, Group, Memory, Sizes, one, tokens
from lightmamba.arch.config import ArchConfig
from lightmamba.arch.contract import WORD_BITS, exponents
from lightmamba.arch.latency import STATE_READ_BURSTS, STATE_WRITE_BURSTS
from lightmamba.hardware.machine.counters import counters, losses
from lightmamba.hardware.machine.kinds import machine
from lightmamba.hardware.machine.ports import aux_readers, aux_writers, ports
from lightmamba.hardware.machine.program import instructions
from lightmamba.hardware.machine.spine import rows_per_cycle

__all__ = ["BACK", "FRONT"]

CODE_BITS = 6  # of an activation's scale
HOLD = 1  # entries of a buffered queue that are its output register
# Cells of several tokens. Of a lane, per bit of its port: what tokens share (lanes of 32 and of 64
# products of up to four tokens, synthesized alone). Of blocks of u280, synthesized: a counter, a
# walk. Counted: registers of the host for a token.
SHARED = {4: Amount(ff=2.1), 8: Amount(lut=0.4, ff=2.1)}
# What packed multipliers take more, per product of a token; packing an activation of two tokens.
# Synthesized with and without: lanes of 32 and of 128 products of four tokens (20.5 and 20.0 LUTs
# less, 9.1 FFs more in both), of 32 products of two tokens (19.6 less, 10.2 more). As yosys counts
# FFs, those of the multipliers are among them, 14 of 33; a vendor's tool takes them into the DSP.
PACKED, PACK = Amount(lut=-20, ff=9.1, dsp=0.25), Amount(lut=5)
# What projections of 8 bits among others take more (lanes and buffers of 8 products, synthesized
# with and without them): a bit of a lane's sums; a lane's shift of halves of weights, which is
# there already where the LM head's activations come in halves; an activation that waits for
# out_proj in 8 bits and is read in halves.
SUM_BIT, HALVES, KEPT = Amount(lut=5, ff=5.5), Amount(lut=59, ff=36), Amount(ff=4)
COUNTER, WALK, OF_PASS = Amount(lut=18, ff=42), Amount(lut=319, ff=142), Amount(lut=150, ff=150)
# A counter with what finds its event and picks its value: the mean of 72 (two machines, synthesized
# with their counters and without).
LEFT_OUT = Amount(lut=-27, ff=-52)


def _widths(arch: ArchConfig) -> str:
    return f"{arch.weight_bits} x {arch.multiplier_bits}"


def _codes(arch: ArchConfig) -> str:
    return f"{arch.act_bits} in {arch.multiplier_bits}"


def _widest_codes(arch: ArchConfig) -> str:
    """Activations of the widest projection, where the multipliers take them whole."""
    return f"{min(arch.out_bits, arch.multiplier_bits)} in {arch.multiplier_bits}"


def _aux(arch: ArchConfig) -> list[Memory]:
    words, bits = arch.aux_fifo * WORD_BITS // arch.aux_port_bits, arch.aux_port_bits
    readers, writers = len(aux_readers(arch)), len(aux_writers(arch))
    return [*[(words, bits)] * readers, *[(words - HOLD, bits)] * writers]


def _state(arch: ArchConfig) -> list[Memory]:
    word = arch.state_elements * 8 + exponents(arch.state_elements) * EXPONENT_BITS
    read, written = STATE_READ_BURSTS * arch.burst_beats, STATE_WRITE_BURSTS * arch.burst_beats
    ports = [(read, arch.state_port_bits), (written - HOLD, arch.state_port_bits)]
    return [(arch.state_fifo - HOLD, word)] * 2 + ports * arch.state_ports


def _activations(arch: ArchConfig) -> list[Memory]:
    codes = arch.codes * CODE_BITS
    return [
        (arch.in_words, arch.products * 8 + codes),
        (arch.out_words, arch.products * arch.out_bits + codes),
    ] * arch.tokens


def _stream(arch: ArchConfig) -> list[Memory]:
    """The residual stream, as many channels to a word as come in a cycle."""
    width = rows_per_cycle(arch)
    return [(-(-arch.in_channels // width), 32 * width)] * arch.tokens


def _queues(arch: ArchConfig) -> list[Memory]:
    """Queues of the streams that have one, as (entries, bits)."""
    graph = machine(arch.kinds)
    queues = [stream for stream in graph.between(arch) if stream.queue]
    return [(getattr(arch, q.queue) - HOLD, arch.tokens * graph.bits(q.name)) for q in queues]


def _shared(arch: ArchConfig) -> Amount:
    """Cells that later tokens' lanes save, and the effect of packed multipliers."""
    found = SHARED[arch.multiplier_bits].times(-(arch.tokens - 1) * arch.lanes * arch.port_bits)
    return found + PACKED.times(arch.packed * arch.tokens * arch.lanes * arch.products)


def _lanes(arch: ArchConfig) -> Amount:
    """Cells that are not the same for each token and product of a lane."""
    alike = replace(arch, wide_weight_bits=arch.weight_bits, wide_act_bits=arch.act_bits)
    each = SUM_BIT.times(arch.acc_bits - alike.acc_bits)
    each += HALVES.times(arch.split and not arch.head_twice)
    return _shared(arch) + each.times(arch.lanes * arch.tokens)


def _kept(arch: ArchConfig) -> Amount:
    """Activations of out_proj that are wider than the multipliers."""
    halves = arch.out_bits > max(arch.act_bits, arch.multiplier_bits)
    return KEPT.times(halves * arch.products * arch.tokens)


def _packed(arch: ArchConfig) -> Amount:
    """Packing of the activations, once for all lanes."""
    return PACK.times(arch.packed * arch.tokens * arch.products / 2)


def _of_pass(arch: ArchConfig) -> Amount:
    """Registers with the contents of a pass, losses by vector; less all counters, if left out."""
    of_pass = OF_PASS.times(arch.tokens - 1)
    if not arch.counters:
        return of_pass + LEFT_OUT.times(len(counters(replace(arch, tokens=1, counters=True))))
    return of_pass + COUNTER.times(len(losses(arch.kinds)) * (arch.tokens - 1))


def _walks(arch: ArchConfig) -> Amount:
    """Address generators of per-layer slot state, and of the record of undecided tokens."""
    return WALK.times(arch.tokens - 1 + (arch.undecided > 0))


def _arbitrated(arch: ArchConfig) -> Sizes:
    """Words of the clients, and their bits over all ports that several share, but for lanes'."""
    bits = sum(
        port.bits * len(side)
        for port in ports(arch)
        for side in (port.readers, port.writers)
        if len(side) > 1 and not port.name.startswith("lane")
    )
    clients, fewest = (len(aux_readers(a)) + len(aux_writers(a)) for a in (arch, ArchConfig()))
    share = clients / fewest
    return (share, share * arch.aux_port_bits, bits)


FRONT = (
    Group("lanes", r"units\.lanes\.(lane|pair).*", lambda a: (a.lanes, a.lanes * a.products),
          kind=_widths, copies=tokens, more=_lanes, part="products"),
    Group("lane control", r"units\.lanes",
          lambda a: (1, a.lanes * a.port_bits, a.tokens * a.lanes * a.acc_bits),
          kind=_widest_codes, more=_packed),
    Group("weight readers", r"memory\.(read|segments|watch)_lane.*",
          lambda a: (a.lanes, a.lanes * a.port_bits),
          lambda a: [(a.weight_fifo, a.port_bits)] * a.lanes),
    Group("state in memory",
          r"memory\.((read|write|walk)_state\d*|.*packer\d*|state_.*|fork_.*)",
          lambda a: (a.state_ports, a.state_ports * a.state_port_bits, a.state_elements), _state),
    Group("activations", r"units\.activations", lambda a: (1, a.products), _activations,
          _widest_codes, copies=tokens, more=_kept),
    Group("epilogue", r"units\.epilogue.*", lambda a: (1, a.lanes, a.lanes * a.acc_bits),
          copies=tokens),
)  # fmt: skip
BACK = (
    Group("other readers and writers", r"memory\..*", _arbitrated, _aux, more=_walks),
    Group("memory side", r"memory", lambda a: (1, a.lanes)),
    Group("quantizers", r"units\.quant_.*", one, kind=_codes, copies=tokens),
    Group("queues", r"units\..*_queue", one, _queues),
    Group("residual", r"units\.residual.*", lambda a: (1, rows_per_cycle(a)), _stream,
          copies=tokens),
    Group("other units", r"units.*", one, copies=tokens),
    Group("sequencer", r"sequencer", one,
          lambda a: [(a.program * instructions(a.kinds, wide=a.wide).bits // 32, 32)]),
    Group("host and counters", r".*", lambda a: (1, a.lanes, len(ports(a))),
          more=_of_pass),
)  # fmt: skip
