"""Float checkpoint to quantized model, by a recipe."""

from lightmamba.quantize.api import Calibration, quantize_checkpoint
from lightmamba.quantize.recipe import Recipe, recipe_names

__all__ = ["Calibration", "Recipe", "quantize_checkpoint", "recipe_names"]
