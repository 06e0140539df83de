"""Tables of speed: engine, server, drafts, and all of them for the README."""

from bench.boards import claimed
from bench.engine_pairs import Spread, ratios, share, spread
from bench.hybrids import TARGETS
from bench.stored import Row
from bench.tables.printer import Listed, Table, Tables, load, span
from lightmamba.arch.target import Target
from lightmamba.model.data import BUNDLED

__all__ = ["PAPER", "SPEED", "fastest_rows", "full_rows"]

# Decoding of Mamba2-2.7B in the paper, tokens per second.
CLAIMS = {name: claimed(name)[0].tokens_per_second for name in ("u280", "vck190-paper")}
PAPER = {f"mamba2-2.7b on {name}": rate for name, rate in CLAIMS.items()}
HOW = {
    "u280": "simulated at 200 MHz",
    "vck190-paper": "measured on a board at 400 MHz, without the LM head",
}
BOARDS = ("u280", "vck190", "kv260", "vck190-paper")  # targets of Mamba2-2.7B in the summary
HYBRIDS, POSITIONS = ("granite-4.0-h-1b", "granite-4.0-h-tiny"), 1024  # on TARGETS
LONG = 512  # tokens before those that are timed, from which on a row names them
ENGINES = {
    "ours": "**ours**, exact integers",
    "transformers:float32": "transformers, float32",
    "transformers:bfloat16": "transformers, bfloat16",
    "reference:float32": "our float model, float32",
    "reference:bfloat16": "our float model, bfloat16",
}


def full_rows() -> dict[str, Row]:
    """Rows of `full` by name."""
    return {row["name"]: row for row in load("full")}


def on_board(model: str) -> Row:
    """Greedy text of a bundled model on the whole system of a ULX3S."""
    return load("ulx3s_run", model=model, what="greedy")[0]


def fastest_rows() -> list[Row]:
    """Row of each shape next to llama.cpp: two threads where they were run."""
    found = load("engine", kind="llama")
    return list({row["shape"]: row for row in sorted(found, key=lambda r: r["threads"])}.values())


def summary() -> Table:
    """Tokens per second of accelerator and CPU engine, and what they are compared with."""
    found, body, shown = full_rows(), list[list[str]](), list[Row]()

    def simulated(what: str, row: Row, cycles: float, mhz: float, other: str = "–") -> None:
        rate = f"**{1e6 * mhz / cycles:,.4g}**"
        body.append([what, rate, f"{cycles:,.0f} at {mhz:g} MHz", "simulated", other])
        shown.append(row)

    for target in BOARDS:
        if r := found.get(name := f"mamba2-2.7b on {target}"):
            paper = f"paper: {PAPER[name]:g}, {HOW[target]}" if name in PAPER else "–"
            what = f"2.7B, accelerator `{target}`"
            simulated(what, r, r["cycles_per_token"], r["clock_mhz"], paper)
    for shape in HYBRIDS:
        for target in TARGETS:
            if r := found.get(f"{shape} on {target}, {POSITIONS:,} positions"):
                what = f"{_published(shape)} after {POSITIONS:,} tokens, accelerator `{target}`"
                simulated(what, r, r["cycles_per_token"], r["clock_mhz"])
    r, what = on_board(BUNDLED), "3.3M (as bundled), system on a `ulx3s`"
    mhz = Target.load("ulx3s").clock_mhz
    simulated(what, r, 1e6 * mhz / r["tokens_per_second"], mhz)
    for r in fastest_rows():
        shape = _published(r["shape"])
        decode = r["rates"]["decode"]
        rate, times = spread(decode["ours"]).median, ratios(decode["ours"], decode["llama.cpp"])
        how = f"alternating runs, {times.low:.2f} to {times.high:.2f}"
        other = f"{times.median:.2f} × llama.cpp Q4_0 ({how})"
        what = f"{shape}, CPU engine, {r['threads']} threads"
        body.append([what, f"**{rate:,.4g}**", "–", "measured", other])
        shown.append(r)
    title = "Mamba2 (by size) and hybrids, W4A4, batch 1, random weights"
    header = [title, "tokens/s", "cycles per token", "how obtained", "compared with"]
    return Table(header, body, shown)


def _published(shape: str) -> str:
    """Name of a model as it is published; of Mamba2 its size only."""
    parts = shape.removeprefix("mamba2-").split("-")
    return "-".join(p.capitalize() if p.isalpha() and len(p) > 1 else p.upper() for p in parts)


def _label(row: Row) -> str:
    """The shape, and how long the texts are, where they are longer than usual."""
    if row.get("warm", 0) < LONG:
        return str(row["shape"])
    return f"{row['shape']}, {row['warm']:,} tokens before, prompt of {row['prompt']:,}"


def _rate(row: Row, task: str, name: str = "ours") -> str:
    found: Spread = spread(row["rates"][task][name])
    return span(found, ",.1f" if found.median < 100 else ",.0f")


def _times(row: Row, task: str, other: str = "llama.cpp") -> str:
    rates = row["rates"][task]
    return "" if other == "ours" else span(ratios(rates["ours"], rates[other]))


def _file(row: Row, name: str) -> str:
    return f"{row['file_bytes'][name] / 1e6:,.0f}"


def _resident(row: Row, name: str) -> str:
    """MB in memory, and how many more they are than those of the file."""
    if not (held := row["memory"][name]):
        return "not measured"
    extra = (held["resident"] - row["file_bytes"][name]) / 1e6
    return f"{held['resident'] / 1e6:,.0f} ({extra:+,.0f})"


def _peak(row: Row, name: str) -> str:
    held = row["memory"][name]
    return f"{held['peak'] / 1e6:,.0f}" if held else "not measured"


def _threads(row: Row) -> str:
    return f"{row['model']}, {row['threads']} thread{'s' if row['threads'] > 1 else ''}"


def _accepted(row: Row) -> str:
    return (
        f"{row['accepted'] / row['drafted']:.0%} of {row['drafted']:,}" if row["drafted"] else "0"
    )


def _middle(row: Row, name: str) -> str:
    """Tokens per second of the round in the middle."""
    return f"{row['tokens'] / sorted(row[name])[len(row[name]) // 2]:,.0f}"


def _faster(row: Row) -> str:
    return span(ratios(row["plain"], row["speculated"]))


SPEED: Tables = {
    "speed-summary": summary,
    "engine": Listed(
        "engine",
        [
            ("one sequence, tokens per second, median [range]", _label),
            ("threads", "{threads}"),
            ("decode, ours", lambda r: _rate(r, "decode")),
            ("llama.cpp Q4_0", lambda r: _rate(r, "decode", "llama.cpp")),
            ("ratio per round", lambda r: _times(r, "decode")),
            ("prompt, ours", lambda r: _rate(r, "prompt")),
            ("llama.cpp Q4_0", lambda r: _rate(r, "prompt", "llama.cpp")),
            ("ratio per round", lambda r: _times(r, "prompt")),
        ],
        where=lambda r: r["kind"] == "llama",
    ),
    "engine-bandwidth": Listed(
        "engine",
        [
            ("decode", _label),
            ("threads", "{threads}"),
            ("MB read per token", lambda r: f"{r['bytes_read'] / 1e6:,.0f}"),
            ("GB/s that this computer reads", lambda r: span(spread(r["probes"]), ".1f")),
            (
                "% of it that decoding reaches",
                lambda r: span(spread([100 * part for part in share(r)]), ".0f"),
            ),
        ],
        where=lambda r: r["kind"] == "llama",
    ),
    "engine-memory": Listed(
        "engine",
        [
            ("decode, MB", "{shape}"),
            ("threads", "{threads}"),
            ("our file", lambda r: _file(r, "ours")),
            ("resident (over the file)", lambda r: _resident(r, "ours")),
            ("peak", lambda r: _peak(r, "ours")),
            ("GGUF file", lambda r: _file(r, "llama.cpp")),
            ("llama.cpp, resident", lambda r: _resident(r, "llama.cpp")),
            ("peak", lambda r: _peak(r, "llama.cpp")),
        ],
        where=lambda r: r["kind"] == "llama",
    ),
    "engine-alone": Listed(
        "engine",
        [
            ("engine alone (measured), median [range]", _label),
            ("threads", "{threads}"),
            ("decode, tokens/s", lambda r: _rate(r, "decode")),
            ("MB read per token", lambda r: f"{r['bytes_read'] / 1e6:,.0f}"),
            (
                "% of the bandwidth",
                lambda r: span(spread([100 * part for part in share(r)]), ".0f"),
            ),
            ("prompt, tokens/s", lambda r: _rate(r, "prompt")),
            ("file, MB", lambda r: _file(r, "ours")),
            ("resident (over the file), MB", lambda r: _resident(r, "ours")),
            ("peak, MB", lambda r: _peak(r, "ours")),
            ("loaded in, s", lambda r: f"{r['load_seconds']['ours']:,.0f}"),
        ],
        where=lambda r: r["kind"] == "alone",
    ),
    "engine-float": Listed(
        "engine",
        [
            (
                "one sequence, tokens per second",
                lambda r: f"{r['shape']}, {ENGINES[r['other']]}",
            ),
            ("threads", "{threads}"),
            ("decode", lambda r: _rate(r, "decode", r["other"])),
            ("ours is × as fast", lambda r: _times(r, "decode", r["other"])),
            ("prompt", lambda r: _rate(r, "prompt", r["other"])),
            ("ours is × as fast", lambda r: _times(r, "prompt", r["other"])),
        ],
        where=lambda r: r["kind"] == "float",
        lines=lambda r: (r | {"other": name} for name in r["rates"]["decode"]),
    ),
    "serve-load": Listed(
        "serve",
        [
            (
                "engine, tokens per second (measured), median [range]",
                lambda r: f"{_threads(r)}, {'streamed' if r['stream'] else 'whole'}",
            ),
            ("one client", lambda r: span(spread(r["alone"]), ",.0f")),
            ("{clients} clients, all together", lambda r: span(spread(r["together"]), ",.0f")),
            ("ratio per round", lambda r: span(ratios(r["together"], r["alone"]))),
            ("answers equal to `generate`", "{equal} of {clients}"),
        ],
        where=lambda r: r["kind"] == "load",
    ),
    "serve-prefix": Listed(
        "serve",
        [
            ("prompt of {tokens:,} tokens (measured), median [range]", _threads),
            (
                "first token of a new prompt, ms",
                lambda r: span(spread([1e3 * x for x in r["miss"]]), ",.1f"),
            ),
            ("of a cached one, ms", lambda r: span(spread([1e3 * x for x in r["hit"]]), ",.1f")),
            ("cached / new", lambda r: span(ratios(r["hit"], r["miss"]), ".3f")),
        ],
        where=lambda r: r["kind"] == "prefix",
    ),
    "clients": Listed(
        "clients",
        [
            ("{clients} clients at a time (measured)", _threads),
            ("minutes", "{minutes:.0f}"),
            ("whole answers", "{whole:,}"),
            ("streamed", "{streamed:,}"),
            ("read slowly", "{slow:,}"),
            ("left in the middle", "{left:,}"),
            ("gone before", "{gone:,}"),
            ("malformed", "{malformed:,}"),
            ("wrong answers", "{other}"),
            ("memory after 5 minutes and at the end, MiB", "{mib[0]:.0f}, {mib[1]:.0f}"),
        ],
    ),
    "speculation": Listed(
        "speculation",
        [
            ("n-grams (measured)", _threads),
            ("writer", "{writer}"),
            ("text", "{kind}"),
            ("tokens", "{tokens:,}"),
            ("tokens per pass", lambda r: f"{r['tokens'] / r['passes']:.2f}"),
            ("accepted drafts", _accepted),
            ("× as fast, median [range]", _faster),
        ],
        where=lambda r: r["writer"] != "prompt",
    ),
    "pieces": Listed(
        "speculation",
        [
            ("tokens per second (measured)", _threads),
            ("token by token", lambda r: _middle(r, "plain")),
            ("in one piece", lambda r: _middle(r, "speculated")),
            ("× as fast, median [range]", _faster),
        ],
        where=lambda r: r["writer"] == "prompt",
    ),
}
