"""The spine: units, streams, commands and counters that the machine of every model has.

Read it from top to bottom as a token passes. What a layer does between its projections is the
hardware of its kind (``blocks/KIND/hardware.py``), which comes between ``FRONT`` and ``BACK``.
"""

from dataclasses import replace

from lightmamba.arch.clients import LOGITS, TABLE, WEIGHTS, Client
from lightmamba.arch.config import ArchConfig
from lightmamba.arch.contract import BLOCK, BLOCKS_HELD
from lightmamba.arch.fields import KIND, Field
from lightmamba.arch.hardware import Counter, Element, Hardware, Inner, Link, Shown, Stream, Unit

__all__ = [
    "BACK", "FRONT", "PARTS", "ROWS", "SECTIONS", "STORED", "residual_sum", "rows_per_cycle",
]  # fmt: skip

EPILOGUE_ROWS = 2  # that it finishes in a cycle, at most
PARTS = 4  # in flight or waiting for the epilogue: full rate for parts of 6 beats or more
SECTIONS = ("first", "second", "third", "fourth", "fifth", "sixth")  # of the rows of a projection
ROWS = 5  # kinds of rows that the in_proj of a layer may have
STORED = 2  # cycles from an activation to its word, which lies in the buffer
WORDS = STORED + 2  # to the beat that meets it
S32, WORD = "s32", "u64"

RECORDS = {
    "CODED": (Field("q", 8, "activation", signed=True), Field("code", 6, "scale of its block")),
    "RMS": (
        Field("mantissa", 16, "m of the value m·2^(-23-j)"),
        Field("j", 6, "its exponent", signed=True),
    ),
    "ROW": (Field("kind", KIND, "of in_proj's rows"), Field("value", 16, "its value", signed=True)),
    "OUT_ROWS": (
        Field("first", 36, "row of out_proj", signed=True),
        Field("second", 36, "the next one", signed=True),
        Field("both", 1, "there is a second one"),
    ),
    "LOGITS": (
        Field("first", 32, "logit", signed=True),
        Field("second", 32, "that of the next id", signed=True),
        Field("both", 1, "there is a second one"),
    ),
}
SIZES = {
    "d_model": "channels of the residual stream",
    "in_channels": "d_model, padded to whole groups of 128",
    "out_channels": "channels of out_proj, every norm group padded to whole groups of 128",
    "embedding_words": "a word for eight of in_channels, and one of a scale for 128",
    "vocab_size": "logits",
    "in_rows": "rows of in_proj",
    "lane_rows": "rows of a lane",
    "one": "1",
}


def _lanes(config: ArchConfig) -> int:
    """Trees of adders are deeper where a beat is wider, and slower where products are packed."""
    products = (min(BLOCK, config.products) - 1).bit_length()
    code = 7 if config.packed else 2 + -(-products // 2)
    kept = 3 if config.added_channels else 0
    return code + 4 + (config.codes - 1).bit_length() + (config.halves > 0) + 4 + 5 + kept


def _issued(config: ArchConfig) -> int:
    """Latency counted from the cycle in which the last beat of a part is accepted."""
    return _lanes(config) - 1


def _epilogue(config: ArchConfig) -> int:
    return 15 + (config.lanes > 16)


def _finished(config: ArchConfig) -> int:
    """Rows that wait at the epilogue's end."""
    return _epilogue(config) + 2


def rows_per_cycle(config: ArchConfig) -> int:
    """Rows that the epilogue finishes in a cycle, and channels that the residual stream takes.

    More than one where the lanes make one every other cycle, of the shortest rows, or more often.
    """
    often = EPILOGUE_ROWS * config.lanes >= config.in_words
    return min(EPILOGUE_ROWS, config.lanes) if often else 1


def residual_sum(config: ArchConfig) -> int:
    """Cycles from the last row to the sum of squares; those of two channels are added first."""
    return 12 + (rows_per_cycle(config) > 1)


def _quantized(config: ArchConfig) -> int:
    """Latency of the quantizer of the residual stream; two magnitudes are compared first."""
    return 21 + (rows_per_cycle(config) > 1)


def _held(config: ArchConfig) -> int:
    """Transfers that the same quantizer holds."""
    return BLOCKS_HELD // rows_per_cycle(config) + 11


def _quantizer(real: str) -> tuple[Field, ...]:
    return (
        Field("count", 15, f"channels of the {real}"),
        Field("pad", 7, "zeros after them, to whole groups of 128"),
        Field("base", 5, "exponent of the smallest scale"),
        Field("head", 1, "the head's format instead of the projections'"),
    )


RMS = Element("mantissa", "u2", observable="rms"), Element("j", "i1", observable="rms_shift")
RMS_COMMAND = (
    Field("count", 4, "norm groups"),
    Field("eps", 61, "epsilon in units of the sum"),
)
CODED = Element("q", "i1", observable="q"), Element("code", "u1", observable="code")
FINISHED = Element("kind", "u1"), Element("value", "i8", observable="rows")

COMMANDS = {
    "embed": (
        Field("count", 15, "channels (d_model)"),
        Field("groups", 8, "groups of 128 in a row of the table"),
        Field("shift", 8, "right shift to the residual's unit", signed=True),
    ),
    "residual": (
        Field("count", 15, "channels (d_model)"),
        Field("add", 1, "add to the stream; 0 sets it"),
        Field("emit", 1, "pass it on to the next projection"),
    ),
    "rms_in": RMS_COMMAND,
    "quant_in": _quantizer("residual stream"),
    "lanes": (
        Field("gated", 1, "input: 0 the residual's vector, 1 that of out_proj"),
        Field("slots", 17, "rows per lane"),
        Field("words", 10, "beats of a row within a norm group"),
        Field("parts", 4, "norm groups"),
        Field("twice", 1, "each weight meets the upper and the lower half of an activation"),
    ),
    "epilogue": (
        Field("rows", 20, "rows that count; lanes pad them to whole slots"),
        Field("parts", 4, "norm groups, added"),
        Field("gated", 1, "1/rms of out_proj instead of the residual stream's"),
        Field("acc_shift", 6, "right shift of a finished sum"),
        Field("narrow", 1, "rows are int16, else int32"),
        *(
            field
            for name in SECTIONS
            for field in (
                Field(f"{name}_kind", KIND, "kind of the rows of a section"),
                Field(f"{name}_end", 20, "the row after its last; rows, if it is not used"),
            )
        ),
        *(Field(f"shift_{n}", 6, f"static right shift of rows of the layer's kind number {n}")
          for n in range(ROWS)),
    ),
}  # fmt: skip

FRONT = Hardware(
    units=(
    Unit("embed", "embed:Embedder", "a row of the table to the residual's unit",
         steps="in_channels", latency=9),
    Unit("residual", "residual:Residual", "the stream, and its sum of squares",
         steps="d_model", latency=6,
         shows=(Shown("residual", "probe",
                      (Element("value", "i4", observable="residual", counted=rows_per_cycle),)),)),
    Unit("rms_in", "rms:RmsUnit", "1/rms of the stream", steps="one", latency=15,
         shows=(Shown("rms_in", "o", RMS),)),
    Unit("quant_in", "quantizer:Quantizer", "the stream in blocks of 32, for in_proj and LM head",
         steps="in_channels", latency=_quantized, work="quantizer of in_proj",
         shows=(Shown("quant_in", "o", tuple(replace(e, counted=rows_per_cycle) for e in CODED)),)),
    Unit("lanes", "lanes:Lanes", "weights times activations, one row to a lane",
         steps="lane_rows", latency=_lanes, whole=True, reads=("activations",)),
    Unit("epilogue", "epilogue:Epilogue", "finishes rows, and hands them to their units",
         steps="in_rows", latency=_epilogue,
         shows=(Shown("rows_first", "rows_first", FINISHED),
                Shown("rows_second", "rows_second", FINISHED))),
    ),
    streams=(
    Stream("embedded", "embed.o", "residual.i_embed", S32, "channel", "d_model"),
    Stream("residual", "residual.o", "quant_in.i", S32, "channel", "d_model",
           at_once=rows_per_cycle),
    Stream("sum_in", "residual.o_sum", "rms_in.i", "u61", "sum of squares", "d_model", "d_model",
           latency=residual_sum, room=4),
    Stream("quant_in", "quant_in.o", "activations.i_in", "CODED", "activation", "in_channels",
           room=_held, at_once=rows_per_cycle),
    Stream("parts", "lanes.o", "epilogue.i", "SUMS", "sums of all lanes", "lane_rows",
           latency=_issued, room=PARTS),
    Stream("rms_in", "rms_in.o", "epilogue.i_rms_in", "RMS", "1/rms", "one"),
    ),
    # The first six: what every cycle of a token went to, in this priority. Losses have the engine's
    # names (docs/reference/observables.md); `clipped` is intended, the others are not.
    counters=(
        *(Counter(name, "cycle", (f"lanes.{name}",))
          for name in ("multiplying", "scale", "wait_activation", "wait_memory", "wait_epilogue")),
    Counter("idle", "cycle"),
    Counter("embedding", "loss", ("embed.lost",)),
    Counter("in_proj", "loss", ("epilogue.lost_in",)),
    ),
    records=RECORDS,
    apart=("SUMS", "BEAT"),
    sizes=SIZES,
    commands=COMMANDS,
    clients=(
        Client("lane", WEIGHTS, "weights of a lane"),
        Client("embedding", TABLE, "rows of the embedding"),
    ),
    inside=(
        Inner("epilogue", "epilogue", "finishes the rows of a cycle"),
        Inner("router", "epilogue", "hands each of them to its unit"),
    ),
    links=(Link("rows", "rows of a cycle", latency=_epilogue, room=_finished),),
)  # fmt: skip

BACK = Hardware(
    units=(
    Unit("hadamard", "hadamard:HadamardUnit", "transform of the gate's output",
         steps="out_channels", latency=14,
         shows=(Shown("hadamard", "o", (Element("value", "i4", observable="hadamard.out"),)),),
         work="Hadamard"),
    Unit("quant_out", "quantizer:Quantizer", "the gate's output in blocks of 32, for out_proj",
         steps="out_channels", latency=21, shows=(Shown("quant_out", "o", CODED),),
         work="quantizer of out_proj"),
    Unit("activations", "activations:ActivationBuffer", "the inputs of the lanes, read by them",
         steps="in_channels", latency=STORED),
    Unit("head", "head:Head", "logits to memory, and the largest of them", steps="vocab_size",
         latency=3),
    ),
    streams=(
    Stream("mixed", "hadamard.o", "quant_out.i", S32, "channel", "out_channels"),
    Stream("quant_out", "quant_out.o", "activations.i_out", "CODED", "activation", "out_channels",
           room=BLOCKS_HELD + 11),
    Stream("out", "epilogue.o_out", "residual.i_row", "OUT_ROWS", "one or two", "d_model",
           latency=0, room=rows_per_cycle),
    Stream("logit", "epilogue.o_logit", "head.i", "LOGITS", "one or two", "vocab_size", latency=0,
           room=rows_per_cycle),
        # Between units and memory: hardware/rtl/memory/side.py wires them.
    Stream("weights", "memory.lane", "lanes.i_beat", "BEAT", "beat of a lane", "lane_rows",
           shared=True),
    Stream("embedding", "memory.embedding", "embed.i_word", WORD, "eight channels, or a scale",
           "embedding_words"),
    Stream("logits", "head.o_word", "memory.logits", WORD, "two logits", "vocab_size", 2),
    ),
    counters=(
    Counter("hadamard", "loss", ("hadamard.lost",)),
    Counter("out_proj", "loss", ("epilogue.lost_out",)),
    Counter("residual", "loss", ("residual.lost",)),
    Counter("head", "loss", ("epilogue.lost_head",)),
    Counter("in_proj.scale", "loss"),
    Counter("out_proj.scale", "loss", ("quant_out.lost_scale",)),
    Counter("head.scale", "loss"),
    Counter("clipped", "loss", ("quant_in.clipped", "quant_out.clipped")),
    ),
    commands={
        "hadamard": (
            Field("groups", 4, "norm groups"),
            Field("group_dim", 15, "channels of one"),
            Field("pad", 7, "zeros after them, to whole groups of 128"),
            Field("order_log2", 3, "0 leaves values as they are, 7 is H128"),
            Field("shift", 5, "right shift after the transform"),
        ),
        "quant_out": _quantizer("input of out_proj"),
        "head": (
            Field("rows", 20, "logits (vocab_size)"),
            Field("valid", 20, "ids from here on are padding and never win"),
        ),
    },
    clients=(Client("logits", LOGITS, "logits"),),
    inside=(
        Inner("words_in", "activations", "gathers words for in_proj and LM head"),
        Inner("words_out", "activations", "gathers words for out_proj"),
    ),
    links=(
        Link("words_in", "activations of a beat", latency=WORDS, room=lambda c: c.in_words),
        Link("words_out", "activations of a beat", latency=WORDS, room=lambda c: c.out_words),
    ),
)  # fmt: skip
