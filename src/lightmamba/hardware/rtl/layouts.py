"""Payloads of the streams between the units, and of their commands."""

from typing import Any

from amaranth.hdl import signed, unsigned
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.contract import WORD_BITS
from lightmamba.arch.fields import Field
from lightmamba.hardware.machine.kinds import machine

__all__ = [
    "CODED", "LOGITS", "OUT_ROWS", "RMS", "WORD", "command", "i_stream", "instructed", "o_stream",
    "payload", "record",
]  # fmt: skip

WORD = unsigned(WORD_BITS)  # of the small streams


def record(fields: tuple[Field, ...]) -> data.StructLayout:
    """Layout of a packed record."""
    return data.StructLayout(
        {f.name: signed(f.bits) if f.signed else unsigned(f.bits) for f in fields}
    )


ALONE = ArchConfig()  # a machine, for what is the same in all


def payload(name: str, config: ArchConfig = ALONE) -> Any:
    """Shape of a payload by its name in the graph of a machine."""
    records = machine(config.kinds).records
    if name in records:
        return record(records[name])
    bits = int(name[1:])
    return signed(bits) if name[0] == "s" else unsigned(bits)


def command(unit: str, config: ArchConfig = ALONE) -> data.StructLayout:
    """Layout of the command that a unit takes."""
    return record(machine(config.kinds, wide=config.wide).own(unit))


def instructed(unit: str, config: ArchConfig) -> data.StructLayout:
    """Layout of a unit's command in an instruction: it chooses the sources of its inputs too."""
    return record(machine(config.kinds, wide=config.wide).commands[unit])


CODED, RMS = payload("CODED"), payload("RMS")
LOGITS, OUT_ROWS = payload("LOGITS"), payload("OUT_ROWS")


def i_stream(shape: object) -> In:
    """Input stream member."""
    return In(stream.Signature(shape))


def o_stream(shape: object) -> Out:
    """Output stream member."""
    return Out(stream.Signature(shape))
