"""Which unit worked when: from the records that the probes of one token left to shares of time."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lightmamba.arch.graph import Graph
from lightmamba.device.sim.observe import Record, rows_of
from lightmamba.hardware.machine.kinds import machine

__all__ = ["Activity", "Strip", "activity", "unit_cycles", "works"]

Work = tuple[str, str, tuple[int, ...]]


def works(graph: Graph) -> Iterator[Work]:
    """Work in the order of a layer: its name, the probe that shows it, and the kinds of rows.

    The epilogue's rows, and between them that of the other units.
    """
    names = [unit.name for unit in graph.units]
    at = names.index("epilogue")
    before, behind = (
        [(unit.work, unit.shows[0].name, ()) for unit in part if unit.work]
        for part in (graph.units[:at], graph.units[at:])
    )
    for work in dict.fromkeys(row.work for row in graph.rows):
        yield work, "rows", tuple(graph.kinds[r.name] for r in graph.rows if r.work == work)
    yield from behind
    yield "rows of out_proj", "rows", (graph.kinds["out"],)
    yield from before
    yield "rows of the head", "rows", (graph.kinds["logit"],)


BINS = 350  # of a strip: about two pixels each in a report
AFTER = 0.2  # of a layer that is shown after it


@dataclass(frozen=True)
class Strip:
    """Shares of time in which units pass data on, over a stretch of a token.

    Parameters
    ----------
    start, bin_cycles : int
        First cycle, counted from the first value of the token, and cycles of a bin.
    busy : {unit: shares}
        Of the cycles of each bin, the share in which something passed; all equally long.
    marks : {name: cycle}
        Where something begins, counted as ``start`` is.
    """

    start: int
    bin_cycles: int
    busy: Mapping[str, tuple[float, ...]]
    marks: Mapping[str, int]

    def __post_init__(self) -> None:
        if self.bin_cycles < 1:
            raise ValueError(f"bin_cycles must be at least 1, not {self.bin_cycles}")
        if len({len(shares) for shares in self.busy.values()}) != 1:
            raise ValueError("busy must have a unit, and as many bins for each")
        if wrong := [x for shares in self.busy.values() for x in shares if not 0 <= x <= 1]:
            raise ValueError(f"busy must be shares from 0 to 1, not {wrong[0]}")

    @property
    def cycles(self) -> int:
        """How long the stretch is."""
        return self.bin_cycles * len(next(iter(self.busy.values())))


@dataclass(frozen=True)
class Activity:
    """One token, and one of its layers from nearer.

    Parameters
    ----------
    layer : int
        Which one.
    token, of_layer : Strip
    """

    layer: int
    token: Strip
    of_layer: Strip


def unit_cycles(seen: Mapping[str, Record], kinds: tuple[str, ...]) -> dict[str, NDArray[np.int64]]:
    """Cycles in which each unit passed something on, in order; what no probe saw is empty."""
    found, rows = {}, rows_of(seen)
    for name, probe, of in works(machine(kinds)):
        record = rows if probe == "rows" else seen[probe]
        cycles = record.cycles.astype(np.int64)
        found[name] = cycles[np.isin(record["kind"], of)] if of else cycles
    return found


def activity(
    seen: Mapping[str, Record],
    layers: Sequence[int],
    kinds: tuple[str, ...],
    layer: int | None = None,
) -> Activity:
    """Measure one token.

    Parameters
    ----------
    seen
        Everything that the probes recorded during the token.
    layers : sequence of int
        Rows of each layer of the model, but for those of out_proj.
    kinds
        Of layers that the hardware has units for.
    layer : int
        The one to look at from nearer; by default the middle one.

    Raises
    ------
    ValueError
        If the probes saw no rows, or there is no such layer.
    """
    layer = len(layers) // 2 if layer is None else layer
    if not 0 <= layer < len(layers):
        raise ValueError(f"layer must be in 0..{len(layers) - 1}, not {layer}")
    graph, found, rows = machine(kinds), unit_cycles(seen, kinds), rows_of(seen)
    of_in = np.isin(rows["kind"], [graph.kinds[row.name] for row in graph.rows])
    of_in = np.sort(rows.cycles[of_in].astype(np.int64))
    if len(of_in) != sum(layers):
        raise ValueError(f"the probes saw {len(of_in)} rows of in_proj, not those of whole layers")
    first = min(int(cycles[0]) for cycles in found.values() if len(cycles))
    last = max(int(cycles[-1]) for cycles in found.values() if len(cycles))
    starts, out = of_in[np.cumsum([0, *layers[:-1]])], found["rows of out_proj"]
    begin, end = int(starts[layer]), last
    marks = {"in_proj": begin}
    if len(later := out[out > begin]):
        marks["out_proj"] = int(later[0])
    if layer + 1 < len(layers):
        after = int(starts[layer + 1])
        marks["next layer"], end = after, after + round(AFTER * (after - begin))
    of_token = {f"layer {n}": int(start) for n, start in enumerate(starts)}
    if len(head := found["rows of the head"]):
        of_token["head"] = int(head[0])
    return Activity(
        layer,
        token=_strip(found, first, first, last, of_token),
        of_layer=_strip(found, first, begin, min(end, last), marks),
    )


def _strip(
    found: Mapping[str, NDArray[np.int64]], zero: int, start: int, last: int,
    marks: Mapping[str, int],
) -> Strip:  # fmt: skip
    """Bins from ``start`` to ``last``; cycles are counted from ``zero``."""
    step = max(1, -(-(last - start + 1) // BINS))
    bins = -(-(last - start + 1) // step)
    busy = {}
    for name, cycles in found.items():
        once = np.unique(cycles[(cycles >= start) & (cycles < start + bins * step)])
        count = np.bincount((once - start) // step, minlength=bins)
        busy[name] = tuple(round(float(share), 3) for share in count / step)
    return Strip(start - zero, step, busy, {name: at - zero for name, at in marks.items()})
