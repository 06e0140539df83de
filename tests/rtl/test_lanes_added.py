"""Lanes that add sums of several vectors: layers of experts, job by job, equal to numerics."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.contract import BLOCK, GROUP
from lightmamba.arch.hardware import cycles
from lightmamba.hardware.machine.kinds import machine
from lightmamba.numerics.blocks import BlockQuant, halved
from lightmamba.numerics.formats import NIBBLES
from lightmamba.numerics.linear import Projection
from tests.rtl.test_lanes import Bench, Work, job, run, small, work

EIGHT = Projection(BlockQuant(8, BLOCK, NIBBLES), 8, weight_qmax=NIBBLES)
FOUR = Projection(BlockQuant(4, BLOCK), 4)
MULTIPLIERS = pytest.mark.parametrize("multiplier_bits", [4, 8])


def added(**others: Any) -> ArchConfig:
    """Lanes whose projections may be of any widths, and whose sums may be added."""
    return small(
        (4, 4, 4),
        **{
            "kinds": ("mamba2", "experts"), "wide_weight_bits": 8, "wide_act_bits": 8,
            "added_channels": 1024, "in_channels": 256, "out_channels": 384, "head_qmax": NIBBLES,
        }
        | others,
    )  # fmt: skip


def commanded(this: Work, **fields: int) -> Work:
    """The job with fields of its command that only some kinds of layers set."""
    return replace(this, command={**this.command, "half": 0, "hold": 0, "keep": 0, **fields})


def matrix(
    form: Projection, rng: np.random.Generator, rows: int, channels: int, extreme: int
) -> tuple[Any, Any]:
    """Weights and their codes: random ones, or the smallest or largest (-1, 1)."""
    top = 1 << (form.bits - 1)
    weight = rng.integers(-top, form.weight_qmax + 1, (rows, channels))
    code = rng.integers(0, 256, (rows, channels // GROUP))
    if extreme:
        weight[:], code[:] = (-top if extreme < 0 else form.weight_qmax), 255
    return weight, code


def vector(
    form: Projection, rng: np.random.Generator, channels: int, extreme: int
) -> tuple[Any, Any]:
    """Activations of a token and the codes of their blocks."""
    q = rng.integers(form.act.qmin, form.act.qmax + 1, (1, channels))
    code = rng.integers(0, 64, (1, channels // BLOCK))
    if extreme:
        q[:], code[:] = form.act.qmin, 63
    return q, code


def layer(
    config: ArchConfig,
    rng: np.random.Generator,
    *,
    blocks: int = 3,
    rows: int = 3,
    hidden: int = GROUP,
    out: Projection = FOUR,
    half: int = 1,
    extreme: int = 0,
) -> list[Work]:
    """Jobs of a layer: ROUTE, IN, then [IN, ADD] but for the last block, whose OUT gives totals.

    ``rows`` are those of every matrix; ``half``: blocks meet 4 bits of the vector, else 8.
    """
    held = vector(EIGHT, rng, config.in_channels, extreme)
    route = job(config, EIGHT, *held, *matrix(EIGHT, rng, rows, config.in_channels, 0),
                gated=False, parts=1)  # fmt: skip
    form = Projection(FOUR.act, 4) if half else Projection(EIGHT.act, 4)
    q = halved(held[0]) if half else held[0]
    ins = [
        job(config, form, q, held[1], *matrix(form, rng, rows, config.in_channels, 0),
            gated=False, parts=1)
        for _ in range(blocks)
    ]  # fmt: skip
    size = hidden, extreme
    outs = [
        job(config, out, *vector(out, rng, *size), *matrix(out, rng, rows, *size),
            gated=True, parts=1)
        for _ in range(blocks)
    ]  # fmt: skip
    totals = np.sum([each.sums for each in outs], axis=0).tolist()
    found = [commanded(route, hold=1)]  # whose vector is the one that all of them meet
    for n, each in enumerate(ins):
        last = n == blocks - 1
        found.append(commanded(replace(each, vector=[]), half=half, hold=int(not last)))
        if n:
            found.append(commanded(replace(outs[n - 1], sums=[]), keep=1))
    return [*found, commanded(replace(outs[-1], sums=totals))]


def others(config: ArchConfig, rng: np.random.Generator) -> list[Work]:
    """Jobs of another kind of layer and of the head."""
    return [
        commanded(each)
        for each in (
            work(config, rng, 5),
            work(config, rng, 3, gated=True, parts=3),
            work(config, rng, 3, head=True),
            work(config, rng, 2, wide=(8, 8)),
            work(config, rng, 2, wide=(8, 4), gated=True, parts=3),
        )
    ]


@pytest.mark.parametrize(
    ("multiplier_bits", "port_bits", "lanes", "stalls"),
    [(4, 128, 2, 0.2), (8, 128, 2, 0.3), (4, 256, 3, 0.0), (8, 512, 1, 0.1)],
)
def test_layers_equal_numerics(multiplier_bits, port_bits, lanes, stalls):
    """Layers of one to four blocks in both formats of each; other jobs before, between, behind."""
    config = added(multiplier_bits=multiplier_bits, port_bits=port_bits, lanes=lanes)
    rng = np.random.default_rng(port_bits)
    works = [
        *others(config, rng),
        *layer(config, rng, blocks=4, out=EIGHT),
        *layer(config, rng, blocks=1, rows=lanes, half=0),
        commanded(work(config, rng, 3, gated=True, parts=3)),
        *layer(config, rng, blocks=2, hidden=2 * GROUP),
        *layer(config, rng, blocks=2, hidden=3 * GROUP, half=0, out=EIGHT),
        *others(config, rng)[::-1],
    ]
    run(Bench(config), works, stalls=stalls, seed=port_bits)


@pytest.mark.parametrize("extreme", [-1, 1])
def test_the_largest_totals(extreme):
    """Eight blocks fill all channels that may be added, with the largest values of either sign."""
    config, rng = added(lanes=1, multiplier_bits=8), np.random.default_rng(2)
    works = layer(config, rng, blocks=8, rows=2, out=EIGHT, extreme=extreme)
    widest = {total for sums in works[-1].sums for total in sums[0]}
    assert all(total * extreme < 0 for total in widest)
    assert max(map(abs, widest)).bit_length() in (config.acc_bits - 1, config.acc_bits - 2)
    run(Bench(config), works)


@MULTIPLIERS
def test_worked_upper_halves(multiplier_bits):
    """floor(q / 16 + 1/2): 7 is 0, 8 is 1, -8 is 0, -9 is -1; the whole ones stay for others."""
    config = added(multiplier_bits=multiplier_bits, lanes=1, in_channels=GROUP)
    unit, ones = 4 * 32, np.ones((1, GROUP))
    whole = np.resize([7, 8, -8, -9, 119, -128, 24, 23], (1, GROUP))
    one = (np.zeros((1, GROUP // BLOCK)), ones, np.zeros((1, 1)))
    route = job(config, EIGHT, whole, *one, gated=False, parts=1)
    upper = job(config, Projection(FOUR.act, 4), halved(whole.astype(np.int8)), *one,
                gated=False, parts=1)  # fmt: skip
    assert route.sums == [[[36 * 16 * unit]]]
    assert upper.sums == [[[(0 + 1 + 0 - 1 + 7 - 8 + 2 + 1) * 16 * unit]]]
    more = replace(upper, vector=[])
    run(Bench(config), [
        commanded(route, hold=1), commanded(more, half=1, hold=1),
        commanded(replace(route, vector=[]), hold=1), commanded(more, half=1),
    ])  # fmt: skip


BLOCKS = 4


def ends(works: list[Work], wanted: Any) -> list[int]:
    """Places of the last beats of some jobs among all beats of a lane."""
    last = np.cumsum([len(each.beats[0]) for each in works]) - 1
    return [int(last[n]) for n, each in enumerate(works) if wanted(each)]


def starts(works: list[Work]) -> list[int]:
    """Place of the first element of each vector on ``i_out``, and behind the last."""
    found = [0]
    for each in works:
        if each.command["gated"]:
            found.append(found[-1] + len(each.vector))
    return found


@MULTIPLIERS
def test_a_vector_comes_while_the_one_before_is_there(multiplier_bits):
    """Two fit: the second is whole before the first is read, the third waits for its release."""
    config, rng = added(multiplier_bits=multiplier_bits, out_channels=256), np.random.default_rng(7)
    works = layer(config, rng, blocks=BLOCKS)
    got = run(Bench(config), works)
    vector_at, beats = starts(works), got.cycles["lanes.i_beat[0]"]
    read = [beats[n] for n in ends(works, lambda each: each.command["gated"])]
    came = got.cycles["buffer.i_out"]
    assert came[vector_at[2] - 1] < read[0] - 50
    # One element goes ahead of the word that it begins.
    waited = [came[vector_at[n + 2] + 1] - read[n] for n in range(BLOCKS - 2)]
    assert all(count > 0 for count in waited)
    assert waited[0] < 10


@MULTIPLIERS
def test_sums_wait_for_a_late_vector(multiplier_bits):
    config, rng = added(multiplier_bits=multiplier_bits), np.random.default_rng(8)
    works = layer(config, rng, blocks=BLOCKS)
    got = run(Bench(config), works, slow={"buffer.i_out": 0.9})
    came, beats = got.cycles["buffer.i_out"], got.cycles["lanes.i_beat[0]"]
    read = [beats[n] for n in ends(works, lambda each: each.command["gated"])]
    assert all(came[at - 1] < cycle for at, cycle in zip(starts(works)[1:], read, strict=True))
    assert got.counts["lanes.wait_activation"] > 100


@MULTIPLIERS
def test_the_vector_stays_until_the_last_block(multiplier_bits):
    """The next one, which fills the memory too, comes when the last IN has read it."""
    config, rng = added(multiplier_bits=multiplier_bits), np.random.default_rng(9)
    works = [*layer(config, rng), commanded(work(config, rng, 1))]
    got = run(Bench(config), works)
    elements = len(works[0].vector)
    last_in = ends(works, lambda each: not each.command["gated"] and not each.command["hold"])[0]
    read, came = got.cycles["lanes.i_beat[0]"][last_in], got.cycles["buffer.i_in"]
    assert came[elements] < read - 50  # one transfer goes ahead of the word that it begins
    assert 0 < came[elements + 1] - read < 10


def test_the_shortest_jobs_keep_their_distance():
    """Kept sums need five cycles from job to job, which jobs of one beat of weights have."""
    config, rng = added(port_bits=512, lanes=1, out_channels=512), np.random.default_rng(3)
    works = layer(config, rng, blocks=BLOCKS, rows=1)
    ins, outs = ([w for w in works if w.command["gated"] == gated] for gated in (0, 1))
    got = run(Bench(config), [*ins, *outs], late={"lanes.i_beat[0]": 550})
    taken = got.cycles["lanes.i_beat[0]"][-2 * len(outs) + 1 :: 2]
    assert np.diff(taken).tolist() == [5] * (len(outs) - 1)


@MULTIPLIERS
def test_latency_is_that_of_the_graph(multiplier_bits):
    """Latency of sums that go through, and of totals."""
    config = added(multiplier_bits=multiplier_bits)
    dut, rng = Bench(config), np.random.default_rng(4)
    works = layer(config, rng, blocks=2, half=1)
    got = run(dut, works)
    beats, sums = got.cycles["lanes.i_beat[0]"], got.cycles["lanes.o"]
    one, out = ends(works, lambda each: each.sums)[-2:]
    assert sums[-1] - beats[out] == dut.lanes.latency
    slots = works[-1].command["slots"]
    assert sums[-1 - slots] - beats[one] == dut.lanes.latency
    assert cycles(machine(config.kinds).unit("lanes").latency, config) == dut.lanes.latency
