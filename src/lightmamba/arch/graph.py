"""Types of the machine's description: units, streams, commands, clients of memory, counters.

A machine is the spine (``machine/spine.py``), which every model needs, and the hardware of the
kinds of layers that it runs (``blocks/KIND/hardware.py``); :func:`merge` makes one graph of them.
From it come the wiring of the RTL, the instructions, the ports, regions and registers, the queues
and units of the estimate, the probes and counters of host and simulator, and tables of the docs.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.fields import Field, width

__all__ = [
    "MEMORY", "OTHERS", "Client", "Counter", "Cycles", "Element", "Graph", "Hardware", "Register",
    "Row", "Shown", "Stream", "Unit", "cycles",
]  # fmt: skip

Cycles = int | Callable[[ArchConfig], int]
MEMORY = "memory"  # source and target of the streams that readers and writers carry
OTHERS = ("out", "logit")  # kinds of rows behind those of in_proj
SHAPES = ("weights", "row", "static", "head", "layer", "growing", "record")  # of clients


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
        Of its command too, if the graph has one for it.
    rtl : str
        File and class, ``conv:Conv`` for ``Conv`` of ``rtl/conv.py``.
    doc : str
    steps : str
        Of the graph's sizes: steps of a job, one per cycle while its streams allow.
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
        if self.work and not self.shows:
            raise ValueError(f"{self.name}: nothing shows when it does its work, {self.work}")


@dataclass(frozen=True)
class Stream:
    """A stream between two units, or between a unit and memory.

    Parameters
    ----------
    name : str
    source, target : str
        Output and input, ``unit.port``; the port of ``memory`` is a client.
    payload : str
        A record of the graph, or ``s16`` or ``u64`` for a number.
    doc : str
        What one item is.
    items, per : str, int or str
        Items of a job: one for every ``per`` of ``items``, rounded up; both may be sizes.
    queue : str
        Parameter of ArchConfig that says how many items wait between source and target, in a queue
        of their own; none: they are wired to each other.
    latency : int or function, optional
        From the source's step to the item at its output, where it is not the source's latency.
    room : int or function, optional
        Items that the source holds itself, behind its last step; by default its latency and two.
    shared : bool
        An item is for all tokens of a pass; else it has a payload for each.
    there : function of ArchConfig, optional
        Whether a machine has it. Where two streams have one source, each of its items goes to both.
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
    there: Callable[[ArchConfig], bool] | None = None

    def __post_init__(self) -> None:
        for end in (self.source, self.target):
            if end.count(".") != 1:
                raise ValueError(f"{self.name}: {end} must be unit.port, for example conv.i")
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
        "cycle": every cycle of a token is one of these. "unit": cycles of one unit. "loss": values
        that did not fit.
    events : tuple of str
        ``unit.output``: what is counted, added. None: ``rtl/units.py`` says what.
    """

    name: str
    kind: str
    events: tuple[str, ...] = ()


@dataclass(frozen=True)
class Row:
    """A kind of row of in_proj.

    Parameters
    ----------
    name : str
    stream : str
        By which the epilogue hands it on.
    work : str
        Name in the timeline, of this kind alone or of several.
    """

    name: str
    stream: str
    work: str


@dataclass(frozen=True)
class Client:
    """What reads or writes memory by itself, for the units: the ``memory`` end of its streams.

    Parameters
    ----------
    name : str
        Of its region, too.
    shape : str
        "weights": of every lane. "row": for each vector of a pass. "static": the same words for
        every token, read ahead. Of a sequence: "head", a state that lies head by head and has
        ports of its own; "layer", words for each layer; "growing", words for each position in each
        layer, of which a pass reads all and adds its own. "record": of a pass, for each layer.
    doc : str
        What it holds.
    there : function of ArchConfig, optional
        Whether a machine has it.
    """

    name: str
    shape: str
    doc: str
    there: Callable[[ArchConfig], bool] | None = None

    def __post_init__(self) -> None:
        if self.shape not in SHAPES:
            raise ValueError(f"{self.name}: shape must be one of {', '.join(SHAPES)}")


@dataclass(frozen=True)
class Register:
    """One entry of the host's map, of up to ``count`` registers.

    Parameters
    ----------
    name : str
    access : str
        "rw", "ro" or "wo".
    doc : str
    count : int
        Registers that the map has room for.
    counted : function of ArchConfig, optional
        Those that a machine has; by default one.
    wide : bool
        64 bits.
    to : str
        ``unit.port`` that its value goes to; none: nothing but the memory side needs it.
    """

    name: str
    access: str
    doc: str
    count: int = 1
    counted: Callable[[ArchConfig], int] = lambda config: 1
    wide: bool = False
    to: str = ""


@dataclass(frozen=True)
class Hardware:
    """A part of a machine: the spine's, or that of a kind of layer.

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
    sizes : {name: meaning}
        Sizes of jobs.
    commands : {unit: fields}
        Units that have commands; of a kind, those that its in_proj starts, in this order.
    rows : tuple of Row
        Kinds of rows of in_proj.
    turns : tuple of (str, str)
        Pairs of these whose rows come by turns.
    clients : tuple of Client
    registers : tuple of Register
        Those of the kind, besides what its clients need.
    wires : tuple of (str, str)
        Output and input, ``unit.port``, that are connected without a handshake.
    """

    units: tuple[Unit, ...] = ()
    streams: tuple[Stream, ...] = ()
    counters: tuple[Counter, ...] = ()
    records: Mapping[str, tuple[Field, ...]] = field(default_factory=dict)
    apart: tuple[str, ...] = ()
    sizes: Mapping[str, str] = field(default_factory=dict)
    commands: Mapping[str, tuple[Field, ...]] = field(default_factory=dict)
    rows: tuple[Row, ...] = ()
    turns: tuple[tuple[str, str], ...] = ()
    clients: tuple[Client, ...] = ()
    registers: tuple[Register, ...] = ()
    wires: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Graph(Hardware):
    """A machine: the spine and the hardware of its kinds, merged by :func:`merge`.

    Parameters
    ----------
    starts : {kind: units}
        Units whose commands the in_proj of a kind's layers has.
    places : {row: place}
        Place of each kind of rows among those of its kind of layers.

    Raises
    ------
    ValueError
        One sentence that names what does not fit together.
    """

    starts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    places: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        entries = self.units, self.streams, self.counters, self.shown
        for names in ([each.name for each in kind] for kind in entries):
            if twice := [name for name in names if names.count(name) > 1]:
                raise ValueError(f"there are two entries {twice[0]}")
        known = {unit.name for unit in self.units} | {MEMORY}
        sources, targets = ([getattr(s, end) for s in self.streams] for end in ("source", "target"))
        for end in targets:
            unit, port = end.split(".")
            fields = [each.name for each in self.commands.get(unit, ())]
            if targets.count(end) > 1 and f"{port}_from" not in fields:
                raise ValueError(f"{end} is the end of two streams, of which no command chooses")
        events = (event for c in self.counters for event in c.events)
        for end in (*sources, *targets, *events, *(end for wire in self.wires for end in wire)):
            if end.split(".")[0] not in known:
                raise ValueError(f"there is no unit {end.split('.')[0]} for {end}")
        for stream in self.streams:
            self._bits(stream.payload)
            self._sized(stream.name, stream.items, stream.per)
        for unit in self.units:
            self._sized(unit.name, unit.steps)

    def _sized(self, name: str, *sizes: str | int) -> None:
        for size in sizes:
            if isinstance(size, str) and size not in self.sizes:
                raise ValueError(f"{name}: {size} must be one of {', '.join(self.sizes)}")

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

    def between(self, config: ArchConfig) -> tuple[Stream, ...]:
        """Streams of a machine from unit to unit."""
        return tuple(s for s in self.of(config) if MEMORY not in (s.giver, s.taker))

    def of(self, config: ArchConfig) -> tuple[Stream, ...]:
        """Streams of a machine."""
        return tuple(s for s in self.streams if s.there is None or s.there(config))

    @property
    def kinds(self) -> Mapping[str, int]:
        """Number of each kind of rows; behind them those of sections whose rows come by turns."""
        names = [row.name for row in self.rows] + list(OTHERS) + ["|".join(t) for t in self.turns]
        return {name: n for n, name in enumerate(names)}

    def choices(self, target: str) -> tuple[Stream, ...]:
        """Streams to a port; field ``PORT_from`` of its unit's command chooses one of several."""
        return tuple(s for s in self.streams if s.target == target)

    def client(self, name: str) -> Stream:
        """The stream that a reader of memory gives its words to."""
        return next(s for s in self.streams if s.source == f"{MEMORY}.{name}")

    def ends(self, client: str) -> tuple[str, str]:
        """Ports of units that take what a client reads, and give what it writes."""
        taker = next(s.target for s in self.streams if s.source == f"{MEMORY}.{client}")
        giver = next(s.source for s in self.streams if s.target == f"{MEMORY}.{client}")
        return taker, giver

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
