"""Tables of the system on a ULX3S, for :mod:`bench.tables`."""

from collections.abc import Callable, Mapping
from typing import Any

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


def system() -> str:
    """The whole system simulated, from its serial line to its SDRAM."""
    found = [row for row in load("ulx3s_run") if row["target"] == NAME]
    rows = {row["what"]: row for row in found}
    body = []
    for what in ("greedy", "sampled"):
        if row := rows.get(what):
            equal = "equal" if row["matches_engine"] else "different"
            body.append([f"{what} tokens per second", f"{row['tokens_per_second']:.1f}",
                         f"{row['tokens']} tokens", f"{equal}{_timing(row)}"])  # fmt: skip
    if row := rows.get("self-test"):
        equal = "passed" if row["passed"] else "failed"
        body.append(["self-test", equal, f"{len(row['steps'])} steps", f"{equal}{_timing(row)}"])
    if row := rows.get("load"):
        seconds = f"{row['seconds_at_3_mbaud']:.1f}, {row['seconds_at_1_mbaud']:.1f}"
        equal = "different" if row["wrong"] else "equal"
        body.append(["loading at 3 and 1 Mbaud, seconds", seconds, f"{row['bytes']:,} bytes",
                     f"{equal}{_timing(row)}"])  # fmt: skip
    header = ["whole system, bundled model (simulated)", "", "of", "compared with the engine"]
    return to_markdown(header, body) + foot(found)


def _timing(row: Mapping[str, Any]) -> str:
    """What the model of the SDRAM says."""
    return "; breaks the SDRAM's timing" if row["violations"] else ""


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


ULX3S: dict[str, Callable[[], str]] = {
    "ulx3s-speed": speed,
    "ulx3s-system": system,
    "ulx3s-placed": placed,
}
