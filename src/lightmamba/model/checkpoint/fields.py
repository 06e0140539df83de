"""Typed access to a config.json, with errors that name the file and the key."""

import json
import math
from pathlib import Path
from typing import Any

from lightmamba.common.errors import InputError

__all__ = ["Fields", "Unsupported"]

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

    def whole(self, key: str, default: int, low: int = 1) -> int:
        value = self.raw.get(key)
        if value is None:
            return default
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= LARGEST:
            raise self.error(key, f"a whole number from {low} to {LARGEST}, like {default}")
        return value

    def flag(self, key: str, default: bool) -> bool:
        value = self.raw.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self.error(key, "true or false")
        return value

    def number(self, key: str, default: float) -> float:
        value = self.raw.get(key)
        if value is None:
            return default
        if not isinstance(value, float):
            raise self.error(key, f"a fraction, like {default}")
        return value

    def real(self, key: str, default: float) -> float:
        """A positive number, a whole one or not."""
        value = self.raw.get(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e6:
            raise self.error(key, f"a positive number, like {default}")
        return float(value)

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
        value = self.raw.get(key)
        if value is not None and not isinstance(value, dict):
            raise self.error(key, 'an object, like {"layer": "Mamba2"}')
        return Fields(self.path, value or {}, f"{key}.")

    def refuse(self, unsupported: Unsupported) -> None:
        """Refuse keys whose value is none of those supported, and say what it would mean."""
        for key, supported, meaning in unsupported:
            value = self.raw.get(key)
            if value not in supported:
                allowed = next(s for s in supported if s is not None or supported == (None,))
                because = f"because {meaning} cannot be run here"
                raise self.error(key, f"{json.dumps(allowed)}, {because}")
