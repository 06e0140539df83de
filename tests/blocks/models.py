"""A model whose two layers are of one kind, but of different sizes."""

from lightmamba.blocks.mamba2.quantized import Sizes
from lightmamba.model.config import ModelConfig

__all__ = ["UNEQUAL"]

UNEQUAL = ModelConfig(
    d_model=64,
    vocab_size=61,
    layers=(
        Sizes(nheads=4, headdim=32, d_state=16, chunk_size=8),
        Sizes(nheads=10, headdim=16, d_state=48, ngroups=2, d_conv=3, chunk_size=8),  # 2.5 d_model
        Sizes(nheads=4, headdim=32, d_state=16, chunk_size=8),
    ),
)
