"""A machine: what is declared of its spine and of its kinds of layers, as one graph."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from lightmamba.arch.clients import MEMORY
from lightmamba.arch.config import ArchConfig
from lightmamba.arch.fields import Field, width
from lightmamba.arch.hardware import OTHERS, Hardware, Inner, Link, Shown, Stream, Unit, cycles

__all__ = ["BEFORE", "Graph"]

BEFORE = ("lanes", "epilogue")  # units of the spine in front of a kind's, in its instructions


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
        clients = [client.name for client in self.clients]
        for stream in self.streams:
            for end in (stream.source, stream.target):
                unit, port = end.split(".")
                if unit == MEMORY and port not in clients:
                    raise ValueError(f"{stream.name}: there is no client {port} for {end}")
            self._bits(stream.payload)
            self._sized(stream.name, stream.items, stream.per)
        for unit in self.units:
            self._sized(unit.name, unit.steps)
        names = [stream.name for stream in self.streams]
        for row in self.rows:
            if row.stream not in names:
                raise ValueError(f"there is no stream {row.stream} for rows of {row.name}")

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

    def parts(self, config: ArchConfig) -> tuple[Inner, ...]:
        """Units, or the parts that a unit is made of, in the order in which they act."""
        found = []
        for unit in self.units:
            inside = [p for p in self.inside if p.unit == unit.name]
            inside = [p for p in inside if p.there is None or p.there(config)]
            found += inside or [Inner(unit.name, unit.name, unit.doc)]
        return tuple(found)

    def link(self, name: str, config: ArchConfig) -> Link | None:
        """The link of this name in a machine; None, if it has none."""
        some = (x for x in self.links if x.name == name and (x.there is None or x.there(config)))
        return next(some, None)

    @property
    def kinds(self) -> Mapping[str, int]:
        """Number of each kind of rows, then of sections whose rows alternate."""
        names = [row.name for row in self.rows] + list(OTHERS) + ["|".join(t) for t in self.turns]
        return {name: n for n, name in enumerate(names)}

    def own_units(self, kind: str, instruction: str) -> tuple[str, ...]:
        """Units of a kind of layers that one of its instructions starts."""
        if instruction == "in_proj":
            return self.starts[kind]
        units = self.instructions.get(instruction, ())
        return tuple(unit for unit in units if unit not in BEFORE)

    def choices(self, target: str) -> tuple[Stream, ...]:
        """Streams to a port; field ``PORT_from`` of its unit's command chooses one of several."""
        return tuple(s for s in self.streams if s.target == target)

    def own(self, unit: str) -> tuple[Field, ...]:
        """Fields of a command that its unit takes; the others choose the sources of its inputs."""
        ports = {s.target.split(".")[1] for s in self.streams if s.taker == unit}
        chosen = {f"{port}_from" for port in ports}
        return tuple(each for each in self.commands[unit] if each.name not in chosen)

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
