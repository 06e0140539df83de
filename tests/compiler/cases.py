"""Models and targets for the compiler, small and odd."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from lightmamba.arch.artifact import Artifact
from lightmamba.arch.target import Target
from lightmamba.compiler import build
from lightmamba.config import ModelConfig, mamba2_config
from lightmamba.formats import Formats
from lightmamba.qmodel import QuantizedModel
from tests.support.layers import mixer_of, with_mixer
from tests.support.qmodels import random_model

__all__ = ["CASES", "W4A4", "W4A8", "W8A8", "compiled", "sizes", "target"]

W4A4 = Formats()
W4A8 = Formats(act_bits=8)
W8A8 = Formats(weight_bits=8, act_bits=8, head_weight_bits=8)


def sizes(**changes: Any) -> ModelConfig:
    """Small sizes; the vocabulary is no multiple of the lanes."""
    plain = {"d_model": 64, "n_layer": 2, "vocab_size": 61, "d_state": 32, "headdim": 32}
    return mamba2_config(**plain | changes)


def target(name: str = "tiny", **machine: Any) -> Target:
    """A shipped target with other choices."""
    shipped = Target.load(name)
    return replace(shipped, machine=replace(shipped.machine, **machine))


CASES: dict[str, tuple[ModelConfig, Formats, Target]] = {
    "w4a4": (sizes(), W4A4, target()),
    "w4a8": (sizes(vocab_size=62), W4A8, target(multiplier_bits=8)),
    "w8a8": (sizes(d_state=48), W8A8, target(multiplier_bits=8)),
    "groups": (sizes(d_model=192, ngroups=2, headdim=16, d_state=16), W4A4, target()),
    "wide-head": (sizes(d_model=192, headdim=128, d_state=48), W4A4, target()),
    "wide-state": (sizes(d_state=256, d_conv=3, conv_bias=False), W4A4, target()),
    "no-dither": (
        sizes(headdim=16, dt_limit=(0.01, 0.1)),
        Formats(state_rounding="half_up", hadamard=32),
        target(),
    ),
    "whole-hadamard": (sizes(), Formats(hadamard=0), target()),
    "no-hadamard": (sizes(d_model=96, headdim=48, ngroups=2), Formats(hadamard=1), target()),
    "odd": (sizes(d_model=33, headdim=11, n_layer=1, d_state=20, vocab_size=7), W4A4, target()),
    "shared": (sizes(), W4A4, Target.load("vck190-paper")),
    "ecp5": (sizes(d_state=128), W8A8, Target.load("ecp5")),
    "u280": (sizes(d_model=128, ngroups=2, d_state=128), W4A4, Target.load("u280")),
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
