"""Table of speeds of the README, for :mod:`bench.tables`: each row says how it was obtained."""

from collections.abc import Callable

from bench.engine_pairs import Spread, ratios, spread
from bench.engine_tables import fastest_rows
from bench.full_tables import PAPER, rows_by_name
from bench.markdown import Table
from bench.stored import Row, rows
from lightmamba.arch.target import Target

__all__ = ["SHOP"]

ROWS = ("u280", "vck190", "kv260", "vck190-paper")  # targets of Mamba2-2.7B
HOW = {"u280": "simulated at 200 MHz",
       "vck190-paper": "measured on a board at 400 MHz, without the LM head"}  # fmt: skip
HYBRID = ("granite-4.0-h-1b", 1024, ("u280-hybrid", "kv260"))  # shape, positions, targets
SHORT = {"granite-4.0-h-350m": "Granite-4.0-H-350M"}


def speed() -> Table:
    """Tokens per second of accelerator and CPU engine, and what they are compared with."""
    found, body = rows_by_name(), list[list[str]]()
    shown: list[Row] = []

    def simulated(what: str, row: Row, cycles: float, mhz: float, other: str = "–") -> None:
        rate = f"**{1e6 * mhz / cycles:,.4g}**"
        body.append([what, rate, f"{cycles:,.0f} at {mhz:g} MHz", "simulated", other])
        shown.append(row)

    for target in ROWS:
        if r := found.get(name := f"mamba2-2.7b on {target}"):
            paper = f"paper: {PAPER[name]:g}, {HOW[target]}" if name in PAPER else "–"
            what = f"2.7B, accelerator `{target}`"
            simulated(what, r, r["cycles_per_token"], r["clock_mhz"], paper)
    shape, context, targets = HYBRID
    for target in targets:
        if r := found.get(f"{shape} on {target}, {context:,} positions"):
            what = f"Granite-4.0-H-1B after {context:,} tokens, accelerator `{target}`"
            simulated(what, r, r["cycles_per_token"], r["clock_mhz"])
    if r := next((row for row in rows("estimates") if row["case"] == "ulx3s"), None):
        what = "3.3M (as bundled), accelerator `ulx3s`"
        simulated(what, r, r["cycles"], Target.load("ulx3s").clock_mhz)
    for r in fastest_rows():
        shape = SHORT.get(r["shape"], r["shape"].removeprefix("mamba2-").upper())
        decode = r["rates"]["decode"]
        rate = spread(decode["ours"]).median
        body.append([
            f"{shape}, CPU engine, {r['threads']} threads", f"**{rate:,.4g}**", "–", "measured",
            _times(ratios(decode["ours"], decode["llama.cpp"])),
        ])  # fmt: skip
        shown.append(r)
    header = ["Mamba2, W4A4, batch 1, random weights", "tokens/s", "cycles per token",
              "how obtained", "compared with"]  # fmt: skip
    return Table(header, body, shown)


def _times(found: Spread) -> str:
    return (
        f"{found.median:.2f} × llama.cpp Q4_0 "
        f"(alternating runs, {found.low:.2f} to {found.high:.2f})"
    )


SHOP: dict[str, Callable[[], Table]] = {"speed-summary": speed}
