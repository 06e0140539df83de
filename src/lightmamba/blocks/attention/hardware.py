"""Hardware of attention: blocks of q, k and v, the unit, and keys and values in memory."""

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.contract import BLOCK, BLOCKS_HELD
from lightmamba.arch.fields import Field
from lightmamba.arch.hardware import (
    Client,
    Counter,
    Element,
    Hardware,
    Inner,
    Link,
    Row,
    Shown,
    Stream,
    Unit,
)
from lightmamba.blocks.blocked import BLOCKED
from lightmamba.blocks.normless import NORMLESS
from lightmamba.numerics.attention import PAGE

__all__ = [
    "BUFFERS", "HARDWARE", "PAGES", "SUM_BITS", "TOTAL_BITS", "WEIGHT_BITS", "latency",
]  # fmt: skip

# Pages in the unit: in loading, in scoring, waiting for weights and in summing; the rest are loaded
# ahead, where loading a page takes as long as using it.
PAGES = 8
BUFFERS = 4  # turns whose scores are kept, and turns whose weights are kept
# Bits of a sum of weighted values, of a sum of weights, of a weight (numerics/attention.py).
SUM_BITS, TOTAL_BITS, WEIGHT_BITS = 59, 42, 24
SUMMED = 175  # cycles from the last turn of a head to its first mean, but for adders of wide words


def latency(config: ArchConfig) -> int:
    """From the last row of a sequence's only position to its first mean."""
    return 211 + config.head_dim // 4 + _levels(config) - _less(config, 4)


def _levels(config: ArchConfig) -> int:
    """Cycles of the adders over the blocks of a position in a word."""
    return -(-(config.position_channels // BLOCK - 1).bit_length() // 2)


def _less(config: ArchConfig, stages: int) -> int:
    """Cycles that stages save where several positions meet in one; two adders take some more."""
    several = config.attention_positions
    return stages * (PAGE - PAGE // several) - (several > 1) - (several - 1).bit_length()


def _summed(config: ArchConfig) -> int:
    return SUMMED + _levels(config) - _less(config, 3)


QUANTIZED = (
    Element("kind", "u1"),
    Element("q", "i1", observable="attention.k"),
    Element("exp", "u1", observable="attention.k_exp"),
)

HARDWARE = Hardware(
    units=(
        Unit("qkv", "blocks:HeadBlocks", "blocks of q, k and v to int8", steps="qkv_channels",
             latency=12, shows=(Shown("qkv", "o", QUANTIZED),)),
        Unit("attention", "attention:Attention",
             "mean of the values of all positions, for every query", steps="mean_channels",
             latency=latency, whole=True, work="attention",
             shows=(Shown("scored", "scored", (Element("place", "u1"),), shared=True),
                    Shown("mean", "o", (Element("value", "i4", observable="attention.mean"),)),)),
        *NORMLESS.units,
    ),
    streams=(
        Stream("qkv_rows", "epilogue.o_qkv", "qkv.i", "ROW", "row", "qkv_channels", latency=0,
               room=1),
        Stream("qkv", "qkv.o", "attention.i", "BLOCKED", "channel of q, k or v",
               "qkv_channels", room=BLOCKS_HELD + 9),
        Stream("mean", "attention.o", "hadamard.i", "s24", "channel", "mean_channels", latency=30,
               room=31),
        Stream("kv_read", "memory.kv", "attention.i_kv", "ROWS",
               "row of earlier keys, values or exponents", "kv_before", shared=True),
        Stream("kv_written", "attention.o_kv", "memory.kv", "u64",
               "eight channels of a new key or value", "kv_words", latency=3, room=4, shared=True),
        *NORMLESS.streams,
    ),
    inside=(
        Inner("attention_rows", "attention", "takes rows"),
        Inner("attention_load", "attention", "loads pages"),
        Inner("attention", "attention", "scores, weights and sums of a page"),
        Inner("attention_mean", "attention", "divides the sums of a head"),
        Inner("attention_write", "attention", "writes new keys and values"),
    ),
    links=(
        Link("attended", "job that is over", latency=2, room=1, first=1),
        Link("loading", "job that has begun", latency=1, room=1),
        Link("asked", "job whose queries are there", latency=1, room=1),
        Link("stored", "job whose rows are there", latency=1, room=1),
        Link("writing", "the same, for the writer", latency=1, room=1),
        Link("page", "page that is loaded", latency=3, room=PAGES - 1),
        Link("summed", "head whose sums are there", latency=_summed, room=2),
    ),
    counters=(
        Counter("attention.score", "loss", ("attention.lost_score",)),
        Counter("attention.mean", "loss", ("attention.lost_mean",)),
    ),
    records={"BLOCKED": BLOCKED},
    apart=("ROWS",),
    sizes={
        "qkv_channels": "rows of in_proj",
        "mean_channels": "channels of all queries",
        "kv_words": "words of keys and values of a position",
        "kv_before": "words of keys and values of an earlier position",
    },
    commands={
        "qkv": (
            Field("count", 16, "channels of q, k and v"),
            Field("head_dim", 9, "channels after which a block ends"),
        ),
        "attention": (
            Field("heads", 6, "heads of keys and values"),
            Field("per_group", 6, "queries for each of them"),
            Field("head_dim", 9, "channels of a head"),
            Field("parts", 4, "words of a head"),
            Field("turns", 6, "turns of R queries that a group takes"),
            Field("last_rows", 5, "queries of the last of them"),
            Field("score", 7, "right shift of a sum of products", signed=True),
            Field("mean", 6, "right shift of a mean to the output", signed=True),
        ),
    },
    rows=(
        Row("q", "qkv_rows", "rows of q"),
        Row("k", "qkv_rows", "rows of k and v"),
        Row("v", "qkv_rows", "rows of k and v"),
    ),
    clients=(Client("kv", "spread", "keys and values of every position, head by head"),),
)  # fmt: skip
