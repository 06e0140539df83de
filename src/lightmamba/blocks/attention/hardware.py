"""Hardware of attention: blocks of q, k and v, the unit, and keys and values in memory."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmamba.arch.amount import DISTRIBUTED, Amount
from lightmamba.arch.cells import Group, Memory, one, tokens
from lightmamba.arch.clients import SPREAD, Client
from lightmamba.arch.config import ArchConfig
from lightmamba.arch.contract import BLOCK, BLOCKS_HELD, WORD, WORD_BITS
from lightmamba.arch.fields import Field
from lightmamba.arch.hardware import (
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
from lightmamba.arch.records import Found, blocked, carried
from lightmamba.arch.spread import spread
from lightmamba.blocks import in_hardware
from lightmamba.blocks.attention.arithmetic import Mixer, Sizes, numerics
from lightmamba.blocks.attention.steps import STEPS, cycles, position_words, row_cycles
from lightmamba.blocks.in_hardware import BLOCKED, NORMLESS, Seen
from lightmamba.numerics.attention import PAGE
from lightmamba.numerics.model_formats import Formats

__all__ = [
    "EXPONENT",
    "SUM_BITS",
    "TOTAL_BITS",
    "WEIGHT_BITS",
    "InHardware",
    "buffers",
    "in_blocks",
    "latency",
    "pages",
]

SEARCHED = {
    "attention_channels": (32, 64, 128, 256),
    "attention_rows": (1, 2, 4, 8, 16),
    "row_fifo": (64, 128, 256, 512, 1024),
}
HEAD_DIM = 256  # channels of a head, at most
HALF = WORD // 2  # bytes of a key's exponents
# Bits of a sum of weighted values, of a sum of weights, of a weight (numerics/attention.py).
SUM_BITS, TOTAL_BITS, WEIGHT_BITS = 59, 42, 24
IN_LUTS = 1280  # bits of a row of a memory, at most, that may lie in LUTs: a choice
SUMMED = 176  # cycles from the last tile of a head to its first mean, of one block and position


def pages(positions: int) -> int:
    """Pages in the unit: in loading, in scoring, waiting for weights and in summing.

    The rest are loaded ahead, where loading a page takes as long as using it. All fill a block RAM
    equally: the more positions meet in a cycle, the shorter is a page.
    """
    return 8 * positions


def buffers(positions: int) -> int:
    """Tiles whose scores are kept, and tiles whose weights are: shorter ones follow each other."""
    return max(4, 2 * positions)


def in_blocks(entries: int, bits: int) -> int:
    """Entries of a memory, more than are used if its rows are too wide to lie in LUTs."""
    return entries if bits <= IN_LUTS else max(entries, 2 * DISTRIBUTED)


def latency(config: ArchConfig) -> int:
    """Cycles from the last row of a sequence's only position to its first mean."""
    return 212 + config.head_dim // 4 + _cascades(config) - 4 * _saved(config)


def _cascades(config: ArchConfig) -> int:
    """Cycles of the blocks of a position, and of the positions of a word, after each other."""
    positions = config.attention_positions
    return config.position_channels // BLOCK - 1 + positions - 1 + (positions - 1).bit_length()


def _saved(config: ArchConfig) -> int:
    """Cycles that a stage saves where several positions meet in one."""
    return PAGE - PAGE // config.attention_positions


def _summed(config: ArchConfig) -> int:
    return SUMMED + _cascades(config) - 3 * _saved(config)


QUANTIZED = (
    Element("kind", "u1"),
    Element("q", "i1", observable="attention.k"),
    Element("exp", "u1", observable="attention.k_exp"),
)

GRAPH = Hardware(
    units=(
        Unit("qkv", "blocks:HeadBlocks", "blocks of q, k and v to int8", steps="qkv_channels",
             latency=12, shows=(Shown("qkv", "o", QUANTIZED),)),
        Unit("attention", "attention.unit:Attention",
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
        Link("page", "page that is loaded", latency=3,
             room=lambda c: pages(c.attention_positions) - 1),
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
            Field("tiles", 6, "tiles of R queries that a group takes"),
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
    clients=(Client("kv", SPREAD, "keys and values of every position, head by head"),),
)  # fmt: skip

EXPONENT, VALUE, SCORE = 4, 8, 32  # bits of a block's exponent, of a channel, of a score
DIVIDER, PICKED = 540, 40  # LUTs of a token's divider, and for each lane that it picks from


def _power(count: int) -> int:
    return 1 << (count - 1).bit_length()


def _memories(arch: ArchConfig) -> Iterator[Memory]:
    """Pages, queries, rows of the pass, scores, weights and sums."""
    wide, rows, positions = arch.position_channels, arch.attention_rows, arch.attention_positions
    parts, tiles = -(-arch.head_dim // wide), -(-arch.per_group // rows)
    heads, blocks, words = _power(arch.kv_heads), wide // BLOCK, PAGE // positions
    exponents = parts * blocks * EXPONENT  # bits of those of a key, or of a value
    held = pages(positions) * words
    for _ in range(2):  # keys and values
        yield from [(held * _power(parts), WORD_BITS)] * (arch.attention_channels // WORD)
        yield held, positions * exponents
    yield row_cycles(arch), arch.row_bytes // row_cycles(arch) // WORD * 2 * exponents
    for bits in (SCORE, WEIGHT_BITS):
        yield buffers(positions) * words, positions * rows * bits
    for _ in range(arch.tokens):
        at = heads * _power(tiles) * _power(parts)
        columns = rows * wide // WORD
        yield from [(in_blocks(at, columns * WORD_BITS), WORD_BITS)] * columns
        yield at, rows * blocks * EXPONENT
        for _ in range(2):  # two that read
            yield 2 * heads * _power(-(-arch.head_dim // WORD)), WORD_BITS
            sums = 2 * _power(tiles) * _power(parts) * words
            bits = rows * wide // words * SUM_BITS
            yield in_blocks(sums, bits), bits
            yield 2 * _power(tiles), rows * TOTAL_BITS


def _sizes(arch: ArchConfig) -> tuple[float, ...]:
    """Channels, those that are picked out of a row, products, sums of a page, and scores."""
    channels, rows = arch.attention_channels, arch.attention_rows
    positions = arch.attention_positions
    return (
        1, channels, channels * (row_cycles(arch) - 1), channels * rows,
        channels * rows / positions, rows * positions,
    )  # fmt: skip


def _counted(arch: ArchConfig) -> Amount:
    """DSPs of the two arrays and of the exponents of each block; LUTs of further tokens.

    Their queries, and the sums before a page's, are chosen by the vector of a tile, and each has a
    divider that picks its sum out of those of a cycle.
    """
    channels, rows = arch.attention_channels, arch.attention_rows
    pairs = channels * rows // 2 if arch.attention_positions > 1 else channels * -(-rows // 2)
    lanes, more = channels * rows // PAGE, arch.tokens - 1
    chosen = arch.position_channels * rows * VALUE + lanes * SUM_BITS
    return Amount(
        lut=-(-more // 3) * chosen + more * (DIVIDER + lanes * PICKED),
        ff=more * (DIVIDER + arch.position_channels * rows * VALUE),
        dsp=channels * rows + pairs + channels // BLOCK * rows + 3 * more,
    )


GROUPS = (
    Group("blocks of q, k and v", r"units\.qkv", one, copies=tokens),
    Group("attention", r"units\.attention.*", _sizes, memories=_memories, more=_counted),
    # A lane's port has an arbiter for them.
    Group("keys and values in memory", r"memory\.((read|write|reads|writes)_kv|arbiter_lane).*",
          lambda a: (1, a.row_lanes, a.row_lanes * a.port_bits),
          memories=lambda a: [(a.row_fifo, a.port_bits)] * a.row_lanes),
)  # fmt: skip


class InHardware(in_hardware.InHardware):
    """Attention in the accelerator: keys and values over the lanes' channels, head by head."""

    graph = GRAPH
    groups = GROUPS
    steps = STEPS
    searched = SEARCHED

    def capacities(self, sizes: Sizes) -> dict[str, int]:
        kv_heads, per_group = sizes.n_kv_heads, sizes.per_group
        return {"kv_heads": kv_heads, "per_group": per_group, "head_dim": sizes.head_dim}

    def refusals(self, sizes: Sizes, formats: Formats) -> Iterator[str]:
        yield from self.too_wide(sizes, formats, "all heads of attention")
        if sizes.head_dim % WORD:
            yield (
                f"attention has head_dim {sizes.head_dim}, but the hardware takes multiples of "
                f"{WORD}; run the model on the engine"
            )
        most = {(unit, f.name): f.max for unit, fields in GRAPH.commands.items() for f in fields}
        for what, value, top in (
            ("a head_dim of {:,}", sizes.head_dim, HEAD_DIM),
            ("{:,} heads of keys", sizes.n_kv_heads, most["attention", "heads"]),
            ("{:,} queries for each head of keys", sizes.per_group, most["attention", "per_group"]),
            ("{:,} rows of q, k and v", sizes.in_rows, most["qkv", "count"]),
        ):
            if value > top:
                yield (
                    f"attention has {what.format(value)}, but the hardware takes at most {top:,}; "
                    f"run the model on the engine"
                )

    def job_sizes(self, sizes: Sizes, arch: ArchConfig) -> dict[str, int]:
        words = sizes.n_kv_heads * (1 + position_words(sizes, arch))
        channels = {"qkv_channels": sizes.in_rows, "mean_channels": sizes.out_dim}
        return {**channels, "kv_words": words, "kv_before": words}

    def commands(
        self, mixer: Mixer, formats: Formats, arch: ArchConfig
    ) -> dict[str, dict[str, int]]:
        c, rows = mixer.sizes, arch.attention_rows
        tiles = -(-c.per_group // rows)
        return {
            "qkv": {"count": c.in_rows, "head_dim": c.head_dim},
            "attention": {
                "heads": c.n_kv_heads,
                "per_group": c.per_group,
                "head_dim": c.head_dim,
                "parts": -(-c.head_dim // arch.position_channels),
                "tiles": tiles,
                "last_rows": c.per_group - (tiles - 1) * rows,
                "score": mixer.score,
                "mean": mixer.mean,
            },
            **self.transform(mixer, formats),
        }

    def runs(self, sizes: Sizes) -> dict[str, int]:
        """A run for each head of keys and values."""
        return {"kv": sizes.n_kv_heads}

    def state_bytes(
        self, sizes: Sizes, order: str, state: Mapping[str, NDArray[Any]], arch: ArchConfig
    ) -> dict[str, NDArray[np.uint8]]:
        (positions, heads), wide = state["k_exp"].shape[:2], arch.position_channels
        values = np.zeros((heads, positions, position_words(sizes, arch) * WORD), np.uint8)
        exponents = np.zeros((heads, positions, WORD), np.uint8)
        parts = -(-sizes.head_dim // wide)
        halves = values.reshape(heads, positions, parts, 2, wide)
        for n, name in enumerate(("k", "v")):
            given = np.asarray(state[name], np.int8).view(np.uint8)[..., : sizes.head_dim]
            padded = np.pad(given, [(0, 0), (0, 0), (0, -sizes.head_dim % wide)]).swapaxes(0, 1)
            halves[..., n, :] = padded.reshape(heads, positions, parts, wide)
            codes = np.zeros((positions, heads, 2 * HALF), np.uint8)
            exps = np.asarray(state[f"{name}_exp"], np.uint8)
            codes[..., : exps.shape[-1]] = exps
            packed = codes[..., ::2] | codes[..., 1::2] << 4
            exponents[..., n * HALF : (n + 1) * HALF] = packed.swapaxes(0, 1)
        return spread(arch, "kv", exponents, values)

    def cycles(self, work: Any, sizes: Sizes, counts: Mapping[str, int]) -> dict[str, int]:
        return cycles(work, sizes)

    def observed(self, seen: Seen) -> Found:
        sizes, quantized = seen.sizes, seen.take("qkv", seen.sizes.in_rows)
        for name in ("k", "v"):
            mine = quantized.take(sizes.sections()[name]).reshape(sizes.n_kv_heads, sizes.head_dim)
            yield from blocked(f"{seen.at}.attention.{name}", mine, numerics(sizes).block)
        yield from carried(seen.at, seen.take("mean", sizes.out_dim))
        yield from seen.mixed
