"""Types of the machine's description: units, streams, commands, clients of memory, counters.

A machine is the spine (``hardware/machine/spine.py``), which every model needs, and the hardware of
the kinds of layers that it runs (``blocks/KIND/hardware.py``); :func:`merge` makes one graph of
them. From it come the wiring of the RTL, the instructions, the ports, regions and registers, the
queues and units of the estimate, the probes and counters of host and simulator, and tables of the
docs.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from lightmamba.arch.clients import Client
from lightmamba.arch.config import ArchConfig
from lightmamba.arch.fields import Field

__all__ = [
    "OTHERS", "Counter", "Cycles", "Element", "Hardware", "Inner", "Link",
    "Register", "Row", "Shown", "Stream", "Unit", "cycles",
]  # fmt: skip

Cycles = int | Callable[[ArchConfig], int]
OTHERS = ("out", "logit")  # kinds of rows after those of in_proj


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
        """The element with its count resolved for one configuration."""
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
        File and class, ``mamba2.conv:Conv`` for ``Conv`` of ``hardware/rtl/mamba2/conv.py``.
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
    reads : tuple of str
        Units that it is built onto, whose contents it reads without a stream.
    """

    name: str
    rtl: str
    doc: str
    steps: str
    latency: Cycles = 0
    shows: tuple[Shown, ...] = ()
    work: str = ""
    whole: bool = False
    reads: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.rtl.count(":") != 1:
            raise ValueError(f"{self.name}: rtl must be file:class, for example mamba2.conv:Conv")
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
        Transfers that the source holds itself, after its last step; by default its latency and two.
    at_once : int or function
        Items side by side in a transfer.
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
    at_once: Cycles = 1
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
class Inner:
    """A part of a unit that works by itself, for the estimate; in the order in which parts act.

    Where a machine has parts of a unit, they are all of it.

    Parameters
    ----------
    name, unit, doc : str
    there : function of ArchConfig, optional
        Whether a machine has it.
    hold : int
        Cycles for which it holds what it takes before it uses it.
    """

    name: str
    unit: str
    doc: str
    there: Callable[[ArchConfig], bool] | None = None
    hold: int = 0


@dataclass(frozen=True)
class Link:
    """Items between parts of units, or how those of a stream leave where the unit has parts.

    Parameters
    ----------
    name : str
        Of the stream, if it is one.
    doc : str
        What one item is.
    latency, room : int or function of ArchConfig
        From a step to the item; items that fit.
    there : function of ArchConfig, optional
        Whether a machine has it.
    first : int
        Items that are there in the beginning.
    """

    name: str
    doc: str
    latency: Cycles
    room: Cycles
    there: Callable[[ArchConfig], bool] | None = None
    first: int = 0


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
        ``unit.output``: what is counted, added. None: ``hardware/rtl/units.py`` says what.
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
        Units that have commands; of a kind, those that its in_proj starts, in this order, but for
        those of other instructions.
    instructions : {name: units}
        Instructions of a layer besides those of in_proj and out_proj, and the units of each.
    more : {unit: fields}
        Further fields of commands that the spine declares.
    rows : tuple of Row
        Kinds of rows of in_proj.
    turns : tuple of (str, str)
        Pairs of these whose rows alternate.
    clients : tuple of Client
    registers : tuple of Register
        Those of the kind, besides what its clients need.
    wires : tuple of (str, str)
        Output and input, ``unit.port``, that are connected without a handshake.
    inside : tuple of Inner
    links : tuple of Link
    """

    units: tuple[Unit, ...] = ()
    streams: tuple[Stream, ...] = ()
    counters: tuple[Counter, ...] = ()
    records: Mapping[str, tuple[Field, ...]] = field(default_factory=dict)
    apart: tuple[str, ...] = ()
    sizes: Mapping[str, str] = field(default_factory=dict)
    commands: Mapping[str, tuple[Field, ...]] = field(default_factory=dict)
    instructions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    more: Mapping[str, tuple[Field, ...]] = field(default_factory=dict)
    rows: tuple[Row, ...] = ()
    turns: tuple[tuple[str, str], ...] = ()
    clients: tuple[Client, ...] = ()
    registers: tuple[Register, ...] = ()
    wires: tuple[tuple[str, str], ...] = ()
    inside: tuple[Inner, ...] = ()
    links: tuple[Link, ...] = ()
