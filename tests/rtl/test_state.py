"""State words to and from memory beats, against a plain packing in numpy."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from lightmamba.arch.config import ArchConfig
from lightmamba.hardware.rtl.memory.state import StatePacker, StateUnpacker

from ..support.streams import drive

# Beats per word 8, 2, 1 and one half; then of words that are parts of a block 1, one half, 2 and 4.
SHAPES = [(128, 128), (64, 256), (32, 256), (32, 512), (8, 64), (4, 64), (8, 32), (16, 32)]


def config(elements: int, port: int) -> ArchConfig:
    return ArchConfig(
        state_elements=elements, padded_state=128, state_port_bits=port, state_fifo=256
    )


def shared(elements: int) -> int:
    """Words that have an exponent together."""
    return max(1, 32 // elements)


def head(elements: int, port: int, words: int, seed: int) -> tuple[list[Any], list[int]]:
    """Random words of a head, and its image as the memory has it: written down from the page."""
    rng = np.random.default_rng(seed)
    q = rng.integers(-128, 128, (words, elements)).astype(np.int8)
    exp = rng.integers(0, 25, words * elements // 32).astype(np.uint8)
    data, exps = q.tobytes(), exp.tobytes()
    size, image = port // 8, []
    for at in range(0, len(data), 32 * size):
        image.append(exps[at // 32 :][:size].ljust(size, b"\0"))
        part = data[at : at + 32 * size]
        image += [part[n : n + size].ljust(size, b"\0") for n in range(0, len(part), size)]
    each = np.repeat(exp, shared(elements)).reshape(words, -1)
    words_ = [{"q": a, "exp": b} for a, b in zip(q.tolist(), each.tolist(), strict=True)]
    return words_, [int.from_bytes(beat, "little") for beat in image]


def heads(elements: int, port: int, counts: list[int]) -> tuple[Any, list[Any], list[int]]:
    made = [head(elements, port, count, n) for n, count in enumerate(counts)]
    commands = [{"words": count} for count in counts]
    return (
        commands,
        [w for words, _ in made for w in words],
        [b for _, image in made for b in image],
    )


def counts(elements: int, port: int) -> list[int]:
    """Heads of a block, of a whole period, of a block more, and of two periods and some."""
    period, block = 32 * port // (8 * elements), shared(elements)
    return [block, period, period + block, 2 * period + 3 * block, 3 * block]


@pytest.mark.parametrize(("elements", "port"), SHAPES)
def test_unpacker_equals_image(elements: int, port: int) -> None:
    commands, words, beats = heads(elements, port, counts(elements, port))
    dut = StateUnpacker(config(elements, port))
    run = drive(
        dut, {"command": commands, "i": beats}, {"o": len(words)}, stalls=0.3, settle=5,
    )  # fmt: skip
    assert run.out["o"] == words


@pytest.mark.parametrize(("elements", "port"), SHAPES)
def test_packer_equals_image(elements: int, port: int) -> None:
    commands, words, beats = heads(elements, port, counts(elements, port))
    dut = StatePacker(config(elements, port))
    run = drive(
        dut, {"command": commands, "i": words}, {"o": len(beats)}, stalls=0.3, settle=5,
    )  # fmt: skip
    assert run.out["o"] == beats


def test_slow_output() -> None:
    """Everything before the output fills up, and nothing is lost."""
    commands, words, beats = heads(32, 256, [100, 30])
    for dut, i, o in (
        (StatePacker(config(32, 256)), words, beats),
        (StateUnpacker(config(32, 256)), beats, words),
    ):
        run = drive(dut, {"command": commands, "i": i}, {"o": len(o)}, slow={"o": 0.8}, settle=5)
        assert run.out["o"] == o


def test_worked_image() -> None:
    """Three words of 32 elements on a port of 512 bits: half a beat is left, and is zero."""
    words = [{"q": [n + 1] * 32, "exp": [10 + n]} for n in range(3)]
    one = int.from_bytes(b"\1" * 32, "little")
    beats = [0x0C0B0A, one | 2 * one << 256, 3 * one]
    command = [{"words": 3}]
    packed = drive(
        StatePacker(config(32, 512)), {"command": command, "i": words}, {"o": 3}, settle=9
    )
    assert packed.out["o"] == beats
    run = drive(
        StateUnpacker(config(32, 512)), {"command": command, "i": beats}, {"o": 3}, settle=9
    )
    assert run.out["o"] == words


@pytest.mark.parametrize(("elements", "port"), SHAPES)
def test_unpacker_latency_and_throughput(elements: int, port: int) -> None:
    dut = StateUnpacker(config(elements, port))
    period = 32 * port // (8 * elements)
    commands, words, beats = heads(elements, port, [3 * period])
    run = drive(dut, {"command": commands, "i": beats}, {"o": len(words)})
    assert run.out["o"] == words
    taken, out = run.cycles["i"], run.cycles["o"]
    assert out[0] - taken[dut.gear.beats] == dut.latency
    assert out[-1] - out[0] <= (len(words) - 1) * dut.interval + 2  # two more beats of exponents
    assert all(b - a >= dut.interval for a, b in pairwise(out))


@pytest.mark.parametrize(("elements", "port"), SHAPES)
def test_packer_latency_and_throughput(elements: int, port: int) -> None:
    dut = StatePacker(config(elements, port))
    period = 32 * port // (8 * elements)
    commands, words, beats = heads(elements, port, [5 * period])
    run = drive(dut, {"command": commands, "i": words}, {"o": len(beats)})
    assert run.out["o"] == beats
    taken, out = run.cycles["i"], run.cycles["o"]
    assert out[0] - taken[period - 1] == dut.latency
    assert out[-1] - out[0] <= max(len(beats), len(words) * dut.interval)
    assert taken[-1] - taken[0] <= (len(words) - 1) * dut.interval + 5


@pytest.mark.parametrize(("elements", "port"), SHAPES)
def test_packer_takes_head_after_head(elements: int, port: int) -> None:
    """Heads of two periods and a bit: their words go in as fast as their beats go out."""
    dut = StatePacker(config(elements, port))
    count = 2 * 32 * port // (8 * elements) + shared(elements)
    commands, words, beats = heads(elements, port, [count] * 4)
    given = {"command": commands, "i": words}
    run = drive(dut, given, {"o": len(beats)}, counts=["busy"], settle=20)
    assert run.out["o"] == beats
    out, taken = run.cycles["o"], run.cycles["i"]
    assert run.counts["busy"] == out[-1] - run.cycles["command"][0] + 1
    assert out[-1] - out[0] <= max(len(beats), len(words) * dut.interval) + 3 * 4
    assert max(b - a for a, b in pairwise(taken)) <= dut.interval + 6
