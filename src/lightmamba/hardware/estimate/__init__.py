"""The performance model: speed, area and energy of an accelerator without simulation."""

from lightmamba.hardware.estimate.energy import energy
from lightmamba.hardware.estimate.model import estimate
from lightmamba.hardware.estimate.result import Amount, Energy, Estimate

__all__ = ["Amount", "Energy", "Estimate", "energy", "estimate"]
