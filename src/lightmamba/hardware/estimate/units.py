"""Units of a running model, or their parts, and the jobs of each in a pass, from the graph."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from lightmamba.arch.clients import HEAD, LOGITS, MEMORY, TABLE, WEIGHTS
from lightmamba.arch.contract import EXPONENT_RUN, WORD_BITS
from lightmamba.arch.graph import BEFORE
from lightmamba.arch.hardware import Inner, Stream
from lightmamba.arch.ports import gear
from lightmamba.arch.steps import NONE, Column, Table, every
from lightmamba.blocks import kind
from lightmamba.blocks.layer import Matrix, Sizes, out_channels
from lightmamba.hardware.estimate.workload import Workload, carried_out
from lightmamba.hardware.machine import steps
from lightmamba.hardware.machine.ports import clients
from lightmamba.numerics.linear import Projection

__all__ = ["HELD_BEATS", "LEAVE", "Run", "Walker", "Walkers", "base"]

LEAVE = "leave"  # of clients, instead of the memory's name: commands that they may carry out

HELD_BEATS = 2 * EXPONENT_RUN  # of a head, packed: of one group that is sent and one that is filled


def base(name: str) -> str:
    """Queue that a column of a table belongs to."""
    head, _, what = name.rpartition(".")
    return head if what in (steps.CLEAR_ALL, steps.SEE_EMPTY) else name


@dataclass(frozen=True)
class Run:
    """How much of a model is run.

    Parameters
    ----------
    layers, vocab : int
        First layers, and rows of the head.
    passes : int
    lanes : tuple of int
        Lanes that are looked at; those on equal channels behave alike.
    stalls : float
        Probability that a channel of memory does nothing in a cycle.
    """

    layers: int
    vocab: int
    passes: int
    lanes: tuple[int, ...]
    stalls: float = 0.0


@dataclass(frozen=True)
class Walker:
    """A unit, a part of one, or a path between memory and a unit, with its jobs.

    Parameters
    ----------
    name : str
    jobs : list of Table
        Of a pass, or another number after which they begin again.
    hold : int
        As of :class:`lightmamba.arch.hardware.Inner`.
    early : int
        Job with which the next pass may ask for its state; -1: none.
    """

    name: str
    jobs: list[Table]
    hold: int = 0
    early: int = -1


@dataclass(frozen=True)
class Carried:
    """An instruction of a layer as it is carried out.

    Parameters
    ----------
    layer : Sizes
    name : str
    matrix : Matrix
    op : Projection
        Its arithmetic.
    fresh, held : bool
        Whether its input is new, and stays for the next one.
    """

    layer: Sizes
    name: str
    matrix: Matrix
    op: Projection
    fresh: bool
    held: bool

    @property
    def leaves(self) -> bool:
        """Whether its matrix is out_proj."""
        return self.matrix.name == "out_proj"

    @property
    def emits(self) -> bool:
        """Whether its rows go to the epilogue."""
        return not self.leaves or self.name == "out_proj"

    @property
    def rows(self) -> int:
        """Rows of its matrix, or of a block."""
        return self.matrix.rows // self.matrix.blocks


@dataclass(frozen=True)
class Walkers:
    """All of a running model, in the order in which they act within a cycle."""

    work: Workload
    run: Run

    @cached_property
    def layers(self) -> tuple[Sizes, ...]:
        """Layers that are run."""
        return self.work.config.layers[: self.run.layers]

    @property
    def pass_jobs(self) -> int:
        """Instructions of a pass that the lanes carry out."""
        return self.work.first_job(len(self.layers)) + self.work.head

    @cached_property
    def carried(self) -> tuple[Carried, ...]:
        """Instructions of the layers."""
        found, work = [], self.work
        for i, layer in enumerate(self.layers):
            matrices = {m.name: m for m in layer.matrices(work.config.d_model, work.formats)}
            listed = carried_out(layer)
            entering = [n for n, (_, matrix) in enumerate(listed) if matrix != "out_proj"]
            for n, (name, matrix) in enumerate(listed):
                op = layer.projection(work.formats, i, matrix)
                fresh = n == entering[0] or matrix == "out_proj"
                held = n in entering[:-1]
                found.append(Carried(layer, name, matrices[matrix], op, fresh, held))
        return tuple(found)

    def started(self, unit: str) -> list[int]:
        """Numbers of the instructions that start a unit of a kind of layers."""
        own = self.work.graph.own_units
        return [n for n, c in enumerate(self.carried) if unit in own(c.layer.kind, c.name)]

    @cached_property
    def streams(self) -> tuple[Stream, ...]:
        """Streams of the machine."""
        return self.work.graph.of(self.work.arch)

    @cached_property
    def word(self) -> tuple[int, int]:
        """Beats of a word of what lies head by head, and words in a beat."""
        return gear(self.work.arch.port_elements * 8, self.work.arch.state_port_bits)

    def each(self) -> list[Walker]:
        """Stages in evaluation order: a producer before its consumers.

        A projection's lanes and epilogue come before those of the next projection.
        """
        parts = sorted(self.work.graph.parts(self.work.arch), key=lambda p: p.unit not in BEFORE)
        found = [*self._unpacked(), *map(self._walker, parts), *self._written()]
        return [walker for walker in found if sum(job.steps for job in walker.jobs)]

    def _walker(self, inner: Inner) -> Walker:
        before = self.work.first_job(len(self.layers) - 1)
        early = sum(c.emits for c in self.carried[:before]) if inner.name == "epilogue" else -1
        jobs = self._spine.get(inner.name)
        if jobs is None:
            mine = [self.carried[n].layer for n in self.started(inner.unit)]
            jobs = _alike(mine, lambda layer: self._of_kind(inner.name, layer))
        return Walker(inner.name, jobs, inner.hold, early)

    def _of_kind(self, name: str, layer: Sizes) -> Table:
        """Steps of a layer's unit: the kind's own, or as the graph says."""
        own, sizes = kind(layer.kind).hardware.steps, self.work.sizes(layer)
        if name in own:
            return own[name](self.work, layer, sizes)
        return self._regular(name, sizes)

    def _regular(self, name: str, sizes: Mapping[str, int]) -> Table:
        """An item of each stream every few steps; of one without items, none.

        Raises
        ------
        ValueError
            If the items of a stream do not go into the unit's steps.
        """
        unit = self.work.graph.unit(name)
        count = sizes[unit.steps]

        def items(stream: Stream) -> Column:
            mine = stream.count(sizes)
            if not mine:
                return NONE
            if stream.items == unit.steps:
                per = stream.per if isinstance(stream.per, int) else sizes[stream.per]
                return every(count, per)
            if count % mine:
                raise ValueError(f"{name} has {count} steps, but {stream.name} {mine} items")
            return every(count, count // mine)

        takes = {s.name: items(s) for s in self.streams if s.taker == name}
        return Table(count, takes, {s.name: items(s) for s in self.streams if s.giver == name})

    def _source(self, target: str, layer: Sizes) -> str:
        """Stream from a kind's own units to one of the spine; empty, if there is none."""
        own = self.work.graph.starts[layer.kind]
        return next((s.name for s in self.streams if s.taker == target and s.giver in own), "")

    @cached_property
    def _spine(self) -> dict[str, list[Table]]:
        """Jobs of the spine's units in a pass."""
        work, a, d_model = self.work, self.work.arch, self.work.config.d_model
        ins = len(self.layers) + work.head  # projections of the residual stream
        sizes = work.sizes(self.layers[0])
        head, width = work.head and self.run.vocab, work.rows_per_cycle

        def out(layer: Sizes) -> int:
            return out_channels(layer, work.formats)

        def lanes(c: Carried) -> Table:
            words, parts, vector = a.in_words, 1, "words_in"
            if c.leaves:
                parts, vector = c.layer.out_groups, "words_out"
                words = out(c.layer) // a.products // parts
            return steps.lanes(
                work, c.rows, words, parts, vector, c.op,
                fresh=c.fresh, held=c.held, emits=c.emits,
            )  # fmt: skip

        def finish(c: Carried) -> Table:
            if c.leaves:
                norm = self._source("epilogue", c.layer)
                return steps.epilogue(work, c.rows, c.layer.out_groups, norm)
            return steps.epilogue(work, c.rows, 1, "rms_in" if c.fresh else "")

        def hand_on(c: Carried) -> Table:
            if c.leaves:
                return steps.router(work, ["out"], np.zeros(c.rows, np.int64), together=True)
            return self._handed_on(c)

        def with_head(jobs: list[Table], make: Callable[[], Table]) -> list[Table]:
            return [*jobs, make()] if head else jobs

        emitting = [c for c in self.carried if c.emits]
        mixing = [c.layer for c in self.carried if c.name == "in_proj"]
        adds = [steps.residual(work, "out", emit=True)] * len(self.layers)
        if not head:
            adds[-1:] = [steps.residual(work, "out", emit=False)]
        return {
            "embed": [steps.embed(work)],
            "residual": [steps.residual(work, "embedded", emit=True), *adds],
            "rms_in": [self._regular("rms_in", sizes)] * ins,
            "quant_in": [
                steps.quantizer(a.in_channels, d_model, "residual", "quant_in", width)
            ] * ins,
            "words_in": [
                steps.gathering(a.in_channels, a.products, "quant_in", "words_in", width)
            ] * ins,
            "lanes": with_head(
                _alike(self.carried, lanes),
                lambda: steps.lanes(work, head, a.in_words, 1, "words_in", work.formats.head),
            ),
            "epilogue": with_head(
                _alike(emitting, finish), lambda: steps.epilogue(work, head, 1, "rms_in")
            ),
            "router": with_head(
                _alike(emitting, hand_on),
                lambda: steps.router(work, ["logit"], np.zeros(head, np.int64), together=True),
            ),
            "hadamard": _alike(
                mixing, lambda s: steps.hadamard(work, s, self._source("hadamard", s))
            ),
            "quant_out": _alike(
                mixing, lambda s: steps.quantizer(out(s), out(s), "mixed", "quant_out")
            ),
            "words_out": _alike(
                mixing, lambda s: steps.gathering(out(s), a.products, "quant_out", "words_out")
            ),
            "head": [steps.head(work, head)] if head else [],
        }  # fmt: skip

    def _handed_on(self, carried: Carried) -> Table:
        """Rows of a matrix that meets the residual stream, to their units."""
        layer, own = carried.layer, kind(carried.layer.kind).hardware
        streams = [row.stream for row in own.graph.rows]
        targets = list(dict.fromkeys(streams))
        kinds = own.row_kinds(layer, self.work.order)
        if carried.matrix.name != "in_proj":
            names = [row.name for row in own.graph.rows]
            kinds = np.full(carried.rows, names.index(carried.matrix.name))
        return steps.router(self.work, targets, np.array([*map(targets.index, streams)])[kinds])

    def _unpacked(self) -> Iterator[Walker]:
        """States that lie head by head, on their way from memory."""
        for client in clients(self.work.arch, HEAD):
            name, words = client.name, self.work.memory.head_words
            ahead = self.work.graph.client(name).name
            yield Walker(f"unpack_{name}", [Table(1, {f"{name}.beat": 1}, {ahead: 1})])
            yield Walker(f"read_{name}", [steps.unpacker(name, words, *self.word)])

    def _written(self) -> Iterator[Walker]:
        """Words on their way to memory."""
        each = gear(WORD_BITS, self.work.arch.aux_port_bits)
        for stream in self.streams:
            if stream.taker != MEMORY:
                continue
            name = stream.target.split(".")[1]
            shape = next(c.shape for c in clients(self.work.arch) if c.name == name)
            if shape == WEIGHTS:
                continue  # the unit's own steps say when they may come
            if shape == TABLE:
                asked = Table(1, {stream.name: 1}, {f"{LEAVE}.{name}": 1})
                yield Walker(f"ask_{name}", [asked])  # jobs begin again
            elif shape == HEAD:
                words = self.work.memory.head_words
                yield Walker(f"write_{name}", [steps.sender(name, words, *self.word)])
                yield Walker(f"pack_{name}", [steps.packer(name, stream.name, words, *self.word)])
            elif shape == LOGITS:
                job = steps.writer(name, stream.name, -(-self.run.vocab // 2), *each, last=True)
                yield Walker(f"write_{name}", [job] * self.work.head)
            else:
                job = steps.writer(name, stream.name, self.work.words(name), *each, last=False)
                yield Walker(f"write_{name}", [job])


def _alike(each: Sequence[Any], make: Callable[[Any], Table]) -> list[Table]:
    """A job for each; those of equal ones are one."""
    found = {one: make(one) for one in dict.fromkeys(each)}
    return [found[one] for one in each]
