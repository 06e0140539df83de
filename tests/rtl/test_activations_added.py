"""The buffer where sums of several vectors are added: inputs of out_proj one behind another."""

from typing import Any

import numpy as np
import pytest

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.contract import BLOCK
from lightmamba.hardware.rtl.activations import ActivationBuffer
from lightmamba.numerics.blocks import halved
from tests.rtl.test_activations import PATIENCE, elements, read, release, simulate, write

Vector = list[dict[str, int]]


def added(**others: Any) -> ArchConfig:
    """Twelve words of the input of out_proj, of 8 bits."""
    given: dict[str, Any] = {
        "kinds": ("experts",), "lanes": 2, "in_channels": 256, "out_channels": 384,
        "added_channels": 512, "wide_weight_bits": 8, "wide_act_bits": 8,
    }  # fmt: skip
    return ArchConfig(**given | others)


async def drop(ctx: Any, dut: ActivationBuffer, words: int) -> None:
    """Release a vector of ``words`` on i_out."""
    ctx.set(dut.words, words)
    await release(ctx, dut, 1)
    ctx.set(dut.words, 3)


async def filled(ctx: Any, dut: ActivationBuffer, gated: int = 1) -> int:
    """Words that are there."""
    ctx.set(dut.gated, gated)
    here = []
    for address in range(dut.config.out_words if gated else dut.config.in_words):
        ctx.set(dut.address, address)
        here.append(ctx.get(dut.filled))
    assert here == sorted(here, reverse=True)
    return sum(here)


async def whole(ctx: Any, dut: ActivationBuffer, address: int) -> tuple[list[int], list[int]]:
    """Activations of a word of i_out, of both halves where they come so, and their codes."""
    q, code = await read(ctx, dut, 1, address)
    if dut.config.head_twice:
        upper, _ = await read(ctx, dut, 1, address, upper=1)
        q = [16 * high + low for high, low in zip(upper, q, strict=True)]
    return q, code


@pytest.mark.parametrize(
    ("multiplier_bits", "port_bits", "out_channels"),
    [(4, 128, 384), (8, 128, 640), (8, 256, 384), (4, 512, 512), (8, 512, 128)],
)
def test_vectors_follow_each_other(multiplier_bits, port_bits, out_channels):
    """Any lengths, around the end of the memory; each is written while those before are read."""
    config = added(multiplier_bits=multiplier_bits, port_bits=port_bits, out_channels=out_channels)
    dut, rng = ActivationBuffer(config), np.random.default_rng(port_bits)
    depth = config.out_words
    sizes = [1, depth, *rng.integers(1, depth, 6, endpoint=True).tolist(), depth]
    vectors = [elements(rng, words, config, 8) for words in sizes]
    seen: list[int] = []

    async def reader(ctx: Any) -> None:
        for words, vector in zip(sizes, vectors, strict=True):
            for address in range(words):
                ctx.set(dut.gated, 1)
                ctx.set(dut.address, address)
                for _ in range(PATIENCE):
                    if ctx.get(dut.filled):
                        break
                    await ctx.tick()
                at = address * config.products
                word = vector[at : at + config.products]
                q, code = await whole(ctx, dut, address)
                assert q == [e["q"] for e in word]
                assert code == [e["code"] for e in word[:: min(BLOCK, config.products)]]
            for _ in range(int(rng.integers(3 * config.products))):
                await ctx.tick()
            seen.append(await filled(ctx, dut) - words)
            await drop(ctx, dut, words)

    async def writer(ctx: Any) -> None:
        for vector in vectors:
            await write(ctx, dut.i_out, vector, rng, 0.1)

    simulate(dut, reader, writer)
    assert max(seen) > 0 or depth == 1  # some of the next one was there


def test_a_release_takes_its_own_words():
    """Vectors behind the cleared one stay and count from there; the other input is unchanged."""
    config = added()
    dut, rng = ActivationBuffer(config), np.random.default_rng(1)
    seen: list[int] = []

    async def process(ctx: Any) -> None:
        await write(ctx, dut.i_in, elements(rng, 3, config, 8))
        await write(ctx, dut.i_out, elements(rng, 9, config, 8))
        await ctx.tick()
        seen.append(await filled(ctx, dut))
        for words in (4, 2):
            await drop(ctx, dut, words)
            seen.append(await filled(ctx, dut))
        ctx.set(dut.words, 2)
        await release(ctx, dut, 0)
        seen.append(await filled(ctx, dut, 0))
        seen.append(await filled(ctx, dut))
        await drop(ctx, dut, 3)
        seen.append(await filled(ctx, dut))

    simulate(dut, process)
    assert seen == [9, 5, 3, 0, 3, 0]


@pytest.mark.parametrize("early", range(-2, 5))
def test_a_word_is_completed_around_a_release(early):
    """Also in the same cycle: both count, and the word is where the next one is read."""
    config = added()
    dut, rng = ActivationBuffer(config), np.random.default_rng(early + 2)
    first, second = elements(rng, 3, config, 8), elements(rng, 1, config, 8)
    last: list[int] = []

    async def writer(ctx: Any) -> None:
        await write(ctx, dut.i_out, first + second)

    async def reader(ctx: Any) -> None:
        for _ in range(4 * config.products - early):
            await ctx.tick()
        await drop(ctx, dut, 3)
        for _ in range(10):
            await ctx.tick()
        last.append(await filled(ctx, dut))
        q, _ = await whole(ctx, dut, 0)
        assert q == [e["q"] for e in second]

    simulate(dut, reader, writer)
    assert last == [1]


def test_a_full_memory_waits_for_a_release():
    """An element goes ahead of the word that it begins; the rest waits, and no word is lost."""
    config = added(out_channels=256)
    dut, rng = ActivationBuffer(config), np.random.default_rng(2)
    depth, taken = config.out_words, [0]
    vector = elements(rng, 2 * depth, config, 8)

    async def writer(ctx: Any) -> None:
        for element in vector:
            await write(ctx, dut.i_out, [element])
            taken[0] += 1

    async def reader(ctx: Any) -> None:
        first = 0
        for words in (1, depth - 3, 2, 0):
            for _ in range(depth * config.products + 20):
                await ctx.tick()
            assert not ctx.get(dut.i_out.ready)
            assert await filled(ctx, dut) == depth
            assert taken[0] == min((first + depth) * config.products + 1, len(vector))
            for address in range(depth):
                q, _ = await whole(ctx, dut, address)
                at = (first + address) * config.products
                assert q == [e["q"] for e in vector[at : at + config.products]]
            await drop(ctx, dut, words)
            first += words

    simulate(dut, reader, writer)
    assert taken[0] == len(vector)


@pytest.mark.parametrize("multiplier_bits", [4, 8])
def test_upper_halves_of_the_vector_that_others_take_whole(multiplier_bits):
    """A word is read whole and by its upper halves, in any order; 4-bit multipliers read halves."""
    config = added(multiplier_bits=multiplier_bits)
    dut = ActivationBuffer(config)
    values = np.resize(np.arange(-128, 120), config.in_channels)
    vector = [{"q": int(q), "code": 9} for q in values]

    async def process(ctx: Any) -> None:
        await write(ctx, dut.i_in, vector)
        await ctx.tick()
        for address in range(config.in_words):
            word = values[address * config.products :][: config.products]
            upper = halved(word.astype(np.int8)).tolist()
            assert await read(ctx, dut, 0, address, upper=1) == (upper, [9])
            q, code = await read(ctx, dut, 0, address, upper=0)
            low = [int(v) - 16 * high for v, high in zip(word, upper, strict=True)]
            assert (q, code) == (word.tolist() if multiplier_bits == 8 else low, [9])
            assert await read(ctx, dut, 0, address, upper=1) == (upper, [9])

    simulate(dut, process)
