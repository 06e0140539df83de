"""The machine: its units, the streams between them, its counters. Everything else follows.

Read it from top to bottom as a token passes; docs/howto/add-a-block.md adds a unit to it.
"""

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.contract import BLOCK, GATE_WEIGHTS
from lightmamba.arch.fields import Field
from lightmamba.arch.graph import Counter, Element, Graph, Shown, Stream, Unit

__all__ = ["BLOCKS_HELD", "EPILOGUE_ROWS", "MACHINE", "PARTS"]

EPILOGUE_ROWS = 2  # that it finishes in a cycle, where there are as many lanes
PARTS = 4  # sums of a slot's part between lanes and epilogue
BLOCKS_HELD = 2 * BLOCK  # elements that a unit holds until it knows the exponents of two blocks
S16, S24, S32, WORD = "s16", "s24", "s32", "u64"

RECORDS = {
    "CODED": (Field("q", 8, "activation", signed=True), Field("code", 6, "scale of its block")),
    "RMS": (
        Field("mantissa", 16, "m of the value m·2^(-23-j)"),
        Field("j", 6, "its exponent", signed=True),
    ),
    "ROW": (Field("kind", 3, "of in_proj's rows"), Field("value", 16, "its value", signed=True)),
    "DISCRETE": (
        Field("dt", 16, "time step"),
        Field("shift", 6, "its exponent"),
        Field("decay", 24, "what the state keeps"),
        Field("D", 16, "share of x in y", signed=True),
    ),
    "LOGITS": (
        Field("first", 32, "logit", signed=True),
        Field("second", 32, "that of the next id", signed=True),
        Field("both", 1, "there is a second one"),
    ),
    "BLOCKED": (
        Field("kind", 3, "x, B or C"),
        Field("q", 8, "its value", signed=True),
        Field("exp", 4, "exponent of its block"),
    ),
}


def _lanes(config: ArchConfig) -> int:
    """Trees of adders are deeper where a beat is wider, and slower where products are packed."""
    products = (min(BLOCK, config.products) - 1).bit_length()
    code = 7 if config.packed else 2 + -(-products // 2)
    return code + 4 + (config.codes - 1).bit_length() + config.head_twice + 4 + 5


def _epilogue(config: ArchConfig) -> int:
    return 15 + (config.lanes > 16)


def _ssm(config: ArchConfig) -> int:
    """Operands of whole heads come from memories, and one vector's are chosen."""
    return 23 + 2 * config.whole_heads


def _y(config: ArchConfig) -> int:
    """From a row's last word to its y; whole heads of y go through a memory."""
    deep = (config.bc_elements // BLOCK).bit_length() - 1 + (config.row_words > 1)
    return 37 + deep + 5 * config.whole_heads


def _rows(config: ArchConfig) -> int:
    return min(EPILOGUE_ROWS, config.lanes)


RMS = Element("mantissa", "u2", observable="rms"), Element("j", "i1", observable="rms_shift")
CODED = Element("q", "i1", observable="q"), Element("code", "u1", observable="code")
STATE = (
    Element("q", "i1", observable="ssm.h", counted=lambda c: c.state_elements),
    Element("exp", "u1", observable="ssm.h_exp", counted=lambda c: c.state_elements // BLOCK),
)
KIND = Element("kind", "u1")
FINISHED = KIND, Element("value", "i8", observable="rows")

UNITS = (
    Unit("embed", "embed:Embedder", "a row of the table to the residual's unit",
         steps="in_channels", latency=9),
    Unit("residual", "residual:Residual", "the stream, and its sum of squares",
         steps="d_model", latency=6,
         shows=(Shown("residual", "probe", (Element("value", "i4", observable="residual"),)),)),
    Unit("rms_in", "rms:RmsUnit", "1/rms of the stream", steps="one", latency=15,
         shows=(Shown("rms_in", "o", RMS),)),
    Unit("quant_in", "quantizer:Quantizer", "the stream in blocks of 32, for in_proj and LM head",
         steps="in_channels", latency=21, shows=(Shown("quant_in", "o", CODED),),
         work="quantizer of in_proj"),
    Unit("lanes", "lanes:Lanes", "weights times activations, one row to a lane",
         steps="lane_rows", latency=_lanes, whole=True),
    Unit("epilogue", "epilogue:Epilogue", "finishes rows, and hands them to their units",
         steps="in_rows", latency=_epilogue,
         shows=(Shown("rows_first", "rows_first", FINISHED),
                Shown("rows_second", "rows_second", FINISHED))),
    Unit("discretize", "discretize:Discretizer", "dt, and what a head's state keeps",
         steps="nheads", latency=26,
         shows=(Shown("heads", "o", (
             Element("dt", "u2", observable="ssm.dt"),
             Element("shift", "u1", observable="ssm.dt_shift"),
             Element("decay", "u4", observable="ssm.decay"))),)),
    Unit("conv", "conv:Conv", "convolution and SiLU of x, B and C", steps="conv_words",
         latency=26,
         shows=(Shown("conv", "o", (KIND, Element("value", "i2", observable="conv.out"))),
                Shown("conv_in", "probe", (Element("value", "i1", observable="conv.state"),))),
         work="convolution", whole=True),
    Unit("blocks", "blocks:Blocks", "an exponent to each block of x, B and C",
         steps="conv_dim", latency=12,
         shows=(Shown("x", "o_x", (Element("q", "i1", observable="ssm.x"),
                                     Element("exp", "u1", observable="ssm.x_exp"))),
                Shown("bc", "o_bc", (KIND, Element("q", "i1", observable="ssm.{kind}"),
                                     Element("exp", "u1", observable="ssm.{kind}_exp"))))),
    Unit("bc", "bc:BCStore", "B and C of a layer, read by the SSM", steps="bc_channels"),
    Unit("ssm", "ssm:Ssm", "updates the state, and multiplies it by C", steps="state_words",
         latency=_ssm,
         shows=(Shown("updates", "probe_h", STATE, shared=True),
                Shown("y", "o_y", (Element("value", "i4", observable="ssm.y"),))),
         work="state-space unit", whole=True),
    Unit("gate", "gate:Gate", "y·silu(z), weighted, and the sum of its squares",
         steps="d_inner", latency=23,
         shows=(Shown("gate", "probe", (
             Element("g", "i4", observable="gate.g"),
             Element("weighted", "i4", observable="gate.weighted"))),),
         work="gate"),
    Unit("rms_out", "rms:RmsUnit", "1/rms of each norm group", steps="ngroups", latency=15,
         shows=(Shown("rms_out", "o", RMS),)),
    Unit("hadamard", "hadamard:HadamardUnit", "transform of the gate's output",
         steps="out_channels", latency=14,
         shows=(Shown("hadamard", "o", (Element("value", "i4", observable="hadamard.out"),)),),
         work="Hadamard"),
    Unit("quant_out", "quantizer:Quantizer", "the gate's output in blocks of 32, for out_proj",
         steps="out_channels", latency=21, shows=(Shown("quant_out", "o", CODED),),
         work="quantizer of out_proj"),
    Unit("activations", "activations:ActivationBuffer", "the inputs of the lanes, read by them",
         steps="in_channels", latency=2),
    Unit("head", "head:Head", "logits to memory, and the largest of them", steps="vocab_size",
         latency=3),
)  # fmt: skip

STREAMS = (
    Stream("embedded", "embed.o", "residual.i_embed", S32, "channel", "d_model"),
    Stream("residual", "residual.o", "quant_in.i", S32, "channel", "d_model"),
    Stream("sum_in", "residual.o_sum", "rms_in.i", "u61", "sum of squares", "d_model", "d_model",
           latency=12, room=4),
    Stream("quant_in", "quant_in.o", "activations.i_in", "CODED", "activation", "in_channels",
           room=BLOCKS_HELD + 11),
    Stream("parts", "lanes.o", "epilogue.i", "SUMS", "sums of all lanes", "lane_rows",
           room=PARTS),
    Stream("rms_in", "rms_in.o", "epilogue.i_rms_in", "RMS", "1/rms", "one"),
    Stream("dt", "epilogue.o_dt", "discretize.i", S16, "row", "nheads", latency=0, room=1),
    Stream("heads", "discretize.o", "ssm.i_head", "DISCRETE", "head", "nheads", queue="heads"),
    Stream("conv", "epilogue.o_conv", "conv.i", "ROW", "row", "conv_dim", latency=0, room=1),
    Stream("convolved", "conv.o", "blocks.i", "ROW", "channel", "conv_dim"),
    Stream("bc", "blocks.o_bc", "bc.i", "BLOCKED", "channel of B or C", "bc_channels",
           room=BLOCKS_HELD + 9),
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
    Stream("mixed", "hadamard.o", "quant_out.i", S32, "channel", "out_channels"),
    Stream("rms_out", "rms_out.o", "epilogue.i_rms_out", "RMS", "1/rms", "ngroups"),
    Stream("quant_out", "quant_out.o", "activations.i_out", "CODED", "activation", "out_channels",
           room=BLOCKS_HELD + 11),
    Stream("out", "epilogue.o_out", "residual.i_row", "s36", "row", "d_model", latency=0, room=1),
    Stream("logit", "epilogue.o_logit", "head.i", "LOGITS", "one or two", "vocab_size", latency=0,
           room=_rows),
    # Between units and memory: rtl/memory_side.py wires them.
    Stream("weights", "memory.lane", "lanes.i_beat", "BEAT", "beat of a lane", "lane_rows",
           shared=True),
    Stream("embedding", "memory.embedding", "embed.i_word", WORD, "eight channels, or a scale",
           "embedding_words"),
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
    Stream("logits", "head.o_word", "memory.logits", WORD, "two logits", "vocab_size", 2),
)  # fmt: skip

# The first six: what every cycle of a token went to, in this priority. Losses have the engine's
# names (docs/reference/observables.md); `clipped` is intended, the others are not.
COUNTERS = (
    *(Counter(name, "cycle", (f"lanes.{name}",))
      for name in ("multiplying", "scale", "wait_activation", "wait_memory", "wait_epilogue")),
    Counter("idle", "cycle"),
    Counter("ssm_busy", "ssm"),
    Counter("ssm_waiting", "ssm", ("ssm.waiting",)),
    Counter("embedding", "loss", ("embed.lost",)),
    Counter("in_proj", "loss", ("epilogue.lost_in",)),
    Counter("conv.input", "loss", ("conv.lost_input",)),
    Counter("conv", "loss", ("conv.lost",)),
    Counter("dt", "loss", ("discretize.lost",)),
    Counter("ssm.h", "loss", ("ssm.lost_h",)),
    Counter("ssm.y", "loss", ("ssm.lost_y",)),
    Counter("gate", "loss", ("gate.lost",)),
    Counter("hadamard", "loss", ("hadamard.lost",)),
    Counter("out_proj", "loss", ("epilogue.lost_out",)),
    Counter("residual", "loss", ("residual.lost",)),
    Counter("head", "loss", ("epilogue.lost_head",)),
    Counter("in_proj.scale", "loss"),
    Counter("out_proj.scale", "loss", ("quant_out.lost_scale",)),
    Counter("head.scale", "loss"),
    Counter("clipped", "loss", ("quant_in.clipped", "quant_out.clipped")),
)  # fmt: skip

MACHINE = Graph(UNITS, STREAMS, COUNTERS, RECORDS, apart=("SUMS", "BEAT", "STATE"))
