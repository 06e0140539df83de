"""Slots and vectors of a pass in the RTL: registers, or constants where nothing varies."""

from typing import Any

from amaranth.hdl import Const, Value
from amaranth.lib.wiring import In

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.fields import Field, encode, width
from lightmamba.arch.passes import ALONE, SLOT, VECTOR, slots, vectors
from lightmamba.hardware.rtl.layouts import record

__all__ = ["members", "slots_of", "vectors_of"]


def members(config: ArchConfig) -> dict[str, Any]:
    """Inputs ``slot`` and ``vector`` of a unit, T of each; none where a pass is one token."""
    if config.tokens == 1:
        return {}
    return {
        name: In(record(fields)).array(config.tokens)
        for name, fields in (("slot", SLOT), ("vector", VECTOR))
    }


def slots_of(source: Any) -> list[Any]:
    """Views of SLOT, one for each slot, of a unit's or the host port's ``slot``."""
    return _views(source, "slot", SLOT, slots([ALONE]))


def vectors_of(source: Any) -> list[Any]:
    """Views of VECTOR, one for each vector, of a unit's or the host port's ``vector``."""
    return _views(source, "vector", VECTOR, vectors([ALONE]))


def _views(
    source: Any, name: str, fields: tuple[Field, ...], alone: list[dict[str, int]]
) -> list[Any]:
    bits = width(fields)
    given = [Const(encode(fields, each), bits) for each in alone]
    if hasattr(source, name):
        given = [Value.cast(each)[:bits] for each in getattr(source, name)]
    return [record(fields)(value) for value in given]
