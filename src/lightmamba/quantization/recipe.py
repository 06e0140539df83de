"""A recipe is data: an ordered tuple of passes, in TOML and in memory."""

import logging
import tomllib
from dataclasses import asdict, dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

import tomli_w

from lightmamba.common.errors import InputError
from lightmamba.common.plain import build
from lightmamba.model.config import ModelConfig
from lightmamba.numerics.model_formats import EXAMPLE, Formats, Widths
from lightmamba.quantization.passes import (
    PASSES,
    FuseNorms,
    OnlineHadamard,
    OutlierSuppression,
    Pass,
    QuantizeActivations,
    QuantizeWeights,
    Rotate,
    SmoothQuant,
)

__all__ = ["Recipe", "recipe_names"]

log = logging.getLogger(__name__)
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

    def check(self, config: ModelConfig) -> None:
        """Refuse a model that the recipe cannot be for.

        Raises
        ------
        InputError
            For an exception of a layer that is not there, and for experts if norms are not fused
            into the projections or channels are scaled: blocks share one input with the router.
        """
        self.formats.check_layers(config.n_layer)
        kinds = [type(step) for step in self.passes]
        scaled = FuseNorms not in kinds or {SmoothQuant, OutlierSuppression} & set(kinds)
        if scaled and any(layer.routed for layer in config.layers):
            raise InputError(
                f"the recipe {self.name} is not for models with experts: it does not fuse their "
                f"norms, or scales channels; take one such as w4a4"
            )

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
