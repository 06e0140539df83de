"""Tables of the system on a ULX3S, for :mod:`bench.tables`."""

from collections.abc import Callable

from bench.markdown import NotRun, foot, load, to_markdown
from lightmamba.arch.target import Target
from lightmamba.config import SHAPES
from lightmamba.estimate import estimate
from lightmamba.formats import Formats

__all__ = ["ULX3S"]

NAME = "ulx3s"  # of the target, and of the case of :mod:`bench.estimates`
CELLS = {  # of nextpnr's report
    "TRELLIS_COMB": "LUT4 and carry",
    "TRELLIS_FF": "flip-flops",
    "MULT18X18D": "multipliers",
    "DP16KD": "block RAM",
}


def speed() -> str:
    """What the bundled model does on the machine of the board."""
    row = next((row for row in load("estimates") if row["case"] == NAME), None)
    if row is None:
        raise NotRun(NAME)
    target = Target.load(NAME)
    hertz, energy = target.clock_mhz * 1e6, estimate(SHAPES["demo"], Formats(), target).energy
    assert energy is not None
    rate = hertz / row["cycles"]
    low, likely, high = (joules * rate for joules in energy.joules)
    body = [
        ["tokens per second", f"{rate:.1f}", "simulated"],
        ["tokens per second of a prompt", f"{hertz / row['prompt_cycles']:.1f}", "simulated"],
        ["watts: low, likely, high", f"{low:.1f}, {likely:.1f}, {high:.1f}", "estimated"],
    ]
    header = [f"bundled model on `{NAME}` at {target.clock_mhz:g} MHz", "", "how obtained"]
    return to_markdown(header, body) + foot([row])


def placed() -> str:
    """Place and route of the whole system, by seed."""
    rows = sorted(load("ulx3s_place"), key=lambda row: int(row["seed"]))
    body = [
        [
            str(row["seed"]),
            ", ".join(f"{of} {mhz:.1f} ({goal:g})" for of, (mhz, goal) in row["clocks"].items()),
            "yes" if row["met"] else "no",
            *(_used(*row["cells"][cell]) if cell in row["cells"] else "" for cell in CELLS),
            f"{row['bytes']:,}",
            f"{sum(row['seconds'].values()) / 60:.0f}",
        ]
        for row in rows
    ]  # fmt: skip
    header = ["seed (placed and routed)", "MHz by clock (needed)", "met", *CELLS.values(),
              "bytes of the bitstream", "minutes"]  # fmt: skip
    return to_markdown(header, body) + foot(rows)


def _used(here: int, there: int) -> str:
    return f"{here:,} ({100 * here / there:.0f} %)"


ULX3S: dict[str, Callable[[], str]] = {"ulx3s-speed": speed, "ulx3s-placed": placed}
