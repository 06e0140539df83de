"""Tables of targets and of the energy model, for :mod:`bench.tables`."""

import re
from collections import Counter
from collections.abc import Sequence

from bench.boards import Bound, bound
from bench.energy import PAPER, paper
from lightmamba.arch.target import Channel, Resources, Target, target_names
from lightmamba.hardware.estimate.energy import constants
from lightmamba.model.config import SHAPES

__all__ = ["bound_rows", "constant_rows", "paper_rows", "source_rows", "target_rows"]

Rows = list[list[str]]


def _targets() -> list[Target]:
    return [Target.load(name) for name in target_names()]


def _memory(channels: tuple[Channel, ...]) -> str:
    """Channels that are alike, together: their number, kind, GB/s by data sheet and attained."""
    alike = Counter((c.name.rstrip("0123456789"), c.gb_per_s, c.attainable_gb_per_s,
                     c.kind or c.name.rstrip("0123456789")) for c in channels)  # fmt: skip
    return "; ".join(
        f"{f'{n} x ' if n > 1 else ''}{kind} {nominal:.4g}, {attained:.4g}"
        for (_, nominal, attained, kind), n in alike.items()
    )


def _group(channel: str) -> str:
    """Name of channels that are alike, without their number."""
    return re.sub(r"^(hbm|lane|lpddr4-)\d+$", lambda found: found[1].rstrip("-"), channel)


def target_rows() -> Rows:
    """Every target: configuration, memory, device."""
    return [
        ["target", "MHz", "lanes x weights", "tokens", "S", "GB/s by data sheet, attainable",
         "LUT, DSP", "BRAM (18 kbit), URAM"],
        *(
            [f"`{t.name}`", f"{t.clock_mhz:g}", f"{t.machine.lanes} x {t.machine.port_bits // 4}",
             str(t.machine.tokens), str(t.machine.state_elements), _memory(t.channels),
             *_device(t.resources)]
            for t in _targets()
        ),
    ]  # fmt: skip


def _device(has: Resources | None) -> list[str]:
    """Logic and memories of a device, two in a cell."""
    if has is None:
        return ["", ""]
    return [f"{has.lut:,}, {has.dsp:,}", f"{has.bram18:,}, {has.uram:,}"]


def source_rows() -> Rows:
    """Where the numbers of every target are from; a text is given once."""
    rows, first = [["target", "part", "source"]], dict[str, str]()
    for t in _targets():
        said: dict[str, str] = {}
        for channel in t.channels:
            said.setdefault(channel.source.strip(), channel.kind or channel.name)
        parts = [(kind, source) for source, kind in said.items()]
        parts += [
            (name, part.source.strip())
            for name, part in (("device", t.resources), ("power", t.power)) if part
        ]  # fmt: skip
        new = [(name, source) for name, source in parts if source not in first]
        old = dict.fromkeys(first[source] for _, source in parts if source in first)
        rows += [[f"`{t.name}`", name, source] for name, source in new]
        if old:
            what = "all" if not new else "the rest"
            rows.append([f"`{t.name}`", what, f"as {' and '.join(f'`{name}`' for name in old)}"])
        for _, source in new:
            first[source] = t.name
    return rows


def bound_rows() -> Rows:
    """Tokens per second that the memory allows, and the bottleneck."""
    return [
        ["bound, tokens per second", *("bundled" if s == "demo" else s for s in SHAPES)],
        *(
            [f"`{t.name}`", *(_bound(bound(t.name, shape)) for shape in SHAPES)]
            for t in _targets() if t.machine.tokens == 1  # of others see bench.passes
        ),
    ]  # fmt: skip


def _bound(found: Bound | None) -> str:
    if found is None:
        return "too large"
    return f"{found.tokens_per_second:.4g} ({_group(found.binds)})"


def constant_rows() -> Rows:
    """Constants of the energy model."""
    return [
        ["constant", "low, likely, high", "unit", "source"],
        *(
            [f"`{name}`", ", ".join(f"{v:g}" for v in c.value), c.unit, c.source.strip()]
            for name, c in constants().items()
        ),
    ]


def _three(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.3g}" for value in values)


def paper_rows() -> Rows:
    """The paper's accelerator by our constants, next to the paper's figures."""
    return [
        ["", "watts, logic only", "watts, total", "tokens/J, total", "paper, watts",
         "paper, tokens/J"],
        *(
            [f"paper, {width}", _three(r.watts_in_cells), _three(r.watts),
             _three(r.tokens_per_joule), f"{r.paper_watts:.2f}", f"{r.paper_tokens_per_joule:g}"]
            for width, r in ((width, paper(width)) for width in PAPER)
        ),
    ]  # fmt: skip
