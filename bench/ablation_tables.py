"""Tables of the ablation, for :mod:`bench.tables`: every figure says how it was obtained."""

from collections.abc import Callable
from typing import Any

from bench.ablation import BOARDS, HELD
from bench.markdown import NotRun, Table, load

__all__ = ["ABLATION"]

PAPER_WIDTHS = {"fp16": "2.23", "w8a8": "3.61", "w4a4": "7.21"}  # arXiv 2502.15260, VCK190
PAPER_CHOICES = {"as shipped": "7.21", "naive order": "5.32", "full Hadamard": "7.21",
                 "no rotation": "5.32, naive order"}  # fmt: skip
PAPER_URAM = {HELD[0]: "246", HELD[2]: "61"}
PAPER_SHOTS = {"fp16": "60.2", "w8a8": "60.2", "w4a4": "55.9"}  # zero-shot average, SSM included
SAME = {"no rotation": "as shipped", "scales 2^e, nearest": "as shipped",
        "scales 2^e, that hold all": "as shipped"}  # rows of the same hardware  # fmt: skip
CHOSEN = {  # rows of bench.choices and bench.scales
    "as shipped": ("choices", "the recipe as shipped"),
    "full Hadamard": ("choices", "full Hadamard before out_proj (the paper's)"),
    "no on-line Hadamard": ("choices", "no on-line Hadamard"),
    "no rotation": ("choices", "no rotation of the residual"),
    "scales 2^e, nearest": ("scales", "nearest"),
    "scales 2^e, that hold all": ("scales", "smallest that holds the largest value"),
}
NAMES = {
    "as shipped": "W4A4 as shipped: reordered, fused, H128 in blocks, scales (4 + m)/4·2^e",
    "naive order": "naive order of the rows",
    "full Hadamard": "full Hadamard before out_proj (as in the paper)",
    "no on-line Hadamard": "no on-line Hadamard",
    "no rotation": "no rotation of the residual",
    "scales 2^e, nearest": "activation scales 2^e, nearest",
    "scales 2^e, that hold all": "activation scales 2^e, smallest without clipping",
}


def _paper(found: dict[str, str], row: str) -> str:
    return f"{found[row]} (the paper's)" if row in found else "–"


def _speed(row: dict[str, Any]) -> str:
    figures = [(row.get("simulated"), "simulated"), (row["estimated"], "estimated")]
    return "; ".join(f"{value:.4g} ({how})" for value, how in figures if value)


def _cells(row: dict[str, Any]) -> str:
    cells = row["cells"]
    return f"{cells['lut']:,.0f}, {cells['dsp']:,.0f} (estimated)" if cells else "not run"


def _ratio(row: dict[str, Any] | None) -> str:
    if row is None:
        return "not run"
    ratio = f"{row['ratio']:.4f} ± {row['ratio_standard_error']:.4f}"
    return f"{ratio}, KL {row['kl']:.4f} (measured)"


def _measured(name: str, key: str, wanted: str) -> dict[str, Any] | None:
    """A row of a results file; None where there is none yet."""
    try:
        rows = load(name)
    except NotRun:
        return None
    return next((row for row in rows if row[key] == wanted), None)


def _rows() -> dict[tuple[str, str, str], dict[str, Any]]:
    """Rows of the ablation by target, part and name."""
    return {(row["target"], row["part"], row["row"]): row for row in load("ablation")}


def widths() -> Table:
    """Widths of weights and activations, on both boards."""
    found = _rows()
    ours = {
        row["width"]: row
        for row in load("accuracy")
        if row["method"] == "ours" and row["model"] == "bundled"
    }
    body = []
    for name in ("fp16", "w8a8", "w4a8", "w4a4"):
        ratio = "1 (by definition)" if name == "fp16" else _ratio(ours.get(name))
        rows = [found[board, "widths", name] for board in BOARDS]
        body.append([
            name.upper(), _speed(rows[0]), _paper(PAPER_WIDTHS, name), _speed(rows[1]),
            f"{rows[0]['bytes'] / 1e6:,.0f} (estimated)",
            "–" if name == "fp16" else "; ".join(_cells(row) for row in rows),
            ratio, _paper(PAPER_SHOTS, name),
        ])  # fmt: skip
    header = ["Mamba2-2.7B, tokens per second", *_boards(), "MB per token",
              f"LUT, DSP of `{BOARDS[0]}`; of `{BOARDS[1]}`", "× float, KL in nats, bundled model",
              "zero-shot, 2.7B"]  # fmt: skip
    return Table(header, body, found.values())


def _boards() -> list[str]:
    return [f"`{BOARDS[0]}`", "the paper's VCK190", f"`{BOARDS[1]}`"]


def choices() -> Table:
    """The effect of each single choice, on both boards."""
    found, body = _rows(), []
    for name, words in NAMES.items():
        rows = [found[board, "choices", SAME.get(name, name)] for board in BOARDS]
        where = CHOSEN.get(name)
        ratio = "same integers"
        if where:
            ratio = _ratio(_measured(where[0], "scale" if where[0] == "scales" else "choice",
                                     where[1]))  # fmt: skip
        speeds = ["same hardware" if name in SAME else _speed(row) for row in rows]
        body.append([words, speeds[0], _paper(PAPER_CHOICES, name), speeds[1], ratio])
    header = ["Mamba2-2.7B, tokens per second", *_boards(), "× float, KL in nats, bundled model"]
    return Table(header, body, found.values())


def buffers() -> Table:
    """On-chip memory of the state-space unit."""
    found, body = _rows(), []
    for held in HELD:
        cells = []
        for board in BOARDS:
            row = found[board, "buffers", held]
            took = {name: row["cells"][name] for name in ("uram", "bram18", "lut")}
            cells += [f"{row['bits'] / 1e6:.2f}", ", ".join(f"{n:,.0f}" for n in took.values())]
        body.append([held.replace("whole", "entire"), *cells, _paper(PAPER_URAM, held)])
    header = ["what the SSM stores on chip (estimated)",
              *(text for board in BOARDS
                for text in (f"`{board}`, Mbit", "URAM, BRAM (18 kbit), LUT")),
              "the paper's URAM, complete design"]  # fmt: skip
    return Table(header, body, found.values())


ABLATION: dict[str, Callable[[], Table]] = {
    "ablation-widths": widths,
    "ablation-choices": choices,
    "ablation-buffers": buffers,
}
