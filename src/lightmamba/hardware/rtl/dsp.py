"""Products and their sums in the multipliers of a device: registers and adders are in the block.

Every multiplier takes two factors, optionally the sum of two words as one of them, and adds to the
product what the multiplier before it in its cascade gives, or its own last result. As DSP48E2 of
UltraScale+ they are instantiated, since synthesis would leave the registers and adders in the
fabric; elsewhere the same registers are written out, and synthesis takes what it can.

Source: AMD, UG579, UltraScale Architecture DSP Slice.
"""

from dataclasses import dataclass

from amaranth.hdl import Cat, ClockSignal, Const, Instance, Mux, Signal, Value, signed

from lightmamba.hardware.rtl.pipe import Pipe, Timed

__all__ = ["Products", "Sum"]

FACTORS = 27, 18  # bits of the two factors, signed
SUM_BITS = 48
# Cycles from the factors to their product and what is added to it: both factors are registered,
# then the product, then the sum. Two words that are added first take one cycle more.
CYCLES, SUMMED_FIRST = 3, 1
ENABLES = ("A1", "A2", "AD", "ALUMODE", "B1", "B2", "C", "CARRYIN", "CTRL", "D", "INMODE", "M", "P")
# Multiplexers before the adder, by the bits of OPMODE: the product, the cascade, a constant.
PRODUCT, CASCADE, CONSTANT, OWN_PLACE = 0b101, 0b1_0000, 0b1_0000_0000, 7


@dataclass(frozen=True)
class Sum:
    """Result of a multiplier, and what it hands to the next one of its cascade."""

    timed: Timed
    cascade: Value


class Products:
    """Build multipliers in a pipeline.

    Parameters
    ----------
    pipe : Pipe
    dsp48e2 : bool
        Instantiate DSP48E2.
    """

    def __init__(self, pipe: Pipe, *, dsp48e2: bool) -> None:
        self.pipe, self.dsp48e2 = pipe, dsp48e2

    def __call__(
        self, a: Timed, b: Timed, *, also: Timed | None = None, above: Sum | None = None,
        constant: int = 0, fresh: Timed | None = None, bits: int = SUM_BITS,
    ) -> Sum:  # fmt: skip
        """Sum of ``(a + also) * b``, of what is above it in a cascade, and of what was there.

        The result is there three cycles after ``a`` and ``b``, or four with ``also``, which come
        at the same time.

        Parameters
        ----------
        a, b
            Signed factors of up to 27 and 18 bits.
        also
            Added to ``a``, in 27 bits.
        above
            Result of another multiplier, one cycle before this one's.
        constant
            Added as well.
        fresh
            In the cycle of ``a``: nothing of the last result is added. Without it none ever is.
        bits
            Of the result, which fits.

        Raises
        ------
        ValueError
            If ``above`` comes in another cycle, or both a constant and the last result are added.
        """
        if constant and fresh is not None:
            raise ValueError("a multiplier adds a constant or its last result, not both")
        pipe, first = self.pipe, CYCLES if also is None else CYCLES + SUMMED_FIRST
        given = [each for each in (a, b, also, fresh) if each is not None]
        start = pipe.align(*given)[0].stage
        if above is not None and above.timed.stage != start + first - 1:
            raise ValueError(
                f"a multiplier of cycle {start} takes a cascade of cycle {start + first - 1}, not "
                f"of {above.timed.stage}"
            )
        a, b = pipe.delay(a, start), pipe.delay(b, start)
        also = None if also is None else pipe.delay(also, start)
        again = None
        if fresh is not None:
            again = pipe.comb(lambda v: ~v, pipe.delay(fresh, start + first - 2))
        build = self._instance if self.dsp48e2 else self._written
        result, cascade = build(a, b, also, above, constant, again, bits)
        return Sum(pipe.input(result, start + first), cascade)

    def _written(
        self, a: Timed, b: Timed, also: Timed | None, above: Sum | None, constant: int,
        again: Timed | None, bits: int,
    ) -> tuple[Value, Value]:  # fmt: skip
        pipe = self.pipe
        a, b = (pipe.step(lambda v: v, each) for each in (a, b))
        if also is not None:
            a = pipe.step(
                lambda v, w: (v + w)[: FACTORS[0]].as_signed(), a, pipe.step(lambda v: v, also)
            )
        product = pipe.step(lambda v, w: v * w, a, b)
        found = Signal(signed(bits), reset_less=True)
        terms = product.value + constant + (0 if above is None else above.cascade)
        if again is not None:
            terms += Mux(pipe.delay(again, product.stage).value, found, 0)
        pipe.m.d.sync += found.eq(terms)
        return found, found

    def _instance(
        self, a: Timed, b: Timed, also: Timed | None, above: Sum | None, constant: int,
        again: Timed | None, bits: int,
    ) -> tuple[Value, Value]:  # fmt: skip
        result, cascade = Signal(SUM_BITS), Signal(SUM_BITS)
        mode = PRODUCT | (CASCADE if above is not None else 0) | (CONSTANT if constant else 0)
        opmode: Value = Const(mode, 9)
        if again is not None:
            opmode = Cat(opmode[:OWN_PLACE], again.value, opmode[OWN_PLACE + 1 :])
        sums, registers = also is not None, 1 if also is None else 2
        self.pipe.m.submodules += Instance(
            "DSP48E2",
            ("p", "AMULTSEL", "AD" if sums else "A"),
            *(("p", f"{name}REG", 1) for name in ("A", "ACASC", "AD", "D", "M", "P", "OPMODE")),
            *(("p", f"{name}REG", registers) for name in ("B", "BCASC")),
            *(
                ("p", f"{name}REG", 0)
                for name in ("ALUMODE", "C", "CARRYIN", "CARRYINSEL", "INMODE")
            ),
            ("p", "RND", Const(constant, SUM_BITS)),
            ("i", "CLK", ClockSignal()),
            *(("i", f"CE{name}", Const(1)) for name in ENABLES),
            ("i", "A", _extended(a.value, 30)),
            ("i", "B", _extended(b.value, FACTORS[1])),
            ("i", "D", Const(0, 27) if also is None else _extended(also.value, 27)),
            ("i", "C", Const(0, SUM_BITS)),
            ("i", "INMODE", Const(0b00100 if sums else 0, 5)),
            ("i", "ALUMODE", Const(0, 4)),
            ("i", "CARRYINSEL", Const(0, 3)),
            ("i", "CARRYIN", Const(0)),
            ("i", "OPMODE", opmode),
            ("i", "PCIN", Const(0, SUM_BITS) if above is None else above.cascade),
            ("o", "P", result),
            ("o", "PCOUT", cascade),
        )
        return result[:bits].as_signed(), cascade


def _extended(value: Value, bits: int) -> Value:
    """A signed value in more bits."""
    return Cat(value, value[-1].replicate(bits - len(value)))
