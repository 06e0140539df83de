"""Tables of the engine and others, for :mod:`bench.tables`."""

from collections.abc import Callable
from typing import Any

from bench.engine_pairs import Spread, ratios, spread
from bench.markdown import NotRun, Table, load

__all__ = ["ENGINE", "fastest_rows", "share"]

Row = dict[str, Any]
LONG = 512  # tokens before those that are timed
NAMES = {
    "ours": "**ours**, exact integers",
    "transformers:float32": "transformers, float32",
    "transformers:bfloat16": "transformers, bfloat16",
    "reference:float32": "our float model, float32",
    "reference:bfloat16": "our float model, bfloat16",
}


def share(row: Row) -> list[float]:
    """Bytes that decoding reads per second over those that the machine can, by round."""
    rates = row["rates"]["decode"]["ours"]
    return [
        rate * row["bytes_read"] / (1e9 * gb) for rate, gb in zip(rates, row["probes"], strict=True)
    ]


def _spread(found: Spread, form: str = "{:.2f}") -> str:
    low, high = form.format(found.low), form.format(found.high)
    return f"{form.format(found.median)} [{low}, {high}]"


def _rate(values: list[float]) -> str:
    found = spread(values)
    return _spread(found, "{:,.1f}" if found.median < 100 else "{:,.0f}")


def _label(row: Row) -> str:
    """The shape, and how long the texts are, where they are longer than usual."""
    if row.get("warm", 0) < LONG:
        return str(row["shape"])
    return f"{row['shape']}, {row['warm']:,} tokens before, prompt of {row['prompt']:,}"


def _times(rates: dict[str, list[float]], other: str) -> str:
    return _spread(ratios(rates["ours"], rates[other]))


def _table(kind: str, header: list[str], cells: Callable[[Row], list[list[str]]]) -> Table:
    """A table of the rows of a kind.

    Raises
    ------
    NotRun
        If there are none.
    """
    found = [r for r in load("engine") if r["kind"] == kind]
    if not found:
        raise NotRun(kind)
    return Table(header, [line for row in found for line in cells(row)], found)


def beside_llama() -> Table:
    """Decoding and prompts, compared with llama.cpp."""

    def cells(row: Row) -> list[list[str]]:
        decode, prompt = row["rates"]["decode"], row["rates"]["prompt"]
        return [[
            _label(row), str(row["threads"]),
            _rate(decode["ours"]), _rate(decode["llama.cpp"]), _times(decode, "llama.cpp"),
            _rate(prompt["ours"]), _rate(prompt["llama.cpp"]), _times(prompt, "llama.cpp"),
        ]]  # fmt: skip

    header = ["one sequence, tokens per second, median [range]", "threads",
              "decode, ours", "llama.cpp Q4_0", "ratio per round", "prompt, ours",
              "llama.cpp Q4_0", "ratio per round"]  # fmt: skip
    return _table("llama", header, cells)


def bandwidth() -> Table:
    """Bytes that decoding reads per second, next to the bandwidth of the computer."""

    def cells(row: Row) -> list[list[str]]:
        found = spread([100 * part for part in share(row)])
        return [[_label(row), str(row["threads"]), f"{row['bytes_read'] / 1e6:,.0f}",
                 _spread(spread(row["probes"]), "{:.1f}"), _spread(found, "{:.0f}")]]  # fmt: skip

    header = ["decode", "threads", "MB read per token", "GB/s that this computer reads",
              "% of it that decoding reaches"]  # fmt: skip
    return _table("llama", header, cells)


def memory() -> Table:
    """Resident memory of decoding against the file's size."""

    def cells(row: Row) -> list[list[str]]:
        out = [row["shape"], str(row["threads"])]
        for name in ("ours", "llama.cpp"):
            size, held = row["file_bytes"][name], row["memory"][name]
            if not held:
                out += [f"{size / 1e6:,.0f}", "not measured", "not measured"]
                continue
            extra = (held["resident"] - size) / 1e6
            out += [f"{size / 1e6:,.0f}", f"{held['resident'] / 1e6:,.0f} ({extra:+,.0f})",
                    f"{held['peak'] / 1e6:,.0f}"]  # fmt: skip
        return [out]

    header = ["decode, MB", "threads", "our file", "resident (over the file)", "peak",
              "GGUF file", "llama.cpp, resident", "peak"]  # fmt: skip
    return _table("llama", header, cells)


def beside_floats() -> Table:
    """Decoding and prompts, compared with float models."""

    def cells(row: Row) -> list[list[str]]:
        decode, prompt = row["rates"]["decode"], row["rates"]["prompt"]
        out = []
        for name in decode:
            times = ["", ""] if name == "ours" else [_times(decode, name), _times(prompt, name)]
            out.append([f"{row['shape']}, {NAMES[name]}", str(row["threads"]),
                        _rate(decode[name]), times[0], _rate(prompt[name]), times[1]])  # fmt: skip
        return out

    header = ["one sequence, tokens per second", "threads", "decode", "ours is × as fast",
              "prompt", "ours is × as fast"]  # fmt: skip
    return _table("float", header, cells)


def fastest_rows() -> list[Row]:
    """Row of each shape next to llama.cpp: two threads where they were run."""
    found = [r for r in load("engine") if r["kind"] == "llama"]
    best: dict[str, Row] = {}
    for row in sorted(found, key=lambda r: int(r["threads"])):
        best[row["shape"]] = row
    return list(best.values())


ENGINE: dict[str, Callable[[], Table]] = {
    "engine": beside_llama,
    "engine-bandwidth": bandwidth,
    "engine-memory": memory,
    "engine-float": beside_floats,
}
