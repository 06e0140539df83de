"""Exceptions of a recipe: projections of some layers with widths of their own."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from lightmamba.common.plain import build
from lightmamba.numerics.model_formats import FormatException, Formats

__all__ = ["Widths"]

EXAMPLE = 'layers = [1, 3], projection = "out_proj", weight_bits = 8, act_bits = 8'


@dataclass(frozen=True)
class Widths:
    """Exception of a recipe: other widths of one projection of some layers."""

    layers: tuple[int, ...]
    projection: str
    weight_bits: int | None = None  # None: the recipe's
    act_bits: int | None = None

    def __post_init__(self) -> None:
        if not self.layers:
            raise ValueError("layers must name one or more, for example [1, 3]")
        if self.weight_bits is None and self.act_bits is None:
            raise ValueError("give weight_bits, act_bits or both, for example weight_bits = 8")

    def of(self, formats: Formats) -> Iterator[FormatException]:
        """The exception of each layer in a model of these formats; none if it changes nothing."""
        own = formats.weight_bits, formats.act_bits
        weight = own[0] if self.weight_bits is None else self.weight_bits
        act = own[1] if self.act_bits is None else self.act_bits
        for layer in self.layers:
            exception = FormatException(layer, self.projection, weight, act)
            if (weight, act) != own:
                yield exception

    def table(self) -> dict[str, Any]:
        """Entry of a recipe's TOML."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    @staticmethod
    def read(entry: dict[str, Any]) -> "Widths":
        """Invert :meth:`table`.

        Raises
        ------
        InputError
            For an unknown key, or a value that cannot be.
        """
        return build(Widths, entry, "exception", EXAMPLE)
