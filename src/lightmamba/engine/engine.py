"""The integer engine: token ids in, logits out, every intermediate named and exact.

This is the golden model: hardware must equal it bit for bit.
"""

import logging
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmamba import native
from lightmamba.blocks import kind
from lightmamba.blocks.layer import Arithmetic, Observe, Rms
from lightmamba.common.errors import InputError
from lightmamba.common.forks import ForkLock
from lightmamba.common.passes import Pass, Slot, carry_out
from lightmamba.engine.described import Description
from lightmamba.engine.native import Native, has_kernels
from lightmamba.engine.passes import by_arrays, by_kernels, check, rows_together
from lightmamba.engine.reference import Reference, one_blas_thread, rescale_input
from lightmamba.engine.routed import Routed
from lightmamba.engine.state import Layout, State
from lightmamba.model.qmodel import QuantizedLinear, QuantizedModel
from lightmamba.model.qmodel.model import RMS_SHIFT
from lightmamba.numerics.formats import INT16, INT32, IntFormat
from lightmamba.numerics.linear import Projection
from lightmamba.numerics.primitives import Ints, round_shift

__all__ = ["PIECE", "Engine", "Observe"]

log = logging.getLogger(__name__)
Values = dict[str, NDArray[Any]]
PIECE = 256  # tokens that go through all layers together, so that they stay in the cache


class Engine:
    """Run a quantized model.

    Parameters
    ----------
    model : QuantizedModel
    compiled : bool
        Use the compiled kernels; they give the same integers, faster. Without a library
        (:func:`lightmamba.native.available`) numpy is used, and a warning says so once.
    threads : int
        Share the work of every step, of one sequence too.
    isa : str, optional
        Instruction set of the kernels: "avx512", "avx2" or "portable"; by default the best.

    Raises
    ------
    InputError
        For less than one thread, or an instruction set that this processor does not have.

    Attributes
    ----------
    context_length : int or None
        Tokens that a sequence may have; None, since states grow as they need.
    undecided : int
        Tokens of a sequence that a pass may leave undecided, at most: those of one piece but one.
    """

    context_length: int | None = None
    undecided = PIECE - 1

    def __init__(
        self,
        model: QuantizedModel,
        *,
        compiled: bool = True,
        threads: int = 1,
        isa: str | None = None,
    ) -> None:
        if threads < 1:
            raise InputError(f"threads must be at least 1, not {threads}")
        self.model = model
        self.config, self.formats = model.config, model.formats
        self.vocab_size, self.valid_vocab = model.config.vocab_size, model.valid_vocab
        self.logit_exponent = model.logit_exp
        self.threads, self.layout = threads, Layout.of(model.config.layers, model.formats)
        self.projection, self.head_projection = self.formats.projection, self.formats.head
        self._arithmetic: dict[int, Arithmetic] = {}
        self._routed: dict[int, Routed] = {}
        self.ops: Reference | Native = Reference(model)
        self.counters = Counter(dict.fromkeys(_losses(model), 0))  # what saturated, by kind
        self._counting = ForkLock()
        self.kernels: Native | None = None  # that run all layers in one call
        if compiled and has_kernels() and Description.fits(model):
            self.ops = Native(model, threads, isa)
            # A comparison recipe has steps of its own, which go by operations.
            self.kernels = self.ops if model.plain and Description.is_whole(model) else None
        if isinstance(self.ops, Reference):
            log.info("the engine runs on numpy, on one thread")

    def arithmetic(self, layer: int) -> Arithmetic:
        """Arithmetic of each layer between its projections, made once."""
        if layer not in self._arithmetic:
            self._arithmetic[layer] = self.ops.arithmetic(self.model.layers[layer])
        return self._arithmetic[layer]

    def routed(self, layer: int) -> Routed:
        """A layer whose router chooses blocks, made once."""
        if layer not in self._routed:
            self._routed[layer] = Routed(self.ops, self.model, layer)
        return self._routed[layer]

    @contextmanager
    def routers(self) -> Iterator[dict[int, Routed]]:
        """Layers that choose experts, by number, whose choice can be seen and changed meanwhile.

        Layers go one by one, since the kernels of a whole pass choose by themselves. What saturates
        is not counted.
        """
        kernels, counted = self.kernels, self.counters.copy()
        self.kernels, sizes = None, enumerate(self.config.layers)
        try:
            yield {index: self.routed(index) for index, each in sizes if each.routed}
        finally:
            self.kernels, self.counters = kernels, counted

    @property
    def seconds(self) -> float:
        """Clock by which passes are timed."""
        return time.perf_counter()

    def empty_state(self, batch: int, undecided: int = 0) -> State:
        """State of ``batch`` sequences that have not begun.

        A pass (:meth:`run`) may leave up to ``undecided`` tokens of each to be
        accepted or given up by the next one.
        """
        return State.empty(self.model, batch, undecided)

    def state_bytes(self, tokens: int) -> int:
        """Bytes of the state of one sequence after a number of tokens, with its room to grow."""
        return 2 * self.layout.bytes_of(tokens) - self.layout.bytes_of(0)

    def step(self, ids: NDArray[np.int64], state: State) -> tuple[NDArray[np.int32], State]:
        """Logits (batch, vocab_size) after one token each, (batch,)."""
        logits, state = self.forward(np.asarray(ids)[:, None], state)
        return logits[:, 0], state

    def logits(self, ids: NDArray[np.int64], state: State) -> tuple[NDArray[np.float64], State]:
        """Real-valued logits of every position, for evaluation."""
        logits, state = self.forward(ids, state, last_only=False)
        return logits.astype(np.float64) * 2.0**self.logit_exponent, state

    def forward(
        self,
        ids: NDArray[np.int64],
        state: State,
        *,
        last_only: bool = True,
        observe: Observe | None = None,
    ) -> tuple[NDArray[np.int32], State]:
        """Feed (batch, seqlen) token ids.

        Returns
        -------
        logits : (batch, 1 or seqlen, vocab_size)
            In units of ``2**logit_exponent``.
        state : State
            The one given, after these tokens. A caller that wants to go on from before them too
            feeds ``state.fork()``. Tokens that a pass left undecided are given up.

        Raises
        ------
        InputError
            If an id is outside the vocabulary, there is none, or the state is of another batch, or
            of a pass that failed; see :meth:`run`.
        """
        ids = np.asarray(ids)
        if ids.ndim != 2:
            raise InputError(f"ids must be (batch, seqlen), not {ids.shape}")
        if len(ids) != len(state):
            raise InputError(f"the state is of {len(state)} sequences, but the ids of {len(ids)}")
        slots = [Slot(n, row, 1 if last_only else len(row)) for n, row in enumerate(ids)]
        logits = self.run(Pass(tuple(slots)), state, observe)
        return logits.reshape(len(ids), -1, self.vocab_size), state

    def run(self, work: Pass, state: State, observe: Observe | None = None) -> NDArray[np.int32]:
        """Carry out a pass over tokens of several sequences.

        What a sequence gets does not depend on the other slots: every sum of integers is exact.
        Input that is refused changes nothing. If the pass fails later (an observer raises, or the
        program is interrupted), nothing is counted, and its sequences are refused until they begin
        again or :meth:`State.put` replaces them; those of no slot stay as they are.

        Parameters
        ----------
        work : Pass
            Sequences are rows of the state; those that no slot names stay as they are.
        state : State
            Of all sequences; advanced.
        observe : callable, optional
            Called with the name and the values of every observable
            (docs/reference/observables.md), of which the first axes are slots and tokens. All
            tokens go through a layer together then, whatever memory that takes.

        Returns
        -------
        logits : (wanted, vocab_size) int32
            Of the wanted tokens of each slot, in their order.

        Raises
        ------
        InputError
            If the state is of another model's layout, a sequence is not of the state, an id is
            outside the vocabulary, more tokens are accepted than are undecided, the state has no
            room for those that are left so, or an earlier pass of a sequence failed.
        ValueError
            If slots that are to be observed are not adjacent rows, in order, of equally many
            tokens and logits, or leave tokens undecided.
        """
        if state.layout is not self.layout and state.layout != self.layout:
            raise InputError(
                "the state is of a model with other layers or formats; begin with empty_state() of "
                "this engine"
            )
        check(work, state, self.vocab_size)
        if observe is not None and rows_together(work) is None:
            raise ValueError("slots that are observed are adjacent rows with equally many tokens")
        # All memory first: if it does not suffice, nothing was fed and no sequence has ended.
        begun = {s.sequence: state.room(len(s.tokens)) for s in work.slots if s.fresh}
        for slot in work.slots:
            if not slot.fresh:
                state.reserve(slot.sequence, slot.replay + len(slot.tokens))
        for sequence, pages in begun.items():
            state.clear(sequence, pages)
        most = PIECE if observe is None else work.tokens
        lost: Counter[str] = Counter()
        part = partial(self._part, state=state, observe=observe, total=lost)
        try:
            logits = carry_out(work, most, part)
        except BaseException:
            for slot in work.slots:
                state.record.fail(slot.sequence)
            raise
        with self._counting:
            self.counters.update(lost)
        return logits

    def _part(
        self, work: Pass, state: State, observe: Observe | None, total: Counter[str]
    ) -> NDArray[np.int32]:
        """Carry out what goes through all layers together, and add what saturated to ``total``."""
        if self.kernels is not None:
            return by_kernels(self.kernels, work, state, observe, total)
        with one_blas_thread():
            return by_arrays(work, state, partial(self._run, observe=observe), total)

    def _run(
        self, ids: NDArray[np.int64], state: State, wanted: int, observe: Observe | None
    ) -> tuple[NDArray[np.int32], Counter[str]]:
        """Logits (batch, wanted, vocab_size), and what saturated; advances ``state``."""
        lost: Counter[str] = Counter()
        u = self.embed(ids, lost)
        if observe is not None:
            observe("embedding", u)
        for i in range(self.config.n_layer):
            u = self.layer(i, u, state, lost, observe)
        state.position += ids.shape[1]
        if not wanted:
            return np.empty((len(ids), 0, self.vocab_size), dtype=np.int32), lost
        return self.head(u[:, -wanted:], lost, observe), lost

    def embed(self, ids: NDArray[np.int64], lost: Counter[str]) -> Ints:
        """Residual stream (batch, seqlen, d_model) of token ids."""
        table, f = self.model.embedding, self.formats
        scale = np.repeat(self.projection.scale.multiplier(table.code[ids]), f.group, axis=-1)
        wide = round_shift(
            table.q[ids].astype(np.int64) * scale, self.model.residual_exp - table.base
        )[..., : self.config.d_model]
        lost["embedding"] += INT32.overflows(wide)
        return INT32(wide)

    def head(
        self, u: Ints, lost: Counter[str], observe: Observe | None = None
    ) -> NDArray[np.int32]:
        """Logits (batch, seqlen, vocab_size) of the last residual stream."""
        m, lead = self.model, u.shape[:-1]
        flat = u.reshape(-1, u.shape[-1])
        rms = self.ops.rms(flat, RMS_SHIFT, 1, m.eps)
        rows, found = self._project(
            "head", self.head_projection, m.head, flat, rms, m.head_shift(), INT32, lost
        )
        if observe is not None:
            for name, value in found.items():
                observe(name.replace("rows", "logits"), value.reshape(*lead, -1))
        out: NDArray[np.int32] = rows.reshape(*lead, -1).astype(np.int32, copy=False)
        return out

    def _project(
        self,
        name: str,
        op: Projection,
        linear: QuantizedLinear,
        x: Ints,
        rms: Rms,
        shift: Any,
        form: IntFormat,
        lost: Counter[str],
    ) -> tuple[Ints, Values]:
        """Rows of a projection, whose input is zero-padded to its columns, and all on the way."""
        channels = linear.shape[1]
        if not linear.plain:
            wide = np.pad(x.astype(np.int64), [(0, 0), (0, channels - x.shape[1])])
            x, over = rescale_input(linear, wide, rms)
            lost[f"{name}.input"] += over
        q, code, clipped, clamped = self.ops.quantize(op.act, x, channels, linear.act_base)
        rows, over = self.ops.linear(op, linear, q, code, rms, shift, form)
        lost.update({"clipped": clipped, f"{name}.scale": clamped, name: over})
        if linear.bias is not None:
            rows = rows.astype(np.int64) + linear.bias
        found: Values = {"rms": rms[0], "rms_shift": rms[1], "q": q, "code": code, "rows": rows}
        return rows, {f"{name}.{n}": value for n, value in found.items()}

    def in_proj(self, i: int, u: Ints, lost: Counter[str]) -> tuple[Ints, Values]:
        """Rows of in_proj, (vectors, in_rows), of (vectors, d_model)."""
        layer, rms = self.model.layers[i], self.ops.rms(u, RMS_SHIFT, 1, self.model.eps)
        op, shift = self.formats.of(i, "in_proj"), self.model.in_shift(layer)
        rows, found = self._project("in_proj", op, layer.in_proj, u, rms, shift, INT16, lost)
        if layer.in_proj.bias is not None:
            lost["in_proj"] += INT16.overflows(rows)
            rows = INT16(rows)
        return rows, found | {"in_proj.rows": rows}

    def mix(
        self, i: int, rows: Ints, state: State, lost: Counter[str], observe: Observe | None = None
    ) -> tuple[Ints, Rms]:
        """Input of out_proj and its 1/rms of (batch, seqlen, in_rows); advances the state."""
        for row in range(len(state)):
            state.reserve(row, rows.shape[1])
        return self.arithmetic(i).run(rows, state.layer(i), state.position, lost, observe)

    def out_proj(
        self, i: int, x: Ints, rms: Rms, u: Ints, lost: Counter[str]
    ) -> tuple[Ints, Values]:
        """Residual stream (vectors, d_model) after the layer."""
        layer, op = self.model.layers[i], self.formats.of(i, "out_proj")
        shift = self.model.out_shift(layer)
        rows, found = self._project("out_proj", op, layer.out_proj, x, rms, shift, INT32, lost)
        after = self.add(u, rows, lost)
        return after, found | {"residual": after}

    def add(self, u: Ints, rows: Ints, lost: Counter[str]) -> Ints:
        """Residual stream after a layer."""
        total = u.astype(np.int64, copy=False) + rows
        lost["residual"] += INT32.overflows(total)
        return INT32(total)

    def layer(
        self, i: int, u: Ints, state: State, lost: Counter[str], observe: Observe | None = None
    ) -> Ints:
        """Residual stream (batch, seqlen, d_model) after layer ``i``; advances its state."""
        lead = u.shape[:-1]
        flat = u.reshape(-1, u.shape[-1])

        def see(values: Values) -> None:
            if observe is not None:
                for name, value in values.items():
                    observe(f"layer.{i}.{name}", value.reshape(*lead, -1))

        def see_mixer(name: str, value: NDArray[Any]) -> None:
            if observe is not None:
                observe(f"layer.{i}.{name}", value)

        if self.config.layers[i].routed:
            rows, found = self.routed(i)(flat, lost, observed=observe is not None)
            out = self.add(flat, rows, lost)
            see(found | {"residual": out})
            return out.reshape(u.shape)
        rows, first = self.in_proj(i, flat, lost)
        see(first)
        given = rows.reshape(*lead, -1)
        mixed, rms = self.mix(i, given, state, lost, None if observe is None else see_mixer)
        out, last = self.out_proj(i, mixed, rms, flat, lost)
        see(last)
        return out.reshape(u.shape)


def _losses(model: QuantizedModel) -> list[str]:
    """Kinds of saturation that a model can have."""
    mine = [name for known in model.config.kinds for name in kind(known).integers.losses]
    other = [name for known in native.KINDS for name in kind(known).integers.losses]
    return [name for name in native.LOSSES if name in mine or name not in other]
