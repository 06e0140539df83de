"""Tables of bench.recall: a small model that needs its state, by state format."""

from collections.abc import Callable
from typing import Any

from bench.markdown import Table, load

__all__ = ["RECALL"]

SHOWN = ("w4a4", 4000)  # recipe, tokens of filler


def _part(name: str) -> list[dict[str, Any]]:
    return [row for row in load("recall") if row["part"] == name]


def by_distance() -> Table:
    """Right answers of the float model."""
    found = _part("float")
    rows = [
        [f"{r['distance']:,}" + ", then the state cleared" * r["cleared"], _share(r)] for r in found
    ]
    return Table(["tokens of filler", "float model, right answers in %"], rows, found)


def by_state() -> Table:
    """Right answers of the engine with 4 bits far from the question, by format of the state."""
    found = [r for r in _part("quantized") if (r["recipe"], r["distance"]) == SHOWN]
    own = found[0]["update"]
    rows = [
        [
            r["state"] + f", {r['update']}" * (r["update"] != own),
            _share(r),
            _share(r["against_float"], "+"),
            _share(r["against_wide"], "+"),
            _loss(r["against_wide"]),
            str(r["overflows"]),
        ]
        for r in found
    ]
    header = [
        f"{SHOWN[0].upper()}, {SHOWN[1]:,} tokens of filler: bits and rounding of the state",
        "right, %", "against float, points", "against 16 bits, points",
        "loss against 16 bits, 0.001 nats", "overflows",
    ]  # fmt: skip
    return Table(header, rows, found)


def decays() -> Table:
    """How slowly the heads forget."""
    found = _part("decays")
    rows = [
        [
            f"layer {r['layer']}, head {r['head']}",
            f"{r['pairs']:.1e}",
            f"{r['filler']:.1e}",
            f"{100 * r['left']:.1f}",
        ]
        for r in found
    ]
    header = ["mean dt·|A| of a token, float", "pairs", "filler",
              "left of the state after 1,000 tokens of filler, %"]  # fmt: skip
    return Table(header, rows, found)


def _loss(row: dict[str, Any]) -> str:
    return f"{1000 * row['nll']:+.2f} ± {1000 * row['nll_standard_error']:.2f}"


def _share(row: dict[str, Any], sign: str = "") -> str:
    return f"{100 * row['accuracy']:{sign}.2f} ± {100 * row['accuracy_standard_error']:.2f}"


RECALL: dict[str, Callable[[], Table]] = {
    "recall-float": by_distance,
    "recall-states": by_state,
    "recall-decays": decays,
}
