"""Lane: the multipliers of one memory channel, from a beat of weights to the sum of a row."""

from collections.abc import Iterator, Mapping
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.contract import BLOCK, GROUP
from lightmamba.hardware.rtl.packed import LanePair, dots_layout
from lightmamba.hardware.rtl.pipe import Pipe, Timed, select
from lightmamba.hardware.rtl.shifts import accumulate, add_tree, split_product, tree_steps
from lightmamba.hardware.rtl.slices import wide

__all__ = ["Lane", "control", "delays", "lane_latency", "split_product"]

LEVELS = 2  # of the adder tree between registers
SUM_LOW = 28  # bits of a sum that are added a cycle before the others
GROUP_STEPS = 4  # from the last beat of a group to the group's scaled sum
CODE_MAX, GROUP_CODE_BITS = 7 << 15, 13  # largest block multiplier, bits of a group's multiplier


def control(config: ArchConfig) -> data.StructLayout:
    """Control signals of all lanes, each field at its own cycle (see :func:`delays`).

    Fields: ``load``, the beat is one of scales; ``group``, which of them; ``code``, block scales,
    token by token; ``upper``, how many
    factors are upper nibbles; ``add``, the beat counts; ``first``,
    it begins a group; ``finish``, it ended a group; ``fresh``, that group was the first of a part.
    """
    return data.StructLayout(
        {
            "load": 1,
            "group": range(config.port_bits // 8),
            "code": data.ArrayLayout(6, config.tokens * config.codes),
            "upper": range(max(2, config.halves + 1)),
            "add": 1,
            "first": 1,
            "finish": 1,
            "fresh": 1,
        }
    )


def delays(config: ArchConfig) -> Mapping[str, int]:
    """Cycles after the issue of a beat in which a lane wants each field of :func:`control`."""
    single = 2 + tree_steps(min(BLOCK, config.products), LEVELS)
    code = LanePair.latency if config.packed else single
    upper = code + 4 + tree_steps(config.codes, 1)
    add = upper + (config.halves > 0)
    finish = add + GROUP_STEPS
    return {
        "load": 1,
        "group": 2,
        "code": code,
        "upper": upper,
        "add": add,
        "first": add,
        "finish": finish,
        "fresh": finish,
    }


def lane_latency(config: ArchConfig) -> int:
    """Cycles from the issue of a part's last beat to its sum."""
    return delays(config)["finish"] + 2


class Lane(wiring.Component):
    """Multiply a beat of weights with a word of activations of every token; sum with both scales.

    One beat per cycle, without a stall. The sum of a part is on ``sum`` ``latency`` cycles after
    the issue of the part's last beat, for that cycle only.

    sum = Σ over groups of (32 + M)·2^E · Σ over their blocks of (4 + m)·2^e · Σ q·w. An activation
    of 8 bits that meets multipliers of 4 is 16·upper + lower, both signed, in two passes; so is a
    weight of 8 bits on lanes of 4, in two beats. Of packed multipliers
    (:class:`lightmamba.hardware.rtl.packed.LanePair`) a lane only takes the sums of blocks.

    Source: ``numerics.linear.Projection``.

    Parameters
    ----------
    config : ArchConfig
        Widths; ``config.projection`` and ``config.head`` are the arithmetic.

    Members
    -------
    beat : In(port_bits)
        Weights, the first in the lowest bits, or one scale byte per group.
    q : In(products x signed(multiplier_bits))
        Activations, or their nibbles, for each of T tokens. None if packed.
    dots : In(signed(13) per block) per token
        Sums of the blocks of a beat, ``LanePair.latency`` cycles after it. Only if packed.
    control : In(control(config))
        Each field at its delay after the issue (:func:`delays`).
    sum : Out(signed(acc_bits) per token)
        Sums of a part.
    """

    interval = 1

    beat: Any
    q: Any
    dots: Any
    control: Any
    sum: Any

    def __init__(self, config: ArchConfig) -> None:
        self.config = config
        self.latency = lane_latency(config)
        word = data.ArrayLayout(signed(config.multiplier_bits), config.products)
        given = In(dots_layout(config)) if config.packed else In(wide(word, config.tokens))
        super().__init__(
            {
                "beat": In(config.port_bits),
                "dots" if config.packed else "q": given,
                "control": In(control(config)),
                "sum": Out(wide(signed(config.acc_bits), config.tokens)),
            }
        )

    @property
    def group_bits(self) -> int:
        """Width that holds any sum of a group, before its own scale."""
        largest = max(f.largest_product for f in (self.config.widest, self.config.head))
        return (GROUP * largest * CODE_MAX).bit_length() + 1

    def elaborate(self, platform: object) -> Module:
        m = Module()
        pipe = Pipe(m)
        weights = pipe.step(lambda v: v, pipe.input(self.beat))
        code = self._group_code(pipe, weights)
        ready = delays(self.config)["add"] + 1  # when the sum of a group is there
        code = pipe.settle(pipe.delay(code, ready - 1))  # every token loads it, so a register
        given = self.dots if self.config.packed else self.q
        for n in range(self.config.tokens):
            m.d.comb += self.sum[n].eq(self._token(pipe, weights, code, given[n], n))
        return m

    def _token(self, pipe: Pipe, weights: Timed, code: Timed, given: Any, number: int) -> Value:
        """Sum of a part of one token, from its activations or from its blocks' sums."""
        m, fields = pipe.m, self.control
        value = self._products(pipe, weights, given, number * self.config.codes)
        if count := self.config.halves:
            value = pipe.step(
                lambda v, up: select(m, up, [v.shift_left(4 * n) for n in range(count + 1)]),
                value, Timed(fields.upper, delays(self.config)["upper"]),
                shape=signed(self.group_bits),
            )  # fmt: skip
        group = Signal(signed(self.group_bits), reset_less=True)
        with m.If(fields.add):
            m.d.sync += group.eq(Mux(fields.first, 0, group) + value.value)

        scaled = _group_scaled(pipe, Timed(group, value.stage + 1), code)
        total = accumulate(
            pipe, scaled, fields.finish, fields.fresh, bits=self.config.acc_bits, low=SUM_LOW
        )
        return total.value

    def _group_code(self, pipe: Pipe, weights: Timed) -> Timed:
        """Scale byte of the group that a beat belongs to; the bytes are kept until the next."""
        count, m = self.config.port_bits // 8, pipe.m
        codes = Signal(self.config.port_bits, reset_less=True)
        with m.If(self.control.load):
            m.d.sync += codes.eq(weights.value)
        index = Timed(self.control.group, delays(self.config)["group"])
        near = [
            pipe.step(
                lambda i, n=n: select(
                    m, i[:3], [codes[8 * k : 8 * k + 8] for k in range(n, min(n + 8, count))]
                ),
                index,
            )
            for n in range(0, count, 8)
        ]
        far = pipe.comb(lambda i: i[3:], index)
        return pipe.step(lambda i, *bytes_: select(m, i, list(bytes_)), far, *near)

    def _products(self, pipe: Pipe, weights: Timed, given: Any, first: int) -> Timed:
        """Sum of all products of a beat, each block times its scale, from scale ``first`` on."""
        stage = delays(self.config)["code"]
        dots: Iterator[Timed]
        if self.config.packed:
            dots = (pipe.input(dot, stage) for dot in given)
        else:
            dots = self._dots(pipe, weights, given)
        sums = [
            _block_scaled(pipe, dot, Timed(self.control.code[first + n], stage))
            for n, dot in enumerate(dots)
        ]
        return add_tree(pipe, sums, levels=1)

    def _dots(self, pipe: Pipe, weights: Timed, word: Any) -> Iterator[Timed]:
        """Sum of the products of each block."""
        bits, width = self.config.weight_bits, self.config.multiplier_bits
        q = pipe.step(lambda v: v, pipe.input(Value.cast(word)))
        products = [
            pipe.step(
                lambda w, a, n=n: (
                    w.word_select(n, bits).as_signed() * a.word_select(n, width).as_signed()
                ),
                weights,
                q,
            )
            for n in range(self.config.products)
        ]
        block = min(BLOCK, self.config.products)
        for n in range(self.config.codes):
            yield add_tree(pipe, products[n * block : (n + 1) * block], LEVELS)


def _block_scaled(pipe: Pipe, x: Timed, code: Timed) -> Timed:
    """x·(4 + m)·2^e with code = m + 4·e. Four cycles, each one addition or two multiplexers."""
    part = pipe.step(
        lambda v, c: Mux(c[0], v, 0) + Mux(c[1], v.shift_left(1), 0), x, code
    )  # m times x
    bits = len(x) + 2  # a power of two of products reaches half of what x can hold, so 7·x fits
    value = pipe.step(lambda v, p: v.shift_left(2) + p, x, part, shape=signed(bits))
    value = pipe.step(lambda v, c: _shifted(v, c[2:4], 1), value, code)
    return pipe.step(lambda v, c: _shifted(v, c[4:6], 4), value, code)


def _group_scaled(pipe: Pipe, x: Timed, code: Timed) -> Timed:
    """x·(32 + M)·2^E with code = M + 32·E. Three cycles."""
    product = split_product(pipe, x, pipe.comb(lambda c: Cat(c[:5], Const(1, 1)), code))
    return pipe.step(lambda v, c: _shifted(v, c[5:8], 1), product, code)


def _shifted(value: Value, amount: Value, unit: int) -> Value:
    """``value`` times 2^(unit·amount)."""
    for place in range(len(amount)):
        value = Mux(amount[place], value.shift_left(unit << place), value)
    return value
