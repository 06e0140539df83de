"""Payloads of the streams between the units, and of their commands."""

from typing import Any

from amaranth.hdl import signed, unsigned
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from lightmamba.arch.contract import WORD_BITS
from lightmamba.arch.fields import Field
from lightmamba.arch.machine import MACHINE
from lightmamba.arch.program import COMMANDS

__all__ = [
    "BLOCKED", "CODED", "DISCRETE", "LOGITS", "RMS", "ROW", "WORD", "command", "i_stream",
    "o_stream", "record", "shape",
]  # fmt: skip

WORD = unsigned(WORD_BITS)  # of the small streams


def record(fields: tuple[Field, ...]) -> data.StructLayout:
    """Layout of a packed record."""
    return data.StructLayout(
        {f.name: signed(f.bits) if f.signed else unsigned(f.bits) for f in fields}
    )


RECORDS = {name: record(fields) for name, fields in MACHINE.records.items()}
ROW, CODED, RMS = RECORDS["ROW"], RECORDS["CODED"], RECORDS["RMS"]
DISCRETE, LOGITS, BLOCKED = RECORDS["DISCRETE"], RECORDS["LOGITS"], RECORDS["BLOCKED"]


def shape(payload: str) -> Any:
    """Shape of a payload by its name in the graph."""
    if payload in RECORDS:
        return RECORDS[payload]
    bits = int(payload[1:])
    return signed(bits) if payload[0] == "s" else unsigned(bits)


def command(unit: str) -> data.StructLayout:
    """Layout of a unit's command."""
    return record(COMMANDS[unit])


def i_stream(shape: object) -> In:
    """Input stream member."""
    return In(stream.Signature(shape))


def o_stream(shape: object) -> Out:
    """Output stream member."""
    return Out(stream.Signature(shape))
