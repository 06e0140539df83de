"""Steps of attention's units where they do not follow from the graph, for the estimate."""

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.contract import BLOCK, WORD
from lightmamba.arch.spread import rows
from lightmamba.arch.steps import HELD, Table, column, every, joined
from lightmamba.blocks.attention.arithmetic import Sizes
from lightmamba.numerics.attention import PAGE

__all__ = ["STEPS", "cycles", "position_words", "row_cycles"]

Counts = Mapping[str, int]  # sizes of the graph


def position_words(sizes: Sizes, arch: ArchConfig) -> int:
    """64-bit words of a key and its value: W/M channels of one, then as many of the other."""
    wide = arch.position_channels
    return -(-sizes.head_dim // wide) * 2 * wide // WORD


def row_cycles(arch: ArchConfig) -> int:
    """Cycles that the unit takes for a row of earlier positions."""
    return max(1, arch.row_bytes // (2 * arch.attention_channels))


def _tile(work: Any, layer: Sizes) -> int:
    """Cycles of a tile."""
    arch: ArchConfig = work.arch
    return -(-layer.head_dim // arch.position_channels) * PAGE // arch.attention_positions


def _tiles(work: Any, layer: Sizes) -> int:
    """Tiles of a slot on a page, one or several for each of its tokens."""
    found: int = work.slots[0].tokens * -(-layer.per_group // work.arch.attention_rows)
    return found


def _pages(work: Any) -> int:
    """Pages of a slot."""
    seen: int = work.positions + work.slots[0].tokens
    return -(-seen // PAGE)


def cycles(work: Any, layer: Sizes) -> dict[str, int]:
    """Cycles in which the array works."""
    pages = layer.n_kv_heads * len(work.slots) * _pages(work)
    return {"attention": pages * _tiles(work, layer) * _tile(work, layer)}


def _blocks(work: Any, layer: Sizes, sizes: Counts) -> Table:
    """A block leaves when its last channel has been looked at."""
    places = np.arange(layer.in_rows) % layer.head_dim
    ends = np.flatnonzero((places % BLOCK == BLOCK - 1) | (places == layer.head_dim - 1))
    leave = column(layer.in_rows, HELD)
    leave[ends] = HELD + np.diff(ends, prepend=-1)
    return Table(layer.in_rows, {"qkv_rows": 1}, {"qkv": leave})


def _rows(work: Any, layer: Sizes, sizes: Counts) -> Table:
    """Rows as they come: when the queries are there, when all are."""
    q, rest = layer.sections()["q"].stop, layer.in_rows - layer.sections()["q"].stop
    begin = Table(1, {"attention.command": 1, "attended": 1}, {"loading": 1})
    return joined(
        begin,
        Table(q, {"qkv": 1}, {"asked": every(q, q)}),
        Table(rest, {"qkv": 1}, {"stored": every(rest, rest), "writing": every(rest, rest)}),
    )


def _load(work: Any, layer: Sizes, sizes: Counts) -> Table:
    """Earlier positions row by row, all slots at once; then those of the pass."""
    arch, words = work.arch, 1 + position_words(layer, work.arch)
    row = row_cycles(arch)
    slots, new = len(work.slots), 2 * layer.head_dim // WORD + 1
    parts = [Table(1, {"loading": 1}, {})]
    for head in range(layer.n_kv_heads):
        ends = [min(work.positions, PAGE * n) for n in range(_pages(work) + 1)]
        for page, (begin, end) in enumerate(pairwise(ends)):
            last = page == _pages(work) - 1
            if count := rows(arch, words, end) - rows(arch, words, begin):
                given = {} if last else {"page": every(count * slots, count)}
                parts.append(Table(count * slots, {"kv_read": 1}, given, row))
            if last:
                stored = column(1)
                stored[0] = int(head == layer.n_kv_heads - 1)
                fresh = new * work.slots[0].tokens * slots
                parts.append(Table(1, {"stored": stored}, {}, fresh))
                parts.append(Table(slots, {}, {"page": 1}, 2))
    return joined(*parts)


def _pages_used(work: Any, layer: Sizes, sizes: Counts) -> Table:
    """All tiles on a page; after the last page of a head its means follow."""
    slots, pages = len(work.slots), _pages(work)
    each = _tiles(work, layer) * _tile(work, layer)
    parts = [Table(1, {"asked": 1}, {})]
    for _ in range(layer.n_kv_heads):
        given = column(pages * slots)
        given[-1] = 1
        parts.append(Table(pages * slots, {"page": 1}, {"summed": given}, each))
    return joined(*parts)


def _mean(work: Any, layer: Sizes, sizes: Counts) -> Table:
    """Channels of the queries of a head, one a cycle."""
    count = layer.per_group * layer.head_dim
    first, last = column(count), column(1)
    first[0], last[0] = 1, 1
    heads = [Table(count, {"summed": first}, {"mean": 1})] * layer.n_kv_heads
    return joined(*heads, Table(1, {}, {"attended": last}))


def _write(work: Any, layer: Sizes, sizes: Counts) -> Table:
    """New positions, once all rows are there."""
    slots = len(work.slots)
    count = sizes["kv_words"] * work.slots[0].tokens * slots
    return joined(Table(1, {"writing": 1}, {}), Table(count, {}, {"kv_written": 1}))


STEPS: Mapping[str, Callable[[Any, Any, Counts], Table]] = {
    "qkv": _blocks, "attention_rows": _rows, "attention_load": _load, "attention": _pages_used,
    "attention_mean": _mean, "attention_write": _write,
}  # fmt: skip
