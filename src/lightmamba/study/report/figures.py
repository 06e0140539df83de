"""Numbers as people read them: digits that count, thousands apart, units of a fitting size."""

import math

__all__ = ["THIN", "bytes_of", "figure", "percent", "plain", "signed", "spread", "whole"]

SIZES = ("B", "kB", "MB", "GB", "TB")
THIN = "\u202f"  # narrow no-break space, between a number and its unit


def figure(value: float, digits: int = 3) -> str:
    """A number with at least ``digits`` significant digits, thousands separated by commas."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else "∞"
    places = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{places}f}"
    return text.replace("-", "\u2212")


def plain(value: float) -> str:
    """A number as it was given, thousands separated by commas."""
    return f"{value:,.12g}"


def signed(value: float, places: int = 2) -> str:
    """A difference; nothing is neither more nor less."""
    text = f"{value:+.{places}f}"
    return f"{0:.{places}f}" if float(text) == 0 else text.replace("-", "\u2212")


def whole(value: float) -> str:
    """A count, thousands separated by commas."""
    return f"{round(value):,}".replace("-", "\u2212")


def percent(share: float, places: int = 1) -> str:
    """A share of 1 in percent."""
    return f"{100 * share:.{places}f}{THIN}%".replace("-", "\u2212")


def bytes_of(count: float, digits: int = 3) -> str:
    """Bytes, in powers of a thousand."""
    size = 0
    while abs(count) >= 1000 and size + 1 < len(SIZES):
        count, size = count / 1000, size + 1
    return f"{whole(count) if size == 0 else figure(count, digits)}{THIN}{SIZES[size]}"


def spread(low: float, likely: float, high: float) -> str:
    """A likely value and its range."""
    return f"{figure(likely, 2)} ({figure(low, 2)}–{figure(high, 2)})"
