"""Finished parts of a run in memory; :mod:`~lightmamba.quantization.journal` keeps them on disk."""

from collections.abc import Sequence
from typing import Any

from lightmamba.model.qmodel import QuantizedLayer, QuantizedLinear, Table
from lightmamba.quantization.streams import Rows

__all__ = ["Part", "Store"]

Part = Table | QuantizedLayer | QuantizedLinear


class Store:
    """Finished parts and the two residual streams of one run; there is nothing to resume."""

    def __init__(self) -> None:
        self.facts: dict[str, Any] = {}  # what was written down last
        self._parts: dict[str, Part] = {}

    def rows(self, name: str, vectors: int, channels: int, dtype: Any) -> Rows:
        """A stream of this name, with what it held when it was written down, if it was."""
        return Rows(vectors, channels, dtype)

    def drop(self, rows: Rows) -> None:
        """Give a stream back that the run has no more use for."""
        rows.close()

    def put(self, name: str, part: Part) -> None:
        """Keep a finished part."""
        self._parts[name] = part

    def get(self, name: str) -> Any:
        """A finished part."""
        return self._parts[name]

    def commit(self, facts: dict[str, Any], *streams: Rows) -> None:
        """Write down how far the run has come; ``streams`` are where it goes on from."""
        self.facts = facts

    def layers(self, count: int) -> Sequence[QuantizedLayer]:
        """All layers."""
        return tuple(self.get(f"layers.{i}") for i in range(count))
