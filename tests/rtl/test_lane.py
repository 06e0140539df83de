"""One lane: from beats and activations to the sums of parts."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Module, Signal, Value, signed
from amaranth.lib import data, wiring
from numpy.testing import assert_array_equal

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.contract import BLOCK, GROUP
from lightmamba.hardware.rtl.lane import Lane, control, delays
from lightmamba.hardware.rtl.layouts import i_stream, o_stream
from lightmamba.hardware.rtl.packed import LanePair, pack
from lightmamba.hardware.rtl.pipe import Pipe, Queue
from lightmamba.hardware.rtl.slices import wide
from tests.support.beats import lane_beats
from tests.support.streams import drive


class Bench(wiring.Component):
    """A lane whose inputs all come with the beat: what belongs to it later is delayed here."""

    def __init__(self, config: ArchConfig) -> None:
        self.lane = Lane(config)
        word = data.ArrayLayout(signed(config.multiplier_bits), config.products)
        sums = wide(signed(config.acc_bits), config.tokens)
        self.given = data.StructLayout(
            {
                "beat": config.port_bits,
                "q": wide(word, config.tokens),
                "fields": control(config),
                "done": 1,  # the part ends
            }
        )
        super().__init__({"i": i_stream(self.given), "o": o_stream(sums)})

    def elaborate(self, platform: object) -> Module:
        m, lane = Module(), self.lane
        m.submodules.lane = lane
        pipe, queue = Pipe(m), Queue(m, self.o, latency=lane.latency)
        given, issue = self.i.payload, Signal()
        m.d.comb += [self.i.ready.eq(queue.room), issue.eq(self.i.valid & queue.room)]
        m.d.comb += lane.beat.eq(given.beat)
        if lane.config.packed:
            m.submodules.pair = pair = LanePair(lane.config)
            m.d.comb += [beat.eq(given.beat) for beat in pair.beat]
            m.d.comb += lane.dots.eq(pair.dots[1])  # of the other lane, they are the same
            for n, two in enumerate(pair.q):
                for column, packed in enumerate(two):
                    each = (Value.cast(given.q[2 * n + k][column]) for k in range(2))
                    m.d.comb += packed.eq(pack(*each))
        else:
            m.d.comb += Value.cast(lane.q).eq(Value.cast(given.q))
        strobes = ("load", "add", "finish")
        for name, stage in delays(lane.config).items():
            field: Any = Value.cast(given.fields[name])
            now = pipe.input(field & issue if name in strobes else field)
            m.d.comb += Value.cast(lane.control[name]).eq(pipe.delay(now, stage).value)
        ends = issue & given.done
        queue.connect(ends, pipe.valid(ends, lane.latency), lane.sum)
        return m


def beats_of(
    config: ArchConfig, form: Any, q: Any, code: Any, weight: Any, weight_code: Any, parts: int
) -> tuple[list[dict[str, Any]], list[list[int]]]:
    """Beats for rows of one lane, of one token, and the sums that must come out."""
    q, code = q.astype(np.int8), code.astype(np.uint8)
    weight, weight_code = weight.astype(np.int8), weight_code.astype(np.uint8)
    sums = form(q[None], code[None], weight, weight_code, parts)[0]  # (parts, rows)
    (stream,) = lane_beats(replace(config, lanes=1, packed=False), weight, weight_code)
    products, words = config.products, len(q) // config.products // parts
    group_beats, beat, given = GROUP // products, 0, []
    lower = (q.astype(int) + 8 & 15) - 8
    nibbles = [((q - lower) >> 4, 1), (lower, 0)]
    passes = nibbles if form.act.bits > config.multiplier_bits else [(q, 0)]
    for n, packed in enumerate(stream):
        if n % (config.scale_period + 1) == 0:
            given.append({"beat": packed, "fields": {"load": 1}})
            continue
        at = beat * products % len(q)
        codes = code[at // BLOCK : at // BLOCK + config.codes].tolist()
        for place, (values, upper) in enumerate(passes):
            last = place == len(passes) - 1
            group = beat // group_beats
            finish = last and beat % group_beats == group_beats - 1
            fields = {
                "group": group % (config.port_bits // 8), "code": codes, "upper": upper, "add": 1,
                "first": int(beat % group_beats == 0 and place == 0), "finish": int(finish),
                "fresh": int(beat % words < group_beats),
            }  # fmt: skip
            given.append(
                {
                    "beat": packed, "q": [values[at : at + products].tolist()], "fields": fields,
                    "done": int(last and beat % words == words - 1),
                }
            )  # fmt: skip
        beat += 1
    return given, sums.T.reshape(-1, 1).tolist()


def draw(
    config: ArchConfig,
    rng: np.random.Generator,
    form: Any,
    rows: int,
    parts: int = 1,
    *,
    extreme: bool = False,
) -> Any:
    """Random rows; or the largest sums that there are, of one sign and of the other."""
    top, channels = 1 << (config.weight_bits - 1), config.in_channels
    q = rng.integers(form.act.qmin, form.act.qmax + 1, channels)
    weight = rng.integers(-top, top, (rows, channels))
    code = rng.integers(0, 64, channels // BLOCK)
    weight_code = rng.integers(0, 256, (rows, channels // GROUP))
    if extreme:
        q[:], code[:], weight_code[:] = form.act.qmin, 63, 255
        weight[0::2], weight[1::2] = -top, top - 1
    return beats_of(config, form, q, code, weight, weight_code, parts)


def small(
    bits: tuple[int, int], port_bits: int, channels: int, tokens: int = 1, *, packed: bool = False
) -> ArchConfig:
    return ArchConfig(
        lanes=1 + packed, tokens=tokens, packed=packed,
        weight_bits=bits[0], multiplier_bits=bits[1], port_bits=port_bits,
        act_bits=bits[1], head_qmax=119 if bits[1] == 4 else 127,
        in_channels=channels, out_channels=channels,
    )  # fmt: skip


@pytest.mark.parametrize("port_bits", [32, 64, 128, 256, 512])
@pytest.mark.parametrize("bits", [(4, 4), (4, 8), (8, 8)])
def test_equals_numerics(bits, port_bits):
    """One part and two, both formats, more beats than scales cover, the largest sums."""
    config = small(bits, port_bits, 512)
    rng = np.random.default_rng(port_bits + sum(bits))
    rows = config.scale_period // config.in_words + 1
    jobs = [
        draw(config, rng, config.projection, rows),
        draw(config, rng, config.head, 2),
        draw(config, rng, config.projection, 2, parts=2),
        draw(config, rng, config.projection, 2, extreme=True),
        draw(config, rng, config.head, 2, extreme=True),
    ]
    given, sums = [b for beats, _ in jobs for b in beats], [s for _, some in jobs for s in some]
    got = drive(Bench(config), {"i": given}, {"o": len(sums)}, stalls=0.1, seed=1, settle=20)
    assert_array_equal(got.out["o"], sums)


def test_worked_values():
    """By hand: one block at a time, one group at a time, the scales of both."""
    config = small((4, 4), 128, 256)
    q = np.repeat([3, -2, 1, 0, 0, 0, 0, 5], BLOCK)
    weight = np.repeat([[2, 1, -8, 7, 7, 7, 7, -1]], BLOCK, axis=1)
    code = np.array([0, 1, 4 * 15, 63, 63, 63, 63, 3 + 4 * 2])
    weight_code = np.array([[31, 32 * 7]])
    given, sums = beats_of(config, config.projection, q, code, weight, weight_code, 1)
    # Blocks: 192·4, -64·5, -256·4·2^15; -160·7·4. Groups: 63, then 32·128.
    by_hand = (192 * 4 - 64 * 5 - (256 * 4 << 15)) * 63 - 160 * 28 * 32 * 128
    assert sums == [[by_hand]]
    assert drive(Bench(config), {"i": given}, {"o": 1}).out["o"] == [[by_hand]]


def test_scales_are_kept_over_a_pause():
    """A beat that is not issued changes nothing; a scale beat right after a group's last neither.

    Two runs of the same beats, with and without pauses, and the next scales at once.
    """
    config = small((8, 8), 512, 256)
    rng = np.random.default_rng(5)
    jobs = [draw(config, rng, config.projection, 2, parts=2) for _ in range(3)]
    given, sums = [b for beats, _ in jobs for b in beats], [s for _, some in jobs for s in some]
    for stalls in (0.0, 0.8):
        got = drive(Bench(config), {"i": given}, {"o": len(sums)}, stalls=stalls)
        assert_array_equal(got.out["o"], sums)


def side_by_side(each: list[Any]) -> tuple[list[dict[str, Any]], list[list[int]]]:
    """Beats and sums of several tokens that meet the same weights."""
    given = []
    for beats in zip(*(beats for beats, _ in each), strict=True):
        beat = dict(beats[0])
        if "q" in beat:
            codes = [code for b in beats for code in b["fields"]["code"]]
            beat |= {"q": [b["q"][0] for b in beats], "fields": beat["fields"] | {"code": codes}}
        given.append(beat)
    return given, [
        [one for (one,) in sums] for sums in zip(*(sums for _, sums in each), strict=True)
    ]


@pytest.mark.parametrize(
    ("tokens", "bits", "port_bits", "packed"),
    [(2, (4, 4), 128, False), (4, (4, 4), 256, False), (4, (8, 8), 128, False),
     (2, (4, 4), 256, True), (4, (4, 4), 128, True)],
)  # fmt: skip
def test_several_tokens(tokens, bits, port_bits, packed):
    """One row of weights, a vector for each token; in every cycle where nothing stalls."""
    config = small(bits, port_bits, 256, tokens, packed=packed)
    rng = np.random.default_rng(tokens + port_bits)
    top, blocks, groups = 1 << (bits[0] - 1), 256 // BLOCK, 256 // GROUP
    given: list[dict[str, Any]] = []
    sums: list[list[int]] = []
    for form, parts in ((config.projection, 1), (config.head, 1), (config.projection, 2)):
        weight = rng.integers(-top, top, (3, 256))
        weight_code = rng.integers(0, 256, (3, groups))
        each = [
            beats_of(
                config, form, rng.integers(form.act.qmin, form.act.qmax + 1, 256),
                rng.integers(0, 64, blocks), weight, weight_code, parts,
            )
            for _ in range(tokens)
        ]  # fmt: skip
        beats, some = side_by_side(each)
        given, sums = given + beats, sums + some
    for stalls in (0.0, 0.5):
        dut = Bench(config)
        got = drive(dut, {"i": given}, {"o": len(sums)}, stalls=stalls, seed=1, settle=20)
        assert_array_equal(got.out["o"], sums)
        if not stalls:
            taken, ends = got.cycles["i"], [n for n, b in enumerate(given) if b.get("done")]
            assert np.diff(taken).tolist() == [dut.lane.interval] * (len(given) - 1)
            delay = np.array(got.cycles["o"]) - np.array(taken)[ends]
            assert set(delay.tolist()) == {dut.lane.latency + 2}


@pytest.mark.parametrize("bits", [(4, 4), (8, 8)])
def test_latency_and_throughput(bits):
    """A beat per cycle; the sum ``latency`` cycles after the last one, two more in the queue."""
    config = small(bits, 128, 128)
    given, sums = draw(config, np.random.default_rng(0), config.projection, 6)
    dut = Bench(config)
    got = drive(dut, {"i": given}, {"o": len(sums)})
    taken, ends = got.cycles["i"], [n for n, b in enumerate(given) if b.get("done")]
    assert np.diff(taken).tolist() == [dut.lane.interval] * (len(given) - 1)
    delay = np.array(got.cycles["o"]) - np.array(taken)[ends]
    assert set(delay.tolist()) == {dut.lane.latency + 2}
