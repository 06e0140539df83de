"""The table on which a recipe works: the float model, what was chosen, what calibration saw."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from lightmamba.mamba2 import Mamba2
from lightmamba.numerics.blocks import BlockQuant
from lightmamba.qmodel.formats import Formats
from lightmamba.quantize.calibrate import trace_layer
from lightmamba.quantize.lower import numpy64
from lightmamba.quantize.transforms import GroupedHadamard, fold_gate_weight
from lightmamba.quantize.weights import quantize_weights

__all__ = ["Work", "fake_quantize"]

SAMPLE = 4  # sequences that decide between two places of a norm weight


@dataclass
class Work:
    """Mutable state of one quantization run."""

    model: Mamba2
    ids: NDArray[np.int64]  # (sequences, seqlen), calibration
    seed: int
    formats: Formats = field(default_factory=lambda: Formats(hadamard=1))
    rounding: str = "rtn"
    correct: bool = False
    progress: Callable[[str, int, int], None] = lambda what, done, total: None
    notes: dict[str, object] = field(default_factory=dict)  # what passes decided, for the file

    def embedded(self, sequences: int | None = None) -> torch.Tensor:
        """Float residual stream (sequences, seqlen, d_model) of the calibration ids."""
        with torch.no_grad():
            u: torch.Tensor = self.model.embedding(torch.from_numpy(self.ids[:sequences]))
            return u

    def place_gate_weights(self, mode: str) -> None:
        """Fold the gated norm's weight into out_proj, or not, layer by layer."""
        folded = []
        u = self.embedded(SAMPLE)
        for index, layer in enumerate(self.model.layers):
            if mode == "measure":
                u, trace = trace_layer(layer, u)
                normed = trace.inputs("out_proj.input").reshape(-1, self.model.config.d_inner)
                better = self._folding_wins(index, normed.astype(np.float64))
            if mode == "fold" or (mode == "measure" and better):
                folded.append(index)
        for index in folded:
            fold_gate_weight(self.model, index)
        self.notes["gate_weight_folded"] = folded

    def _folding_wins(self, index: int, normed: NDArray[np.float64]) -> bool:
        """Compare the error of out_proj with the norm weight kept apart and folded in."""
        c, f, mixer = self.model.config, self.formats, self.model.layers[index].mixer
        weight, norm = numpy64(mixer.out_proj.weight), numpy64(mixer.norm)
        transform = GroupedHadamard(f.transform, c.ngroups, c.group_dim)
        wanted = normed @ weight.T
        errors = []
        for x, w in ((normed, weight), (normed / np.where(norm == 0, 1, norm), weight * norm)):
            x, w = (transform(torch.from_numpy(v)).numpy() for v in (x, w))
            packed = quantize_weights(w, bits=f.weight_bits, group=f.group, rounding="mse")
            got = fake_quantize(x, f.projection.act) @ packed.dequantize().T
            errors.append(float(((got - wanted) ** 2).sum()))
        return errors[1] < errors[0]


def fake_quantize(x: NDArray[np.float64], act: BlockQuant) -> NDArray[np.float64]:
    """Quantize and dequantize (tokens, channels), with the arithmetic that the engine has."""
    unit = float(2.0 ** (np.ceil(np.log2(max(np.abs(x).max(), 1e-300))) - 28))
    wide = np.floor(x / unit + 0.5).astype(np.int64)
    q, code, _, _ = act(wide, 10)
    return act.dequantize(q, code, 10) * unit
