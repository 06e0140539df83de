"""Packed multipliers: two tokens times the weights of two lanes, four products in one DSP.

A DSP48E2 multiplies 27 by 18 bits. With activations of 4 bits of two tokens, a0 and a1, and weights
of 4 bits of two lanes in one column, w0 and w1,

    (a0 + a1·2^22) · (w0 + w1·2^11) = a0·w0 + a0·w1·2^11 + a1·w0·2^22 + a1·w1·2^33

has four products in signed fields of 11 bits. A product is within -56..64, and a sum of eight
within -448..512, which a field holds: words of eight columns are added as they are, in one carry
chain for all four. A field that is negative takes 1 from the one above it; that is given back when
the fields are taken out.

Two weights of one row do not go together: each of them meets another activation. Lanes are in step
on different rows of the same columns, so weights of two lanes do.

Source: AMD, white paper WP521, describes several products of 4 bits in a DSP48E2.
"""

from collections.abc import Iterator
from typing import Any

from amaranth.hdl import Cat, Module, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.contract import BLOCK
from lightmamba.hardware.rtl.pipe import Pipe, Timed
from lightmamba.hardware.rtl.shifts import add_tree, tree_steps

__all__ = ["DOT_BITS", "PACKED_BITS", "LanePair", "field", "multiplied", "pack"]

BITS, FIELD = 4, 11  # of a factor, of a field
PACKED_BITS = 2 * BITS + 1  # of two factors, before they are spread
LANES = TOKENS = 2  # that share a multiplier
TERMS = 8  # products in a field, at most; 16 of the largest do not fit
DOT_BITS = (BLOCK * 64).bit_length() + 1  # of a block's sum, as a tree of single products has it
PRODUCT_BITS = LANES * TOKENS * FIELD - (TERMS - 1).bit_length()  # of the word of one column


def pack(low: Value, high: Value) -> Value:
    """Two signed factors: the first one, then the second one less 1 where the first is negative."""
    return Cat(low, (high.as_signed() - low[-1])[: BITS + 1])


def multiplied(pipe: Pipe, weights: Timed, tokens: Timed) -> Timed:
    """Four products of packed factors that come from registers. One cycle, one multiplier."""
    return pipe.step(
        lambda w, a: _spread(w, FIELD) * _spread(a, LANES * FIELD),
        weights, tokens, shape=signed(PRODUCT_BITS),
    )  # fmt: skip


def _spread(packed: Value, place: int) -> Value:
    """Packed factors as low + high·2^place."""
    low, high = packed[:BITS], packed[BITS:]
    return Cat(low, low[-1].replicate(place - BITS), high).as_signed()


def field(word: Value, number: int) -> Value:
    """One of the four signed fields of a sum of packed products, counted from the lowest."""
    low = number * FIELD
    value = word[low : low + FIELD].as_signed()
    # What is below the field is negative where its topmost bit is set, and took 1 from the field.
    return (value + word[low - 1])[:FIELD].as_signed() if low else value


class LanePair(wiring.Component):
    """Dot products of blocks: a beat of weights of two lanes with the activations of all tokens.

    A beat per cycle, without a stall; ``dots`` are there ``latency`` = 7 cycles after their beat:
    factors packed, their product, three levels of an adder tree of eight words, fields taken out,
    two levels of a tree of four fields. Multipliers: ``products`` x T/2.

    Parameters
    ----------
    config : ArchConfig
        Widths; it is ``packed``.

    Members
    -------
    beat : In(port_bits) per lane
        Weights, the first in the lowest bits.
    q : In(T/2 x products x 9)
        Activations of two tokens each, column by column, packed by :func:`pack`.
    dots : Out(signed(13) per block and token) per lane
        Sums of the products of each block.
    """

    interval = 1
    latency = 3 + tree_steps(TERMS, 1) + tree_steps(BLOCK // TERMS, 2)

    beat: Any
    q: Any
    dots: Any

    def __init__(self, config: ArchConfig) -> None:
        self.config = config
        columns = data.ArrayLayout(PACKED_BITS, config.products)
        super().__init__(
            {
                "beat": In(config.port_bits).array(LANES),
                "q": In(data.ArrayLayout(columns, config.tokens // TOKENS)),
                "dots": Out(dots_layout(config)).array(LANES),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        pipe, c = Pipe(m), self.config
        weights = [
            pipe.step(lambda low, high: pack(low, high), *(
                pipe.input(self.beat[lane].word_select(n, BITS)) for lane in range(LANES)
            ))
            for n in range(c.products)
        ]  # fmt: skip
        for pair in range(c.tokens // TOKENS):
            tokens = [pipe.step(lambda v: v, pipe.input(q)) for q in self.q[pair]]
            products = [multiplied(pipe, w, a) for w, a in zip(weights, tokens, strict=True)]
            for block in range(c.codes):
                sums = self._block(pipe, products[block * BLOCK : (block + 1) * BLOCK])
                for n, dot in enumerate(sums):
                    token, lane = pair * TOKENS + n // LANES, n % LANES
                    m.d.comb += self.dots[lane][token][block].eq(dot.value)
        return m

    def _block(self, pipe: Pipe, products: list[Timed]) -> Iterator[Timed]:
        """Sums of the four fields over the products of a block."""
        words = [add_tree(pipe, products[n : n + TERMS], levels=1) for n in range(0, BLOCK, TERMS)]
        for n in range(LANES * TOKENS):
            yield add_tree(
                pipe, [pipe.step(lambda v, n=n: field(v, n), w) for w in words], levels=2
            )


def dots_layout(config: ArchConfig) -> data.ArrayLayout:
    """Sums of the blocks of a lane's beat, token by token."""
    blocks = data.ArrayLayout(signed(DOT_BITS), config.codes)
    return data.ArrayLayout(blocks, config.tokens)
