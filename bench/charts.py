"""Draw stored results as pictures of the docs: ``python -m bench.charts``."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import log10
from statistics import median

from bench.boards import bound
from bench.diagrams import DOCS
from bench.drawing import Drawing
from bench.tables.printer import load
from bench.tables.speed import PAPER, full_rows
from lightmamba.arch.target import Target

__all__ = ["CHARTS"]

HYBRID, CONTEXT = "granite-4.0-h-1b", 1024
CPU, THREADS = "mamba2-1.3b", 2
RECIPES = {"ours": "ours", "rtn32": "RTN, blocks of 32", "smoothquant": "SmoothQuant"}


@dataclass(frozen=True)
class Speed:
    """Tokens per second of one line of the picture of results."""

    name: str
    how: str  # "simulated", "estimated" or "measured"
    here: float
    bound: float
    other: float | None = None


def _mamba2() -> Iterator[Speed]:
    """Mamba2-2.7B on the boards, and on the memory of the paper's board."""
    names = {"u280": "U280", "vck190": "VCK190", "kv260": "KV260",
             "vck190-paper": "VCK190, 12 GB/s"}  # fmt: skip
    for target, name in names.items():
        row = full_rows()[key := f"mamba2-2.7b on {target}"]
        limit = bound(target, "mamba2-2.7b")
        assert limit is not None
        yield Speed(name, "simulated", row["tokens_per_second"], limit.tokens_per_second,
                    PAPER.get(key))  # fmt: skip


def _hybrid() -> Iterator[Speed]:
    """A hybrid on four boards, simulated where that was done."""
    full = full_rows()
    names = {"u280-hybrid": "U280", "u55c": "U55C", "vck190": "VCK190", "kv260": "KV260"}
    for row in load("hybrids"):
        if (row["shape"], row["pass"], row["context"]) != (HYBRID, "decode", CONTEXT):
            continue
        if name := names.get(row["target"]):
            found = full.get(f"{HYBRID} on {row['target']}, {CONTEXT:,} positions")
            limit = row["tokens_per_second"] * row["cycles"] / row["bound_cycles"]
            how, by = ("simulated", found) if found else ("estimated", row)
            yield Speed(name, how, by["tokens_per_second"], limit)


def _small() -> Iterator[Speed]:
    """The bundled model on the open board."""
    cycles = next(row for row in load("estimates") if row["case"] == "ulx3s")["cycles"]
    limit = bound("ulx3s", "demo")
    assert limit is not None
    rate = 1e6 * Target.load("ulx3s").clock_mhz / cycles
    yield Speed("ULX3S", "simulated", rate, limit.tokens_per_second)


def _cpu() -> Iterator[Speed]:
    """The engine next to llama.cpp."""
    wanted = ("llama", CPU, THREADS)
    row = next(r for r in load("engine") if (r["kind"], r["shape"], r["threads"]) == wanted)
    here, other = (median(row["rates"]["decode"][name]) for name in ("ours", "llama.cpp"))
    bound = 1e9 * median(row["probes"]) / row["bytes_read"]
    yield Speed("CPU, 2 cores", "measured", here, bound, other)


GROUPS = {
    "Mamba2-2.7B": _mamba2,
    f"Granite-4.0-H-1B, after {CONTEXT:,} tokens": _hybrid,
    "Mamba2-1.3B": _cpu,
    "bundled model, 3.3 M parameters": _small,
}


def results() -> str:
    """Tokens per second by model and board, the bound of the memory, and others' results."""
    d = Drawing(520, 506, "Tokens per second, W4A4, of one text: " + "; ".join(
        f"{group}: " + ", ".join(f"{s.name} {s.here:.3g} ({s.how})" for s in make())
        for group, make in GROUPS.items()
    ))  # fmt: skip
    d.text(14, 26, "tokens per second, one text, 4 bits", "start bold")
    d.text(448, 26, "here", "end soft")
    d.text(510, 26, "others", "end soft")
    y = 40
    for group, make in GROUPS.items():
        d.text(14, y + 16, group, "start soft")
        y += 28
        for speed in make():
            d.line(190, y + 8, 400, y + 8, "hair", 1)
            d.text(28, y + 13, speed.name, "start")
            at = _place(speed.bound)
            d.line(at, y, at, y + 16, "soft", 2)
            if speed.other:
                d.dot(_place(speed.other), y + 8, "published", hollow=True)
                d.text(510, y + 13, f"{speed.other:.3g}", "end")
            d.dot(_place(speed.here), y + 8, speed.how)
            d.text(448, y + 13, f"{speed.here:.3g}", "end bold")
            y += 26
        y += 6
    for n, (what, color) in enumerate((
        ("simulated", "simulated"), ("estimated", "estimated"), ("measured", "measured"),
    )):  # fmt: skip
        d.dot(26 + 110 * n, y + 12, color)
        d.text(38 + 110 * n, y + 17, what, "start")
    d.line(350, y + 4, 350, y + 20, "soft", 2)
    d.text(358, y + 17, "bound of the memory", "start")
    d.dot(26, y + 36, "published", hollow=True)
    d.text(38, y + 41, "the paper's, or llama.cpp; from left to right: 5 to 1,000, logarithmic",
           "start")  # fmt: skip
    return d.svg()


def _place(value: float) -> float:
    """From 5 to 1,000 tokens per second, as decades."""
    return 190 + 210 * log10(value / 5) / log10(200)


def accuracy() -> str:
    """KL divergence against bytes per token, by recipe and width."""
    d = Drawing(
        520, 330,
        "KL divergence from the float model against megabytes per token, by recipe: at each width "
        "the shipped recipe has the lowest divergence",
    )  # fmt: skip
    left, right, top, low = 76, 500, 50, 268
    colors = dict(zip(RECIPES, ("simulated", "estimated", "measured"), strict=True))
    rows = [r for r in load("accuracy") if r["model"] == "bundled" and r["method"] in RECIPES]

    def down(kl: float) -> float:
        return top + (low - top) * (log10(0.3) - log10(kl)) / (log10(0.3) - log10(0.001))

    for kl in (0.001, 0.01, 0.1):
        d.line(left, down(kl), right, down(kl), "hair", 1)
        d.text(left - 8, down(kl) + 5, f"{kl:g}", "end")
    d.text(14, 24, "KL(float ‖ quantized), nats; bundled model, measured", "start")
    for n, width in enumerate(("w4a4", "w4a8", "w8a8")):
        x = left + (right - left) * (2 * n + 1) / 6
        mine = [r for r in rows if r["width"] == width]
        for place, row in enumerate(sorted(mine, key=lambda r: list(RECIPES).index(r["method"]))):
            at = x + 26 * (place - 1)
            d.dot(at, down(row["kl"]), colors[row["method"]], hollow=row["method"] != "ours")
        d.text(x, low + 22, width.upper(), "bold")
        d.text(x, low + 40, f"{mine[0]['bytes_per_token'] / 1e6:.1f} MB per token", "soft")
    for n, (method, name) in enumerate(RECIPES.items()):
        x = (150, 230, 384)[n]
        d.dot(x, 44, colors[method], hollow=method != "ours")
        d.text(x + 12, 49, name, "start")
    return d.svg()


CHARTS: dict[str, Callable[[], str]] = {
    "results.svg": results,
    "explanation/accuracy-bytes.svg": accuracy,
}


def main() -> None:
    for name, draw in CHARTS.items():
        (DOCS / name).write_text(draw(), encoding="utf-8")
        print(f"docs/{name}")


if __name__ == "__main__":
    main()
