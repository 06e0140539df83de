"""Sizes and integers of models whose layers are all Mamba2, to look at and to change."""

from dataclasses import asdict, replace
from typing import Any, cast

from lightmamba.blocks.mamba2.quantized import Mixer, Sizes
from lightmamba.model.config import ModelConfig, mamba2_config
from lightmamba.model.qmodel import QuantizedLayer

__all__ = ["mixer_of", "resized", "sizes_of", "with_mixer"]


def sizes_of(config: ModelConfig, layer: int = 0) -> Sizes:
    """Sizes of one layer."""
    sizes = config.layers[layer]
    assert isinstance(sizes, Sizes)
    return sizes


def resized(config: ModelConfig, **changes: Any) -> ModelConfig:
    """The same model of equal Mamba2 layers, with other arguments of `mamba2_config`."""
    sizes = sizes_of(config)
    given = asdict(sizes)
    given["expand"] = given.pop("nheads") * sizes.headdim // config.d_model
    given |= {
        name: getattr(config, name)
        for name in ("d_model", "n_layer", "vocab_size", "tie_embeddings", "eps")
    }
    return mamba2_config(**given | changes)


def mixer_of(layer: QuantizedLayer) -> Mixer:
    """Integers between the projections of a Mamba2 layer."""
    return cast(Mixer, layer.mixer)


def with_mixer(layer: QuantizedLayer, **changes: Any) -> QuantizedLayer:
    """The layer with other tensors or numbers of its mixer."""
    return replace(layer, mixer=replace(mixer_of(layer), **changes))
