"""Tables of bench.recall: a small model that needs its state, by state format."""

from collections.abc import Callable
from typing import Any

from bench.markdown import foot, load, to_markdown

__all__ = ["RECALL"]


def _part(name: str) -> list[dict[str, Any]]:
    return [row for row in load("recall") if row["part"] == name]


def by_distance() -> str:
    """Right answers of the float model."""
    found = _part("float")
    rows = [
        [f"{r['distance']:,}" + ", then the state cleared" * r["cleared"], _share(r)] for r in found
    ]
    return to_markdown(["tokens of filler", "float model, right answers in %"], rows) + foot(found)


def by_state() -> str:
    """Right answers of the engine, and what the state has to do with them."""
    found = _part("quantized")
    own = found[0]["update"]
    rows = [
        [
            f"{r['recipe'].upper()}, {r['distance']:,} tokens: {r['state']}"
            + f", {r['update']}" * (r["update"] != own),
            _share(r),
            _share(r["against_float"], "+"),
            _share(r["against_wide"], "+"),
            _loss(r["against_wide"]),
            str(r["overflows"]),
        ]
        for r in found
    ]
    header = [
        "recipe, filler: bits and rounding of the state", "right, %", "against float, points",
        "against 16 bits, points", "loss against 16 bits, 0.001 nats", "overflows",
    ]  # fmt: skip
    return to_markdown(header, rows) + foot(found)


def decays() -> str:
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
    return to_markdown(header, rows) + foot(found)


def _loss(row: dict[str, Any]) -> str:
    return f"{1000 * row['nll']:+.2f} ± {1000 * row['nll_standard_error']:.2f}"


def _share(row: dict[str, Any], sign: str = "") -> str:
    return f"{100 * row['accuracy']:{sign}.2f} ± {100 * row['accuracy_standard_error']:.2f}"


RECALL: dict[str, Callable[[], str]] = {
    "recall-float": by_distance,
    "recall-states": by_state,
    "recall-decays": decays,
}
