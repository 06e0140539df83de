"""Table of hybrids on the targets, for :mod:`bench.tables`."""

from collections.abc import Callable
from typing import Any

from bench.hybrids import BATCH, DECODE, PROMPT
from bench.markdown import foot, load, to_markdown
from bench.stored import rows
from lightmamba.config import HYBRIDS

__all__ = ["HYBRID"]

# Goals of tokens per second, by shape and target: behind 1k and 8k positions, or one number.
GOALS: dict[str, dict[str, tuple[float, ...]]] = {
    "granite-4.0-h-350m": {"u280-hybrid": (1100, 1000), "kv260": (92, 85), "vck190": (360,),
                           "u280-t4": (4500,)},
    "granite-4.0-h-1b": {"u280-hybrid": (550, 505), "kv260": (22, 21), "vck190": (85,),
                         "u280-t4": (2050,), "u280-batch4": (1600,)},
    "granite-4.0-h-micro": {"u280-hybrid": (250, 245), "kv260": (10.3, 10.1), "vck190": (39,),
                            "u280-t4": (980,), "u280-batch4": (740,)},
    "nemotron-3-nano-4b": {"u280-hybrid": (220, 205), "kv260": (9.0, 8.7), "vck190": (34,),
                           "u280-t4": (820,), "u280-batch4": (640,)},
}  # fmt: skip


def hybrids() -> str:
    """Estimated and simulated speed, the goal, and what binds."""
    simulated = {
        (r["shape"], r["target"], r.get("mode", "decode"), r.get("context", 0)): r
        for kind in ("full", "passes") for r in rows(kind)
    }  # fmt: skip
    body, missed = [], []
    for row in load("hybrids"):
        key = row["shape"], row["target"], row["pass"], row["context"]
        goals = GOALS[row["shape"]].get(row["target"], ())
        place = DECODE.index(row["context"]) if row["pass"] == "decode" else 0
        run, goal = simulated.get(key), goals[place] if place < len(goals) else 0
        if goal and (reached := (run or row)["tokens_per_second"]) < goal:
            missed.append(f"{row['shape']} on `{row['target']}`, {row['pass']} behind "
                          f"{row['context']:,} ({reached:,.4g} of {goal:,g})")  # fmt: skip
        body.append([
            row["shape"], f"`{row['target']}`", f"{row['pass']}, {row['context']:,}",
            f"{goal:,g}" if goal else "",
            _speed(row), f"{run['tokens_per_second']:,.4g}" if run else "",
            _binds(row),
        ])  # fmt: skip
    body.sort(key=lambda line: list(HYBRIDS).index(line[0]))
    header = ["W4A4, random weights", "target", "pass, positions before it", "goal, tokens/s",
              "estimated, tokens/s", "simulated, tokens/s", "lanes wait for"]  # fmt: skip
    note = (
        f"\n\nThe last column is what the lanes wait for most, and in which share of the cycles. A "
        f"prompt has {PROMPT:,} positions before it, each sequence of a batch {BATCH:,}. Rows "
        f"without a simulated figure were only estimated.\n\nGoals that were missed: "
        f"{'; '.join(missed)}."
    )
    return to_markdown(header, body) + foot(load("hybrids")) + note


def _speed(row: dict[str, Any]) -> str:
    return f"{row['tokens_per_second']:,.4g}" if "cycles" in row else "does not fit"


def _binds(row: dict[str, Any]) -> str:
    """Share of the cycles in which the lanes wait for activations, or for memory."""
    if "cycles" not in row:
        return ""
    shares = {what: row["stalls"][f"wait_{what}"] / row["cycles"]
              for what in ("activation", "memory", "epilogue")}  # fmt: skip
    most = max(shares, key=lambda what: shares[what])
    names = {"activation": "activations (attention)", "memory": "memory", "epilogue": "epilogue"}
    return f"{names[most]}, {100 * shares[most]:.0f} %"


HYBRID: dict[str, Callable[[], str]] = {"hybrids": hybrids}
