"""Energy per token: memory traffic, active time of each unit, and static power.

The constants are data (``energy.toml``), each a range with its source; nothing was measured on a
board by us. The low value of a sum takes every constant at its low end, so ranges are as wide as
they can be.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

from lightmamba.arch.target import Target
from lightmamba.common.plain import build
from lightmamba.hardware.estimate.resources import GROUPS
from lightmamba.hardware.estimate.result import Energy, Estimate

__all__ = ["Constant", "constants", "energy"]

PARTS = {group.name: group.part for group in GROUPS}


@dataclass(frozen=True)
class Constant:
    """One number: (low, likely, high), its unit, and where it is from."""

    value: tuple[float, float, float]
    unit: str
    source: str

    def __post_init__(self) -> None:
        if len(self.value) != 3 or not 0 < self.value[0] <= self.value[1] <= self.value[2]:
            raise ValueError(f"value must be low, likely and high above 0, not {self.value}")
        if not (self.unit.strip() and self.source.strip()):
            raise ValueError("say the unit, and in source where the value is from")


@cache
def constants() -> Mapping[str, Constant]:
    """All of them by name: ``memory.hbm2``, ``cell.lut``, ..."""
    text = (resources.files("lightmamba.hardware.estimate") / "energy.toml").read_text(
        encoding="utf-8"
    )
    return {
        f"{group}.{name}": build(Constant, entry, f"{group}.{name}")
        for group, entries in tomllib.loads(text).items()
        for name, entry in entries.items()
    }


def energy(found: Estimate, target: Target) -> Energy | None:
    """Energy of a token of an estimate on its target: its share of the pass.

    Parts, in joules: ``memory``, the bits that channels move; ``products``, the lanes while they
    multiply; ``state``, what updates a state while it works; ``fabric``, all other blocks while
    they work, the RAMs, and the clock of every register in every cycle; ``static``, what the target
    draws anyway.
    A block that is none of the estimate's units counts as working in every cycle.

    Returns
    -------
    Energy or None
        None where the target says nothing of its power or of the kind of a memory that is used, or
        the estimate nothing of resources.
    """
    kinds = {c.name: c.kind for c in target.channels}
    if target.power is None or not found.resources:
        return None
    if not all(kinds[name] for name in found.channel_bytes):
        return None
    ranges = [_parts(found, target, n) for n in range(3)]
    low, likely, high = ranges
    return Energy({part: (low[part], likely[part], high[part]) for part in likely})


def _parts(found: Estimate, target: Target, n: int) -> dict[str, float]:
    """Joules by part, all constants at their low (0), likely (1) or high (2) value."""
    assert target.power is not None
    of = {name: constant.value[n] for name, constant in constants().items()}
    kinds = {c.name: c.kind for c in target.channels}
    bits = {name: 8 * count for name, count in found.channel_bytes.items()}
    memory = sum(count * of[f"memory.{kinds[name]}"] for name, count in bits.items())

    logic = {"products": 0.0, "state": 0.0, "fabric": 0.0}
    for block, amount in found.resources.items():
        part = PARTS.get(block, "fabric")
        rate = of["toggles.control" if part == "fabric" else "toggles.datapath"]
        work = found.unit_cycles.get(block, found.cycles)
        logic[part] += work * (rate * amount.lut * of["cell.lut"] + amount.dsp * of["cell.dsp"])
        logic["fabric"] += work * amount.bram18 * of["cell.bram18"]
        logic["fabric"] += work * amount.uram * of["cell.uram"]
        logic["fabric"] += found.cycles * amount.ff * of["cell.register"]

    scale = target.power.cell_scale
    seconds = found.cycles / (found.clock_mhz * 1e6)
    of_pass = {
        "memory": memory * 1e-12,
        **{part: scale * picojoules * 1e-12 for part, picojoules in logic.items()},
        "static": target.power.static_watts[n] * seconds,
    }
    return {part: joules / found.tokens for part, joules in of_pass.items()}
