"""Bars: what the lanes do, and the share of a device that an accelerator takes."""

from collections.abc import Mapping

from lightmamba.arch.target import Resources
from lightmamba.estimate.result import Amount
from lightmamba.report.drawing import WIDTH, Drawing
from lightmamba.report.figures import percent, whole
from lightmamba.report.scale import Scale

__all__ = ["CELLS", "shares", "stalls"]

CELLS = {"lut": "LUT", "ff": "FF", "dsp": "DSP", "bram18": "BRAM 18k", "uram": "URAM"}
LEFT, RIGHT = 86.0, WIDTH - 14.0


def stalls(cycles: Mapping[str, Mapping[str, float]], of: str = "token") -> str:
    """Cycles of a token by what the lanes do, a bar for each origin; or of a pass, by kind.

    Parameters
    ----------
    cycles : {origin: {what: cycles}}
        "estimated", "simulated".
    of
        What takes these cycles.
    """
    longest = max(sum(parts.values()) for parts in cycles.values())
    x, bottom = Scale(0, longest, LEFT, RIGHT), 8.0 + 40 * len(cycles)
    said = f"Cycles of a {of}"
    d = Drawing(bottom + 40, said, f"{said} by what the lanes do in them")
    d.across(x, 4, bottom, [whole(v) for v in x.ticks()])
    d.text("axis", RIGHT, bottom + 34, f"cycles per {of}", anchor="end")
    for place, (origin, parts) in enumerate(cycles.items()):
        top, at = 10.0 + 40 * place, 0.0
        d.text("name", LEFT - 10, top + 18, origin, anchor="end")
        for what, count in parts.items():
            d.bar(f"part {what}", x(at), top, x(at + count) - x(at), 26)
            at += count
    return d.markup()


def shares(device: Resources, amounts: Mapping[str, Amount]) -> str:
    """Share of a device by kind of cell, a bar for each origin.

    Parameters
    ----------
    device
        What there is.
    amounts : {origin: Amount}
        "estimated", "synthesized", "claimed".
    """
    kinds = {name: words for name, words in CELLS.items() if getattr(device, name)}
    parts = {
        (kind, origin): getattr(amount, kind) / getattr(device, kind)
        for kind in kinds
        for origin, amount in amounts.items()
    }
    group = 12.0 * len(amounts) + 14
    bottom = 6 + group * len(kinds)
    x = Scale(0, max(1e-3, *parts.values()) * 1.12, LEFT, RIGHT)
    d = Drawing(bottom + 40, "Share of the device", "Share of the device by kind of cell")
    places = 0 if x.high > 0.06 else 1
    d.across(x, 4, bottom, [percent(v, places) for v in x.ticks()])
    d.text("axis", RIGHT, bottom + 34, "of the device", anchor="end")
    for row, (kind, words) in enumerate(kinds.items()):
        top = 10 + group * row
        d.text("name", LEFT - 10, top + 6 * len(amounts) + 4, words, anchor="end")
        for n, origin in enumerate(amounts):
            share = parts[kind, origin]
            d.bar(f"share {origin}", LEFT, top + 12 * n, x(share) - LEFT, 9)
            d.text("value", x(share) + 5, top + 12 * n + 8.5, percent(share))
    return d.markup()
