"""A recipe is data: an ordered tuple of small frozen passes, in TOML and in memory.

Passes that keep the function rewrite the float model where they stand; passes that lose say what
the lowering is to do. Adding a pass is a dataclass with ``apply`` and its name in ``PASSES``.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from lightmamba.errors import InputError
from lightmamba.qmodel.formats import Formats

if TYPE_CHECKING:
    from lightmamba.quantize.work import Work

__all__ = ["PASSES", "Pass", "Recipe", "recipe_names"]


class Pass(Protocol):
    """One step of a recipe."""

    preserves: ClassVar[bool]  # whether logits stay as they are

    def apply(self, work: "Work") -> None:
        """Rewrite ``work.model``, or set down in ``work`` what the lowering is to do."""


@dataclass(frozen=True)
class FuseNorms:
    """Move the residual norms' weights into in_proj and the head."""

    preserves: ClassVar[bool] = True

    def apply(self, work: "Work") -> None:
        from lightmamba.quantize.transforms import fuse_norms

        fuse_norms(work.model)


@dataclass(frozen=True)
class Rotate:
    """Turn the residual stream off line by a random-sign Hadamard matrix."""

    preserves: ClassVar[bool] = True

    def apply(self, work: "Work") -> None:
        from lightmamba.numerics.hadamard import random_rotation
        from lightmamba.quantize.transforms import rotate_residual

        rotate_residual(work.model, random_rotation(work.model.config.d_model, work.seed))


@dataclass(frozen=True)
class OnlineHadamard:
    """Transform the input of out_proj on line, inside its norm groups.

    ``order`` is 128 for blocks, 0 for a whole norm group (the paper's). ``gate_weight`` keeps the
    gated norm's weight apart ("keep", the paper's choice), folds it into out_proj ("fold"), or takes
    the one with less error, layer by layer ("measure").
    """

    order: int = 128
    gate_weight: str = "measure"
    preserves: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.gate_weight not in ("keep", "fold", "measure"):
            raise ValueError(f"gate_weight must be keep, fold or measure, not {self.gate_weight!r}")

    def apply(self, work: "Work") -> None:
        from lightmamba.quantize.transforms import insert_hadamard

        work.formats = replace(work.formats, hadamard=self.order)
        work.place_gate_weights(self.gate_weight)
        insert_hadamard(work.model, work.formats.transform)


@dataclass(frozen=True)
class SmoothQuant:
    """Move range from activations into weights, channel by channel (arXiv 2211.10438)."""

    alpha: float = 0.5
    preserves: ClassVar[bool] = True

    def apply(self, work: "Work") -> None:
        from lightmamba.quantize.smooth import smooth

        smooth(work, self.alpha)


@dataclass(frozen=True)
class OutlierSuppression:
    """Shift channels to their middle, then scale the large ones down (OS+, arXiv 2304.09145)."""

    steps: int = 20
    preserves: ClassVar[bool] = True

    def apply(self, work: "Work") -> None:
        from lightmamba.quantize.smooth import suppress_outliers

        suppress_outliers(work, self.steps)


@dataclass(frozen=True)
class QuantizeWeights:
    """Projections to ``bits``, a scale per row and ``group`` input channels."""

    bits: int = 4
    group: int = 128
    rounding: str = "gptq"  # rtn, mse or gptq
    correct: bool = True  # aim at the float outputs on the quantized inputs (gptq only)
    preserves: ClassVar[bool] = False

    def apply(self, work: "Work") -> None:
        work.formats = replace(work.formats, weight_bits=self.bits, group=self.group)
        work.rounding, work.correct = self.rounding, self.correct and self.rounding == "gptq"


@dataclass(frozen=True)
class QuantizeActivations:
    """Inputs of the projections to ``bits``, a dynamic scale per token and ``block`` channels."""

    bits: int = 4
    block: int = 32
    preserves: ClassVar[bool] = False

    def apply(self, work: "Work") -> None:
        work.formats = replace(work.formats, act_bits=self.bits, block=self.block)


@dataclass(frozen=True)
class QuantizeHead:
    """The head's weights and input, with formats of their own."""

    weight_bits: int = 4
    act_bits: int = 8
    block: int = 32
    preserves: ClassVar[bool] = False

    def apply(self, work: "Work") -> None:
        qmax = 119 if self.act_bits == 8 else 7
        work.formats = replace(
            work.formats, head_weight_bits=self.weight_bits, head_act_bits=self.act_bits,
            head_block=self.block, head_qmax=qmax,
        )  # fmt: skip


@dataclass(frozen=True)
class QuantizeState:
    """The SSM and its state in integers with power-of-two scales."""

    bits: int = 8
    rounding: str = "dither"
    preserves: ClassVar[bool] = False

    def apply(self, work: "Work") -> None:
        work.formats = replace(work.formats, state_bits=self.bits, state_rounding=self.rounding)


PASSES: dict[str, type[Any]] = {
    "fuse_norms": FuseNorms,
    "rotate": Rotate,
    "online_hadamard": OnlineHadamard,
    "smoothquant": SmoothQuant,
    "outlier_suppression": OutlierSuppression,
    "quantize_weights": QuantizeWeights,
    "quantize_activations": QuantizeActivations,
    "quantize_head": QuantizeHead,
    "quantize_state": QuantizeState,
}
NAMES = {kind: name for name, kind in PASSES.items()}


@dataclass(frozen=True)
class Recipe:
    """Named passes, in order."""

    name: str
    passes: tuple[Any, ...]

    def __post_init__(self) -> None:
        formats = Formats(hadamard=1)
        for step in self.passes:  # a combination of numbers that cannot work is found at once
            if isinstance(step, QuantizeWeights):
                formats = replace(formats, weight_bits=step.bits, group=step.group, block=step.group)
            if isinstance(step, QuantizeState):
                formats = replace(formats, state_bits=step.bits, state_rounding=step.rounding)

    @staticmethod
    def parse(text: str, where: str) -> "Recipe":
        """Read TOML: ``name = "..."`` and one ``[[pass]]`` table per pass.

        Raises
        ------
        InputError
            For broken TOML, an unknown pass or key, or a value that cannot be.
        """
        try:
            data = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise InputError(f"{where} is no TOML: {error}") from error
        unknown = sorted(set(data) - {"name", "pass"})
        if unknown or not isinstance(data.get("name"), str) or not data.get("pass"):
            wrong = f"unknown key {unknown[0]!r}" if unknown else "name or passes missing"
            raise InputError(f'{where}: {wrong}; write name = "mine" and [[pass]] tables')
        return Recipe(data["name"], tuple(_pass(entry, where) for entry in data["pass"]))

    @staticmethod
    def load(name: str) -> "Recipe":
        """A shipped recipe by name, or one from a TOML file."""
        shipped = resources.files("lightmamba.quantize") / "recipes" / f"{name}.toml"
        if name in recipe_names():
            return Recipe.parse(shipped.read_text(encoding="utf-8"), name)
        path = Path(name)
        if not path.is_file():
            known = ", ".join(recipe_names())
            raise InputError(f"no recipe or file {name!r}; shipped recipes: {known}")
        return Recipe.parse(path.read_text(encoding="utf-8"), name)

    def to_toml(self) -> str:
        """Text that :meth:`parse` reads back to an equal recipe."""
        lines = [f"name = {_value(self.name)}"]
        for step in self.passes:
            lines += ["", "[[pass]]", f"kind = {_value(NAMES[type(step)])}"]
            lines += [f"{key} = {_value(value)}" for key, value in asdict(step).items()]
        return "\n".join(lines) + "\n"


def recipe_names() -> list[str]:
    """Names of the shipped recipes."""
    folder = resources.files("lightmamba.quantize") / "recipes"
    return sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if f.name[-5:] == ".toml")


def _pass(entry: Mapping[str, Any], where: str) -> Any:
    kind = entry.get("kind")
    if kind not in PASSES:
        raise InputError(f"{where}: no pass {kind!r}; known: {', '.join(PASSES)}")
    known = {f.name: f.type for f in fields(PASSES[kind])}
    given = {k: v for k, v in entry.items() if k != "kind"}
    for key, value in given.items():
        if key not in known:
            raise InputError(f"{where}: {kind} has no key {key!r}; known: {', '.join(known) or '-'}")
        default = PASSES[kind].__dataclass_fields__[key].default
        if type(value) is not type(default):
            raise InputError(f"{where}: {kind}.{key} must be like {default!r}, not {value!r}")
    try:
        return PASSES[kind](**given)
    except ValueError as error:
        raise InputError(f"{where}: {kind}: {error}") from error


def _value(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value).replace("'", '"')
