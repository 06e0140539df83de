"""The two tables of the README, for :mod:`bench.tables`: each row says how it was obtained."""

import re

from bench.engine_tables import short_rows
from bench.full_tables import PAPER, rows_by_name
from bench.markdown import load, to_markdown
from bench.stored import rows
from lightmamba.arch.target import Target

__all__ = ["SHOP"]

ROWS = ("u280", "vck190", "kv260", "vck190-paper")  # targets of Mamba2-2.7B
HOW = {"u280": "simulated at 200 MHz",
       "vck190-paper": "measured on a board at 400 MHz, without the LM head"}  # fmt: skip
HYBRID = ("granite-4.0-h-1b", 1024, ("u280-hybrid", "kv260"))  # shape, positions, targets
SHORT = {"granite-4.0-h-350m": "Granite-4.0-H-350M"}


def speed() -> str:
    """Tokens per second of accelerator and CPU engine, and what they are compared with."""
    found, body = rows_by_name(), []
    for target in ROWS:
        if r := found.get(name := f"mamba2-2.7b on {target}"):
            paper = f"paper: {PAPER[name]:g}, {HOW[target]}" if name in PAPER else "–"
            cycles = f"{r['cycles_per_token']:,.0f} at {r['clock_mhz']:g} MHz"
            body.append([f"2.7B, accelerator `{target}`", f"**{r['tokens_per_second']:,.4g}**",
                         cycles, "simulated", paper])  # fmt: skip
    shape, context, targets = HYBRID
    for target in targets:
        if r := found.get(f"{shape} on {target}, {context:,} positions"):
            body.append([
                f"Granite-4.0-H-1B behind {context:,} positions, accelerator `{target}`",
                f"**{r['tokens_per_second']:,.4g}**",
                f"{r['cycles_per_token']:,.0f} at {r['clock_mhz']:g} MHz", "simulated", "–",
            ])  # fmt: skip
    if r := next((row for row in rows("estimates") if row["case"] == "ulx3s"), None):
        mhz = Target.load("ulx3s").clock_mhz
        rate = f"**{1e6 * mhz / r['cycles']:,.4g}**"
        body.append(["3.3M (as bundled), accelerator `ulx3s`", rate,
                     f"{r['cycles']:,.0f} at {mhz:g} MHz", "simulated", "–"])  # fmt: skip
    made_by = "Simulated by `python -m bench.full` and `python -m bench.estimates`"
    for row in short_rows():
        shape = SHORT.get(row.shape, row.shape.removeprefix("mamba2-").upper())
        body.append(
            [
                f"{shape}, CPU engine, {row.threads} threads",
                f"**{row.decode}**",
                "–",
                "measured",
                _times(row.decode_ratio),
            ]
        )
    if machines := sorted({row.machine for row in short_rows()}):
        made_by += f"; measured by `python -m bench.engine` on {'; '.join(machines)}"
    header = ["Mamba2, W4A4, batch 1, random weights", "tokens/s", "cycles per token",
              "how obtained", "compared with"]  # fmt: skip
    return to_markdown(header, body) + f"\n{made_by}.\n"


def quantizing() -> str:
    """One line about the time and memory of quantizing: the largest shape that was measured."""
    r = max(load("quantize"), key=lambda row: row["parameters"])
    note = f" ({r['note']})" if "note" in r else ""
    what = f"Quantizing {r['shape']} by recipe `{r['recipe']}`"
    took = f"{r['seconds'] / 60:.0f} minutes and {r['peak_rss_bytes'] / 2**30:.1f} GiB"
    tokens = f"{r['tokens']:,} calibration tokens"
    return f"{what} with {tokens}, measured: {took} on two CPU cores{note}.\n"


SHOP = {"speed-summary": speed, "quantizing-line": quantizing}


def _times(ratio: str) -> str:
    """A ratio with its range, such as "1.92 [1.67, 2.06]", as words."""
    middle, low, high = re.findall(r"[\d.]+", ratio)
    return f"{middle} × llama.cpp Q4_0 (alternating runs, {low} to {high})"
