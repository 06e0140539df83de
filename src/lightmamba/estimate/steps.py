"""Inputs and outputs of each unit in each step of its job: tables for ``units.plain``.

Most follow from the graph: an item of a stream every few steps. Those below do not.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from lightmamba.arch.contract import BLOCK, CONV_HEADER, GROUP, WORD
from lightmamba.arch.hardware import Stream
from lightmamba.arch.passes import steps as steps_of
from lightmamba.estimate.older import MACHINE
from lightmamba.estimate.places import EMPTY, HELD, INPUTS, NONE, OUTPUTS
from lightmamba.estimate.workload import Workload

__all__ = ["columns", "gathering", "inputs", "outputs", "table"]

Table = NDArray[np.int8]
# The state-space unit is several units in the model, with queues of their own.
SSM = {
    "bc": (["bc"], ["bc_ready", "b"]),
    "ssm_rows": (["heads", "x", "b"], ["gathered", "recorded"]),
    "ssm_record": (["record", "ended"], ["replayed"]),
    "ssm_out": (["done"], ["y"]),
}
# Where it waits for whole heads, and where it takes and gives rows as they come.
HEADS = (
    ["bc_ready", "state_ahead", "gathered", "replayed", "again"],
    ["state_behind", "again", "done", "ended"],
)
ROWS = ["bc_ready", "state_ahead", "heads", "x"], ["state_behind", "y"]


def inputs(unit: str) -> list[Stream]:
    """Streams to a unit, in the order of a table's columns."""
    return [s for s in MACHINE.streams if s.taker == unit]


def outputs(unit: str) -> list[Stream]:
    """Streams from a unit."""
    return [s for s in MACHINE.streams if s.giver == unit]


def columns(unit: str, work: Workload) -> tuple[list[str], list[str]]:
    """Inputs and outputs of a unit by name: columns of its table."""
    if unit == "ssm":
        return HEADS if work.arch.whole_heads else ROWS
    if unit in SSM:
        return SSM[unit]
    return [s.name for s in inputs(unit)], [s.name for s in outputs(unit)]


def table(unit: str, work: Workload, vocab: int) -> Table:
    """Steps of a job of a unit, (steps, inputs and outputs), ``vocab`` rows of the head.

    Raises
    ------
    ValueError
        If the items of a stream do not go into the unit's steps.
    """
    sizes = {**work.sizes, "vocab_size": vocab}
    if unit in IRREGULAR:
        return IRREGULAR[unit](work, sizes)
    steps = sizes[MACHINE.unit(unit).steps]
    found = _empty(steps)
    for first, streams in ((0, inputs(unit)), (INPUTS, outputs(unit))):
        for column, stream in enumerate(streams, first):
            found[:, column] = _every(steps, _period(unit, steps, stream, sizes))
    return found


def gathering(channels: int, products: int) -> Table:
    """Elements to words of the activation buffer."""
    found = _empty(channels)
    found[:, 0], found[:, INPUTS] = 1, _every(channels, products)
    return found


def _empty(steps: int) -> Table:
    return np.full((steps, INPUTS + OUTPUTS), NONE, np.int8)


def _every(steps: int, period: int) -> Table:
    """One item with the last step of each group, and with the last step of all."""
    found = np.zeros(steps, np.int8)
    found[period - 1 :: period] = found[-1] = 1
    return found


def _period(unit: str, steps: int, stream: Stream, sizes: Mapping[str, int]) -> int:
    """Steps to an item."""
    if stream.items == MACHINE.unit(unit).steps:
        return stream.per if isinstance(stream.per, int) else sizes[stream.per]
    count = stream.count(sizes)
    if steps % count:
        raise ValueError(f"{unit} has {steps} steps, but {stream.name} {count} items")
    return steps // count


def _embed(work: Workload, sizes: Mapping[str, int]) -> Table:
    """Eight channels to a word; that of a group's scale is taken with its first."""
    found, at = _empty(sizes["in_channels"]), np.arange(sizes["in_channels"])
    found[at % WORD == 0, 0] = 1
    found[at % GROUP == 0, 0] = 2
    found[:, INPUTS] = at < sizes["d_model"]
    return found


def _quant_in(work: Workload, sizes: Mapping[str, int]) -> Table:
    """A block leaves when its last element has been looked at; zeros to whole groups."""
    return _quantizer(sizes["in_channels"], sizes["d_model"])


def _quant_out(work: Workload, sizes: Mapping[str, int]) -> Table:
    return _quantizer(sizes["out_channels"], sizes["out_channels"])


def _quantizer(steps: int, taken: int) -> Table:
    found = _empty(steps)
    found[:taken, 0], found[:, INPUTS] = 1, HELD
    found[BLOCK - 1 :: BLOCK, INPUTS] = HELD + BLOCK
    return found


def _conv(work: Workload, sizes: Mapping[str, int]) -> Table:
    """A step before every eight channels takes their header; words of state are of one or two."""
    channels, of_word = sizes["conv_dim"], WORD // work.arch.window
    found = _empty(channels + -(-channels // CONV_HEADER))
    header = np.arange(len(found)) % (CONV_HEADER + 1) == 0
    into, out = columns("conv", work)
    found[:, into.index("conv_params")] = 1
    found[~header, into.index("conv")] = 1
    found[~header, into.index("conv_read")] = _every(channels, of_word)
    found[~header, INPUTS + out.index("convolved")] = 1
    found[~header, INPUTS + out.index("conv_written")] = _every(channels, of_word)
    return found


def _blocks(work: Workload, sizes: Mapping[str, int]) -> Table:
    """A block of x, or of B or C, leaves when its last channel has been looked at."""
    kinds, ends = work.commands.block_ends(work.layer, work.order, work.formats.block)
    found, is_x = _empty(sizes["conv_dim"]), kinds == [row.name for row in MACHINE.rows].index("x")
    found[:, 0] = 1
    _, out = columns("blocks", work)
    of = INPUTS + np.where(is_x, out.index("x"), out.index("bc"))
    found[np.arange(len(found)), of] = HELD
    found[ends, of[ends]] = HELD + np.diff(ends, prepend=-1)
    return found


def _bc(work: Workload, sizes: Mapping[str, int]) -> Table:
    """All of B, then all of C; a record takes B, too."""
    found = _empty(sizes["bc_channels"])
    found[:, 0], found[:, INPUTS] = 1, _every(len(found), len(found))
    if work.records:
        found[: len(found) // 2, INPUTS + 1] = 1
    return found


def _ssm_rows(work: Workload, sizes: Mapping[str, int]) -> Table:
    """Rows of all tokens together, until a head is whole. A record takes them, too, and B first."""
    arch, rows = work.arch, sizes["headdim"]
    first, per = (arch.tokens, arch.record_words) if work.records else (0, 1)
    head, (into, out) = _empty(first + rows * per), columns("ssm_rows", work)
    last = first + (rows - 1) * per
    head[0, into.index("heads")] = 1
    head[first::per, into.index("x")] = 1
    head[: last + 1, INPUTS + out.index("gathered")] = 0
    head[last, INPUTS + out.index("gathered")] = 1
    b = _empty(_b_words(work, sizes) if work.records else 0)
    b[::per, into.index("b")] = 1
    found = np.concatenate([b, np.tile(head, (sizes["nheads"], 1))])
    if work.records:
        found[:, INPUTS + out.index("recorded")] = 1
    return found


def _ssm_record(work: Workload, sizes: Mapping[str, int]) -> Table:
    """A word of the record per step, of one job at a time: B, then head by head."""
    arch, out = work.arch, INPUTS
    head = _empty(arch.tokens + sizes["headdim"] * arch.record_words)
    head[:, out], head[-1, out] = 0, 1
    found = np.concatenate([_empty(_b_words(work, sizes)), np.tile(head, (sizes["nheads"], 1))])
    found[:, 0], found[0, 1] = 1, 1
    return found


def _b_words(work: Workload, sizes: Mapping[str, int]) -> int:
    """Words of B in the record of a layer."""
    arch = work.arch
    head = arch.tokens + sizes["headdim"] * arch.record_words
    return work.memory.recorded_words - sizes["nheads"] * head


def _ssm(work: Workload, sizes: Mapping[str, int]) -> Table:
    """All words of each head in each of its steps; a word needs its result of the step before.

    B and C are there before the first word, and kept until y has left.
    """
    words, steps = sizes["head_words"], steps_of(work.slots)
    into, out = columns("ssm", work)
    head = _empty(len(steps) * words)
    for n, step in enumerate(steps):
        mine = slice(n * words, (n + 1) * words)
        head[mine, into.index("state_ahead" if step["load"] else "again")] = 1
        if step["store"]:
            head[mine, INPUTS + out.index("state_behind")] = 1
        if n + 1 < len(steps) and not steps[n + 1]["load"]:
            head[mine, INPUTS + out.index("again")] = 1
    whole, rows = len(head), sizes["row_words"]
    each = {"gathered": whole, "done": whole} if work.arch.whole_heads else {
        "heads": whole, "x": rows, "y": rows
    }  # fmt: skip
    if work.replays:
        each["replayed"] = whole
    for name, period in each.items():
        column = into.index(name) if name in into else INPUTS + out.index(name)
        head[:, column] = _every(whole, period)
    begin, end = _empty(1), _empty(1)
    begin[0, into.index("bc_ready")], end[0, into.index("bc_ready")] = 0, 1
    end[0, INPUTS + out.index("done" if work.arch.whole_heads else "y")] = EMPTY
    if work.replays:
        end[0, INPUTS + out.index("ended")] = 1
    return np.concatenate([begin, np.tile(head, (sizes["nheads"], 1)), end])


def _ssm_out(work: Workload, sizes: Mapping[str, int]) -> Table:
    """Rows of y of a head whose steps are done."""
    found = _empty(sizes["d_inner"])
    found[:, 0], found[:, INPUTS] = _every(sizes["d_inner"], sizes["headdim"]), 1
    return found


def _hadamard(work: Workload, sizes: Mapping[str, int]) -> Table:
    """Each element leaves with the one that comes order - 1 places behind it."""
    channels, later = sizes["out_channels"], work.formats.transform.size(sizes["group_dim"]) - 1
    group = channels // sizes["ngroups"]
    found, at = _empty(channels + later), np.arange(channels)
    found[:channels, 0] = np.where(at % group < sizes["group_dim"], 1, NONE)
    found[:, INPUTS], found[:later, INPUTS] = 1, 0
    return found


def _head(work: Workload, sizes: Mapping[str, int]) -> Table:
    """Logits as the epilogue hands them on, by slots; two of them to a word."""
    rows, lanes, most = sizes["vocab_size"], work.arch.lanes, work.rows_per_cycle
    slot = np.minimum(most, lanes - np.arange(0, lanes, most))
    taken = np.tile(slot, -(-rows // lanes))
    before = np.cumsum(taken) - taken
    taken = np.minimum(taken, rows - before)[before < rows]
    found, count = _empty(len(taken)), np.cumsum(taken)
    found[:, 0] = taken
    found[:, INPUTS] = np.diff(count // 2, prepend=0)
    found[-1, INPUTS] += rows % 2
    return found


IRREGULAR: Mapping[str, Callable[[Workload, Mapping[str, int]], Table]] = {
    "embed": _embed, "quant_in": _quant_in, "conv": _conv, "blocks": _blocks, "bc": _bc,
    "ssm_rows": _ssm_rows, "ssm_record": _ssm_record, "ssm": _ssm, "ssm_out": _ssm_out,
    "hadamard": _hadamard, "quant_out": _quant_out, "head": _head,
}  # fmt: skip
