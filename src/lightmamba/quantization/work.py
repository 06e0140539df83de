"""One run of a recipe: what was chosen, and each float layer as its passes make it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightmamba.blocks.floating import numpy64
from lightmamba.model.causal_lm import Layer
from lightmamba.model.checkpoint import FloatWeights
from lightmamba.model.config import ModelConfig
from lightmamba.numerics.blocks import BlockQuant
from lightmamba.numerics.model_formats import Formats
from lightmamba.quantization.calibrate import InputTrace, run_layer
from lightmamba.quantization.rotation import Rotation, wide
from lightmamba.quantization.streams import Rows
from lightmamba.quantization.transforms import GroupedHadamard
from lightmamba.quantization.weights import quantize_weights

__all__ = ["Floats", "Rewrite", "Site", "Work", "fake_quantize"]

SAMPLE = 4  # sequences that decide between two places of a norm weight
BATCH = 8  # sequences that go through a float layer at once
VECTORS, ROWS = 512, 512  # inputs and rows of out_proj that decide, evenly spread


@dataclass(frozen=True)
class Floats:
    """Float residual stream of all calibration tokens, in front of one layer."""

    rows: Rows  # (tokens, d_model)
    seqlen: int
    device: torch.device

    @staticmethod
    def of(u: Tensor) -> "Floats":
        """A stream (sequences, seqlen, d_model) that is in memory."""
        rows = Rows(u.shape[0] * u.shape[1], u.shape[2], u.cpu().numpy().dtype)
        rows.write(slice(None), u.flatten(0, 1).cpu().numpy())
        return Floats(rows, u.shape[1], u.device)

    def batches(self, sequences: int | None = None) -> Iterator[tuple[slice, Tensor]]:
        """Some sequences after the other: which rows, and (batch, seqlen, d_model)."""
        end = len(self.rows) if sequences is None else min(len(self.rows), sequences * self.seqlen)
        for start in range(0, end, BATCH * self.seqlen):
            rows = slice(start, min(start + BATCH * self.seqlen, end))
            yield rows, self.read(rows).unflatten(0, (-1, self.seqlen))

    def read(self, rows: slice) -> Tensor:
        """Some rows, on the device."""
        return torch.from_numpy(self.rows.read(rows)).to(self.device)


@dataclass
class Work:
    """Mutable state of one quantization run."""

    weights: FloatWeights
    ids: NDArray[np.int64]  # (sequences, seqlen), calibration
    seed: int
    formats: Formats = field(default_factory=lambda: Formats(hadamard=1))
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    rounding: str = "rtn"
    correct: bool = False
    fused: bool = False  # whether the norms' weights lie in the projections after them
    rotation: Rotation | None = None  # of the residual stream
    rotation_steps: int = 0  # of learning a part of it
    progress: Callable[[float, float], None] = lambda done, total: None
    notes: dict[str, Any] = field(default_factory=dict)  # what passes decided, for the file

    @property
    def config(self) -> ModelConfig:
        """Sizes of the model."""
        return self.weights.config

    def turned(self, u: Tensor) -> Tensor:
        """Rows of the residual stream in the basis of this run, in the type of its weights."""
        u = u.to(self.device, self.weights.dtype)
        return u if self.rotation is None else self.rotation(u)

    def head(self, rows: slice) -> Tensor:
        """Some rows of the head."""
        weight = self.weights.head(rows).to(self.device)
        if self.fused:
            weight = (wide(weight) * self.weights.norm_f().to(self.device)).to(weight)
        return self.turned(weight)

    def norm_f(self) -> Tensor:
        """Weight of the last norm, 1 where it is fused."""
        norm = self.weights.norm_f().to(self.device)
        return torch.ones_like(norm) if self.fused else norm

    def layer(self, index: int, passes: Sequence["Rewrite"], floats: Floats) -> Layer:
        """A layer, read and rewritten by passes; those that look at its inputs come last."""
        site = Site(self, index, self.weights.layer(index).to(self.device), floats)
        for step in sorted(passes, key=lambda step: step.looks):
            step.rewrite(site)
        return site.layer


class Rewrite(Protocol):
    """One pass over the float layers: a ``Pass`` of a recipe."""

    looks: ClassVar[bool]  # whether it needs what calibration puts into the layer

    def rewrite(self, site: "Site") -> None:
        """Rewrite a float layer, keeping its function."""


@dataclass(frozen=True)
class Site:
    """A float layer that is being rewritten, and what calibration puts into it."""

    work: Work
    index: int
    layer: Layer
    floats: Floats

    @property
    def tokens(self) -> int:
        """Tokens of calibration."""
        return len(self.floats.rows)

    def observe(self, every: int, sequences: int | None = None) -> InputTrace:
        """Run calibration through the layer as it is; keep every n-th input."""
        trace = InputTrace(every)
        for _, u in self.floats.batches(sequences):
            run_layer(self.layer, u, trace.see)
        return trace

    def folding_wins(self) -> bool:
        """Compare the error of out_proj with the gated norm's weight kept apart and folded in."""
        f, mixer = self.work.formats, self.layer.mixer
        op = f.of(self.index, "out_proj")
        groups = mixer.sizes.out_groups
        every = max(1, min(SAMPLE * self.floats.seqlen, self.tokens) // VECTORS)
        normed = self.observe(every, SAMPLE).inputs("out_proj.input")
        weight, norm = mixer.out_proj.weight.detach(), mixer.norm.detach()
        weight = weight[:: max(1, len(weight) // ROWS)]
        transform = GroupedHadamard(f.transform, groups, mixer.sizes.out_dim // groups)
        wanted = normed @ weight.T
        live = torch.where(norm == 0, torch.ones_like(norm), norm)
        errors = []
        for x, w in ((normed, weight), (normed / live, weight * norm)):
            packed = quantize_weights(
                transform(w), bits=op.bits, group=f.group, rounding="mse", qmax=op.weight_qmax
            ).rows(slice(None), w)
            seen = fake_quantize(numpy64(transform(x)), op.act)
            got = torch.from_numpy(seen).to(w.dtype).to(w.device) @ packed.T
            errors.append(float((got - wanted).square().sum(1).cpu().double().sum()))
        return errors[1] < errors[0]


def fake_quantize(x: NDArray[np.float64], act: BlockQuant) -> NDArray[np.float64]:
    """Quantize and dequantize (tokens, channels), with the arithmetic that the engine has."""
    unit = float(2.0 ** (np.ceil(np.log2(max(np.abs(x).max(), 1e-300))) - 28))
    wide = np.floor(x / unit + 0.5).astype(np.int64)
    q, code, _, _ = act(wide, 10)
    return act.dequantize(q, code, 10) * unit
