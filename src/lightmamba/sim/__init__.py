"""The gates in Verilator, as a device, beside the engine."""

from lightmamba.sim.device import SimDevice, open_device
from lightmamba.sim.opened import DeviceDecoder, OpenedTwin, open_twin
from lightmamba.sim.twin import Twin, TwinStep

__all__ = [
    "DeviceDecoder", "OpenedTwin", "SimDevice", "Twin", "TwinStep", "open_device", "open_twin",
]  # fmt: skip
