"""Passes of a recipe: small frozen dataclasses of numbers.

Passes that lose say what the lowering is to do; passes that keep the function rewrite the float
layers, one at a time as they are read, some by the error that the formats cost, so the formats come
first. Adding a pass is a dataclass with ``begin`` or ``rewrite`` and its name in ``PASSES``.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from lightmamba.numerics.formats import NIBBLES
from lightmamba.numerics.model_formats import Formats

if TYPE_CHECKING:
    from lightmamba.quantization.work import Site, Work

__all__ = [
    "PASSES", "FuseNorms", "OnlineHadamard", "OutlierSuppression", "Pass", "QuantizeActivations",
    "QuantizeHead", "QuantizeState", "QuantizeWeights", "Rotate", "SmoothQuant",
]  # fmt: skip

LARGEST_GROUP = 1024  # at 8 bits, sums of a block stay below 2^24 up to here


@dataclass(frozen=True)
class Pass:
    """One step of a recipe. All are local to a layer: none needs to see the whole model first.

    Those that look at the inputs of a layer are applied to it after those that do not.
    """

    looks: ClassVar[bool] = False  # whether it needs what calibration puts into the layer

    def formats(self, before: Formats) -> Formats:
        """Formats of the model after this pass."""
        return before

    def begin(self, work: "Work") -> None:
        """Set down in ``work`` what is to be done, before any layer is read."""
        work.formats = self.formats(work.formats)

    def rewrite(self, site: "Site") -> None:
        """Rewrite a float layer, keeping its function."""


@dataclass(frozen=True)
class FuseNorms(Pass):
    """Move the residual norms' weights into in_proj and the head."""

    def begin(self, work: "Work") -> None:
        work.fused = True

    def rewrite(self, site: "Site") -> None:
        from lightmamba.quantization.transforms import fuse_layer

        fuse_layer(site.layer)


@dataclass(frozen=True)
class Rotate(Pass):
    """Turn the residual stream off line by a random-sign Hadamard matrix, then by a learned one.

    ``steps`` of gradient descent make the peaks of the projections' inputs flatter; 0 learns
    nothing.
    """

    steps: int = 300

    def __post_init__(self) -> None:
        if self.steps < 0:
            raise ValueError(f"steps must be 0 or more, not {self.steps}")

    def begin(self, work: "Work") -> None:
        from lightmamba.quantization.rotation import Rotation

        work.rotation = Rotation.random(work.config.d_model, work.seed)
        work.rotation_steps = self.steps

    def rewrite(self, site: "Site") -> None:
        from lightmamba.quantization.transforms import rotate_layer

        assert site.work.rotation is not None
        rotate_layer(site.layer, site.work.rotation)


@dataclass(frozen=True)
class OnlineHadamard(Pass):
    """Transform the input of out_proj on line, inside its norm groups.

    ``order`` is 128 for blocks, 0 for a whole norm group (the paper's). ``gate_weight`` keeps the
    gated norm's weight apart ("keep", the paper's choice), folds it into out_proj ("fold"), or
    takes the one with less error, layer by layer ("measure").
    """

    order: int = 128
    gate_weight: str = "measure"
    looks: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.gate_weight not in ("keep", "fold", "measure"):
            raise ValueError(f"gate_weight must be keep, fold or measure, not {self.gate_weight!r}")

    def formats(self, before: Formats) -> Formats:
        """Formats with the transform."""
        if self.order > 0 and before.group % self.order:
            raise ValueError(f"order {self.order} must divide the group of {before.group} weights")
        return replace(before, hadamard=self.order)

    def begin(self, work: "Work") -> None:
        super().begin(work)
        work.notes["gate_weight_folded"] = []

    def rewrite(self, site: "Site") -> None:
        from lightmamba.quantization.transforms import fold_gate_weight, insert_hadamard

        kept = self.gate_weight == "keep" or site.layer.mixer.norm is None
        if not kept and (self.gate_weight == "fold" or site.folding_wins()):
            fold_gate_weight(site.layer)
            site.work.notes["gate_weight_folded"].append(site.index)
        insert_hadamard(site.layer, site.work.formats.transform)


@dataclass(frozen=True)
class SmoothQuant(Pass):
    """Move range from activations into weights, channel by channel (arXiv 2211.10438)."""

    alpha: float = 0.5
    looks: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1:
            raise ValueError(f"alpha must lie between 0 and 1, not {self.alpha}")

    def rewrite(self, site: "Site") -> None:
        from lightmamba.quantization.smooth import smooth

        smooth(site, self.alpha)


@dataclass(frozen=True)
class OutlierSuppression(Pass):
    """Shift channels to their middle, then scale the large ones down (OS+, arXiv 2304.09145).

    ``steps`` thresholds are tried for each projection.
    """

    steps: int = 20
    looks: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, not {self.steps}")

    def rewrite(self, site: "Site") -> None:
        from lightmamba.quantization.smooth import suppress_outliers

        suppress_outliers(site, self.steps)


@dataclass(frozen=True)
class QuantizeWeights(Pass):
    """Projections to ``bits``, a scale per row and ``group`` input channels."""

    bits: int = 4
    group: int = 128
    rounding: str = "gptq"  # rtn, mse or gptq
    correct: bool = True  # aim at the float outputs on the quantized inputs (gptq only)

    def __post_init__(self) -> None:
        if self.rounding not in ("rtn", "mse", "gptq"):
            raise ValueError(f"rounding must be rtn, mse or gptq, not {self.rounding!r}")
        if not 2 <= self.group <= LARGEST_GROUP or self.group % 2:
            raise ValueError(f"group must be even, from 2 to {LARGEST_GROUP}, not {self.group}")

    def formats(self, before: Formats) -> Formats:
        """Formats with these weights."""
        return replace(before, weight_bits=self.bits, group=self.group)

    def begin(self, work: "Work") -> None:
        super().begin(work)
        work.rounding, work.correct = self.rounding, self.correct and self.rounding == "gptq"


@dataclass(frozen=True)
class QuantizeActivations(Pass):
    """Inputs of the projections to ``bits``, a dynamic scale per token and ``block`` channels."""

    bits: int = 4
    block: int = 32

    def formats(self, before: Formats) -> Formats:
        """Formats with these activations."""
        return replace(before, act_bits=self.bits, block=self.block)


@dataclass(frozen=True)
class QuantizeHead(Pass):
    """The head's weights and input, with formats of their own."""

    weight_bits: int = 4
    act_bits: int = 8
    block: int = 32

    def formats(self, before: Formats) -> Formats:
        """Formats with this head; 8-bit values split into two signed nibbles."""
        return replace(
            before, head_weight_bits=self.weight_bits, head_act_bits=self.act_bits,
            head_block=self.block, head_qmax=NIBBLES if self.act_bits == 8 else 7,
        )  # fmt: skip


@dataclass(frozen=True)
class QuantizeState(Pass):
    """The SSM and its state in integers with power-of-two scales."""

    bits: int = 8
    rounding: str = "dither"

    def formats(self, before: Formats) -> Formats:
        """Formats with this state."""
        return replace(before, state_bits=self.bits, state_rounding=self.rounding)


PASSES: dict[str, type[Pass]] = {
    "quantize_weights": QuantizeWeights,
    "quantize_activations": QuantizeActivations,
    "quantize_head": QuantizeHead,
    "quantize_state": QuantizeState,
    "fuse_norms": FuseNorms,
    "rotate": Rotate,
    "online_hadamard": OnlineHadamard,
    "smoothquant": SmoothQuant,
    "outlier_suppression": OutlierSuppression,
}
