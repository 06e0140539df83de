"""Float checkpoint to quantized model, by a recipe."""

from lightmamba.quantization.api import Calibration, FileRun, quantize_checkpoint
from lightmamba.quantization.recipe import Recipe, recipe_names

__all__ = ["Calibration", "FileRun", "Recipe", "quantize_checkpoint", "recipe_names"]
