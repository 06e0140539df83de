"""The accelerator in Verilator, as a device, compared with the engine."""

from lightmamba.device.sim.activity import Activity, Strip
from lightmamba.device.sim.device import SimDevice, open_device
from lightmamba.device.sim.logits import LogitStep, compare_logits
from lightmamba.device.sim.opened import Opened, open_twin
from lightmamba.device.sim.simulation import Simulation, chained, check_room, machine_of, simulate
from lightmamba.device.sim.twin import Twin, TwinStep

__all__ = [
    "Activity", "LogitStep", "Opened", "SimDevice", "Simulation", "Strip", "Twin", "TwinStep",
    "chained", "check_room", "compare_logits", "machine_of", "open_device", "open_twin", "simulate",
]  # fmt: skip
