"""Reading of the state, y = h·C + D·x: the arithmetic is :class:`numerics.ssm.SsmStep`."""

from dataclasses import dataclass

from amaranth.hdl import C, Cat, Mux, Signal, Value, signed

from lightmamba.hardware.rtl.mamba2.ssm_update import Updated, shift_right
from lightmamba.hardware.rtl.pipe import Pipe, Timed
from lightmamba.hardware.rtl.shifts import add_tree, saturate
from lightmamba.numerics.ssm import SsmStep

__all__ = ["SKIP", "Contraction", "add_words", "contract", "finish", "skip"]

LARGEST = 127 * 127  # of a product of 7-bit magnitudes
TOP = 33  # largest exponent: 24 of the state, 9 of C, which has 16 bits before it is quantized
LOW = 28  # bits of the lower part of a term
SKIP_LEFT, SKIP_RIGHT = 25, 24  # reach of the shift of D·x
SKIP = 5  # cycles of `skip`


@dataclass(frozen=True)
class Contraction:
    """Sum in two parts, low + high·2^28, so that no addition is longer than 32 bits."""

    low: Timed  # unsigned
    high: Timed  # signed

    @property
    def bits(self) -> int:
        """Bits of both parts."""
        return len(self.low) + len(self.high)


def contract(pipe: Pipe, block: Updated, C_q: list[Timed], C_exp: Timed) -> Contraction:
    """Products of one block with C, summed and put at their place."""
    products = [
        pipe.step(lambda h, c: h * c, h, pipe.delay(c, h.stage))
        for h, c in zip(block.q, C_q, strict=True)
    ]  # fmt: skip
    total = add_tree(pipe, products)
    bits = (len(products) * LARGEST).bit_length() + 1
    x = pipe.comb(lambda t: t[:bits].as_signed(), total)
    amount = pipe.step(lambda e, c: e + c, block.exp, pipe.delay(C_exp, block.exp.stage), shape=6)
    x, amount = pipe.align(x, amount)
    for place in range(len(amount)):

        def move(v: Value, a: Value, place: int = place) -> Value:
            return Mux(a[place], (v << (1 << place))[: bits + TOP].as_signed(), v.as_signed())

        x = (pipe.step if place in (2, 5) else pipe.comb)(move, x, amount)
        amount = pipe.delay(amount, x.stage)
    return Contraction(pipe.comb(lambda v: v[:LOW], x), pipe.comb(lambda v: v[LOW:].as_signed(), x))


def add_words(
    pipe: Pipe, blocks: list[Contraction], issue: Value, first: Timed, words: int
) -> Timed:
    """Sum over the blocks of a word, and on over up to ``words`` words of a row.

    ``issue`` says that there is a word in cycle 0, ``first`` that it is a row's first.
    """
    low = add_tree(pipe, [block.low for block in blocks], levels=1)
    high = add_tree(pipe, [block.high for block in blocks], levels=1)
    if words > 1:
        valid, begins = pipe.valid(issue, low.stage), pipe.valid(first.value, low.stage)
        growth = (words - 1).bit_length()
        sums = []
        for part in (low, high):
            shape = part.value.shape()
            total = Signal(type(shape)(shape.width + growth, shape.signed), reset_less=True)
            with pipe.m.If(valid):
                pipe.m.d.sync += total.eq(Mux(begins, 0, total) + part.value)
            sums.append(Timed(total, part.stage + 1))
        low, high = sums
    bits = blocks[0].bits + (len(blocks) * words - 1).bit_length()
    return pipe.step(
        lambda a, b: Cat(a[:LOW], b + a[LOW:])[:bits].as_signed(), low, high, shape=signed(bits)
    )


def finish(pipe: Pipe, op: SsmStep, total: Timed, shift: Value) -> tuple[Timed, Timed]:
    """``SsmStep.read`` from its sum on: y, and whether it overflowed."""
    doubled = pipe.comb(lambda t: Cat(C(0, 1), t).as_signed(), total)
    moved = shift_right(pipe, doubled, Timed(shift, doubled.stage))
    return saturate(pipe, _half_up(pipe, moved, op.out.bits + 2), op.out)


def _half_up(pipe: Pipe, doubled: Timed, bits: int) -> Timed:
    """Round a number with one bit below the point, first saturated to ``bits``. Two cycles."""
    doubled = pipe.step(
        lambda v: Mux(
            v[bits - 1 :].any() & ~v[bits - 1 :].all(),
            Cat((~v[-1]).replicate(bits - 1), v[-1]),
            v[:bits],
        ),
        doubled, shape=signed(bits),
    )  # fmt: skip
    return pipe.step(lambda v: (v.as_signed() + 1) >> 1, doubled, shape=signed(bits))


def skip(pipe: Pipe, op: SsmStep, D: Timed, x: Timed, shift: Timed) -> Timed:
    """D·x at y's place, 27 bits. ``SKIP`` cycles.

    ``shift`` is that of the numerics before it is clipped.

    A product is below 2^22: shifted right by 24 or more it is 0, and shifted left by 25 or more it
    saturates y whatever that is, unless it is 0.
    """
    product = pipe.step(lambda a, b: (a * b).as_signed(), D, x)
    doubled = pipe.comb(lambda p: Cat(C(0, SKIP_LEFT + 1), p).as_signed(), product)
    top = SKIP_LEFT + SKIP_RIGHT
    amount = pipe.step(
        lambda s: Mux(s < -SKIP_LEFT, 0, Mux(s > SKIP_RIGHT, top, s + SKIP_LEFT)), shift, shape=6
    )
    moved = shift_right(pipe, doubled, amount)
    return _half_up(pipe, moved, op.out.bits + 3)
