"""Models and targets for the compiler, small and odd."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from lightmamba.arch.target import Target
from lightmamba.hardware.compiler import build
from lightmamba.hardware.machine.artifact import Artifact
from lightmamba.model.config import ModelConfig
from lightmamba.model.qmodel import QuantizedModel
from lightmamba.numerics.model_formats import FormatException, Formats
from tests.support import builders
from tests.support.builders import W4A4, W4A8, W8A8, random_model, shipped
from tests.support.layers import mixer_of, with_mixer

__all__ = ["CASES", "compiled", "sizes"]

# Small, but for lanes and blocks of the machines that there are.
sizes = partial(builders.sizes, d_model=64, d_state=32, headdim=32)


# Every pair of widths, first and last projection, one behind another.
EXCEPTIONS = (
    FormatException(0, "in_proj", 8, 8), FormatException(0, "out_proj", 8, 4),
    FormatException(1, "out_proj", 4, 8), FormatException(2, "in_proj", 4, 8),
    FormatException(2, "out_proj", 8, 8),
)  # fmt: skip

CASES: dict[str, tuple[ModelConfig, Formats, Target]] = {
    "w4a4": (sizes(), W4A4, shipped()),
    "w4a8": (sizes(vocab_size=62), W4A8, shipped(multiplier_bits=8)),
    "w8a8": (sizes(d_state=48), W8A8, shipped(multiplier_bits=8)),
    "groups": (sizes(d_model=192, ngroups=2, headdim=16, d_state=16), W4A4, shipped()),
    "wide-head": (sizes(d_model=192, headdim=128, d_state=48), W4A4, shipped()),
    "wide-state": (sizes(d_state=256, d_conv=3, conv_bias=False), W4A4, shipped()),
    "no-dither": (
        sizes(headdim=16, dt_limit=(0.01, 0.1)),
        Formats(state_rounding="half_up", hadamard=32),
        shipped(),
    ),
    "whole-hadamard": (sizes(), Formats(hadamard=0), shipped()),
    "no-hadamard": (sizes(d_model=96, headdim=48, ngroups=2), Formats(hadamard=1), shipped()),
    "odd": (sizes(d_model=33, headdim=11, n_layer=1, d_state=20, vocab_size=7), W4A4, shipped()),
    "shared": (sizes(), W4A4, shipped("vck190-paper")),
    "ulx3s": (sizes(d_state=128), W8A8, shipped("ulx3s")),
    "u280": (sizes(d_model=128, ngroups=2, d_state=128), W4A4, shipped("u280")),
    "exceptions": (sizes(n_layer=3), Formats(exceptions=EXCEPTIONS), shipped()),
    "exceptions-8": (sizes(n_layer=3), Formats(exceptions=EXCEPTIONS), shipped(multiplier_bits=8)),
}


def compiled(
    name: str, out: Path, order: str = "reordered", **options: Any
) -> tuple[QuantizedModel, Artifact]:
    """A case's model, and its build."""
    config, formats, where = CASES[name]
    model = _varied(random_model(config, formats, seed=len(name)))
    return model, build(model, where, out, order=order, **options)


def _varied(model: QuantizedModel) -> QuantizedModel:
    """The model with other exponents for each kind and layer; random ones have few different."""
    layers = []
    for n, layer in enumerate(model.layers):
        mixer, more = mixer_of(layer), 2 * n
        e = mixer.exponents
        e = replace(
            e, z=e.z - 1, x=e.x + 1, B=e.B + 2, C=e.C - 2, conv_x=e.conv_x + more,
            conv_B=e.conv_B + 1, conv_C=e.conv_C - 1, D=e.D + 1 - more, y=e.y - 1,
            gate=e.gate + 1, gate_weight=e.gate_weight - more, weighted=e.weighted + 2,
            hadamard_shift=e.hadamard_shift + n,
        )  # fmt: skip
        layers.append(with_mixer(layer, exponents=e, eps_gate=mixer.eps_gate + 1000 * n))
    return replace(model, layers=tuple(layers))
