"""Single phases of a Mamba2 layer's kernels, as the operations of its arithmetic."""

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmamba import native
from lightmamba.blocks.mamba2.arithmetic import Arithmetic, Scan
from lightmamba.engine.native import Call, Compiled
from lightmamba.numerics.primitives import Ints

__all__ = ["Phases"]

Array = NDArray[Any]
FRONT, _, SCAN, GATE = range(native.Phase.MIXER, native.Phase.MIXER + 4)  # as in kernels.hpp


class Phases(Arithmetic):
    """The operations of ``Arithmetic``, each by its own phase."""

    def __init__(self, layer: Compiled) -> None:
        super().__init__(layer.mixer, layer.ops.formats)
        self.layer = layer

    def front(
        self, rows: Ints, state: NDArray[np.int8]
    ) -> tuple[Scan, Ints, NDArray[np.int8], Counter[str]]:
        batch, seqlen = lead = rows.shape[:2]
        call = Call(self.layer, batch, seqlen)
        call.state["conv"][...] = state
        call.arrays["rows"][:] = rows.reshape(batch * seqlen, -1)
        lost, a = call(FRONT), call.arrays
        scan = Scan(*(a[n].reshape(*lead, *a[n].shape[1:]) for n in Scan.__dataclass_fields__))
        counts = Counter({name: lost[name] for name in ("conv.input", "conv", "dt")})
        return scan, a["conv"].reshape(*lead, -1), call.state["conv"], counts

    def scan(
        self, scan: Scan, h: Array, h_exp: NDArray[np.uint8], position: NDArray[np.int64]
    ) -> tuple[Ints, int, int]:
        batch, seqlen, nheads = scan.dt.shape
        call = Call(self.layer, batch, seqlen, position)
        call.state["h"][...], call.state["h_exp"][...] = h, h_exp
        for name, value in vars(scan).items():
            call.arrays[name][:] = value.reshape(call.arrays[name].shape)
        lost = call(SCAN)
        h[...], h_exp[...] = call.state["h"], call.state["h_exp"]
        y = call.arrays["y"].reshape(batch, seqlen, nheads, -1)
        return y, lost["ssm.h"], lost["ssm.y"]

    def gate(self, y: Ints, z: Ints) -> tuple[Ints, Ints, int]:
        call = Call(self.layer, 1, len(y))
        call.arrays["y"][:], call.arrays["rows"][:, : y.shape[1]] = y, z
        lost = call(GATE)
        return call.arrays["g"], call.arrays["weighted"], lost["gate"]

    def hadamard(self, x: Ints) -> tuple[Ints, int]:
        call = Call(self.layer, 1, len(x))
        call.arrays["weighted"][:] = x
        lost = call(native.Phase.HADAMARD)
        return call.arrays["mixed"], lost["hadamard"]
