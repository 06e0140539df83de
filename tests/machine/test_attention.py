"""Attention layers on the accelerator, next to Mamba2 layers and MLPs, and alone."""

from dataclasses import replace
from typing import Any

import pytest

from lightmamba.arch.target import Target
from lightmamba.blocks import kind
from lightmamba.common.errors import InputError
from lightmamba.device.sim import check_room
from lightmamba.device.sim.opened import open_golden
from lightmamba.engine.state import random_state
from lightmamba.hardware.compiler import plan
from lightmamba.hardware.estimate.model import estimate_pass
from lightmamba.hardware.estimate.workload import Workload
from lightmamba.hardware.machine.artifact import Artifact
from lightmamba.numerics.model_formats import Formats
from tests.support.mixed import (
    CONTEXT,
    MAMBA,
    MIXED,
    compare,
    compiled,
    hardware,
    passes_self_test,
    per_token,
    runs,
    seen_at_work,
)  # fmt: skip

SIZES = kind("attention").Sizes
FIRST, TWO, _, _, THREE = MIXED.layers
LONG: dict[str, Any] = {"restart": 0.005, "context": CONTEXT}  # sequences of many pages


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mixed")
    return compiled(folder, MIXED, segment=64, context=CONTEXT, sequences=1)


@pytest.fixture(scope="module")
def opened(path):
    found = open_golden(path, stalls=0.2, seed=3, sequences=2)
    yield found
    found.device.close()


@pytest.mark.parametrize(("count", "sequences", "reached"), [
    (70, 1, 64), (30, 2, 10), pytest.param(120, 2, 64, marks=pytest.mark.slow),
])  # fmt: skip
def test_every_observable_equals_the_engine(opened, count, sequences, reached):
    """One sequence over several pages of keys and values, and two that take turns."""
    compare(opened, count, sequences, **LONG)
    assert max(each.position for each in opened.device.sequences) > reached


def test_it_goes_on_behind_many_positions(path):
    """Keys and values of 200 positions, which nobody computed."""
    opened = open_golden(path)
    opened.golden.go_on(random_state(opened.model, 200))
    assert [opened.golden.feed(n).difference for n in range(1, 4)] == [None] * 3
    opened.device.close()


def test_sequences_share_the_segments(path):
    """One that is refused changes nothing; what another one gives back is enough."""
    opened = open_golden(path, sequences=2)
    device, segments = opened.device, opened.device.sequences[0].segments["kv"]
    for sequence, positions in enumerate((130, 64)):
        opened.golden.go_on(random_state(opened.model, positions), sequence)
    assert (segments.held, segments.pool.free) == ([0, 1, 2], [])
    before = device.save_state(1)
    message = "need 1 more of the segments of 64 tokens, but 0 of 4 are free; end another sequence"
    with pytest.raises(InputError, match=message):
        device.start(5, sequence=1)
    with pytest.raises(InputError, match="2 more of the segments of 64 tokens"):
        device.restore_state(device.save_state(0), 1)
    assert device.save_state(1).digest() == before.digest()
    device.end_sequence(0)
    device.fork_state(1, 0)
    assert device.save_state(0).digest() == before.digest()
    device.start(5, sequence=1)
    device.wait()
    assert device.sequences[1].position == 65
    device.close()


@pytest.mark.slow
@pytest.mark.parametrize("channels", [32, pytest.param(64, marks=pytest.mark.board), 128])
def test_passes_of_several_tokens(tmp_path, channels):
    """One, two and four positions of a head meet their queries at once."""
    built = compiled(tmp_path, MIXED, "tiny-t4", 64, channels, context=CONTEXT)
    opened = open_golden(built, stalls=0.2, seed=3, sequences=4)
    compare(opened, 400, 4, **LONG)
    opened.device.close()


@pytest.mark.slow
def test_the_estimate_of_several_positions_at_once(tmp_path):
    path = compiled(tmp_path, MIXED, segment=64, channels=128, context=CONTEXT)
    assert Artifact.read(path).arch.attention_positions == 4
    for before in (20, 120):
        test_the_estimate_is_within_one_percent(path, before)


@pytest.mark.slow
@pytest.mark.board
@pytest.mark.parametrize("before", [20, 70])
def test_the_estimate_is_within_one_percent(path, before):
    count = 12
    simulated, arch = per_token(path, before, count)
    work = Workload.of(MIXED, Formats(), Target.load("tiny"), "reordered")
    middle = before + count // 2 + 1
    found = estimate_pass(replace(work, arch=arch, context=middle), area={})
    assert found.cycles == pytest.approx(simulated, rel=0.01)


def test_the_timeline_shows_its_work(path):
    assert {"attention", "rows of q", "rows of k and v"} <= seen_at_work(path)


def test_the_self_test_passes(path):
    assert passes_self_test(path)


@pytest.mark.parametrize("layers", [(THREE, TWO), MAMBA.layers], ids=["attention", "mamba2"])
def test_its_hardware_runs_models_of_one_kind(tmp_path, path, layers):
    model = replace(MAMBA, layers=layers)
    assert Artifact.read(path).arch == hardware()
    assert runs(compiled(tmp_path, model, segment=64, hardware=hardware()))


def test_a_context_that_is_full(path):
    """One sentence, and the sequence stays as it is."""
    opened = open_golden(path)
    opened.device.start(5, fresh=True)
    opened.device.wait()
    with pytest.raises(InputError, match="has memory for 256; compile with --context 258"):
        opened.device.start(5, chain=256)
    assert opened.device.save_state().position == 1
    opened.device.close()


@pytest.mark.parametrize(("tokens", "chain", "needed"), [(257, 0, 257), (10, 83, 259)])
def test_more_tokens_than_there_is_room_for(path, tokens, chain, needed):
    """Nothing is simulated before it is refused; two chains run, one twice as long as asked."""
    artifact = Artifact.read(path)
    with pytest.raises(InputError, match=rf"memory for 256; .* --context {needed}$"):
        check_room(artifact, tokens, chain)
    check_room(artifact, tokens - (needed - CONTEXT), chain)


def test_a_group_has_as_many_queries_at_once_as_it_has_or_the_target():
    found = plan(MIXED, Formats(), Target.load("tiny"))
    assert (found.attention_channels, found.attention_rows) == (32, 3)
    machine = replace(Target.load("tiny").machine, attention_channels=256, attention_rows=1)
    found = plan(MIXED, Formats(), replace(Target.load("tiny"), machine=machine))
    assert (found.attention_channels, found.attention_rows) == (256, 1)
    assert found.attention_positions == 4


@pytest.mark.parametrize(("layer", "message"), [
    (SIZES(4, 2, 36), "head_dim 36, but the hardware takes multiples of 8"),
    (SIZES(1, 1, 264), "a head_dim of 264, but the hardware takes at most 256; run the model on"),
    (SIZES(64, 64, 8), "has 64 heads of keys, but the hardware takes at most 63; run the model"),
    (SIZES(64, 1, 8), "64 queries for each head of keys, but the hardware takes at most 63"),
])  # fmt: skip
def test_refusals(tmp_path, layer, message):
    with pytest.raises(InputError, match=message):
        compiled(tmp_path, replace(MAMBA, layers=(FIRST, layer)))


def test_layers_of_unequal_positions(tmp_path):
    with pytest.raises(
        InputError, match=r"the size of their kv \(keys and values of .*\), 9 and 17 words"
    ):
        compiled(tmp_path, replace(MAMBA, layers=(TWO, SIZES(4, 2, 64))))
