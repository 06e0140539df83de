"""Write the tables of the docs from the results files: ``python -m bench.tables``.

A table is between ``<!-- table: NAME -->`` and ``<!-- end -->`` in README.md and docs/.
"""

import functools
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import board_tables as boards
from bench.ablation_tables import ABLATION
from bench.common import ROOT
from bench.digests_tables import DIGESTS
from bench.engine_tables import ENGINE
from bench.full_tables import FULL
from bench.hybrids_tables import HYBRID
from bench.markdown import NotRun, Table, load
from bench.mutants import faults, listed, planted, read, survivals
from bench.passes_tables import PASSES
from bench.quantize_tables import QUANTIZE
from bench.quotes import requoted
from bench.recall_tables import RECALL
from bench.serve_tables import SERVE
from bench.shop_tables import SHOP
from bench.speculation_tables import SPECULATION
from bench.stored import Row
from bench.synth_tables import SYNTH
from bench.ulx3s_tables import ULX3S
from lightmamba.common.errors import InputError
from lightmamba.hardware.machine.describe import tables

MARK = re.compile(r"(<!-- table: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
CONTRACT = tables()
SIX = (  # cases of bench.estimates
    "mamba2-2.7b on u280 (bench.full)", "mamba2-2.7b on vck190 (bench.full)",
    "mamba2-2.7b on kv260 (bench.full)",
    "granite-4.0-h-1b on u280-hybrid, 1,024 positions (bench.full)", "ulx3s", "W8A8, slow lanes",
)  # fmt: skip
METHODS = {
    "rtn": "RTN, blocks of 128",
    "rtn32": "RTN, blocks of 32",
    "smoothquant": "SmoothQuant",
    "osplus": "Outlier Suppression+",
    "ours": "**ours**",
}


def accuracy(model: str) -> Table:
    """Methods by widths on one model."""
    mine = [row for row in load("accuracy") if row["model"] == model]
    found = {(row["method"], row["width"]): row for row in mine}
    widths = ("w8a8", "w4a8", "w4a4")
    header = ["× float perplexity (KL in nats, top-1 agreement)", *(w.upper() for w in widths)]
    rows = []
    for method, name in METHODS.items():
        cells = []
        for width in widths:
            r = found.get((method, width))
            cells.append(
                f"{r['ratio']:.4f} ± {r['ratio_standard_error']:.4f} "
                f"({r['kl']:.4f}, {r['top1_agreement']:.3f})"
                if r
                else "not run"
            )
        rows.append([name, *cells])
    return Table(header, rows, mine)


def summary() -> Table:
    """The recipes on the bundled model, for the README."""
    bundled = {r["width"]: r for r in load("accuracy")
               if r["method"] == "ours" and r["model"] == "bundled"}  # fmt: skip
    ours = [bundled[width] for width in ("w4a4", "w4a8", "w8a8") if width in bundled]
    first = ours[0]
    rows = [["float (bf16 weights)", f"{first['reference_perplexity']:.2f}", "1", "0", "1", ""]]
    for r in ours:
        rows.append(
            [
                f"`{r['width']}`, exact integers",
                f"{r['perplexity']:.2f}",
                f"{r['ratio']:.4f} ± {r['ratio_standard_error']:.4f}",
                f"{r['kl']:.4f}",
                f"{r['top1_agreement']:.3f}",
                f"{r['bytes_per_token'] / 1e6:.2f} MB",
            ]
        )
    header = ["bundled model, 3.3 M parameters (measured)", "perplexity", "× float", "KL, nats",
              "top-1 agreement", "bytes per token"]  # fmt: skip
    return Table(header, rows, ours)


def drift(recipe: str) -> Table:
    """The state formats by position."""
    found = [row for row in load("drift") if row["recipe"] == recipe]
    rows = [
        [
            r["state"],
            f"{r['by_position'][0]['ratio']:.4f}",
            f"{r['by_position'][-1]['ratio']:.4f}",
            f"{100 * r['change']:+.3f} % ± {100 * r['standard_error']:.3f}",
            str(r["overflows"]),
        ]
        for r in found
    ]
    header = ["state", "× float, first 1,000 tokens", "last 1,000 tokens", "change", "overflows"]
    return Table(header, rows, found)


def slow() -> Table:
    """SNR of y by decay and state format."""
    found = {(r["decay"], r["state"]): r["snr_db"] for r in load("slow_decay")}
    decays = list(dict.fromkeys(decay for decay, _ in found))
    states = list(dict.fromkeys(state for _, state in found))
    rows = [[s, *(f"{found[d, s]:.1f}" for d in decays)] for s in states]
    return Table(["state format; SNR of y in dB at dt·A =", *(f"{d:g}" for d in decays)], rows)


def choices() -> Table:
    """The effect of single choices."""
    found = load("choices")
    rows = [
        [
            r["choice"],
            f"{r['ratio']:.4f} ± {r['ratio_standard_error']:.4f}",
            f"{r['kl']:.4f}",
            f"{r['top1_agreement']:.3f}",
            f"{r['bytes_per_token'] / 1e6:.3f}",
        ]
        for r in found
    ]
    header = ["W4A4, bundled model (measured)", "× float", "KL, nats", "top-1", "MB per token"]
    return Table(header, rows, found)


def evaluation() -> Table:
    """Exact-integer evaluation next to the float model."""
    found = load("evaluation")
    names = {"bundled": "bundled model", "mamba2-130m": "130m shape, random weights"}
    rows = [
        [
            names[r["model"]], f"{r['exact']:,.0f}", f"{r['floats']:,.0f}",
            f"{r['ratio']:.2f} ({r['lowest']:.2f} to {r['highest']:.2f})",
            f"{100 * r['logits']:.1f}",
        ]
        for r in found
    ]  # fmt: skip
    header = [
        "W4A4, tokens/s (measured)",
        "exact integers",
        "float (torch)",
        "ratio",
        "for logits, %",
    ]
    return Table(header, rows, found)


def mutants() -> Table:
    """Faults caught: blocks that missed some or were not run, the others together, and all."""
    found, reasons, rows = load("mutants"), survivals(), []
    whole, others = 0, list[Row]()
    for block in listed():
        mine = [r for r in found if r["block"] == block]
        if not mine:
            rows.append([block, str(len(read(block)["mutant"])), "not run yet", "", ""])
            continue
        left = [r for r in mine if not r["caught"]]
        old = "" if faults(block) <= planted(block, mine) else " (of an earlier source)"
        if not left and not old:
            whole, others = whole + 1, others + mine
            continue
        known = sum((block, r["why"]) in reasons for r in left)
        why = f"{known} of {len(left)} explained in `{block}.toml`" if left else ""
        rows.append([block + old, *_caught(mine), why])
    rows.append([f"{whole} other blocks", *_caught(others), ""])
    rows.append(["total", *_caught(found), ""])
    header = ["block", "planted", "caught", "by `make test`", "survived"]
    return Table(header, rows, found)


def _caught(rows: list[dict[str, Any]]) -> list[str]:
    """Faults planted, caught by the tests of their blocks, and by those that are not slow."""
    kept = sum(row.get("kept", row["caught"]) for row in rows)
    return [str(len(rows)), str(sum(row["caught"] for row in rows)), str(kept)]


def shapes() -> Table:
    """Shapes and configurations that were compared with the engine."""
    found = load("shapes")
    rows = [
        [r["case"], str(r["tokens"]), f"{r['cycles']:,}", r["difference"] or "none"] for r in found
    ]
    header = [
        "shape and configuration (simulated, random stalls)",
        "tokens",
        "cycles",
        "difference",
    ]
    return Table(header, rows, found)


def estimates() -> Table:
    """Estimated against simulated cycles: six cases, the median and the worst of all."""
    found = sorted(load("estimates"), key=lambda r: abs(r["error"]))
    worst, median = found[-1], found[len(found) // 2]
    shown = [r for name in SIX for r in found if r["case"] == name] + [median, worst]
    header = ["configuration and memory", "cycles (simulated)", "estimated", "error", "bottleneck"]
    names = [r["case"].removesuffix(" (bench.full)") for r in shown]
    names[-2] += f" (median of {len(found)})"
    names[-1] += f" (worst of {len(found)})"
    body = [
        [name, f"{r['cycles']:,.0f}", f"{r['estimated']:,}", f"{r['error']:+.2%}", r["bound"]]
        for name, r in zip(names, shown, strict=True)
    ]
    return Table(header, body, found)


def computed(make: Callable[[], list[list[str]]]) -> Callable[[], Table]:
    """A table that is computed when it is written."""

    def made() -> Table:
        header, *body = make()
        return Table(header, body)

    return made


TABLES: dict[str, Callable[[], Table]] = {
    "accuracy-bundled": lambda: accuracy("bundled"),
    "accuracy-outliers": lambda: accuracy("outliers"),
    "accuracy-hybrid": lambda: accuracy("hybrid"),
    "summary": summary,
    "drift": lambda: drift("w4a4"),
    "drift-w8a8": lambda: drift("w8a8"),
    "slow-decay": slow,
    "choices": choices,
    "mutants": mutants,
    "shapes": shapes,
    "estimates": estimates,
    "evaluation": evaluation,
    "targets": computed(boards.target_rows),
    "target-sources": computed(boards.source_rows),
    "bounds": computed(boards.bound_rows),
    "energy-constants": computed(boards.constant_rows),
    "energy-paper": computed(boards.paper_rows),
    **SYNTH,
    **FULL,
    **HYBRID,
    **ABLATION,
    **DIGESTS,
    **ENGINE,
    **QUANTIZE,
    **RECALL,
    **SERVE,
    **PASSES,
    **SPECULATION,
    **SHOP,
    **ULX3S,
}


def table(name: str) -> Table:
    """A table by name.

    Raises
    ------
    InputError
        If there is none.
    NotRun
        If a benchmark has no results yet.
    """
    if name not in TABLES:
        raise InputError(f"there is no table {name}; there are {', '.join(sorted(TABLES))}")
    return TABLES[name]()


def made(name: str) -> str:
    """Text of a table by name; a benchmark that has no results yet is marked as not run."""
    if name in CONTRACT:
        return CONTRACT[name]
    try:
        return str(table(name))
    except NotRun:
        return "Not run yet.\n"


def pages() -> dict[Path, list[str]]:
    """Tables of every page that has some, README first."""
    files = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    found = {path: MARK.findall(path.read_text(encoding="utf-8")) for path in files}
    return {path: [name for _, name, _ in marks] for path, marks in found.items() if marks}


def main() -> None:
    known = functools.cache(table)
    for path in pages():
        text = path.read_text(encoding="utf-8")
        new = MARK.sub(lambda m: m[1] + made(m[2]) + m[3], requoted(text, known))
        if new != text:
            path.write_text(new, encoding="utf-8")
            print(path.relative_to(ROOT))


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
