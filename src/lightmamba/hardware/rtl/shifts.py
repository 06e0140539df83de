"""Shift, round, saturate, normalize: the pipelined forms of ``numerics.primitives``."""

from amaranth.hdl import Cat, Const, Mux, Signal, Value, signed

from lightmamba.hardware.rtl.pipe import Pipe, Timed
from lightmamba.numerics.formats import IntFormat

__all__ = [
    "SPLIT", "accumulate", "add_tree", "bit_length", "is_overflow", "magnitude", "round_latency",
    "round_saturate", "round_shift", "saturate", "shift_add", "shift_cut", "shift_latency",
    "split_product",
    "tree_steps",
]  # fmt: skip

LEVELS = 3  # multiplexer levels of a barrel shifter between registers
CARRY = 32  # bits that a carry goes through before a multiplexer
SPLIT = 17  # bits of the lower of the two pieces in which a wide factor is multiplied


def round_shift(
    pipe: Pipe, x: Timed, shift: Timed, *, low: int = 0, high: int, name: str = "round"
) -> Timed:
    """Divide by ``2**shift``, round half up; a negative shift multiplies.

    ``shift`` is an integer from ``low`` to ``high``, both within its own range; ``low`` <= 0. The
    result has ``-low`` bits more than ``x``. Takes :func:`shift_latency` cycles, the last of which
    adds over its whole width: for narrow results; else see :func:`round_saturate`.

    Source: ``numerics.primitives.round_shift``. One bit below the point is kept through the
    shifter, then half is added: floor((floor(2·x / 2^s) + 1) / 2) = floor(x / 2^s + 1/2).
    """
    doubled = _shifted(pipe, x, shift, low, high)
    return pipe.step(
        lambda v: (v.as_signed() + 1) >> 1, doubled, shape=signed(len(doubled) - 1)
    )  # fmt: skip


def _shifted(
    pipe: Pipe, x: Timed, shift: Timed, low: int, high: int, levels: int = LEVELS
) -> Timed:  # fmt: skip
    """floor(2·x / 2^shift), in as many cycles as there are runs of ``levels`` multiplexers."""
    x, shift = pipe.align(x, shift)
    bits = len(x) + 1 - low
    value = Timed((x.value << (1 - low)).as_signed(), x.stage)
    # What remains is a right shift by shift - low, in 0..high - low.
    amount = pipe.comb(lambda s: (s - low)[: (high - low).bit_length()].as_unsigned(), shift)
    places = range(len(amount) - 1, -1, -1)
    for count, place in enumerate(places):
        far = min(1 << place, bits - 1)
        shifted = pipe.comb(
            lambda v, s, far=far, place=place: Mux(s[place], v.as_signed() >> far, v.as_signed()),
            value, amount,
        )  # fmt: skip
        value = Timed(_as(shifted.value, bits), shifted.stage)
        if count % levels == levels - 1 or place == 0:
            value = pipe.step(lambda v: v, value, shape=signed(bits))
        amount = pipe.delay(amount, value.stage)
    return value


def _as(value: Value, bits: int) -> Value:
    return value[:bits].as_signed()


def shift_latency(low: int, high: int, levels: int = LEVELS) -> int:
    """Cycles of :func:`round_shift` and :func:`shift_cut`."""
    places = (high - low).bit_length()
    return -(-places // levels) + 1


def round_latency(low: int, high: int) -> int:
    """Cycles of :func:`round_saturate`."""
    return shift_latency(low, high) + 1


def round_saturate(
    pipe: Pipe, x: Timed, shift: Timed, form: IntFormat, *, low: int = 0, high: int,
    levels: int = LEVELS,
) -> tuple[Timed, Timed]:  # fmt: skip
    """:func:`round_shift` saturated to ``form``, and whether that changed it.

    In :func:`round_latency` cycles, as many as the two one after the other, but nothing is added or
    compared over the whole width: what is shifted is cut to two bits more than the result first.
    """
    doubled, bits = _shifted(pipe, x, shift, low, high, levels), form.bits
    kept = pipe.step(lambda v: _cut(v, bits + 2), doubled)
    # Half up, all ones become one more; the lowest value is left out of a symmetric format.
    ones = pipe.step(lambda v: v[:bits].all() & ~is_overflow(v, IntFormat(bits + 2)), doubled)
    zeros = pipe.step(lambda v: ~v[:bits].any() & int(form.symmetric), doubled)
    over = pipe.comb(lambda v, o: ~v[-1] & (v[bits] | o), kept, ones)
    under = pipe.comb(lambda v, o, z: v[-1] & ((~v[bits] & ~o) | z), kept, ones, zeros)
    if bits <= CARRY:
        near = pipe.comb(lambda v: v[1:].as_signed() + v[0], kept)
    else:  # the upper half knows beforehand whether the lower one carries
        half = bits // 2
        carry = pipe.step(lambda v: _cut(v, bits + 2)[: half + 1].all(), doubled)
        near = pipe.comb(
            lambda v, c: Cat((v[1:] + v[0])[:half], v[half + 1 :] + c).as_signed(), kept, carry
        )
    value = pipe.step(
        lambda v, o, u, near: Mux(o | u, Mux(v[-1], form.min, form.max), near),
        kept, over, under, near, shape=signed(bits),
    )  # fmt: skip
    return value, pipe.step(lambda o, u: o | u, over, under)


def shift_cut(
    pipe: Pipe, x: Timed, shift: Timed, bits: int, *, low: int = 0, high: int, levels: int = LEVELS
) -> Timed:  # fmt: skip
    """floor(2·x / 2^shift) in ``bits`` bits: what is then rounded by adding 1 and dropping a bit.

    What does not fit becomes something on its side that is out of half their range. Takes
    :func:`shift_latency` cycles, of ``levels`` multiplexers each.
    """
    return pipe.step(lambda v: _cut(v, bits), _shifted(pipe, x, shift, low, high, levels))


def shift_add(
    pipe: Pipe, x: Timed, shift: Timed, term: Timed, *, high: int, levels: int = LEVELS
) -> Timed:  # fmt: skip
    """:func:`round_shift` of ``x``, and ``term`` added, in as many bits as ``x``; both are signed.

    Takes :func:`shift_latency` cycles and one: the addition rounds as well, floor((floor(2·x / 2^s)
    + 2·term + 1) / 2), its lower half in a cycle of its own, the upper one without a register.
    """
    bits = len(x) + 1
    doubled = shift_cut(pipe, x, shift, bits, high=high, levels=levels)
    half = bits // 2
    odd = pipe.comb(lambda t: Cat(Const(1, 1), t.as_signed(), t[-1].replicate(bits))[:bits], term)
    odd = pipe.settle(pipe.delay(odd, doubled.stage - 1))
    low = pipe.step(lambda d, q: d[:half] + q[:half], doubled, odd)
    uppers = [pipe.settle(pipe.comb(lambda v: v[half:], each)) for each in (doubled, odd)]
    upper = pipe.comb(lambda d, q, low: (d + q + low[half])[: bits - half], *uppers, low)
    return pipe.comb(lambda low, up: Cat(low[1:half], up).as_signed(), low, upper)


def _cut(value: Value, bits: int) -> Value:
    if len(value) <= bits:
        return Cat(value, value[-1].replicate(bits - len(value))).as_signed()
    far = is_overflow(value, IntFormat(bits))
    return Cat(
        value[: bits - 2], Mux(far, ~value[-1], value[bits - 2]), value[-1]
    ).as_signed()  # fmt: skip


def is_overflow(value: Value, form: IntFormat) -> Value:
    """Whether a signed value does not fit ``form``."""
    top = value[min(form.bits, len(value)) - 1 :]  # copies of the sign, if it fits
    lowest = form.symmetric & (value == form.min - 1)
    return (top.any() & ~top.all()) | lowest


def saturate(pipe: Pipe, x: Timed, form: IntFormat) -> tuple[Timed, Timed]:
    """A signed ``x`` saturated to ``form``, and whether that changed it. One cycle."""
    over = pipe.comb(lambda v: is_overflow(v, form), x)
    kept = pipe.step(
        lambda v, o: Mux(o, Mux(v[-1], form.min, form.max), v), x, over, shape=signed(form.bits)
    )
    return kept, pipe.step(lambda o: o, over)


def split_product(pipe: Pipe, x: Timed, factor: Timed) -> Timed:
    """Signed ``x`` times ``factor``: two pieces, then their sum. Two cycles.

    A piece is one multiplier of 27 x 18 bits for up to 35 bits of ``x``, 26 of ``factor``.
    """
    sign = factor.value.shape().signed
    low = pipe.step(lambda v, f: v[:SPLIT] * f, x, factor)
    high = pipe.step(lambda v, f: v[SPLIT:].as_signed() * f, x, factor)
    return pipe.step(
        lambda low, high: Cat(
            low[:SPLIT], high + (low[SPLIT:].as_signed() if sign else low[SPLIT:])
        ),
        low, high, shape=signed(len(x) + len(factor)),
    )  # fmt: skip


def add_tree(pipe: Pipe, terms: list[Timed], levels: int = 2) -> Timed:
    """Sum of all, a balanced tree registered every ``levels`` levels."""
    level = 0
    while len(terms) > 1:
        level += 1
        pairs = [terms[i : i + 2] for i in range(0, len(terms), 2)]
        join = pipe.step if level % levels == 0 or len(pairs) == 1 else pipe.comb
        terms = [
            join(lambda a, b: a + b, *p) if len(p) == 2 else
            (pipe.step(lambda a: a, p[0]) if join == pipe.step else p[0])
            for p in pairs
        ]  # fmt: skip
    return terms[0]


def tree_steps(terms: int, levels: int) -> int:
    """Cycles of :func:`add_tree`."""
    return -(-(terms - 1).bit_length() // levels)


def accumulate(pipe: Pipe, x: Timed, on: Value, first: Value, *, bits: int, low: int) -> Timed:
    """Running sum of ``x``, of the signedness of ``x``, in two parts. Two cycles.

    Parameters
    ----------
    pipe
        Where it is built.
    x
        What is added, one per cycle.
    on, first
        In the cycle of ``x``: it counts; it begins a new sum.
    bits, low
        Of the sum, and of its lower part, which is added one cycle before the rest, so that no
        carry runs further.
    """
    m, at = pipe.m, x.stage
    upper = pipe.delay(pipe.comb(lambda v: _signed_like(v, v[low:]), x), at + 1).value
    on_late, first_late = pipe.valid(on, 1), pipe.valid(first, 1)
    lower, carry = Signal(low, reset_less=True), Signal(reset_less=True)
    higher = Signal(type(upper.shape())(bits - low, upper.shape().signed), reset_less=True)
    with m.If(on):
        m.d.sync += Cat(lower, carry).eq(Mux(first, 0, lower) + x.value[:low])
    with m.If(on_late):
        m.d.sync += higher.eq(Mux(first_late, 0, higher) + upper + carry)
    settled = pipe.delay(pipe.input(lower, at + 1), at + 2)
    whole = Cat(settled.value, higher)
    return pipe.input(_signed_like(x.value, whole), at + 2)


def _signed_like(model: Value, value: Value) -> Value:
    return value.as_signed() if model.shape().signed else value.as_unsigned()


def bit_length(value: Value) -> Value:
    """Bits that an unsigned value needs (combinational; a tree of depth log2)."""
    bits = len(value)
    if bits == 1:
        return value
    half = 1 << ((bits - 1).bit_length() - 1)
    high, low = value[half:], value[:half]
    return Mux(high.any(), bit_length(high) + half, bit_length(low))


def magnitude(value: Value) -> Value:
    """Absolute value of a signed value, unsigned and of as many bits."""
    signed_value = value.as_signed()
    return Mux(signed_value < 0, -signed_value, signed_value)[: len(value)].as_unsigned()
