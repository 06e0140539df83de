"""Clients of memory, as a table: whose words each shape holds, and at which port.

From an entry follow registers of the host, regions and their sizes, ports, what a sequence keeps,
the estimate's requests, and which address generator of the RTL serves it. A shape that is none of
these is one more entry, its address generator, and a line of ``hardware/rtl/memory/side.py``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from lightmamba.arch.config import ArchConfig

__all__ = [
    "HEAD",
    "LAYER",
    "LOGITS",
    "MEMORY",
    "RECORD",
    "SHAPES",
    "SPREAD",
    "STATIC",
    "TABLE",
    "WEIGHTS",
    "Bus",
    "Client",
    "Entry",
    "Group",
    "Owner",
    "Shape",
]

MEMORY = "memory"  # source and target of the streams that readers and writers carry


class Owner(Enum):
    """Owner of the words of a client."""

    MODEL = "model"  # the same for every token; they come from a file
    VECTOR = "vector"  # of each token of a pass
    SEQUENCE = "sequence"  # read by the pass after the one that wrote them
    PASS = "pass"


class Bus(Enum):
    """Master of the top level that a client goes through."""

    LANE = "lane"  # of each lane
    STATE = "state_read"  # a pair for each of the state's ports
    AUX = "aux"  # for everything small

    def port(self, n: int) -> str:
        """Name of the master that the ``n``-th region of a client is reached by."""
        numbered = self == Bus.LANE or (self == Bus.STATE and n > 0)
        return f"{self.value}{n}" if numbered else str(self.value)


class Group(Enum):
    """Place of a register in the host's map; those of all clients of a shape are adjacent."""

    BASE = 0
    WORDS = 1
    LAYOUT = 2
    SLOT = 3
    COPY = 4
    RECORD = 5


@dataclass(frozen=True)
class Entry:
    """A register that every client of a shape has.

    Parameters
    ----------
    name, doc : str
        ``{client}`` is the client's name.
    group : Group
    value : str
        Number of the client that the host writes once: "address", "last" (address of the last
        copy), or a name of :meth:`lightmamba.hardware.compiler.memory.Memory.number`. Empty: it is
        written for each pass.
    per : str
        "lane", "slot" or "port", of which each has its own.
    wide : bool
        64 bits.
    access : str
    """

    name: str
    doc: str
    group: Group = Group.LAYOUT
    value: str = ""
    per: str = ""
    wide: bool = False
    access: str = "rw"


@dataclass(frozen=True)
class Shape:
    """Layout of a client's words in memory.

    Parameters
    ----------
    name : str
    doc : str
        What is there, and when it is read and written.
    owner : Owner
    bus : Bus
    ahead : bool
        It is read before its pass begins.
    grows : bool
        A sequence has more of it with every token.
    registers : tuple of Entry
    """

    name: str
    doc: str
    owner: Owner
    bus: Bus
    ahead: bool = False
    grows: bool = False
    registers: tuple[Entry, ...] = ()


_LAYERS = Entry("{client}_layers", "layers that have a {client}", value="layers")
_BASE = Entry("{client}_base", "address of the {client} stream", Group.BASE, "address", wide=True)

WEIGHTS = Shape("weights", "weights of a lane", Owner.MODEL, Bus.LANE, ahead=True)
SPREAD = Shape(
    "spread",
    "words of each position in each layer, of a sequence, in runs over the channels of the lanes: "
    "a pass reads those of all earlier tokens and writes its own",
    Owner.SEQUENCE,
    Bus.LANE,
    grows=True,
    registers=(
        Entry(
            "{client}_base", "address of a lane's {client}", value="address", per="lane", wide=True
        ),
        _LAYERS,
        Entry("{client}_runs", "runs of positions of the {client} in a layer", value="runs"),
        Entry(
            "{client}_stride", "bytes of a run of the {client} in a lane's channel", value="stride"
        ),
        Entry(
            "{client}_words",
            "64-bit words of a position in a run of the {client}, after its first one",
            value="rest",
        ),
        Entry(
            "slot_{client}_positions",
            "positions that a slot has in its {client}",
            Group.SLOT,
            per="slot",
        ),
        Entry(
            "slot_{client}_more",
            "positions that the pass adds to a slot's {client}",
            Group.SLOT,
            per="slot",
        ),
        Entry(
            "{client}_segment_index",
            "segment of the {client} to write, slot by slot, of each "
            "as many as a power of two; counts up by itself",
            Group.SLOT,
        ),
        Entry(
            "{client}_segment_data",
            "where it begins behind the lanes' bases, in pages of 4 KiB",
            Group.SLOT,
            access="wo",
        ),
    ),
)
HEAD = Shape(
    "head",
    "a state of a sequence that lies head by head, with ports of its own",
    Owner.SEQUENCE,
    Bus.STATE,
    registers=(
        Entry("state_heads", "heads of all layers", value="heads"),
        Entry("head_stride", "bytes of a head's state", value="head_stride"),
        Entry("state_head_beats", "beats of a head's state", value="head_beats"),
        Entry("head_words", "words of S elements of a head's state", value="head_words"),
        Entry(
            "slot_read",
            "address of a slot's {client}; a chain swaps it with `slot_write`",
            Group.COPY,
            "address",
            "port",
            wide=True,
        ),
        Entry(
            "slot_write",
            "address where a slot's new {client} goes",
            Group.COPY,
            "last",
            "port",
            wide=True,
        ),
    ),
)
STATIC = Shape(
    "static",
    "the same words for every token, layer by layer, read ahead",
    Owner.MODEL,
    Bus.AUX,
    ahead=True,
    registers=(
        _BASE,
        Entry(
            "{client}_words", "64-bit words of the {client} stream per token", Group.WORDS, "total"
        ),
    ),
)
TABLE = Shape(
    "table",
    "rows of a table, each read at an index that comes while a token runs",
    Owner.MODEL,
    Bus.AUX,
    registers=(
        _BASE,
        Entry(
            "{client}_words", "64-bit words of the {client} stream per token", Group.WORDS, "words"
        ),
        Entry(
            "{client}_stride",
            "bytes from one row of the {client} to the next",
            Group.WORDS,
            "stride",
        ),
    ),
)
LAYER = Shape(
    "layer",
    "words of each layer, of a sequence: a pass reads and writes all of a layer",
    Owner.SEQUENCE,
    Bus.AUX,
    registers=(
        _LAYERS,
        Entry("{client}_stride", "bytes of a layer's {client}", value="stride"),
        Entry("{client}_words", "64-bit words of a layer's {client}", value="words"),
        Entry(
            "slot_{client}",
            "address of a slot's {client}",
            Group.SLOT,
            "address",
            "slot",
            wide=True,
        ),
    ),
)
LOGITS = Shape("logits", "words that a pass writes for each vector", Owner.VECTOR, Bus.AUX)
RECORD = Shape(
    "record",
    "words of each layer that a pass leaves, for a later one that applies them again",
    Owner.PASS,
    Bus.AUX,
    registers=(
        Entry(
            "{client}",
            "bit 0: the pass applies vectors of a record again; bit 1: it writes one",
            Group.RECORD,
        ),
        Entry("{client}_read", "address of the record that is applied", Group.RECORD, wide=True),
        Entry("{client}_write", "address of the record that is written", Group.RECORD, wide=True),
        Entry("{client}_layers", "layers that are recorded", Group.RECORD, "layers"),
        Entry("{client}_stride", "bytes of a layer's record", Group.RECORD, "stride"),
        Entry("{client}_count", "64-bit words of a layer's record", Group.RECORD, "words"),
    ),
)
SHAPES = (WEIGHTS, HEAD, STATIC, TABLE, LAYER, SPREAD, LOGITS, RECORD)  # as registers follow


@dataclass(frozen=True)
class Client:
    """A reader or writer of memory, or both, for the units: the ``memory`` end of its streams.

    Parameters
    ----------
    name : str
        Of its region, too.
    shape : Shape
        Layout of its words: WEIGHTS, SPREAD, HEAD, STATIC, TABLE, LAYER, LOGITS or RECORD.
    doc : str
        What it holds.
    there : function of ArchConfig, optional
        Whether a machine has it.
    """

    name: str
    shape: Shape
    doc: str
    there: Callable[[ArchConfig], bool] | None = None
