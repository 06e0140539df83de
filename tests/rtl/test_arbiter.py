"""Several readers and writers on one port."""

from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.sim import Simulator

from lightmamba.hardware.rtl.memory.arbiter import ReadArbiter, WriteArbiter
from lightmamba.hardware.rtl.memory.reader import Reader
from lightmamba.hardware.rtl.memory.writer import Writer

from ..support.axi import Memory, refuses
from ..support.streams import Run, drive

SIZE = 0x8000
SHARE = 0x1000  # bytes of each client
CONTENT = np.random.default_rng(4).bytes(SIZE)


def behind(arbiter: Any, clients: list[Any]) -> Any:
    """Clients behind an arbiter; parts of it are ``submodules.client0``, ``submodules.arbiter``."""
    m = Module()
    m.submodules.arbiter = arbiter
    for k, client in enumerate(clients):
        m.submodules[f"client{k}"] = client
        wiring.connect(m, client.axi, getattr(arbiter, f"i{k}"))
    return m


def command(client: int, at: int, count: int, **more: int) -> dict[str, int]:
    return {"address": SHARE * client + at, "count": count} | more


def read(
    shared: Any, store: Memory, jobs: list[list[dict[str, int]]], **options: Any
) -> tuple[Run, list[list[int]]]:
    """Run readers; what came out, and what should have, by client."""
    expected = [
        [
            int.from_bytes(CONTENT[j["address"] + 16 * n :][:16], "little")
            for j in mine for n in range(j["count"])
        ]
        for mine in jobs
    ]  # fmt: skip
    outputs = {f"submodules.client{k}.o": len(e) for k, e in enumerate(expected)}
    run = drive(
        shared, {f"submodules.client{k}.command": j for k, j in enumerate(jobs)}, outputs,
        beside=[store.reads(shared.submodules.arbiter.o)], limit=5000, **options,
    )  # fmt: skip
    return run, expected


@pytest.mark.parametrize(("n", "stalls"), [(1, 0.2), (2, 0.0), (3, 0.4), (5, 0.1), (8, 0.2)])
def test_every_reader_gets_its_own(n: int, stalls: float):
    rng = np.random.default_rng(n)
    bursts = [int(b) for b in rng.choice([1, 4, 7, 16], n)]
    shared = behind(ReadArbiter(128, n), [Reader(128, 16 + b, b) for b in bursts])
    jobs = [
        [command(k, 16 * int(rng.integers(0, 200)), int(rng.integers(1, 25)), zero=0)
         for _ in range(3)]
        for k in range(n)
    ]  # fmt: skip
    store = Memory(CONTENT, stalls=stalls, latency=(1, 30), seed=n)
    run, expected = read(shared, store, jobs, stalls=stalls, settle=40)
    for k in range(n):
        assert run.out[f"submodules.client{k}.o"] == expected[k]
    assert {b.id for b in store.asked} == set(range(n))
    for b in store.asked:
        assert b.address // SHARE == b.id


def test_a_reader_that_is_not_served_holds_nobody_up():
    shared = behind(ReadArbiter(128, 3), [Reader(128, 16, 8) for _ in range(3)])
    store = Memory(CONTENT)
    jobs = [[command(k, 0, 100, zero=0)] for k in range(3)]
    run = drive(
        shared, {f"submodules.client{k}.command": j for k, j in enumerate(jobs)},
        {"submodules.client0.o": 100, "submodules.client2.o": 100},
        beside=[store.reads(shared.submodules.arbiter.o)],
    )  # fmt: skip
    assert len(run.out["submodules.client2.o"]) == 100
    assert sum(b.beats for b in store.asked if b.id == 1) == 16


def fair(ids: list[int], n: int) -> bool:
    """Whether nobody is ever two bursts ahead of another."""
    counts = np.cumsum(np.eye(n, dtype=int)[ids], axis=0)
    return bool((counts.max(axis=1) - counts.min(axis=1) <= 2).all())


def test_readers_take_turns_and_fill_the_port():
    n = 4
    shared = behind(ReadArbiter(128, n), [Reader(128, 32, 2) for _ in range(n)])
    store = Memory(CONTENT, latency=(4, 4))
    run, expected = read(shared, store, [[command(k, 0, 60, zero=0)] for k in range(n)])
    assert [run.out[f"submodules.client{k}.o"] for k in range(n)] == expected
    assert fair([b.id for b in store.asked], n)
    first = [b.cycle for b in store.asked[: 2 * n]]
    assert first == list(range(first[0], first[0] + 2 * n * shared.submodules.arbiter.interval))
    assert store.sent[-1] - store.sent[0] == 60 * n - 1


def test_read_latency():
    dut = ReadArbiter(64, 2)
    seen = []

    async def bench(ctx: Any) -> None:
        ctx.set(dut.o.arready, 1)
        ctx.set(dut.i1.arvalid, 1)
        ctx.set(dut.i1.araddr, 0xAB_1234_5678)
        ctx.set(dut.i1.arlen, 200)
        ctx.set(dut.i1.arsize, 3)
        _, _, ready = await ctx.tick().sample(dut.i1.arready)
        assert not ready
        _, _, ready = await ctx.tick().sample(dut.i1.arready)
        assert ready
        ctx.set(dut.i1.arvalid, 0)
        address = [
            getattr(dut.o, f"ar{f}") for f in ("valid", "addr", "len", "size", "burst", "id")
        ]
        _, _, *values = await ctx.tick().sample(*address)
        seen.append([int(v) for v in values])
        ctx.set(dut.o.rvalid, 1)
        ctx.set(dut.o.rid, 1)
        ctx.set(dut.o.rdata, 77)
        await ctx.tick()
        ctx.set(dut.o.rvalid, 0)
        data = [dut.i0.rvalid, dut.i1.rvalid, dut.i1.rdata]
        _, _, *values = await ctx.tick().sample(*data)
        seen.append([int(v) for v in values])
        assert not ctx.get(dut.i1.rvalid) | ctx.get(dut.o.arvalid)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert dut.latency == 1
    assert seen == [[1, 0xAB_1234_5678, 200, 3, 1, 1], [0, 1, 77]]


@pytest.mark.parametrize(("n", "stalls"), [(1, 0.2), (2, 0.0), (3, 0.4), (5, 0.1)])
def test_every_writer_writes_its_own(n: int, stalls: float):
    rng = np.random.default_rng(n)
    bursts = [int(b) for b in rng.choice([1, 4, 7, 16], n)]
    shared = behind(WriteArbiter(128, n), [Writer(128, 16 + b, b) for b in bursts])
    content = bytearray(b"\xaa" * SIZE)
    inputs: dict[str, list[Any]] = {}
    for k in range(n):
        jobs, values = [], []
        for at in range(0, SHARE, SHARE // 3 // 16 * 16)[:3]:
            jobs.append(command(k, at, int(rng.integers(1, 25))))
            data = rng.bytes(16 * jobs[-1]["count"])
            content[SHARE * k + at : SHARE * k + at + len(data)] = data
            values += [int.from_bytes(data[p : p + 16], "little") for p in range(0, len(data), 16)]
        inputs |= {f"submodules.client{k}.command": jobs, f"submodules.client{k}.i": values}
    store = Memory(b"\xaa" * SIZE, stalls=stalls, latency=(1, 30), seed=n)
    done = [f"submodules.client{k}.done" for k in range(n)]
    run = drive(
        shared, inputs, {}, beside=[store.writes(shared.submodules.arbiter.o)], stalls=stalls,
        settle=500, counts=done, limit=5000,
    )  # fmt: skip
    assert bytes(store.data) == bytes(content)
    assert run.counts == dict.fromkeys(done, 3)
    assert {b.id for b in store.written} == set(range(n))
    for b in store.written:
        assert b.address // SHARE == b.id


def test_writers_take_turns_and_fill_the_port():
    n = 3
    shared = behind(WriteArbiter(128, n), [Writer(128, 32, 4) for _ in range(n)])
    store = Memory(SIZE, latency=(5, 5))
    inputs: dict[str, list[Any]] = {}
    for k in range(n):
        inputs |= {
            f"submodules.client{k}.command": [command(k, 0, 64)],
            f"submodules.client{k}.i": [k] * 64,
        }
    drive(shared, inputs, {}, beside=[store.writes(shared.submodules.arbiter.o)], settle=140)
    assert fair([b.id for b in sorted(store.written, key=lambda b: b.cycle)], n)
    assert store.taken[-1] - store.taken[0] == 64 * n - 1


def test_one_writer_alone_fills_the_port():
    shared = behind(WriteArbiter(128, 2), [Writer(128, 32, 4) for _ in range(2)])
    store = Memory(SIZE)
    one = "submodules.client1"
    drive(shared, {f"{one}.command": [command(1, 0, 64)], f"{one}.i": [7] * 64}, {},
          beside=[store.writes(shared.submodules.arbiter.o)], settle=40)  # fmt: skip
    assert store.taken[-1] - store.taken[0] == 63


def test_write_latency():
    """Data wait for no one to take the address: a memory may want to see them first."""
    dut = WriteArbiter(64, 2)
    seen = []

    async def bench(ctx: Any) -> None:
        ctx.set(dut.o.wready, 1)
        for client, mark in ((dut.i0, 5), (dut.i1, 6)):
            ctx.set(client.wdata, mark)
            ctx.set(client.wstrb, mark)
            ctx.set(client.wlast, 1)
        ctx.set(dut.i1.wvalid, 1)
        ctx.set(dut.i1.awvalid, 1)
        ctx.set(dut.i1.awaddr, 0x40)
        await ctx.tick()
        taken, passed = None, None
        for cycle in range(8):
            sampled = await ctx.tick().sample(
                dut.i1.awready, dut.i1.wready, dut.o.wvalid, dut.o.wdata, dut.o.wstrb, dut.o.wlast,
                dut.i0.wready,
            )  # fmt: skip
            ready, wready, *beat = (int(v) for v in sampled[2:])
            assert wready == beat[0]
            if ready:
                taken = cycle
                ctx.set(dut.i1.awvalid, 0)
            if wready:
                passed = cycle
                ctx.set(dut.i1.wvalid, 0)
                assert beat == [1, 6, 6, 1, 0]
        assert taken is not None
        assert passed == taken + dut.data_latency
        assert (ctx.get(dut.o.awvalid), ctx.get(dut.o.awid), ctx.get(dut.o.awaddr)) == (1, 1, 0x40)
        ctx.set(dut.o.bvalid, 1)
        ctx.set(dut.o.bid, 1)
        await ctx.tick()
        ctx.set(dut.o.bvalid, 0)
        seen.append((ctx.get(dut.i0.bvalid), ctx.get(dut.i1.bvalid)))
        await ctx.tick()
        assert not ctx.get(dut.i1.bvalid)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert seen == [(0, 1)]


@pytest.mark.parametrize("make", [ReadArbiter, WriteArbiter])
@pytest.mark.parametrize("n", [0, 65])
def test_refuses_more_clients_than_ids(make: Any, n: int):
    refuses(lambda: make(64, n), f"n must be in 1..64 clients, not {n}")
