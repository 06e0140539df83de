"""The static numbers of a layer as the operations take them: int64 arrays, computed once."""

from dataclasses import dataclass

import numpy as np

from lightmamba.numerics.primitives import Ints
from lightmamba.numerics.tables import Q5_11
from lightmamba.qmodel import QuantizedLayer, QuantizedModel

__all__ = ["LayerConstants"]


@dataclass(frozen=True)
class LayerConstants:
    """Right shifts, unless another unit is named."""

    in_shift: Ints  # (d_in_proj,), rows of in_proj, without the j of the rms
    out_shift: Ints  # (d_model,), the same for out_proj
    conv_in_shift: Ints  # (conv_dim,)
    conv_weight: Ints  # (d_conv, conv_dim), integers
    conv_bias: Ints  # (conv_dim,), in units of the sum
    conv_out_shift: Ints  # (conv_dim,)
    conv_silu_shift: Ints  # (conv_dim,), to the sigmoid's input
    dt_bias: Ints  # (nheads,), Q5.11
    A: Ints  # (nheads,), mantissa
    A_shift: Ints  # (nheads,)
    D: Ints  # (nheads,), integers
    gate_weight: Ints  # (d_inner,), integers
    frame: int  # dt·x·B into the frame of the state
    y: int  # state times C to y
    D_shift: int  # D·x to y
    z_silu: int  # z to the sigmoid's input
    gate: int  # y·silu(z) to g
    weighted: int  # g times the norm weight
    hadamard: int

    @staticmethod
    def of(model: QuantizedModel, layer: QuantizedLayer) -> "LayerConstants":
        """Constants of one layer of a model."""
        c, e = model.config, layer.exponents
        return LayerConstants(
            in_shift=model.in_shift(layer),
            out_shift=np.full(c.d_model, model.out_shift(layer)),
            conv_in_shift=layer.conv_in_shift.astype(np.int64),
            conv_weight=layer.conv_weight.astype(np.int64),
            conv_bias=layer.conv_bias.astype(np.int64),
            conv_out_shift=layer.conv_out_shift.astype(np.int64),
            conv_silu_shift=Q5_11 - e.of_conv(c),
            dt_bias=layer.dt_bias.astype(np.int64),
            A=layer.A.astype(np.int64),
            A_shift=layer.A_shift.astype(np.int64),
            D=layer.D.astype(np.int64),
            gate_weight=layer.gate_weight.astype(np.int64),
            frame=e.state - e.conv_x - e.conv_B,
            y=e.y - e.state - e.conv_C,
            D_shift=e.y - e.D - e.conv_x,
            z_silu=model.silu_shift(e.z),
            gate=e.gate - e.y - e.z,
            weighted=e.weighted - e.gate - e.gate_weight,
            hadamard=e.hadamard_shift,
        )
