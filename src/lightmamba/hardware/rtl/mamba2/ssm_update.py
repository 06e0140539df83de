"""Update of one block of the state: the arithmetic is :class:`numerics.ssm_update.BlockUpdate`.

What a row or a block has in common (the normal form of dt·x, the unit of the block, and what its
elements are multiplied by in that unit) is found once. An element has two products of 8 with 16
bits, two additions, one shifter and a dither.
"""

from dataclasses import dataclass

import numpy as np
from amaranth.hdl import C, Cat, Mux, Signal, Value, signed

from lightmamba.hardware.rtl.pipe import Pipe, Timed
from lightmamba.hardware.rtl.shifts import bit_length, is_overflow
from lightmamba.numerics.blocks import dither
from lightmamba.numerics.ssm import SsmStep
from lightmamba.numerics.ssm_update import DECAY_BITS, FACTOR_BITS, LARGEST_EXP, UNIT_BITS

__all__ = [
    "UPDATE", "Parts", "Row", "Updated", "dither_of", "normalize", "row_of", "shift_right",
    "update",
]  # fmt: skip

UPDATE = 14  # cycles of `update`
DTX_BITS = 24
ZERO = 31  # places of a dt·x of zero
SHIFTS = (-31, 62)  # right shift of dt·x·B into the frame
NOWHERE = -64  # place of a dt·x of zero


@dataclass(frozen=True)
class Row:
    """Values that all elements of a word share; see :func:`row_of`."""

    decay: Timed  # 24 bits
    dtx: Timed  # signed, 24 bits, normal: |dtx| from 2^22 to 2^23, or zero
    places: Timed  # how far dtx was moved up for that, or ZERO
    reach: Timed  # bits of a normal dt·x in the frame, without the exponent of B; signed
    threshold: Timed  # that the decay is rounded by, of 512
    dither: Timed  # of the word's first element
    dithered: Value  # else half up; constant


@dataclass(frozen=True)
class Parts:
    """Words of a block, one after the other, where it has several."""

    count: int
    first: Timed  # this word is the first of its block
    last: Timed  # a word is here, and it is the last one


@dataclass(frozen=True)
class Updated:
    """New elements of a block, in one cycle, and (earlier) whether its exponent saturated."""

    q: list[Timed]
    exp: Timed
    over: list[Timed]


def row_of(
    pipe: Pipe, *, decay: Timed, dtx: Timed, shift: Timed, head: Timed, dither: Timed,
    dithered: Value,
) -> Row:  # fmt: skip
    """Values that the blocks of a row share. ``dtx`` is normal five cycles after its input.

    Parameters
    ----------
    pipe
        Of the row.
    decay
        24 bits.
    dtx
        Product of dt and x, signed, 24 bits.
    shift
        Frame + dt's shift - x's exponent, signed.
    head
        ``dither_of(position, head)`` of the row, for its decay, eight bits.
    dither
        ``dither_of(index, position)`` of the word's first element, eight bits.
    dithered
        Round by both; else half up. Constant during a job.
    """
    normal, places = normalize(pipe, dtx)
    return Row(
        decay=decay,
        dtx=normal,
        places=places,
        reach=pipe.step(lambda s: DTX_BITS - 1 - s, shift),
        threshold=pipe.step(lambda t: Mux(dithered, Cat(C(1, 1), t), 256), head, shape=9),
        dither=dither,
        dithered=dithered,
    )


def normalize(pipe: Pipe, x: Timed) -> tuple[Timed, Timed]:
    """Signed 24-bit ``x`` moved up until its two top bits differ, and by how much. Five cycles.

    Zero stays zero, with 31.
    """
    value, moved = x, []
    for place in (4, 3, 2, 1, 0):
        far = 1 << place
        same = pipe.comb(lambda v, far=far: v[-far - 1 :].all() | ~v[-far - 1 :].any(), value)
        moved.append(pipe.step(lambda s: s, same))
        value = pipe.step(lambda v, s, far=far: Mux(s, v << far, v), value, same, shape=signed(24))
    return value, pipe.comb(Cat, *reversed(moved))


def dither_of(index: int, token: int = 0) -> int:
    """``numerics.blocks.dither`` of plain numbers; it is linear, modulo 256."""
    return int(dither(np.asarray(index), np.asarray(token)))


def shift_right(pipe: Pipe, x: Timed, amount: Timed) -> Timed:
    """``x >> amount`` of a signed ``x``, floor. One cycle, or two above four bits of amount.

    Four bits of ``amount`` are two multiplexers of four inputs, one lookup table each.
    """
    x, amount = pipe.align(x, amount)
    bits = len(x)
    for place in reversed(range(len(amount))):
        low = min(1 << place, bits - 1)

        def move(v: Value, a: Value, low: int = low, place: int = place) -> Value:
            return Mux(a[place], v[low:].as_signed(), v.as_signed())

        is_end = place in (len(amount) - 4, 0)
        x = (pipe.step if is_end else pipe.comb)(move, x, amount)
        amount = pipe.delay(amount, x.stage)
    return x


def update(
    pipe: Pipe, op: SsmStep, row: Row, h: list[Timed], h_exp: Timed, B: list[Timed], B_exp: Timed,
    first: int, parts: Parts | None = None,
) -> Updated:  # fmt: skip
    """Advance one block; ``first`` is the place of its first element in the word.

    Source: ``numerics.ssm_update.BlockUpdate``. ``UPDATE`` cycles from ``dtx`` to ``q``. ``B_exp``
    must be there a cycle before ``dtx``, ``h_exp`` a cycle after it, ``h`` and ``B`` five. With
    ``parts``, of a block whose words come one after the other, ``parts.count`` cycles more.
    """
    top, kept, grown = _factors(pipe, row, h_exp, B_exp)
    v = [_merge(pipe, kept, x, grown, b) for x, b in zip(h, B, strict=True)]
    # The highest bit of all magnitudes together is that of the largest; -128 counts as 127.
    seen = pipe.step(
        lambda *t: Cat(Cat(x[i] ^ x[-1] for x in t).any() for i in range(len(t[0]) - 1)), *v
    )
    below = pipe.step(lambda *t: Cat(x[-1] for x in t).any(), *v)
    if parts is not None:
        both = _gathered(pipe, parts, pipe.comb(Cat, seen, below))
        seen, below = pipe.comb(lambda b: b[:-1], both), pipe.comb(lambda b: b[-1], both)
    bits = pipe.step(bit_length, seen, shape=4)
    some = pipe.step(lambda s, b: s.any() | b, seen, below)
    top = pipe.settle(pipe.delay(top, bits.stage - 1))
    up = pipe.step(
        lambda n, t: Mux(t < FACTOR_BITS - n, t + 1, FACTOR_BITS - n), bits, top, shape=4
    )
    q = [_round(pipe, op, row, value, up, first + n) for n, value in enumerate(v)]
    wanted = pipe.step(lambda t, u, s: Mux(s, t + 1 - u, 0), top, up, some, shape=6)
    over = pipe.step(lambda e: e > LARGEST_EXP, wanted)
    exp = pipe.step(lambda e: Mux(e > LARGEST_EXP, LARGEST_EXP, e), wanted, shape=5)
    return Updated(q, pipe.delay(exp, q[0].stage), [over])


def _gathered(pipe: Pipe, parts: Parts, bits: Timed) -> Timed:
    """Bits that any word of a block has: a cycle after its last word, for as long as it has words.

    Each of them sees it ``parts.count`` cycles after its own bits.
    """
    m = pipe.m
    first, last = (pipe.delay(t, bits.stage).value for t in (parts.first, parts.last))
    before = Signal(len(bits), reset_less=True, name="before")  # of the words so far
    whole = Signal(len(bits), reset_less=True, name="whole")
    here = bits.value | Mux(first, 0, before)
    m.d.sync += before.eq(here)
    with m.If(last):
        m.d.sync += whole.eq(here)
    return Timed(whole, bits.stage + parts.count)


def _factors(pipe: Pipe, row: Row, h_exp: Timed, B_exp: Timed) -> tuple[Timed, Timed, Timed]:
    """Exponent of the block, and decay and dt·x in its unit. Five cycles from ``row.dtx``."""
    low, high = (DTX_BITS - 1 - s for s in reversed(SHIFTS))
    reach = pipe.step(lambda r, e: r + e, row.reach, B_exp)
    reach = pipe.step(
        lambda r, n: Mux(
            n == ZERO, NOWHERE,
            Mux(r < low, low - n, Mux(r > high, high - n, r[:7].as_signed() - n)),
        ),
        reach, row.places, shape=signed(7),
    )  # fmt: skip
    apart = [pipe.step(lambda r, e: r - e, reach, h_exp, shape=signed(8)),
             pipe.step(lambda r, e: e - r, reach, h_exp, shape=signed(8))]  # fmt: skip
    top = pipe.step(
        lambda n, r, e: Mux(n[-1], e, r[:6]), apart[0], reach, h_exp, shape=6
    )  # fmt: skip
    down = [
        pipe.step(lambda n: Mux(n[-1], 0, n[:4] | n[4:-1].any().replicate(4)), n, shape=4)
        for n in apart
    ]
    decay = pipe.comb(lambda d: Cat(d, 0).as_signed(), row.decay)
    decay = shift_right(pipe, decay, down[0])
    threshold = pipe.settle(pipe.delay(row.threshold, decay.stage - 1))
    kept = pipe.step(
        lambda d, t: _at_most(d[:DECAY_BITS] + t, DECAY_BITS)[DECAY_BITS - FACTOR_BITS :],
        decay, threshold, shape=FACTOR_BITS,
    )  # fmt: skip
    # One bit below the point is kept, then half is added.
    doubled = pipe.comb(lambda d: d[UNIT_BITS:].as_signed(), row.dtx)
    grown = pipe.step(
        lambda d: _at_most(d[1:].as_signed() + d[0], FACTOR_BITS).as_signed(),
        shift_right(pipe, doubled, down[1]), shape=signed(FACTOR_BITS + 1),
    )  # fmt: skip
    return top, kept, grown


def _at_most(value: Value, bits: int) -> Value:
    """A sum whose magnitude has ``bits``, or all ones where it is positive and has more."""
    if not value.shape().signed:
        return value[:bits] | value[bits].replicate(bits)
    over = value[bits] & ~value[-1]
    return Cat(value[:bits] | over.replicate(bits), value[-1])


def _merge(pipe: Pipe, kept: Timed, h: Timed, grown: Timed, B: Timed) -> Timed:
    """h·decay and B·dt·x, each rounded half up by eight bits, added: at most 32,512.

    round(a) + round(b) = (floor(a) + b's bit) + floor(b) + a's bit; the last goes into the addition
    as a carry.
    """
    a = pipe.step(lambda f, x: Cat(f, C(0, 1)).as_signed() * x, kept, h, shape=signed(24))
    b = pipe.step(lambda f, x: f * x, grown, B, shape=signed(24))
    rounded = pipe.step(lambda a, b: a[8:].as_signed() + b[7], a, b, shape=signed(16))
    return pipe.step(
        lambda s, a, b: (Cat(a[7], s).as_signed() + Cat(a[7], b[8:]).as_signed())[1:17].as_signed(),
        rounded, a, b, shape=signed(16),
    )  # fmt: skip


def _round(pipe: Pipe, op: SsmStep, row: Row, v: Timed, up: Timed, place: int) -> Timed:
    """floor((v·2^up + d) / 256), or half up with 128 for d, in the format of a state element."""
    x = pipe.settle(pipe.delay(v, up.stage - 1))
    for level in (3, 2, 1, 0):
        far = 1 << level

        def move(t: Value, u: Value, far: int = far, level: int = level) -> Value:
            return Mux(u[level], t << far, t)[: len(t)]

        x = (pipe.comb if level else pipe.step)(move, x, up)
    offset = dither_of(place)
    d = pipe.step(
        lambda t: Mux(row.dithered, (t + offset)[:8], 128), pipe.delay(row.dither, x.stage - 1),
        shape=8,
    )  # fmt: skip
    form = op.scale.form
    q = pipe.step(lambda t, k: (t.as_signed() + k)[8:].as_signed(), x, d, shape=signed(9))
    return pipe.step(
        lambda v: Mux(is_overflow(v, form), Mux(v[-1], form.min, form.max), v),
        q, shape=signed(form.bits),
    )  # fmt: skip
