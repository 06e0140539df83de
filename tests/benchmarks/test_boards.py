"""The shipped targets against their data sheets, what memories allow, and the paper's energy."""

import pytest
from bench.boards import bound, bounds, moved, token
from bench.energy import PAPER, paper

from lightmamba.arch.target import Target, target_names
from lightmamba.model.config import SHAPES

LARGEST = SHAPES["mamba2-2.7b"]


@pytest.mark.parametrize(
    ("name", "shape", "nominal", "gigabytes", "tokens", "binds"),
    [
        # two stacks of HBM2; 425 of 460 GB/s for the weights, 0.69 beats per lane and cycle
        ("u280", "mamba2-2.7b", {"hbm": 460.0, "ddr4": 38.4}, 1.466, 309.6, "hbm0"),
        # two controllers of 2 x 32 bits at 3906 MT/s and one of 64 at 3200
        ("vck190", "mamba2-2.7b", {"lpddr4": 62.5, "ddr4": 25.6}, 1.465, 48.4, "lpddr4-0"),
        ("vck190-paper", "mamba2-2.7b", {"dram": 12.8}, 1.465, 8.19, "dram"),
        ("kv260", "mamba2-2.7b", {"ddr4": 19.2}, 1.465, 12.2, "ddr4"),
        # 16 data lines: 300 MT/s on a DDR3, 100 on an SDRAM
        ("ecpix5", "mamba2-130m", {"ddr3": 0.6}, 0.0761, 5.91, "ddr3"),
        ("ulx3s", "demo", {"sdram": 0.2}, 0.00257, 75.4, "sdram"),
    ],
)
def test_what_the_memory_of_a_board_allows(name, shape, nominal, gigabytes, tokens, binds):
    """Nominal GB/s by memory; GB a token, tokens per second and what binds them at W4A4."""
    target = Target.load(name)
    for start, total in nominal.items():
        chosen = [c.gb_per_s for c in target.channels if c.name.startswith(start)]
        assert sum(chosen) == pytest.approx(total)
    assert sum(nominal.values()) == pytest.approx(sum(c.gb_per_s for c in target.channels))
    work = token(SHAPES[shape], target)
    assert sum(moved(work).values()) / 1e9 == pytest.approx(gigabytes, rel=0.002)
    found = bounds(work)
    assert max(found, key=lambda place: found[place]) == binds
    assert 1 / found[binds] == pytest.approx(tokens, rel=0.005)


def test_vck190_uses_three_quarters_of_all_its_memory():
    target = Target.load("vck190")
    work, nominal = token(LARGEST, target), sum(c.gb_per_s for c in target.channels)
    rate = 1 / max(bounds(work).values())
    assert rate * sum(moved(work).values()) / 1e9 > 0.75 * nominal
    assert rate > 28.8  # four times the paper's machine on the same board


@pytest.mark.parametrize(
    ("name", "largest", "too_large"),
    [("ulx3s", "demo", "mamba2-130m"), ("ecpix5", "mamba2-780m", "mamba2-1.3b")],
)
def test_the_largest_model_that_a_board_holds(name, largest, too_large):
    assert bound(name, largest) is not None
    assert bound(name, too_large) is None


@pytest.mark.parametrize("name", target_names())
def test_lanes_are_as_wide_as_their_memory(name):
    """A beat per cycle is at least what the memory gives, and no port outruns its clock."""
    target = Target.load(name)
    for channel in target.channels:
        lanes = [port for port in channel.ports if port.startswith("lane")]
        wide = max(1, len(lanes)) * target.machine.port_bits / 8 * target.clock_mhz / 1e3
        if lanes and not name.startswith("tiny"):
            assert wide >= 0.9 * channel.attainable_gb_per_s
        assert channel.kind or name.startswith("tiny")
    assert (target.resources is None) == (target.power is None) == name.startswith("tiny")


def test_bytes_of_a_token_by_hand():
    """mamba2-130m on one lane of 16 weights: rows and scales, states, parameters, logits."""
    shape = SHAPES["mamba2-130m"]
    work = token(shape, Target.load("ecpix5"))
    rows = {"in": 3352 * 768, "out": 768 * 1536}  # weights of a layer
    beats = sum(n // 16 + -(-n // 16 // 64) for n in rows.values())
    head = 50288 * 768 // 16
    lane = 8 * (24 * beats + head + -(-head // 64))
    state = 24 * 2 * (1536 * 128 + -(-1536 * 128 // 8 // 32) * 8)
    conv = 24 * 2 * 1792 * 4
    params = 24 * 8 * (1792 + 1792 // 8 + 24 + 1536 // 4) + 8 * (6 * 17) + 4 * 50288
    assert sum(moved(work).values()) == lane + state + conv + params


@pytest.mark.parametrize("width", ["W4A4", "W8A8"])
def test_the_papers_machine(width):
    """Its watts are near the likely value of the cells alone: memory and leakage come on top."""
    got, cells = paper(width)
    rate, per_joule = PAPER[width][0].tokens_per_second, PAPER[width][0].tokens_per_joule
    assert per_joule is not None
    low, likely, high = (rate * joules for joules in cells)
    assert low < rate / per_joule < high
    assert 0.5 < rate / per_joule / likely < 1.0
    assert rate / per_joule < rate * got.joules[1]
