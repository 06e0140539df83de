"""Passes of several tokens: what they hold and move, and cycles by hand where one thing binds."""

from dataclasses import replace
from typing import Any

import pytest

from lightmamba.arch.amount import Amount
from lightmamba.arch.config import ArchConfig
from lightmamba.arch.passes import Share
from lightmamba.arch.target import Target
from lightmamba.blocks.mamba2.graph import AGAIN, DRAWN, MADE, SUMMED
from lightmamba.hardware.estimate import Estimate, estimate
from lightmamba.hardware.estimate.model import estimate_pass
from lightmamba.hardware.estimate.quantities import Quantities
from lightmamba.hardware.estimate.resources import resources
from lightmamba.hardware.estimate.workload import Workload, modes
from lightmamba.hardware.rtl.mamba2.ssm_pipeline import Stages
from lightmamba.hardware.rtl.mamba2.ssm_results import HeadResults
from lightmamba.model.config import SHAPES, ModelConfig, mamba2_config
from lightmamba.numerics.model_formats import Formats
from tests.estimate.walked import gone, walkers
from tests.support.builders import made_up
from tests.support.layers import resized, sizes_of

DEMO = SHAPES["demo"]
NARROW = mamba2_config(96, 2, 61, d_state=48, headdim=48, ngroups=2)
FOUR = made_up(tokens=4, state_elements=128, state_fifo=512, latency=1, beats=1.0)
WIDE: dict[str, Any] = {
    "lanes": 16, "port_bits": 512, "state_port_bits": 512, "aux_port_bits": 512, "aux_fifo": 512,
    "tokens": 4, "state_fifo": 512, "latency": 1, "beats": 1.0,
}  # fmt: skip


def work(
    mode: str = "decode", target: Target = FOUR, config: ModelConfig = DEMO, **slots: Any
) -> Workload:
    """Passes of a mode; with ``slots``, of one sequence with these."""
    found = Workload.of(config, Formats(), target, "reordered").of_mode(mode)
    return replace(found, slots=(Share(**slots),)) if slots else found


def of(mode: str, target: Target = FOUR, config: ModelConfig = DEMO, **slots: Any) -> Estimate:
    return estimate_pass(work(mode, target, config, **slots), area={})


def test_what_passes_hold():
    told = {name: work(name) for name in modes(FOUR.machine)}
    assert {name: w.tokens for name, w in told.items()} == {
        "decode": 1, "prefill": 4, "batch": 4, "verify": 4,
    }  # fmt: skip
    assert [name for name, w in told.items() if w.chained] == ["decode"]
    assert [name for name, w in told.items() if w.replays or w.records] == ["verify"]
    assert [name for name, w in told.items() if not w.head] == ["prefill"]
    assert [w.steps for w in told.values()] == [1, 4, 4, 7]
    assert [w.stores for w in told.values()] == [1, 1, 4, 1]
    eight = replace(FOUR.machine, tokens=8)  # no more than five of them may be undecided
    (checked,), _ = modes(eight)["verify"]
    assert (checked.tokens, checked.replay, checked.redone, checked.commit) == (6, 5, 5, 1)
    (ahead,), _ = modes(eight, copies=2)["verify"]
    assert (ahead.tokens, ahead.replay, ahead.redone, ahead.stored) == (6, 5, 0, 6)


def test_of_one_token_all_passes_are_decoding_but_prompts():
    found = estimate(DEMO, Formats(), Target.load("tiny"))
    assert found.mode("batch") is found.mode("verify") is found
    prompt = found.mode("prefill")
    assert (prompt.cycles, prompt.tokens) == (found.prompt_cycles, 1)
    lanes = found.unit_cycles["lanes"] - prompt.unit_cycles["lanes"]
    assert lanes == 512 * 16 + 512 * 8 // 64  # 2048 rows on 4 lanes: 8 beats, each used twice


def test_beats_by_hand():
    w = work("verify")
    layers, sizes, a = DEMO.n_layer, sizes_of(DEMO), w.arch
    beats = {name: Quantities.of(work(name)).port_beats for name in modes(a)}
    # Heads of 64 x 128 bytes in beats of 32, and one of exponents before every 32.
    head = 64 * 128 // 32 * 33 // 32
    assert beats["decode"]["state_read"] == (layers * 8 * head, 0)
    assert beats["batch"]["state_read"] == (4 * layers * 8 * head, 0)
    assert beats["verify"]["state_write"] == beats["prefill"]["state_write"]
    # Words of 64 bits, two to a beat: eight bytes of state to a channel; rows of the table.
    conv, row, logits = sizes.conv_dim // 2, (256 // 8 + 2) // 2, 2048 // 4
    one, four = beats["decode"]["aux"], beats["batch"]["aux"]
    assert four[0] - one[0] == 3 * layers * conv
    assert four[1] - one[1] == 3 * (layers * conv + logits)
    prompt = beats["prefill"]["aux"]
    assert (prompt[0], prompt[1]) == (one[0], one[1] - logits)
    assert one[0] > 4 * row  # rows of vectors that hold no token are read too
    # 12 bits of four vectors in a word: of B's channels and x's rows; four words of each head.
    record = layers * (128 + 8 * (4 + 64)) // 2
    check = beats["verify"]["aux"]
    assert (check[0] - one[0], check[1] - one[1]) == (record, record + 3 * logits)


@pytest.mark.parametrize("mode", modes(FOUR.machine))
@pytest.mark.parametrize(
    ("config", "target"),
    [(DEMO, FOUR), (NARROW, made_up(tokens=8, lanes=3, state_elements=32, x_queue=512))],
    ids=["demo", "narrow"],
)
def test_steps_of_heads_move_all_items(mode, config, target):
    w = work(mode, target, config)
    sizes, layers = w.sizes(config.layers[0]), config.n_layer
    taken, given = gone(walkers(w))
    for name in ("x", "y", "heads", "gathered", "done", "bc", "bc_ready"):
        assert taken[name] == given[name], name
    assert taken["x"] == taken["y"] == layers * sizes["d_inner"]
    assert taken["heads"] == taken["gathered"] == taken["done"] == layers * sizes["nheads"]
    assert taken["bc"] == layers * sizes["bc_channels"]
    assert taken["bc_ready"] == layers
    words = layers * sizes["state_words"]
    assert taken["state_ahead"] == len(w.slots) * words
    assert given["state_behind"] == w.stores * words
    assert taken["again"] == given["again"] == (w.steps - len(w.slots)) * words
    b = layers * sizes["bc_channels"] // 2 if w.records else 0
    assert given["b"] == taken["b"] == b
    assert taken["ended"] == layers
    assert given["ended"] == layers * w.replays
    recorded = layers * w.words("record")
    assert taken["replayed"] == recorded
    assert given["recorded"] == (recorded if w.records else 0)
    assert taken["again_whole"] == (layers * sizes["nheads"] if w.replays else 0)


def layer(mode: str, target: Target, **slots: Any) -> int:
    """Cycles that a layer more takes."""
    four, five = (of(mode, target, resized(DEMO, n_layer=n), **slots).cycles for n in (4, 5))
    return five - four


def test_a_step_of_a_head_waits_for_the_one_before():
    """Seven steps of 64 words are that long; steps of 16 are as long as the way of a word."""
    long, short = (layer("verify", made_up(state_elements=s, **WIDE)) for s in (128, 512))
    assert long - short == pytest.approx(8 * (7 * 64 - (6 * (AGAIN + 1) + 16)), rel=0.02)


def test_steps_that_are_not_replayed_are_not_done():
    target = made_up(state_elements=64, **WIDE)
    all_, none = (layer("verify", target, tokens=4, replay=n, commit=1) for n in (3, 0))
    assert all_ - none == pytest.approx(8 * 3 * 128, rel=0.02)


def test_lanes_do_not_care_for_tokens():
    slow = replace(FOUR, channels=tuple(
        replace(c, attainable_gb_per_s=0.1 * c.gb_per_s) if "lane" in c.name else c
        for c in FOUR.channels
    ))  # fmt: skip
    one, batch = of("decode", slow), of("batch", slow)
    assert batch.cycles == pytest.approx(one.cycles, rel=0.01)
    assert batch.tokens_per_second == pytest.approx(4 * one.tokens_per_second, rel=0.01)
    assert batch.bound == one.bound == "lane0"


@pytest.mark.parametrize(("name", "mode"), [("state_read", "batch"), ("aux", "batch"),
                                            ("aux", "verify")])  # fmt: skip
def test_a_slow_channel_takes_the_time_of_its_bytes(name, mode):
    slow = replace(FOUR, channels=tuple(
        replace(c, attainable_gb_per_s=0.05 * c.gb_per_s) if c.name == name else c
        for c in FOUR.channels
    ))  # fmt: skip
    found = of(mode, slow)
    assert found.bound == name
    assert found.cycles == pytest.approx(found.bound_cycles, rel=0.02)


def test_ragged_passes_take_no_longer_than_whole_ones():
    three = replace(work("batch"), slots=(Share(1),) * 3)
    assert of("decode").cycles < estimate_pass(three, area={}).cycles < of("batch").cycles
    two = of("prefill", tokens=2, commit=2)
    assert two.tokens == 2
    assert two.cycles <= of("prefill").cycles


def test_passes_of_a_shipped_target():
    found = estimate(DEMO, Formats(), Target.load("tiny-t4"))
    assert set(found.modes) == {"prefill", "batch", "verify"}
    assert found.tokens == 1
    assert found.prompt_cycles == -(-found.mode("prefill").cycles // 4)
    for each in (found, *found.modes.values()):
        assert sum(each.stalls.values()) == each.cycles
        assert each.cycles > 0.998 * each.bound_cycles
    # A chained token takes as long as with hardware for one, and the rows of a head, twice.
    one = estimate(DEMO, Formats(), Target.load("tiny"))
    assert one.cycles < found.cycles < one.cycles + DEMO.n_layer * 3 * 64


def test_numbers_are_those_of_the_hardware():
    for target in (FOUR, made_up(tokens=8, state_elements=512)):
        arch = work(target=target).arch
        adders, stages = (
            (arch.bc_elements // 32).bit_length() - 1 + (arch.row_words > 1),
            Stages.of(arch),
        )
        assert stages.y_latency == 1 + SUMMED + adders + DRAWN
        assert stages.latency - 1 == MADE
        assert stages.made - stages.last_step == AGAIN
    assert HeadResults.latency - 1 == DRAWN


def test_ports_of_the_state_share_its_words():
    """Two ports have half of every word each; a slow one binds as it would alone."""
    (state,) = (c for c in FOUR.channels if "state_read" in c.ports)
    second = replace(state, name="state1", ports=("state_read1", "state_write1"))
    machine = replace(FOUR.machine, state_ports=2)
    two = replace(FOUR, machine=machine, channels=(*FOUR.channels, second))
    beats = [Quantities.of(work("batch", target)).port_beats for target in (FOUR, two)]
    assert 2 * beats[1]["state_read"][0] == beats[0]["state_read"][0]
    assert beats[1]["state_read1"] == beats[1]["state_read"]
    assert of("batch", two).cycles < 0.8 * of("batch").cycles
    slow = [replace(two, channels=tuple(
        replace(c, attainable_gb_per_s=0.1 * c.gb_per_s) if name in c.ports else c
        for c in two.channels
    )) for name in ("state_read", "state_read1")]  # fmt: skip
    one, other = (of("batch", target).cycles for target in slow)
    assert one == pytest.approx(other, rel=0.01)
    assert one > 2 * of("batch", two).cycles


LANES = {  # port bits, multiplier bits, tokens: cells of a lane, synthesized alone
    (128, 4, 2): Amount(2732, 2099, 4), (128, 4, 4): Amount(5482, 3909, 8),
    (128, 8, 4): Amount(3368, 5053, 136), (256, 4, 4): Amount(10075, 6694, 8),
    (256, 8, 2): Amount(3052, 4846, 132), (256, 8, 4): Amount(6076, 9130, 264),
}  # fmt: skip


@pytest.mark.parametrize("shape", LANES)
def test_lanes_are_those_that_were_synthesized(shape):
    port, multiplier, tokens = shape
    arch = ArchConfig(lanes=1, port_bits=port, multiplier_bits=multiplier, tokens=tokens)
    found = resources(arch)["lanes"]
    for cell in ("lut", "ff", "dsp"):
        assert getattr(found, cell) == pytest.approx(getattr(LANES[shape], cell), rel=0.03), cell


def test_tokens_take_cells_but_read_no_more_weights():
    one, four = (resources(ArchConfig(tokens=tokens)) for tokens in (1, 4))
    assert four["weight readers"] == one["weight readers"]
    assert four["other units"] == one["other units"].times(4)
    for group, amount in one.items():
        assert four[group].lut >= amount.lut, group


def test_a_token_of_a_chunk_takes_less_energy():
    found = estimate(DEMO, Formats(), Target.load("vck190-paper-t4"))
    chunk = found.mode("prefill")
    assert found.energy is not None
    assert chunk.energy is not None
    assert chunk.energy.joules[1] < 0.5 * found.energy.joules[1]
    moved = sum(chunk.channel_bytes.values()) / 4
    assert chunk.energy.parts["memory"][1] == pytest.approx(8 * moved * 20e-12)
