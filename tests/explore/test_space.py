"""Choices around a target, and the targets they give."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightmamba.arch.target import Target
from lightmamba.common.errors import InputError
from lightmamba.hardware.machine.ports import ports
from lightmamba.model.config import HYBRIDS, mamba2_config
from lightmamba.study.explore.space import Space
from tests.explore.standin import RATIOS, SMALL, target

BASES = {
    "tiny": target(),
    **{name: Target.load(name) for name in ("u280", "ecpix5", "tiny-t4", "u280-t4")},
}


def space(base="tiny", config=SMALL, **only):
    return Space.around(BASES[base], config, tuple(RATIOS), only)


@given(st.sampled_from(sorted(BASES)), st.data())
def test_every_choice_is_a_target(name, data):
    """Whatever is chosen goes together, on the memories of the base."""
    around = space(name)
    chosen = {n: data.draw(st.sampled_from(v)) for n, v in around.options.items()}
    candidate = around.candidate(chosen)
    found = around.target(candidate, "mine")
    assert (found.name, found.clock_mhz) == ("mine", chosen["clock_mhz"])
    assert found.resources == around.base.resources
    assert found.machine.lanes == chosen["lanes"]
    given = {c.name: replace(c, ports=()) for c in around.base.channels}
    assert all(replace(c, ports=()) == given[c.name] for c in found.channels)
    assert {p for c in found.channels for p in c.ports} == {p.name for p in ports(found.machine)}
    assert Target.from_dict(found.to_dict()) == found


@pytest.mark.parametrize("name", BASES)
def test_the_base_is_among_them(name):
    around = space(name)
    own = around.of_base("w4a4")
    assert all(own[n] in around.options[n] for n in around.options)
    assert around.target(around.candidate(own)) == BASES[name].for_kinds(SMALL.kinds)
    assert max(around.options["clock_mhz"]) == BASES[name].clock_mhz


def test_choices_of_attention_are_searched_where_there_is_some():
    """Whatever is chosen, a hybrid can be planned for it, and no choice is without effect."""
    around = space("u280", HYBRIDS["granite-4.0-h-350m"])
    added = around.options.keys() - space("u280").options.keys()
    assert added == {"attention_channels", "attention_rows", "row_fifo"}
    own = around.of_base("w4a4")
    assert own["multiplier_bits"] == 8  # as the base has it for hybrids
    for name in added:
        assert getattr(BASES["u280"].for_kinds(["attention"]).machine, name) == own[name]
        for value in around.options[name]:
            machine = around.candidate(own | {name: value}).machine
            assert getattr(machine, name) == max(value, machine.burst_beats * (name == "row_fifo"))
    with pytest.raises(InputError, match="attention_rows is not searched on target u280"):
        space("u280", attention_rows=(4,))


def test_what_cannot_go_together_is_moved():
    around = space()
    chosen = around.smallest("w4a8") | {"burst_beats": 64, "port_bits": 512, "aux_port_bits": 256}
    found = around.candidate(chosen).machine
    assert found.multiplier_bits == 8
    assert found.weight_fifo == 128
    assert found.aux_fifo == 512
    assert around.candidate(around.smallest("w4a4")).machine.multiplier_bits == 4
    four = space("tiny-t4")
    for scheme, lanes, packed in (("w4a4", 2, True), ("w4a4", 3, False), ("w4a8", 2, False)):
        found = four.candidate(four.of_base(scheme) | {"lanes": lanes}).machine
        assert found.packed == packed
    shared = space("ecpix5")
    assert "aux_port_bits" not in shared.options
    machine = shared.candidate(shared.smallest("w4a4") | {"port_bits": 256}).machine
    assert (machine.state_port_bits, machine.aux_port_bits) == (256, 256)


def test_lanes_are_dealt_by_bandwidth():
    base = BASES["tiny"]
    fast = replace(base.channels[2], gb_per_s=5, attainable_gb_per_s=4.8)
    base = replace(base, channels=(*base.channels[:2], fast, *base.channels[3:]))
    around = Space.around(base, SMALL, ("w4a4",))
    own = around.of_base("w4a4")

    def dealt(lanes):
        found = around.target(around.candidate(own | {"lanes": lanes}))
        return {c.name: len(c.ports) for c in found.channels if c.name.startswith("lane")}

    assert dealt(1) == {"lane2": 1}
    assert dealt(6) == {"lane0": 1, "lane1": 1, "lane2": 3, "lane3": 1}
    assert dealt(4) == {"lane0": 1, "lane1": 1, "lane2": 1, "lane3": 1}  # as the base has them


def test_state_elements_divide_the_state():
    small = mamba2_config(d_model=256, n_layer=2, vocab_size=512, d_state=80)
    around = space(config=small)
    assert around.options["state_elements"] == (32,)
    assert around.of_base("w4a4")["state_elements"] == 32


def test_numbers_of_tokens():
    """Around a machine of one token they are searched where they are named."""
    assert "tokens" not in space("u280").options
    assert space("u280").options["state_elements"] == (32, 64, 128, 256, 512)
    around = space("u280", tokens=(1, 4))
    assert around.options["tokens"] == (1, 4)
    assert around.options["state_elements"] == (32, 64, 128, 256, 512)
    own = around.of_base("w4a4")
    found = around.candidate(own | {"tokens": 4, "state_elements": 512, "packed": 1}).machine
    assert (found.tokens, found.state_elements, found.packed) == (4, 512, True)
    found = around.candidate(own | {"tokens": 1, "state_elements": 512, "packed": 1}).machine
    assert (found.tokens, found.state_elements, found.packed) == (1, 512, False)


def test_narrowed():
    around = space(lanes=(8,), clock_mhz=(50.0, 75.0))
    assert around.options["lanes"] == (8,)
    assert around.of_base("w4a4")["lanes"] == 8
    assert around.of_base("w4a4")["clock_mhz"] == 75
    assert space(lanes=(2, 3)).of_base("w4a4")["lanes"] == 3
    for only, sentence in (
        ({"lane": (1,)}, "lane is not searched on target tiny; searched are clock_mhz, lanes"),
        ({"scheme": (1,)}, "scheme is not searched"),
        ({"clock_mhz": (50.0, 101.0)}, "clock_mhz may be at most that of target tiny, 100"),
    ):
        with pytest.raises(InputError, match=sentence):
            space(**only)
