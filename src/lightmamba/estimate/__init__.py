"""The performance model: speed, area and energy of an accelerator without simulation."""

from lightmamba.estimate.energy import energy
from lightmamba.estimate.model import estimate
from lightmamba.estimate.result import Amount, Energy, Estimate

__all__ = ["Amount", "Energy", "Estimate", "energy", "estimate"]
