"""Cells of attention's units, for the area model."""

from collections.abc import Iterator

from lightmamba.arch.cells import Group, Memory, one, tokens
from lightmamba.arch.config import ArchConfig
from lightmamba.arch.contract import BLOCK, WORD_BITS
from lightmamba.blocks.attention.hardware import BUFFERS, PAGES, SUM_BITS, TOTAL_BITS, WEIGHT_BITS
from lightmamba.numerics.attention import PAGE

__all__ = ["GROUPS"]

EXPONENT, VALUE = 4, 8  # bits of a block's exponent, of a channel
SCORE = 32  # of a score


def _power(count: int) -> int:
    return 1 << (count - 1).bit_length()


def _memories(arch: ArchConfig) -> Iterator[Memory]:
    """Pages, queries, rows of the pass, scores, weights and sums."""
    wide, rows, several = arch.position_channels, arch.attention_rows, arch.attention_positions
    parts, turns = -(-arch.head_dim // wide), -(-arch.per_group // rows)
    heads, blocks, words = _power(arch.kv_heads), wide // BLOCK, PAGE // several
    for _ in range(2):  # keys and values
        yield PAGES * words * _power(parts), several * wide * VALUE
        yield PAGES * words, several * WORD_BITS // 2
    for bits in (SCORE, WEIGHT_BITS):
        yield BUFFERS * words, several * rows * bits
    for _ in range(arch.tokens):
        at = heads * _power(turns) * _power(parts)
        yield at, rows * wide * VALUE
        yield at, rows * blocks * EXPONENT
        for _ in range(2):  # two that read
            yield 2 * heads * _power(-(-arch.head_dim // (WORD_BITS // VALUE))), WORD_BITS
        run = BLOCK // several  # channels whose sums leave one after the other
        yield 2 * _power(turns) * _power(parts) * run, rows * wide // run * SUM_BITS
        yield 2 * _power(turns), rows * TOTAL_BITS


GROUPS = (
    Group("blocks of q, k and v", r"units\.qkv", one, copies=tokens),
    Group("attention", r"units\.attention.*",
          lambda a: (1, a.attention_channels, a.attention_channels * a.attention_rows,
                     a.position_channels * a.attention_rows),
          memories=_memories),
    # A lane's port has an arbiter for them.
    Group("keys and values in memory", r"memory\.((read|write|reads|writes)_kv|arbiter_lane).*",
          lambda a: (1, a.row_lanes, a.row_lanes * a.port_bits),
          memories=lambda a: [(a.row_fifo, a.port_bits)] * a.row_lanes),
)  # fmt: skip
