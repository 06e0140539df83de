"""The operations of the reference by the compiled kernels: the same integers, fast.

A complete pass over all layers is one call. The operations of a layer can be run one by one too;
they are the same functions.
"""

import ctypes
import logging
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmamba import native
from lightmamba.engine.constants import LayerConstants
from lightmamba.engine.described import Description, pointer
from lightmamba.engine.reference import Scan
from lightmamba.engine.state import State
from lightmamba.engine.workspace import Workspace, make_panel
from lightmamba.errors import InputError
from lightmamba.numerics.blocks import BlockQuant
from lightmamba.numerics.formats import IntFormat
from lightmamba.numerics.linear import Projection
from lightmamba.numerics.primitives import Ints
from lightmamba.qmodel import QuantizedLinear, QuantizedModel

__all__ = ["Native"]

Array = NDArray[Any]


def _as(array: Any, dtype: Any) -> Array:
    return np.ascontiguousarray(array, dtype=dtype)


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
        self.context = native.context(isa, threads)
        logging.getLogger(__name__).info(
            "the engine runs %s kernels on %d threads%s", self.context.isa, threads,
            "; this processor has no AVX2" if self.context.isa == native.ISAS[0] else "",
        )  # fmt: skip
        self.described = Description(model, self.context)
        self._workspace: Workspace | None = None
        made = State.empty(model, 1)
        self._state = {
            name: (x.dtype, x.shape[:1] + x.shape[2:])
            for name, x in vars(made).items() if name != "position"
        }  # fmt: skip
        self.lock = threading.Lock()  # of the workspace: one pass at a time
        self._model = model

    def prepare(self, constants: Callable[[int], LayerConstants]) -> None:
        """Repack the weights of all layers, once; :meth:`run` needs it."""
        if self.described.whole is None:
            self.described.complete([constants(i) for i in range(self.config.n_layer)])

    def workspace(self, vectors: int) -> Workspace:
        """Memory of a pass, kept for the next one."""
        if self._workspace is None or self._workspace.capacity < vectors:
            self._workspace = Workspace(self._model, vectors)
        return self._workspace

    def run(
        self,
        state: State,
        slots: list[tuple[int, int, int]],
        layers: range,
        ids: Array | None,
        want: Array | None,
    ) -> NDArray[np.int32] | None:
        """Feed the vectors of a pass through some layers; advances ``state`` but its position.

        A slot is (sequence, first vector, count). ``ids`` (vectors,) are embedded first; without
        them the residual stream goes on from the call before. ``want`` (wanted,) are the vectors
        whose logits, (wanted, vocab_size), are returned.
        """
        vectors = sum(count for _, _, count in slots)
        work = self.workspace(vectors)
        if ids is not None:
            work.arrays["ids"][:vectors] = ids
        logits = None
        if want is not None:
            work.arrays["want"][: len(want)] = want
            logits = np.empty((len(want), self.config.vocab_size), dtype=np.int32)
        struct = work.struct(vectors, 0 if want is None else len(want), logits)
        self.context.call(
            "run", self.described.whole, struct, self._sequences(state), _slots(slots),
            len(slots), layers.start, layers.stop, ctypes.c_int(ids is not None),
            ctypes.c_int(want is not None),
        )  # fmt: skip
        return logits

    def _sequences(self, state: State) -> native.Sequences:
        """Pointers to the arrays of a state, which must be as they were made."""
        for name, (dtype, shape) in self._state.items():
            x = getattr(state, name)
            fits = x.dtype == dtype and x.shape[:1] + x.shape[2:] == shape
            if not (fits and x[0].flags.c_contiguous and x.flags.writeable):
                raise InputError(
                    f"{name} of the state is {x.dtype} {x.shape}, which is not as "
                    f"Engine.empty_state makes it"
                )
        return native.Sequences(
            conv=state.conv.ctypes.data, h=state.h.ctypes.data, h_exp=state.h_exp.ctypes.data,
            position=pointer(state.position), conv_stride=state.conv.strides[0],
            h_stride=state.h.strides[0], h_exp_stride=state.h_exp.strides[0],
        )  # fmt: skip

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
        row_shift: Ints,
        out: IntFormat,
    ) -> tuple[Array, int]:
        mantissa, j = (_as(part, np.int32) for part in rms)
        q, code, parts = _as(q, np.int8), _as(code, np.uint8), mantissa.shape[1]
        kept: list[Any] = []
        struct = self.described.linear(op, linear, row_shift, out, parts, kept)
        panel, arrays = make_panel(len(q), q.shape[1], op.group)
        dtype: Any = np.int64 if parts > 1 else np.int16 if out.bits <= 16 else np.int32
        rows, lost = np.empty((len(q), linear.shape[0]), dtype=dtype), np.zeros(1, dtype=np.int64)
        call = native.LinearOp(
            linear=struct, q=pointer(q), code=pointer(code), panel=panel,
            mantissa=pointer(mantissa), j=pointer(j), groups=parts, vectors=len(q),
            out_bytes=rows.itemsize, out=pointer(rows), lost=pointer(lost),
        )  # fmt: skip
        self.context.call("linear", call)
        del kept, arrays
        return rows, int(lost[0])

    def front(
        self, k: LayerConstants, rows: Ints, state: NDArray[np.int8]
    ) -> tuple[Scan, Array, NDArray[np.int8], Counter[str]]:
        batch, seqlen = rows.shape[:2]
        after = np.array(state, dtype=np.int8, order="C")
        work = Workspace(self._model, batch * seqlen)
        work.arrays["rows"][:] = rows.reshape(batch * seqlen, -1)
        self._phase(native.Phase.FRONT, k, work, batch, seqlen, conv=after)
        lead, a = (batch, seqlen), work.arrays
        names = ("x", "x_exp", "B", "B_exp", "C", "C_exp", "dt", "dt_shift", "decay")
        scan = Scan(*(a[name].reshape(*lead, *a[name].shape[1:]) for name in names))
        lost = work.take_lost()
        counts = Counter({name: lost[name] for name in ("conv.input", "conv", "dt")})
        return scan, a["conv"].reshape(*lead, -1), after, counts

    def scan(
        self, k: LayerConstants, scan: Scan, h: Array, h_exp: Array, position: Array
    ) -> tuple[NDArray[np.int32], int, int]:
        batch, seqlen, nheads = scan.dt.shape
        work = Workspace(self._model, batch * seqlen)
        for name, value in vars(scan).items():
            work.arrays[name][:] = value.reshape(work.arrays[name].shape)
        self._phase(native.Phase.SCAN, k, work, batch, seqlen, h=h, h_exp=h_exp, position=position)
        lost = work.take_lost()
        y = work.arrays["y"].reshape(batch, seqlen, nheads, -1)
        return y, lost["ssm.h"], lost["ssm.y"]

    def gate(self, k: LayerConstants, y: Ints, z: Ints) -> tuple[Array, Array, int]:
        work = Workspace(self._model, len(y))
        work.arrays["y"][:], work.arrays["rows"][:, : y.shape[1]] = y, z
        self._phase(native.Phase.GATE, k, work, 1, len(y))
        return work.arrays["g"], work.arrays["weighted"], work.take_lost()["gate"]

    def hadamard(self, k: LayerConstants, x: Ints) -> tuple[Array, int]:
        work = Workspace(self._model, len(x))
        work.arrays["weighted"][:] = x
        self._phase(native.Phase.HADAMARD, k, work, 1, len(x))
        return work.arrays["mixed"], work.take_lost()["hadamard"]

    def _phase(
        self,
        phase: native.Phase,
        k: LayerConstants,
        work: Workspace,
        batch: int,
        seqlen: int,
        **state: Array,
    ) -> None:
        """One phase of a layer over ``batch`` sequences that lie one after the other."""
        position = _as(state.pop("position", np.zeros(batch)), np.int64)
        arrays = {name: pointer(array) for name, array in state.items()}
        sequences = native.Sequences(position=pointer(position), **arrays)
        slots = [(i, i * seqlen, seqlen) for i in range(batch)]
        self.context.call(
            "phase", self.described.for_layer(k), work.struct(batch * seqlen, 0, None), sequences,
            _slots(slots), len(slots), 0, ctypes.c_int(phase),
        )  # fmt: skip


def _slots(slots: list[tuple[int, int, int]]) -> Any:
    return (native.Slot * len(slots))(*(native.Slot(*slot) for slot in slots))
