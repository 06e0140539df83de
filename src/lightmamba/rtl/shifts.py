"""Shift, round, saturate, normalize: the pipelined forms of ``numerics.primitives``."""

from amaranth.hdl import Mux, Value, signed

from lightmamba.numerics.formats import IntFormat
from lightmamba.rtl.pipe import Pipe, Timed

__all__ = ["add_tree", "bit_length", "is_overflow", "round_shift", "saturate"]

LEVELS = 3  # multiplexer levels of a barrel shifter between registers


def round_shift(
    pipe: Pipe, x: Timed, shift: Timed, *, low: int = 0, high: int, name: str = "round"
) -> Timed:
    """Divide by ``2**shift``, round half up; a negative shift multiplies.

    ``shift`` is an integer from ``low`` to ``high``, both within its own range; ``low`` <= 0. The
    result has ``-low`` bits more than ``x``. Takes :func:`shift_latency` cycles.

    Source: ``numerics.primitives.round_shift``. One bit below the point is kept through the
    shifter, then half is added: floor((floor(2·x / 2^s) + 1) / 2) = floor(x / 2^s + 1/2).
    """
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
        if count % LEVELS == LEVELS - 1 or place == 0:
            value = pipe.step(lambda v: v, value, shape=signed(bits))
        amount = pipe.delay(amount, value.stage)
    return pipe.step(lambda v: (v.as_signed() + 1) >> 1, value, shape=signed(bits - 1))


def _as(value: Value, bits: int) -> Value:
    return value[:bits].as_signed()


def shift_latency(low: int, high: int) -> int:
    """Cycles of :func:`round_shift`."""
    places = (high - low).bit_length()
    return -(-places // LEVELS) + 1


def is_overflow(value: Value, form: IntFormat) -> Value:
    """Whether a signed value does not fit ``form``."""
    return (value > form.max) | (value < form.min)


def saturate(pipe: Pipe, x: Timed, form: IntFormat) -> tuple[Timed, Timed]:
    """``x`` saturated to ``form``, and whether that changed it. One cycle."""
    over = pipe.comb(lambda v: v > form.max, x)
    under = pipe.comb(lambda v: v < form.min, x)
    kept = pipe.step(
        lambda v, o, u: Mux(o, form.max, Mux(u, form.min, v)),
        x, over, under, shape=signed(form.bits),
    )  # fmt: skip
    return kept, pipe.step(lambda o, u: o | u, over, under)


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
