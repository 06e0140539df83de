"""Update of one block of state elements: the arithmetic is :class:`numerics.ssm.SsmStep`.

Everything here is in a frame of 32 bits, eight of them a stored element: exponents are 0 to 24.
What a row or a block has in common (the normal form of dt·x, the amount of every shift) is found
once; an element has two products, two shifters to the right, two additions, and one narrow shifter.
"""

from dataclasses import dataclass

import numpy as np
from amaranth.hdl import C, Cat, Const, Mux, Value, signed

from lightmamba.numerics.blocks import dither
from lightmamba.numerics.ssm import SsmStep
from lightmamba.rtl.pipe import Pipe, Timed
from lightmamba.rtl.shifts import LEVELS, saturate

__all__ = [
    "LEFT", "UPDATE", "Row", "Updated", "dither_of", "floor_of", "leading_zeros", "normalize",
    "shift_right", "update",
]  # fmt: skip

LEFT, RIGHT = 10, 31  # reach of the shift of a normal dt·x·B into the frame; see `Row`
DECAY_BITS = 24
STORED = 7  # bits of a stored magnitude
UPDATE = 17  # cycles of `update`


@dataclass(frozen=True)
class Row:
    """What all elements of a word have in common.

    With ``dtx`` normal (|dtx| from 2^22 to 2^23, or zero) the shift of dtx·B, -31 to 62 plus
    ``places``, may be held in -10..31. At -10 and below, |dtx·B| << 10 is 2^32 or more and
    overflows the frame whatever is added, which is 2^31 at most. At 31 and above nothing is left of
    a product below 2^30.
    """

    decay: Timed  # 24 bits
    dtx: Timed  # signed, 24 bits, normal
    places: Timed  # how far dtx was moved up for that, 0..31
    floor: Timed  # least shift, plus LEFT: 0..10
    shift: Timed  # frame + dt's shift - x's exponent + LEFT, signed
    dither: Timed  # of the word's first element
    dithered: Value  # else half up; constant


@dataclass(frozen=True)
class Updated:
    """New elements of a block, in one cycle, and (earlier) which of them overflowed the frame."""

    q: list[Timed]
    exp: Timed
    over: list[Timed]


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


def floor_of(places: Value) -> Value:
    """max(-31 + places, -LEFT) + LEFT: numerics clips a shift to -31, before ``places``."""
    return Mux(places >= 31 - LEFT, places - (31 - LEFT), 0)[:4]


def shift_right(pipe: Pipe, x: Timed, amount: Timed, unit: int = 1) -> Timed:
    """``x >> unit·amount`` of a signed ``x``, floor. One cycle, or two above four bits of amount.

    Four bits of ``amount`` are two multiplexers of four inputs, one lookup table each.
    """
    x, amount = pipe.align(x, amount)
    bits = len(x)
    for place in reversed(range(len(amount))):
        far = min(unit << place, bits - 1)

        def move(v: Value, a: Value, far: int = far, place: int = place) -> Value:
            return Mux(a[place], v[far:].as_signed(), v.as_signed())

        is_end = place in (len(amount) - 4, 0)
        x = (pipe.step if is_end else pipe.comb)(move, x, amount)
        amount = pipe.delay(amount, x.stage)
    return x


def leading_zeros(pipe: Pipe, x: Timed) -> Timed:
    """Count the zeros above the highest one; all bits if there is none. 24 bits: two cycles."""
    bits = len(x)
    width = bits.bit_length()
    nodes = [
        pipe.comb(lambda v, i=i: Cat(v[i], Const(bits - 1 - i, width)), x) for i in range(bits)
    ]
    nodes.insert(0, Timed(Cat(C(1, 1), Const(bits, width)), x.stage))
    level = 0
    while len(nodes) > 1:
        level += 1
        # Pairs from the top, so that an odd one is at the bottom, where one is always found.
        pairs = [nodes[max(i - 2, 0) : i] for i in range(len(nodes), 0, -2)][::-1]
        join = pipe.step if level % LEVELS == 0 or len(pairs) == 1 else pipe.comb
        nodes = [
            join(lambda low, high: Cat(low[0] | high[0], Mux(high[0], high[1:], low[1:])), *pair)
            if len(pair) == 2 else join(lambda v: v, *pair)
            for pair in pairs
        ]  # fmt: skip
    return pipe.comb(lambda v: v[1:], nodes[0])


def update(
    pipe: Pipe, op: SsmStep, row: Row, h: list[Timed], h_exp: Timed, B: list[Timed], B_exp: Timed,
    first: int,
) -> Updated:  # fmt: skip
    """Advance one block; ``first`` is the place of its first element in the word.

    Source: ``numerics.ssm.SsmStep.update``. ``UPDATE`` cycles from ``dtx``, ``h`` and ``B`` to
    ``q``; ``B_exp`` must be there a cycle earlier.
    """
    wanted = pipe.step(lambda s, e: s - e, row.shift, B_exp)
    wanted = pipe.step(lambda s, n: s + n, wanted, row.places)
    right = pipe.step(
        lambda s, low: Mux(s < low, low, Mux(s > LEFT + RIGHT, LEFT + RIGHT, s)),
        wanted, row.floor, shape=6,
    )  # fmt: skip
    down = pipe.step(lambda e: DECAY_BITS - e, h_exp, shape=5)
    # Both go right, by 2·c - f and 4·c - f; the f goes up before the multipliers, once for all.
    dtx = pipe.step(_up_by_negative, row.dtx, right, shape=signed(27))
    decay = pipe.step(lambda d, n: Mux(n[0], d << 1, d), row.decay, down)
    decay = pipe.delay(decay, dtx.stage)
    twos = pipe.step(lambda n: (n + 1) >> 1, down, shape=4)
    fours = pipe.step(lambda n: (n + 3) >> 2, right, shape=4)
    totals = [
        _merge(pipe, decay, pipe.delay(element, dtx.stage), twos, dtx, b, fours)
        for element, b in zip(h, B, strict=True)
    ]
    framed = [_saturate_frame(pipe, op, total) for total in totals]
    v = [value for value, _ in framed]

    # |v| < 2^31; the highest bit of all magnitudes together is that of the largest. A negation
    # as an exclusive or and a carry costs one lookup table per bit.
    sizes = [
        pipe.step(lambda t: ((t[:] ^ t[-1].replicate(len(t))) + t[-1])[: len(t)], value)
        for value in v
    ]
    seen = pipe.step(
        lambda *m: Cat(
            Cat(size[i] for size in m).any() for i in range(STORED, op.frame.bits - 1)
        ),
        *sizes,
    )  # fmt: skip
    up = leading_zeros(pipe, seen)  # 24 - exponent
    q = [_round(pipe, op, row, value, up, first + n) for n, value in enumerate(v)]
    exp = pipe.step(lambda u: DECAY_BITS - u, up, shape=5)
    return Updated(q, pipe.delay(exp, q[0].stage), [over for _, over in framed])


def _up_by_negative(value: Value, amount: Value) -> Value:
    """``value`` times 2^f, where amount + f is the next multiple of four."""
    once = Mux(amount[0], value << 1, value)
    return Mux(amount[0] ^ amount[1], once << 2, once)


def _merge(
    pipe: Pipe, decay: Timed, h: Timed, twos: Timed, dtx: Timed, B: Timed, fours: Timed
) -> Timed:
    """decay·h and dtx·B in the frame, added: at most 2^31 + 127·2^33, which 41 bits hold.

    Both keep one bit below the point, which is what half up adds: round(a) + round(b) =
    (floor(a) + b's bit) + floor(b) + a's bit; the last goes into the addition as a carry.
    """
    kept = pipe.step(lambda d, x: d * x, decay, h)
    grown = pipe.step(lambda d, x: (d * x)[:34].as_signed(), dtx, B)  # |B| <= 127
    a = shift_right(pipe, pipe.comb(lambda p: Cat(C(0, 1), p).as_signed(), kept), twos, 2)
    b = shift_right(
        pipe, pipe.comb(lambda p: Cat(C(0, LEFT + 1), p).as_signed(), grown), fours, 4
    )  # fmt: skip
    a = pipe.comb(lambda v: v[: DECAY_BITS + 9].as_signed(), a)
    b = pipe.comb(lambda v: v[: 32 + LEFT].as_signed(), b)
    rounded = pipe.step(lambda a, b: a[1:].as_signed() + b[0], a, b)
    return pipe.step(
        lambda s, a, b: (Cat(a[0], s).as_signed() + Cat(a[0], b[1:]).as_signed())[1:].as_signed(),
        rounded, a, b, shape=signed(31 + LEFT),
    )  # fmt: skip


def _saturate_frame(pipe: Pipe, op: SsmStep, total: Timed) -> tuple[Timed, Timed]:
    """``op.frame``, symmetric: too far up or down, or just its lowest value. Two cycles."""
    top = op.frame.bits - 1
    over = pipe.step(lambda t: t[top:].any() & ~(t[top:].all() & t[:top].any()), total)
    value = pipe.step(
        lambda t, o: Mux(o, Mux(t[-1], op.frame.min, op.frame.max), t[: top + 1].as_signed()),
        total, over, shape=signed(top + 1),
    )  # fmt: skip
    return value, over


def _round(pipe: Pipe, op: SsmStep, row: Row, v: Timed, up: Timed, place: int) -> Timed:
    """``round_dithered``: floor(v / 2^e + (2d + 1) / 512), or half up with 256 for 2d + 1.

    v << (24 - e) fits the frame, and only its upper 17 bits matter: below them nothing is added.
    """
    v, up = pipe.align(v, up)
    x = pipe.comb(lambda t: Cat(C(0, 16), t), v)
    for level in (4, 3, 2, 1, 0):
        far = 1 << level

        def move(t: Value, u: Value, far: int = far, level: int = level) -> Value:
            return Mux(u[level], t[: len(t) - far], t[far:])

        x = (pipe.step if level in (2, 0) else pipe.comb)(move, x, up)
        up = pipe.delay(up, x.stage)
    here = pipe.delay(row.dither, x.stage - 1)
    offset = dither_of(place)
    d = pipe.comb(lambda t: (t + offset)[:8], here)
    thresholds = pipe.step(lambda t: Mux(row.dithered, Cat(C(1, 1), t), 256), d, shape=9)
    q = pipe.step(lambda t, k: (t.as_signed() + k)[9:].as_signed(), x, thresholds, shape=signed(9))
    return saturate(pipe, q, op.scale.form)[0]
