"""Which machine for which model, and what is refused, one sentence each."""

import re
from dataclasses import replace
from typing import Any

import pytest

from lightmamba.arch.config import ArchConfig
from lightmamba.common.errors import InputError
from lightmamba.hardware.compiler import build, fitting, plan
from lightmamba.model.config import SHAPES
from lightmamba.numerics.model_formats import FormatException, Formats
from tests.compiler.cases import CASES, sizes
from tests.support.builders import TINY, W4A4, W4A8, W8A8, random_model, shipped


def test_the_capacities_are_those_of_the_model():
    arch = plan(sizes(d_model=192, ngroups=2, headdim=16, d_state=16), W4A4, shipped())
    assert (arch.in_channels, arch.out_channels) == (256, 512)
    assert (arch.heads, arch.groups, arch.padded_state) == (24, 2, 32)
    arch = plan(sizes(), W8A8, shipped(multiplier_bits=8))
    assert (arch.weight_bits, arch.act_bits, arch.head_act_bits) == (8, 8, 8)


@pytest.mark.parametrize(("layers", "room"), [(1, 32), (14, 32), (15, 64), (510, 1024)])
def test_the_program_has_room_for_models_of_a_few_layers_more(layers, room):
    assert plan(sizes(n_layer=layers), W4A4, shipped()).program == room


@pytest.mark.parametrize(
    ("wanted", "d_state", "got"),
    [(64, 16, 64), (64, 48, 64), (64, 128, 64), (128, 256, 128), (128, 160, 32), (128, 192, 64),
     (32, 128, 32)],
)  # fmt: skip
def test_the_widest_word_of_state_that_fits(wanted, d_state, got):
    arch = plan(sizes(d_state=d_state), W4A4, shipped(state_elements=wanted))
    assert arch.state_elements == got
    held = shipped().machine.state_fifo * wanted
    assert arch.state_fifo * got == held  # as many elements


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "name", ["tiny", "u280", "vck190", "vck190-paper", "kv260", "ecpix5", "ulx3s"]
)
def test_every_shape_on_every_target(name, shape):
    assert isinstance(plan(SHAPES[shape], W4A4, shipped(name)), ArchConfig)


REFUSED: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any], str]] = [
    ({}, {"block": 64}, {}, "the model has block 64, but the hardware has block 32; quantize"),
    ({}, {"head_block": 64}, {}, "has head_block 64, but the hardware has head_block 32"),
    ({}, {"group": 64}, {}, "has group 64, but the hardware has group 128"),
    ({}, {"head_act_bits": 4, "head_qmax": 7}, {}, "has head_act_bits 4, but the hardware"),
    ({}, {"state_bits": 12}, {}, "has state_bits 12, but the hardware has state_bits 8"),
    ({}, {"head_weight_bits": 8}, {}, ("all weights are of one width; quantize with "
     "head_weight_bits 4")),
    ({"d_model": 128}, {"hadamard": 0}, {}, ("order 256 (a whole norm group), but that of the "
     "hardware at most 128; quantize with hadamard 128")),
    ({"d_conv": 5}, {}, {}, "the model has d_conv 5, but the hardware at most 4 taps"),
    ({"vocab_size": 1 << 20}, {}, {}, "vocab_size 1048576, but the hardware takes at most 1048575"),
    ({"d_model": 16512}, {}, {}, "has d_model 16512, but the hardware takes at most 16384"),
    ({"d_model": 256, "headdim": 256}, {}, {}, "headdim 256, but the hardware takes at most 255"),
    ({"d_model": 1024, "headdim": 2}, {}, {}, "nheads 1024, but the hardware takes at most 1023"),
    ({"d_model": 128, "headdim": 16, "ngroups": 16}, {}, {}, ("ngroups 16, but the hardware takes "
     "at most 15")),
    ({"d_state": 257}, {}, {}, "has d_state 257, but the hardware takes at most 256"),
    ({"d_model": 16384, "headdim": 128}, {}, {}, "has d_inner 32768, but the hardware takes at"),
    ({"n_layer": 511}, {}, {}, "has n_layer 511, but the hardware takes at most 510"),
    ({}, {"exceptions": (FormatException(9, "in_proj", 8, 8),)}, {}, ("there is an exception for "
     "layer 9, but the model's layers are 0 to 1")),
    ({}, {"weight_bits": 8, "head_weight_bits": 8, "exceptions": (FormatException(0, "in_proj", 4, 4
     ),)}, {}, ("in_proj of layer 0 has weights of 4 bits, but the others 8; the hardware takes "
     "exceptions that are wider, so quantize with 8")),
    ({}, {"head_qmax": 100, "exceptions": (FormatException(1, "out_proj", 4, 8),)}, {}, (
     "out_proj of layer 1 has activations of 8 bits up to 119, but the head's go up to 100, and "
     "the hardware has one such format; quantize with head_qmax 119")),
    ({}, {"act_bits": 8}, {}, ("activations of 8 bits do not fit multiplier_bits 4; set "
     "multiplier_bits = 8 in the [machine] table of a copy of target tiny")),
    ({}, {"head_qmax": 127}, {}, ("has head_qmax 127, but a 4-bit multiplier takes the head's "
     "activations in two halves, up to 119; quantize with head_qmax 119, or set")),
]  # fmt: skip


@pytest.mark.parametrize(("config", "formats", "machine", "sentence"), REFUSED)
def test_refusals(config, formats, machine, sentence):
    with pytest.raises(InputError, match=re.escape(sentence)) as caught:
        plan(sizes(**config), Formats(**formats), shipped("tiny", **machine))
    assert "\n" not in str(caught.value)


def test_what_was_refused_may_be_had_otherwise():
    assert plan(sizes(), W4A8, shipped(multiplier_bits=8)).act_bits == 8
    assert plan(sizes(), Formats(head_qmax=127), shipped(multiplier_bits=8)).head_qmax == 127
    assert plan(sizes(), Formats(hadamard=0), shipped())  # 64 channels, padded to 128


@pytest.mark.parametrize("queue", ["x_queue", "z_queue"])
def test_the_naive_order_needs_deep_queues(queue):
    config = sizes()
    assert plan(config, W4A4, shipped(x_queue=128, z_queue=128), "naive")
    shallow = shipped("tiny", **{queue: 127})
    assert plan(config, W4A4, shallow)
    sentence = f"in the naive order {queue} holds all 128 channels .* set {queue} = 128 in the"
    with pytest.raises(InputError, match=sentence):
        plan(config, W4A4, shallow, "naive")
    with pytest.raises(InputError, match="order must be reordered or naive, not 'fast'"):
        plan(config, W4A4, shallow, "fast")


@pytest.mark.parametrize("headdim", [32, 66, 128, 255])
def test_the_reordered_rows_need_room_for_a_head_of_x(headdim):
    """64 channels wait before the queue; a queue has at least two entries anyway."""
    config = sizes(d_model=headdim, headdim=headdim)
    enough = max(2, headdim - 64)
    assert plan(config, W4A4, shipped(x_queue=enough, z_queue=2)).x_queue == enough
    if enough > 2:
        sentence = f"hold one head of headdim {headdim}, but .* set x_queue = {enough} in the"
        with pytest.raises(InputError, match=sentence):
            plan(config, W4A4, shipped(x_queue=enough - 1))


@pytest.mark.parametrize("part", ["in_proj", "out_proj", "head"])
def test_comparison_recipes_are_refused(part, tmp_path):
    model, extra = random_model(TINY), random_model(TINY, comparison=True)
    if part == "head":
        model = replace(model, head=extra.head)
    else:
        changed = model.layers[1].with_linears(**{part: extra.layers[1].linears[part]})
        model = replace(model, layers=(model.layers[0], changed))
    name = "the head" if part == "head" else f"layers.1.{part}"
    with pytest.raises(InputError, match=f"^{name} has an input scale, .* quantize with w4a4"):
        build(model, shipped(), tmp_path / "build")
    assert list(tmp_path.iterdir()) == []


def test_cases_are_not_refused():
    assert all(plan(*case) for case in CASES.values())


def test_queues_and_multipliers_follow_the_kinds_of_the_hardware():
    """Whatever the kinds of the model are that runs on it."""
    target = replace(shipped(), per_kind={"attention": {"multiplier_bits": 8, "weight_fifo": 512}})
    made = plan(sizes(), W4A4, target, kinds=("attention", "mamba2"))
    assert (made.multiplier_bits, made.weight_fifo) == (8, 512)
    assert fitting(made, plan(sizes(), W4A4, target, hardware=made)) == made
    assert plan(sizes(), W4A4, target) == plan(sizes(), W4A4, shipped())
    with pytest.raises(InputError, match=r"^activations of 8 bits do not fit multiplier_bits 4"):
        plan(sizes(), W4A8, target)
    assert plan(sizes(), W4A8, target, kinds=("attention", "mamba2")).act_bits == 8


def test_choices_for_a_kind_that_there_is_not():
    target = replace(shipped(), per_kind={"atention": {"weight_fifo": 512}})
    sentence = r"^target tiny has a table \[machine.atention\], but layers are of kind attention, "
    with pytest.raises(InputError, match=sentence):
        plan(sizes(), W4A4, target)


def test_choices_for_kinds_that_do_not_go_together():
    queues = {"attention": {"weight_fifo": 32}, "mlp": {"burst_beats": 32}}
    target = replace(shipped(), per_kind=queues)
    sentence = r"^target tiny: with \[machine.attention\] and \[machine.mlp\], weight_fifo must be"
    with pytest.raises(InputError, match=sentence):
        plan(sizes(), W4A4, target, kinds=("attention", "mamba2", "mlp"))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"heads": 1}, "^the hardware has heads 1, but the model needs 2, 1 more"),
        ({"lanes": 3}, "^the hardware has lanes 3, but model and target make it 2; compile for"),
    ],
)
def test_hardware_that_a_model_does_not_fit(change, sentence):
    needed = ArchConfig(lanes=2, heads=2)
    larger = replace(needed, in_channels=512, program=64)
    assert fitting(larger, needed) is larger
    with pytest.raises(InputError, match=sentence):
        fitting(replace(needed, **change), needed)
