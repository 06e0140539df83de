"""Signals between the two halves of the SDRAM controller, and the pins of the chip."""

from amaranth.hdl import unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from lightmamba.common.errors import InputError

__all__ = ["ADDRESS_BITS", "CHUNK_BYTES", "SdramShape", "pins"]

WORD_BITS = 16  # data lines of the chip
BANK_BITS, ROW_BITS, COLUMN_BITS = 2, 13, 9
ADDRESS_BITS = BANK_BITS + ROW_BITS + COLUMN_BITS + 1  # of a byte: 32 MiB
CHUNK_BYTES = 128  # that the two halves treat as one; a power of two


class SdramShape:
    """Layouts that follow from the width of the AXI port.

    A beat of the port is one burst of the chip, so there is room between the column commands for
    those that open and close rows. A chunk is the part of an AXI burst that lies in one aligned
    block of :data:`CHUNK_BYTES` bytes, so it never leaves a row.

    Parameters
    ----------
    bits : int
        Of a beat: 32 or 64.

    Attributes
    ----------
    length : int
        Words of a beat, which is the chip's burst length.
    beats : int
        Of a whole chunk.
    place : StructLayout
        Address of a beat: ``beat`` in its row, then ``bank``, then ``row``, from the low bits up.
        So memory in order goes from bank to bank.
    command : StructLayout
        A chunk: ``write``, ``place``, and how many beats it has ``more`` than one.
    beat : StructLayout
        Beat to write: ``data``, and a bit of ``strobe`` for each byte.

    Raises
    ------
    InputError
        If the width is another one.
    """

    def __init__(self, bits: int) -> None:
        if bits not in (32, 64):
            raise InputError(f"the SDRAM's AXI port must have 32 or 64 bits, not {bits}")
        self.bits = bits
        self.length = bits // WORD_BITS
        self.beats = CHUNK_BYTES // (bits // 8)
        self.place = data.StructLayout(
            {
                "beat": unsigned(COLUMN_BITS - exact_log2(self.length)),
                "bank": unsigned(BANK_BITS),
                "row": unsigned(ROW_BITS),
            }
        )
        self.command = data.StructLayout(
            {
                "write": unsigned(1),
                "place": self.place,
                "more": unsigned(exact_log2(self.beats)),
            }
        )
        self.beat = data.StructLayout({"data": unsigned(bits), "strobe": unsigned(bits // 8)})


def pins() -> wiring.Signature:
    """Pins of the chip, as the controller sees them; all of them lead from or to a register.

    Members
    -------
    cke, cs_n, ras_n, cas_n, we_n, ba, a : Out
        Commands.
    dqm : Out(2)
        1 leaves a byte of the chip as it is.
    dq_o, dq_oe, dq_i : Out(16), Out(1), In(16)
        Data to the chip, whether the controller drives the lines, and what is on them.
    """
    return wiring.Signature(
        {
            "cke": Out(1),
            "cs_n": Out(1, init=1),
            "ras_n": Out(1, init=1),
            "cas_n": Out(1, init=1),
            "we_n": Out(1, init=1),
            "ba": Out(BANK_BITS),
            "a": Out(ROW_BITS),
            "dqm": Out(WORD_BITS // 8, init=3),
            "dq_o": Out(WORD_BITS),
            "dq_oe": Out(1),
            "dq_i": In(WORD_BITS),
        }
    )
