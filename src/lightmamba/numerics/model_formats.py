"""Which arithmetic a quantized model is for: the numerics objects, chosen by a few numbers."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

from lightmamba.common.errors import InputError
from lightmamba.common.plain import build, checked, restore
from lightmamba.numerics.blocks import BlockQuant
from lightmamba.numerics.formats import NIBBLES
from lightmamba.numerics.gate import OnlineHadamard
from lightmamba.numerics.linear import Projection
from lightmamba.numerics.ssm import SsmStep

__all__ = ["EXAMPLE", "PROJECTIONS", "FormatException", "Formats", "Widths"]

PROJECTIONS = ("in_proj", "out_proj")
EXAMPLE = 'layers = [1, 3], projection = "out_proj", weight_bits = 8, act_bits = 8'  # of Widths


@dataclass(frozen=True)
class FormatException:
    """Widths of one projection of one layer that are not the model's."""

    layer: int
    projection: str  # of PROJECTIONS
    weight_bits: int
    act_bits: int

    def __post_init__(self) -> None:
        if self.layer < 0:
            raise ValueError(f"layer must be 0 or more, not {self.layer}")
        if self.projection not in PROJECTIONS:
            raise ValueError(
                f"projection must be {' or '.join(PROJECTIONS)} (layers of every kind have these "
                f"two; a router always has 8 bits), not {self.projection!r}"
            )
        for name in ("weight_bits", "act_bits"):
            if getattr(self, name) not in (4, 8):
                raise ValueError(f"{name} must be 4 or 8, not {getattr(self, name)}")


@dataclass(frozen=True)
class Formats:
    """Bit-widths, blocks and groups of one quantized model; all of it is data."""

    weight_bits: int = 4
    act_bits: int = 4
    block: int = 32  # inputs of in_proj and out_proj that share a scale
    group: int = 128  # weights along the input axis that share a scale
    head_weight_bits: int = 4
    head_act_bits: int = 8
    head_block: int = 32
    head_qmax: int = NIBBLES
    state_bits: int = 8
    state_rounding: str = "dither"
    hadamard: int = 128  # on-line transform before out_proj: order, 0 a whole norm group, 1 none
    exceptions: tuple[FormatException, ...] = ()  # projections with widths of their own

    def __post_init__(self) -> None:
        if self.hadamard < 0 or (self.hadamard & (self.hadamard - 1)) or self.hadamard > 128:
            raise ValueError(
                f"hadamard must be 0 (whole group), 1 (none) or a power of two up to 128, "
                f"not {self.hadamard}"
            )
        if self.head_act_bits in (4, 8) and not 1 <= self.head_qmax < 1 << self.head_act_bits - 1:
            raise ValueError(
                f"head_qmax must be 1 to {(1 << self.head_act_bits - 1) - 1} at "
                f"{self.head_act_bits} bits, not {self.head_qmax}"
            )
        _ = self.projection, self.head, SsmStep(self.state_bits, 32, self.state_rounding)
        places = [(each.layer, each.projection) for each in self.exceptions]
        for layer, name in places:
            if places.count((layer, name)) > 1:
                raise ValueError(f"{name} of layer {layer} has two exceptions; keep one")
        _ = self._exceptions

    @cached_property
    def projection(self) -> Projection:
        """Arithmetic of in_proj and out_proj, but for exceptions."""
        act = BlockQuant(self.act_bits, self.block)
        return Projection(act, self.weight_bits, self.group)

    def of(self, layer: int, projection: str) -> Projection:
        """Arithmetic of in_proj or out_proj of a layer."""
        return self._exceptions.get((layer, projection), self.projection)

    @cached_property
    def _exceptions(self) -> Mapping[tuple[int, str], Projection]:
        """Arithmetic of the exceptions.

        Values of 8 bits in a model of 4 go up to 119, so that lanes of 4 bits take them in two
        halves, as they take the head's activations.
        """
        found = {}
        for each in self.exceptions:
            qmax = NIBBLES if each.act_bits > self.act_bits else 0
            act = BlockQuant(each.act_bits, self.block, qmax)
            top = NIBBLES if each.weight_bits > self.weight_bits else 0
            found[each.layer, each.projection] = Projection(
                act, each.weight_bits, self.group, weight_qmax=top
            )
        return found

    def of_layer(self, layer: int) -> "Formats":
        """Formats of one layer, which is the first of its own model then."""
        own = (replace(e, layer=0) for e in self.exceptions if e.layer == layer)
        return replace(self, exceptions=tuple(own))

    def check_layers(self, count: int) -> None:
        """Refuse exceptions for layers that a model of ``count`` layers does not have.

        Raises
        ------
        InputError
            With the number of the first of them.
        """
        if there := sorted(each.layer for each in self.exceptions if each.layer >= count):
            raise InputError(
                f"there is an exception for layer {there[0]}, but the model's layers are 0 to "
                f"{count - 1}"
            )

    def as_dict(self) -> dict[str, Any]:
        """Plain values for files; without exceptions, where there are none."""
        found = asdict(self)
        if not self.exceptions:
            del found["exceptions"]
        return found

    @staticmethod
    def from_dict(values: Any, where: str = "formats") -> "Formats":
        """Invert :meth:`as_dict`.

        Raises
        ------
        InputError
            If a value is missing, unknown, or of another type.
        """
        table = dict(checked(values, dict, where))
        found = table.pop("exceptions", [])
        listed = [
            restore(FormatException, each, f"{where}.exceptions[{n}]")
            for n, each in enumerate(checked(found, list, f"{where}.exceptions"))
        ]
        return restore(Formats, table, where, exceptions=tuple(listed))

    @property
    def head(self) -> Projection:
        """Arithmetic of the head."""
        act = BlockQuant(self.head_act_bits, self.head_block, self.head_qmax)
        return Projection(act, self.head_weight_bits, self.group)

    @cached_property
    def router(self) -> Projection:
        """Arithmetic of routers: 8 bits, which lanes of 4 take in two halves."""
        return Projection(BlockQuant(8, self.block, NIBBLES), 8, self.group, weight_qmax=NIBBLES)

    @property
    def transform(self) -> OnlineHadamard:
        """Transform of the input of out_proj."""
        return OnlineHadamard(self.hadamard, pad=self.group)

    def in_channels(self, d_model: int) -> int:
        """Columns of in_proj and the head: d_model, zero-padded to whole groups."""
        return -(-d_model // self.group) * self.group


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
