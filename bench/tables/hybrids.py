"""Tables of hybrids on the accelerator: simulated where that was run, and next to their bounds."""

from functools import partial

from bench.hybrids import CONTEXTS, EXPERTS, PASSES, TARGETS
from bench.stored import Row, rows
from bench.tables.printer import Table, Tables, load
from lightmamba.model.config import HYBRIDS

__all__ = ["HYBRID_TABLES"]

DECODE = "decode"
WORDS = {"prefill": "a chunk of a prompt", "batch": "a token of each sequence"}
EVERY = tuple((shape, target) for shape in HYBRIDS for target in TARGETS)


class Speeds:
    """Stored speeds, estimated and simulated, by shape, target, mode and context."""

    def __init__(self) -> None:
        key = ("shape", "target", "mode", "context")
        alone = [{"mode": DECODE} | row for row in rows("full") if row.get("context")]
        simulated = [*alone, *(row for row in rows("passes") if row.get("context"))]
        self.estimated = {tuple(row[name] for name in key): row for row in load("hybrids")}
        self.simulated = {tuple(row[name] for name in key): row for row in simulated}
        self.shown = list[Row]()

    def cell(self, *key: str | int) -> str:
        """Tokens per second, those that memory and lanes allow, and how they were obtained."""
        estimated, simulated = self.estimated[key], self.simulated.get(key)
        rate = estimated["tokens_per_second"]
        bound = rate * estimated["cycles"] / estimated["bound_cycles"]
        self.shown.append(estimated)
        how = "estimated"
        if simulated:
            self.shown.append(simulated)
            how = f"simulated; estimated {rate:,.4g}"
            rate = simulated["tokens_per_second"]
        return f"**{rate:,.4g}** of {bound:,.4g} ({how})"

    def waits(self, *key: str | int) -> str:
        """Largest share of the cycles in which the lanes wait, and what for."""
        row = self.estimated[key]
        what = ("activation", "memory", "epilogue")
        shares = {name: row["stalls"][f"wait_{name}"] / row["cycles"] for name in what}
        most = max(shares, key=lambda name: shares[name])
        return f"{most}, {100 * shares[most]:.0f} %"


def decoding(cases: tuple[tuple[str, str], ...]) -> Table:
    """Speed of a token at two contexts, and what the lanes wait for."""
    speeds, body = Speeds(), []
    for shape, target in cases:
        cells = [speeds.cell(shape, target, DECODE, context) for context in CONTEXTS]
        waits = speeds.waits(shape, target, DECODE, CONTEXTS[0])
        body.append([shape, f"`{target}`", *cells, waits])
    contexts = [f"after {context:,} tokens, of the bound" for context in CONTEXTS]
    header = ["W4A4, random weights; tokens/s", "target", *contexts, "lanes wait for"]
    return Table(header, body, speeds.shown)


def passes() -> Table:
    """Speed of passes of four tokens, what the lanes wait for, and multipliers."""
    speeds, body = Speeds(), []
    for mode, target, context in PASSES:
        for shape in HYBRIDS:
            key = (shape, target, mode, context)
            dsp = f"{speeds.estimated[key]['dsp']:,.0f}"
            place = f"{shape} on `{target}`, {context:,} positions"
            body.append([place, WORDS[mode], speeds.cell(*key), speeds.waits(*key), dsp])
    header = ["W4A4, random weights", "pass of four tokens", "tokens/s of the bound"]
    return Table([*header, "lanes wait for", "DSP (estimated)"], body, speeds.shown)


HYBRID_TABLES: Tables = {
    "hybrids": partial(decoding, EVERY),
    "experts": partial(decoding, EXPERTS),
    "hybrid-passes": passes,
}
