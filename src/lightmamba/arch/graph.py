"""Types of the machine's description: units, streams between them, counters and observables.

The description itself is :data:`lightmamba.arch.machine.MACHINE`. From it come the wiring of the
RTL (``rtl/units.py``), the queues and units of the estimate (``estimate/places.py``), the probes
and counters of host and simulator, and tables of docs/developer/hardware-units.md.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.fields import Field, width

__all__ = [
    "MEMORY", "SIZES", "Counter", "Cycles", "Element", "Graph", "Shown", "Stream", "Unit", "cycles",
]  # fmt: skip

Cycles = int | Callable[[ArchConfig], int]
MEMORY = "memory"  # source and target of the streams that readers and writers carry
SIZES = {
    "d_model": "channels of the residual stream",
    "in_channels": "d_model, padded to whole groups of 128",
    "d_inner": "channels of x, z and y",
    "out_channels": "d_inner, every norm group padded to whole groups of 128",
    "conv_dim": "channels of x, B and C",
    "conv_words": "a word of parameters for each of them, and a header to every eight",
    "embedding_words": "a word for eight of in_channels, and one of a scale for 128",
    "bc_channels": "channels of B and C",
    "nheads": "heads",
    "ngroups": "norm groups",
    "group_dim": "channels of a norm group",
    "headdim": "rows of a head's state",
    "state_words": "words of S elements of a layer's state",
    "row_words": "words of S elements of a row",
    "head_words": "words of S elements of a head",
    "vocab_size": "logits",
    "in_rows": "rows of in_proj",
    "lane_rows": "rows of a lane",
    "one": "1",
}


def cycles(value: Cycles, config: ArchConfig) -> int:
    """Number of a machine, where a number depends on the machine."""
    return value if isinstance(value, int) else value(config)


@dataclass(frozen=True)
class Element:
    """One field of a probe: ``count`` numbers of a numpy type.

    Parameters
    ----------
    name : str
    dtype : str
        i1, u1, i2, u2, i4, u4 or i8, little-endian.
    count : int
    observable : str
        The engine's name for it within its layer (docs/reference/observables.md).
    counted : function of ArchConfig, optional
        Where the machine decides the count.
    """

    name: str
    dtype: str
    count: int = 1
    observable: str = ""
    counted: Callable[[ArchConfig], int] | None = None

    def of(self, config: ArchConfig) -> "Element":
        """That of one machine."""
        return replace(self, count=self.counted(config)) if self.counted else self


@dataclass(frozen=True)
class Shown:
    """Probe on one port of a unit, for the simulator.

    A probe of a stream records transfers; one of another port ({valid, fields}) what is valid. It
    shows all tokens of a pass next to each other, unless it is ``shared``.
    """

    name: str
    port: str
    elements: tuple[Element, ...]
    shared: bool = False


@dataclass(frozen=True)
class Unit:
    """One unit of the datapath.

    Parameters
    ----------
    name : str
        Of its command too, if ``arch/program.py`` has one for it.
    rtl : str
        File and class, ``conv:Conv`` for ``Conv`` of ``rtl/conv.py``.
    doc : str
    steps : str
        Of :data:`SIZES`: steps of a job, one per cycle while its streams allow.
    latency : int or function of ArchConfig
        From a step to what it makes of it; a stream may have its own.
    shows : tuple of Shown
    work : str
        Name in the timeline of its work, which the first of ``shows`` times; none: not there.
    whole : bool
        It takes all tokens of a pass itself; else there is a copy for each, and they run in step.
    """

    name: str
    rtl: str
    doc: str
    steps: str
    latency: Cycles = 0
    shows: tuple[Shown, ...] = ()
    work: str = ""
    whole: bool = False

    def __post_init__(self) -> None:
        if self.rtl.count(":") != 1:
            raise ValueError(f"{self.name}: rtl must be file:class, for example conv:Conv")
        if self.steps not in SIZES:
            raise ValueError(f"{self.name}: steps must be one of {', '.join(SIZES)}")
        if self.work and not self.shows:
            raise ValueError(f"{self.name}: nothing shows when it does its work, {self.work}")


@dataclass(frozen=True)
class Stream:
    """A stream between two units, or between a unit and memory.

    Parameters
    ----------
    name : str
    source, target : str
        Output and input, ``unit.port``; the port of ``memory`` is a client of ``arch/ports.py``.
    payload : str
        A record of the graph, or ``s16`` or ``u64`` for a number.
    doc : str
        What one item is.
    items, per : str, int or str
        Items of a job: one for every ``per`` of ``items``, rounded up; both may be :data:`SIZES`.
    queue : str
        Parameter of ArchConfig that says how many items wait between source and target, in a queue
        of their own; none: they are wired to each other.
    latency : int or function, optional
        From the source's step to the item at its output, where it is not the source's latency.
    room : int or function, optional
        Items that the source holds itself, behind its last step; by default its latency and two.
    shared : bool
        An item is for all tokens of a pass; else it has a payload for each.
    """

    name: str
    source: str
    target: str
    payload: str
    doc: str
    items: str
    per: int | str = 1
    queue: str = ""
    latency: Cycles | None = None
    room: Cycles | None = None
    shared: bool = False

    def __post_init__(self) -> None:
        for end in (self.source, self.target):
            if end.count(".") != 1:
                raise ValueError(f"{self.name}: {end} must be unit.port, for example conv.i")
        for size in (self.items, self.per):
            if isinstance(size, str) and size not in SIZES:
                raise ValueError(f"{self.name}: {size} must be one of {', '.join(SIZES)}")
        if self.queue and self.queue not in ArchConfig.__dataclass_fields__:
            raise ValueError(f"{self.name}: ArchConfig has no {self.queue} to be its depth")

    @property
    def giver(self) -> str:
        """Unit that it comes from."""
        return self.source.split(".")[0]

    @property
    def taker(self) -> str:
        """Unit that it goes to."""
        return self.target.split(".")[0]

    def count(self, sizes: Mapping[str, int]) -> int:
        """Items of a job."""
        per = self.per if isinstance(self.per, int) else sizes[self.per]
        return -(-sizes[self.items] // per)

    def depth(self, config: ArchConfig) -> int:
        """Items of its queue; 0 without one."""
        return max(3, getattr(config, self.queue)) if self.queue else 0


@dataclass(frozen=True)
class Counter:
    """A hardware counter.

    Parameters
    ----------
    name : str
    kind : str
        "cycle": every cycle of a token is one of these. "ssm". "loss": a value that did not fit.
    events : tuple of str
        ``unit.output``: what is counted, added. None: ``rtl/units.py`` says what.
    """

    name: str
    kind: str
    events: tuple[str, ...] = ()


@dataclass(frozen=True)
class Graph:
    """A machine.

    Parameters
    ----------
    units : tuple of Unit
        In the order of a token.
    streams : tuple of Stream
        In the order in which they are wired.
    counters : tuple of Counter
        In the order of their indices.
    records : {name: fields}
        Payloads that are more than a number.
    apart : tuple of str
        Payloads whose layout depends on the machine, so that the RTL alone has it.

    Raises
    ------
    ValueError
        One sentence that names what does not fit together.
    """

    units: tuple[Unit, ...]
    streams: tuple[Stream, ...]
    counters: tuple[Counter, ...] = ()
    records: Mapping[str, tuple[Field, ...]] = field(default_factory=dict)
    apart: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        entries = self.units, self.streams, self.counters, self.shown
        for names in ([each.name for each in kind] for kind in entries):
            if twice := [name for name in names if names.count(name) > 1]:
                raise ValueError(f"there are two entries {twice[0]}")
        known = {unit.name for unit in self.units} | {MEMORY}
        sources, targets = ([getattr(s, end) for s in self.streams] for end in ("source", "target"))
        for ends in (sources, targets):
            if twice := [end for end in ends if ends.count(end) > 1]:
                raise ValueError(f"{twice[0]} is the end of two streams")
        for end in (*sources, *targets, *(event for c in self.counters for event in c.events)):
            if end.split(".")[0] not in known:
                raise ValueError(f"there is no unit {end.split('.')[0]} for {end}")
        for stream in self.streams:
            self._bits(stream.payload)

    @property
    def shown(self) -> tuple[Shown, ...]:
        """Everything that the simulator sees, in the order of its ports."""
        return tuple(shown for unit in self.units for shown in unit.shows)

    def unit(self, name: str) -> Unit:
        """The unit of this name."""
        return next(unit for unit in self.units if unit.name == name)

    def stream(self, name: str) -> Stream:
        """The stream of this name."""
        return next(stream for stream in self.streams if stream.name == name)

    def between(self) -> tuple[Stream, ...]:
        """Streams from unit to unit."""
        return tuple(s for s in self.streams if MEMORY not in (s.giver, s.taker))

    def client(self, name: str) -> Stream:
        """The stream that a reader of memory gives its words to."""
        return next(s for s in self.streams if s.source == f"{MEMORY}.{name}")

    def latency(self, stream: Stream, config: ArchConfig) -> int:
        """Cycles from a step of the source to the item at its output."""
        if stream.latency is not None:
            return cycles(stream.latency, config)
        return cycles(self.unit(stream.giver).latency, config)

    def room(self, stream: Stream, config: ArchConfig) -> int:
        """Items that fit between a step of the source and the target."""
        own = stream.room
        inside = self.latency(stream, config) + 2 if own is None else cycles(own, config)
        return inside + stream.depth(config)

    def bits(self, stream: str) -> int:
        """Width of a stream whose payload does not depend on the machine."""
        return self._bits(self.stream(stream).payload)

    def _bits(self, payload: str) -> int:
        if payload in self.records:
            return width(self.records[payload])
        if payload in self.apart:
            return 0
        if payload[:1] not in ("s", "u") or not payload[1:].isdigit():
            records = ", ".join(self.records)
            raise ValueError(f"there is no payload {payload}; try s16 or u64, or one of {records}")
        return int(payload[1:])
