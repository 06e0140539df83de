"""Published Mamba2 checkpoints, in transformers' layout or mamba_ssm's, to and from `mamba2.py`."""

from lightmamba.checkpoint.load import Checkpoint, Source, load_checkpoint
from lightmamba.checkpoint.save import save_checkpoint

__all__ = ["Checkpoint", "Source", "load_checkpoint", "save_checkpoint"]
