"""The area model: cells of any configuration, from blocks that were synthesized.

``resources.json`` holds, for each group of blocks and kind of arithmetic, how many cells a group
takes as a sum over a few sizes of the configuration; ``python -m bench.synth`` measures and fits
it. Memories whose size is a parameter are not fitted but counted, as synthesis counts them.

Only configurations of one token are fitted: groups that each token has a copy of are multiplied,
and what further tokens need besides is counted by hand (``more``). One of several tokens was
synthesized to check that.
"""

import json
import re
from dataclasses import replace
from functools import cache
from importlib import resources as files

from lightmamba.arch.amount import Amount
from lightmamba.arch.cells import Group
from lightmamba.arch.config import ArchConfig
from lightmamba.arch.target import Resources
from lightmamba.blocks import kind, kinds
from lightmamba.hardware.machine.cells import BACK, FRONT

__all__ = ["CELLS", "FILE", "GROUPS", "group_of", "groups", "resources", "unmeasured"]

FILE = "resources.json"  # next to this module
CELLS = ("lut", "ff", "dsp", "bram18", "uram")


def groups(kinds: tuple[str, ...]) -> tuple[Group, ...]:
    """Groups of the machine of some kinds of layers; a block belongs to the first that it fits."""
    own = (kind(of).hardware.groups for of in kinds if kind(of).has_hardware)
    return (*FRONT, *(group for groups in own for group in groups), *BACK)


GROUPS = groups(kinds())


def group_of(block: str) -> str:
    """Group that a block belongs to, by its path in the machine."""
    return next(group.name for group in GROUPS if re.fullmatch(group.blocks, block))


def unmeasured(arch: ArchConfig) -> str:
    """Reason why the area of a machine is unknown: widths that were not synthesized; else empty."""
    for group in groups(arch.kinds):
        if (kind := group.kind(arch)) not in (known := _measured()[group.name]):
            return (
                f"area and energy are unknown: no accelerator with {group.name} of {kind} bits was "
                f"synthesized, only {', '.join(known)}; try multiplier_bits = 8 in the target"
            )
    return ""


def resources(arch: ArchConfig, device: Resources | None = None) -> dict[str, Amount]:
    """Cells of a machine by group of blocks.

    Parameters
    ----------
    arch
        The machine.
    device
        Whose LUTs are counted, by its ``lut_scale``; without one, LUTs of six inputs. DSPs are
        those of UltraScale+ for any device.

    Returns
    -------
    {group: Amount}
        Empty if the area is unknown; see :func:`unmeasured`.
    """
    if unmeasured(arch):
        return {}
    scale = 1.0 if device is None else device.lut_scale
    found = {group.name: _group(group, arch) for group in groups(arch.kinds)}
    return {name: replace(cells, lut=scale * cells.lut) for name, cells in found.items()}


def _group(group: Group, arch: ArchConfig) -> Amount:
    measured, sizes = _measured()[group.name][group.kind(arch)], group.sizes(arch)
    fitted = {
        cell: sum(a * b for a, b in zip(factors, sizes, strict=True))
        for cell, factors in measured.items()
    }
    return Amount(**fitted).times(group.copies(arch)) + group.counted(arch)


@cache
def _measured() -> dict[str, dict[str, dict[str, list[float]]]]:
    """{group: {kind: {cell: factors}}}."""
    text = (files.files("lightmamba.hardware.estimate") / FILE).read_text(encoding="utf-8")
    measured: dict[str, dict[str, dict[str, list[float]]]] = json.loads(text)["groups"]
    return measured
