"""Published Mamba2 checkpoints, in transformers' layout or mamba_ssm's, as a ``CausalLM``."""

from lightmamba.model.checkpoint.chosen import FloatWeights, ModelWeights
from lightmamba.model.checkpoint.load import (
    Checkpoint,
    OpenCheckpoint,
    Source,
    load_checkpoint,
    open_checkpoint,
)
from lightmamba.model.checkpoint.save import save_checkpoint

__all__ = [
    "Checkpoint", "FloatWeights", "ModelWeights", "OpenCheckpoint", "Source", "load_checkpoint",
    "open_checkpoint", "save_checkpoint",
]  # fmt: skip
