"""The program of a model; that the hardware reads it so shows in test_machine.py."""

from dataclasses import replace

import pytest

from lightmamba.common.errors import InputError
from lightmamba.hardware.compiler import plan
from lightmamba.hardware.compiler.plan import instructions as instruction_count
from lightmamba.hardware.compiler.program import LayerNumbers, program
from lightmamba.hardware.machine.program import Condition, Op
from lightmamba.hardware.machine.program import instructions as coding
from lightmamba.hardware.machine.spine import SECTIONS
from tests.compiler.cases import CASES
from tests.support.builders import random_model
from tests.support.machine import Kind


def written(name, order="reordered", **changes):
    config, formats, where = CASES[name]
    model = replace(random_model(config, formats), **changes)
    arch = plan(config, formats, where, order)
    numbers = [LayerNumbers.of(model, i, arch, {}) for i in range(len(model.layers))]
    return model, program(model, numbers, arch, order)


@pytest.mark.parametrize("name", CASES)
def test_round_trip(name):
    model, instructions = written(name)
    coded = coding(("mamba2",), wide=bool(model.formats.exceptions))
    words, per = coded.words32(instructions), coded.bits // 32
    assert len(words) == len(instructions) * per
    assert len(instructions) == instruction_count(CASES[name][0])
    for n, instruction in enumerate(instructions):
        whole = sum(w << 32 * i for i, w in enumerate(words[n * per : (n + 1) * per]))
        assert coded.decode(whole) == instruction


def test_sequence():
    _, instructions = written("w4a4")
    assert [(i.op, i.when) for i in instructions] == [
        (Op.EMBED, Condition.ALWAYS),
        (Op.IN, Condition.ALWAYS),
        (Op.OUT, Condition.ALWAYS),
        (Op.IN, Condition.ALWAYS),
        (Op.OUT, Condition.HEAD),
        (Op.LAST_OUT, Condition.NO_HEAD),
        (Op.HEAD, Condition.HEAD),
        (Op.END, Condition.ALWAYS),
    ]


def test_each_projection_has_its_widths():
    """Halves of activations and of weights, and the format of what is quantized before them."""
    _, instructions = written("exceptions")
    found = [
        (i.commands["lanes"]["split"], i.commands["lanes"]["twice"])
        for i in instructions if "lanes" in i.commands and i.op != Op.LAST_OUT
    ]  # fmt: skip
    assert found == [(1, 1), (1, 0), (0, 0), (0, 1), (0, 1), (1, 1), (0, 1)]
    quant_in = [i.commands["quant_in"] for i in instructions if "quant_in" in i.commands]
    entering = [(each["head"], each["projection"]) for each in quant_in]
    assert entering == [(1, 1), (0, 1), (1, 1), (1, 0)]
    assert [i.commands["quant_out"]["head"] for i in instructions if i.op == Op.IN] == [0, 1, 1]


def test_each_input_has_the_base_of_the_projection_that_reads_it():
    model, _ = written("w4a4")
    bases = iter(range(3, 9))
    layers = tuple(
        layer.with_linears(
            in_proj=replace(layer.in_proj, act_base=next(bases)),
            out_proj=replace(layer.out_proj, act_base=next(bases)),
        )
        for layer in model.layers
    )
    head = replace(model.head, act_base=next(bases))
    _, found = written("w4a4", layers=layers, head=head)
    told = [(i.op, i.commands["quant_in"]) for i in found if "quant_in" in i.commands]
    assert [(op, t["base"], t["head"]) for op, t in told] == [
        (Op.EMBED, 3, 0), (Op.OUT, 5, 0), (Op.OUT, 7, 1),
    ]  # fmt: skip
    outs = [i.commands["quant_out"]["base"] for i in found if i.op == Op.IN]
    assert outs == [4, 6]


def test_rows_of_both_orders():
    """groups: d_inner 384 in 24 heads of 16, two groups of 16; wide-head: 384 in 3 of 128."""
    DT, B, C, X, Z, XZ = Kind.DT, Kind.B, Kind.C, Kind.X, Kind.Z, Kind.XZ
    reordered, naive = [DT, B, C, X, XZ, Z], [Z, X, B, C, DT, DT]
    for name, order, kinds, ends in (
        ("groups", "reordered", reordered, [24, 56, 88, 104, 840, 856]),
        ("groups", "naive", naive, [384, 768, 800, 832, 856, 856]),
        ("wide-head", "reordered", reordered, [3, 51, 99, 227, 739, 867]),
    ):
        told = written(name, order)[1][1].commands["epilogue"]
        assert [told[f"{section}_kind"] for section in SECTIONS] == kinds
        assert [told[f"{section}_end"] for section in SECTIONS] == ends
        assert told["rows"] == ends[-1]


def test_norm_groups_and_padding():
    _, found = written("groups")  # 192 channels, and 192 in each of two norm groups
    assert found[0].commands["quant_in"]["pad"] == 64
    mix, lanes = found[1].commands["hadamard"], found[2].commands["lanes"]
    assert (mix["groups"], mix["group_dim"], mix["pad"], mix["order_log2"]) == (2, 192, 64, 7)
    assert (lanes["parts"], lanes["words"], lanes["gated"]) == (2, 8, 1)
    assert found[1].commands["quant_out"]["count"] == 512
    assert found[2].commands["epilogue"]["parts"] == 2


def test_two_passes_for_the_head_alone():
    for name, twice in (("w4a4", 1), ("w4a8", 0)):
        _, found = written(name)
        told = {(i.op, i.commands["lanes"]["twice"]) for i in found if "lanes" in i.commands}
        assert told == {(Op.IN, 0), (Op.OUT, 0), (Op.LAST_OUT, 0), (Op.HEAD, twice)}


def test_a_number_that_fits_no_field_is_refused():
    model, _ = written("w4a4")
    head = replace(model.head, acc_shift=64)
    with pytest.raises(InputError, match="cannot say this model: HEAD, epilogue: acc_shift is 64"):
        written("w4a4", head=head)
