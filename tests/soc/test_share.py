"""Two masters on one memory: everyone gets its own data, in turns, at full rate."""

from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib.wiring import Out

from lightmamba.arch.ports import ID_BITS
from lightmamba.hardware.rtl.memory.reader import Reader
from lightmamba.hardware.rtl.memory.writer import Writer
from lightmamba.hardware.soc.share import MemoryShare

from ..support.axi import Memory
from ..support.streams import Run, drive

BITS, BYTES = 64, 8
SIZE, SHARE = 0x4000, 0x2000  # bytes of all, of each master
CONTENT = np.random.default_rng(5).bytes(SIZE)
MASTERS = range(2)


def system() -> Any:
    """A reader and a writer are a master."""
    m = Module()
    m.submodules.share = share = MemoryShare(BITS)
    for n, end in enumerate((share.first, share.second)):
        reader, writer = Reader(BITS, 32, 8), Writer(BITS, 32, 8)
        m.submodules[f"reader{n}"], m.submodules[f"writer{n}"] = reader, writer
        for side, part in (("ar", reader.axi), ("aw", writer.axi)):
            for name, member in part.signature.members.items():
                mine, theirs = getattr(part, name), getattr(end, name)
                m.d.comb += theirs.eq(mine) if member.flow is Out else mine.eq(theirs)
            m.d.comb += getattr(end, f"{side}id").eq(5)
    return m


def numbers(data: bytes) -> list[int]:
    return [int.from_bytes(data[n : n + BYTES], "little") for n in range(0, len(data), BYTES)]


def run(
    reads: list[list[tuple[int, int]]], writes: list[list[tuple[int, bytes]]], store: Memory,
    **options: Any,
) -> tuple[Run, Any]:  # fmt: skip
    """Read (offset, beats) and write (offset, data) by master."""
    dut = system()
    inputs: dict[str, Any] = {}
    outputs: dict[str, int] = {}
    for n in MASTERS:
        base = SHARE * n
        inputs[f"submodules.reader{n}.command"] = [
            {"address": base + at, "count": beats, "zero": 0} for at, beats in reads[n]
        ]
        inputs[f"submodules.writer{n}.command"] = [
            {"address": base + at, "count": len(data) // BYTES} for at, data in writes[n]
        ]
        inputs[f"submodules.writer{n}.i"] = [v for _, data in writes[n] for v in numbers(data)]
        outputs[f"submodules.reader{n}.o"] = sum(beats for _, beats in reads[n])
    o = dut.submodules.share.o
    found = drive(
        dut, inputs, outputs, beside=[store.reads(o), store.writes(o)], limit=20_000,
        counts=[f"submodules.writer{n}.done" for n in MASTERS], **options,
    )  # fmt: skip
    return found, dut


@pytest.mark.parametrize(("seed", "stalls"), [(0, 0.2), (1, 0.0), (2, 0.7)])
def test_every_master_has_its_own_memory(seed: int, stalls: float) -> None:
    """With slow addresses and quick data, too."""
    rng = np.random.default_rng(seed)
    half = SHARE // 2  # reads are of the first half, writes go to the second
    reads = [
        [(BYTES * int(rng.integers(0, 300)), int(rng.integers(1, 40))) for _ in range(12)]
        for _ in MASTERS
    ]
    writes: list[list[tuple[int, bytes]]] = []
    for _ in MASTERS:
        places = [BYTES * int(n) for n in rng.choice(half // BYTES - 40, 6, replace=False)]
        writes.append([(half + at, rng.bytes(BYTES * int(rng.integers(1, 30)))) for at in places])
    store = Memory(CONTENT, stalls=stalls, data_stalls=0.1, latency=(1, 20), seed=seed)
    found, _ = run(reads, writes, store, stalls=0.2, seed=seed, settle=400)
    wanted = bytearray(CONTENT)
    for n in MASTERS:
        parts = [CONTENT[SHARE * n + at :][: BYTES * beats] for at, beats in reads[n]]
        assert found.out[f"submodules.reader{n}.o"] == numbers(b"".join(parts))
        for at, data in writes[n]:
            wanted[SHARE * n + at : SHARE * n + at + len(data)] = data
        assert found.counts[f"submodules.writer{n}.done"] == len(writes[n])
    assert bytes(store.data) == bytes(wanted)
    top = 1 << ID_BITS - 1
    for burst in (*store.asked, *store.written):
        assert burst.id == (top | 5 if burst.address >= SHARE else 5)


def test_turns_and_throughput() -> None:
    """With both asking all the time, nobody is ahead, and beats come without a pause."""
    store = Memory(CONTENT, latency=(4, 4))
    found, _ = run([[(0, 200)], [(0, 200)]], [[], []], store)
    whose = [burst.address // SHARE for burst in store.asked]
    assert whose[:8] == [0, 1] * 4  # until both queues are full
    ahead = np.cumsum(1 - 2 * np.array(whose))
    assert abs(ahead).max() <= 4  # bursts of a queue: memory mixes ids as it likes
    assert store.sent[-1] - store.sent[0] == 399
    assert len(found.out["submodules.reader1.o"]) == 200


def test_latency() -> None:
    """An address goes on a cycle after it was taken, from the master that was last chosen."""
    alone, store = Memory(CONTENT), Memory(CONTENT)
    direct = Reader(BITS, 32, 8)
    one = drive(direct, {"command": [{"address": 0, "count": 8, "zero": 0}]}, {"o": 8},
                beside=[alone.reads(direct.axi)])  # fmt: skip
    both, dut = run([[(0, 8)], []], [[], []], store)
    late = both.cycles["submodules.reader0.o"][0] - both.cycles["submodules.reader0.command"][0]
    early = one.cycles["o"][0] - one.cycles["command"][0]
    assert late - early == dut.submodules.share.latency


def test_a_master_that_is_alone_is_not_held_up() -> None:
    store = Memory(CONTENT, latency=(4, 4))
    found, _ = run([[], [(0, 200)]], [[], []], store)
    assert store.sent[-1] - store.sent[0] == 199
    assert len(found.out["submodules.reader1.o"]) == 200
