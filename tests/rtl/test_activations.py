"""The buffer of quantized vectors: words, nibbles, counts of what is there."""

import itertools
from typing import Any

import numpy as np
import pytest
from amaranth.sim import Simulator

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.contract import BLOCK
from lightmamba.hardware.rtl.activations import ActivationBuffer

PATIENCE = 2000  # cycles

W4A4, W4A8, W8A8, WIDE = (
    {"weight_bits": w, "multiplier_bits": m, "act_bits": a, "head_qmax": 119}
    for w, m, a in ((4, 4, 4), (4, 8, 8), (8, 8, 8), (4, 8, 4))
)
SOME = {"wide_act_bits": 8}  # of the inputs of out_proj


def small(bits: dict[str, Any], port_bits: int, lanes: int = 2) -> ArchConfig:
    return ArchConfig(lanes=lanes, port_bits=port_bits, in_channels=256, out_channels=384, **bits)


def elements(
    rng: np.random.Generator, words: int, config: ArchConfig, bits: int
) -> list[dict[str, int]]:
    """Elements of so many words, the format's extremes among them."""
    count = words * config.products
    high = config.head_qmax if bits == 8 and config.head_twice else (1 << (bits - 1)) - 1
    q = rng.integers(-(1 << (bits - 1)), high, count, endpoint=True)
    q[rng.random(count) < 0.1] = rng.choice([-(1 << (bits - 1)), high])
    code = rng.integers(0, 64, -(-count // BLOCK)).repeat(BLOCK)
    return [{"q": int(a), "code": int(c)} for a, c in zip(q, code, strict=False)]


async def write(
    ctx: Any, i: Any, vector: list[dict[str, int]], rng: Any = None, stalls: float = 0.0
) -> None:
    """Write a vector, as many elements at a time as the input takes."""
    width = len(i.payload)
    for n in range(0, len(vector), width):
        element = vector[n : n + width]
        while rng is not None and rng.random() < stalls:
            await ctx.tick()
        ctx.set(i.payload, element)
        ctx.set(i.valid, 1)
        for _ in range(PATIENCE):
            _, _, ready = await ctx.tick().sample(i.ready)
            if ready:
                break
        assert ready, "never ready"
        ctx.set(i.valid, 0)


async def read(ctx: Any, dut: ActivationBuffer, gated: int, address: int, upper: int = 0) -> Any:
    """Activations and codes of a word, read as the lanes do."""
    ctx.set(dut.gated, gated)
    ctx.set(dut.address, address)
    assert ctx.get(dut.filled)
    ctx.set(dut.enable, 1)
    await ctx.tick()
    ctx.set(dut.enable, 0)
    ctx.set(dut.address, 0)
    await ctx.tick()  # it stays until another is read
    ctx.set(dut.upper, upper)
    return list(ctx.get(dut.q)), list(ctx.get(dut.code))


async def release(ctx: Any, dut: ActivationBuffer, gated: int) -> None:
    ctx.set(dut.gated, gated)
    ctx.set(dut.release, 1)
    await ctx.tick()
    ctx.set(dut.release, 0)


def simulate(dut: ActivationBuffer, *processes: Any) -> None:
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    for process in processes:
        simulator.add_testbench(process)
    simulator.run()


@pytest.mark.parametrize(
    ("bits", "port_bits", "lanes"),
    [
        *itertools.product((W4A4, W4A8, W8A8), (128, 256, 512), (2,)),
        *itertools.product((W4A4, W8A8), (128, 256), (1,)),
        (WIDE, 128, 3),
        (W4A4 | SOME, 128, 2),
        (WIDE | SOME, 128, 1),
    ],
)
def test_words(bits, port_bits, lanes):
    """Every word of both vectors holds what was written, twice over."""
    config = small(bits, port_bits, lanes)
    dut, rng = ActivationBuffer(config), np.random.default_rng(port_bits)
    depths = config.in_words, config.out_words

    async def process(ctx: Any) -> None:
        for turn in range(2):
            # Both vectors may be filled at once; the first turn does not fill the memories.
            words = [max(1, depth - (turn == 0)) for depth in depths]
            vectors = [
                elements(rng, words[0], config, 8), elements(rng, words[1], config, config.out_bits)
            ]  # fmt: skip
            for i, vector in zip((dut.i_in, dut.i_out), vectors, strict=True):
                await write(ctx, i, vector, rng, 0.1)
            await ctx.tick()
            for gated, vector in enumerate(vectors):
                for address in rng.permutation(words[gated]).tolist():
                    at = address * config.products
                    word = vector[at : at + config.products]
                    q, code = await read(ctx, dut, gated, address)
                    if config.head_twice and (not gated or config.out_bits > 4):
                        upper, _ = await read(ctx, dut, gated, address, upper=1)
                        assert all(-8 <= a <= 7 for a in q + upper)
                        q = [16 * high + low for high, low in zip(upper, q, strict=True)]
                    assert q == [e["q"] for e in word]
                    assert code == [e["code"] for e in word[:: min(BLOCK, config.products)]]
                await release(ctx, dut, gated)

    simulate(dut, process)


def test_worked_nibbles():
    """Upper and lower nibbles, both signed, of some activations; a 4-bit one is its lower."""
    dut = ActivationBuffer(small(W4A4, 128))
    q = [0, 1, 7, 8, 15, 16, 119, -1, -8, -9, -16, -120, -121, -128, 100, -100]
    upper = [0, 0, 0, 1, 1, 1, 7, 0, 0, -1, -1, -7, -8, -8, 6, -6]
    lower = [0, 1, 7, -8, -1, 0, 7, -1, -8, 7, 0, -8, 7, 0, 4, -4]

    async def process(ctx: Any) -> None:
        await write(ctx, dut.i_in, [{"q": a, "code": 9} for a in q + q])
        await ctx.tick()
        assert await read(ctx, dut, 0, 0, upper=1) == (upper + upper, [9])
        assert await read(ctx, dut, 0, 0, upper=0) == (lower + lower, [9])

    simulate(dut, process)


def test_filled():
    """A word is there two cycles after its last element, each vector's own, until released."""
    config = small(W4A4, 256)
    dut, rng = ActivationBuffer(config), np.random.default_rng(0)
    seen: list[tuple[int, int]] = []

    def filled(ctx: Any, gated: int, depth: int) -> int:
        ctx.set(dut.gated, gated)
        here = []
        for address in range(depth):
            ctx.set(dut.address, address)
            here.append(ctx.get(dut.filled))
        assert here == sorted(here, reverse=True)
        return sum(here)

    async def process(ctx: Any) -> None:
        for word in range(config.in_words):
            await write(ctx, dut.i_in, elements(rng, 1, config, 8))
            seen.append((word, filled(ctx, 0, config.in_words)))
            for _ in range(dut.latency - 1):
                await ctx.tick()
            seen.append((word + 1, filled(ctx, 0, config.in_words)))
            seen.append((0, filled(ctx, 1, config.out_words)))
        await write(ctx, dut.i_out, elements(rng, 2, config, 4))
        await ctx.tick()
        seen.append((2, filled(ctx, 1, config.out_words)))
        await release(ctx, dut, 0)
        seen.append((0, filled(ctx, 0, config.in_words)))
        seen.append((2, filled(ctx, 1, config.out_words)))

    simulate(dut, process)
    assert [count for _, count in seen] == [expected for expected, _ in seen]


@pytest.mark.parametrize(("lanes", "width"), [(1, 1), (8, 2), (7, 1)])
def test_throughput_and_a_full_memory(lanes, width):
    """A transfer per cycle; what follows a full vector waits for its release."""
    config = small(W8A8, 128, lanes)
    dut, rng = ActivationBuffer(config), np.random.default_rng(1)
    first = elements(rng, config.in_words, config, 8)
    second = elements(rng, config.in_words, config, 8)
    cycles, done = [0], []

    async def writer(ctx: Any) -> None:
        await write(ctx, dut.i_in, first)
        done.append(cycles[0])
        await write(ctx, dut.i_in, second)
        done.append(cycles[0])

    async def reader(ctx: Any) -> None:
        for _ in range(len(first) // width + 100):
            await ctx.tick()
            cycles[0] += 1
        assert ctx.get(dut.filled)
        assert not ctx.get(dut.i_in.ready)
        last, _ = await read(ctx, dut, 0, config.in_words - 1)
        assert last == [e["q"] for e in first[-config.products :]]
        await release(ctx, dut, 0)
        for _ in range(len(second) // width + 2):
            await ctx.tick()
        for word in range(config.in_words):
            got, _ = await read(ctx, dut, 0, word)
            at = word * config.products
            assert got == [e["q"] for e in second[at : at + config.products]]

    simulate(dut, reader, writer)
    assert done[0] == dut.interval * len(first) // width
    assert len(done) == 2
