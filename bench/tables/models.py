"""Tables of quantized models: accuracy, what quantizing takes, states over long texts."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from bench.stored import Row
from bench.tables.printer import Listed, Table, Tables, load, percent
from lightmamba.study.report.read import METHODS as NAMES

__all__ = ["MODELS", "RATIO"]

WIDTHS = ("w8a8", "w4a8", "w4a4")
METHODS = {name: words for name, words in NAMES.items() if name != "ours"} | {"ours": "**ours**"}
EVALUATED = {"bundled": "bundled model", "mamba2-130m": "130m shape, random weights"}
RECALLED = {"mamba2": "Mamba2", "hybrid": "hybrid"}  # models of bench.recall
RATIO = "{ratio:.4f} ± {ratio_standard_error:.4f}"


def accuracy(model: str) -> Table:
    """Methods by widths on one model."""
    mine = load("accuracy", model=model)
    text = RATIO + " ({kl:.4f}, {top1_agreement:.3f})"
    found = {(row["method"], row["width"]): text.format_map(row) for row in mine}
    header = ["× float perplexity (KL in nats, top-1 agreement)", *map(str.upper, WIDTHS)]
    body = [
        [name, *(found.get((method, width), "not run") for width in WIDTHS)]
        for method, name in METHODS.items()
    ]
    return Table(header, body, mine)


OURS = Listed(
    "accuracy",
    [
        ("bundled model, 3.3 M parameters (measured)", "`{width}`, exact integers"),
        ("perplexity", "{perplexity:.2f}"),
        ("× float", RATIO),
        ("KL, nats", "{kl:.4f}"),
        ("top-1 agreement", "{top1_agreement:.3f}"),
        ("bytes per token", lambda r: f"{r['bytes_per_token'] / 1e6:.2f} MB"),
    ],
    where=lambda r: (r["method"], r["model"]) == ("ours", "bundled"),
    order=lambda r: r["width"],
)


def summary() -> Table:
    """The recipes on the bundled model below the float model, for the README."""
    found = OURS()
    perplexity = found.rows[0]["reference_perplexity"]
    floats = ["float (bf16 weights)", f"{perplexity:.2f}", "1", "0", "1", ""]
    return replace(found, body=[floats, *found.body])


def slow_decay() -> Table:
    """SNR of y by decay and state format."""
    found = {(r["decay"], r["state"]): r["snr_db"] for r in load("slow_decay")}
    decays = list(dict.fromkeys(decay for decay, _ in found))
    states = list(dict.fromkeys(state for _, state in found))
    body = [[s, *(f"{found[d, s]:.1f}" for d in decays)] for s in states]
    return Table(["state format; SNR of y in dB at dt·A =", *(f"{d:g}" for d in decays)], body)


SHARE = "share_of_choices", "share_standard_error"


def _of_routing(name: str) -> Callable[[Row], str]:
    return lambda row: f"{100 * row['routing'][name]:.1f} %"


ROUTING = Listed(
    "accuracy",
    [
        ("`bundled-experts` (measured)", "`{width}`"),
        ("× float", RATIO),
        ("KL, nats", "{kl:.4f}"),
        ("tokens with the same experts", _of_routing("equal")),
        ("experts in common", _of_routing("overlap")),
        ("weight of these", lambda r: f"{r['routing']['kept_weight']:.4f}"),
        ("KL with the float model's experts", lambda r: f"{r['routing']['kl_forced']:.4f}"),
        (
            "share of other choices",
            lambda r: f"{_of_routing(SHARE[0])(r)} ± {_of_routing(SHARE[1])(r)}",
        ),
    ],
    where=lambda r: (r["method"], r["model"]) == ("ours", "experts"),
    order=lambda r: r["width"],
)


def drift(recipe: str) -> Listed:
    """The state formats by position."""
    return Listed(
        "drift",
        [
            ("state", "{state}"),
            ("× float, first 1,000 tokens", "{by_position[0][ratio]:.4f}"),
            ("last 1,000 tokens", lambda r: f"{r['by_position'][-1]['ratio']:.4f}"),
            (
                "change",
                lambda r: f"{100 * r['change']:+.3f} % ± {100 * r['standard_error']:.3f}",
            ),
            ("overflows", "{overflows}"),
        ],
        where=lambda r: r["recipe"] == recipe,
    )


def _note(row: Row) -> str:
    note = row.get("note", "resumed" if row["resumed"] else "")
    return f", {note}" if note else ""


def _right(row: Row, sign: str = "") -> str:
    return f"{100 * row['accuracy']:{sign}.2f} ± {100 * row['accuracy_standard_error']:.2f}"


def recall_states() -> Table:
    """Formats of the state on both recall models, by width of weights and activations."""
    mine = [row for row in load("recall") if row["part"] == "quantized"]
    found = {(r["model"], r["state"], r["recipe"]): r["against_float"] for r in mine}
    body = [
        [RECALLED[model], state, *(_right(found[model, state, width], "+") for width in WIDTHS)]
        for model, state in dict.fromkeys((model, state) for model, state, _ in found)
    ]
    header = [
        "model",
        "bits and rounding of the state; points against float",
        *map(str.upper, WIDTHS),
    ]
    return Table(header, body, mine)


MODELS: Tables = {
    "accuracy-bundled": partial(accuracy, "bundled"),
    "accuracy-outliers": partial(accuracy, "outliers"),
    "accuracy-hybrid": partial(accuracy, "hybrid"),
    "routing": ROUTING,
    "summary": summary,
    "drift": drift("w4a4"),
    "drift-w8a8": drift("w8a8"),
    "slow-decay": slow_decay,
    "choices": Listed(
        "choices",
        [
            ("W4A4, bundled model (measured)", "{choice}"),
            ("× float", RATIO),
            ("KL, nats", "{kl:.4f}"),
            ("top-1", "{top1_agreement:.3f}"),
            ("MB per token", lambda r: f"{r['bytes_per_token'] / 1e6:.3f}"),
        ],
    ),
    "evaluation": Listed(
        "evaluation",
        [
            ("W4A4, tokens/s (measured)", lambda r: EVALUATED[r["model"]]),
            ("exact integers", "{exact:,.0f}"),
            ("float (torch)", "{floats:,.0f}"),
            ("ratio", "{ratio:.2f} ({lowest:.2f} to {highest:.2f})"),
            ("for logits, %", percent("logits")),
        ],
    ),
    "quantize-growth": Listed(
        "quantize",
        [
            ("shape, recipe", lambda r: f"{r['shape']}, `{r['recipe']}`{_note(r)}"),
            ("calibration tokens", "{tokens:,}"),
            ("minutes", lambda r: f"{r['seconds'] / 60:.1f}"),
            ("planned, minutes", lambda r: f"{r['planned_seconds'] / 60:.1f}"),
            ("peak, GiB", lambda r: f"{r['peak_rss_bytes'] / 2**30:.2f}"),
            ("planned, GiB", lambda r: f"{r['planned_memory_bytes'] / 2**30:.2f}"),
        ],
        order=lambda r: (r["parameters"], r["tokens"]),
    ),
    "calibration": Listed(
        "calibration",
        [
            ("recipe", "`{width}`"),
            ("calibration tokens", "{calibration_tokens:,}"),
            ("× float perplexity", RATIO),
            ("KL, nats", "{kl:.5f} ± {kl_standard_error:.5f}"),
            ("top-1 agreement", "{top1_agreement:.4f}"),
        ],
        order=lambda r: (r["width"], r["calibration_tokens"]),
    ),
    "recall-float": Listed(
        "recall",
        [
            ("model", lambda r: RECALLED[r["model"]]),
            (
                "tokens of filler",
                lambda r: f"{r['distance']:,}" + ", then the state cleared" * r["cleared"],
            ),
            ("float, right answers in %", _right),
        ],
        where=lambda r: r["part"] == "float",
    ),
    "recall-states": recall_states,
    "recall-decays": Listed(
        "recall",
        [
            ("mean dt·|A| of a token, float Mamba2 model", "layer {layer}, head {head}"),
            ("pairs", "{pairs:.1e}"),
            ("filler", "{filler:.1e}"),
            ("left of the state after 1,000 tokens of filler, %", percent("left")),
        ],
        where=lambda r: (r["part"], r["model"]) == ("decays", "mamba2"),
    ),
}
