"""The accelerator in Verilator, as a device, compared with the engine."""

from lightmamba.device.sim.activity import Activity, Strip
from lightmamba.device.sim.device import SimDevice, open_device
from lightmamba.device.sim.golden import GoldenModel, GoldenStep
from lightmamba.device.sim.logits import LogitStep, compare_logits
from lightmamba.device.sim.opened import Opened, open_golden
from lightmamba.device.sim.simulation import Simulation, chained, check_room, machine_of, simulate

__all__ = [
    "Activity",
    "GoldenModel",
    "GoldenStep",
    "LogitStep",
    "Opened",
    "SimDevice",
    "Simulation",
    "Strip",
    "chained",
    "check_room",
    "compare_logits",
    "machine_of",
    "open_device",
    "open_golden",
    "simulate",
]  # fmt: skip
