"""Draw the floor plan of a system on a ULX3S: which part lies where on the routed device.

    python -m bench.ulx3s_floor FOLDER/routed-1.json [-o docs/howto/ulx3s-floor.png]

The netlist is one of ``bench.ulx3s_place --keep FOLDER``. A register has the name of its part. A
LUT that has none belongs to the part that reads it, else to the one that it reads.
"""

import argparse
import json
import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

PICTURE = Path(__file__).parents[1] / "docs/howto/ulx3s-floor.png"
CORE = "inside.system.core."
UNITS = f"{CORE}units."
# Parts by the beginning of their names; units of the machine without its number of the instance.
PARTS: dict[str, tuple[str, ...]] = {
    "state-space unit": (f"{UNITS}ssm", f"{UNITS}state", f"{UNITS}bc",
                         f"{UNITS}discretize", f"{UNITS}blocks"),
    "lane and projections": (f"{UNITS}lane", f"{UNITS}activations",
                             f"{UNITS}epilogue", f"{UNITS}embed",
                             f"{UNITS}head", f"{UNITS}x_queue",
                             f"{UNITS}z_queue"),
    "convolution": (f"{UNITS}conv",),
    "norms, gate, rotation, quantizers": (f"{UNITS}rms", f"{UNITS}gate",
                                          f"{UNITS}hadamard", f"{UNITS}quant",
                                          f"{UNITS}residual"),
    "memory streams": (f"{CORE}memory",),
    "SDRAM controller": ("inside.system.sdram", "inside.system.share"),
    "serial bridge": ("inside.system.bridge",),
    "sequencer, counters, registers": ("inside", ""),
}  # fmt: skip
COLORS = ("#b5531f", "#20609a", "#e0a458", "#3c7a4d", "#8a5a83", "#a8324a", "#1d8a8a", "#767067")
SIZE = 126, 95  # tiles of an LFE5U-85F
FULL = 16  # LUTs and registers of a tile
ROUNDS = 12  # from LUT to LUT


def clean(name: str) -> str:
    """Hierarchical name of a cell or net, without what yosys puts before it; empty if none."""
    found = re.search(r"\\?inside\\?\..*", name)
    return re.sub(r"\$\d+", "", found[0].replace("\\", "")) if found else ""


def part_of(name: str) -> int:
    """Part that a name belongs to, or -1."""
    plain = clean(name)
    if not plain:
        return -1
    return next(
        n for n, starts in enumerate(PARTS.values()) if any(plain.startswith(s) for s in starts)
    )


def parts(module: Mapping[str, Any]) -> dict[str, int]:
    """Part of each cell of a routed netlist."""
    cells = module["cells"]
    found = {name: part_of(name) for name in cells}
    reads, drives = defaultdict(list), dict[int, str]()
    for name, cell in cells.items():
        for pin, bits in cell["connections"].items():
            for bit in bits:
                if cell["port_directions"][pin] == "output":
                    drives[bit] = name
                else:
                    reads[bit].append(name)
    readers, drivers = defaultdict(list), defaultdict(list)  # by cell
    for bit, driver in drives.items():
        for reader in reads[bit]:
            readers[driver].append(reader)
            drivers[reader].append(driver)
    for near in (readers, drivers):
        for _ in range(ROUNDS):
            for name in [name for name, part in found.items() if part < 0]:
                votes = Counter(found[other] for other in near[name] if found[other] >= 0)
                if votes:
                    found[name] = votes.most_common(1)[0][0]
    return {name: part if part >= 0 else len(PARTS) - 1 for name, part in found.items()}


def main() -> None:
    """Draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("netlist", type=Path, help="routed netlist of bench.ulx3s_place --keep")
    parser.add_argument("-o", "--output", type=Path, default=PICTURE)
    args = parser.parse_args()
    from matplotlib.colors import to_rgb
    from matplotlib.patches import Patch, Rectangle

    from lightmamba.study.plots.style import COLORS as PAGE
    from lightmamba.study.plots.style import new, png

    module = json.loads(args.netlist.read_text())["modules"]["top"]
    of = parts(module)
    there = np.zeros((len(PARTS), SIZE[1] + 1, SIZE[0] + 1), int)
    blocks = []
    for name, cell in module["cells"].items():
        place = re.match(r"X(\d+)/Y(\d+)/", cell["attributes"].get("NEXTPNR_BEL", ""))
        if not place:
            continue
        x, y = int(place[1]), int(place[2])
        if cell["type"] in ("TRELLIS_COMB", "TRELLIS_FF"):
            there[of[name], y, x] += 1
        elif cell["type"] in ("DP16KD", "MULT18X18D"):
            blocks.append((x, y, of[name]))
    total = there.sum(axis=0)
    colors = np.array([to_rgb(color) for color in COLORS])
    paper = np.array(to_rgb(PAGE["paper"]))
    mixed = np.einsum("pyx,pc->yxc", there, colors) / np.maximum(total, 1)[..., None]
    share = np.clip(total / FULL, 0, 1)[..., None] ** 0.6
    figure, axes = new(8.6)
    axes.imshow(paper * (1 - share) + mixed * share, interpolation="nearest")
    for x, y, part in blocks:
        axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, color=COLORS[part], linewidth=0))
    counts = there.sum(axis=(1, 2))
    handles = [
        Patch(color=color, label=f"{name}, {100 * count / counts.sum():.0f} %")
        for name, color, count in zip(PARTS, COLORS, counts, strict=True)
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    axes.set_xticks([])
    axes.set_yticks([])
    for side in axes.spines.values():
        side.set_visible(True)
    png(figure, args.output, dpi=110)
    print(args.output, dict(zip(PARTS, counts.tolist(), strict=True)))


if __name__ == "__main__":
    main()
