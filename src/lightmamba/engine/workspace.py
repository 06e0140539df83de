"""Memory of a pass: every intermediate of some vectors, as arrays that can be looked at."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmamba import native
from lightmamba.engine.arena import Arena, aligned
from lightmamba.engine.described import STEP, pointer
from lightmamba.qmodel import QuantizedModel

__all__ = ["Workspace"]

Array = NDArray[Any]
KINDS = {  # of saturation: the kernels' names, and the engine's
    "EMBEDDING": "embedding", "CLIPPED": "clipped", "IN_SCALE": "in_proj.scale",
    "IN": "in_proj", "CONV_INPUT": "conv.input", "CONV": "conv", "DT": "dt", "H": "ssm.h",
    "Y": "ssm.y", "GATE": "gate", "HADAMARD": "hadamard", "OUT_SCALE": "out_proj.scale",
    "OUT": "out_proj", "RESIDUAL": "residual", "HEAD_SCALE": "head.scale", "HEAD": "head",
}  # fmt: skip


class Workspace:
    """Arrays for up to ``capacity`` vectors; ``arrays`` holds them by the names of native.Work."""

    def __init__(self, model: QuantizedModel, capacity: int) -> None:
        c, f = model.config, model.formats
        self.capacity, self.config = capacity, c
        inner, outer = f.in_channels(c), f.out_channels(c)
        x_block, block = f.x_block(c).block, f.bc_block(c).block
        x_blocks, blocks = -(-c.headdim // x_block), -(-c.d_state // block)

        arena = Arena()

        def make(dtype: Any, *shape: int) -> Array:
            return arena.array((capacity, *shape), dtype)

        i8, u8, i16, i32, i64 = np.int8, np.uint8, np.int16, np.int32, np.int64
        self.arrays: dict[str, Array] = {
            "ids": make(i64), "want": make(i64), "u": make(i32, c.d_model),
            "in_rms": make(i32, 1), "in_rms_shift": make(i32, 1),
            "in_q": make(i8, inner), "in_code": make(u8, inner // f.block),
            "rows": make(i16, c.d_in_proj), "conv": make(i16, c.conv_dim),
            "x": make(i8, c.nheads, x_blocks * x_block), "x_exp": make(i8, c.nheads, x_blocks),
            "B": make(i8, c.ngroups, blocks * block), "B_exp": make(i8, c.ngroups, blocks),
            "C": make(i8, c.ngroups, blocks * block), "C_exp": make(i8, c.ngroups, blocks),
            "dt": make(i32, c.nheads), "dt_shift": make(i32, c.nheads),
            "decay": make(i32, c.nheads), "y": make(i32, c.d_inner),
            "g": make(i32, c.d_inner), "weighted": make(i32, c.d_inner),
            "squares": make(i64, c.nheads), "mixed": make(i32, outer),
            "out_rms": make(i32, c.ngroups), "out_rms_shift": make(i32, c.ngroups),
            "out_q": make(i8, outer), "out_code": make(u8, outer // f.block),
            "out_rows": make(i64, c.d_model),
            "head_rms": make(i32, 1), "head_rms_shift": make(i32, 1),
            "head_q": make(i8, inner), "head_code": make(u8, inner // f.head_block),
        }  # fmt: skip
        self.panel, self._panels = make_panel(capacity, max(inner, outer), f.group)
        self.lost = np.zeros(len(native.Lost), dtype=np.int64)
        self._struct = native.Work(
            panel=self.panel, lost=pointer(self.lost),
            **{name: pointer(array) for name, array in self.arrays.items()},
        )  # fmt: skip

    def struct(self, vectors: int, wanted: int, logits: Array | None) -> native.Work:
        """The struct over these arrays, for a pass of some vectors."""
        self._struct.vectors, self._struct.wanted = vectors, wanted
        self._struct.logits = None if logits is None else pointer(logits)
        return self._struct

    def take_lost(self) -> dict[str, int]:
        """What saturated since the last call, by the engine's names."""
        out = {KINDS[kind.name]: int(self.lost[kind]) for kind in native.Lost}
        self.lost[:] = 0
        return out

    def observables(self, batch: int, seqlen: int) -> Iterator[tuple[str, Array]]:
        """Names and copies of the values of a layer that has just run, but for the state's."""
        lead, a, c = (batch, seqlen), self.arrays, self.config
        names = {
            "in_proj.rms": "in_rms", "in_proj.rms_shift": "in_rms_shift", "in_proj.q": "in_q",
            "in_proj.code": "in_code", "in_proj.rows": "rows", "conv.out": "conv",
            "conv.state": "", "ssm.x": "x", "ssm.x_exp": "x_exp", "ssm.B": "B",
            "ssm.B_exp": "B_exp", "ssm.C": "C", "ssm.C_exp": "C_exp", "ssm.dt": "dt",
            "ssm.dt_shift": "dt_shift", "ssm.decay": "decay", "ssm.h": "", "ssm.h_exp": "",
            "ssm.y": "y", "gate.g": "g", "gate.weighted": "weighted", "hadamard.out": "mixed",
            "out_proj.rms": "out_rms", "out_proj.rms_shift": "out_rms_shift",
            "out_proj.q": "out_q", "out_proj.code": "out_code", "out_proj.rows": "out_rows",
            "residual": "u",
        }  # fmt: skip
        for name, key in names.items():
            if not key:
                yield name, np.empty(0)
                continue
            value = a[key][: batch * seqlen]
            rest = (c.nheads, c.headdim) if key == "y" else value.shape[1:]
            yield name, value.reshape(*lead, *rest).copy()


def make_panel(vectors: int, channels: int, group: int) -> tuple[native.Panel, list[Array]]:
    """A panel for some vectors, and the arrays to keep beside it."""
    arrays = [
        aligned((vectors, channels), np.int8),
        aligned((vectors, channels // STEP + 1), np.int32),
        aligned((vectors, channels // group + 1), np.int32),
        aligned((vectors,), np.int64),
    ]
    a, scale, correction, low = (pointer(array) for array in arrays)
    return native.Panel(a=a, scale=scale, correction=correction, low=low), arrays
