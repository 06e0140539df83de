"""A Mamba2 layer's hardware: units, streams, commands, losses, clients of memory, and cells."""

from lightmamba.arch.amount import Amount, memory_cells
from lightmamba.arch.cells import EXPONENT_BITS, Group, one, tokens
from lightmamba.arch.clients import HEAD, LAYER, RECORD, STATIC, Client
from lightmamba.arch.config import ArchConfig
from lightmamba.arch.contract import BLOCK, BLOCKS_HELD, GATE_WEIGHTS, RECORD_BITS, exponents
from lightmamba.arch.fields import Field
from lightmamba.arch.hardware import (
    Counter,
    Element,
    Hardware,
    Inner,
    Link,
    Register,
    Row,
    Shown,
    Stream,
    Unit,
)
from lightmamba.arch.latency import HEADS, QUEUE, Y_HEADS
from lightmamba.blocks.in_hardware import BLOCKED

__all__ = ["AGAIN", "DRAWN", "GRAPH", "GROUPS", "MADE", "SUMMED"]

S16, S24, WORD = "s16", "s24", "u64"
# In a state-space unit that waits for whole heads, cycles from an issue to the new word, to the
# next step's issue, to y in its buffer but for the adders, and from there to the gate.
MADE, AGAIN, SUMMED, DRAWN = 24, 15, 37, 4
Y_ROOM = 6  # rows of y that wait behind the buffer

RECORDS = {
    "DISCRETE": (
        Field("dt", 16, "time step"),
        Field("shift", 6, "its exponent"),
        Field("decay", 24, "what the state keeps"),
        Field("D", 16, "share of x in y", signed=True),
    ),
    "BLOCKED": BLOCKED,
}
SIZES = {
    "d_inner": "channels of x, z and y",
    "conv_dim": "channels of x, B and C",
    "conv_words": "a word of parameters for each of them, and a header to every eight",
    "bc_channels": "channels of B and C",
    "nheads": "heads",
    "ngroups": "norm groups",
    "group_dim": "channels of a norm group",
    "headdim": "rows of a head's state",
    "state_words": "words of S elements of a layer's state",
    "row_words": "words of S elements of a row",
    "head_words": "words of S elements of a head",
    "record_words": "64-bit words of a layer in the record of a pass",
}


def _records(config: ArchConfig) -> bool:
    """Whether a pass may leave tokens undecided."""
    return config.undecided > 0


def _whole(config: ArchConfig) -> bool:
    return config.whole_heads


def _summed(config: ArchConfig) -> int:
    return SUMMED + _deep(config)


def _deep(config: ArchConfig) -> int:
    """Additions of a row over its blocks and words; of a part of a block fewer, but it waits."""
    within = (config.block_elements.bit_length() - BLOCK.bit_length()) // 2
    return within + config.bc_blocks.bit_length() - 1 + (config.row_words > 1) + _parts(config)


def _parts(config: ArchConfig) -> int:
    """Cycles that a word waits for the exponent of its block, where this has several words."""
    return config.block_words if config.block_words > 1 else 0


def _made(config: ArchConfig) -> int:
    return MADE + _parts(config) + QUEUE


def _again(config: ArchConfig) -> int:
    return AGAIN + _parts(config)


def _head_words(config: ArchConfig) -> int:
    """Words of the state of a head."""
    return config.head_rows * config.row_words // config.word_rows


def _written(config: ArchConfig) -> int:
    """Words of the state in the pipeline and in the queue behind it."""
    return MADE + _parts(config) + 2 + max(3, config.state_fifo)


def _ssm(config: ArchConfig) -> int:
    """Operands of whole heads come from memories, and one vector's are chosen."""
    return 23 + _parts(config) + 2 * config.whole_heads


def _y(config: ArchConfig) -> int:
    """From a row's last word to its y; whole heads of y go through a memory."""
    return 37 + _deep(config) + 5 * config.whole_heads


RMS = Element("mantissa", "u2", observable="rms"), Element("j", "i1", observable="rms_shift")
STATE = (
    Element("q", "i1", observable="ssm.h", counted=lambda c: c.state_elements),
    Element("exp", "u1", observable="ssm.h_exp", counted=lambda c: exponents(c.state_elements)),
)
KIND_SHOWN = Element("kind", "u1")

COMMANDS = {
    "discretize": (
        Field("count", 10, "heads"),
        Field("low", 16, "lower clamp of the input of softplus, Q5.11", signed=True),
        Field("high", 16, "upper clamp", signed=True),
    ),
    "conv": (
        Field("count", 16, "channels (conv_dim)"),
        *(Field(f"silu_{kind}", 7, f"right shift of {kind} to the sigmoid's input", signed=True)
          for kind in ("B", "C", "x")),
    ),
    "blocks": (
        Field("count", 16, "channels (conv_dim)"),
        Field("headdim", 8, "channels of x after which a block ends"),
        Field("d_state", 9, "channels of B or C after which a block ends"),
    ),
    "bc": (
        Field("groups", 4, "groups of B and C"),
        Field("d_state", 9, "channels of one group, before padding to blocks of 32"),
    ),
    "ssm": (
        Field("heads", 10, "heads"),
        Field("per_group", 10, "heads that share B and C"),
        Field("headdim", 8, "rows of a head"),
        Field("words", 7, "words of a row (padded d_state / S)"),
        Field("stride", 9, "elements of a row as the dither counts them"),
        Field("frame", 9, "shift of dt·x·B into the frame, before the dynamic parts", signed=True),
        Field("y", 6, "right shift of state times C to y"),
        Field("D_shift", 9, "right shift of D·x to y, before the dynamic part", signed=True),
        Field("dither", 1, "round with dither, else half up"),
    ),
    "gate": (
        Field("count", 15, "channels (d_inner)"),
        Field("group_dim", 15, "channels of a norm group"),
        Field("silu", 7, "right shift of z to the sigmoid's input", signed=True),
        Field("shift", 7, "right shift of y·silu(z)", signed=True),
        Field("weighted", 7, "right shift of g·weight", signed=True),
    ),
    "rms_out": (
        Field("count", 4, "norm groups"),
        Field("eps", 61, "epsilon in units of the sum"),
    ),
}  # fmt: skip

GRAPH = Hardware(
    units=(
    Unit("discretize", "mamba2.discretize:Discretizer", "dt, and what a head's state keeps",
         steps="nheads", latency=26,
         shows=(Shown("heads", "o", (
             Element("dt", "u2", observable="ssm.dt"),
             Element("shift", "u1", observable="ssm.dt_shift"),
             Element("decay", "u4", observable="ssm.decay"))),)),
    Unit("conv", "mamba2.conv:Conv", "convolution and SiLU of x, B and C", steps="conv_words",
         latency=26,
         shows=(Shown("conv", "o", (KIND_SHOWN, Element("value", "i2", observable="conv.out"))),
                Shown("conv_in", "probe", (Element("value", "i1", observable="conv.state"),))),
         work="convolution", whole=True),
    Unit("blocks", "blocks:Blocks", "an exponent to each block of x, B and C",
         steps="conv_dim", latency=12,
         shows=(Shown("x", "o_x", (Element("q", "i1", observable="ssm.x"),
                                     Element("exp", "u1", observable="ssm.x_exp"))),
                Shown("bc", "o_bc", (KIND_SHOWN, Element("q", "i1", observable="ssm.{kind}"),
                                     Element("exp", "u1", observable="ssm.{kind}_exp"))))),
    Unit("bc", "mamba2.bc:BCStore", "B and C of a layer, read by the SSM", steps="bc_channels"),
    Unit("ssm", "mamba2.ssm:Ssm", "updates the state, and multiplies it by C", steps="state_words",
         latency=_ssm,
         shows=(Shown("updates", "probe_h", STATE, shared=True),
                Shown("y", "o_y", (Element("value", "i4", observable="ssm.y"),))),
         work="state-space unit", whole=True),
    Unit("gate", "mamba2.gate:Gate", "y·silu(z), weighted, and the sum of its squares",
         steps="d_inner", latency=23,
         shows=(Shown("gate", "probe", (
             Element("g", "i4", observable="gate.g"),
             Element("weighted", "i4", observable="gate.weighted"))),),
         work="gate"),
    Unit("rms_out", "rms:RmsUnit", "1/rms of each norm group", steps="ngroups", latency=15,
         shows=(Shown("rms_out", "o", RMS),)),
    ),
    streams=(
    Stream("dt", "epilogue.o_dt", "discretize.i", S16, "row", "nheads", latency=0, room=1),
    Stream("heads", "discretize.o", "ssm.i_head", "DISCRETE", "head", "nheads", queue="heads"),
    Stream("conv", "epilogue.o_conv", "conv.i", "ROW", "row", "conv_dim", latency=0, room=1),
    Stream("convolved", "conv.o", "blocks.i", "ROW", "channel", "conv_dim"),
    Stream("bc", "blocks.o_bc", "bc.i", "BLOCKED", "channel of B or C", "bc_channels",
           room=BLOCKS_HELD + 9),
    Stream("b", "blocks.o_bc", "ssm.i_b", "BLOCKED", "channel of B, recorded", "bc_channels",
           room=BLOCKS_HELD + 9, there=_records),
    Stream("bc_ready", "bc.o_ready", "ssm.i_bc", "u1", "all of them are stored", "one", room=1,
           shared=True),
    Stream("x", "blocks.o_x", "ssm.i_x", "BLOCKED", "channel of x", "d_inner", queue="x_queue",
           room=BLOCKS_HELD + 9),
    Stream("y", "ssm.o_y", "gate.i_y", S24, "channel", "d_inner", latency=_y),
    Stream("z", "epilogue.o_z", "gate.i_z", S16, "row", "d_inner", queue="z_queue", latency=0,
           room=0),
    Stream("gated", "gate.o", "hadamard.i", S24, "channel", "d_inner"),
    Stream("sum_out", "gate.o_sum", "rms_out.i", "u61", "sum of squares", "d_inner", "group_dim",
           latency=22),
    Stream("rms_out", "rms_out.o", "epilogue.i_rms_out", "RMS", "1/rms", "ngroups"),
        # Between units and memory.
    Stream("conv_params", "memory.conv_params", "conv.i_param", WORD, "channel, or a header",
           "conv_words", shared=True),
    Stream("head_params", "memory.head_params", "discretize.i_param", WORD, "head", "nheads",
           shared=True),
    Stream("gate_params", "memory.gate_params", "gate.i_weight", WORD, "four weights", "d_inner",
           GATE_WEIGHTS, shared=True),
    Stream("conv_read", "memory.conv_state", "conv.i_state0", WORD, "two channels", "conv_dim", 2,
           shared=True),
    Stream("conv_written", "conv.o_state0", "memory.conv_state", WORD, "two channels", "conv_dim",
           2, latency=10, shared=True),
    Stream("state_ahead", "memory.state", "ssm.i_state", "STATE", "word of S", "state_words",
           queue="state_fifo", latency=1, room=0, shared=True),
    Stream("state_behind", "ssm.o_state", "memory.state", "STATE", "word of S", "state_words",
           queue="state_fifo", shared=True),
    Stream("replayed", "memory.record", "ssm.i_record", WORD, "x, B, dt or decay", "record_words",
           shared=True, there=_records),
    Stream("recorded", "ssm.o_record", "memory.record", WORD, "x, B, dt or decay", "record_words",
           latency=3, room=6, shared=True, there=_records),
    ),
    wires=(("ssm.address", "bc.address"), ("bc.B", "ssm.B"), ("bc.C", "ssm.C")),
    inside=(
        Inner("ssm_rows", "ssm", "gathers the operands of a head", there=_whole),
        Inner("ssm_record", "ssm", "reads those of recorded tokens", there=_records),
        Inner("ssm", "ssm", "updates the state, a word per cycle", hold=1),
        Inner("ssm_out", "ssm", "hands y on", there=_whole),
    ),
    links=(
        Link("gathered", "head of operands", latency=0, room=HEADS, there=_whole),
        Link("again_whole", "head of the record", latency=0, room=HEADS, there=_records),
        Link("again", "word that the next step of a head takes", latency=_again,
             room=lambda c: _head_words(c) + 1, there=_whole),
        Link("ended", "layer whose steps are done", latency=1, room=2, there=_records, first=1),
        Link("done", "head of y", latency=_summed, room=Y_HEADS, there=_whole),
        Link("y", "row of y", latency=DRAWN, room=Y_ROOM, there=_whole),
        Link("state_behind", "word of S", latency=_made, room=_written, there=_whole),
        Link("b", "channel of B, recorded", latency=1, room=1, there=_records),
    ),
    counters=(
    Counter("ssm_busy", "unit", ("ssm.working",)),
    Counter("ssm_waiting", "unit", ("ssm.waiting",)),
    Counter("conv.input", "loss", ("conv.lost_input",)),
    Counter("conv", "loss", ("conv.lost",)),
    Counter("dt", "loss", ("discretize.lost",)),
    Counter("ssm.h", "loss", ("ssm.lost_h",)),
    Counter("ssm.y", "loss", ("ssm.lost_y",)),
    Counter("gate", "loss", ("gate.lost",)),
    ),
    records=RECORDS,
    apart=("STATE",),
    sizes=SIZES,
    commands=COMMANDS,
    rows=(
        Row("dt", "dt", "rows of dt, B, C"),
        Row("B", "conv", "rows of dt, B, C"),
        Row("C", "conv", "rows of dt, B, C"),
        Row("x", "conv", "rows of x"),
        Row("z", "z", "rows of z"),
    ),
    turns=(("x", "z"),),
    clients=(
        Client("conv_params", STATIC, "taps, bias and shifts of the convolution"),
        Client("head_params", STATIC, "A, D and the bias of dt"),
        Client("gate_params", STATIC, "weights of the gated norm"),
        Client("state", HEAD, "state of the SSM"),
        Client("conv_state", LAYER, "last inputs of the convolution"),
        Client("record", RECORD, "x, B, dt and decay of undecided tokens",
               there=_records),
    ),
    registers=(
        Register("b_channels", "rw", "channels of B", counted=_records, to="ssm.b_channels"),
        Register("d_state", "rw", "channels of a group of B", counted=_records, to="ssm.d_state"),
    ),
)  # fmt: skip

# Of blocks of u280, synthesized: an element of B and C in its store, what a word of the state needs
# for each of its rows.
STORED, ROW = Amount(lut=19.3, ff=16.5), Amount(lut=1500, ff=2900, dsp=2)
DISCRETE_BITS, Y_BITS = 62, 24  # of a head's parameters, of a row of y


def _steps(arch: ArchConfig) -> Amount:
    """State-space unit: stores of B and C, their selectors, and buffers of heads."""
    if not arch.whole_heads:
        return Amount()
    tokens, rows, word = arch.tokens, arch.word_rows, arch.state_elements
    depth = HEADS * (1 << max(1, (-(-arch.head_rows // rows) - 1).bit_length()))
    memories = [
        (max(2, depth // HEADS * arch.row_words), word * 8 + exponents(word) * EXPONENT_BITS),
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
    """Convolution: inputs of all slots, their selectors for all vectors, and kept inputs."""
    bits = 8 * (arch.window + 3 * 3)
    return Amount(lut=3 * bits, ff=3 * bits).times(arch.tokens - 1)


GROUPS = (
    Group("ssm", r"units\.(ssm|bc).*", lambda a: (1, a.state_elements), more=_steps, part="state"),
    Group("conv", r"units\.conv", one, copies=tokens, more=_windows),
)
