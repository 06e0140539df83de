"""Draw stored results as pictures of the docs: ``python -m bench.charts``."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.boards import bound
from bench.pictures import text_of, write
from bench.tables.printer import load
from bench.tables.speed import PAPER, full_rows, on_board
from lightmamba.model.data import BUNDLED
from lightmamba.study.plots.style import COLORS, MARKS, log_axis, styled

__all__ = ["CHARTS"]

LARGE = "mamba2-2.7b"
BOARDS = {"u280": "U280", "vck190": "VCK190", "kv260": "KV260", "vck190-paper": "VCK190, 12 GB/s"}
HYBRID, CONTEXT = "granite-4.0-h-1b", 1024
HYBRID_BOARDS = {"u280": "U280", "u55c": "U55C", "vck190": "VCK190", "kv260": "KV260"}
CPU, THREADS = "mamba2-1.3b", 2
RECIPES = {"ours": "ours", "rtn32": "RTN, blocks of 32", "smoothquant": "SmoothQuant"}
WIDTHS = ("w4a4", "w4a8", "w8a8")
MARKED = ("simulated", "estimated", "measured")  # looks of the recipes
SIZE = 7.2  # inches of a picture, whose text can then be read on a telephone
PLAIN = {"linestyle": "none", "color": COLORS["soft"]}
LOOKS: dict[str, Mapping[str, Any]] = {
    **{how: MARKS[how] for how in ("simulated", "estimated", "published")},
    "measured": {**MARKS["simulated"], "color": COLORS["synthesized"]},
    "bound": {**PLAIN, "marker": "|", "markersize": 18, "markeredgewidth": 2},
}


@dataclass(frozen=True)
class Speed:
    """Tokens per second of one line of the picture of results."""

    name: str
    how: str  # "simulated", "estimated" or "measured"
    here: float
    bound: float
    other: float | None = None


def _bound(target: str, shape: str) -> float:
    found = bound(target, shape)
    assert found is not None
    return found.tokens_per_second


def speeds() -> dict[str, list[Speed]]:
    """Lines of the picture of results, by model; simulated where that was done."""
    full = full_rows()
    large = list[Speed]()
    for target, name in BOARDS.items():
        rate, other = full[key := f"{LARGE} on {target}"]["tokens_per_second"], PAPER.get(key)
        large.append(Speed(name, "simulated", rate, _bound(target, LARGE), other))
    hybrid = list[Speed]()
    for target, board in HYBRID_BOARDS.items():
        row = load("hybrids", shape=HYBRID, context=CONTEXT, target=target)[0]
        run = full.get(f"{HYBRID} on {target}, {CONTEXT:,} positions")
        limit = row["tokens_per_second"] * row["cycles"] / row["bound_cycles"]
        how, rate = "simulated" if run else "estimated", (run or row)["tokens_per_second"]
        hybrid.append(Speed(board, how, rate, limit))
    row = load("engine", kind="llama", shape=CPU, threads=THREADS)[0]
    here, other = (median(row["rates"]["decode"][name]) for name in ("ours", "llama.cpp"))
    limit = 1e9 * median(row["probes"]) / row["bytes_read"]
    rate = on_board(BUNDLED)["tokens_per_second"]
    return {
        "Mamba2-2.7B": large,
        f"Granite-4.0-H-1B, after {CONTEXT:,} tokens": hybrid,
        "Mamba2-1.3B": [Speed("CPU, 2 cores", "measured", here, limit, other)],
        "bundled model, 3.3 M parameters": [
            Speed("ULX3S", "simulated", rate, _bound("ulx3s", "demo"))
        ],
    }


@styled
def results(shown: Mapping[str, Sequence[Speed]]) -> Figure:
    """Tokens per second by model and board, the bound of the memory, and others' results."""
    figure = Figure(figsize=(SIZE, 6.4), layout="constrained")
    axes, lines = figure.subplots(), list[tuple[str, str]]()
    for group, found in shown.items():
        lines.append((group, ""))
        for speed in found:
            looks = [(speed.bound, "bound"), (speed.here, speed.how)]
            if speed.other:
                looks.insert(1, (speed.other, "published"))
            for rate, look in looks:
                axes.plot(rate, len(lines), **LOOKS[look])
            other = f" ({speed.other:.3g})" if speed.other else ""
            lines.append((speed.name, f"{speed.here:.3g}{other}"))
    right = axes.twinx()
    for side, part in (axes, 0), (right, 1):
        side.set_ylim(len(lines) - 0.5, -0.5)
        side.set_yticks(range(len(lines)), [line[part] for line in lines])
        side.spines["left"].set_visible(False)
    log_axis(axes, "x", "{x:g}")
    for label, (_, said) in zip(axes.get_yticklabels(), lines, strict=True):
        label.set_fontweight("normal" if said else "bold")
    title = "tokens per second of one text, 4 bits; in numbers: here (others)"
    figure.suptitle(title, x=0.01, ha="left", fontsize=12)
    names = {name: Line2D([], [], **look) for name, look in LOOKS.items()}
    words = {"bound": "bound of the memory", "published": "the paper's, or llama.cpp"}
    labels = [words.get(name, name) for name in names]
    figure.legend(names.values(), labels, loc="outside lower center", ncols=3)
    return figure


def divergences() -> dict[str, dict[str, tuple[float, float]]]:
    """Bytes per token and KL divergence by recipe and width, of the bundled model."""
    rows = {(r["method"], r["width"]): r for r in load("accuracy") if r["model"] == "bundled"}
    return {
        name: {w: (rows[method, w]["bytes_per_token"], rows[method, w]["kl"]) for w in WIDTHS}
        for method, name in RECIPES.items()
    }


@styled
def accuracy(shown: Mapping[str, Mapping[str, tuple[float, float]]]) -> Figure:
    """KL divergence against bytes per token, by recipe and width."""
    figure = Figure(figsize=(SIZE, 4.6), layout="constrained")
    axes = figure.subplots()
    for n, ((name, found), look) in enumerate(zip(shown.items(), MARKED, strict=True)):
        places = [place + 0.12 * (n - 1) for place in range(len(WIDTHS))]
        axes.plot(places, [kl for _, kl in found.values()], **LOOKS[look], label=name)
    names = [f"{w.upper()}\n{size / 1e6:.1f} MB per token" for w, (size, _) in found.items()]
    axes.set_xticks(range(len(WIDTHS)), names)
    axes.margins(x=0.2)
    log_axis(axes, "y", "{x:g}")
    axes.set_title("KL(float ‖ quantized), nats; bundled model, measured", loc="left")
    figure.legend(loc="outside upper center", ncols=3)
    return figure


CHARTS: dict[str, tuple[Callable[[], Any], Callable[[Any], Figure]]] = {
    "results.svg": (speeds, results),
    "explanation/accuracy-bytes.svg": (divergences, accuracy),
}


def main() -> None:
    for name, (shown, draw) in CHARTS.items():
        write(name, found := shown(), text_of(draw(found)))


if __name__ == "__main__":
    main()
