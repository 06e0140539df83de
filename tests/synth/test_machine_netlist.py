"""The netlist of an accelerator in Verilator, against the engine."""

import pytest

from lightmamba.device.sim import compare_logits, open_device
from lightmamba.device.sim.device import TOP, machine_verilog
from lightmamba.hardware.compiler import open_model
from lightmamba.hardware.machine.artifact import Artifact
from lightmamba.hardware.synth import models_verilog, netlist_verilog
from lightmamba.hardware.synth.ecp5 import synthesized
from lightmamba.hardware.synth.edit import edit
from tests.sim.machines import compiled
from tests.support.builders import TINY, shipped
from tests.support.tools import needs_verilator, needs_yosys


@needs_yosys
@pytest.mark.slow
@needs_verilator
def test_the_edited_netlist_of_a_machine_gives_the_logits_of_the_engine(tmp_path):
    """Five minutes of yosys, one of Verilator, four of the C++ compiler; seconds for the tokens."""
    artifact = Artifact.read(compiled(tmp_path, TINY, shipped("ulx3s")))
    (tmp_path / "machine.v").write_text(machine_verilog(artifact.arch, observed=False))
    netlist = synthesized(["machine.v"], TOP, tmp_path)
    edit(netlist, TOP, resets=["rst"], pins=False)
    text = netlist_verilog(netlist, TOP) + models_verilog()
    with open_device(artifact, netlist=text) as device:
        steps = list(compare_logits(device, open_model(artifact), 1, 3))
    assert [step.equal for step in steps] == [True] * 3
    assert len({step.token for step in steps}) > 1
