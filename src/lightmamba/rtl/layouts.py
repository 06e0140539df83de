"""Payloads of the streams between the units, and of their commands."""

from amaranth.hdl import signed, unsigned
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from lightmamba.arch.contract import WORD_BITS
from lightmamba.arch.fields import Field
from lightmamba.arch.program import COMMANDS

__all__ = [
    "BLOCKED", "CODED", "DISCRETE", "LOGITS", "RMS", "ROW", "WORD", "command", "i_stream",
    "o_stream", "record",
]  # fmt: skip

WORD = unsigned(WORD_BITS)  # of the small streams
ROW = data.StructLayout({"kind": unsigned(3), "value": signed(16)})  # of in_proj, by Kind
CODED = data.StructLayout({"q": signed(8), "code": unsigned(6)})  # activation, scale of its block
RMS = data.StructLayout({"mantissa": unsigned(16), "j": signed(6)})  # value m·2^(-23-j)
DISCRETE = data.StructLayout(
    {"dt": unsigned(16), "shift": unsigned(6), "decay": unsigned(24), "D": signed(16)}
)  # of one head
LOGITS = data.StructLayout(
    {"first": signed(32), "second": signed(32), "both": unsigned(1)}
)  # of neighbouring ids; ``second`` counts only with ``both``
BLOCKED = data.StructLayout(
    {"kind": unsigned(3), "q": signed(8), "exp": unsigned(4)}
)  # x, B or C, with the exponent of its block


def record(fields: tuple[Field, ...]) -> data.StructLayout:
    """Layout of a packed record."""
    return data.StructLayout(
        {f.name: signed(f.bits) if f.signed else unsigned(f.bits) for f in fields}
    )


def command(unit: str) -> data.StructLayout:
    """Layout of a unit's command."""
    return record(COMMANDS[unit])


def i_stream(shape: object) -> In:
    """Input stream member."""
    return In(stream.Signature(shape))


def o_stream(shape: object) -> Out:
    """Output stream member."""
    return Out(stream.Signature(shape))
