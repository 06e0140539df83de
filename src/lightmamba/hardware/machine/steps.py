"""Steps of the spine's units where they do not follow from the graph, for the estimate."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmamba.arch.contract import BLOCK, EXPONENT_RUN, GROUP, WORD
from lightmamba.arch.latency import STATE_PACKED, STATE_UNPACKED, TAKEN
from lightmamba.arch.steps import (
    CLEAR,
    EMPTY,
    HELD,
    KEPT,
    NONE,
    SINGLY,
    Column,
    Table,
    column,
    every,
    joined,
)
from lightmamba.blocks.layer import Sizes, out_channels
from lightmamba.hardware.machine.counters import CYCLES
from lightmamba.hardware.machine.spine import residual_sum
from lightmamba.numerics.linear import Projection

__all__ = [
    "CLEAR_ALL", "COMMAND", "FINISHED", "SEE_EMPTY", "embed", "epilogue", "gathering", "hadamard",
    "head", "lanes", "packer", "quantizer", "residual", "router", "sender", "unpacker", "writer",
]  # fmt: skip

Rows = NDArray[Any]  # of whole numbers
MULTIPLYING, SCALE, WAIT_ACTIVATION, WAIT_MEMORY, WAIT_EPILOGUE, IDLE = range(len(CYCLES))
COMMAND, FINISHED = "command", "finished"  # links of the sequencer
MIDDLE, END = 1, 2  # of a job: marks
# A step may do this with a queue that it takes from or gives to: a second column of its name.
CLEAR_ALL, SEE_EMPTY = "clear", "empty"


def lanes(
    work: Any, rows: int, words: int, parts: int, vector: str, op: Projection,
    *, fresh: bool = True, held: bool = False, emits: bool = True,
) -> Table:  # fmt: skip
    """One step per beat of all lanes; a row has ``parts`` parts of ``words`` beats.

    Activations stay buffered for the whole job. A weight that is used twice is released on its
    second use. The input may be that of the job before, and stay for the next one; sums may stay in
    the lanes.
    """
    split, twice = work.arch.beats(op), work.arch.twice(op)
    slots, period, each = -(-rows // work.arch.lanes), work.arch.scale_period * split, 1 + twice
    row = parts * words * split  # beats of a slot
    weights = np.arange(slots * row)
    at = 1 + weights // period + 1 + (weights + 1) * each - 1  # of the step that takes a weight
    steps = 1 + -(-len(weights) // period) + len(weights) * each
    first = at[:row:split]  # slot, which finds new activations
    beats, acts, sums = (column(steps) for _ in range(3))
    why, pause, mark = (column(steps, value) for value in (SCALE, 1, 0))
    command = column(steps)
    command[0], why[0], pause[0] = 1, IDLE, TAKEN + 1
    if not work.arch.added_channels:  # else the job before goes on leaving
        sums[0] = EMPTY
    beats[1:], why[at] = 1, MULTIPLYING
    if fresh:
        acts[first - twice] = KEPT
    if twice:
        beats[at - 1], why[at - 1] = 0, MULTIPLYING
    if emits:
        sums[at[words * split - 1 :: words * split]] = 1
    if slots > 1:
        mark[at[slots // 2 * row - 1]] = MIDDLE
    mark[-1] = END
    clear = column(steps)
    if not held:
        clear[-1] = CLEAR
    missing = {f"lanes.{COMMAND}": IDLE, vector: WAIT_ACTIVATION, "weights": WAIT_MEMORY,
               "parts": WAIT_EPILOGUE}  # fmt: skip
    takes: dict[str, Column] = {
        f"lanes.{COMMAND}": command, vector: acts, "weights": beats, f"{vector}.{CLEAR_ALL}": clear,
    }  # fmt: skip
    return Table(steps, takes, {"parts": sums}, pause, why, missing, mark)


def epilogue(work: Any, rows: int, parts: int, norm: str) -> Table:
    """The rows of a cycle per step, each part of a slot in its turn; first ``norm``, if any."""
    count, per = work.arch.lanes, work.rows_per_cycle
    pairs, slots = -(-count // per), -(-rows // count)
    place = np.arange(slots * parts * pairs)
    pair, part, slot = place % pairs, place // pairs % parts, place // pairs // parts
    issued = (part == parts - 1) & (slot * count + pair * per < rows)
    tables = [
        Table(1, {f"epilogue.{COMMAND}": 1}, {"rows": EMPTY}, pause=TAKEN),
        Table(
            len(place), {"parts": (pair == pairs - 1).astype(np.int16)},
            {"rows": issued.astype(np.int16)},
        ),
    ]  # fmt: skip
    if norm:
        tables.insert(1, Table(parts, {norm: 1}, {}))
    return joined(*tables)


def router(work: Any, targets: list[str], kinds: Rows, *, together: bool = False) -> Table:
    """The rows of a cycle per step, each to its target: those of one go ``together`` or singly."""
    count, per = work.arch.lanes, work.rows_per_cycle
    places = np.arange(-(-len(kinds) // count) * count).reshape(-1, count)[:, ::per].ravel()
    first = places[places < len(kinds)]
    alone = np.minimum(count - first % count, len(kinds) - first) < 2
    if per < 2:
        alone[:] = True
    second = np.where(alone, -1, kinds[np.minimum(first + 1, len(kinds) - 1)])
    gives: dict[str, Column] = {}
    for n, target in enumerate(targets):
        items = (kinds[first] == n).astype(np.int16) + (second == n)
        items[items == 2] = 2 if together else SINGLY
        items[items == 0] = NONE
        if (items != NONE).any():
            gives[target] = items
    return Table(len(first), {"rows": 1}, gives, split=True)


def residual(work: Any, source: str, *, emit: bool) -> Table:
    """Set the stream or add rows; pass it on, and its squares after the last one."""
    channels, width = work.config.d_model, work.rows_per_cycle
    taken = np.ones(channels, np.int16) if source == "embedded" else _handed(work, channels)
    steps = len(taken)
    if emit:
        gives: dict[str, Column] = {"residual": _gathered(taken, width), "sum_in": _last(steps)}
        return Table(steps, {source: taken}, gives)
    pause = column(steps, 1)
    pause[-1] = residual_sum(work.arch)
    return joined(Table(steps, {source: taken}, {}, pause), Table(1, {}, {FINISHED: 1}))


def _handed(work: Any, rows: int) -> Rows:
    """Rows in each transfer of those that leave the epilogue together, slot by slot."""
    count, most = work.arch.lanes, work.rows_per_cycle
    slot = np.minimum(most, count - np.arange(0, count, most))
    taken = np.tile(slot, -(-rows // count))
    before = np.cumsum(taken) - taken
    found: Rows = np.minimum(taken, rows - before)[before < rows].astype(np.int16)
    return found


def _gathered(taken: Rows, width: int) -> Rows:
    """Groups of ``width`` items that each transfer completes; what is left at the end is one."""
    whole = np.diff(np.cumsum(taken, dtype=np.int64) // width, prepend=0)
    whole[-1] += taken.sum(dtype=np.int64) % width > 0
    return whole.astype(np.int16)


def _last(steps: int) -> Column:
    found = column(steps)
    found[-1] = 1
    return found


def embed(work: Any) -> Table:
    """Eight channels to a word; that of a group's scale is taken with its first."""
    at = np.arange(work.arch.in_channels)
    words = np.where(at % WORD == 0, 1, NONE).astype(np.int16)
    words[at % GROUP == 0] = 2
    real = (at < work.config.d_model).astype(np.int16)
    return Table(len(at), {"embedding": words}, {"embedded": real})


def quantizer(channels: int, taken: int, source: str, target: str, width: int = 1) -> Table:
    """A block leaves when its last element has been looked at; zeros to whole groups."""
    steps, block = channels // width, BLOCK // width
    elements, blocks = column(steps), column(steps, HELD)
    elements[: -(-taken // width)] = 1
    blocks[block - 1 :: block] = HELD + block
    return Table(steps, {source: elements}, {target: blocks})


def gathering(channels: int, products: int, source: str, target: str, width: int = 1) -> Table:
    """Elements to words of the activation buffer, ``width`` in a step."""
    steps = channels // width
    return Table(steps, {source: 1}, {target: every(steps, products // width)})


def hadamard(work: Any, layer: Sizes, source: str) -> Table:
    """Each element leaves with the one that comes order - 1 places after it.

    The next job begins when the last one has left.
    """
    channels, taken = out_channels(layer, work.formats), layer.out_dim // layer.out_groups
    later = work.formats.transform.size(taken) - 1
    elements, out, at = column(channels + later), column(channels + later, 1), np.arange(channels)
    elements[:channels] = np.where(at % (channels // layer.out_groups) < taken, 1, NONE)
    out[:later] = 0
    pause = column(len(out), 1)
    pause[-1] = work.graph.unit("hadamard").latency + TAKEN
    return Table(len(out), {source: elements}, {"mixed": out}, pause)


def head(work: Any, rows: int) -> Table:
    """Logits as the epilogue hands them on, by slots; two of them to a word."""
    taken = _handed(work, rows)
    return Table(len(taken), {"logit": taken}, {"logits": _gathered(taken, 2)})


def writer(client: str, source: str, words: int, beats: int, each: int, *, last: bool) -> Table:
    """Words to beats, ``beats`` to one or ``each`` of one.

    The last one ends its beat, and if nothing comes after it, the pass.
    """
    if not words:
        return Table(0, {}, {})
    steps = words * beats
    word = column(steps)
    word[::beats] = 1
    gives: dict[str, Column] = {f"memory.{client}": every(steps, each)}
    if last:
        gives[FINISHED] = _last(steps)
    return Table(steps, {source: word}, gives)


def unpacker(client: str, words: int, beats: int, each: int) -> Table:
    """A head's beats to words, ``beats`` to one or ``each`` of one; exponents before every 32."""
    if not words:
        return Table(0, {}, {})
    data = -(-words // each) * beats
    runs = np.arange(data) // EXPONENT_RUN
    steps = data + int(runs[-1]) + 2
    out = column(steps)
    ends = np.arange(beats - 1, data, beats)
    out[ends + runs[ends] + 1] = np.minimum(each, words - np.arange(len(ends)) * each)
    empty, beat, pause = column(steps, EMPTY), column(steps, 1), column(steps, 1)
    beat[-1], pause[-1] = NONE, STATE_UNPACKED
    gives: dict[str, Column] = {
        f"{client}.beat.{SEE_EMPTY}": empty, f"{client}.beat": out, f"leave.{client}": _last(steps),
    }  # fmt: skip
    return Table(steps, {f"memory.{client}": beat}, gives, pause)


def packer(client: str, source: str, words: int, beats: int, each: int) -> Table:
    """A head's words to beats, in groups of 32, which wait for their exponents."""
    if not words:
        return Table(0, {}, {})
    place, pause = np.arange(1, words + 1), column(words, beats)
    whole = (place % each == 0) | (place == words)
    done = -(-place // each) * beats  # beats after each word
    closes = (done % EXPONENT_RUN == 0) | (place == words)
    pause[-1] += STATE_PACKED
    at = np.arange(words) + np.cumsum(closes & whole) - (closes & whole)  # steps of the words
    steps = int(at[-1]) + 2
    word, sent, group, pauses = column(steps), column(steps), column(steps, 1), column(steps, 0)
    word[at], sent[at], pauses[at] = 1, whole * beats, pause
    group[at] = np.where(closes, 0, NONE)
    gives: dict[str, Column] = {f"{client}.packed": sent, f"{client}.group": group}
    return Table(steps, {source: word}, gives, pauses)


def sender(client: str, words: int, beats: int, each: int) -> Table:
    """A head's beats to the writers, after those of their exponents."""
    if not words:
        return Table(0, {}, {})
    data = -(-words // each) * beats
    steps = data + -(-data // EXPONENT_RUN)
    exponents = np.arange(steps) % (EXPONENT_RUN + 1) == 0
    return Table(
        steps, {f"{client}.group": np.where(exponents, 1, NONE).astype(np.int16),
                f"{client}.packed": np.where(exponents, NONE, 1).astype(np.int16)},
        {f"memory.{client}": 1},
    )  # fmt: skip
