"""Sizes of the attention unit, and what its stages tell each other of a tile."""

from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.contract import BLOCK, WORD
from lightmamba.arch.passes import VECTOR
from lightmamba.blocks.attention.hardware import EXPONENT, pages
from lightmamba.numerics.attention import PAGE, POSITIONS

__all__ = [
    "EXPONENT", "LEVELS", "PLACE", "POSITION_BITS", "Queries", "Shape", "less_one", "tile_layout",
]  # fmt: skip

PLACE = (PAGE - 1).bit_length()  # bits of a position within a page
POSITION_BITS = POSITIONS.bit_length() + 1
LEVELS = 2  # multiplexers of a shift between registers: as many as a LUT of six inputs holds
VECTOR_BITS = next(field.bits for field in VECTOR if field.name == "slot")


@dataclass(frozen=True)
class Shape:
    """Capacities of the unit.

    Parameters
    ----------
    tokens : int
        T, vectors of a pass.
    channels, rows : int
        W channels of keys and of values, and R queries, that meet in a cycle.
    heads, per_group, head_dim : int
        Heads of keys and values, queries for each of them, channels of a head.
    row : int
        Bytes of a row of earlier positions.
    positions : int
        M, positions of which a word of W channels has W/M each.
    dsp48e2 : bool
        Multipliers are DSP48E2.
    """

    tokens: int
    channels: int
    rows: int
    heads: int
    per_group: int
    head_dim: int
    row: int
    positions: int
    dsp48e2: bool

    @staticmethod
    def of(config: ArchConfig) -> "Shape":
        """Shape of the attention unit of a configuration."""
        return Shape(
            config.tokens, config.attention_channels, config.attention_rows, config.kv_heads,
            config.per_group, config.head_dim, config.row_bytes, config.attention_positions,
            config.dsp48e2,
        )  # fmt: skip

    @property
    def wide(self) -> int:
        """Channels of a position in a word of W."""
        return self.channels // self.positions

    @property
    def parts(self) -> int:
        """Words of a head."""
        return -(-self.head_dim // self.wide)

    @property
    def within(self) -> int:
        """Bits of a position within a word."""
        return (self.positions - 1).bit_length()

    @property
    def words(self) -> int:
        """Words of a page for each part of a head: cycles of a tile."""
        return PAGE // self.positions

    @property
    def pages(self) -> int:
        """Pages that the unit holds."""
        return pages(self.positions)

    @property
    def page_bits(self) -> int:
        """Bits of the number of one of them."""
        return (self.pages - 1).bit_length()

    @property
    def tiles(self) -> int:
        """Tiles of R queries that a group takes."""
        return -(-self.per_group // self.rows)

    @property
    def per(self) -> int:
        """64-bit words of a position in a word."""
        return self.wide // WORD

    @property
    def step(self) -> int:
        """Bytes of a row that are stored in a cycle: of W channels of keys and of values."""
        return min(self.row, 2 * self.channels)

    @property
    def steps(self) -> int:
        """Cycles that a row takes."""
        return self.row // self.step

    @property
    def at_once(self) -> int:
        """Whole positions that are stored in a cycle; 1, if a position takes several."""
        return max(1, self.step // (2 * self.wide))

    @property
    def splits(self) -> int:
        """Cycles that the channels of a position in a word take."""
        return max(1, 2 * self.wide // self.step)

    @property
    def blocks(self) -> int:
        """Blocks of a position in a word."""
        return self.wide // BLOCK

    @property
    def exponent_bits(self) -> int:
        """Bits of the exponents of a key, or of a value."""
        return self.parts * self.blocks * EXPONENT

    def exponents_of(self, word: Value) -> Value:
        """Exponents of a key and of its value in a position's word of 64 bits."""
        half = len(word) // 2
        return Cat(word[: self.exponent_bits], word[half : half + self.exponent_bits])

    @property
    def lanes(self) -> int:
        """Channels of a query whose sums leave the array in a cycle."""
        return self.channels // PAGE

    def key_cycle(self, column: int) -> int:
        """Cycles from an address to a 64-bit column of keys, of one position.

        Columns of a block follow each other in a cascade, and so do the blocks of a position.
        """
        block, place = divmod(column % self.per, BLOCK // WORD)
        return 2 + block + place

    def value_cycle(self, column: int) -> int:
        """Cycles from an address to a 64-bit column of values, of one position.

        The channels of a position follow each other, ``lanes`` a cycle, and positions in a cascade.
        """
        position, place = divmod(column, self.per)
        return 3 + position + place * WORD // self.lanes

    def bits(self, name: str) -> int:
        """Bits of a number that counts ``heads``, ``tiles`` or ``parts``; 0 of a constant.

        One at least of ``heads``, since yosys reads no memory whose address is constant.
        """
        return max(int(name == "heads"), (int(getattr(self, name)) - 1).bit_length())


class Queries:
    """Walk the queries of a group: R rows, then the next tile.

    Attributes
    ----------
    tile, row : Signal
    last : Value
        The last query of the group.
    counters : tuple of Signal
        All that begin at 0.
    """

    def __init__(self, shape: Shape, last: Value) -> None:
        query = Signal(range(max(2, shape.per_group)), name="query")
        self.tile, self.row = Signal(shape.bits("tiles")), Signal(range(max(2, shape.rows)))
        self.counters = query, self.tile, self.row
        self.last, self._rows = query == last, shape.rows

    def step(self, ends: Value) -> list[Any]:
        """Assignments that go on to the next query, or to the first one of the next group."""
        query, wraps = self.counters[0], self.row == self._rows - 1
        return [
            query.eq(Mux(ends, 0, query + 1)),
            self.row.eq(Mux(ends | wraps, 0, self.row + 1)),
            self.tile.eq(Mux(ends, 0, self.tile + wraps)),
        ]


def less_one(m: Module, count: Value) -> Signal:
    """Number of the last of some, in a register: ``count`` stays as it is from the start of a job.

    It is that of the job from the third cycle after the start on.
    """
    last = Signal(len(count), reset_less=True)
    m.d.sync += last.eq(count - 1)
    return last


def tile_layout(shape: Shape) -> Any:
    """Layout of a tile: R queries of one vector and a group, and a page of keys and values.

    ``limit`` positions of the page count. ``first`` is the query's first page, ``ends`` the last
    tile on the page, ``final`` the last one of a head of keys and values.
    """
    return data.StructLayout(
        {
            "head": unsigned(shape.bits("heads")),
            "odd": unsigned(1),  # its head is; what is kept of a head lies twice
            "vector": unsigned(VECTOR_BITS),
            "tile": unsigned(shape.bits("tiles")),
            "page": unsigned(shape.page_bits),
            "rows": unsigned(shape.rows.bit_length()),
            "limit": unsigned(PLACE + 1),
            "first": 1,
            "ends": 1,
            "final": 1,
        }
    )
