"""A recipe is data: an ordered tuple of small frozen passes, in TOML and in memory.

Passes that lose say what the lowering is to do; passes that keep the function rewrite the float
layers, one at a time as they are read, some by the error that the formats cost, so the formats come
first. Adding a pass is a dataclass with ``begin`` or ``rewrite`` and its name in ``PASSES``.
"""

import logging
import tomllib
from dataclasses import asdict, dataclass, replace
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import tomli_w

from lightmamba.common.errors import InputError
from lightmamba.common.plain import build
from lightmamba.numerics.formats import NIBBLES
from lightmamba.numerics.model_formats import EXAMPLE, Formats, Widths

if TYPE_CHECKING:
    from lightmamba.quantization.work import Site, Work

__all__ = [
    "PASSES", "FuseNorms", "OnlineHadamard", "OutlierSuppression", "Pass", "QuantizeActivations",
    "QuantizeHead", "QuantizeState", "QuantizeWeights", "Recipe", "Rotate", "SmoothQuant",
    "recipe_names",
]  # fmt: skip

log = logging.getLogger(__name__)
LARGEST_GROUP = 1024  # at 8 bits, sums of a block stay below 2^24 up to here


@dataclass(frozen=True)
class Pass:
    """One step of a recipe. All are local to a layer: none needs to see the whole model first.

    Those that look at the inputs of a layer are applied to it after those that do not.
    """

    looks: ClassVar[bool] = False  # whether it needs what calibration puts into the layer

    def formats(self, before: Formats) -> Formats:
        """Formats of the model after this pass."""
        return before

    def begin(self, work: "Work") -> None:
        """Set down in ``work`` what is to be done, before any layer is read."""
        work.formats = self.formats(work.formats)

    def rewrite(self, site: "Site") -> None:
        """Rewrite a float layer, keeping its function."""


@dataclass(frozen=True)
class FuseNorms(Pass):
    """Move the residual norms' weights into in_proj and the head."""

    def begin(self, work: "Work") -> None:
        work.fused = True

    def rewrite(self, site: "Site") -> None:
        from lightmamba.quantization.transforms import fuse_layer

        fuse_layer(site.layer)


@dataclass(frozen=True)
class Rotate(Pass):
    """Turn the residual stream off line by a random-sign Hadamard matrix, then by a learned one.

    ``steps`` of gradient descent make the peaks of the projections' inputs flatter; 0 learns
    nothing.
    """

    steps: int = 300

    def __post_init__(self) -> None:
        if self.steps < 0:
            raise ValueError(f"steps must be 0 or more, not {self.steps}")

    def begin(self, work: "Work") -> None:
        from lightmamba.quantization.rotation import Rotation

        work.rotation = Rotation.random(work.config.d_model, work.seed)
        work.rotation_steps = self.steps

    def rewrite(self, site: "Site") -> None:
        from lightmamba.quantization.transforms import rotate_layer

        assert site.work.rotation is not None
        rotate_layer(site.layer, site.work.rotation)


@dataclass(frozen=True)
class OnlineHadamard(Pass):
    """Transform the input of out_proj on line, inside its norm groups.

    ``order`` is 128 for blocks, 0 for a whole norm group (the paper's). ``gate_weight`` keeps the
    gated norm's weight apart ("keep", the paper's choice), folds it into out_proj ("fold"), or
    takes the one with less error, layer by layer ("measure").
    """

    order: int = 128
    gate_weight: str = "measure"
    looks: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.gate_weight not in ("keep", "fold", "measure"):
            raise ValueError(f"gate_weight must be keep, fold or measure, not {self.gate_weight!r}")

    def formats(self, before: Formats) -> Formats:
        """Formats with the transform."""
        if self.order > 0 and before.group % self.order:
            raise ValueError(f"order {self.order} must divide the group of {before.group} weights")
        return replace(before, hadamard=self.order)

    def begin(self, work: "Work") -> None:
        super().begin(work)
        work.notes["gate_weight_folded"] = []

    def rewrite(self, site: "Site") -> None:
        from lightmamba.quantization.transforms import fold_gate_weight, insert_hadamard

        kept = self.gate_weight == "keep" or site.layer.mixer.norm is None
        if not kept and (self.gate_weight == "fold" or site.folding_wins()):
            fold_gate_weight(site.layer)
            site.work.notes["gate_weight_folded"].append(site.index)
        insert_hadamard(site.layer, site.work.formats.transform)


@dataclass(frozen=True)
class SmoothQuant(Pass):
    """Move range from activations into weights, channel by channel (arXiv 2211.10438)."""

    alpha: float = 0.5
    looks: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1:
            raise ValueError(f"alpha must lie between 0 and 1, not {self.alpha}")

    def rewrite(self, site: "Site") -> None:
        from lightmamba.quantization.smooth import smooth

        smooth(site, self.alpha)


@dataclass(frozen=True)
class OutlierSuppression(Pass):
    """Shift channels to their middle, then scale the large ones down (OS+, arXiv 2304.09145).

    ``steps`` thresholds are tried for each projection.
    """

    steps: int = 20
    looks: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, not {self.steps}")

    def rewrite(self, site: "Site") -> None:
        from lightmamba.quantization.smooth import suppress_outliers

        suppress_outliers(site, self.steps)


@dataclass(frozen=True)
class QuantizeWeights(Pass):
    """Projections to ``bits``, a scale per row and ``group`` input channels."""

    bits: int = 4
    group: int = 128
    rounding: str = "gptq"  # rtn, mse or gptq
    correct: bool = True  # aim at the float outputs on the quantized inputs (gptq only)

    def __post_init__(self) -> None:
        if self.rounding not in ("rtn", "mse", "gptq"):
            raise ValueError(f"rounding must be rtn, mse or gptq, not {self.rounding!r}")
        if not 2 <= self.group <= LARGEST_GROUP or self.group % 2:
            raise ValueError(f"group must be even, from 2 to {LARGEST_GROUP}, not {self.group}")

    def formats(self, before: Formats) -> Formats:
        """Formats with these weights."""
        return replace(before, weight_bits=self.bits, group=self.group)

    def begin(self, work: "Work") -> None:
        super().begin(work)
        work.rounding, work.correct = self.rounding, self.correct and self.rounding == "gptq"


@dataclass(frozen=True)
class QuantizeActivations(Pass):
    """Inputs of the projections to ``bits``, a dynamic scale per token and ``block`` channels."""

    bits: int = 4
    block: int = 32

    def formats(self, before: Formats) -> Formats:
        """Formats with these activations."""
        return replace(before, act_bits=self.bits, block=self.block)


@dataclass(frozen=True)
class QuantizeHead(Pass):
    """The head's weights and input, with formats of their own."""

    weight_bits: int = 4
    act_bits: int = 8
    block: int = 32

    def formats(self, before: Formats) -> Formats:
        """Formats with this head; 8-bit values split into two signed nibbles."""
        return replace(
            before, head_weight_bits=self.weight_bits, head_act_bits=self.act_bits,
            head_block=self.block, head_qmax=NIBBLES if self.act_bits == 8 else 7,
        )  # fmt: skip


@dataclass(frozen=True)
class QuantizeState(Pass):
    """The SSM and its state in integers with power-of-two scales."""

    bits: int = 8
    rounding: str = "dither"

    def formats(self, before: Formats) -> Formats:
        """Formats with this state."""
        return replace(before, state_bits=self.bits, state_rounding=self.rounding)


PASSES: dict[str, type[Pass]] = {
    "quantize_weights": QuantizeWeights,
    "quantize_activations": QuantizeActivations,
    "quantize_head": QuantizeHead,
    "quantize_state": QuantizeState,
    "fuse_norms": FuseNorms,
    "rotate": Rotate,
    "online_hadamard": OnlineHadamard,
    "smoothquant": SmoothQuant,
    "outlier_suppression": OutlierSuppression,
}
NAMES = {kind: name for name, kind in PASSES.items()}
# (pass, what must not follow it): a later one would undo it, or it measures with its formats.
NOT_BEFORE: tuple[tuple[type[Pass], type[Pass]], ...] = (
    (Rotate, FuseNorms),
    *((scaling, earlier) for scaling in (SmoothQuant, OutlierSuppression)
      for earlier in (FuseNorms, Rotate)),
    *((measuring, formats) for measuring in (OnlineHadamard, OutlierSuppression)
      for formats in (QuantizeWeights, QuantizeActivations)),
)  # fmt: skip


@dataclass(frozen=True)
class Recipe:
    """Named passes, in order, and the projections that they quantize to other widths.

    Raises
    ------
    ValueError
        For passes that cannot work together; the sentence says which and why.
    """

    name: str
    passes: tuple[Pass, ...]
    exceptions: tuple[Widths, ...] = ()

    def __post_init__(self) -> None:
        kinds = [type(step) for step in self.passes]
        for kind in kinds:
            if kinds.count(kind) > 1:
                raise ValueError(f"{NAMES[kind]} occurs more than once; keep one")
        for late, early in NOT_BEFORE:
            if late in kinds and early in kinds[kinds.index(late) :]:
                raise ValueError(f"{NAMES[late]} must come after {NAMES[early]}")
        if Rotate in kinds and FuseNorms not in kinds:
            raise ValueError("rotate needs fuse_norms before it")
        for scaling in {SmoothQuant, OutlierSuppression} & set(kinds):
            if OnlineHadamard in kinds:
                raise ValueError(f"{NAMES[scaling]} and online_hadamard exclude each other")
        _ = self.formats

    @property
    def formats(self) -> Formats:
        """Formats of a model made by this recipe."""
        formats = Formats(hadamard=1)
        for step in self.passes:
            try:
                formats = step.formats(formats)
            except ValueError as error:
                raise ValueError(f"{NAMES[type(step)]}: {error}") from error
        try:
            found = tuple(each for widths in self.exceptions for each in widths.of(formats))
            return replace(formats, exceptions=found)
        except ValueError as error:
            raise ValueError(f"exception: {error}") from error

    @staticmethod
    def parse(text: str, where: str) -> "Recipe":
        """Read TOML: ``name = "..."``, a ``[[pass]]`` table per pass, ``[[exception]]`` tables.

        Raises
        ------
        InputError
            For broken TOML, an unknown pass or key, or a value that cannot be.
        """
        data, wrong = _toml(text, where), ""
        if unknown := sorted(set(data) - {"name", "pass", "exception"}):
            wrong = f"unknown key {unknown[0]!r}"
        elif not isinstance(data.get("name"), str):
            wrong = f"name must be a text, not {data['name']!r}" if "name" in data else "no name"
        elif not _tables(data.get("pass")):
            wrong = "pass must be a list of tables" if "pass" in data else "no passes"
        elif "exception" in data and not _tables(data["exception"]):
            wrong = "exception must be a list of tables"
        if wrong:
            raise InputError(f'{where}: {wrong}; write name = "mine" and [[pass]] tables')
        try:
            passes = tuple(_pass(entry) for entry in data["pass"])
            return Recipe(data["name"], passes, tuple(map(Widths.read, data.get("exception", []))))
        except ValueError as error:
            raise InputError(f"{where}: {error}") from error

    @staticmethod
    def load(name: str) -> "Recipe":
        """A shipped recipe by name, or one from a TOML file.

        Raises
        ------
        InputError
            If there is neither, or :meth:`parse` refuses it.
        """
        if name in recipe_names():
            shipped = resources.files("lightmamba.quantization") / "recipes" / f"{name}.toml"
            log.info("recipe %s from %s", name, shipped)
            return Recipe.parse(shipped.read_text(encoding="utf-8"), name)
        if not Path(name).is_file():
            known = ", ".join(recipe_names())
            raise InputError(f"no recipe or file {name!r}; shipped recipes: {known}")
        return Recipe.parse(_text(name, "a recipe"), name)

    def also(self, name: str) -> "Recipe":
        """The recipe with the ``[[exception]]`` tables of a TOML file, which has nothing else.

        Raises
        ------
        InputError
            If the file is not of that kind, or an exception cannot be.
        """
        data = _toml(_text(name, "exceptions"), name)
        if set(data) != {"exception"} or not _tables(data["exception"]):
            raise InputError(
                f"{name} must have [[exception]] tables and nothing else; write [[exception]] and "
                f"below it, each on a line of its own, {EXAMPLE}"
            )
        try:
            more = map(Widths.read, data["exception"])
            return replace(self, exceptions=(*self.exceptions, *more))
        except ValueError as error:
            raise InputError(f"{name}: {error}") from error

    def to_toml(self) -> str:
        """Text that :meth:`parse` reads back to an equal recipe."""
        steps = [{"kind": NAMES[type(step)], **asdict(step)} for step in self.passes]
        table: dict[str, Any] = {"name": self.name, "pass": steps}
        if self.exceptions:
            table["exception"] = [widths.table() for widths in self.exceptions]
        return tomli_w.dumps(table)


def _text(name: str, what: str) -> str:
    """Text of a file that is to be read as something."""
    try:
        return Path(name).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{name} is not UTF-8 text; give a TOML file") from error
    except OSError as error:
        raise InputError(f"cannot read {name} as {what}: {error}") from error


def _toml(text: str, where: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{where} is not TOML: {error}") from error
    except RecursionError as error:
        raise InputError(f"{where} is not TOML: brackets nested too deeply") from error


def recipe_names() -> list[str]:
    """Names of the shipped recipes."""
    folder = resources.files("lightmamba.quantization") / "recipes"
    return sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if f.name[-5:] == ".toml")


def _tables(entries: Any) -> bool:
    return isinstance(entries, list) and bool(entries) and all(isinstance(e, dict) for e in entries)


def _pass(entry: dict[str, Any]) -> Pass:
    given = dict(entry)
    if "kind" not in given:
        raise ValueError(
            f'a [[pass]] has no kind, such as kind = "rotate"; known: {", ".join(PASSES)}'
        )
    kind = given.pop("kind")
    if not isinstance(kind, str) or kind not in PASSES:
        raise ValueError(f"no pass {kind!r}; known: {', '.join(PASSES)}")
    return build(PASSES[kind], given, kind)
