"""Scales of activation blocks: a mantissa of two bits against bare powers of two.

``python -m bench.accuracy scales`` quantizes the bundled model by the shipped W4A4 recipe, but with
powers of two, calibrated for them, on projections and head.
"""

from dataclasses import dataclass, fields
from fractions import Fraction
from functools import cached_property

from bench.common import bundled
from lightmamba.model.qmodel import QuantizedModel
from lightmamba.numerics.blocks import BlockQuant
from lightmamba.numerics.linear import Projection
from lightmamba.numerics.model_formats import Formats
from lightmamba.quantization import Calibration, Recipe
from lightmamba.quantization.driver import lower_model
from lightmamba.quantization.work import Work

__all__ = ["RULES", "PowerFormats", "PowerQuant", "power_of_two", "power_recipe"]

RULES = {  # where, between two powers of two, the larger one is taken
    "nearest": Fraction(3, 2),
    "smallest that holds the largest value": Fraction(1),
}


@dataclass(frozen=True)
class PowerQuant(BlockQuant):
    """Quantize blocks with a scale 2^e: the codes of :class:`BlockQuant` whose mantissa is 0.

    Parameters
    ----------
    edge : Fraction
        2^(e + 1) is taken from absmax = edge * 2^e * (qmax + 1/2) on.
    """

    edge: Fraction = RULES["nearest"]

    @cached_property
    def thresholds(self) -> tuple[int, tuple[int, int, int, int]]:
        """As of :class:`BlockQuant`, but all four are one, so that a step is a whole octave."""
        exponent = -32
        while (middle := self.edge * self.reach * Fraction(2) ** exponent) < 1:
            exponent += 1
        place = int(middle * (1 << 31))
        return 4 * exponent - 4, (place, place, place, place)


@dataclass(frozen=True)
class PowerFormats(Formats):
    """Formats with such scales; ``edge`` as of :class:`PowerQuant`."""

    edge: Fraction = RULES["nearest"]

    @property
    def projection(self) -> Projection:
        """Arithmetic of in_proj and out_proj."""
        act = PowerQuant(self.act_bits, self.block, edge=self.edge)
        return Projection(act, self.weight_bits, self.group)

    @property
    def head(self) -> Projection:
        """Arithmetic of the head."""
        act = PowerQuant(self.head_act_bits, self.head_block, self.head_qmax, edge=self.edge)
        return Projection(act, self.head_weight_bits, self.group)


@dataclass(frozen=True)
class PowerRecipe(Recipe):
    """A recipe with such scales; ``edge`` as of :class:`PowerQuant`."""

    edge: Fraction = RULES["nearest"]

    @property
    def formats(self) -> Formats:
        """Formats of the passes, with scales that are powers of two."""
        plain = super().formats
        values = {each.name: getattr(plain, each.name) for each in fields(plain)}
        return PowerFormats(**values, edge=self.edge)


def power_recipe(rule: str) -> PowerRecipe:
    """The shipped W4A4 recipe with such scales."""
    shipped = Recipe.load("w4a4")
    return PowerRecipe(shipped.name, shipped.passes, shipped.exceptions, RULES[rule])


def power_of_two(rule: str, threads: int) -> QuantizedModel:
    """The bundled model with such scales."""
    checkpoint = bundled()
    ids, _ = Calibration(sequences=160).tokens(checkpoint, 0)  # as bench.accuracy has it
    work, vocab = Work(checkpoint.weights, ids, 0), checkpoint.valid_vocab
    return lower_model(work, power_recipe(rule), valid_vocab=vocab, threads=threads)
