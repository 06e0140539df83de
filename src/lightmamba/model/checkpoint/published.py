"""A family's layout in its parts: the fields of config.json, and where each parameter is."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightmamba.common.errors import InputError
from lightmamba.model.config import ModelConfig

__all__ = ["Fields", "Origin", "Part", "Published", "Unsupported"]

LARGEST = 2**24  # of any size; keeps a lying config from asking for the whole memory
# key, the values that are supported, what another value would mean
Unsupported = tuple[tuple[str, tuple[Any, ...], str], ...]


class Fields:
    """Typed access to one JSON object; every error names the file and the key."""

    def __init__(self, path: Path, raw: dict[str, Any], prefix: str = "") -> None:
        self.path, self.raw, self.prefix = path, raw, prefix

    def error(self, key: str, must: str) -> InputError:
        found = json.dumps(self.raw.get(key))[:60]
        return InputError(f"{self.path}: {self.prefix}{key} is {found}; it must be {must}")

    def _given(self, key: str, default: Any, right: Callable[[Any], bool], must: str) -> Any:
        """Value of a key, which must be right; the default where it is missing or null."""
        value = self.raw.get(key)
        if value is None:
            return default
        if isinstance(value, bool) != isinstance(default, bool) or not right(value):
            raise self.error(key, must)
        return value

    def whole(self, key: str, default: int, low: int = 1) -> int:
        def right(value: Any) -> bool:
            return isinstance(value, int | float) and low <= value <= LARGEST and value % 1 == 0

        must = f"a whole number from {low} to {LARGEST}, like {default}"
        return int(self._given(key, default, right, must))

    def flag(self, key: str, default: bool) -> bool:
        return bool(self._given(key, default, lambda value: True, "true or false"))

    def number(self, key: str, default: float) -> float:
        def right(value: Any) -> bool:
            return isinstance(value, float)

        return float(self._given(key, default, right, f"a fraction, like {default}"))

    def real(self, key: str, default: float) -> float:
        """A positive number, a whole one or not."""

        def right(value: Any) -> bool:
            return isinstance(value, int | float) and 0 < value < 1e6

        return float(self._given(key, default, right, f"a positive number, like {default}"))

    def limits(self, key: str) -> tuple[float, float]:
        """Lower and upper limit of dt; null, or a null upper end, is no limit."""
        value = self.raw.get(key)
        if value is None:
            return 0.0, math.inf
        try:
            low, high = value
            if isinstance(high, dict):  # transformers' way to write infinity
                high = high["__float__"]
            return float(low or 0.0), math.inf if high is None else float(high)
        except (TypeError, ValueError, OverflowError) as error:
            raise self.error(key, "two numbers, like [0.0, 0.1]") from error

    def inner(self, key: str) -> "Fields":
        must = 'an object, like {"layer": "Mamba2"}'
        found = self._given(key, {}, lambda value: isinstance(value, dict), must)
        return Fields(self.path, found, f"{key}.")

    def refuse(self, unsupported: Unsupported) -> None:
        """Refuse keys whose value is none of those supported, and say what it would mean."""
        for key, supported, meaning in unsupported:
            value = self.raw.get(key)
            if value not in supported:
                allowed = next(s for s in supported if s is not None or supported == (None,))
                because = f"because {meaning} cannot be run here"
                raise self.error(key, f"{json.dumps(allowed)}, {because}")


@dataclass(frozen=True)
class Part:
    """One published tensor.

    Parameters
    ----------
    names : tuple of str
        The name, then others that occur for the same tensor.
    factor : float
        That our parameter has next to it.
    rows : int or None
        Its rows, where the parameter has several parts; None is all.
    shape : tuple of int or None
        As it is stored, where that is not the parameter's; then ``view`` makes the part of it.
    view
        From the stored tensor to the part of the parameter.
    """

    names: tuple[str, ...]
    factor: float = 1.0
    rows: int | None = None
    shape: tuple[int, ...] | None = None
    view: Callable[[Any], Any] | None = None


@dataclass(frozen=True)
class Origin:
    """The parts of a parameter, one below the other.

    Parameters
    ----------
    parts : tuple of Part
    other : Origin or None
        Where they are in files that have its first part.
    """

    parts: tuple[Part, ...]
    other: "Origin | None" = None

    @staticmethod
    def of(*names: str, factor: float = 1.0) -> "Origin":
        """A parameter that is one published tensor."""
        return Origin((Part(names, factor),))


@dataclass(frozen=True)
class Published:
    """A model as its family publishes it.

    Parameters
    ----------
    config : ModelConfig
        Ours. Its head is not tied, where the embedding or the head has a factor.
    valid_vocab : int
        Ids from here on are padding, as far as the config knows.
    tied : bool
        Whether the files hold one table for embedding and head.
    origin
        Of a parameter, by our name.
    """

    config: ModelConfig
    valid_vocab: int
    tied: bool
    origin: Callable[[str], Origin]
