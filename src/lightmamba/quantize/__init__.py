"""Float checkpoint to quantized model, by a recipe."""

from lightmamba.quantize.api import Calibration, FileRun, quantize_checkpoint
from lightmamba.quantize.recipe import Recipe, recipe_names

__all__ = ["Calibration", "FileRun", "Recipe", "quantize_checkpoint", "recipe_names"]
