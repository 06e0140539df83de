"""Targets: the shipped ones, and what a TOML must not say."""

import re
from dataclasses import asdict, replace

import pytest

from lightmamba.arch.target import CHOICES, Channel, Power, Target, target_names
from lightmamba.common.errors import InputError

GOOD = """
name = "mine"
about = "a board"
clock_mhz = 100
[machine]
lanes = 2
[[channel]]
count = 2
name = "bank*"
ports = ["lane*"]
gb_per_s = 1.6
attainable_gb_per_s = 1.5
latency_ns = 100
source = "channel * of the data sheet"
[[channel]]
name = "rest"
kind = "ddr4"
ports = ["state_read", "state_write", "aux"]
gb_per_s = 8
attainable_gb_per_s = 7.5
latency_ns = 0
refresh_interval_ns = 7800
refresh_ns = 350
source = "the data sheet"
[resources]
lut = 10
ff = 20
dsp = 3
bram18 = 4
uram = 0
source = "the data sheet"
[power]
static_watts = [1, 2.5, 4]
source = "a guess"
"""


def test_reads():
    found = Target.parse(GOOD, "mine.toml")
    assert [c.name for c in found.channels] == ["bank0", "bank1", "rest"]
    assert found.channel_of("lane1").ports == ("lane1",)
    assert found.channel_of("aux").refresh_ns == 350
    assert found.channels[0].bytes_per_cycle(found.clock_mhz) == 15
    assert found.machine.lanes == 2
    assert found.resources is not None
    assert found.resources.lut == 10
    assert [c.kind for c in found.channels] == ["", "", "ddr4"]
    assert found.power == Power((1.0, 2.5, 4.0), "a guess", cell_scale=1.0)
    assert Target.from_dict(found.to_dict()) == found


WRONG = [
    ("clock_mhz = 100", "clock = 100", ("there is no key clock; known are name, about, clock_mhz, "
     "board, machine, channel, resources, power, like")),
    ("clock_mhz = 100", "", "clock_mhz is missing; example: clock_mhz = 100"),
    ("clock_mhz = 100", "clock_mhz = 0", "clock_mhz must be above 0, and at most 10000, not 0.0"),
    ("clock_mhz = 100", "clock_mhz = 1e300", "must be above 0, and at most 10000, not 1e"),
    ("clock_mhz = 100", "clock_mhz = 0.1",
     "channel rest: at 0.1 MHz its refresh takes 1 of every 1 cycles; raise clock_mhz"),
    ("gb_per_s = 1.6\nattainable_gb_per_s = 1.5", "gb_per_s = 1e9\nattainable_gb_per_s = 1e9",
     "channel bank0: 1e+10 bytes per cycle are out of range; look at attainable_gb_per_s"),
    ("gb_per_s = 1.6\nattainable_gb_per_s = 1.5", "gb_per_s = 1e9\nattainable_gb_per_s = 1e-9",
     "channel bank0: 1e-08 bytes per cycle are out of range; look at attainable_gb_per_s"),
    ("latency_ns = 100", "latency_ns = 1e10", "channel bank*: latency_ns must be at most 1e+09"),
    ("clock_mhz = 100", 'clock_mhz = "fast"', "clock_mhz must be a number, not 'fast'"),
    ("lanes = 2", "lane = 2", "[machine] has no key lane; it has lanes, port_bits"),
    ("lanes = 2", "weight_bits = 8", "[machine] has no key weight_bits"),
    ("lanes = 2", 'lanes = "2"', "machine.lanes must be a whole number, not '2'"),
    ("lanes = 2", "lanes = true", "machine.lanes must be a whole number, not True"),
    ("lanes = 2", "shared_port = 1", "machine.shared_port must be true or false, not 1"),
    ("lanes = 2", "lanes = 2\nport_bits = 100",
     "port_bits must be one of 32, 64, 128, 256, 512, not 100"),
    ("lanes = 2", "lanes = 2\npacked = true",
     ("packed needs an even number of tokens and of lanes, weight_bits 4 and multiplier_bits 4, "
     "not tokens 1, lanes 2")),
    ("lanes = 2", "lanes = 2\n[machine.attention]\nqueue = 8",
     "machine.attention has no key queue; it has lanes"),
    ("lanes = 2", "lanes = 2\n[machine.attention]\nweight_fifo = 8",
     "with [machine.attention], weight_fifo must be in 32..16384, not 8"),
    ("lanes = 2", "lanes = 2\n[machine.attention]\nlanes = 3",
     "with [machine.attention], port lane2 is on 0 channels"),
    ("lanes = 2", "lanes = 2\nattention = 8", "[machine] has no key attention; it has lanes"),
    ("lanes = 2", "lanes = 3", "port lane2 is on 0 channels, but must be on one"),
    ("lanes = 2", "lanes = 1", ("there is no port lane1; the ports of this machine are lane0, "
     "state_read")),
    ("[machine]\nlanes = 2", "machine = 2", "machine must be a table, not 2"),
    ('name = "bank*"', 'name = "bank"', "channels need names of their own, not bank, bank, rest"),
    ("count = 2", "count = 0", "channel.count must be in 1..64, not 0"),
    ("count = 2", "amount = 2", "[channel] has no key amount"),
    ("gb_per_s = 1.6\nattainable_gb_per_s = 1.5", "gb_per_s = 1.6\nattainable_gb_per_s = 1.7",
     "channel bank*: attainable_gb_per_s must be above 0 and at most gb_per_s 1.6, not 1.7"),
    ("latency_ns = 100", "latency_ns = -1", "channel bank*: latency_ns must not be negative"),
    ("latency_ns = 100\n", "", "channel.latency_ns is missing"),
    ("refresh_ns = 350", "refresh_ns = 7800", ("channel rest: refresh_ns 7800.0 must be above 0 "
     "and below refresh_interval_ns 7800.0, or both 0")),
    ('source = "channel * of the data sheet"', 'source = ""', "channel bank*: say in source where"),
    ('ports = ["state_read", "state_write", "aux"]', 'ports = ["state_read", "aux"]',
     "port state_write is on 0 channels, but must be on one"),
    ('ports = ["state_read", "state_write", "aux"]', 'ports = "aux"',
     "channel.ports must be a list, not 'aux'"),
    ('ports = ["state_read", "state_write", "aux"]', "ports = [1]",
     "channel.ports[0] must be a text, not 1"),
    ("lut = 10", "lut = -1", "resources: lut must not be negative"),
    ("lut = 10", "lut = 10\nlut_scale = 0", "resources: lut_scale must be above 0, not 0.0; try 1"),
    ("lut = 10", "luts = 10", "[resources] has no key luts; it has lut"),
    ('kind = "ddr4"', 'kind = "ddr9"',
     "channel rest: kind must be one of hbm2, sdr, ddr3, ddr4, lpddr4, not ddr9"),
    ("static_watts = [1, 2.5, 4]", "", "power.static_watts is missing; example: static_watts"),
    ("[1, 2.5, 4]", "2.5", "power.static_watts must be a list, not 2.5"),
    ("[1, 2.5, 4]", '[1, "2", 4]', "power.static_watts[1] must be a number, not '2'"),
    ("[1, 2.5, 4]", "[1, 4]", "power: static_watts must be low, likely and high in this order"),
    ("[1, 2.5, 4]", "[1, 5, 4]", "in this order, for example [6.4, 12, 25], not [1.0, 5.0, 4.0]"),
    ("[1, 2.5, 4]", "[-1, 2, 4]", "in this order, for example [6.4, 12, 25], not [-1.0, 2.0, 4.0]"),
    ('"a guess"', '"a guess"\ncell_scale = 0', "power: cell_scale must be above 0, not 0.0; try 1"),
    ('"a guess"', '""', "power: say in source where the numbers are from"),
    ("[power]", "[powers]", "there is no key powers"),
    ('name = "mine"', "name = mine", "Invalid value"),
    ("clock_mhz = 100", "clock_mhz = inf", "clock_mhz must be a finite number, not inf"),
    ("clock_mhz = 100", "clock_mhz = nan", "clock_mhz must be a finite number, not nan"),
    ("clock_mhz = 100", f"clock_mhz = 1{'0' * 400}", "clock_mhz must be a finite number, not 1000"),
    ("latency_ns = 100", "latency_ns = inf", "channel.latency_ns must be a finite number"),
    ("latency_ns = 100", f"latency_ns = {'[' * 9000}", "its brackets are nested too deeply"),
    ("lanes = 2", '"la\\n" = 2', "[machine] has no key la; it has lanes"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "sentence"), WRONG)
def test_refusals(old, new, sentence):
    assert GOOD.count(old) == 1
    with pytest.raises(
        InputError, match="^mine.toml(: | is not TOML: ).*" + re.escape(sentence)
    ) as caught:
        Target.parse(GOOD.replace(old, new), "mine.toml")
    assert "\n" not in str(caught.value)


def test_state_is_read_where_it_was_written():
    moved = GOOD.replace('"state_write", ', "").replace(
        'ports = ["lane*"]\n', 'ports = ["lane*"]\n', 1
    )
    moved += """
[[channel]]
name = "other"
ports = ["state_write"]
gb_per_s = 1
attainable_gb_per_s = 1
latency_ns = 1
source = "none"
"""
    with pytest.raises(InputError, match="state_read and state_write must be on the same channel"):
        Target.parse(moved, "mine.toml")


def test_names_and_files(tmp_path):
    assert target_names() == [
        "ecpix5", "kv260", "kv260-t4", "tiny", "tiny-hybrid", "tiny-t4", "u280", "u280-batch4",
        "u280-t4", "u55c", "u55c-31", "ulx3s", "vck190", "vck190-paper", "vck190-paper-t4",
    ]  # fmt: skip
    for name in target_names():
        found = Target.load(name)
        assert found.name == name
        assert Target.from_dict(found.to_dict()) == found
    file = tmp_path / "mine.toml"
    file.write_text(GOOD)
    assert Target.load(str(file)).name == "mine"
    with pytest.raises(
        InputError, match="there is no target huge; shipped are ecpix5, kv260, kv260-t4, tiny"
    ):
        Target.load("huge")
    for name, near in (("u280-hybrid", "u280"), ("tiny-t4-mine", "tiny-t4"), ("kv26", "kv260")):
        with pytest.raises(InputError, match=f"there is no target {name}; use {near}; shipped are"):
            Target.load(name)
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="is not UTF-8 text; give a TOML file"):
        Target.load(str(file))


def test_every_choice_is_the_machines():
    machine = asdict(Target.load("tiny").machine)
    assert set(CHOICES) < set(machine)
    assert not {"weight_bits", "act_bits", "in_channels", "heads", "program"} & set(CHOICES)


def test_a_channel_says_its_source():
    with pytest.raises(ValueError, match="say in source"):
        Channel("x", ("aux",), 1, 1, 0, " ")


def test_a_target_like_another():
    """Says what differs: choices of the machine one by one, channels and the rest as a whole."""
    found = Target.parse('name = "mine"\nabout = "x"\nlike = "tiny"\n[machine]\ntokens = 2', "mine")
    tiny = Target.load("tiny")
    assert found.machine == replace(tiny.machine, tokens=2)
    assert (found.channels, found.clock_mhz) == (tiny.channels, tiny.clock_mhz)
    with pytest.raises(InputError, match="like must be a shipped target, one of ecpix5"):
        Target.parse('name = "mine"\nabout = "x"\nlike = "huge"', "mine")


KINDS = """
[machine.attention]
weight_fifo = 512
row_fifo = 256
[machine.mlp]
weight_fifo = 1024
aux_fifo = 256
"""


def test_choices_for_kinds_of_layers():
    """They count where the machine has such layers, the largest where several kinds choose."""
    found = Target.parse(GOOD.replace("lanes = 2", f"lanes = 2{KINDS}"), "mine.toml")
    assert Target.from_dict(found.to_dict()) == found
    plain = found.for_kinds(["mamba2"])
    assert (plain.machine, plain.per_kind) == (found.machine, {})
    one, both = found.for_kinds(["mamba2", "attention"]), found.for_kinds(["attention", "mlp"])
    assert one.machine == replace(found.machine, weight_fifo=512, row_fifo=256)
    assert both.machine == replace(one.machine, weight_fifo=1024, aux_fifo=256)
    assert both.for_kinds(["attention"]) == both


def test_choices_for_kinds_that_do_not_go_together():
    tables = "\n[machine.attention]\nweight_fifo = 32\n[machine.mlp]\nburst_beats = 32"
    text = GOOD.replace("lanes = 2", f"lanes = 2{tables}")
    found = Target.parse(text.replace("weight_fifo = 32", "weight_fifo = 64"), "mine.toml")
    assert found.for_kinds(["attention", "mlp"]).machine.burst_beats == 32
    found = Target.parse(text, "mine.toml")
    with pytest.raises(ValueError, match=r"with \[machine.attention\] and \[machine.mlp\], weight"):
        found.for_kinds(["attention", "mlp"])


def test_choices_for_kinds_of_a_target_like_another():
    """Choices of the other one count, but for those of this one for all kinds, or for that kind."""
    u280 = Target.load("u280").per_kind["attention"]
    text = 'name = "mine"\nabout = "x"\nlike = "u280"\n[machine]\nrow_fifo = 128'
    rest = {name: value for name, value in u280.items() if name != "row_fifo"}
    assert Target.parse(text, "mine").per_kind == {"attention": rest}
    own = Target.parse(f"{text}\n[machine.attention]\nweight_fifo = 1024", "mine")
    assert own.per_kind == {"attention": rest | {"weight_fifo": 1024}}
    with pytest.raises(InputError, match=r"^mine: \[machine\] has no key attention; it has lanes"):
        Target.parse(f"{text}\nattention = 3", "mine")
    packed = Target.load("u280-t4")
    assert "multiplier_bits" not in packed.per_kind["attention"]
    assert packed.for_kinds(["attention"]).machine.weight_fifo == u280["weight_fifo"]


def test_primitives_of_a_device_are_for_targets_that_have_it():
    """UltraScale+ has DSP48E2, and so has a simulation; Versal and the ECP5 have not."""
    machines = {name: Target.load(name).for_kinds(["attention"]).machine for name in target_names()}
    assert {name.split("-")[0] for name, machine in machines.items() if machine.dsp48e2} == {
        "kv260", "tiny", "u280", "u55c"
    }  # fmt: skip
    assert machines["tiny-hybrid"].dsp48e2
    assert not machines["tiny"].dsp48e2
