"""The SDRAM controller against the chip's model, in Verilator: data, rules of the chip, speed.

Every run fails if a byte is not what AXI allows, or if the chip saw a rule broken.
"""

import random
from dataclasses import replace
from typing import Any

import pytest
from amaranth.hdl import Fragment, Module, Signal
from amaranth.lib import wiring

from lightmamba.hardware.soc.sdram import SdramController
from lightmamba.hardware.soc.sdram_timing import ULX3S

from ..support import sdram
from ..support.axi import refuses
from ..support.cases import crossed
from ..support.sdram import Outcome, Transaction

SIZE = 1 << 25
LATENCY = 28  # 64 bits, 100 MHz
CLOCKS = [(60.0, 100.0), (50.0, 100.0), (48.0, 100.0), (75.0, 133.0), (100.0, 100.0), (100.0, 50.0)]

# Of AR, R, AW, W and B.
STALLS = [0.0, 0.3, (0, 0.8, 0, 0, 0.9), (0, 0, 0.9, 0.9, 0), (0.9, 0, 0, 0, 0)]


def simulate(traffic: list[Transaction], **options: Any) -> Outcome:
    outcome = sdram.simulate(traffic, **options)
    assert (outcome.wrong, outcome.violations) == (0, 0), outcome.text
    assert outcome.finished, "some requests were not answered"
    return outcome


def random_traffic(seed: int, bits: int = 64, count: int = 400) -> list[Transaction]:
    """Bursts of all lengths to few places, so that they meet; a third of the writes is masked."""
    chance, beat, found = random.Random(seed), bits // 8, []
    regions = [chance.randrange(0, SIZE, 4096) for _ in range(5)] + [SIZE - 4096]
    upper = [0, 0, SIZE, 0x500_0000_0000]  # address bits that do not count
    for _ in range(count):
        at = chance.randrange(0, chance.choice([256, 4096]), beat)
        most = min(256, (4096 - at) // beat)
        beats = min(most, chance.choice([1, 1, 2, 16, chance.randint(1, 16), 256]))
        address = chance.choice(regions) + chance.choice(upper) + at
        write = chance.choice([0, 0, 0, 1, 1, 2])
        found.append(Transaction(address, beats, chance.randrange(64), write, 0))
    return found


def check_random_traffic(
    bits: int, sync_mhz: float, mhz: float, stalls: Any, count: int = 400
) -> None:
    seed = hash((bits, sync_mhz, mhz, str(stalls).count("9"))) % 1000
    simulate(
        random_traffic(seed, bits, count), bits=bits, mhz=mhz, sync_mhz=sync_mhz, stalls=stalls,
        seed=seed, phase_ps=17 * seed,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("bits", "sync_mhz", "mhz", "stalls"),
    crossed(
        [*((64, *clocks) for clocks in CLOCKS), (32, 60.0, 100.0), (32, 48.0, 100.0)],
        [(each,) for each in STALLS],
    ),
)
def test_random_traffic(request: Any, bits: int, sync_mhz: float, mhz: float, stalls: Any):
    count = 400 if request.node.get_closest_marker("slow") else 160
    check_random_traffic(bits, sync_mhz, mhz, stalls, count)


@pytest.mark.slow  # two more simulators to build
@pytest.mark.parametrize(("sync_mhz", "mhz"), CLOCKS)
@pytest.mark.parametrize("stalls", STALLS)
def test_random_traffic_of_a_narrow_port(sync_mhz: float, mhz: float, stalls: Any):
    check_random_traffic(32, sync_mhz, mhz, stalls)


def test_requests_may_come_before_the_chip_is_ready():
    outcome = simulate(random_traffic(5), early=True)
    assert outcome.first_ps < 1_000_000 < 200_000_000 < outcome.ready_ps < 203_000_000


def in_order(bits: int = 64, count: int = 3000) -> list[Transaction]:
    """Consecutive reads of 128 bytes."""
    return [Transaction(128 * n, 1024 // bits, n % 64, 0, 0) for n in range(count)]


def mixed(seed: int, count: int = 3000) -> list[Transaction]:
    """84 % reads of four regions in turn, 16 % writes to a fifth, all of 128 bytes."""
    chance, share = random.Random(seed), 0.0
    places = [chance.randrange(0, SIZE, 4096) for _ in range(5)]
    found: list[Transaction] = []
    reads = 0
    while len(found) < count:
        region = chance.randrange(4)
        for _ in range(chance.choice([1, 2, 4, 8])):
            found.append(Transaction(places[region] % SIZE, 16, region, 0, 0))
            places[region] += 128
            reads, share = reads + 1, share + 16 / 84
            if share >= 1:  # offered when the read before it is taken
                share -= 1
                found.append(Transaction(places[4] % SIZE, 16, 4, 1, reads - 1))
                places[4] += 128
    return found


@pytest.mark.parametrize(
    ("bits", "sync_mhz", "mhz", "reached"),
    [
        (64, 60, 100, 0.982), (64, 50, 100, 0.982), (64, 75, 133, 0.983), (32, 60, 100, 0.982),
        (32, 48, 100, 0.960),  # 4 bytes at 48 MHz are 96 % of the chip's rate
    ],
)  # fmt: skip
def test_efficiency_of_reads_in_order(bits: int, sync_mhz: float, mhz: float, reached: float):
    """The goal was 92 % of 16 bits per cycle, with refresh."""
    outcome = simulate(in_order(bits), bits=bits, mhz=mhz, sync_mhz=sync_mhz)
    assert outcome.efficiency(mhz) == pytest.approx(reached, abs=0.002)


@pytest.mark.parametrize(
    ("sync_mhz", "mhz", "reached", "seed"),
    crossed([(60, 100, 0.967), (50, 100, 0.967), (75, 133, 0.965)], [0, 1, 2]),
)
def test_efficiency_of_a_mix(sync_mhz: float, mhz: float, reached: float, seed: int):
    """The goal was 85 %."""
    outcome = simulate(mixed(seed), mhz=mhz, sync_mhz=sync_mhz)
    assert outcome.bytes_written / outcome.bytes_read == pytest.approx(16 / 84, rel=0.02)
    assert outcome.efficiency(mhz) == pytest.approx(reached, abs=0.002)


@pytest.mark.parametrize(("write", "reached"), [(0, 0.904), (1, 0.894)])
def test_efficiency_of_the_worst_case(write: int, reached: float):
    """Every burst is in another row of the same bank: tRP and tRCD are added to each."""
    traffic = [Transaction(4096 * n, 16, 0, write, 0) for n in range(2000)]
    assert simulate(traffic).efficiency(100) == pytest.approx(reached, abs=0.002)


@pytest.mark.parametrize("write", [0, 1])
def test_nobody_waits_long(write: int):
    """One kind waits all the time, and now and then a burst of the other one comes.

    Before it are at most nine chunks (six in the queue, one before it, two in the scheduler), and
    one chunk more in the port: 75 cycles each at worst, and two refreshes of 20 cycles. The way
    through the queues takes 40 cycles at most.
    """
    often = [Transaction(4096 * n, 16, 0, 1 - write, 0) for n in range(3000)]
    rare = [Transaction(SIZE // 2 + 4096 * n, 16, 1, write, 10 + 30 * n) for n in range(90)]
    outcome = simulate([*often, *rare])
    waited = outcome.write_wait_ps if write else outcome.read_wait_ps
    assert waited < (10 * 75 + 2 * 20 + 40) * 10_000
    assert outcome.efficiency(100) > 0.89


def test_latency_of_a_read():
    """To its first beat, both clocks at 100 MHz, nothing else waits; the row is closed."""
    for phase in range(0, 10_000, 1_500):
        outcome = simulate([Transaction(0, 16, 0, 0, 0)], sync_mhz=100, phase_ps=phase)
        assert 0 <= outcome.first_read_ps / 10_000 - LATENCY <= 2


def test_the_latency_is_what_the_controller_says():
    dut = SdramController(64, 100)
    Fragment.get(dut, None)  # it is used, as Amaranth wants
    assert dut.latency == LATENCY


def test_refresh_under_continuous_load():
    """8,192 in 64 ms; the chip's model counts them too."""
    outcome = simulate(mixed(9, 12_000))
    time_us = (outcome.last_ps - outcome.ready_ps) / 1e6
    assert outcome.refreshes == pytest.approx(time_us / 7.79, abs=3)


@pytest.mark.slow
@pytest.mark.parametrize("mhz", [100.0, 133.0])
def test_every_row_is_refreshed_within_its_period(mhz: float):
    """Two periods of 64 ms under load, which takes 26 million edges."""
    count = int(0.132 * mhz * 1e6 / 64 * 0.97)
    outcome = simulate(mixed(3, count), mhz=mhz, limit_ps=200_000_000_000)
    assert outcome.refreshes > 2 * 8192


# Lag of the chip's clock behind `sdram`, in ns, and the capture settings that take the right word:
# data are valid from 7.5 ns, or 5.4 ns with CAS latency 3, after the chip's edge until 2.5 ns
# after the next one.
WINDOWS = {
    (100.0, 1.0): {0}, (100.0, 2.5): {0}, (100.0, 2.6): set(), (100.0, 7.5): set(),
    (100.0, 7.6): {1}, (100.0, 10.0): {1}, (133.0, 2.1): {0}, (133.0, 2.2): set(),
    (133.0, 5.1): {1}, (50.0, 10.0): {0}, (50.0, 12.5): {0}, (50.0, 12.6): set(),
    (50.0, 17.6): {1},
}  # fmt: skip


@pytest.mark.parametrize(("mhz", "lag_ns"), WINDOWS)
def test_capture_follows_the_phase_of_the_chip(mhz: float, lag_ns: float):
    traffic, right = in_order(count=20), set()
    for capture in range(4):
        outcome = sdram.simulate(traffic, mhz=mhz, lag_ps=round(1000 * lag_ns), capture=capture)
        assert outcome.violations == 0
        right |= {capture} if outcome.wrong == 0 else set()
    assert right == WINDOWS[mhz, lag_ns]


class Padded(wiring.Component):
    """A controller behind the registers that a device has at its pins, one each way."""

    def __init__(self, pad_cycles: int) -> None:
        self.inner = SdramController(64, 100.0, pad_cycles=pad_cycles)
        super().__init__(self.inner.signature)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.inner = inner = self.inner
        wiring.connect(m, wiring.flipped(self.axi), inner.axi)
        m.d.comb += [inner.capture.eq(self.capture), self.ready.eq(inner.ready)]
        for name, member in inner.pins.signature.members.items():
            mine, its = getattr(self.pins, name), getattr(inner.pins, name)
            if member.flow == wiring.Out:
                delayed = Signal.like(mine, name=f"pad_{name}")
                m.d.sdram += delayed.eq(its)
                m.d.comb += mine.eq(delayed)
            else:
                m.d.sdram += its.eq(mine)
        return m


@pytest.mark.slow
@pytest.mark.board
@pytest.mark.parametrize(("pad_cycles", "capture"), [(2, 1), (0, 3)])
def test_registers_at_the_pins(pad_cycles: int, capture: int):
    """Two more cycles both ways: named to the controller, or made up for by ``capture``."""
    library = sdram.built(Padded(pad_cycles))
    for setting in range(4):
        outcome = sdram.simulate(random_traffic(1), library=library, capture=setting)
        assert outcome.violations == 0
        assert (outcome.wrong == 0) == (setting == capture)


@pytest.mark.slow  # one more simulator to build
def test_the_model_sees_a_controller_of_20_ns():
    timing = replace(ULX3S, rcd=20.0, rp=20.0)
    library = sdram.built(SdramController(64, 100.0, timing))
    outcome = sdram.simulate(random_traffic(1), library=library)
    assert outcome.violations > 100
    for name in ("tRCD", "tRP"):
        assert f"{name} of bank 0: 20000 ps instead of 21000" in outcome.text


def test_refuses_what_it_cannot_do():
    refuses(lambda: SdramController(128, 100), "must have 32 or 64 bits, not 128")
    refuses(lambda: SdramController(64, 166), r"must be 20 to 133\.4 MHz, not 166 MHz")
