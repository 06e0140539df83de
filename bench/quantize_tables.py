"""The tables of quantizing: time and memory by shape, and what calibration tokens buy."""

from typing import Any

from bench.markdown import Table, load

__all__ = ["QUANTIZE"]


def growth() -> Table:
    """Time and peak memory by shape."""
    rows = sorted(load("quantize"), key=lambda r: (r["parameters"], r["tokens"]))
    header = ["shape, recipe", "calibration tokens", "minutes", "planned, minutes", "peak, GiB",
              "planned, GiB"]  # fmt: skip
    body = [
        [
            f"{r['shape']}, `{r['recipe']}`{_note(r)}",
            f"{r['tokens']:,}",
            f"{r['seconds'] / 60:.1f}",
            f"{r['planned_seconds'] / 60:.1f}",
            f"{r['peak_rss_bytes'] / 2**30:.2f}",
            f"{r['planned_memory_bytes'] / 2**30:.2f}",
        ]
        for r in rows
    ]
    return Table(header, body, rows)


def _note(row: dict[str, Any]) -> str:
    note = row.get("note", "resumed" if row["resumed"] else "")
    return f", {note}" if note else ""


def calibration() -> Table:
    """Accuracy by calibration tokens."""
    rows = sorted(load("calibration"), key=lambda r: (r["width"], r["calibration_tokens"]))
    header = ["recipe", "calibration tokens", "× float perplexity", "KL, nats", "top-1 agreement"]
    body = [
        [
            f"`{r['width']}`",
            f"{r['calibration_tokens']:,}",
            f"{r['ratio']:.4f} ± {r['ratio_standard_error']:.4f}",
            f"{r['kl']:.5f} ± {r['kl_standard_error']:.5f}",
            f"{r['top1_agreement']:.4f}",
        ]
        for r in rows
    ]
    return Table(header, body, rows)


QUANTIZE = {"quantize-growth": growth, "calibration": calibration}
