"""The operations of the reference by the compiled kernels: the same integers, fast.

A complete pass over all layers is one call. The phases of a layer can be run one by one too; they
are the same functions.
"""

import ctypes
import logging
import os
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmamba import native
from lightmamba.blocks import kind
from lightmamba.blocks.layer import Arithmetic, Observe, Rms, unit_rms
from lightmamba.common.errors import InputError
from lightmamba.common.forks import ForkLock
from lightmamba.common.passes import Pass, Slot
from lightmamba.engine.described import Description, pointer
from lightmamba.engine.state import Layout, State
from lightmamba.engine.workspace import Workspace, make_panel
from lightmamba.model.qmodel import QuantizedLayer, QuantizedLinear, QuantizedModel
from lightmamba.numerics.blocks import HALF, BlockQuant, halved
from lightmamba.numerics.formats import INT32, IntFormat
from lightmamba.numerics.linear import Projection
from lightmamba.numerics.primitives import Ints

__all__ = ["Call", "Compiled", "Native", "has_kernels"]

Array = NDArray[Any]


def _as(array: Any, dtype: Any) -> Array:
    return np.ascontiguousarray(array, dtype=dtype)


@lru_cache
def has_kernels() -> bool:
    """Whether the library is there; where it is not, a warning says so once."""
    if not native.available():
        warnings.warn(
            "the compiled kernels were not built, so the engine runs on numpy, many times slower; "
            "install a C++ compiler and then lightmamba again",
            stacklevel=3,
        )
    return native.available()


class Native:
    """The operations of :class:`~lightmamba.engine.reference.Reference`, compiled.

    Parameters
    ----------
    model : QuantizedModel
    threads : int
        Share the rows and heads of every operation.
    isa : str, optional
        "avx512", "avx2" or "portable"; by default the best that this processor has.

    Raises
    ------
    InputError
        If the processor does not have ``isa``.
    """

    def __init__(self, model: QuantizedModel, threads: int = 1, isa: str | None = None) -> None:
        self.config, self.formats = model.config, model.formats
        self.layout = Layout.of(model.config.layers, model.formats)
        self.context = native.context(isa, threads)
        logging.getLogger(__name__).info(
            "the engine runs %s kernels on %d threads%s", self.context.isa, threads,
            f"; this processor has none of {', '.join(native.ISAS[1:])}"
            if native.best_isa() == native.ISAS[0] else "",
        )  # fmt: skip
        self.described = Description(model, self.context)
        self._workspace: Workspace | None = None
        self._process = os.getpid()  # of the workspace
        self.lock = ForkLock()  # of the workspace: one pass at a time
        self._model = model

    def prepare(self) -> None:
        """Repack the weights of all layers, once; :meth:`run` needs it."""
        self.described.complete()

    def workspace(self, vectors: int) -> Workspace:
        """Memory of a pass, kept for the next one.

        A child of fork makes its own: a pass of the parent may have been half done in this one.
        """
        here = self._process == os.getpid()
        if self._workspace is None or self._workspace.capacity < vectors or not here:
            self._process = os.getpid()
            self._workspace = Workspace(self._model, self.config.layers, vectors)
        return self._workspace

    def discard(self) -> None:
        """Forget the memory of a pass that failed, with what it had counted."""
        self._workspace = None

    def run(
        self, state: State, work: Pass, layers: range, *, embed: bool = True, head: bool = True
    ) -> NDArray[np.int32]:
        """Feed the vectors of a pass through some layers; advances ``state`` but its position.

        Without ``embed`` the residual stream goes on from the call before. The logits of ``head``
        are (wanted, vocab_size).
        """
        vectors, wanted = work.tokens, work.wanted if head else 0
        memory = self.workspace(vectors)
        slots = _slots(work.slots, memory.arrays["ids"], memory.arrays["want"])
        logits = np.empty((wanted, self.config.vocab_size), dtype=np.int32)
        struct = memory.struct(vectors, wanted, logits if wanted else None)
        self.context.call(
            "run", self.described.whole, struct, self._sequences(state), slots, len(slots),
            layers.start, layers.stop, ctypes.c_int(embed), ctypes.c_int(wanted > 0),
        )  # fmt: skip
        return logits

    def _sequences(self, state: State) -> native.Sequences:
        """Pointers to the arrays of a state, which must be as they were made."""
        data = state.data
        whole = len(data) == 0 or data[0].flags.c_contiguous
        fits = data.dtype == np.uint8 and data.shape[1:] == (self.layout.size,)
        if not (fits and whole and data.flags.writeable):
            found = f"{data.dtype} {data.shape}"
            raise InputError(f"the state is {found}, which is not as Engine.empty_state makes it")
        return _sequences(state)

    def rms(self, x: Ints, shift: int, groups: int, eps: int) -> tuple[Ints, Ints]:
        x = _as(x, np.int32)
        mantissa, j = (np.empty((len(x), groups), dtype=np.int32) for _ in range(2))
        op = native.RmsOp(x=pointer(x), channels=x.shape[1], groups=groups, shift=shift, eps=eps,
                          mantissa=pointer(mantissa), j=pointer(j))  # fmt: skip
        self.context.call("rms", self.described.sizes, op, len(x))
        return mantissa.astype(np.int64), j.astype(np.int64)

    def quantize(
        self, act: BlockQuant, x: Ints, channels: int, base: int
    ) -> tuple[NDArray[np.int8], NDArray[np.uint8], int, int]:
        if act.via:
            whole, codes, clipped, clamped = self.quantize(act.whole, x, channels, base - HALF)
            return halved(whole), codes, clipped, clamped
        x = _as(x, np.int32)
        q = np.empty((len(x), channels), dtype=np.int8)
        code = np.empty((len(x), channels // act.block), dtype=np.uint8)
        lost = np.zeros(2, dtype=np.int64)
        op = native.QuantizeOp(
            format=self.described.blocks(act, base), x=pointer(x), given=x.shape[1],
            channels=channels, q=pointer(q), code=pointer(code), lost=pointer(lost),
        )  # fmt: skip
        self.context.call("quantize", op, len(x))
        return q, code, int(lost[0]), int(lost[1])

    def linear(
        self,
        op: Projection,
        linear: QuantizedLinear,
        q: NDArray[np.int8],
        code: NDArray[np.uint8],
        rms: tuple[Ints, Ints],
        row_shift: Any,
        out: IntFormat,
        *,
        raw: bool = False,
    ) -> tuple[Array, int]:
        mantissa, j = (_as(part, np.int32) for part in rms)
        q, code, parts = _as(q, np.int8), _as(code, np.uint8), mantissa.shape[1]
        kept: list[Any] = []
        struct = self.described.linear(op, linear, row_shift, out, parts, kept, raw=raw)
        panel, arrays = make_panel(len(q), q.shape[1], op.group)
        dtype: Any = np.int64 if parts > 1 or raw else np.int16 if out.bits <= 16 else np.int32
        rows, lost = np.empty((len(q), linear.shape[0]), dtype=dtype), np.zeros(1, dtype=np.int64)
        call = native.LinearOp(
            linear=struct, q=pointer(q), code=pointer(code), panel=panel,
            mantissa=pointer(mantissa), j=pointer(j), groups=parts, vectors=len(q),
            out_bytes=rows.itemsize, out=pointer(rows), lost=pointer(lost),
        )  # fmt: skip
        self.context.call("linear", call)
        del kept, arrays
        return rows, int(lost[0])

    def sums(
        self,
        op: Projection,
        linear: QuantizedLinear,
        q: NDArray[np.int8],
        code: NDArray[np.uint8],
    ) -> Ints:
        return self.linear(op, linear, q, code, unit_rms(len(q)), 0, INT32, raw=True)[0]

    def arithmetic(self, layer: QuantizedLayer) -> Arithmetic:
        """Run a layer between its projections; by numpy, if its kernels include these."""
        sizes = layer.mixer.sizes
        if not sizes.routed:
            return Compiled(self, layer)
        plain: Arithmetic = kind(sizes.kind).Arithmetic(layer.mixer, self.formats)
        return plain


class Compiled(Arithmetic):
    """A layer between its projections, by its kernels.

    Parameters
    ----------
    ops : Native
    layer : QuantizedLayer
    """

    def __init__(self, ops: Native, layer: QuantizedLayer) -> None:
        super().__init__(layer.mixer, ops.formats)
        self.ops, self.kernels = ops, kind(self.sizes.kind).kernels
        self.layout = Layout.of((self.sizes,), ops.formats)
        self.struct = ops.described.layer(layer, self.layout.starts(0))

    def run(
        self,
        rows: Ints,
        state: Mapping[str, Any],
        position: NDArray[np.int64],
        lost: Counter[str],
        observe: Observe | None = None,
    ) -> tuple[Ints, Rms]:
        batch, seqlen = rows.shape[:2]
        call = Call(self, batch, seqlen, position)
        _copy(state, call.state)
        call.arrays["rows"][:] = rows.reshape(batch * seqlen, -1)
        for n in range(self.kernels.phases):
            lost.update(call(native.Phase.MIXER + n))
        lost.update(call(native.Phase.HADAMARD))
        _copy(call.state, state)
        if observe is not None:
            found = {n: a.reshape(batch, seqlen, *a.shape[1:]) for n, a in call.arrays.items()}
            own = kind(self.sizes.kind).Arithmetic
            for name, value in own.observables(self.sizes, found, call.state, position):
                observe(name, value)
            observe("hadamard.out", found["mixed"])
        return call.arrays["mixed"], self.kernels.rms(self.mixer, call.arrays)


class Call:
    """Single phases of a layer over sequences that lie one after the other.

    Attributes
    ----------
    arrays : {name: (vectors, ...)}
        Everything between two residual streams, to be filled and read.
    state : {name: (batch, ...)}
        As of :meth:`~lightmamba.engine.State.layer`.
    """

    def __init__(
        self, layer: Compiled, batch: int, seqlen: int, position: NDArray[np.int64] | None = None
    ) -> None:
        self._layer, self._vectors = layer, batch * seqlen
        self._slots = [Slot(i, np.zeros(seqlen, np.int64), wanted=0) for i in range(batch)]
        self._work = Workspace(layer.ops._model, (layer.sizes,), self._vectors)
        at = np.zeros(batch) if position is None else position
        self._state = State.of_layout(layer.layout, _as(at, np.int64))
        for row in range(batch):
            self._state.reserve(row, seqlen)
        self.arrays: Mapping[str, Array] = self._work.of(layer.sizes, self._vectors)
        self.state: Mapping[str, Any] = self._state.layer(0)

    def __call__(self, phase: int) -> Counter[str]:
        """Run a phase; what of the kind's own losses it counted."""
        ops, sizes, ids = self._layer.ops, self._layer.sizes, self._work.arrays["ids"]
        ops.context.call(
            "phase", ops.described.sizes, self._layer.struct,
            self._work.struct(self._vectors, 0, None), _sequences(self._state),
            _slots(self._slots, ids, ids[:0]), len(self._slots), ctypes.c_int(phase),
        )  # fmt: skip
        counts = self._work.take_lost(0, self._vectors)
        return Counter({name: counts[name] for name in kind(sizes.kind).integers.losses})


def _copy(of: Mapping[str, Any], to: Mapping[str, Any]) -> None:
    """Copy the arrays of a layer's state; of those that grow, the pages that both have."""
    for name, array in to.items():
        pairs: Iterable[tuple[Any, Any]] = ((of[name], array),)
        if isinstance(array, list):
            pairs = zip(of[name], array, strict=True)
        for given, mine in pairs:
            count = min(len(given), len(mine))
            mine[:count] = given[:count]


def _sequences(state: State) -> native.Sequences:
    """Pointers to the arrays of a state."""
    addresses = [pages.data.ctypes.data for pages in state.pages] if state.layout.page else []
    pages = (ctypes.c_void_p * len(addresses))(*addresses)
    struct = native.Sequences(
        data=state.data.ctypes.data, stride=state.data.strides[0],
        position=pointer(state.position), pages=ctypes.addressof(pages),
        page_bytes=state.layout.page, record=pointer(state.record.data),
        record_tokens=state.record.tokens, record_bytes=state.record.size,
        half=pointer(state.record.half),
    )  # fmt: skip
    struct.kept = pages  # as long as the struct lives
    return struct


def _slots(slots: Sequence[Slot], ids: Array, want: Array) -> Any:
    """Slots of a pass as the kernels take them, whose vectors follow each other.

    Fills ``ids`` of the vectors, and ``want``: those whose logits are wanted.
    """
    found, end, wanted = (native.Slot * len(slots))(), 0, 0
    for each, slot in zip(found, slots, strict=True):
        first, end = end, end + len(slot.tokens)
        ids[first:end] = slot.tokens
        for vector in range(end - slot.wanted, end):
            want[wanted] = vector
            wanted += 1
        each.sequence, each.first, each.count = slot.sequence, first, end - first
        each.replay, each.commit = slot.replay, slot.committed
    return found
