"""Steps of a Mamba2 layer's units where they do not follow from the graph, for the estimate."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmamba.arch.contract import CONV_HEADER, WORD
from lightmamba.arch.passes import steps as steps_of
from lightmamba.arch.steps import EMPTY, HELD, NONE, Column, Table, column, every, joined
from lightmamba.blocks.mamba2.layout import ROWS, block_ends
from lightmamba.blocks.mamba2.quantized import Sizes

__all__ = ["STEPS"]

Counts = Mapping[str, int]  # sizes of the graph


def _conv(work: Any, layer: Sizes, sizes: Counts) -> Table:
    """A step before every eight channels takes their header; words of state are of one or two."""
    channels, of_word = layer.conv_dim, WORD // work.arch.window
    steps = channels + -(-channels // CONV_HEADER)
    header = np.arange(steps) % (CONV_HEADER + 1) == 0

    def channel(each: int | NDArray[np.int16]) -> Column:
        found = column(steps)
        found[~header] = each
        return found

    state = channel(every(channels, of_word))
    return Table(
        steps, {"conv_params": 1, "conv": channel(1), "conv_read": state},
        {"convolved": channel(1), "conv_written": state},
    )  # fmt: skip


def _blocks(work: Any, layer: Sizes, sizes: Counts) -> Table:
    """A block of x, or of B or C, leaves when its last channel has been looked at."""
    kinds, ends = block_ends(layer, work.order, work.formats.block)
    leave = column(len(kinds), HELD)
    leave[ends] = HELD + np.diff(ends, prepend=-1)
    is_x = kinds == ROWS.index("x")
    gives = {
        "bc": np.where(is_x, NONE, leave).astype(np.int16),
        "x": np.where(is_x, leave, NONE).astype(np.int16),
    }
    return Table(len(kinds), {"convolved": 1}, gives)


def _bc(work: Any, layer: Sizes, sizes: Counts) -> Table:
    """All of B, then all of C; a record takes B, too."""
    steps = sizes["bc_channels"]
    gives: dict[str, Column] = {"bc_ready": every(steps, steps)}
    if work.records:
        gives["b"] = np.repeat(np.array([1, NONE], np.int16), [steps // 2, steps - steps // 2])
    return Table(steps, {"bc": 1}, gives)


def _b_words(work: Any, layer: Sizes) -> int:
    """Words of B in the record of a layer."""
    count: int = work.arch.record_words * layer.ngroups * layer.d_state
    return count


def _rows(work: Any, layer: Sizes, sizes: Counts) -> Table:
    """Rows of all tokens together, until a head is whole. A record takes them, too, and B first."""
    arch, rows = work.arch, layer.headdim
    first, per = (arch.tokens, arch.record_words) if work.records else (0, 1)
    steps, last = first + rows * per, first + (rows - 1) * per
    parameters, x, whole = column(steps), column(steps), column(steps)
    parameters[0], x[first::per], whole[: last + 1], whole[last] = 1, 1, 0, 1
    recorded: dict[str, Column] = {"recorded": 1} if work.records else {}
    head = Table(steps, {"heads": parameters, "x": x}, {"gathered": whole} | recorded)
    if not work.records:
        return joined(*[head] * layer.nheads)
    b = column(_b_words(work, layer))
    b[::per] = 1
    return joined(Table(len(b), {"b": b}, recorded), *[head] * layer.nheads)


def _record(work: Any, layer: Sizes, sizes: Counts) -> Table:
    """A word of the record per step, of one job at a time: B, then head by head."""
    b, each = _b_words(work, layer), work.arch.tokens + layer.headdim * work.arch.record_words
    ended, whole = column(b + layer.nheads * each), column(b + layer.nheads * each, 0)
    ended[0], whole[:b], whole[b + each - 1 :: each] = 1, NONE, 1
    return Table(len(whole), {"replayed": 1, "ended": ended}, {"again_whole": whole})


def _ssm(work: Any, layer: Sizes, sizes: Counts) -> Table:
    """All words of each head in each of its steps; a word needs its result of the step before.

    B and C are there before the first word, and kept until y has left.
    """
    count, steps, whole_heads = sizes["head_words"], steps_of(work.slots), work.arch.whole_heads
    next_loads = [step["load"] for step in steps[1:]] + [1]

    def each(values: list[int], together: int = 1) -> Column:
        words = column(count)
        words[::together] = together
        return np.concatenate([words if value else column(count) for value in values])

    whole = every(len(steps) * count, len(steps) * count)
    takes: dict[str, Column] = {
        "state_ahead": each([step["load"] for step in steps], work.arch.block_words),
        "again": each([1 - step["load"] for step in steps], work.arch.block_words),
    }
    gives: dict[str, Column] = {
        "state_behind": each([step["store"] for step in steps]),
        "again": each([1 - load for load in next_loads]),
    }
    if whole_heads:
        takes["gathered"] = gives["done"] = whole
    else:
        rows = every(len(whole), sizes["row_words"])
        takes |= {"heads": whole, "x": rows}
        gives["y"] = rows
    end: dict[str, Column] = {"done" if whole_heads else "y": EMPTY}
    if work.replays:
        takes["again_whole"], end["ended"] = whole, 1
    if len(steps) == len(work.slots):
        del takes["again"], gives["again"]
    head = Table(len(whole), takes, gives)
    begin, behind = Table(1, {"bc_ready": 0}, {}), Table(1, {"bc_ready": 1}, end)
    return joined(begin, *[head] * layer.nheads, behind)


def _out(work: Any, layer: Sizes, sizes: Counts) -> Table:
    """Rows of y of a head whose steps are done."""
    return Table(sizes["d_inner"], {"done": every(sizes["d_inner"], layer.headdim)}, {"y": 1})


STEPS: Mapping[str, Callable[[Any, Any, Counts], Table]] = {
    "conv": _conv, "blocks": _blocks, "bc": _bc, "ssm_rows": _rows, "ssm_record": _record,
    "ssm": _ssm, "ssm_out": _out,
}  # fmt: skip
