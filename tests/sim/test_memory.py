"""The memory model, seen by a machine that copies beats from one port to another."""

from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from lightmamba.arch.target import Target
from lightmamba.common.errors import DeviceError
from lightmamba.device.sim.simulator import MemoryChannel, Simulator, Stalls, Status, from_target
from lightmamba.hardware.machine.registers import offsets

from .copier import (
    EARLY_LAST,
    HALF,
    IGNORE_BORDERS,
    NEVER_FINISH,
    SLOW_READY,
    SOURCE,
    TARGET,
    WRITE,
    copy,
    simulator,
)

READ = 0
STATUS, FAILED = offsets()["status"], 8
LANE = MemoryChannel("lane", bytes_per_cycle=16)
AUX = MemoryChannel("aux", bytes_per_cycle=16)
OVERHEAD = 40  # cycles of a copy beside its beats: start, first address, last response


def words(beats: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 1 << 32, 4 * beats, dtype=np.uint32)


def loaded(lane: MemoryChannel = LANE, aux: MemoryChannel | None = AUX, beats: int = 0):
    sim = simulator(lane, aux)
    data = words(beats)
    sim.write_memory(lane.name, SOURCE, data)
    return sim, data


def written(sim: Simulator, memory: str, beats: int) -> np.ndarray:
    return sim.read_memory(memory, TARGET, 16 * beats).view(np.uint32)


def test_copies_every_byte_and_no_other():
    sim, data = loaded(beats=777)
    sim.write_memory("aux", TARGET, bytes([0xAA]) * (1 << 20))
    assert copy(sim, 777, token=5)[0] == Status.INTERRUPT
    np.testing.assert_array_equal(written(sim, "aux", 777), data + np.uint32(5))
    assert (sim.read_memory("aux", TARGET + 16 * 777, 4096) == 0xAA).all()
    assert sim.messages() == []
    lane, aux = sim.counters("lane0"), sim.counters("aux")
    assert (lane.bytes_read, lane.bytes_written, aux.bytes_written) == (16 * 777, 0, 16 * 777)
    assert (lane.read_bursts, aux.write_bursts) == (49, 49)
    assert lane.blocked == 0


@pytest.mark.parametrize("latency", [1, 2, 37])
def test_latency_is_that_of_the_first_beat(latency: int):
    sim, _ = loaded(replace(LANE, latency=latency))
    copy(sim, 16, mode=READ)
    assert sim.counters("lane0").wait == latency - 1


@pytest.mark.parametrize("rate", [2, 5.5, Fraction(40, 3), 15.9, 16, 500])
def test_bandwidth(rate: float):
    sim, _ = loaded(replace(LANE, bytes_per_cycle=rate, latency=20))
    _, cycles = copy(sim, 4096, mode=READ)
    assert cycles == pytest.approx(4096 * 16 / min(rate, 16) + OVERHEAD, rel=0.02)


def test_writes_are_limited_too():
    sim, _ = loaded(aux=replace(AUX, bytes_per_cycle=6))
    _, cycles = copy(sim, 4096)
    assert cycles == pytest.approx(4096 * 16 / 6 + OVERHEAD, rel=0.02)
    assert sim.counters("aux").write_wait > 1000


def test_strobes_choose_bytes():
    sim, data = loaded(beats=20)
    sim.write_memory("aux", TARGET, bytes([0xAA]) * 320)
    copy(sim, 20, mode=WRITE | HALF)
    beats = sim.read_memory("aux", TARGET, 320).reshape(20, 16)
    np.testing.assert_array_equal(beats[:, 4:12], data.view(np.uint8).reshape(20, 16)[:, 4:12])
    assert (beats[:, :4] == 0xAA).all()
    assert (beats[:, 12:] == 0xAA).all()


@pytest.mark.parametrize("beats", [1, 17])
def test_answered_writes_are_in_memory(beats: int):
    """The interrupt follows the last response, which follows the last beat."""
    sim, data = loaded(aux=replace(AUX, bytes_per_cycle=0.25), beats=beats)
    assert copy(sim, beats)[0] == Status.INTERRUPT
    np.testing.assert_array_equal(written(sim, "aux", beats), data)


def test_refresh():
    sim, _ = loaded(replace(LANE, refresh_every=390, refresh_for=39, refresh_phase=7))
    _, cycles = copy(sim, 4096, mode=READ)
    assert cycles == pytest.approx(4096 / 0.9, rel=0.02)


@pytest.mark.parametrize(("rate", "per_beat"), [(16, 2), (24, 4 / 3), (32, 1), (100, 1)])
def test_reads_and_writes_share_a_channel(rate: float, per_beat: float):
    shared = MemoryChannel("all", bytes_per_cycle=rate, latency=20)
    sim, data = loaded(shared, None, beats=2048)
    _, cycles = copy(sim, 2048)
    assert cycles == pytest.approx(2048 * per_beat + 60, rel=0.02)
    np.testing.assert_array_equal(written(sim, "all", 2048), data)


def test_outstanding_bursts_are_limited():
    """One burst at a time: each waits for the last, and its own latency."""
    sim, _ = loaded(replace(LANE, latency=50, outstanding=1))
    _, cycles = copy(sim, 1600, mode=READ)
    assert cycles == pytest.approx(100 * (50 + 16), rel=0.02)


@pytest.mark.parametrize(
    ("lane", "aux", "mode"),
    [
        (Stalls.all(0.1), Stalls(), WRITE),
        (Stalls(), Stalls.all(0.5), WRITE),
        (Stalls.all(0.9), Stalls.all(0.9), WRITE),
        (Stalls.all(0.3), Stalls(aw=0.8, b=0.8), WRITE | SLOW_READY),
    ],
)
def test_data_survive_random_stalls(lane: Stalls, aux: Stalls, mode: int):
    sim, data = loaded(replace(LANE, stalls=lane, seed=1), replace(AUX, stalls=aux), beats=500)
    sim.host_stall(0.5, seed=2)
    assert copy(sim, 500, mode=mode)[0] == Status.INTERRUPT
    np.testing.assert_array_equal(written(sim, "aux", 500), data)
    assert sim.messages() == []
    assert not sim.host_read(STATUS) & FAILED


def test_stalls_are_reproducible():
    def cycles(seed: int) -> list[int]:
        stalls = Stalls(ar=0.2, r=0.3)
        sim, _ = loaded(replace(LANE, stalls=stalls, seed=seed))
        copy(sim, 200)
        return list(sim.take("beat")[1])

    assert cycles(1) == cycles(1)
    assert cycles(1) != cycles(2)


def test_stalls_cost_what_they_say():
    sim, _ = loaded(replace(LANE, stalls=Stalls(r=0.25)))
    _, cycles = copy(sim, 8192, mode=READ)
    assert cycles == pytest.approx(8192 / 0.75, rel=0.02)


def test_untaken_data_stay_and_are_counted():
    sim, data = loaded(beats=300)
    copy(sim, 300, mode=WRITE | SLOW_READY)
    np.testing.assert_array_equal(written(sim, "aux", 300), data)
    assert 250 < sim.counters("lane0").blocked < 350


def test_no_memory_is_an_error_response():
    sim, _ = loaded()
    status, _ = copy(sim, 32, source=SOURCE + (1 << 20) - 256)
    assert status == Status.INTERRUPT
    assert sim.host_read(STATUS) & FAILED  # the machine saw it
    (message,) = sim.messages()
    assert "lane0: SLVERR, no memory at address 0x200000, 16 beats to read" in message
    assert (written(sim, "aux", 32)[64:] == 0).all()
    sim.forget_messages()
    assert sim.messages() == []


@pytest.mark.parametrize(
    ("mode", "source", "message"),
    [
        (READ | IGNORE_BORDERS, SOURCE + 0xFF0, "a burst over a 4 KiB border"),
        (READ | IGNORE_BORDERS, SOURCE + 0xF10, "a burst over a 4 KiB border"),
        (WRITE | EARLY_LAST, SOURCE, "WLAST before the last beat"),
        (READ, SOURCE + 8, "a burst that begins within a beat"),
    ],
)
def test_broken_rules_end_the_run(mode: int, source: int, message: str):
    sim, _ = loaded()
    status, cycles = copy(sim, 32, mode=mode, source=source)
    assert status == Status.VIOLATED
    assert message in sim.messages()[0]
    assert cycles < 100


@pytest.mark.parametrize("latency", [1, 200])
def test_a_read_of_what_is_being_written_ends_the_run(latency: int):
    """AXI orders no read behind a write that is not answered, although this memory does.

    The copier reads what it wrote ``behind`` beats earlier: that write has been answered, or not.
    """
    for behind, answered in ((1100, True), (600, False)):
        sim = simulator(replace(LANE, latency=latency))
        sim.map("lane", TARGET - (1 << 20), 1 << 20)
        status, _ = copy(sim, 2000, source=TARGET - 16 * behind)
        assert status == (Status.INTERRUPT if answered else Status.VIOLATED)
        problem = "lane0: a read of what is being written (address 0x400200000, 16 beats)"
        assert [message.partition(": ")[2] for message in sim.messages()] == [problem][answered:]


def test_a_burst_may_touch_a_border():
    sim, _ = loaded()
    assert copy(sim, 32, mode=IGNORE_BORDERS, source=SOURCE + 0xF00)[0] == Status.INTERRUPT
    assert sim.messages() == []


def test_watchdog_and_limit():
    sim, _ = loaded()
    status, cycles = copy(sim, 16, mode=NEVER_FINISH)
    assert status == Status.STUCK
    assert cycles == pytest.approx(5_000, rel=0.02)
    before = sim.cycle
    assert sim.run(1234, watchdog=0) == Status.CYCLES
    assert sim.cycle - before == 1234


def test_probes():
    sim, data = loaded(beats=40)
    copy(sim, 40, token=9)
    records, cycles = sim.take("beat")
    beats = records.view([("sum", "<u4", 4), ("left", "<u4"), ("id", "<u4")])[:, 0]
    np.testing.assert_array_equal(beats["sum"].ravel(), data + np.uint32(9))
    np.testing.assert_array_equal(beats["left"], np.arange(40, 0, -1))
    np.testing.assert_array_equal(beats["id"] >> 26, 5)
    assert (np.diff(cycles) == 1).all()
    done, last = sim.take("done")
    assert done.tolist() == [[1, 0]]
    assert cycles[-1] < last[0] < sim.cycle
    assert len(sim.take("beat")[0]) == 0
    sim.probing(False)
    copy(sim, 40)
    assert len(sim.take("beat")[0]) == 0


def test_files_are_mapped_and_stay_as_they_are(tmp_path):
    file = tmp_path / "image.bin"
    file.write_bytes(bytes(range(200)))
    sim, _ = loaded()
    sim.map("lane", 0, 10_000, file)
    image = sim.read_memory("lane", 0, 10_000)
    assert image[:200].tolist() == list(range(200))
    assert not image[200:].any()
    sim.write_memory("lane", 0, b"changed")
    assert sim.read_memory("lane", 0, 7).tobytes() == b"changed"
    assert file.read_bytes() == bytes(range(200))
    assert not sim.read_memory("aux", TARGET, 7).any()


def test_refused_memory(tmp_path):
    sim, _ = loaded()
    with pytest.raises(DeviceError, match="overlaps the region at 1048576"):
        sim.map("lane", SOURCE + 4096, 1)
    with pytest.raises(DeviceError, match="has no file"):
        sim.map("lane", 0, 10, tmp_path / "none")
    (tmp_path / "long").write_bytes(bytes(100))
    with pytest.raises(DeviceError, match="is smaller than"):
        sim.map("lane", 0, 10, tmp_path / "long")
    with pytest.raises(DeviceError, match="no region has all of these bytes"):
        sim.read_memory("lane", SOURCE + (1 << 20) - 1, 2)
    sim.unmap_all()
    with pytest.raises(DeviceError, match="no region"):
        sim.write_memory("lane", SOURCE, b"x")
    sim.close()
    with pytest.raises(ValueError, match="closed"):
        sim.run(1)


def test_reset_forgets_what_was_under_way():
    sim, data = loaded(replace(LANE, latency=500), beats=100)
    copy(sim, 100, mode=NEVER_FINISH)
    sim.host_write(0, 0)
    sim.reset()
    assert copy(sim, 100)[0] == Status.INTERRUPT
    np.testing.assert_array_equal(written(sim, "aux", 100), data)


def test_host_errors():
    sim, _ = loaded()
    with pytest.raises(DeviceError, match=r"reading register 0x800: .* answered with an error"):
        sim.host_read(0x800)


def test_channels_of_a_target():
    """Rate between refreshes makes the mean the attainable one; one memory per channel."""
    target = Target.load("u280")
    memory = from_target(target.channels, target.clock_mhz, seed=3)
    assert memory["state_read"] == memory["state_write"]
    assert memory["lane0"] != memory["lane1"]
    for port, channels in memory.items():
        channel = channels[0]
        busy = 1 - channel.refresh_for / channel.refresh_every if channel.refresh_every else 1
        wanted = target.channel_of(port).bytes_per_cycle(target.clock_mhz)
        assert float(channel.bytes_per_cycle) * busy == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bytes_per_cycle": 0}, "bytes_per_cycle must be above 0"),
        ({"latency": 0}, "latency and outstanding must be at least 1"),
        ({"refresh_every": 5, "refresh_for": 5}, "refresh_for must be below refresh_every"),
    ],
)
def test_channels_validate(change: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        replace(LANE, **change)
    with pytest.raises(ValueError, match=r"must be in 0\.\.1, below 1"):
        Stalls(r=1.0)
