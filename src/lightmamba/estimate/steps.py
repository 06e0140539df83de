"""What each unit takes and gives in each step of its job: tables for ``units.plain``.

Most follow from the graph: an item of a stream every so many steps. Those below do not.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from lightmamba.arch.contract import BLOCK, CONV_HEADER, GROUP, WORD
from lightmamba.arch.graph import Stream
from lightmamba.arch.machine import MACHINE
from lightmamba.arch.program import Kind
from lightmamba.estimate.places import EMPTY, HELD, INPUTS, NONE, OUTPUTS
from lightmamba.estimate.workload import Workload

__all__ = ["gathering", "inputs", "outputs", "table"]

Table = NDArray[np.int8]


def inputs(unit: str) -> list[Stream]:
    """Streams to a unit, in the order of a table's columns."""
    return [s for s in MACHINE.streams if s.taker == unit]


def outputs(unit: str) -> list[Stream]:
    """Streams from a unit."""
    return [s for s in MACHINE.streams if s.giver == unit]


def table(unit: str, work: Workload, vocab: int) -> Table:
    """Steps of a job of a unit, (steps, inputs and outputs), ``vocab`` rows of the head.

    Raises
    ------
    ValueError
        If the items of a stream do not go into the unit's steps.
    """
    sizes = {**work.sizes, "vocab_size": vocab}
    steps = sizes[MACHINE.unit(unit).steps]
    if unit in IRREGULAR:
        return IRREGULAR[unit](work, sizes)
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
    """One item with the last of so many steps, and with the last of all."""
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
    """A step before every eight channels takes their header; state is of two channels."""
    channels = sizes["conv_dim"]
    found = _empty(channels + -(-channels // CONV_HEADER))
    header = np.arange(len(found)) % (CONV_HEADER + 1) == 0
    columns = [s.name for s in inputs("conv")]
    found[:, columns.index("conv_params")] = 1
    found[~header, columns.index("conv")] = 1
    found[~header, columns.index("conv_read")] = _every(channels, 2)
    columns = [s.name for s in outputs("conv")]
    found[~header, INPUTS + columns.index("convolved")] = 1
    found[~header, INPUTS + columns.index("conv_written")] = _every(channels, 2)
    return found


def _blocks(work: Workload, sizes: Mapping[str, int]) -> Table:
    """A block of x, or of B or C, leaves when its last channel has been looked at."""
    kinds, ends = work.commands.block_ends(work.layer, work.order, work.formats.block)
    found, is_x = _empty(sizes["conv_dim"]), kinds == Kind.X
    found[:, 0] = 1
    columns = [s.name for s in outputs("blocks")]
    of = INPUTS + np.where(is_x, columns.index("x"), columns.index("bc"))
    found[np.arange(len(found)), of] = HELD
    found[ends, of[ends]] = HELD + np.diff(ends, prepend=-1)
    return found


def _ssm(work: Workload, sizes: Mapping[str, int]) -> Table:
    """A word of state per step; B and C are there before the first, and kept until y has left."""
    words = sizes["state_words"]
    found = _empty(words + 2)
    into, out = [s.name for s in inputs("ssm")], [s.name for s in outputs("ssm")]
    found[0, into.index("bc_ready")], found[-1, into.index("bc_ready")] = 0, 1
    found[1:-1, into.index("state_ahead")] = 1
    found[1:-1, into.index("x")] = _every(words, sizes["row_words"])
    found[1:-1, into.index("heads")] = _every(words, sizes["head_words"])
    found[1:-1, INPUTS + out.index("state_behind")] = 1
    found[1:-1, INPUTS + out.index("y")] = _every(words, sizes["row_words"])
    found[-1, INPUTS + out.index("y")] = EMPTY
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
    "embed": _embed, "quant_in": _quant_in, "conv": _conv, "blocks": _blocks, "ssm": _ssm,
    "hadamard": _hadamard, "quant_out": _quant_out, "head": _head,
}  # fmt: skip
