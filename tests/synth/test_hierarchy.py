"""A machine's Verilog in blocks."""

from lightmamba.hardware.synth.hierarchy import blocks, modules, whole

from .machines import Machine, text


def test_units_and_what_is_repeated_are_blocks():
    found = {block.name: block for block in blocks(text(Machine()), "lightmamba")}
    assert set(found) == {
        "top", "units", "units.lanes", "units.lanes.lane0", "units.lanes.lane1", "units.store",
    }  # fmt: skip
    assert found["units.lanes.lane0"].verilog == found["units.lanes.lane1"].verilog
    assert set(found["units.lanes"].cut) == {"top1", "top2"}
    assert ("output", 12, "q") in found["units.lanes"].cut["top1"]
    assert not found["units.store"].cut


def test_each_module_is_in_one_block():
    verilog = text(Machine())
    inside = [
        module
        for block in blocks(verilog, "lightmamba")
        for module in modules(block.verilog).values()
        if module.name not in block.cut
    ]
    assert len(inside) == len(modules(verilog))
    assert sum(m.body.count("always") for m in inside) == verilog.count("always")


def test_equal_machines_give_equal_text():
    """Numbers that yosys counts through the file, and places in the source, do not matter."""
    one = {block.name: block.verilog for block in blocks(text(Machine()), "lightmamba")}
    other = {b.name: b.verilog for b in blocks(text(Machine(more=True)), "lightmamba")}
    assert {name for name in one if one[name] == other[name]} == set(one) - {"top"}
    assert not any("src =" in verilog for verilog in one.values())


def test_whole_is_one_block():
    block = whole(text(Machine()), "lightmamba")
    assert (block.name, dict(block.cut)) == ("top", {})
    assert len(modules(block.verilog)) == len(modules(text(Machine())))
